//! One server of an upstream as all workers share it: its names, made once, and its health, read by every request
//! and written rarely.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;

use super::error::SetUpError;
use super::resolve::Resolver;
use super::settings::{ServerAddress, ServerScheme, ServerSettings, UpstreamTls};
use super::tls;
use crate::clock::{Clock, Tick};

/// So many failed connects in a row put a server aside …
const FAILURES_TO_EJECT: u32 = 3;
/// … for so long, unless it is the only one.
const EJECTED_FOR: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Endpoint {
    /// For logs and metrics.
    pub label: Box<str>,
    /// The server's own authority, for `host: upstream` and for requests that name no host.
    pub authority: HeaderValue,
    pub weight: u32,
    pub reach: Reach,
    protocol: AtomicU8,
    unhealthy: AtomicBool,
    failures: AtomicU32,
    /// A tick in milliseconds; 0 = not put aside.
    ejected_until: AtomicU64,
}

/// How a connection is made.
#[derive(Debug)]
pub(super) enum Reach {
    Tcp { resolver: Resolver, tls: Option<ServerName<'static>> },
    Unix(PathBuf),
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// How willing an endpoint seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// The health check says no.
    Down,
    /// Recent connects failed: taken only if nothing else is there.
    Aside,
    Up,
}

const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

impl Endpoint {
    pub fn new(server: &ServerSettings, tls: &UpstreamTls) -> Result<Self, SetUpError> {
        let (label, authority, reach, protocol) = match &server.address {
            ServerAddress::Unix { path, h2c } => {
                let label = format!("unix:{}", path.display());
                (label, "localhost".to_owned(), Reach::Unix(path.clone()), if *h2c { HTTP2 } else { HTTP1 })
            }
            ServerAddress::Tcp { scheme, host, port } => {
                let (default_port, protocol) = match scheme {
                    ServerScheme::Http => (80, HTTP1),
                    ServerScheme::Https => (443, UNKNOWN),
                    ServerScheme::H2c => (80, HTTP2),
                };
                let shown = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
                let authority = if *port == default_port { shown.clone() } else { format!("{shown}:{port}") };
                let https = *scheme == ServerScheme::Https;
                let name = https.then(|| tls::server_name(tls, host)).transpose()?;
                let reach = Reach::Tcp { resolver: Resolver::new(host, *port), tls: name };
                (format!("{shown}:{port}"), authority, reach, protocol)
            }
        };
        let parsed: Result<Authority, _> = authority.parse();
        let (Ok(_), Ok(authority)) = (parsed, HeaderValue::try_from(&*authority)) else {
            return Err(SetUpError::Host(authority.into()));
        };
        Ok(Self {
            label: label.into(),
            authority,
            weight: server.weight,
            reach,
            protocol: AtomicU8::new(protocol),
            unhealthy: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
        })
    }

    /// What this server speaks, as far as it is known.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.protocol.load(Ordering::Relaxed) {
            HTTP1 => Some(Protocol::Http1),
            HTTP2 => Some(Protocol::Http2),
            _ => None,
        }
    }

    /// What ALPN settled. Asked for again with every connection, so a server may change its mind.
    pub fn learn_protocol(&self, protocol: Protocol) {
        let code = if protocol == Protocol::Http2 { HTTP2 } else { HTTP1 };
        if self.protocol.load(Ordering::Relaxed) != code {
            self.protocol.store(code, Ordering::Relaxed);
        }
    }

    pub fn scheme(&self) -> Scheme {
        match &self.reach {
            Reach::Tcp { tls: Some(_), .. } => Scheme::HTTPS,
            _ => Scheme::HTTP,
        }
    }

    /// Connections of another generation than this lead to an address that was given up.
    pub fn generation(&self) -> u32 {
        match &self.reach {
            Reach::Tcp { resolver, .. } => resolver.generation(),
            Reach::Unix(_) => 0,
        }
    }

    pub fn standing(&self, clock: &Clock) -> Standing {
        if self.unhealthy.load(Ordering::Relaxed) {
            return Standing::Down;
        }
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => Standing::Up,
            until if clock.tick().millis() >= until => Standing::Up,
            _ => Standing::Aside,
        }
    }

    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// The verdict of the health check; true when it changed.
    pub fn judge(&self, healthy: bool) -> bool {
        self.unhealthy.swap(!healthy, Ordering::Relaxed) == healthy
    }

    pub fn connect_succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    pub fn connect_failed(&self, now: Tick) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILURES_TO_EJECT {
            self.ejected_until.store(now.plus(EJECTED_FOR).millis().max(1), Ordering::Relaxed);
        }
    }
}
