//! `postern init`: the questions by which a grant is chosen, which one follows and why, and a file that works. Comes in: a
//! terminal, or a file of answers. Goes out: a configuration that has been checked; nothing is ever overwritten, and nothing
//! is written before all is answered.

mod advice;
mod answers;
mod ask;
mod questions;
mod write;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use advice::Leaf;
use questions::Answers;
use write::Written;

use super::{BAD_CONFIGURATION, read, refuse};
use crate::config::{Environment, File, Report, Sources, ZeroFile};

/// Stands in for secrets while the file is checked: 32 bytes, base64.
const STAND_IN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Where `-` writes to.
const STDOUT: &str = "-";

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("this is no terminal: give the answers in a file, `postern init --answers FILE`")]
    NoTerminal,
    #[error("the answers broke off: {0}")]
    Asking(io::Error),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} is there already; `--output FILE` writes another one", path.display())]
    Exists { path: PathBuf },
    #[error("{}: what is written is YAML: name it .yaml or .yml", path.display())]
    Format { path: PathBuf },
    #[error("{}", .0.join("\nerror: "))]
    Answers(Vec<String>),
    #[error("the answers lead nowhere")]
    Nowhere,
}

pub(super) fn run(answers: Option<&Path>, output: &Path) -> ExitCode {
    match init(answers, output) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) => refuse(&report),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

fn init(given: Option<&Path>, output: &Path) -> Result<Option<Report>, InitError> {
    let to_stdout = output == Path::new(STDOUT);
    let exists = || InitError::Exists { path: output.to_owned() };
    // Said before anybody has answered twelve questions.
    if !to_stdout && output.exists() {
        return Err(exists());
    }
    if !to_stdout && !output.extension().is_some_and(|name| name == "yaml" || name == "yml") {
        return Err(InitError::Format { path: output.to_owned() });
    }
    let answers = match given {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| InitError::File { path: path.to_owned(), error })?;
            answers::read(&text).map_err(InitError::Answers)?
        }
        None => at_terminal()?,
    };
    let leaf = Leaf::of(&answers).ok_or(InitError::Nowhere)?;
    let written = write::write(leaf, &answers);
    let warnings = match check(output, &written) {
        Ok(warnings) => warnings,
        Err(report) => return Ok(Some(report)),
    };
    if to_stdout {
        print!("{}", written.text);
    } else {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => InitError::File { path: output.to_owned(), error },
        };
        // Created anew, or not at all: nothing that is there is lost.
        let mut file = OpenOptions::new().write(true).create_new(true).open(output).map_err(failed)?;
        if let Err(error) = file.write_all(written.text.as_bytes()) {
            // Half a file is none; it was ours alone.
            let _ = std::fs::remove_file(output);
            return Err(failed(error));
        }
    }
    eprint!("{warnings}");
    if given.is_some() {
        tell(leaf, &mut io::stderr()).map_err(InitError::Asking)?;
    }
    next_steps(output, &written);
    Ok(None)
}

fn at_terminal() -> Result<Answers, InitError> {
    if !io::stdin().is_terminal() {
        return Err(InitError::NoTerminal);
    }
    let mut output = io::stderr();
    let decided = |answers: &Answers, output: &mut dyn Write| match Leaf::of(answers) {
        Some(leaf) => tell(leaf, output).map(|()| true),
        None => Ok(false),
    };
    ask::ask(&mut io::stdin().lock(), &mut output, decided).map_err(InitError::Asking)
}

/// Which grant it is, and why.
fn tell(leaf: Leaf, output: &mut dyn Write) -> io::Result<()> {
    let advice = leaf.advice();
    writeln!(output, "\nGrant: {}.\n  {}", advice.grant, advice.why)?;
    match advice.instead {
        Some(instead) => writeln!(output, "  This is legacy. Instead: {instead}."),
        None => Ok(()),
    }
}

/// The same checks as `postern check`; secrets need not be there yet.
fn check(output: &Path, written: &Written) -> Result<Report, Report> {
    let environment: Environment =
        written.variables.iter().map(|(name, _)| (name.clone(), STAND_IN.to_owned())).collect();
    let name = if output == Path::new(STDOUT) { Path::new("postern.yaml") } else { output };
    let file = File::Text { path: name.to_owned(), text: written.text.clone() };
    read(Sources { file, environment, zero_file: ZeroFile::default() }).map(|(_, checked)| checked.warnings)
}

fn next_steps(output: &Path, written: &Written) {
    let file = if output == Path::new(STDOUT) { "FILE".to_owned() } else { output.display().to_string() };
    eprintln!("\nNext:");
    for (name, made) in &written.variables {
        eprintln!("  export {name}={made}");
    }
    eprintln!("  postern check --config {file}\n  postern serve --config {file}");
}

#[cfg(test)]
mod tests;
