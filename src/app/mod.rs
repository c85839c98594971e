//! One running gateway: builds the shared parts once, starts the background runtime and the workers, and ends them in
//! order. Comes in: a compiled plan. Goes out: [`Running`], which knows the addresses and how to stop.

mod introspections;
pub mod machine;
mod observe;
pub mod online;
pub mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::admin::AdminState;
use crate::admin::actions::Actions;
use crate::authn::TokenMemory;
use crate::clock::Clock;
use crate::control::Control;
use crate::deadline::Sweeper;
use crate::gateway::{Shared, View};
use crate::plan::running::{HeadRules, ListenAddress, ListenerPlan, Plan, Process};
use crate::server::guard::ReadTimeouts;
use crate::server::head::HeadLimits;
use crate::server::worker::ConnectionCount;
use crate::server::{Address, BindError, ConnectionRules, Listener, Sockets, Worker, bind, tls};
use crate::telemetry::{AccessLog, Metrics};
use crate::upstream::Pools;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What a gateway runs on besides its plan.
pub struct Parts {
    pub clock: Clock,
    pub control: Control,
    pub metrics: Metrics,
    /// The memory that the plan's routes use.
    pub memory: Arc<TokenMemory>,
    pub access_log: Option<AccessLog>,
    /// Runs before each walk, in tests that need a handler to fail.
    pub fault: Option<fn(&http::request::Parts)>,
}

/// A gateway that serves. Dropping it stops accepting but waits for nothing.
pub struct Running {
    listeners: Vec<Address>,
    admin: Address,
    actions: Option<Address>,
    stop: watch::Sender<bool>,
    count: Arc<ConnectionCount>,
    draining: Arc<AtomicBool>,
    workers: Mutex<Vec<JoinHandle<std::io::Result<()>>>>,
    drain_delay: Duration,
    shutdown_grace: Duration,
}

/// Starts a gateway.
///
/// # Errors
/// [`StartError`] when an address, a certificate or a thread cannot be had; nothing runs then.
pub fn start(plan: Arc<Plan>, process: &Process, parts: &Parts) -> Result<Running, StartError> {
    let mut bound = Vec::new();
    let mut sets = Vec::new();
    for listener in &process.listeners {
        let tls = server_tls(listener)?;
        let (sockets, address) = bind::bind(&address(&listener.address), process.workers, process.takeover)?;
        tracing::info!(listener = %address, tls = tls.is_some(), "listening");
        bound.push(address);
        sets.push((sockets, tls, listener.redirect_to_https));
    }
    let (admin_sockets, admin) = bind::bind(&address(&process.admin_bind), 1, process.takeover)?;
    tracing::info!(listener = %admin, "admin listening");

    let acting = match &process.actions {
        None => None,
        Some(written) => {
            let (sockets, bound) = bind::private(&address(&written.address), process.takeover)?;
            tracing::info!(listener = %bound, "actions listening");
            let actions = Actions::new(parts.clock.clone(), written.token.clone(), observe::deeds(&plan));
            Some((sockets, bound, Arc::new(actions)))
        }
    };
    let actions = acting.as_ref().map(|(_, bound, _)| bound.clone());

    let (stop, stopping) = watch::channel(false);
    let count = ConnectionCount::new(process.connections);
    let sources = observe::Sources {
        plan: Arc::clone(&plan),
        memory: Arc::clone(&parts.memory),
        connections: Arc::clone(&count),
        access_log: parts.access_log.clone(),
    };
    observe::register(&parts.metrics, sources);
    let views = observe::views(&plan, &parts.clock);
    let state = Arc::new(AdminState::new(parts.clock.clone(), process.ready_after, parts.metrics.clone(), views));
    let draining = state.draining();
    start_background(&plan, parts, admin_sockets, state);
    if let Some((sockets, _, actions)) = acting {
        let answer = move |request| {
            let actions = Arc::clone(&actions);
            async move { actions.answer(request).await }
        };
        parts.control.start(crate::server::admin::serve(sockets, answer));
    }
    let shared = Arc::new(Shared {
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
        access_log: parts.access_log.clone(),
        fault: parts.fault,
    });
    let mut workers = Vec::with_capacity(process.workers);
    for (number, listeners) in deal(sets, process.workers).into_iter().enumerate() {
        let worker = Worker {
            view: view(&plan, &shared, &parts.clock),
            listeners,
            rules: rules(&process.head),
            count: Arc::clone(&count),
            stop: stopping.clone(),
        };
        workers.push(thread(number, worker)?);
    }
    Ok(Running {
        listeners: bound,
        admin,
        actions,
        stop,
        count,
        draining,
        workers: Mutex::new(workers),
        drain_delay: process.drain_delay,
        shutdown_grace: process.shutdown_grace,
    })
}

