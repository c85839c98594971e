//! `postern check`: what would run, and what is unwise about it. Comes in: the sources. Goes out: one line a route and 0,
//! or the report and 2. Starts and connects to nothing.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, read, refuse};
use crate::config::Sources;

pub(super) fn run(sources: Sources, online: bool) -> ExitCode {
    let (_, checked) = match read(sources) {
        Ok(read) => read,
        Err(report) => return refuse(&report),
    };
    eprint!("{}", checked.warnings);
    print!("{}", checked.describe());
    let counts = if checked.warnings.is_empty() { "no warnings".to_owned() } else { checked.warnings.counts() };
    let routes = checked.routes.len();
    println!("ok: {routes} route{}, {counts}", if routes == 1 { "" } else { "s" });
    if online {
        eprintln!("error: --online: not supported yet");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    ExitCode::SUCCESS
}
