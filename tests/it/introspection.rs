//! Opaque tokens from outside: the gateway inside the test's own process, on a clock that the test moves, before the
//! development provider and its faults. Whatever is refused, the upstream sees nothing of it.

use std::net::SocketAddr;
use std::sync::Arc;

use postern::clock::{ManualClock, Time};
use postern::devidp::{ClientEntry, Endpoint, Mint, Provider, Settings};

use crate::support::eventually;
use crate::support::inside::Inside;
use crate::support::raw::{self, Answer, PATIENCE};
use crate::support::standard::{HOST, get};
use crate::support::upstream::{Reply, Seen, Upstream};

mod answers;
mod budget;
mod forget;
mod herd;
mod jwts;
mod lifetimes;
mod outages;
mod two_issuers;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const AUDIENCE: &str = "orders";

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    gateway: Inside,
}

/// What a test is about, in YAML; everything has its default.
#[derive(Clone, Copy, Default)]
struct Layout<'a> {
    /// More of the issuer: keys in flow form, each ended by a comma.
    issuer: &'a str,
    /// More of its introspection, likewise.
    introspection: &'a str,
    /// The secret that is shown, if not the right one.
    secret: Option<&'a str>,
    /// Lines of `server`.
    server: &'a str,
}

fn clients() -> Settings {
    let gateway = ClientEntry { may_introspect: true, ..ClientEntry::confidential("gateway", "a secret:%") };
    Settings { clients: vec![gateway, ClientEntry::confidential("shop", "shop")], ..Settings::default() }
}

async fn provider(hands: &ManualClock) -> Provider {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Provider::start(address, clients(), hands.clock()).await.expect("a free port")
}

fn hands() -> ManualClock {
    ManualClock::at(Time::from_seconds(START))
}

fn config(layout: Layout<'_>, issuer: &str, upstream: SocketAddr) -> String {
    let Layout { issuer: more, introspection, secret, server } = layout;
    let secret = secret.unwrap_or("a secret:%");
    let route = |name: &str, access: &str| {
        format!("  - {{ name: {name}, match: {{ path: /{name}/** }}, upstream: echo, access: {access} }}\n")
    };
    let bearer = |scope: &str| format!("{{ bearer: {{ issuers: [corp], scopes: [{scope}] }} }}");
    format!(
        "server:\n  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 2\n  trusted_proxies: [127.0.0.0/8]\n{server}\
         admin: {{ bind: 127.0.0.1:0 }}\n\
         issuers:\n  corp: {{ {more} issuer: \"{issuer}\", audiences: [{AUDIENCE}],\n    \
             introspection: {{ {introspection} client: gateway }} }}\n\
         clients: {{ gateway: {{ issuer: corp, client_id: gateway, client_secret: \"{secret}\" }} }}\n\
         upstreams: {{ echo: {{ servers: [\"http://{upstream}\"], connections: 100, queue: 20000, timeouts: {{ connect: 60s, response_header: 60s }} }} }}\nroutes:\n{}{}{}",
        route("public", "public"),
        route("api", &bearer("read")),
        route("admin", &bearer("admin")),
    )
}

impl World {
    /// An issuer of opaque tokens.
    async fn start() -> Self {
        Self::with(Layout { issuer: "tokens: opaque,", ..Layout::default() }).await
    }

    /// The same with more of its introspection.
    async fn asking(introspection: &str) -> Self {
        Self::with(Layout { issuer: "tokens: opaque,", introspection, ..Layout::default() }).await
    }

    async fn with(layout: Layout<'_>) -> Self {
        let hands = hands();
        let provider = provider(&hands).await;
        let upstream = Upstream::start(|_| Reply::Echo).await;
        let text = config(layout, provider.issuer(), upstream.address);
        Self::run(&text, hands, provider, upstream).await
    }

    /// A gateway with this configuration whose issuers have all been looked up once.
    async fn run(text: &str, hands: ManualClock, provider: Provider, upstream: Upstream) -> Self {
        let gateway = Inside::start(text, &hands, None).await;
        Self { hands, provider, upstream, gateway }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    async fn get(&self, target: &str, token: &str) -> Answer {
        raw::request(self.address(), &get(target, Some(token))).await
    }

    async fn status(&self, target: &str, token: &str) -> u16 {
        self.get(target, token).await.status
    }

    /// As a client behind a trusted proxy.
    async fn from(&self, client: &str, token: &str) -> Answer {
        let request = format!(
            "GET /api/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nX-Forwarded-For: {client}\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        raw::request(self.address(), &request).await
    }

    /// A good opaque token of alice's.
    fn token(&self) -> String {
        self.provider.mint_opaque(&mint())
    }

    /// How often the issuer was asked.
    fn calls(&self) -> u64 {
        self.provider.count(Endpoint::Introspect)
    }

    fn seen(&self) -> Vec<Seen> {
        self.upstream.take()
    }

    async fn admin(&self, target: &str) -> Answer {
        self.gateway.admin(target).await
    }

    async fn until_metric(&self, name: &str, value: u64) {
        self.gateway.until_metric(name, value).await;
    }

    /// Waits until a request was refused for this reason so often, on the route `api`.
    async fn until_refused(&self, reason: &str, times: u64) {
        self.until_metric(&format!("postern_refusals_total{{route=\"api\",reason=\"{reason}\"}}"), times).await;
    }

    /// Lets seconds pass, for gateway and provider alike.
    fn pass(&self, seconds: u64) {
        self.hands.advance(std::time::Duration::from_secs(seconds));
    }

    async fn until_asked(&self, times: u64) {
        eventually("the issuer is asked", PATIENCE, || (self.calls() >= times).then_some(())).await;
    }
}

fn mint() -> Mint {
    Mint::user("shop", "alice").scope("read")
}
