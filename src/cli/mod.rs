//! The commands. Comes in: the arguments of the process. Goes out: an exit code that scripts can rely on: 0 done, 2 a bad
//! configuration or bad arguments, 1 anything else.

mod check;
mod demo;
mod init;
mod schema;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Loaded, Report, Sources, ZeroFile};
use crate::plan::Checked;

/// A bad configuration or bad arguments.
const BAD_CONFIGURATION: u8 = 2;

/// A gateway that enforces OAuth 2.0 access tokens in front of APIs.
#[derive(Debug, Parser)]
#[command(name = "postern", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(Serve),
    /// Validate a configuration and warn of what is unsafe; starts nothing.
    Check(Check),
    /// Run the gateway with a provider and sample applications, all on this machine.
    Demo(Demo),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Ask what is to be guarded, say which grant that needs and why, and write a configuration.
    Init(Init),
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration, YAML or TOML by its extension [default: ./postern.yaml if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    without_file: WithoutFile,
}

/// One issuer, one upstream, one route, no file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Without a file (one issuer, one upstream, one route for all paths)")]
struct WithoutFile {
    /// Whose tokens are believed [env: POSTERN_ISSUER].
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What `aud` must hold; repeat for alternatives [env: POSTERN_AUDIENCE].
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// Where requests go [env: POSTERN_UPSTREAM].
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// A scope that is needed; repeat or separate by spaces for more [env: POSTERN_SCOPE].
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Where to listen [default: 0.0.0.0:8080] [env: POSTERN_BIND].
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Where health and metrics are [default: 127.0.0.1:9090] [env: POSTERN_ADMIN_BIND].
    #[arg(long, value_name = "ADDRESS")]
    admin_bind: Option<String>,
}

#[derive(Debug, Args)]
struct Check {
    /// The configuration, YAML or TOML by its extension [default: ./postern.yaml if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also reach issuers, clients, Redis and upstreams, once.
    #[arg(long)]
    online: bool,
}

#[derive(Debug, Args)]
struct Demo {
    /// Drive every case, print a table, and fail if any differs.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
struct Init {
    /// Answers instead of questions: a YAML map, for scripts.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Where to write; never over a file that is there; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "postern.yaml")]
    output: PathBuf,
}

impl From<WithoutFile> for ZeroFile {
    fn from(said: WithoutFile) -> Self {
        let WithoutFile { issuer, audience, upstream, scope, bind, admin_bind } = said;
        Self { issuer, audience, upstream, scope, bind, admin_bind }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(said) => serve::run(Sources::of_process(said.config, said.without_file.into())),
        Command::Check(said) => check::run(Sources::of_process(said.config, ZeroFile::default()), said.online),
        Command::Demo(said) => demo::run(said.check),
        Command::Schema => schema::run(),
        Command::Init(said) => init::run(said.answers.as_deref(), &said.output),
    }
}

/// Reads and checks; a report that keeps the command from going on is the error.
fn read(sources: Sources) -> Result<(Loaded, Checked), Report> {
    let loaded = crate::config::load(sources)?;
    let checked = crate::plan::check(&loaded)?;
    Ok((loaded, checked))
}

/// Prints a report with its closing line, and gives the exit code for it.
fn refuse(report: &Report) -> ExitCode {
    eprintln!("{report}{} — nothing was started", report.counts());
    ExitCode::from(BAD_CONFIGURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_grammar_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_sidecar_is_one_line() {
        let line = "postern serve --issuer https://i --audience a --upstream http://u --scope x --scope y --bind 127.0.0.1:1 --admin-bind 127.0.0.1:2";
        let Ok(Command::Serve(said)) = parse(line) else { unreachable!("not parsed") };
        let zero = ZeroFile::from(said.without_file);
        assert_eq!(zero.issuer.as_deref(), Some("https://i"));
        assert_eq!(zero.scope, ["x", "y"]);
        assert_eq!(zero.admin_bind.as_deref(), Some("127.0.0.1:2"));
    }

    #[test]
    fn unknown_arguments_end_with_2() {
        assert_eq!(parse("postern serve --prot 1").unwrap_err().exit_code(), 2);
        assert_eq!(parse("postern").unwrap_err().exit_code(), 2);
    }
}
