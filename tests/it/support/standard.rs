//! The standard set-up of the attack lists: host `gw.test`; `/public/**` open, `/api/**` needs scope `read`, `/admin/**`
//! scope `admin`, anything else refused; identity in `X-Forwarded-User`; one upstream that echoes.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::gateway::Gateway;
use super::keys::ring;
use super::raw::{self, Answer};
use super::tokens;
use super::upstream::{Reply, Seen, Upstream};
use super::{Folder, tokens::AUDIENCE, tokens::ISSUER};

pub const HOST: &str = "gw.test";

pub struct Standard {
    pub upstream: Upstream,
    pub gateway: Gateway,
    _folder: Folder,
}

/// What a configuration is made of; a test changes what it is about.
pub struct Layout {
    /// Lines of `server:`, each with its two spaces.
    pub server: String,
    /// More of `admin`, in YAML flow, with its comma.
    pub admin: String,
    /// Further sections, whole.
    pub sections: String,
    /// Where the keys of the issuer come from: lines of the issuer, each with its four spaces.
    pub issuer: String,
    /// Further issuers, upstreams and routes, in YAML flow, a line each.
    pub issuers: String,
    pub upstreams: String,
    pub routes: String,
    /// More of the upstream `echo`.
    pub upstream: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 2\n".to_owned(),
            admin: String::new(),
            sections: String::new(),
            issuer: String::new(),
            issuers: String::new(),
            upstreams: String::new(),
            routes: String::new(),
            upstream: String::new(),
        }
    }
}

impl Layout {
    /// The configuration with this issuer and this upstream.
    pub fn config(&self, issuer: &str, upstream: SocketAddr) -> String {
        let Self { server, admin, sections, issuer: keys, issuers, upstreams, routes, upstream: more } = self;
        let mut config = format!(
            "server:\n{server}admin: {{ bind: 127.0.0.1:0{admin} }}\n{sections}\
             telemetry:\n  log: {{ level: info, format: json }}\n  access_log: json\n\
             issuers:\n  corp:\n    issuer: {issuer}\n    audiences: [{AUDIENCE}]\n{keys}{issuers}\
             upstreams:\n  echo: {{ servers: [\"http://{upstream}\"]{more} }}\n{upstreams}routes:\n"
        );
        for (name, access) in [("public", "public".to_owned()), ("api", bearer("read")), ("admin", bearer("admin"))] {
            let _ = writeln!(
                config,
                "  - {{ name: {name}, match: {{ hosts: [{HOST}], path: /{name}/** }}, upstream: echo, access: {access} }}"
            );
        }
        config + routes
    }
}

/// An `access` that needs one scope.
pub fn bearer(scope: &str) -> String {
    format!("{{ bearer: {{ issuers: [corp], scopes: [{scope}] }} }}")
}

impl Standard {
    pub async fn start() -> Self {
        Self::start_with(Layout::default()).await
    }

    pub async fn start_with(layout: Layout) -> Self {
        Self::start_before(layout, |_| Reply::Echo).await
    }

    /// With an upstream that answers as told. Keys come from a file, so that no provider is needed.
    pub async fn start_before(mut layout: Layout, choose: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let folder = Folder::new();
        let keys = folder.write("keys.json", ring().set().to_string());
        let other = folder.write("other.json", ring().other_set().to_string());
        layout.issuer = format!("    jwks: {{ file: {} }}\n{}", keys.display(), layout.issuer);
        layout.issuers = layout.issuers.replace("OTHER_KEYS", &other.display().to_string());
        let upstream = Upstream::start(choose).await;
        let gateway = Gateway::start(&layout.config(ISSUER, upstream.address)).await;
        Self { upstream, gateway, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// An ordinary GET, with a token or without.
    pub async fn get(&self, target: &str, token: Option<&str>) -> Answer {
        raw::request(self.address(), &get(target, token)).await
    }

    /// An ordinary request with these further header lines, each ended by CR LF.
    pub async fn send(&self, method: &str, target: &str, lines: &str) -> Answer {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n");
        raw::request(self.address(), &request).await
    }

    /// What came upstream since the last look.
    pub fn seen(&self) -> Vec<Seen> {
        self.upstream.take()
    }

    /// Nothing came upstream since the last look.
    pub fn saw_nothing(&self) -> bool {
        self.seen().is_empty()
    }
}

/// The bytes of an ordinary GET.
pub fn get(target: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{authorization}\r\n")
}

/// A header line with a token for these scopes.
pub fn authorization(scopes: &str) -> String {
    format!("Authorization: Bearer {}\r\n", tokens::good(scopes))
}
