//! The gateway of the demo: the same that `serve` runs, on a configuration that lies in the program. Comes in: its text
//! with the addresses filled in. Goes out: the gateway, running, with its access log going into the journal.

use std::sync::Arc;
use std::time::Duration;

use super::journal::{Journal, JournalWriter};
use crate::app::{self, Parts, Running};
use crate::authn::{MemoryLimits, TokenMemory};
use crate::clock::Clock;
use crate::config::{Config, Report, Sources};
use crate::control::Control;
use crate::idp::Issuer;
use crate::plan::Checked;
use crate::plan::compile::{CompileError, Wiring, compile, process};
use crate::telemetry::{AccessFormat, AccessLog, LineWriter, Metrics};

pub const TEXT: &str = include_str!("demo.yaml");

/// The issuer that the demo stands on.
const ISSUER: &str = "demo";
const WORKERS: usize = 2;
const CONNECTIONS: usize = 500;
/// Loading the provider's keys from the next port takes no longer.
const KEYS: Duration = Duration::from_secs(5);

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the demo's own configuration is wrong:\n{0}")]
    Configuration(Report),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Start(#[from] app::StartError),
    #[error("the access log: {0}")]
    AccessLog(std::io::Error),
    #[error("the gateway has no TCP address")]
    NoAddress,
}

pub struct Started {
    pub running: Running,
    pub issuers: Vec<Arc<Issuer>>,
    pub access_log: AccessLog,
}

/// Reads and checks the demo's configuration. Nothing of the environment counts, so that the demo is the same everywhere.
///
/// # Errors
/// [`GatewayError::Configuration`].
pub fn load(text: String) -> Result<(Config, Checked), GatewayError> {
    let read = super::super::read(Sources::text("demo.yaml", text));
    read.map(|(loaded, checked)| (loaded.config, checked)).map_err(GatewayError::Configuration)
}

/// Starts the gateway and waits until it has asked for the provider's keys.
///
/// # Errors
/// [`GatewayError`] when it does not start.
pub async fn start(
    checked: &Checked,
    clock: &Clock,
    control: &Control,
    journal: &Arc<Journal>,
    prints: bool,
) -> Result<Started, GatewayError> {
    let writer = JournalWriter::new(Arc::clone(journal), prints);
    let writer = LineWriter::start("access-log", writer).map_err(GatewayError::AccessLog)?;
    let access_log = AccessLog::new(AccessFormat::Json, writer);
    let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
    let (metrics, clock, control) = (Metrics::new(), clock.clone(), control.clone());
    let wiring = Wiring {
        clock: clock.clone(),
        control: control.clone(),
        metrics: metrics.clone(),
        memory: Arc::clone(&memory),
    };
    let plan = Arc::new(compile(checked, &wiring)?);
    let process = process(checked, WORKERS, CONNECTIONS);
    let parts =
        Parts { clock: clock.clone(), control, metrics, memory, access_log: Some(access_log.clone()), fault: None };
    let running = app::start(Arc::clone(&plan), &process, &parts)?;
    let issuers = plan.issuers.clone();
    // One that never answers is a case of its own; nobody waits for it here.
    if let Some(issuer) = issuers.iter().find(|issuer| &*issuer.settings().name == ISSUER) {
        tokio::select! {
            () = issuer.attempted(1) => {}
            () = clock.sleep(KEYS) => {}
        }
    }
    Ok(Started { running, issuers, access_log })
}
