//! How Postern shows an issuer who it is, from outside: what the issuer's endpoints get to see, and whether the development
//! provider believes it. The gateway runs in this process, on a clock that the test moves.

use std::net::SocketAddr;
use std::time::Duration;

use postern::clock::{ManualClock, Time};
use postern::devidp::{Authentication, ClientEntry, GrantType, Mint, Provider, Settings};
use serde_json::json;

use crate::support::Folder;
use crate::support::inside::Inside;
use crate::support::keys::ClientKey;
use crate::support::raw;
use crate::support::tokens::said;
use crate::support::upstream::{Reply, Seen, Upstream, answer};

mod certificates;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const SECRET: &str = "a secret of thirty-two bytes: &=%";
const HOST: &str = "gw.test";

/// A gateway before an issuer, with one client that gets tokens and asks about those of others.
struct World {
    hands: ManualClock,
    provider: Provider,
    /// Stands in for the issuer's endpoints where a test wants to see what comes.
    endpoints: Upstream,
    upstream: Upstream,
    gateway: Inside,
}

/// What an issuer says that believes everything.
fn believing(seen: &Seen) -> Reply {
    let said = match seen.target.as_str() {
        "/token" => json!({ "access_token": "t0ken", "token_type": "Bearer", "expires_in": 60 }),
        _ => json!({ "active": true, "sub": "alice", "aud": "orders", "scope": "read", "client_id": "shop" }),
    };
    answer(200, "application/json", said.to_string())
}

