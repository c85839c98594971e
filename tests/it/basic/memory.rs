//! What is remembered of a password, and for how long.

use std::sync::Arc;

use postern::authn::{Forget, Tokens};
use postern::devidp::Fault;
use postern::seal::Secret;

use super::*;

#[tokio::test]
async fn a_name_and_a_password_pass_as_the_token_that_they_stand_for() {
    let world = World::start().await;
    assert_eq!(world.alice("/basic/x").await, 200);
    let seen = world.seen();
    assert_eq!((seen[0].value("x-forwarded-user"), seen[0].value("authorization")), (Some("alice"), None));
    assert_eq!(world.alice("/basic/y").await, 200);
    assert_eq!(world.alice("/again/x").await, 200, "routes that ask for the same share what they know");
    assert_eq!(world.asked(), 1, "the issuer is shown it once");
    assert_eq!(world.alice("/staff/x").await, 200);
    assert_eq!(world.status("/staff/x", "bob", "builder").await, 403, "rules hold for this way, too");
    assert_eq!(world.alice("/write/x").await, 403, "a scope that was not asked for is not there");
}

#[tokio::test]
async fn a_wrong_one_is_the_same_401_for_every_reason_and_known_for_a_while() {
    let world = World::start().await;
    let mut bodies = Vec::new();
    for (name, password) in [("alice", "looking-glass"), ("nobody", "wonderland"), ("alice", ""), ("", "wonderland")] {
        let answer = world.get("/basic/x", &shown(name, password)).await;
        assert_eq!((answer.status, answer.value("www-authenticate")), (401, Some(CHALLENGE)), "{name}:{password}");
        let mut body = answer.json();
        body["request_id"].take();
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    assert_eq!(world.asked(), 2, "half a pair is none, and shown to nobody");
    assert_eq!(world.status("/basic/x", "alice", "looking-glass").await, 401);
    assert_eq!(world.asked(), 2);
    world.until_refused("basic", "basic.refused", 5).await;
    world.pass(10);
    assert_eq!(world.status("/basic/x", "alice", "looking-glass").await, 401);
    assert_eq!(world.asked(), 3);
    assert_eq!(world.alice("/basic/x").await, 200);
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_hundred_who_come_at_once_make_one_request() {
    let world = Arc::new(World::start().await);
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.alice("/basic/x").await })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.expect("an answer"), 200);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn it_serves_until_its_token_ends() {
    let world = World::start().await;
    world.alice("/basic/x").await;
    world.pass(LIFE - 11);
    assert_eq!((world.alice("/basic/x").await, world.asked()), (200, 1));
    world.pass(1);
    assert_eq!((world.alice("/basic/x").await, world.asked()), (200, 2), "ten seconds before its end it is put away");
}

#[tokio::test]
async fn a_refresh_token_spares_the_issuer_the_password_until_it_must_be_shown_again() {
    let world = World::refreshing().await;
    world.alice("/basic/x").await;
    for round in 1..=2 {
        world.pass(LIFE - 10);
        assert_eq!(world.alice("/basic/x").await, 200);
        assert_eq!(
            (world.provider.calls(GrantType::Password), world.provider.calls(GrantType::RefreshToken)),
            (1, round)
        );
    }
    world.pass(TTL - 2 * (LIFE - 10) - 1);
    assert_eq!(world.alice("/basic/x").await, 200);
    let before = world.provider.calls(GrantType::Password);
    world.pass(1);
    assert_eq!(world.alice("/basic/x").await, 200);
    assert_eq!((before, world.provider.calls(GrantType::Password)), (1, 2), "a renewal proves nothing of the password");
}

#[tokio::test]
async fn a_refresh_token_that_is_over_means_the_password_again() {
    let world = World::refreshing().await;
    world.alice("/basic/x").await;
    world.pass(LIFE);
    world.provider.set_fault_for(Endpoint::Token, Fault::OAuthError("invalid_grant".to_owned()), 1);
    assert_eq!(world.alice("/basic/x").await, 200);
    assert_eq!(world.provider.calls(GrantType::Password), 2);
    // Both are refused: the password was changed.
    world.pass(LIFE);
    world.provider.set_fault(Endpoint::Token, Fault::OAuthError("invalid_grant".to_owned()));
    assert_eq!(world.alice("/basic/x").await, 401);
}

#[tokio::test]
async fn a_password_is_shown_again_after_its_time_whatever_the_token() {
    let world = World::keeping("cache: { ttl: 60s }").await;
    world.alice("/basic/x").await;
    world.pass(59);
    assert_eq!((world.alice("/basic/x").await, world.asked()), (200, 1));
    world.pass(1);
    assert_eq!((world.alice("/basic/x").await, world.asked()), (200, 2));
    let world = World::keeping("cache: { ttl: 0s }").await;
    world.alice("/basic/x").await;
    assert_eq!((world.alice("/basic/x").await, world.asked()), (200, 2));
}

#[tokio::test]
async fn what_is_forgotten_is_asked_again() {
    let world = World::start().await;
    world.alice("/relayed/x").await;
    let seen = world.seen();
    let token = seen[0].value("authorization").and_then(|field| field.strip_prefix("Bearer ")).expect("its token");
    let secret = Secret::new(token.to_owned());
    for (asked, tokens) in [Tokens::Token(secret), Tokens::Subject("alice".into()), Tokens::ClientId("legacy".into())]
        .into_iter()
        .enumerate()
    {
        let asked = asked as u64 + 1;
        for issuer in [Some("another".into()), None] {
            assert_eq!((world.alice("/basic/x").await, world.asked()), (200, asked), "{issuer:?} {tokens:?}");
            world.gateway.plan.forget(&Forget { tokens: tokens.clone(), issuer }).await.expect("no store");
        }
        assert_eq!((world.alice("/basic/x").await, world.asked()), (200, asked + 1), "{tokens:?}");
    }
}

/// The issuer says so as soon as it is asked about the token again.
#[tokio::test]
async fn an_opaque_token_that_was_revoked_means_the_password_again() {
    let world = World::start().await;
    assert_eq!(world.alice("/opaque/x").await, 200);
    assert_eq!(world.alice("/opaque/x").await, 200);
    assert_eq!((world.asked(), world.provider.count(Endpoint::Introspect)), (1, 1));
    world.pass(30);
    assert_eq!(world.alice("/opaque/x").await, 200);
    assert_eq!((world.asked(), world.provider.count(Endpoint::Introspect)), (1, 2));
    world.pass(30);
    world.provider.set_fault_for(
        Endpoint::Introspect,
        Fault::Change(serde_json::json!({ "active": false }).as_object().expect("an object").clone()),
        1,
    );
    assert_eq!(world.alice("/opaque/x").await, 200);
    assert_eq!(world.asked(), 2);
}
