//! What an answer must be like, and what becomes of it: R17, T22, T24.

use http::header::AUTHORIZATION;
use postern::devidp::{Fault, Mint};
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn an_active_token_is_its_subjects_and_is_asked_about_once() {
    let world = World::start().await;
    let token = world.token();
    for _ in 0..3 {
        assert_eq!(world.status("/api/x", &token).await, 200);
    }
    assert_eq!(world.calls(), 1);
    let seen = world.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.values("x-forwarded-user"), ["alice"]);
        assert!(request.values(AUTHORIZATION.as_str()).is_empty(), "the token goes no further");
    }
    world.until_metric("postern_introspection_calls_total{issuer=\"corp\",outcome=\"active\"}", 1).await;
    world.until_metric("postern_introspection_hits_total{issuer=\"corp\",kind=\"positive\"}", 2).await;
}

/// T22: what is remembered is the token's facts; each route judges them.
#[tokio::test]
async fn a_cached_answer_is_judged_by_each_route_anew() {
    let world = World::start().await;
    let token = world.token();
    for _ in 0..3 {
        assert_eq!(world.status("/api/x", &token).await, 200);
        let refused = world.get("/admin/x", &token).await;
        assert_eq!(refused.status, 403);
        assert!(refused.value("www-authenticate").is_some_and(|text| text.contains("insufficient_scope")));
    }
    assert_eq!(world.calls(), 1);
    assert!(world.seen().iter().all(|seen| seen.target == "/api/x"));
}

#[tokio::test]
async fn what_the_issuer_does_not_know_or_has_ended_is_no_token() {
    let world = World::start().await;
    let (revoked, expired) = (world.token(), world.provider.mint_opaque(&mint().lifetime(-1)));
    assert!(world.provider.revoke(&revoked));
    for token in ["junk", &revoked, &expired] {
        let answer = world.get("/api/x", token).await;
        assert_eq!(answer.status, 401);
        let challenge = answer.value("www-authenticate").unwrap_or_default().to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    assert_eq!(world.calls(), 3);
    world.until_refused("token.inactive", 3).await;
    assert!(world.seen().is_empty());
}

/// R17 and what a JWT is refused for, each by a change to an answer that is good otherwise.
#[tokio::test]
async fn an_answer_is_checked_as_strictly_as_a_jwt() {
    let world = World::asking("failures_per_client: 0,").await;
    let changes: &[(Value, &str)] = &[
        (json!({"active": "true"}), "token.inactive"),
        (json!({"active": 1}), "token.inactive"),
        (json!({"active": null}), "token.inactive"),
        (json!({"active": false}), "token.inactive"),
        (json!({"exp": START - 31}), "token.expired"),
        (json!({"exp": (START + 300).to_string()}), "token.claims"),
        (json!({"exp": true}), "token.claims"),
        (json!({"nbf": START + 60}), "token.not_yet_valid"),
        (json!({"iat": START + 60}), "token.not_yet_valid"),
        (json!({"iss": "https://elsewhere.example"}), "token.issuer"),
        (json!({"iss": [world.provider.issuer()]}), "token.claims"),
        (json!({"aud": "order"}), "token.audience"),
        (json!({"aud": ["orders/", "Orders"]}), "token.audience"),
        (json!({"aud": []}), "token.claims"),
        (json!({"aud": null}), "token.audience_missing"),
        (json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}), "token.bound"),
        (json!({"token_type": "DPoP"}), "token.bound"),
        (json!({"token_type": "refresh_token"}), "token.not_access"),
        (json!({"typ": "ID"}), "token.not_access"),
        (json!({"events": {}}), "token.not_access"),
        (json!({"sub": 7}), "token.claims"),
        (json!({"scope": 7}), "token.claims"),
    ];
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for (change, reason) in changes {
        let token = world.token();
        let members = change.as_object().expect("an object").clone();
        world.provider.set_fault_for(Endpoint::Introspect, Fault::Change(members), 1);
        assert_eq!(world.status("/api/x", &token).await, 401, "{change}");
        *counts.entry(reason).or_default() += 1;
        world.until_refused(reason, counts[reason]).await;
    }
    assert!(world.seen().is_empty());
    // What is allowed to be missing.
    for change in [json!({"exp": null}), json!({"iss": null}), json!({"token_type": null}), json!({"client_id": null})]
    {
        let token = world.token();
        let members = change.as_object().expect("an object").clone();
        world.provider.set_fault_for(Endpoint::Introspect, Fault::Change(members), 1);
        assert_eq!(world.status("/api/x", &token).await, 200, "{change}");
    }
}

