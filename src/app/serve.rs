//! `postern serve`, less its arguments: what runs a checked configuration until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::online::{self, Tried};
use super::{Parts, Running, StartError, start};
use crate::authn::{MemoryLimits, TokenMemory};
use crate::clock::Clock;
use crate::config::telemetry::{AccessLog as AccessLogForm, LogFormat};
use crate::control::Control;
use crate::plan::compile::{CompileError, Wiring, compile, process};
use crate::plan::settings::{Checked, TelemetrySettings};
use crate::telemetry::{self, AccessFormat, AccessLog, Log, LogError, LogSettings, Metrics};

/// Why a gateway is not serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Compile(#[from] CompileError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("the background runtime cannot be started: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Threads of the background runtime: providers, health checks, admin answers. Traffic has its own.
const CONTROL_THREADS: usize = 1;

/// Runs a checked configuration until SIGTERM or SIGINT, and drains. A second signal ends at once.
///
/// # Errors
/// [`ServeError`] when it does not come to serving.
pub fn serve(checked: &Checked, rust_log: Option<&str>) -> Result<ExitCode, ServeError> {
    let _log = Log::start(&log_settings(&checked.telemetry, rust_log))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let clock = Clock::system();
    let access_log = access_log(checked.telemetry.access_log)?;
    let running = {
        let _context = runtime.enter();
        launch(checked, Control::new(runtime.handle().clone()), clock.clone(), access_log.clone())?
    };
    let ended = runtime.block_on(until_signalled(&running, &clock));
    if let Some(log) = access_log {
        log.flush(Duration::from_secs(1));
    }
    if ended == Ended::Drained {
        running.join();
    }
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(ExitCode::SUCCESS)
}

/// Reaches what a checked configuration relies on, once; starts nothing that listens.
///
/// # Errors
/// [`ServeError`] when a part of the plan cannot be built, or there is no runtime to be had.
pub fn try_online(checked: &Checked) -> Result<Vec<Tried>, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::system();
    let wiring = Wiring {
        clock: clock.clone(),
        control: Control::new(runtime.handle().clone()),
        metrics: Metrics::new(),
        memory: Arc::new(TokenMemory::new(MemoryLimits::default())),
    };
    let plan = compile(checked, &wiring)?;
    Ok(runtime.block_on(online::reach(&plan, &clock)))
}

/// Compiles and starts a gateway on the given background runtime.
///
/// # Errors
/// [`ServeError`] when a part of the plan cannot be built or a socket cannot be had.
pub fn launch(
    checked: &Checked,
    control: Control,
    clock: Clock,
    access_log: Option<AccessLog>,
) -> Result<Running, ServeError> {
    let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
    let metrics = Metrics::new();
    let wiring = Wiring {
        clock: clock.clone(),
        control: control.clone(),
        metrics: metrics.clone(),
        memory: Arc::clone(&memory),
    };
    let plan = compile(checked, &wiring)?;
    let process = process(checked, super::machine::workers(), super::machine::connections());
    let parts = Parts { clock, control, metrics, memory, access_log, fault: None };
    Ok(start(Arc::new(plan), &process, &parts)?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Drained,
    CutOff,
}

async fn until_signalled(running: &Running, clock: &Clock) -> Ended {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        tracing::error!("signals cannot be received");
        return Ended::CutOff;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Received so that it does not end the process; the configuration stays as it is.
            _ = hangup.recv() => tracing::info!("SIGHUP: reloading is not supported yet, the configuration stays"),
        }
    }
    tracing::info!(connections = running.open_connections(), "draining");
    let ended = tokio::select! {
        finished = running.drain(clock) => if finished { Ended::Drained } else { Ended::CutOff },
        _ = terminate.recv() => Ended::CutOff,
        _ = interrupt.recv() => Ended::CutOff,
    };
    tracing::info!(finished = (ended == Ended::Drained), "ended");
    ended
}

fn log_settings(written: &TelemetrySettings, rust_log: Option<&str>) -> LogSettings {
    LogSettings {
        level: written.level.word().to_owned(),
        format: match written.format {
            LogFormat::Auto => telemetry::LogFormat::Auto,
            LogFormat::Json => telemetry::LogFormat::Json,
            LogFormat::Text => telemetry::LogFormat::Text,
        },
        rust_log: rust_log.map(ToOwned::to_owned),
    }
}

fn access_log(written: AccessLogForm) -> std::io::Result<Option<AccessLog>> {
    match written {
        AccessLogForm::Json => AccessLog::stdout(AccessFormat::Json).map(Some),
        AccessLogForm::Text => AccessLog::stdout(AccessFormat::Text).map(Some),
        AccessLogForm::Off => Ok(None),
    }
}