impl Running {
    /// The addresses that are listened on, in the order of the configuration.
    pub fn listeners(&self) -> &[Address] {
        &self.listeners
    }

    /// The first TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(|address| match address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        })
    }

    pub fn admin(&self) -> &Address {
        &self.admin
    }

    /// Where actions are taken, if they are.
    pub const fn actions(&self) -> Option<&Address> {
        self.actions.as_ref()
    }

    pub fn open_connections(&self) -> usize {
        self.count.open()
    }

    /// Not ready → `drain_delay` → stop accepting → finish what is under way, for at most `shutdown_grace`. Goes out:
    /// whether everything was finished.
    pub async fn drain(&self, clock: &Clock) -> bool {
        self.draining.store(true, Ordering::Release);
        clock.sleep(self.drain_delay).await;
        self.stop.send_replace(true);
        let finished = async {
            while self.count.open() > 0 {
                clock.sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = finished => true,
            () = clock.sleep(self.shutdown_grace) => false,
        }
    }

    /// Waits for the workers' threads; only after a drain that finished.
    pub fn join(&self) {
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = worker.join();
        }
        for address in self.listeners.iter().chain([&self.admin]).chain(&self.actions) {
            if let Address::Unix(path) = address {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn address(written: &ListenAddress) -> Address {
    match written {
        ListenAddress::Tcp(address) => Address::Tcp(*address),
        ListenAddress::Unix(path) => Address::Unix(path.clone()),
    }
}

fn server_tls(listener: &ListenerPlan) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    if listener.tls.is_empty() {
        return Ok(None);
    }
    let pair = |(certificate, private_key): &(PathBuf, PathBuf)| tls::CertificateFiles {
        certificate: certificate.clone(),
        private_key: private_key.clone(),
    };
    Ok(Some(tls::server_config(&listener.tls.iter().map(pair).collect::<Vec<_>>())?))
}

/// Deals each listener's sockets out, one to each worker.
fn deal(sets: Vec<(Sockets, Option<Arc<rustls::ServerConfig>>, bool)>, workers: usize) -> Vec<Vec<Listener>> {
    let mut hands: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for (sockets, tls, redirect_to_https) in sets {
        match sockets {
            Sockets::Tcp(sockets) => {
                for (hand, socket) in hands.iter_mut().zip(sockets) {
                    hand.push(Listener::Tcp { socket, tls: tls.clone(), redirect_to_https });
                }
            }
            Sockets::Unix(sockets) => {
                for (hand, socket) in hands.iter_mut().zip(sockets) {
                    hand.push(Listener::Unix(socket));
                }
            }
        }
    }
    hands
}

fn view(plan: &Arc<Plan>, shared: &Arc<Shared>, clock: &Clock) -> Arc<View> {
    let sweeper = Sweeper::default();
    Arc::new(View {
        plan: Arc::clone(plan),
        pools: Pools::with_sweeper(clock.clone(), sweeper.clone()),
        shared: Arc::clone(shared),
        sweeper,
        request_ids: Mutex::default(),
    })
}

fn rules(head: &HeadRules) -> ConnectionRules {
    ConnectionRules {
        head: HeadLimits { target: head.target, header: head.header, field: head.field, fields: head.fields },
        timeouts: ReadTimeouts { head: head.head_timeout, body: head.body_timeout, idle: head.idle_timeout },
        h2_streams: head.h2_streams,
    }
}

/// What talks to issuers, health targets and whoever watches us runs beside the workers, never on them.
fn start_background(plan: &Plan, parts: &Parts, admin: Sockets, state: Arc<AdminState>) {
    for issuer in &plan.issuers {
        issuer.start();
    }
    for upstream in &plan.upstreams {
        upstream.start_health_checks(&parts.control, &parts.clock);
    }
    if let Some(redis) = &plan.redis {
        redis.start();
    }
    let answer = move |request| std::future::ready(crate::admin::answer(&state, request));
    parts.control.start(crate::server::admin::serve(admin, answer));
}

/// A worker that ends early would silently lose its share of connections under SO_REUSEPORT, so its end is told.
fn thread(number: usize, worker: Worker) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(worker.run());
        if let Err(error) = &ended {
            tracing::error!(worker = number, %error, "a worker has ended");
        }
        ended
    })
}