impl World {
    /// `client`: how the client shows who it is, in flow form. `stands_in`: its requests go to `endpoints`.
    async fn start(client: &str, registered: ClientEntry, stands_in: bool) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let registered = ClientEntry { may_introspect: true, ..registered }
            .grants(&[GrantType::ClientCredentials])
            .scopes("read")
            .audience("orders");
        let settings = Settings {
            clients: vec![registered, ClientEntry::confidential("shop", "shop").opaque()],
            ..Settings::demo()
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let provider = Provider::start(address, settings, hands.clock()).await.expect("a free port");
        let (endpoints, upstream) = (Upstream::start(believing).await, Upstream::echo().await);
        let to = endpoints.address;
        let at = format!("endpoints: {{ token: 'http://{to}/token', introspection: 'http://{to}/introspect' }}, ");
        let text = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers: {{ corp: {{ {at}issuer: '{issuer}', audiences: [orders], tokens: opaque, introspection: {{ client: gateway, cache: {{ ttl: 0s }} }} }} }}\n\
             clients: {{ gateway: {{ issuer: corp, client_id: gateway, allowed_grant_types: client_credentials, {client} }} }}\n\
             upstreams: {{ echo: {{ servers: ['http://{echo}'] }} }}\nroutes:\n\
             \x20 - {{ name: own, match: {{ path: /own/** }}, upstream: echo, access: public, forward: {{ authorization: {{ client_credentials: {{ client: gateway }} }} }} }}\n\
             \x20 - {{ name: api, match: {{ path: /api/** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}\n",
            at = if stands_in { at.as_str() } else { "" },
            issuer = provider.issuer(),
            echo = upstream.address,
        );
        let gateway = Inside::start(&text, &hands, None).await;
        Self { hands, provider, endpoints, upstream, gateway }
    }

    async fn status(&self, path: &str, token: Option<&str>) -> u16 {
        let field = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{field}\r\n");
        raw::request(self.gateway.address(), &request).await.status
    }

    /// What the endpoint got, as a form. Nothing of it stands in the address.
    fn form(&self, target: &str) -> Vec<(String, String)> {
        let seen = self.endpoints.take();
        let seen = seen.iter().find(|seen| seen.target == target).unwrap_or_else(|| panic!("{target}: {seen:?}"));
        assert_eq!((seen.method.as_str(), seen.value("authorization")), ("POST", None));
        url::form_urlencoded::parse(&seen.body).into_owned().collect()
    }
}

fn value<'f>(form: &'f [(String, String)], name: &str) -> &'f str {
    let found: Vec<_> = form.iter().filter(|(known, _)| known == name).collect();
    assert_eq!(found.len(), 1, "{name}: {form:?}");
    &found[0].1
}

fn secret_jwt() -> (String, ClientEntry) {
    let registered =
        ClientEntry { authentication: Authentication::SecretJwt, ..ClientEntry::confidential("gateway", SECRET) };
    (format!("authentication: client_secret_jwt, client_secret: '{SECRET}'"), registered)
}

fn private_key_jwt(key: &ClientKey) -> (String, ClientEntry) {
    let registered = ClientEntry {
        authentication: Authentication::PrivateKeyJwt,
        jwks: vec![key.public.clone()],
        ..ClientEntry::public("gateway")
    };
    (format!("authentication: private_key_jwt, {}", key.line()), registered)
}

#[tokio::test]
async fn the_provider_believes_assertions_signed_with_the_secret_or_the_key() {
    let key = ClientKey::new();
    for (client, registered) in [secret_jwt(), private_key_jwt(&key)] {
        for audience in ["", ", assertion_audience: token_endpoint"] {
            let world = World::start(&format!("{client}{audience}"), registered.clone(), false).await;
            assert_eq!(world.status("/own/x", None).await, 200, "{client}");
            let token = world.provider.mint(&Mint::user("shop", "alice").audience("orders").scope("read"));
            // Each question has an assertion of its own: the provider takes none twice.
            for _ in 0..3 {
                assert_eq!(world.status("/api/x", Some(&token)).await, 200, "{client}");
            }
            assert_eq!(world.status("/api/x", Some("junk")).await, 401, "{client}");
            assert_eq!(world.upstream.take().len(), 4);
        }
    }
}

#[tokio::test]
async fn another_key_or_secret_is_not_believed_and_nothing_goes_up() {
    let (key, other) = (ClientKey::new(), ClientKey::new());
    let wrong_key = (private_key_jwt(&key).0, private_key_jwt(&other).1);
    let wrong_secret = (secret_jwt().0.replace("thirty-two", "thirty-six"), secret_jwt().1);
    for (client, registered) in [wrong_key, wrong_secret] {
        let world = World::start(&client, registered, false).await;
        assert_eq!(world.status("/own/x", None).await, 503, "{client}");
        let token = world.provider.mint(&Mint::user("shop", "alice").audience("orders").scope("read"));
        assert_eq!(world.status("/api/x", Some(&token)).await, 503, "{client}");
        assert!(world.upstream.take().is_empty());
    }
}

#[tokio::test]
async fn assertions_are_for_the_issuer_live_a_minute_and_come_once() {
    let key = ClientKey::new();
    for (client, registered) in [secret_jwt(), private_key_jwt(&key)] {
        let world = World::start(&client, registered, true).await;
        let mut ids = Vec::new();
        for round in 0..2 {
            assert_eq!(world.status("/own/x", None).await, 200);
            let of_token = world.form("/token");
            assert_eq!(world.status("/api/x", Some("opaque")).await, 200);
            let of_introspection = world.form("/introspect");
            for form in [of_token, of_introspection] {
                assert_eq!(
                    value(&form, "client_assertion_type"),
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                );
                assert!(form.iter().all(|(name, _)| name != "client_secret"), "{form:?}");
                let claims = said(value(&form, "client_assertion"));
                assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("gateway"), Some("gateway")));
                assert_eq!(claims["aud"].as_str(), Some(world.provider.issuer()), "one string");
                let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
                assert_eq!((issued, expires), (START + round * 120, START + round * 120 + 60));
                ids.push(claims["jti"].as_str().expect("a jti").to_owned());
            }
            world.hands.advance(Duration::from_secs(120));
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), all), (4, 4), "none is shown twice");
    }
}

#[tokio::test]
async fn a_projected_token_is_shown_as_it_is_now_and_without_one_nothing_passes() {
    let folder = Folder::new();
    folder.write("token", "first.projected.token\n");
    let client =
        format!("authentication: private_key_jwt, assertion: {{ file: '{}' }}", folder.path("token").display());
    let world = World::start(&client, ClientEntry::public("gateway"), true).await;
    assert_eq!(world.status("/api/x", Some("opaque")).await, 200);
    assert_eq!(value(&world.form("/introspect"), "client_assertion"), "first.projected.token");
    folder.write("token", "second.projected.token");
    assert_eq!(world.status("/api/x", Some("opaque")).await, 200);
    assert_eq!(value(&world.form("/introspect"), "client_assertion"), "second.projected.token");
    assert_eq!(world.status("/own/x", None).await, 200);
    assert_eq!(value(&world.form("/token"), "client_assertion"), "second.projected.token");
    world.upstream.take();
    folder.write("token", "\n");
    assert_eq!(world.status("/api/x", Some("opaque")).await, 503);
    std::fs::remove_file(folder.path("token")).expect("the token");
    world.hands.advance(Duration::from_secs(120));
    assert_eq!(world.status("/api/x", Some("opaque")).await, 503);
    assert_eq!(world.status("/own/x", None).await, 503);
    assert!(world.upstream.take().is_empty() && world.endpoints.take().is_empty());
}
