//! Token exchange (RFC 8693).

use std::sync::Arc;

use postern::authn::{Forget, Tokens};
use postern::devidp::Fault;
use postern::seal::Secret;
use serde_json::json;

use super::*;

#[tokio::test]
async fn the_callers_token_becomes_one_for_the_upstream() {
    let world = World::start(echo).await;
    let (alice, bob) = (world.alice(), world.token("bob"));
    let first = world.forwarded("/exchanged/x", &alice).await;
    let claims = said(&first);
    assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some("alice"), Some("sts")));
    assert_eq!(claims["aud"].as_str().or(claims["aud"][0].as_str()), Some("inventory"));
    assert_eq!(claims["scope"].as_str(), Some("read"));
    assert_eq!(world.forwarded("/exchanged/y", &alice).await, first, "it is remembered");
    assert_eq!(world.asked(), 1);
    assert_eq!(said(&world.forwarded("/exchanged/x", &bob).await)["sub"], "bob", "for each caller its own");
    assert_ne!(world.forwarded("/exchanged/x", &world.alice()).await, first, "for each token its own");
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn an_actor_says_who_acts() {
    let world = World::start(echo).await;
    let claims = said(&world.forwarded("/acting/x", &world.alice()).await);
    assert_eq!((claims["sub"].as_str(), claims["act"]["sub"].as_str()), (Some("alice"), Some("batch")));
    assert_eq!(world.asked(), 2, "the actor's token is Postern's own, got once");
    world.forwarded("/acting/x", &world.token("bob")).await;
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn many_requests_with_one_token_make_one_exchange() {
    let world = Arc::new(World::start(echo).await);
    let alice = world.alice();
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let (world, alice) = (Arc::clone(&world), alice.clone());
            tokio::spawn(async move { world.get("/exchanged/x", &alice).await.status })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.expect("an answer"), 200);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn it_serves_until_the_earlier_end_of_both() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let first = world.forwarded("/exchanged/x", &alice).await;
    world.pass(LIFE - 11);
    assert_eq!(world.forwarded("/exchanged/x", &alice).await, first);
    world.pass(1);
    assert_ne!(world.forwarded("/exchanged/x", &alice).await, first, "ten seconds before its end it is put away");
    // A token of the caller's that ends earlier takes what it was exchanged for along.
    let brief = world.provider.mint(&Mint::user("shop", "alice").audience("orders").lifetime(20));
    world.forwarded("/open/x", &brief).await;
    world.pass(60);
    assert_eq!(world.get("/open/x", &brief).await.status, 401);
}

#[tokio::test]
async fn a_no_of_the_issuer_is_a_403_and_remembered_for_a_while() {
    let world = World::start(echo).await;
    // A scope that the caller's token does not have: no exchange may add it.
    let narrow = world.provider.mint(&Mint::user("shop", "alice").audience("orders").scope("other"));
    for _ in 0..3 {
        let answer = world.get("/exchanged/x", &narrow).await;
        assert_eq!((answer.status, answer.value("www-authenticate")), (403, None));
    }
    assert_eq!(world.asked(), 1);
    world.gateway.until_metric("postern_refusals_total{route=\"exchanged\",reason=\"exchange.refused\"}", 3).await;
    world.pass(10);
    assert_eq!(world.get("/exchanged/x", &narrow).await.status, 403);
    assert_eq!(world.asked(), 2);
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn an_outage_and_a_fault_of_ours_are_503_and_never_remembered() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let answer = |value: serde_json::Value| Fault::Change(value.as_object().expect("an object").clone());
    for fault in [
        Fault::Drop,
        Fault::Status(500),
        Fault::Garbage,
        Fault::OAuthError("invalid_client".to_owned()),
        Fault::OAuthError("temporarily_unavailable".to_owned()),
        answer(json!({ "token_type": "DPoP" })),
        answer(json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token" })),
        answer(json!({ "access_token": null })),
    ] {
        world.provider.set_fault(Endpoint::Token, fault.clone());
        let refused = world.get("/exchanged/x", &alice).await;
        assert_eq!((refused.status, refused.value("retry-after").is_some()), (503, true), "{fault:?}");
        assert!(world.upstream.take().is_empty(), "{fault:?}");
        world.provider.clear_faults();
    }
    world.forwarded("/exchanged/x", &alice).await;
    let world = World::with("batch-secret", "wrong", echo).await;
    assert_eq!(world.get("/exchanged/x", &world.alice()).await.status, 503, "our secret is wrong, not the caller");
}

#[tokio::test]
async fn nobody_brings_nothing_and_a_preflight_neither() {
    let world = World::start(echo).await;
    let answer = world.send(&format!("GET /open/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(answer.status, 200);
    let preflight = format!(
        "OPTIONS /open/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nOrigin: https://a.test\r\n\
         Access-Control-Request-Method: GET\r\nAuthorization: Bearer {}\r\n\r\n",
        world.alice()
    );
    assert_eq!(world.send(&preflight).await.status, 200);
    for seen in world.upstream.take() {
        assert_eq!(seen.value("authorization"), None, "{}", seen.method);
    }
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn what_was_got_for_a_token_is_forgotten_with_it() {
    let world = World::start(echo).await;
    let (alice, bob) = (world.alice(), world.token("bob"));
    let secret = Secret::new(alice.clone());
    for tokens in [
        Tokens::Token(secret),
        Tokens::Subject("alice".into()),
        Tokens::ClientId("shop".into()),
        Tokens::Id("any".into()),
    ] {
        let (hers, his) = (world.forwarded("/exchanged/x", &alice).await, world.forwarded("/exchanged/x", &bob).await);
        let elsewhere = Forget { tokens: tokens.clone(), issuer: Some("another".into()) };
        let only_hers = matches!(tokens, Tokens::Token(_) | Tokens::Subject(_));
        if !matches!(tokens, Tokens::Token(_)) {
            world.gateway.plan.forget(&elsewhere).await.expect("no store");
            assert_eq!(world.forwarded("/exchanged/x", &alice).await, hers, "{elsewhere:?}");
        }
        let forget = Forget { tokens, issuer: None };
        world.gateway.plan.forget(&forget).await.expect("no store");
        assert_ne!(world.forwarded("/exchanged/x", &alice).await, hers, "{forget:?}");
        assert_eq!(world.forwarded("/exchanged/x", &bob).await == his, only_hers, "{forget:?}");
    }
}

#[tokio::test]
async fn what_was_asked_before_something_was_forgotten_serves_nobody_after() {
    let world = Arc::new(World::start(echo).await);
    let alice = world.alice();
    world.provider.set_fault(Endpoint::Token, Fault::Slow(Duration::from_secs(5)));
    let early = tokio::spawn({
        let (world, alice) = (Arc::clone(&world), alice.clone());
        async move { world.get("/exchanged/x", &alice).await.status }
    });
    world.until_asked(1).await;
    let forget = Forget { tokens: Tokens::Subject("alice".into()), issuer: None };
    world.gateway.plan.forget(&forget).await.expect("no store");
    world.provider.clear_faults();
    let late = world.forwarded("/exchanged/x", &alice).await;
    assert_eq!(world.asked(), 2, "who comes after waits for nothing that was asked before");
    world.pass(5);
    assert_eq!(early.await.expect("an answer"), 200);
    assert_eq!(world.forwarded("/exchanged/x", &alice).await, late, "nor is it put away");
}
