//! `server`: where Postern listens and how much it takes from a client.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{ByteSize, Count, NotYet, Period, words};

pub const BIND: &str = "0.0.0.0:8080";
pub const AUTH_PREFIX: &str = "/oauth2";
pub const SHUTDOWN_GRACE: Period = Period::seconds(30);

/// Where Postern listens and how much it takes from a client.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The addresses to listen on.
    pub listeners: Vec<Listener>,
    /// The origin under which clients reach routes without a host of their own; used in metadata URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// CIDRs whose `Forwarded` and `X-Forwarded-*` are believed; empty means nobody.
    pub trusted_proxies: Vec<String>,
    /// Threads that serve traffic; `auto` is the CPU quota of the container.
    pub workers: Count,
    /// What a refusal does: `enforce` refuses.
    pub mode: Mode,
    /// How long after SIGTERM to go on accepting while reporting "not ready".
    pub drain_delay: Period,
    /// How long requests may take to finish once accepting has stopped.
    pub shutdown_grace: Period,
    /// Bounds on what one client may use.
    pub limits: Limits,
    /// Start without probing whether the address is in use, to take over from a running process.
    pub takeover: bool,
    /// The prefix of Postern's own paths.
    pub auth_prefix: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listeners: vec![Listener { bind: Some(BIND.to_owned()), ..Listener::default() }],
            public_url: None,
            trusted_proxies: Vec::new(),
            workers: Count::Auto,
            mode: Mode::Enforce,
            drain_delay: Period::ZERO,
            shutdown_grace: SHUTDOWN_GRACE,
            limits: Limits::default(),
            takeover: false,
            auth_prefix: AUTH_PREFIX.to_owned(),
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Listener {
    /// `host:port`, or `unix:/path` for a Unix socket.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Certificates; without them the listener speaks cleartext HTTP/1.1 and HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whether connections begin with a PROXY protocol header.
    pub proxy_protocol: ProxyProtocol,
    /// Answer every request with a redirect to https; for a cleartext listener beside a TLS one.
    pub redirect_to_https: bool,
    /// What is served here: `proxy` forwards requests.
    pub serve: Serve,
}

/// TLS towards clients.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// Chosen by SNI; the first is the default.
    #[schemars(required)]
    pub certificates: Vec<CertificatePair>,
    /// Certificates of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
}

/// A certificate chain and its private key, both PEM files; relative to the configuration file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificatePair {
    /// The chain, leaf first.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The private key of the leaf.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
}

/// Whether clients show certificates.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificates {
    /// `off`: clients are not asked for a certificate.
    pub mode: ClientCertificateMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<NotYet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<NotYet>,
}

words! {
    /// Whether clients are asked for a certificate.
    ClientCertificateMode { #[default] Off = "off" } later { "optional", "required" }
}
words! {
    /// Whether connections begin with a PROXY protocol header.
    ProxyProtocol { #[default] Off = "off" } later { "v1v2" }
}
words! {
    /// What a listener serves.
    Serve { #[default] Proxy = "proxy" } later { "forward_auth", "ext_authz" }
}
words! {
    /// What a refusal does.
    Mode { #[default] Enforce = "enforce" } later { "report_only" }; map_not_yet
}

/// Bounds on what one client may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The request target; beyond it 414.
    pub target_bytes: ByteSize,
    /// All header fields together; beyond it 431.
    pub header_bytes: ByteSize,
    /// One header field; beyond it 431.
    pub field_bytes: ByteSize,
    /// The number of header fields; beyond it 431.
    pub fields: u32,
    /// One token; beyond it 401.
    pub token_bytes: ByteSize,
    /// A request body; beyond it 413. 0 is no limit.
    pub request_body: ByteSize,
    /// How long a client may take to send a head.
    pub header_timeout: Period,
    /// How long a client may be silent inside a body; never applied to responses.
    pub body_timeout: Period,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Period,
    /// Connections at once; `auto` is a third of the hard file-descriptor limit, at most 20000.
    pub connections: Count,
    /// Concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
}

pub const TARGET_BYTES: ByteSize = ByteSize::kib(8);
pub const HEADER_BYTES: ByteSize = ByteSize::kib(64);
pub const FIELD_BYTES: ByteSize = ByteSize::kib(16);
pub const FIELDS: u32 = 100;
pub const TOKEN_BYTES: ByteSize = ByteSize::kib(16);
pub const HEADER_TIMEOUT: Period = Period::seconds(10);
pub const BODY_TIMEOUT: Period = Period::seconds(30);
pub const IDLE_TIMEOUT: Period = Period::seconds(75);
pub const H2_STREAMS: u32 = 100;

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes: TARGET_BYTES,
            header_bytes: HEADER_BYTES,
            field_bytes: FIELD_BYTES,
            fields: FIELDS,
            token_bytes: TOKEN_BYTES,
            request_body: ByteSize(0),
            header_timeout: HEADER_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            connections: Count::Auto,
            h2_streams: H2_STREAMS,
        }
    }
}
