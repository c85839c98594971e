//! A request that is well-formed and normalised; nothing more is claimed.

use http::{HeaderMap, Method, Version};

use super::body::Body;
use super::path::NormalPath;

/// A request as the rooms see it. What is matched here is what is forwarded: there is no other copy of the path.
#[derive(Debug)]
pub struct Arrival {
    pub method: Method,
    pub path: NormalPath,
    /// Without the `?`; `None` when the target has none.
    pub query: Option<Box<str>>,
    /// Lower-case, without port and trailing dot; `None` where the client named none (HTTP/1.0).
    pub host: Option<Host>,
    /// Owned names (identity, forwarding) are already gone from here.
    pub headers: HeaderMap,
    pub version: Version,
    pub body: Body,
}

/// The host a request is for: the name by which it is routed, and the field value as it was written.
#[derive(Clone, Debug)]
pub struct Host {
    /// Lower-case, without port and trailing dot.
    pub name: Box<str>,
    /// As sent, port included; what `host: preserve` forwards.
    pub written: http::HeaderValue,
}
