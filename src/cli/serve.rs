//! `postern serve`: runs the gateway until it has drained.

use std::process::ExitCode;

use super::{read, refuse};
use crate::config::Sources;

pub(super) fn run(sources: Sources) -> ExitCode {
    let (_loaded, checked) = match read(sources) {
        Ok(read) => read,
        Err(report) => return refuse(&report),
    };
    eprint!("{}", checked.warnings);
    eprintln!("error: serving is not built yet");
    ExitCode::FAILURE
}
