//! Why a request got no answer from its upstream, and which status the client is told (contract, section 6).

use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;

use crate::reason::Reason;
use crate::wire::BoxError;

/// No usable answer came.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Name look-up, TCP or TLS failed: nothing was sent.
    #[error("no connection to the upstream: {0}")]
    Connect(#[source] BoxError),
    #[error("no server of the upstream is healthy")]
    Unhealthy,
    #[error("too many requests wait for a connection to the upstream")]
    QueueFull,
    /// The connection ended before the whole head of an answer had come.
    #[error("the upstream broke off: {0}")]
    Reset(#[source] BoxError),
    /// What came is no answer that could be passed on safely.
    #[error("the upstream's answer is malformed: {0}")]
    Protocol(#[source] BoxError),
    #[error("the upstream was too slow ({0})")]
    Timeout(TimeoutKind),
    /// The client's body failed while it was being passed on: the source is the body's own error, which tells
    /// whether the client went away, was too slow, or sent too much. Not the upstream's fault.
    #[error("the request's body broke off: {0}")]
    RequestBody(#[source] BoxError),
}

/// Which wait came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    Connect,
    ResponseHeader,
}

impl std::fmt::Display for TimeoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::ResponseHeader => "response_header",
        })
    }
}

impl SendError {
    pub(super) fn protocol(what: &'static str) -> Self {
        Self::Protocol(what.into())
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Connect(_) => Reason::UpstreamUnreachable,
            Self::Unhealthy => Reason::UpstreamUnhealthy,
            Self::QueueFull => Reason::UpstreamQueueFull,
            Self::Reset(_) => Reason::UpstreamReset,
            Self::Protocol(_) => Reason::UpstreamProtocol,
            Self::Timeout(_) => Reason::UpstreamTimeout,
            Self::RequestBody(_) => Reason::ClientGone,
        }
    }

    /// The status for the client; 400 for a body of its own that failed, unless the caller knows better.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Connect(_) | Self::Reset(_) | Self::Protocol(_) => StatusCode::BAD_GATEWAY,
            Self::Unhealthy | Self::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestBody(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// A [`SendError`] and what the access log wants beside it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    #[source]
    pub error: SendError,
    /// The server of the last attempt, if it came to one.
    pub endpoint: Option<Arc<str>>,
    pub attempts: u32,
}

/// An answer's body that did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the upstream broke off inside its answer: {0}")]
    Broken(#[source] BoxError),
    #[error("the upstream fell silent inside its answer")]
    Silent,
}

/// The settings of an upstream can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("an upstream needs at least one server with a weight above 0")]
    NoServer,
    #[error("`{0}` is no name or address of a server")]
    Host(Box<str>),
    #[error("`{0}` can't stand in a certificate")]
    ServerName(Box<str>),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: rustls_pki_types::pem::Error },
    #[error("{0}: no certificate in it")]
    NoCertificate(PathBuf),
    #[error("a client certificate needs both `certificate` and `private_key`")]
    HalfIdentity,
    #[error("no certificate authority is known: the system has none, and `tls.ca` is not set")]
    NoRoots,
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}
