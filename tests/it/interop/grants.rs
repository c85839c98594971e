//! Grants without a browser, at npm `oidc-provider`: tokens of Postern's own, exchanged ones, and those that are got for names
//! and passwords.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::foreign::{Foreign, client};
use crate::support::gateway::{Gateway, Start};
use crate::support::raw::{self, Answer};
use crate::support::standard::{HOST, get};
use crate::support::upstream::Upstream;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const PEOPLE: (&str, &str) = ("people", "secret of people");

/// An API whose tokens are JWTs, for which the provider has a resource indicator.
const API: &str = "https://stock.test";

struct World {
    provider: Foreign,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    async fn start() -> Self {
        let provider = Foreign::node(json!({
            "clients": [
                client("people", &["password"], &json!({})),
                client("gateway", &["client_credentials"], &json!({})),
                client("sts", &[EXCHANGE], &json!({})),
                client("legacy", &["password", "refresh_token"], &json!({})),
                client("batch", &["client_credentials"], &json!({})),
            ],
            "resources": { API: { "scope": "read", "audience": "stock", "accessTokenFormat": "jwt" } },
        }))
        .await;
        let upstream = Upstream::echo().await;
        let route = |name: &str, authorization: &str| {
            format!(
                "  - {{ name: {name}, match: {{ hosts: [{HOST}], path: /{name}/** }}, upstream: echo, \
                 access: {{ bearer: {{ issuers: [corp] }} }}, forward: {{ authorization: {authorization} }} }}\n"
            )
        };
        let config = format!(
            "server:\n  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 2\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers: {{ corp: {{ issuer: {}, audiences: [api], tokens: opaque, introspection: {{ client: gateway, missing_audience: accept }} }} }}\n\
             clients:\n\
             \x20 gateway: {{ issuer: corp, client_id: gateway, client_secret: {{ env: GATEWAY }}, allowed_grant_types: client_credentials }}\n\
             \x20 sts: {{ issuer: corp, client_id: sts, client_secret: {{ env: STS }}, allowed_grant_types: ['{EXCHANGE}'] }}\n\
             \x20 legacy: {{ issuer: corp, client_id: legacy, client_secret: {{ env: LEGACY }}, allowed_grant_types: resource_owner_password }}\n\
             upstreams: {{ echo: {{ servers: [\"http://{}\"] }} }}\nroutes:\n{}{}\
             \x20 - {{ name: basic, match: {{ hosts: [{HOST}], path: /basic/** }}, upstream: echo, access: {{ basic: {{ client: legacy, scopes: [read] }} }}, forward: {{ headers: {{ X-Forwarded-User: sub }} }} }}\n\
             \x20 - {{ name: machines, match: {{ hosts: [{HOST}], path: /machines/** }}, upstream: echo, access: {{ basic: {{ client: gateway, grant: client_credentials, scopes: [read] }} }}, forward: {{ headers: {{ X-Client: client_id }} }} }}\n",
            provider.issuer,
            upstream.address,
            route(
                "own",
                &format!("{{ client_credentials: {{ client: gateway, scopes: [read], resource: '{API}' }} }}")
            ),
            route("exchanged", "{ exchange: { client: sts, scopes: [read] } }"),
        );
        let environment = [("GATEWAY", "secret of gateway"), ("STS", "secret of sts"), ("LEGACY", "secret of legacy")];
        let gateway = Gateway::start_as(Start { config: &config, environment: &environment, ..Start::default() }).await;
        Self { provider, upstream, gateway }
    }

    async fn alice(&self) -> String {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", "let me in"), ("scope", "read")];
        self.provider.token(PEOPLE, &form).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        raw::request(self.gateway.address(), &get(path, Some(token))).await
    }

    async fn basic(&self, path: &str, name: &str, password: &str) -> Answer {
        let pair = STANDARD.encode(format!("{name}:{password}"));
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\r\n");
        raw::request(self.gateway.address(), &request).await
    }

    /// The token that the upstream saw last.
    fn seen(&self) -> String {
        let seen = self.upstream.take();
        let field = seen.last().and_then(|seen| seen.value("authorization")).expect("a token went up");
        field.strip_prefix("Bearer ").expect("a bearer token").to_owned()
    }
}

#[tokio::test]
async fn a_token_of_posterns_own_is_for_the_resource_that_it_names() {
    let world = World::start().await;
    let alice = world.alice().await;
    for _ in 0..3 {
        let answer = world.get("/own/x", &alice).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let said = crate::support::tokens::said(&world.seen());
    assert_eq!((said["aud"].as_str(), said["sub"].as_str()), (Some("stock"), Some("gateway")));
    assert_eq!(said["scope"], "read");
    // One for alice, by her client; one for the gateway.
    assert_eq!(world.provider.asked("/token").await, 2);
}

#[tokio::test]
async fn a_callers_token_is_exchanged_once() {
    let world = World::start().await;
    let alice = world.alice().await;
    for _ in 0..3 {
        assert_eq!(world.get("/exchanged/x", &alice).await.status, 200);
    }
    let exchanged = world.seen();
    assert_ne!(exchanged, alice);
    assert_eq!(world.provider.asked("/token").await, 2);
    // The provider knows it as alice's, of the client that exchanged it.
    let form = [("token", exchanged.as_str())];
    let told = world.provider.post("/token/introspection", ("gateway", "secret of gateway"), &form).await.json();
    assert_eq!((told["active"].as_bool(), told["sub"].as_str()), (Some(true), Some("alice")));
    assert_eq!(told["client_id"], "sts");
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_of_the_person() {
    let world = World::start().await;
    for _ in 0..3 {
        let answer = world.basic("/basic/x", "alice", "let me in").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let seen = world.upstream.take();
    assert!(
        seen.iter()
            .all(|seen| seen.value("x-forwarded-user") == Some("alice") && seen.value("authorization").is_none())
    );
    assert_eq!(world.provider.asked("/token").await, 1);
    assert_eq!(world.basic("/basic/x", "alice", "wrong").await.status, 401);
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn a_machines_id_and_secret_are_exchanged_for_its_token() {
    let world = World::start().await;
    assert_eq!(world.basic("/machines/x", "batch", "secret of batch").await.status, 200);
    assert_eq!(world.upstream.take()[0].value("x-client"), Some("batch"));
    for (name, secret) in [("batch", "wrong"), ("nobody", "secret of batch"), ("people", "secret of people")] {
        assert_eq!(world.basic("/machines/x", name, secret).await.status, 401, "{name}");
    }
}
