//! What surrounds a request: now, who is at the other end, and under which id it is told of.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use uuid::Uuid;

use crate::clock::Time;

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Facts about a request that rooms may use; made once, read-only.
#[derive(Clone, Debug)]
pub struct Facts {
    pub now: Time,
    /// The TCP peer; `None` over a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The client's address: the peer's, or what a trusted proxy said of it.
    pub client_address: Option<IpAddr>,
    /// The scheme by which the client reached the outermost trusted hop.
    pub scheme: Scheme,
    /// Whether the peer is in `server.trusted_proxies`.
    pub trusted_peer: bool,
    /// The chain of addresses that a trusted peer gave, to be continued with the peer itself.
    pub forwarded_for: Option<Box<str>>,
    /// The outside host that a trusted peer gave.
    pub forwarded_host: Option<HeaderValue>,
    pub request_id: RequestId,
}

/// A request id: a UUIDv7 of ours, or what a trusted proxy gave. Written once, and shared by the request, its answer
/// and the log.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub fn ours(id: Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    pub const fn given(value: HeaderValue) -> Self {
        Self(value)
    }

    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_str().unwrap_or("-"))
    }
}
