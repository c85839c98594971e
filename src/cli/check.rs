//! `postern check`: what would run, and what is unwise about it. Comes in: the sources. Goes out: one line a route and 0,
//! or the report and 2. Starts and connects to nothing, unless `--online` asks for it: then what the configuration relies
//! on is reached once, and what can't be is reported with its place.

use std::process::ExitCode;

use super::{BAD_CONFIGURATION, read, refuse};
use crate::app::online::Outcome;
use crate::app::serve::try_online;
use crate::config::{Diagnostic, Loaded, Report, Severity, Sources};
use crate::plan::Checked;

pub(super) fn run(sources: Sources, online: bool) -> ExitCode {
    let (loaded, checked) = match read(sources) {
        Ok(read) => read,
        Err(report) => return refuse(&report),
    };
    eprint!("{}", checked.warnings);
    print!("{}", checked.describe());
    for note in checked.notes() {
        println!("note: {note}");
    }
    let counts = if checked.warnings.is_empty() { "no warnings".to_owned() } else { checked.warnings.counts() };
    let routes = checked.routes.len();
    println!("ok: {routes} route{}, {counts}", if routes == 1 { "" } else { "s" });
    if online { go_online(&loaded, &checked) } else { ExitCode::SUCCESS }
}

fn go_online(loaded: &Loaded, checked: &Checked) -> ExitCode {
    let tried = match try_online(checked) {
        Ok(tried) => tried,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    for one in tried {
        match one.outcome {
            Outcome::Good(what) => println!("{}: {what}", one.path),
            Outcome::Wrong(message, hint) => {
                let place = loaded.places.locate(&one.path);
                let (severity, path) = (Severity::Error, one.path);
                report.push(Diagnostic { severity, path, message, hint: Some(hint), place });
            }
        }
    }
    if report.is_empty() {
        println!("ok: everything was reached");
        return ExitCode::SUCCESS;
    }
    report.sort();
    eprintln!("{report}{} — not everything could be reached", report.counts());
    ExitCode::from(BAD_CONFIGURATION)
}
