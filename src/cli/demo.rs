//! `postern demo`: the gateway, a provider and sample applications on this machine. (to be written)

use std::process::ExitCode;

pub(super) fn run(_check: bool) -> ExitCode {
    eprintln!("error: the demo is not built yet");
    ExitCode::FAILURE
}
