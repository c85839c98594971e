//! `postern serve`: runs the gateway until it has drained.

use std::process::ExitCode;

use super::{read, refuse};
use crate::config::Sources;

pub(super) fn run(sources: Sources) -> ExitCode {
    let (loaded, checked) = match read(sources) {
        Ok(read) => read,
        Err(report) => return refuse(&report),
    };
    eprint!("{}", checked.warnings);
    match crate::app::serve::serve(&checked, loaded.environment.get("RUST_LOG")) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error} — nothing was started");
            ExitCode::FAILURE
        }
    }
}
