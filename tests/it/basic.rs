//! Names and passwords (RFC 7617) that the issuer exchanges for tokens: RFC 6749 sections 4.3 and 4.4. The gateway runs in
//! this process, on a clock that the test moves, before the development provider and its faults. Whatever happens, the
//! upstream never sees a password.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern::clock::{ManualClock, Time};
use postern::devidp::{ClientEntry, Endpoint, GrantType, Provider, Settings};

use crate::support::inside::Inside;
use crate::support::raw::{self, Answer};
use crate::support::upstream::{Reply, Seen, Upstream};

mod limits;
mod lives;
mod shown;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const HOST: &str = "gw.test";
/// How long the provider's tokens live. Seconds.
const LIFE: u64 = 120;

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    gateway: Inside,
}

fn settings() -> Settings {
    let life = Duration::from_secs(LIFE);
    let client = |id: &str, grants: &[GrantType]| ClientEntry {
        access_token_lifetime: life,
        ..ClientEntry::confidential(id, &format!("{id}-secret")).scopes("read write").audience("orders").grants(grants)
    };
    Settings {
        clients: vec![
            client("legacy", &[GrantType::Password]),
            client("lasting", &[GrantType::Password, GrantType::RefreshToken]),
            client("batch", &[GrantType::ClientCredentials]),
            client("shop", &[]),
        ],
        ..Settings::demo()
    }
}

impl World {
    async fn start() -> Self {
        Self::with("legacy-secret").await
    }

    async fn with(secret: &str) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = Provider::start(address, settings(), hands.clock()).await.expect("a free port");
        let upstream = Upstream::start(|_: &Seen| Reply::Echo).await;
        let route = |name: &str, access: &str, forward: &str| {
            format!(
                "  - {{ name: {name}, match: {{ path: /{name}/** }}, upstream: echo, access: {access}, forward: {{ {forward} }} }}\n"
            )
        };
        let user = "headers: { X-Forwarded-User: sub }";
        let text = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 2, trusted_proxies: [127.0.0.0/8] }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers: {{ corp: {{ issuer: \"{issuer}\", audiences: [orders] }} }}\n\
             clients:\n\
             \x20 legacy: {{ issuer: corp, client_id: legacy, client_secret: \"{secret}\", allowed_grant_types: [password] }}\n\
             \x20 lasting: {{ issuer: corp, client_id: lasting, client_secret: lasting-secret, allowed_grant_types: resource_owner_password }}\n\
             \x20 plain: {{ issuer: corp, client_id: lasting, client_secret: lasting-secret, allowed_grant_types: [password] }}\n\
             \x20 machines: {{ issuer: corp, client_id: gateway, client_secret: unused, allowed_grant_types: client_credentials }}\n\
             upstreams: {{ echo: {{ servers: [\"http://{to}\"] }} }}\nroutes:\n{read}{admin}{policy}{lasting}{plain}{less}{elsewhere}{machines}{both}{relay}{token}",
            issuer = provider.issuer(),
            to = upstream.address,
            read = route(
                "read",
                "{ basic: { client: legacy, scopes: [read], failures_per_user: 3, failures_per_client: 5 } }",
                user
            ),
            admin = route("admin", "{ basic: { client: legacy, claims: { sub: alice } } }", user),
            policy = route(
                "policy",
                "{ basic: { client: legacy, policy: 'claims.sub == \"alice\" && caller.method == \"basic\" && caller.kind == \"user\"' } }",
                user
            ),
            lasting = route("lasting", "{ basic: { client: lasting, ttl: 10m } }", user),
            plain = route("plain", "{ basic: { client: plain } }", user),
            less = route("less", "{ basic: { client: legacy, scopes: [write], request_scopes: [read] } }", user),
            elsewhere = route("elsewhere", "{ basic: { client: legacy, audience: inventory } }", user),
            machines = route(
                "machines",
                "{ basic: { client: machines, grant: client_credentials, policy: 'caller.kind == \"machine\"' } }",
                "headers: { X-Client: client_id }"
            ),
            both = route(
                "both",
                "{ basic: { client: legacy, optional: true }, bearer: { issuers: [corp], scopes: [write] } }",
                user
            ),
            relay = route("relay", "{ basic: { client: legacy } }", "access_token: bearer"),
            token = route("token", "{ bearer: { issuers: [corp] } }", user),
        );
        let gateway = Inside::start(&text, &hands, None).await;
        Self { hands, provider, upstream, gateway }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    async fn send(&self, request: &str) -> Answer {
        raw::request(self.address(), request).await
    }

    /// With these header lines, each ended by CR LF.
    async fn get(&self, target: &str, lines: &str) -> Answer {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n")).await
    }

    async fn by(&self, target: &str, name: &str, password: &str) -> Answer {
        self.get(target, &basic(name, password)).await
    }

    async fn status(&self, target: &str, name: &str, password: &str) -> u16 {
        self.by(target, name, password).await.status
    }

    fn asked(&self) -> u64 {
        self.provider.count(Endpoint::Token)
    }

    fn pass(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

const ALICE: (&str, &str) = ("alice", "wonderland");
