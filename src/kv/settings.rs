//! Which Redis, in parsed types, and how it stands: what `plan` fills and what operators are shown, in builds without
//! Redis too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::seal::Secret;

/// The Redis of a gateway.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Never empty. A single server has one; sentinels and nodes of a cluster are asked in turn.
    pub addresses: Vec<RedisAddress>,
    pub mode: RedisMode,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub tls: RedisTls,
    /// What every key begins with.
    pub prefix: String,
    /// For a command, and for a connection.
    pub timeout: Duration,
}

/// `redis://` or `rediss://`, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// An IPv6 host has no brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
    /// The number of a database; zero in a cluster.
    pub database: i64,
}

/// How the servers stand together.
#[derive(Clone, Debug)]
pub enum RedisMode {
    Single,
    /// The addresses are sentinels; they know where the master of this name is.
    Sentinel {
        master: String,
        username: Option<String>,
        password: Option<Secret>,
    },
    Cluster,
}

/// TLS towards Redis. The system's roots, unless there is a CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    pub ca: Option<PathBuf>,
    /// Certificate and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How a store is. For readiness, status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not connected yet, and no attempt has failed.
    Waiting,
    Up,
    Down {
        error: Arc<str>,
    },
}

/// How commands ended, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: AtomicU64,
    pub refused: AtomicU64,
    pub unreachable: AtomicU64,
    pub timed_out: AtomicU64,
    /// Not tried, because too many waited.
    pub busy: AtomicU64,
}

impl PartialEq for RedisSettings {
    fn eq(&self, other: &Self) -> bool {
        let Self { addresses, mode, username, password, tls, prefix, timeout } = self;
        (addresses, mode, username, tls, prefix, timeout)
            == (&other.addresses, &other.mode, &other.username, &other.tls, &other.prefix, &other.timeout)
            && same_secret(password.as_ref(), other.password.as_ref())
    }
}

impl PartialEq for RedisMode {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Single, Self::Single) | (Self::Cluster, Self::Cluster) => true,
            (
                Self::Sentinel { master, username, password },
                Self::Sentinel { master: other_master, username: other_username, password: other_password },
            ) => {
                (master, username) == (other_master, other_username)
                    && same_secret(password.as_ref(), other_password.as_ref())
            }
            _ => false,
        }
    }
}

fn same_secret(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one.equals(other.expose().as_bytes()),
        _ => false,
    }
}

impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, tls, .. } = self;
        let scheme = if *tls { "rediss" } else { "redis" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}
