//! Junk can't make the gateway hammer the issuer: each client address has a budget of tokens that are none.

use super::*;

#[tokio::test]
async fn a_client_that_shows_junk_is_told_to_wait_and_the_others_are_not() {
    let world = World::asking("failures_per_client: 5,").await;
    let known = world.token();
    assert_eq!(world.from("192.0.2.1", &known).await.status, 200);
    for number in 0..5 {
        assert_eq!(world.from("192.0.2.1", &format!("junk-{number}")).await.status, 401);
    }
    let calls = world.calls();
    let refused = world.from("192.0.2.1", "junk-5").await;
    assert_eq!((refused.status, refused.value("retry-after")), (429, Some("12")));
    assert_eq!(refused.json()["status"], 429);
    assert_eq!(world.from("192.0.2.1", "junk-0").await.status, 401, "what is known to be none costs nothing");
    assert_eq!(world.from("192.0.2.1", &known).await.status, 200, "nor does what is known to be good");
    assert_eq!(world.from("192.0.2.2", &world.token()).await.status, 200);
    assert_eq!(world.from("2001:db8::1", "junk-6").await.status, 401);
    assert_eq!(world.calls(), calls + 2, "the one that waits is not asked for");
    world.until_refused("introspection.budget", 1).await;

    world.pass(12);
    assert_eq!(world.from("192.0.2.1", "junk-7").await.status, 401);
    assert_eq!(world.from("192.0.2.1", "junk-8").await.status, 429);
}

/// Good tokens cost nothing, however many are new.
#[tokio::test]
async fn good_tokens_are_never_over_the_budget() {
    let world = World::asking("failures_per_client: 1,").await;
    for _ in 0..50 {
        assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 200);
    }
}

/// An outage is not the client's failure.
#[tokio::test]
async fn an_outage_is_on_nobodys_budget() {
    let world = World::asking("failures_per_client: 1,").await;
    world.provider.set_fault_for(Endpoint::Introspect, postern::devidp::Fault::Status(500), 3);
    for _ in 0..3 {
        assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 503);
    }
    assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 200);
}

/// Some providers answer 400 to tokens that they can't read: that is on the client's budget, opens no breaker for the
/// others, and is remembered as nothing.
#[tokio::test]
async fn a_token_that_the_issuer_can_not_read_is_the_clients_failure() {
    let world = World::asking("failures_per_client: 10,").await;
    world.provider.set_fault_for(Endpoint::Introspect, postern::devidp::Fault::Status(400), 10);
    for number in 0..10 {
        assert_eq!(world.from("192.0.2.1", &format!("odd-{number}")).await.status, 503);
    }
    assert_eq!(world.from("192.0.2.1", "odd-10").await.status, 429);
    assert_eq!(world.from("192.0.2.2", &world.token()).await.status, 200);
    world.until_metric("postern_introspection_breaker{issuer=\"corp\"}", 0).await;
}
