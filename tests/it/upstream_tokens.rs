//! Tokens for upstreams: Postern's own (client credentials), and those that callers' tokens are exchanged for. The gateway
//! runs in this process, on a clock that the test moves, before the development provider and its faults; what matters is
//! what the upstream saw.

use std::net::SocketAddr;
use std::time::Duration;

use postern::clock::{ManualClock, Time};
use postern::devidp::{ClientEntry, Endpoint, GrantType, Mint, Provider, Settings};

use crate::support::eventually;
use crate::support::inside::Inside;
use crate::support::raw::{self, Answer, PATIENCE};
use crate::support::tokens::said;
use crate::support::upstream::{Reply, Seen, Upstream};

mod exchange;
mod own;
mod people;
mod ways;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const HOST: &str = "gw.test";
/// How long the provider's tokens live. Seconds.
const LIFE: u64 = 300;

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    gateway: Inside,
}

fn clients() -> Settings {
    let life = Duration::from_secs(LIFE);
    let confidential = |id: &str| ClientEntry {
        access_token_lifetime: life,
        further_audiences: vec!["inventory".to_owned()],
        ..ClientEntry::confidential(id, &format!("{id}-secret")).scopes("read write").audience("orders")
    };
    Settings {
        clients: vec![
            confidential("batch").grants(&[GrantType::ClientCredentials]),
            confidential("sts").grants(&[GrantType::TokenExchange]),
            confidential("shop"),
        ],
        ..Settings::demo()
    }
}

/// A route for each kind of token.
fn config(provider: &Provider, upstream: &Upstream, batch: &str, sts: &str) -> String {
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let route = |name: &str, authorization: &str| {
        format!(
            "  - {{ name: {name}, match: {{ path: /{name}/** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp] }} }}, forward: {{ authorization: {authorization} }} }}\n"
        )
    };
    format!(
        "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 2 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
         issuers: {{ corp: {{ issuer: \"{issuer}\", audiences: [orders] }} }}\n\
         clients:\n\
         \x20 batch: {{ issuer: corp, client_id: batch, client_secret: \"{batch}\", allowed_grant_types: client_credentials }}\n\
         \x20 sts: {{ issuer: corp, client_id: sts, client_secret: \"{sts}\", allowed_grant_types: ['{exchange}'] }}\n\
         upstreams: {{ echo: {{ servers: [\"http://{to}\"] }} }}\nroutes:\n{own}{wide}{exchanged}{acting}\
         \x20 - {{ name: open, match: {{ path: /open/** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp], optional: true }} }}, preflight: forward, forward: {{ authorization: {{ exchange: {{ client: sts, audience: inventory }} }} }} }}\n",
        issuer = provider.issuer(),
        to = upstream.address,
        own = route("own", "{ client_credentials: { client: batch, scopes: [read], audience: inventory } }"),
        wide = route("wide", "{ client_credentials: { client: batch } }"),
        exchanged = route("exchanged", "{ exchange: { client: sts, audience: inventory, scopes: [read] } }"),
        acting = route("acting", "{ exchange: { client: sts, audience: inventory, actor: batch } }"),
    )
}

impl World {
    async fn start(upstream: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with("batch-secret", "sts-secret", upstream).await
    }

    async fn with(batch: &str, sts: &str, upstream: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = Provider::start(address, clients(), hands.clock()).await.expect("a free port");
        let upstream = Upstream::start(upstream).await;
        let text = config(&provider, &upstream, batch, sts);
        let gateway = Inside::start(&text, &hands, None).await;
        Self { hands, provider, upstream, gateway }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// A token of alice's, good for an hour.
    fn alice(&self) -> String {
        self.token("alice")
    }

    fn token(&self, subject: &str) -> String {
        self.provider.mint(&Mint::user("shop", subject).audience("orders").scope("read").lifetime(3600))
    }

    async fn send(&self, request: &str) -> Answer {
        raw::request(self.address(), request).await
    }

    async fn get(&self, target: &str, token: &str) -> Answer {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .await
    }

    /// The token that the upstream saw with this request, which must have come through.
    async fn forwarded(&self, target: &str, token: &str) -> String {
        let answer = self.get(target, token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = self.upstream.take();
        let seen = seen.last().expect("it came through");
        let fields: Vec<_> = seen.values("authorization");
        assert_eq!(fields.len(), 1, "one token goes up");
        fields[0].strip_prefix("Bearer ").expect("a bearer token").to_owned()
    }

    /// Requests that the token endpoint got.
    fn asked(&self) -> u64 {
        self.provider.count(Endpoint::Token)
    }

    async fn until_asked(&self, times: u64) {
        eventually("the issuer is asked", PATIENCE, || (self.asked() >= times).then_some(())).await;
    }

    fn pass(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }
}

fn echo(_: &Seen) -> Reply {
    Reply::Echo
}
