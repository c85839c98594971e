//! Names and passwords inward (`access.basic`): the gateway in this process, on a clock that the test moves, before the
//! development provider and its faults. Whatever is refused, the upstream sees nothing of it; and it never sees a password.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::clock::{ManualClock, Time};
use postern::devidp::{ClientEntry, Endpoint, GrantType, Provider, Settings};

use crate::support::inside::Inside;
use crate::support::raw::{self, Answer};
use crate::support::upstream::{Reply, Seen, Upstream};

mod forms;
mod limits;
mod machines;
mod memory;
mod outages;
mod ways;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const HOST: &str = "gw.test";
/// How long the provider's tokens live. Seconds.
const LIFE: u64 = 300;
/// How long a password is believed unless the test says otherwise. Seconds.
const TTL: u64 = 900;

const CHALLENGE: &str = "Basic realm=\"gw.test\", charset=\"UTF-8\"";

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    gateway: Inside,
}

fn clients() -> Settings {
    let confidential = |id: &str| ClientEntry {
        access_token_lifetime: Duration::from_secs(LIFE),
        ..ClientEntry::confidential(id, &format!("{id}-secret")).scopes("openid read write").audience("orders")
    };
    Settings {
        clients: vec![
            confidential("legacy").grants(&[GrantType::Password, GrantType::RefreshToken]),
            ClientEntry { may_introspect: true, ..confidential("opaque") }.grants(&[GrantType::Password]).opaque(),
            confidential("batch").grants(&[GrantType::ClientCredentials]),
            confidential("sts").grants(&[GrantType::TokenExchange]),
            confidential("narrow").grants(&[GrantType::ClientCredentials]).scopes("other"),
            ClientEntry::confidential("odd:id", "s%ü:c")
                .grants(&[GrantType::ClientCredentials])
                .scopes("read")
                .audience("orders"),
            confidential("shop"),
        ],
        ..Settings::demo()
    }
}

/// What a test is about: more of `access.basic`, and whether its client may use refresh tokens.
#[derive(Clone, Copy)]
struct Layout<'a> {
    basic: &'a str,
    grants: &'a str,
    secret: &'a str,
}

impl Default for Layout<'_> {
    fn default() -> Self {
        Self { basic: "", grants: "[password]", secret: "legacy-secret" }
    }
}

fn config(issuer: &str, upstream: SocketAddr, layout: Layout<'_>) -> String {
    let Layout { basic, grants, secret } = layout;
    let route = |name: &str, access: &str, forward: &str| {
        format!(
            "  - {{ name: {name}, match: {{ path: /{name}/** }}, upstream: echo, access: {access}, forward: {forward} }}\n"
        )
    };
    let legacy = format!("basic: {{ client: legacy, scopes: [read], {basic} }}");
    let bearer = "bearer: { issuers: [corp], scopes: [read] }";
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let routes = [
        route("basic", &format!("{{ {legacy} }}"), "{}"),
        route("again", &format!("{{ {legacy} }}"), "{}"),
        route(
            "staff",
            "{ basic: { client: legacy, scopes: [read], policy: 'claims.sub == \"alice\" && caller.method == \"basic\" && caller.kind == \"user\"' } }",
            "{}",
        ),
        route("write", "{ basic: { client: legacy, scopes: [write], request_scopes: [read] } }", "{}"),
        route("optional", &format!("{{ basic: {{ client: legacy, scopes: [read], optional: true, {basic} }} }}"), "{}"),
        route("relayed", &format!("{{ {legacy} }}"), "{ access_token: bearer }"),
        route("exchanged", &format!("{{ {legacy} }}"), "{ authorization: { exchange: { client: sts } } }"),
        route("both", &format!("{{ {legacy}, {bearer} }}"), "{}"),
        route("bearer", &format!("{{ {bearer} }}"), "{}"),
        route(
            "machine",
            "{ basic: { client: batch, grant: client_credentials, scopes: [read], policy: 'caller.kind == \"machine\"' } }",
            "{}",
        ),
        route("opaque", "{ basic: { client: opaque, scopes: [read] } }", "{}"),
    ];
    format!(
        "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 2, trusted_proxies: [127.0.0.0/8] }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
         issuers:\n\
         \x20 corp: {{ issuer: \"{issuer}\", audiences: [orders] }}\n\
         \x20 veiled: {{ issuer: \"{issuer}\", audiences: [orders], tokens: opaque, introspection: {{ client: opaque, cache: {{ ttl: 30s }} }} }}\n\
         clients:\n\
         \x20 legacy: {{ issuer: corp, client_id: legacy, client_secret: \"{secret}\", allowed_grant_types: {grants} }}\n\
         \x20 opaque: {{ issuer: veiled, client_id: opaque, client_secret: opaque-secret, allowed_grant_types: [password] }}\n\
         \x20 batch: {{ issuer: corp, client_id: not-sent, client_secret: not-sent, allowed_grant_types: [client_credentials] }}\n\
         \x20 sts: {{ issuer: corp, client_id: sts, client_secret: sts-secret, allowed_grant_types: ['{exchange}'] }}\n\
         upstreams: {{ echo: {{ servers: [\"http://{upstream}\"] }} }}\nroutes:\n{}",
        routes.concat()
    )
}

/// `Authorization` for a name and a password.
fn shown(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

impl World {
    async fn start() -> Self {
        Self::with(Layout::default()).await
    }

    /// With more of `access.basic`.
    async fn keeping(basic: &str) -> Self {
        Self::with(Layout { basic, ..Layout::default() }).await
    }

    /// With refresh tokens.
    async fn refreshing() -> Self {
        Self::with(Layout { grants: "[password, refresh_token]", ..Layout::default() }).await
    }

    async fn with(layout: Layout<'_>) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = Provider::start(address, clients(), hands.clock()).await.expect("a free port");
        let upstream = Upstream::start(|_| Reply::Echo).await;
        let gateway = Inside::start(&config(provider.issuer(), upstream.address, layout), &hands, None).await;
        Self { hands, provider, upstream, gateway }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// A request with these lines of its head besides the usual ones.
    async fn send(&self, method: &str, target: &str, lines: &[(&str, &str)]) -> Answer {
        let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n");
        raw::request(self.address(), &request).await
    }

    async fn get(&self, target: &str, authorization: &str) -> Answer {
        self.send("GET", target, &[("Authorization", authorization)]).await
    }

    async fn status(&self, target: &str, name: &str, password: &str) -> u16 {
        self.get(target, &shown(name, password)).await.status
    }

    async fn alice(&self, target: &str) -> u16 {
        self.status(target, "alice", "wonderland").await
    }

    /// As a client behind a trusted proxy.
    async fn from(&self, client: &str, name: &str, password: &str) -> Answer {
        let authorization = shown(name, password);
        self.send("GET", "/basic/x", &[("X-Forwarded-For", client), ("Authorization", &authorization)]).await
    }

    /// Requests that the token endpoint got.
    fn asked(&self) -> u64 {
        self.provider.count(Endpoint::Token)
    }

    fn seen(&self) -> Vec<Seen> {
        self.upstream.take()
    }

    fn pass(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }

    async fn until_refused(&self, route: &str, reason: &str, times: u64) {
        let name = format!("postern_refusals_total{{route=\"{route}\",reason=\"{reason}\"}}");
        self.gateway.until_metric(&name, times).await;
    }
}
