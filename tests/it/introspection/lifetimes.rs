//! How long an answer is relied on, by the paused clock: T25, and each rule that shortens a life.

use postern::devidp::Fault;
use serde_json::json;

use super::*;
use crate::support::upstream::Step;

/// T25: a revoked token passes until the answer's life ends, and no longer.
#[tokio::test]
async fn a_revoked_token_ends_with_the_ttl() {
    let world = World::start().await;
    let token = world.token();
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert!(world.provider.revoke(&token));
    world.pass(59);
    assert_eq!(world.status("/api/x", &token).await, 200);
    world.pass(1);
    assert_eq!(world.status("/api/x", &token).await, 401);
    assert_eq!(world.calls(), 2);
}

/// An answer is as old as its question: what was revoked on the way passes no longer for it.
#[tokio::test]
async fn a_slow_answer_lives_no_longer_for_it() {
    let world = World::asking("timeout: 30s,").await;
    let token = world.token();
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Slow(std::time::Duration::from_secs(20)), 1);
    let (status, ()) = tokio::join!(world.status("/api/x", &token), async {
        world.until_asked(1).await;
        world.pass(20);
    });
    assert_eq!(status, 200);
    world.pass(39);
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert_eq!(world.calls(), 1);
    world.pass(1);
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert_eq!(world.calls(), 2);
}

/// Never later than `exp`: the skew is for clocks that differ, not for what is remembered.
#[tokio::test]
async fn a_cached_answer_ends_with_the_token() {
    let world = World::asking("cache: { ttl: 1h },").await;
    let token = world.provider.mint_opaque(&mint().lifetime(20));
    assert_eq!(world.status("/api/x", &token).await, 200);
    world.pass(19);
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert_eq!(world.calls(), 1);
    world.pass(1);
    assert_eq!(world.status("/api/x", &token).await, 401);
    assert_eq!(world.calls(), 2);
}

/// The monotonic clock judges the cache, the wall clock the token: a step back prolongs neither.
#[tokio::test]
async fn a_step_of_the_wall_clock_prolongs_no_answer() {
    let world = World::start().await;
    let token = world.token();
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert!(world.provider.revoke(&token));
    world.pass(60);
    world.hands.step_wall(Time::from_seconds(START));
    assert_eq!(world.status("/api/x", &token).await, 401);
}

#[tokio::test]
async fn a_ttl_of_zero_keeps_nothing() {
    let world = World::asking("cache: { ttl: 0s, negative_ttl: 0s },").await;
    let token = world.token();
    for _ in 0..3 {
        assert_eq!(world.status("/api/x", &token).await, 200);
        assert_eq!(world.status("/api/x", "junk").await, 401);
    }
    assert_eq!(world.calls(), 6);
}

#[tokio::test]
async fn a_negative_answer_has_a_life_of_its_own() {
    let world = World::start().await;
    assert_eq!(world.status("/api/x", "junk").await, 401);
    world.pass(9);
    assert_eq!(world.status("/api/x", "junk").await, 401);
    assert_eq!(world.calls(), 1);
    world.pass(1);
    assert_eq!(world.status("/api/x", "junk").await, 401);
    assert_eq!(world.calls(), 2);
    world.until_metric("postern_introspection_hits_total{issuer=\"corp\",kind=\"negative\"}", 1).await;
}

/// A refused answer (another's audience) is asked about no more often than junk.
#[tokio::test]
async fn a_token_for_somebody_else_is_remembered_as_none() {
    let world = World::start().await;
    let token = world.provider.mint_opaque(&mint().audience("other"));
    for _ in 0..5 {
        assert_eq!(world.status("/api/x", &token).await, 401);
    }
    assert_eq!(world.calls(), 1);
    world.until_refused("token.audience", 5).await;
}

/// An issuer whose answers say how long they may be kept; the development provider says nothing.
async fn answering(introspection: &str, cache_control: &'static str) -> (World, Arc<Upstream>) {
    let hands = hands();
    let stub = Upstream::start(move |_| {
        let body = json!({"active": true, "sub": "alice", "aud": AUDIENCE, "scope": "read"}).to_string();
        Reply::Script(vec![
            Step::Body,
            Step::send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: {cache_control}\r\n\
             Content-Length: {}\r\n\r\n{body}",
                body.len()
            )),
        ])
    })
    .await;
    let provider = provider(&hands).await;
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let endpoint = format!("tokens: opaque, endpoints: {{ introspection: \"http://{}/i\" }},", stub.address);
    let layout = Layout { issuer: &endpoint, introspection, ..Layout::default() };
    let text = config(layout, provider.issuer(), upstream.address);
    (World::run(&text, hands, provider, upstream).await, Arc::new(stub))
}

