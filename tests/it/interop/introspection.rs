//! Opaque tokens of npm `oidc-provider`: introspected, remembered, judged by each route, revoked, expired, signed.

use serde_json::json;

use crate::support::eventually_async;
use crate::support::foreign::{Foreign, client};
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Answer, PATIENCE};
use crate::support::standard::{HOST, bearer, get};
use crate::support::upstream::Upstream;

const MACHINE: (&str, &str) = ("machine", "secret of machine");
const PEOPLE: (&str, &str) = ("people", "secret of people");
const INTROSPECTION: &str = "/token/introspection";

/// An API whose tokens are JWTs, for which the provider has a resource indicator.
const API: &str = "urn:example:api";

struct World {
    provider: Foreign,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    /// `tokens` is the issuer's, `introspection` more of what it says on that, `gateway` the client that asks.
    async fn start(tokens: &str, introspection: &str, asks_as: &str) -> Self {
        Self::start_with(tokens, introspection, asks_as, json!({})).await
    }

    async fn start_with(tokens: &str, introspection: &str, asks_as: &str, ttl: serde_json::Value) -> Self {
        let provider = Foreign::node(json!({
            "clients": [
                client("machine", &["client_credentials"], &json!({})),
                client("people", &["password"], &json!({})),
                client("gateway", &["client_credentials"], &json!({})),
                client("signed", &["client_credentials"], &json!({ "introspection_signed_response_alg": "ES256" })),
            ],
            "resources": { API: { "scope": "read", "audience": "api", "accessTokenFormat": "jwt" } },
            "ttl": ttl,
        }))
        .await;
        let upstream = Upstream::echo().await;
        let route = |name: &str, scope: &str| {
            format!(
                "  - {{ name: {name}, match: {{ hosts: [{HOST}], path: /{name}/** }}, upstream: echo, access: {}, \
                 forward: {{ headers: {{ X-Forwarded-User: sub, X-Client: client_id }} }} }}\n",
                bearer(scope)
            )
        };
        let config = format!(
            "server:\n  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 2\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers:\n  corp:\n    issuer: {}\n    audiences: [api]\n    tokens: {tokens}\n    introspection: \
             {{ client: gateway, missing_audience: accept{introspection} }}\n\
             clients:\n  gateway:\n    issuer: corp\n    client_id: {asks_as}\n    client_secret: secret of {asks_as}\n\
             upstreams:\n  echo: {{ servers: [\"http://{}\"] }}\nroutes:\n{}{}",
            provider.issuer,
            upstream.address,
            route("read", "read"),
            route("write", "write"),
        );
        let gateway = Gateway::start(&config).await;
        Self { provider, upstream, gateway }
    }

    async fn machine_token(&self, scope: &str) -> String {
        self.provider.token(MACHINE, &[("grant_type", "client_credentials"), ("scope", scope)]).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        raw::request(self.gateway.address(), &get(path, Some(token))).await
    }

    async fn status(&self, path: &str, token: &str) -> u16 {
        self.get(path, token).await.status
    }

    async fn questions(&self) -> u64 {
        self.provider.asked(INTROSPECTION).await
    }
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_and_judged_by_each_route() {
    let world = World::start("opaque", "", "gateway").await;
    let token = world.machine_token("read").await;
    for _ in 0..5 {
        assert_eq!(world.status("/read/x", &token).await, 200);
        let refused = world.get("/write/x", &token).await;
        assert_eq!(refused.status, 403);
        assert!(refused.value("www-authenticate").expect("a challenge").contains("insufficient_scope"));
    }
    assert_eq!(world.questions().await, 1);
    let seen = world.upstream.take();
    assert_eq!(seen.len(), 5);
    for seen in seen {
        assert_eq!((seen.value("x-client"), seen.value("x-forwarded-user")), (Some("machine"), None));
        assert!(seen.values("authorization").is_empty(), "the token stays here");
    }
    let both = world.machine_token("read write").await;
    assert_eq!((world.status("/read/x", &both).await, world.status("/write/x", &both).await), (200, 200));
}

#[tokio::test]
async fn a_users_token_names_the_user() {
    let world = World::start("opaque", "", "gateway").await;
    let form = [("grant_type", "password"), ("username", "alice"), ("password", "let me in"), ("scope", "read")];
    let token = world.provider.token(PEOPLE, &form).await;
    assert_eq!(world.status("/read/x", &token).await, 200);
    let seen = world.upstream.take();
    assert_eq!((seen[0].value("x-forwarded-user"), seen[0].value("x-client")), (Some("alice"), Some("people")));
}

#[tokio::test]
async fn what_the_provider_does_not_know_is_refused_and_remembered_as_such() {
    let world = World::start("opaque", "", "gateway").await;
    for _ in 0..3 {
        let refused = world.get("/read/x", "no-token-of-this-provider").await;
        assert_eq!(refused.status, 401);
        assert!(refused.value("www-authenticate").expect("a challenge").contains("invalid_token"));
    }
    assert_eq!(world.questions().await, 1);
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn a_revoked_token_is_refused_when_its_answer_has_run_out() {
    let world = World::start("opaque", ", cache: { ttl: 1s }", "gateway").await;
    let token = world.machine_token("read").await;
    assert_eq!(world.status("/read/x", &token).await, 200);
    world.provider.revoke(MACHINE, &token).await;
    eventually_async("the revoked token is refused", PATIENCE, async || {
        let status = world.status("/read/x", &token).await;
        assert!(matches!(status, 200 | 401), "{status}");
        (status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_whatever_is_remembered() {
    let world = World::start_with("opaque", "", "gateway", json!({ "ClientCredentials": 5 })).await;
    let token = world.machine_token("read").await;
    assert_eq!(world.status("/read/x", &token).await, 200);
    eventually_async("the token has expired", PATIENCE, async || {
        (world.status("/read/x", &token).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn signed_answers_are_asked_for_and_verified() {
    for (asks_as, algorithm) in [("signed", "ES256"), ("gateway", "RS256")] {
        let world = World::start("opaque", ", signed: true", asks_as).await;
        let token = world.machine_token("read").await;
        assert_eq!(world.status("/read/x", &token).await, 200, "{algorithm}");
        assert_eq!(world.status("/write/x", &token).await, 403, "{algorithm}");
        assert_eq!(world.status("/read/x", "no-token-of-this-provider").await, 401, "{algorithm}");
    }
}

#[tokio::test]
async fn a_wrong_client_secret_is_an_outage_and_never_a_verdict() {
    let world = World::start("opaque", "", "unheard-of").await;
    let token = world.machine_token("read").await;
    let refused = world.get("/read/x", &token).await;
    assert_eq!(refused.status, 503);
    assert!(refused.value("retry-after").is_some());
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn signed_tokens_are_checked_here_and_the_others_asked_about() {
    let world = World::start("any", "", "gateway").await;
    let form = [("grant_type", "client_credentials"), ("scope", "read"), ("resource", API)];
    let jwt = world.provider.token(MACHINE, &form).await;
    assert_eq!(jwt.split('.').count(), 3, "a JWT: {jwt}");
    assert_eq!(world.status("/read/x", &jwt).await, 200);
    assert_eq!(world.questions().await, 0);
    let opaque = world.machine_token("read").await;
    assert_eq!(world.status("/read/x", &opaque).await, 200);
    assert_eq!(world.questions().await, 1);
}