/// An answer that says neither yes nor no is a no for this request, and is remembered as nothing.
#[tokio::test]
async fn an_unclear_answer_is_not_remembered() {
    let world = World::start().await;
    let token = world.token();
    let unclear = json!({"active": "true"}).as_object().expect("an object").clone();
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Change(unclear), 1);
    assert_eq!(world.status("/api/x", &token).await, 401);
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn a_missing_audience_follows_the_configuration() {
    let nobody = || Mint { audience: Vec::new(), ..mint() }.claim("aud", Value::Null);
    let strict = World::start().await;
    let token = strict.provider.mint_opaque(&nobody());
    assert_eq!(strict.status("/api/x", &token).await, 401);
    strict.until_refused("token.audience_missing", 1).await;

    let lenient = World::asking("missing_audience: accept,").await;
    let token = lenient.provider.mint_opaque(&nobody());
    assert_eq!(lenient.status("/api/x", &token).await, 200);
    let other = lenient.provider.mint_opaque(&mint().audience("other"));
    assert_eq!(lenient.status("/api/x", &other).await, 401, "another's audience is another's");
}

/// The gateway shows its own credentials and nobody else's, with the token in the form.
#[tokio::test]
async fn both_ways_of_showing_a_secret_are_taken() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let hands = hands();
        let provider = provider(&hands).await;
        let upstream = Upstream::start(|_| Reply::Echo).await;
        let layout = Layout { issuer: "tokens: opaque,", ..Layout::default() };
        let text = config(layout, provider.issuer(), upstream.address)
            .replace("client_id: gateway,", &format!("client_id: gateway, authentication: {method},"));
        let world = World::run(&text, hands, provider, upstream).await;
        assert_eq!(world.status("/api/x", &world.token()).await, 200, "{method}");
    }
}

/// RFC 9701: the answer is a token of its own.
#[tokio::test]
async fn signed_answers_are_asked_for_and_verified() {
    let world = World::asking("signed: true,").await;
    assert_eq!(world.status("/api/x", &world.token()).await, 200);
    assert_eq!(world.status("/api/x", "junk").await, 401);
    world.provider.set_fault(Endpoint::Introspect, Fault::WrongContentType);
    assert_eq!(world.status("/api/x", &world.token()).await, 503, "an answer that is not signed is none");
    world.until_refused("introspection.answer", 1).await;
    world.provider.clear_faults();
    // Keys that the provider has withdrawn sign nothing any more; new ones are fetched by their kid.
    world.provider.rotate_keys(postern::devidp::Withdraw::AtOnce).expect("new keys");
    assert_eq!(world.status("/api/x", &world.token()).await, 200);
}

/// T24: first uses at the same time; nobody gets another's identity, and each token is asked about once.
#[tokio::test]
async fn two_hundred_first_uses_keep_their_own_identity() {
    let world = World::start().await;
    let token = |name: &str| world.provider.mint_opaque(&Mint { subject: Some(name.to_owned()), ..mint() });
    let tokens = [("alice", token("alice")), ("bob", token("bob"))];
    let all = (0..200).map(|number| {
        let (name, token) = &tokens[number % 2];
        let world = &world;
        async move { world.status(&format!("/api/{name}/{number}"), token).await }
    });
    assert!(futures_util::future::join_all(all).await.iter().all(|status| *status == 200));
    assert!(world.calls() <= 2, "{} calls", world.calls());
    let seen = world.seen();
    assert_eq!(seen.len(), 200);
    for request in seen {
        let name = request.target.split('/').nth(2).expect("a name");
        assert_eq!(request.values("x-forwarded-user"), [name], "{}", request.target);
    }
}

/// What CEL sees is the answer.
#[tokio::test]
async fn a_policy_sees_the_answer_as_claims() {
    let hands = hands();
    let provider = provider(&hands).await;
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let layout = Layout { issuer: "tokens: opaque,", ..Layout::default() };
    let text = config(layout, provider.issuer(), upstream.address).replace(
        "scopes: [admin]",
        "policy: 'claims.active && claims.tenant == \"acme\" && caller.method == \"introspection\"'",
    );
    let world = World::run(&text, hands, provider, upstream).await;
    let acme = world.provider.mint_opaque(&mint().claim("tenant", "acme"));
    let other = world.provider.mint_opaque(&mint().claim("tenant", "other"));
    for round in 0..2 {
        assert_eq!(world.status("/admin/x", &acme).await, 200, "round {round}");
        assert_eq!(world.status("/admin/x", &other).await, 403, "round {round}");
    }
    assert_eq!(world.calls(), 2);
}
