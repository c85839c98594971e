//! How long a pair serves, and what happens when the issuer is away.

use std::sync::Arc;

use postern::authn::{Forget, Tokens};
use postern::devidp::Fault;

use super::*;

#[tokio::test]
async fn many_who_come_at_once_make_one_question() {
    let world = Arc::new(World::start().await);
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.status("/read/x", ALICE.0, ALICE.1).await })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.expect("an answer"), 200);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_token_serves_until_its_end_and_then_the_password_decides() {
    let world = World::start().await;
    assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200);
    world.pass(LIFE - 11);
    assert_eq!((world.status("/read/x", ALICE.0, ALICE.1).await, world.asked()), (200, 1));
    world.pass(1);
    assert_eq!((world.status("/read/x", ALICE.0, ALICE.1).await, world.asked()), (200, 2));
    assert_eq!(world.provider.calls(GrantType::Password), 2);
}

#[tokio::test]
async fn a_refresh_token_spares_the_password_until_it_is_to_be_seen_again() {
    let world = World::start().await;
    assert_eq!(world.status("/lasting/x", ALICE.0, ALICE.1).await, 200);
    for turn in 1..=4 {
        world.pass(LIFE);
        assert_eq!(world.status("/lasting/x", ALICE.0, ALICE.1).await, 200);
        assert_eq!(world.provider.calls(GrantType::RefreshToken), turn);
    }
    assert_eq!(world.provider.calls(GrantType::Password), 1);
    // Ten minutes after it was seen, the issuer is asked about the password itself.
    world.pass(LIFE);
    assert_eq!(world.status("/lasting/x", ALICE.0, ALICE.1).await, 200);
    assert_eq!((world.provider.calls(GrantType::Password), world.provider.calls(GrantType::RefreshToken)), (2, 4));
    // A wrong password never comes near the tokens of the right one.
    assert_eq!(world.status("/lasting/x", ALICE.0, "wrong").await, 401);
}

#[tokio::test]
async fn a_refresh_token_that_is_none_leaves_it_to_the_password() {
    let world = World::start().await;
    assert_eq!(world.status("/lasting/x", ALICE.0, ALICE.1).await, 200);
    world.pass(LIFE);
    world.provider.set_fault_for(Endpoint::Token, Fault::OAuthError("invalid_grant".to_owned()), 1);
    assert_eq!(world.status("/lasting/x", ALICE.0, ALICE.1).await, 200);
    assert_eq!(world.provider.calls(GrantType::Password), 2);
}

#[tokio::test]
async fn an_outage_is_a_503_and_what_is_known_goes_on() {
    let world = World::start().await;
    assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200);
    for fault in [
        Fault::Drop,
        Fault::Status(500),
        Fault::Status(429),
        Fault::Garbage,
        Fault::OAuthError("invalid_client".to_owned()),
    ] {
        world.provider.set_fault(Endpoint::Token, fault.clone());
        assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200, "{fault:?}");
        let answer = world.by("/read/x", "bob", "builder").await;
        assert_eq!((answer.status, answer.value("retry-after").is_some()), (503, true), "{fault:?}");
        assert_eq!(answer.value("www-authenticate"), None, "{fault:?}");
    }
    world.provider.clear_faults();
    assert_eq!(world.status("/read/x", "bob", "builder").await, 200, "no outage is remembered, nor counted");
    let ours = World::with("wrong").await;
    assert_eq!(ours.status("/read/x", ALICE.0, ALICE.1).await, 503, "our secret is wrong, not hers");
}

