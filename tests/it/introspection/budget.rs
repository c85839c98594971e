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

/// Many clients may share an address: what was good once is asked about again, whatever junk came from there.
#[tokio::test]
async fn what_was_good_is_asked_about_over_the_budget_and_costs_nothing() {
    for kept in ["", "cache: { ttl: 0s },"] {
        let world = World::asking(&format!("{kept} failures_per_client: 5,")).await;
        let (known, ended) = (world.token(), world.token());
        for token in [&known, &ended] {
            assert_eq!(world.from("192.0.2.1", token).await.status, 200);
        }
        world.pass(60);
        for number in 0..5 {
            assert_eq!(world.from("192.0.2.1", &format!("junk-{number}")).await.status, 401);
        }
        assert_eq!(world.from("192.0.2.1", "junk-5").await.status, 429);
        assert_eq!(world.from("192.0.2.1", &known).await.status, 200);
        assert!(world.provider.revoke(&ended));
        assert_eq!(world.from("192.0.2.1", &ended).await.status, 401, "and what has ended is told so");
        // Its end was no junk: twelve seconds later there is room for one more question, as if it had not been.
        world.pass(12);
        assert_eq!(world.from("192.0.2.1", "junk-6").await.status, 401);
        assert_eq!(world.from("192.0.2.1", "junk-7").await.status, 429);
    }
}

/// What its issuer has signed is no junk.
#[tokio::test]
async fn a_jwt_is_asked_about_over_the_budget() {
    let issuer = "tokens: any, introspect_jwts: true,";
    let world = World::with(Layout { issuer, introspection: "failures_per_client: 1,", ..Layout::default() }).await;
    assert_eq!(world.from("192.0.2.1", "junk-0").await.status, 401);
    assert_eq!(world.from("192.0.2.1", "junk-1").await.status, 429);
    assert_eq!(world.from("192.0.2.1", &world.provider.mint(&mint())).await.status, 200);
}

/// A question that fails because of its token is on the budget of who shows it, and opens no breaker.
#[tokio::test]
async fn a_token_that_makes_its_question_fail_costs_its_client_and_nobody_else() {
    use postern::devidp::Fault;
    for fault in [
        Fault::Status(400),
        Fault::Status(403),
        Fault::Status(413),
        Fault::Status(414),
        Fault::Oversized(300_000),
        Fault::Nested(1000),
    ] {
        let world = World::asking("failures_per_client: 10,").await;
        world.provider.set_fault(Endpoint::Introspect, fault.clone());
        for _ in 0..10 {
            assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 503, "{fault:?}");
        }
        assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 429, "{fault:?}");
        world.provider.clear_faults();
        assert_eq!(world.from("192.0.2.2", &world.token()).await.status, 200, "{fault:?}");
    }
    // What is about the endpoint, or about our client, is on nobody's budget and opens it.
    for status in [401, 408, 429, 500] {
        let world = World::asking("failures_per_client: 3,").await;
        world.provider.set_fault(Endpoint::Introspect, Fault::Status(status));
        for _ in 0..6 {
            assert_eq!(world.from("192.0.2.1", &world.token()).await.status, 503, "{status}");
        }
        assert_eq!(world.calls(), 5, "{status}: it is left alone");
    }
}