#[tokio::test]
async fn a_max_age_shortens_a_life_and_never_prolongs_it() {
    for (cache_control, seconds) in
        [("max-age=5", 5), ("private, MAX-AGE=\"5\"", 5), ("max-age=3600", 60), ("no-store", 60), ("no-cache", 60)]
    {
        let (world, stub) = answering("", cache_control).await;
        assert_eq!(world.status("/api/x", "t").await, 200);
        world.pass(seconds - 1);
        assert_eq!(world.status("/api/x", "t").await, 200);
        assert_eq!(stub.count("/i"), 1, "{cache_control}");
        world.pass(1);
        assert_eq!(world.status("/api/x", "t").await, 200);
        assert_eq!(stub.count("/i"), 2, "{cache_control}");
    }
    for none in ["max-age=0", "max-age=x", "max-age=-1"] {
        let (world, stub) = answering("", none).await;
        for _ in 0..2 {
            assert_eq!(world.status("/api/x", "t").await, 200);
        }
        assert_eq!(stub.count("/i"), 2, "{none}");
    }
}

#[tokio::test]
async fn no_store_is_obeyed_by_who_wants_it() {
    let (world, stub) = answering("cache: { obey_no_store: true },", "no-store, max-age=60").await;
    for _ in 0..3 {
        assert_eq!(world.status("/api/x", "t").await, 200);
    }
    assert_eq!(stub.count("/i"), 3);
}

/// What is asked, byte for byte: the token in the form with its hint, the credentials in the header.
#[tokio::test]
async fn a_question_is_what_rfc_7662_has() {
    let (world, stub) = answering("", "no-store").await;
    assert_eq!(world.status("/api/x", "a+b/c=").await, 200);
    let seen = stub.take().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/i"));
    assert_eq!(String::from_utf8_lossy(&seen.body), "token=a%2Bb%2Fc%3D&token_type_hint=access_token");
    assert_eq!(seen.values("content-type"), ["application/x-www-form-urlencoded"]);
    assert_eq!(seen.values("accept"), ["application/json"]);
    // gateway:a+secret%3A%25 (RFC 6749 section 2.3.1)
    assert_eq!(seen.values("authorization"), ["Basic Z2F0ZXdheTphK3NlY3JldCUzQSUyNQ=="]);
    assert!(seen.target.find("a%2Bb").is_none(), "no token in an address");
}

#[tokio::test]
async fn stale_answers_serve_through_an_outage_if_that_is_wanted() {
    let world = World::asking("stale_if_error: 30s,").await;
    let (token, short) = (world.token(), world.provider.mint_opaque(&mint().lifetime(70)));
    for token in [&token, &short] {
        assert_eq!(world.status("/api/x", token).await, 200);
    }
    world.provider.set_fault(Endpoint::Introspect, Fault::Status(500));
    world.pass(60);
    for token in [&token, &short] {
        let answer = world.get("/api/x", token).await;
        assert_eq!(answer.status, 200, "stale");
        assert_eq!(world.status("/admin/x", token).await, 403, "and judged all the same");
    }
    world.until_metric("postern_introspection_hits_total{issuer=\"corp\",kind=\"stale\"}", 4).await;
    world.pass(10);
    assert_eq!(world.status("/api/x", &short).await, 503, "never past the token's end");
    assert_eq!(world.status("/api/x", &token).await, 200);
    world.pass(19);
    assert_eq!(world.status("/api/x", &token).await, 200);
    world.pass(1);
    assert_eq!(world.status("/api/x", &token).await, 503);
    assert_eq!(world.status("/api/x", "new").await, 503, "what was never active is not stale");
}

/// A token that was revoked before the outage is not revived by it.
#[tokio::test]
async fn a_negative_answer_ends_what_could_have_gone_stale() {
    let world = World::asking("stale_if_error: 1h, cache: { negative_ttl: 1s },").await;
    let token = world.token();
    assert_eq!(world.status("/api/x", &token).await, 200);
    assert!(world.provider.revoke(&token));
    world.pass(60);
    assert_eq!(world.status("/api/x", &token).await, 401);
    world.provider.set_fault(Endpoint::Introspect, Fault::Status(500));
    world.pass(1);
    assert_eq!(world.status("/api/x", &token).await, 503);
}

/// An answer of a page is no answer, whatever a good one was before.
#[tokio::test]
async fn without_it_nothing_stale_serves() {
    let world = World::start().await;
    let token = world.token();
    assert_eq!(world.status("/api/x", &token).await, 200);
    world.provider.set_fault(Endpoint::Introspect, Fault::Html);
    world.pass(59);
    assert_eq!(world.status("/api/x", &token).await, 200, "a fresh answer serves to its end");
    world.pass(1);
    let refused = world.get("/api/x", &token).await;
    assert_eq!(refused.status, 503);
    assert!(refused.value("retry-after").is_some());
}
