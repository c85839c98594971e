//! What the gateway runs: immutable, checked, compiled, swapped whole. Nothing here can be wrong any more, so nothing
//! that handles requests checks it again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::router::Router;
use crate::authn::{Forget, Introspection, Memories, Passwords, SharedUnavailable, Tokens, Ways};
use crate::idp::Issuer;
use crate::kv::Kv;
use crate::login::{Door, Site};
use crate::outbound::{Dress, OwnToken, TokenExchange};
use crate::policy::Requirement;
use crate::seal::Secret;
use crate::telemetry::RouteMeters;
use crate::upstream::Upstream;
use crate::wire::arrival::Limits;
use crate::wire::cookies::OwnCookieNames;
use crate::wire::forwarded::TrustedProxies;
use crate::wire::owned::OwnedNames;

/// Everything that requests are judged and forwarded by.
#[derive(Debug)]
pub struct Plan {
    pub router: Router<Target>,
    pub routes: Vec<Route>,
    /// Metadata documents (RFC 9728), by number.
    pub resources: Vec<Resource>,
    pub issuers: Vec<Arc<Issuer>>,
    /// Issuers that are asked about tokens.
    pub introspections: Vec<Arc<Introspection>>,
    /// Everything that remembers tokens, for who has to make it forget.
    pub memories: Memories,
    pub upstreams: Vec<Arc<Upstream>>,
    /// Names and passwords that are exchanged for tokens.
    pub passwords: Vec<Arc<Passwords>>,
    /// Tokens of Postern's own that go up.
    pub own_tokens: Vec<Arc<OwnToken>>,
    /// Exchanges of callers' tokens for those of upstreams.
    pub exchanges: Vec<Arc<TokenExchange>>,
    /// By number.
    pub sites: Vec<Arc<Site>>,
    /// The sites' own addresses, by number.
    pub doors: Vec<DoorPlan>,
    /// Cookies of ours: no upstream sees or sets one.
    pub own_cookies: OwnCookieNames,
    /// What replicas share: `sessions.redis`.
    pub redis: Option<Kv>,
    /// The key set of identity tokens, as JSON.
    pub jwks: Option<Bytes>,
    pub owned: Arc<OwnedNames>,
    pub trusted_proxies: TrustedProxies,
    pub limits: Limits,
    /// The outside address for requests whose host no route names; an origin.
    pub public_url: Option<Box<str>>,
}

impl Plan {
    /// Forgets what is remembered of tokens, and what was got for them; says how many tokens were remembered here.
    ///
    /// # Errors
    /// [`SharedUnavailable`] when the replicas' answers are as they were: the revocation has not reached all of them.
    pub async fn forget(&self, forget: &Forget) -> Result<usize, SharedUnavailable> {
        let forgotten = self.memories.forget(forget).await;
        for passwords in &self.passwords {
            passwords.forget(forget);
        }
        // Last: who shows one of these tokens meanwhile is judged anew, and so is what it is exchanged for.
        for exchange in &self.exchanges {
            match &forget.tokens {
                Tokens::Token(token) => exchange.forget_token(token),
                Tokens::Subject(wanted) => {
                    exchange.forget_callers(forget.issuer.as_deref(), |of| of.subject() == Some(wanted))
                }
                Tokens::ClientId(wanted) => {
                    exchange.forget_callers(forget.issuer.as_deref(), |of| of.is_of_client(wanted))
                }
                // By this nothing is known here.
                Tokens::Id(_) => exchange.forget_callers(forget.issuer.as_deref(), |_| true),
            }
        }
        forgotten
    }
}

/// Where the router leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Route(usize),
    /// `/.well-known/oauth-protected-resource` of a host.
    Resource(usize),
    /// The key set of identity tokens.
    Jwks,
    /// An address of a site that is ours.
    Door(usize),
}

/// One route: what it demands, and how a request is dressed and sent.
#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// Methods, host and path in words.
    pub matches: Box<str>,
    pub ways: Ways,
    /// The site whose sessions it takes; a number in [`Plan::sites`].
    pub site: Option<usize>,
    pub requirement: Requirement,
    pub dress: Dress,
    pub upstream: Arc<Upstream>,
    /// `match.encoded_slash: keep`.
    pub keeps_encoded_slash: bool,
    /// `preflight: forward`.
    pub forwards_preflight: bool,
    /// Overrides the upstream's.
    pub response_header_timeout: Option<Duration>,
    /// Request trailers go up to an HTTP/2 upstream.
    pub request_trailers: bool,
    pub meters: Arc<RouteMeters>,
}

/// An address of a site that is Postern's own.
#[derive(Debug)]
pub struct DoorPlan {
    pub site: Arc<Site>,
    pub door: Door,
    /// What the log and the metrics call it: `shop/callback`.
    pub name: Arc<str>,
    pub meters: Arc<RouteMeters>,
}

/// A protected resource as RFC 9728 describes it: all but its own address, which depends on how it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    pub authorization_servers: Vec<Box<str>>,
    pub scopes: Vec<Box<str>>,
}

impl Resource {
    /// The document for the resource at `origin` (RFC 9728 section 2).
    pub fn document(&self, origin: &str) -> Bytes {
        let mut document = serde_json::json!({
            "resource": origin,
            "authorization_servers": self.authorization_servers,
            "bearer_methods_supported": ["header"],
        });
        if !self.scopes.is_empty() {
            document["scopes_supported"] = serde_json::json!(self.scopes);
        }
        document.to_string().into()
    }
}

/// Where the metadata document of every protected origin lies (RFC 9728 section 3).
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// What belongs to the process rather than to requests: sockets, threads, limits, times.
#[derive(Debug)]
pub struct Process {
    pub listeners: Vec<ListenerPlan>,
    pub workers: usize,
    /// Skip the look whether another process holds the port.
    pub takeover: bool,
    /// Open connections of the whole process.
    pub connections: usize,
    pub head: HeadRules,
    pub drain_delay: Duration,
    pub shutdown_grace: Duration,
    pub admin_bind: ListenAddress,
    pub actions: Option<ActionsPlan>,
    /// Readiness no longer waits for issuers after this.
    pub ready_after: Duration,
}

/// The listener for what changes the gateway.
#[derive(Clone, Debug)]
pub struct ActionsPlan {
    pub address: ListenAddress,
    pub token: Secret,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    pub address: ListenAddress,
    /// Certificates and keys, the first is the default; empty = cleartext.
    pub tls: Vec<(std::path::PathBuf, std::path::PathBuf)>,
    pub redirect_to_https: bool,
}

/// Limits of heads and of waiting for them. Bytes, counts; zero durations = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRules {
    pub target: usize,
    pub header: usize,
    pub field: usize,
    pub fields: usize,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    pub h2_streams: u32,
}
