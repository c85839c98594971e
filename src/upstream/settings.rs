//! What the operator wrote about one upstream, as parsed types. `plan` fills it in; two equal settings mean that a
//! reload may keep the connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

/// One named group of servers that answer the same requests. A duration of zero means "off".
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamSettings {
    pub name: Arc<str>,
    pub servers: Vec<ServerSettings>,
    pub host: HostRule,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    /// Name look-up, TCP and TLS together; also the longest wait in the queue.
    pub connect_timeout: Duration,
    /// From the end of the request to the end of the answer's head.
    pub response_header_timeout: Duration,
    /// How long a connection may lie unused.
    pub pooled_idle: Duration,
    /// Silence inside an answer's body.
    pub stream_idle: Duration,
    /// Further attempts after the first, for requests of which the upstream has seen nothing.
    pub retries: u32,
    /// Open connections of the whole process to this upstream; 0 = no limit.
    pub connections: u32,
    /// Requests that may wait for a connection when there is a limit.
    pub queue: u32,
    pub tls: Option<UpstreamTls>,
}

impl UpstreamSettings {
    /// The defaults of the configuration contract around the given servers.
    pub fn new(name: impl Into<Arc<str>>, servers: Vec<ServerSettings>) -> Self {
        Self {
            name: name.into(),
            servers,
            host: HostRule::Preserve,
            balance: Balance::LeastRequests,
            health_check: None,
            connect_timeout: Duration::from_secs(2),
            response_header_timeout: Duration::from_secs(30),
            pooled_idle: Duration::from_secs(90),
            stream_idle: Duration::ZERO,
            retries: 1,
            connections: 0,
            queue: 1000,
            tls: None,
        }
    }
}

/// One server and its share. A weight of 0 keeps a server in the file but out of use.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    pub address: ServerAddress,
    pub weight: u32,
}

/// Where a server listens and what it speaks there.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerAddress {
    /// `host` is a name or an address, an IPv6 address without brackets.
    Tcp {
        scheme: ServerScheme,
        host: Box<str>,
        port: u16,
    },
    Unix {
        path: PathBuf,
        h2c: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerScheme {
    Http,
    /// HTTP/2 or HTTP/1.1, as ALPN settles it.
    Https,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    H2c,
}

/// Which `Host` the upstream sees.
#[derive(Clone, Debug, PartialEq)]
pub enum HostRule {
    Preserve,
    /// The server's own authority.
    Upstream,
    Named(HeaderValue),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    LeastRequests,
    RoundRobin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub path: Box<str>,
    pub interval: Duration,
    pub timeout: Duration,
}

/// How servers with `https` are met. The files are read when the upstream is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The only authorities that are believed; the system's when absent.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    /// The name in SNI and in the certificate, instead of the server's host.
    pub server_name: Option<Box<str>>,
}
