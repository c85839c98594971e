//! The way to the applications behind the gateway. Comes in: a request that was admitted and dressed; goes out: the
//! head of its answer and a body that streams.
//!
//! How a connection travels. An [`Upstream`] is shared by all workers: its servers ([`endpoint`]), their health and
//! the limit on open connections. Each worker has its own [`Pools`]; no connection ever changes the thread that
//! opened it. For a request the balancer picks a server, and the pool gives the connection to it that was used last
//! ([`pool`]); only when none lies ready is one opened ([`open`], [`connect`]): name, TCP, TLS. Over HTTP/1.1 the
//! request's own task writes the request and reads the answer ([`http1`]); over HTTP/2 it goes through hyper's channel
//! to a task that owns the socket ([`http2`]). The connection then hangs on the answer's body ([`body`]). When the body
//! has ended, and the request's body too, the connection goes back. In every other case it is dropped, which closes
//! it: after a fault, a time-out, a client that left, an answer that came before its request was complete.
//!
//! A request costs no task, no timer it need not have, and no lock that another thread wants.

mod balance;
mod body;
mod connect;
mod endpoint;
mod error;
mod head;
mod health;
mod http1;
mod http2;
mod limit;
mod open;
mod pool;
mod reach;
mod request_body;
mod resolve;
mod send;
mod settings;
mod stream;
mod tls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub use body::UpstreamBody;
pub use error::{BodyError, Failed, SendError, SetUpError, TimeoutKind};
pub use http1::Tunnel;
pub use pool::{Pool, Pools};
pub use reach::Reached;
pub use send::{SendOptions, Sent};
pub use settings::{
    Balance, HealthCheck, HostRule, ServerAddress, ServerScheme, ServerSettings, UpstreamSettings, UpstreamTls,
};

use endpoint::{Endpoint, Reach};
use limit::Limit;
use tls::TlsConfigs;

/// One named group of servers, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
}

/// What pools keep hold of. Apart from [`Upstream`], so that pools notice when that is gone.
#[derive(Debug)]
struct Shared {
    id: u64,
    settings: UpstreamSettings,
    endpoints: Box<[Endpoint]>,
    limit: Limit,
    tls: Option<TlsConfigs>,
    pools: Mutex<Vec<Weak<Pool>>>,
}

/// How one server stands, for readiness and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointStatus<'a> {
    pub endpoint: &'a str,
    pub healthy: bool,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Upstream {
    /// Reads the files that the settings name. Connects to nothing.
    ///
    /// # Errors
    /// [`SetUpError`] when the settings can't work.
    pub fn new(settings: UpstreamSettings) -> Result<Arc<Self>, SetUpError> {
        if settings.servers.iter().all(|server| server.weight == 0) {
            return Err(SetUpError::NoServer);
        }
        let tls_settings = settings.tls.clone().unwrap_or_default();
        let endpoints: Box<[_]> =
            settings.servers.iter().map(|server| Endpoint::new(server, &tls_settings)).collect::<Result<_, _>>()?;
        let needs_tls = endpoints.iter().any(|endpoint| matches!(endpoint.reach, Reach::Tcp { tls: Some(_), .. }));
        let shared = Shared {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            limit: Limit::new(settings.connections, settings.queue),
            tls: needs_tls.then(|| TlsConfigs::new(&tls_settings)).transpose()?,
            endpoints,
            pools: Mutex::default(),
            settings,
        };
        Ok(Arc::new(Self { shared: Arc::new(shared) }))
    }

    pub fn settings(&self) -> &UpstreamSettings {
        &self.shared.settings
    }

    pub fn name(&self) -> &Arc<str> {
        &self.shared.settings.name
    }

    /// Open connections of all workers.
    pub fn open_connections(&self) -> usize {
        self.shared.limit.open()
    }

    /// Requests of all workers whose answer is not over.
    pub fn in_flight(&self) -> usize {
        self.shared.pools().iter().map(|pool| pool.balancer.in_flight()).sum()
    }

    /// Requests that wait for a connection.
    pub fn queued(&self) -> usize {
        self.shared.limit.waiting()
    }

    /// Whether any server may be tried.
    pub fn is_healthy(&self) -> bool {
        self.shared.endpoints.iter().any(|endpoint| endpoint.weight > 0 && endpoint.is_healthy())
    }

    pub fn endpoints(&self) -> impl Iterator<Item = EndpointStatus<'_>> {
        self.shared
            .endpoints
            .iter()
            .map(|endpoint| EndpointStatus { endpoint: &endpoint.label, healthy: endpoint.is_healthy() })
    }
}

impl Shared {
    fn register(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Closes one idle connection of any worker.
    fn give_up_idle(&self) {
        let _ = self.pools().iter().any(|pool| pool.give_up_idle());
    }
}

#[cfg(test)]
mod tests;
