//! `postern demo`: the gateway, the development provider, a sample orders API and a sample legacy shop in one process, on
//! loopback ports, with tokens to try. Comes in: whether to `--check`. Goes out: the exit code. Ctrl-C ends it cleanly.

mod cases;
mod check;
mod client;
mod decision;
mod gateway;
mod journal;
mod orders;
mod page;
mod service;
mod shop;
mod start;
mod text;
mod tokens;
mod websocket;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use start::{Demo, DemoError, Further, Ports, TOKEN_LIFETIME};
use tokens::Asker;

use crate::config::Environment;
use crate::telemetry::{Log, LogFormat, LogSettings};

/// Where the tokens lie, seen from where the demo was started.
const FOLDER: &str = "demo";

/// Runs the demo until it is told to stop; with `check`, drives every case and says whether all went as expected.
pub fn run(check: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = if check { runtime.block_on(check::run()) } else { runtime.block_on(serve()) };
    runtime.shutdown_background();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<bool, DemoError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let _log = start_log("warn")?;
    let demo = Demo::start(Ports::USUAL, &Further::default(), true).await?;
    write_tokens(&demo)?;
    print(&text::greeting(&demo.places, &Ports::USUAL, FOLDER));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        failed = renew(&demo) => return failed,
    }
    tokio::select! {
        () = demo.stop() => {}
        // Whoever asks twice is in a hurry.
        _ = interrupt.recv() => {}
    }
    Ok(true)
}

/// The process log, to stderr, for people.
fn start_log(level: &str) -> Result<Log, DemoError> {
    let rust_log = Environment::of_process().get("RUST_LOG").map(str::to_owned);
    Ok(Log::start(&LogSettings { level: level.to_owned(), format: LogFormat::Text, rust_log })?)
}

/// Gets new tokens long before the old ones end.
async fn renew(demo: &Demo) -> Result<bool, DemoError> {
    let asker = Asker { provider: demo.places.provider };
    loop {
        demo.clock.sleep(TOKEN_LIFETIME / 2).await;
        // Faults may be switched on at the provider just now: then the old ones go on for a while.
        if demo.tokens.fill(asker, &demo.provider).await.is_ok() {
            write_tokens(demo)?;
        }
    }
}

fn write_tokens(demo: &Demo) -> Result<(), DemoError> {
    let failed = |source| DemoError::Files { folder: FOLDER.to_owned(), source };
    demo.tokens.write(Path::new(FOLDER)).map_err(failed)
}

/// A closed stdout is no reason to end.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