#[tokio::test]
async fn a_token_that_is_none_here_is_nobodys_password() {
    let world = World::start().await;
    let wrong = serde_json::json!({ "access_token": "opaque" });
    let fault = Fault::Change(wrong.as_object().expect("an object").clone());
    world.provider.set_fault(Endpoint::Token, fault);
    assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 503);
    world.gateway.until_metric("postern_refusals_total{route=\"read\",reason=\"basic.token\"}", 1).await;
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn what_is_known_of_a_pair_can_be_forgotten() {
    let world = World::start().await;
    for tokens in [Tokens::Subject("alice".into()), Tokens::ClientId("legacy".into())] {
        assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200);
        let before = world.asked();
        world
            .gateway
            .plan
            .forget(&Forget { tokens: Tokens::Subject("bob".into()), issuer: None })
            .await
            .expect("no store");
        assert_eq!((world.status("/read/x", ALICE.0, ALICE.1).await, world.asked()), (200, before));
        world.gateway.plan.forget(&Forget { tokens, issuer: None }).await.expect("no store");
        assert_eq!((world.status("/read/x", ALICE.0, ALICE.1).await, world.asked()), (200, before + 1));
    }
}

#[tokio::test]
async fn a_refresh_token_that_the_client_may_not_use_is_not_used() {
    let world = World::start().await;
    assert_eq!(world.status("/plain/x", ALICE.0, ALICE.1).await, 200);
    world.pass(LIFE);
    assert_eq!(world.status("/plain/x", ALICE.0, ALICE.1).await, 200);
    assert_eq!((world.provider.calls(GrantType::Password), world.provider.calls(GrantType::RefreshToken)), (2, 0));
}

#[tokio::test]
async fn what_is_asked_for_may_differ_from_what_is_needed() {
    let world = World::start().await;
    assert_eq!(world.status("/less/x", ALICE.0, ALICE.1).await, 403, "a scope that was not asked for is not there");
    assert_eq!(world.status("/elsewhere/x", ALICE.0, ALICE.1).await, 503, "the client may not ask for this audience");
    world.gateway.until_metric("postern_refusals_total{route=\"elsewhere\",reason=\"basic.client\"}", 1).await;
    assert!(world.upstream.take().is_empty());
}

/// An issuer that knows the name and the password, and does not let them in for another reason.
#[tokio::test]
async fn a_no_in_the_issuers_own_words_tells_no_more_and_a_scope_that_it_refuses_is_a_403() {
    let world = World::start().await;
    for (word, status) in [("invalid_scope", 403), ("account_locked", 401), ("mfa_required", 401)] {
        world.provider.set_fault_for(Endpoint::Token, Fault::OAuthError(word.to_owned()), 1);
        for _ in 0..3 {
            assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, status, "{word}");
        }
        world.pass(10);
    }
    assert_eq!(world.asked(), 3, "each is remembered for a while");
    assert_eq!(world.status("/read/x", ALICE.0, ALICE.1).await, 200);
}

#[tokio::test]
async fn what_is_under_way_when_something_is_forgotten_is_not_remembered() {
    let world = Arc::new(World::start().await);
    world.provider.set_fault_for(Endpoint::Token, Fault::Slow(Duration::from_secs(5)), 1);
    let going = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.status("/read/x", ALICE.0, ALICE.1).await })
    };
    crate::support::eventually("it is asked", crate::support::raw::PATIENCE, || (world.asked() == 1).then_some(()))
        .await;
    let forget = Forget { tokens: Tokens::Subject("alice".into()), issuer: None };
    world.gateway.plan.forget(&forget).await.expect("no store");
    world.pass(5);
    assert_eq!(going.await.expect("an answer"), 200);
    assert_eq!((world.status("/read/x", ALICE.0, ALICE.1).await, world.asked()), (200, 2));
}

/// In no metric, no status and no word that is printed.
#[tokio::test]
async fn nothing_of_a_password_is_told() {
    let world = World::start().await;
    world.status("/read/x", ALICE.0, ALICE.1).await;
    world.status("/read/x", ALICE.0, "looking-glass").await;
    let (metrics, status) = (world.gateway.admin("/metrics").await.text(), world.gateway.admin("/status").await.text());
    let told = format!("{:?} {metrics} {status}", world.gateway.plan);
    let encoded = STANDARD.encode("alice:wonderland");
    for secret in [ALICE.1, "looking-glass", &encoded, "legacy-secret"] {
        assert!(!told.contains(secret), "{secret}");
    }
}
