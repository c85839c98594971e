//! The issuer slow, down, talking nonsense, or refusing us (F11): 503 with `Retry-After`, never a pass and never a 401,
//! remembered nowhere; and a dead endpoint is left alone.

use std::time::Duration;

use postern::devidp::Fault;

use super::*;

async fn is_503(world: &World, token: &str, what: &str) {
    let answer = world.get("/api/x", token).await;
    assert_eq!(answer.status, 503, "{what}");
    assert!(
        answer.value("retry-after").is_some_and(|after| after.parse().is_ok_and(|after: u64| after >= 1)),
        "{what}"
    );
    assert!(answer.value("www-authenticate").is_none(), "{what}: an outage is no bad token");
}

#[tokio::test]
async fn nonsense_is_no_answer_and_is_not_remembered() {
    let faults = [
        ("500", Fault::Status(500), "introspection.answer"),
        ("503", Fault::Status(503), "introspection.answer"),
        ("429", Fault::Status(429), "introspection.answer"),
        ("400", Fault::Status(400), "introspection.answer"),
        ("404", Fault::Status(404), "introspection.answer"),
        ("204", Fault::Status(204), "introspection.answer"),
        ("302", Fault::Redirect("http://127.0.0.1:9/".to_owned()), "introspection.answer"),
        ("garbage", Fault::Garbage, "introspection.answer"),
        ("html", Fault::Html, "introspection.answer"),
        ("content type", Fault::WrongContentType, "introspection.answer"),
        ("nested", Fault::Nested(100_000), "introspection.answer"),
        ("oversized", Fault::Oversized(300_000), "introspection.unreachable"),
        ("endless", Fault::Endless, "introspection.unreachable"),
        ("403", Fault::Status(403), "introspection.refused"),
    ];
    let world = World::start().await;
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for (what, fault, reason) in faults {
        let token = world.token();
        world.provider.set_fault_for(Endpoint::Introspect, fault, 1);
        is_503(&world, &token, what).await;
        *counts.entry(reason).or_default() += 1;
        world.until_refused(reason, counts[reason]).await;
        assert_eq!(world.status("/api/x", &token).await, 200, "{what} is not remembered");
    }
    assert_eq!(world.seen().len(), 14, "nothing but the good ones went up");
}

/// A wrong secret is our mistake, not the client's.
#[tokio::test]
async fn a_wrong_client_secret_is_an_outage_of_ours() {
    let world = World::with(Layout { issuer: "tokens: opaque,", secret: Some("wrong"), ..Layout::default() }).await;
    let token = world.token();
    is_503(&world, &token, "401 to us").await;
    world.until_refused("introspection.refused", 1).await;
    world.until_metric("postern_introspection_calls_total{issuer=\"corp\",outcome=\"unauthorized\"}", 1).await;
}

/// One retry, on a connection that broke off; asking twice changes nothing.
#[tokio::test]
async fn a_broken_connection_is_tried_once_more() {
    let world = World::start().await;
    for fault in [Fault::Drop, Fault::DropAfter, Fault::Truncated] {
        let before = world.calls();
        world.provider.set_fault_for(Endpoint::Introspect, fault.clone(), 1);
        assert_eq!(world.status("/api/x", &world.token()).await, 200, "{fault:?}");
        assert_eq!(world.calls() - before, 2, "{fault:?}");
        let before = world.calls();
        world.provider.set_fault_for(Endpoint::Introspect, fault.clone(), 2);
        is_503(&world, &world.token(), "broken twice").await;
        assert_eq!(world.calls() - before, 2, "{fault:?}");
    }
    // Nothing else is tried again.
    let before = world.calls();
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Status(500), 1);
    is_503(&world, &world.token(), "500").await;
    assert_eq!(world.calls() - before, 1);
}

#[tokio::test]
async fn a_silent_issuer_costs_no_more_than_the_timeout() {
    for fault in [Fault::Hang, Fault::HangAfter, Fault::Drip, Fault::Slow(Duration::from_secs(30))] {
        let world = World::start().await;
        let token = world.token();
        world.provider.set_fault(Endpoint::Introspect, fault.clone());
        let ((), ()) = tokio::join!(is_503(&world, &token, "silent"), async {
            world.until_asked(1).await;
            world.pass(2);
        });
        world.provider.clear_faults();
        assert_eq!(world.status("/api/x", &token).await, 200, "{fault:?} is not remembered");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_is_an_outage_and_recovers_by_itself() {
    let hands = hands();
    let provider = provider(&hands).await;
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let mut stub = Upstream::start(|_| {
        crate::support::upstream::answer(
            200,
            "application/json",
            r#"{"active":true,"sub":"a","aud":"orders","scope":"read"}"#,
        )
    })
    .await;
    let endpoint = format!("tokens: opaque, endpoints: {{ introspection: \"http://{}/i\" }},", stub.address);
    let layout = Layout { issuer: &endpoint, ..Layout::default() };
    let text = config(layout, provider.issuer(), upstream.address);
    let world = World::run(&text, hands, provider, upstream).await;
    assert_eq!(world.status("/api/x", "known").await, 200);
    stub.go_down().await;
    is_503(&world, "new", "down").await;
    assert_eq!(world.status("/api/x", "known").await, 200, "a fresh answer goes on serving");
    assert_eq!(world.status("/public/x", "new").await, 200, "other routes go on");
    stub.come_back().await;
    assert_eq!(world.status("/api/x", "new").await, 200);
}

/// A handshake costs more than a question: connections are kept, and one that the issuer has closed meanwhile fails nobody.
#[tokio::test]
async fn questions_share_a_connection_and_survive_its_end() {
    let hands = hands();
    let provider = provider(&hands).await;
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let body = r#"{"active":true,"sub":"a","aud":"orders","scope":"read"}"#;
    let mut stub = Upstream::start(move |_| crate::support::upstream::answer(200, "application/json", body)).await;
    let endpoint = format!("tokens: opaque, endpoints: {{ introspection: \"http://{}/i\" }},", stub.address);
    let text = config(Layout { issuer: &endpoint, ..Layout::default() }, provider.issuer(), upstream.address);
    let world = World::run(&text, hands, provider, upstream).await;
    for number in 0..10 {
        assert_eq!(world.status("/api/x", &format!("token-{number}")).await, 200);
    }
    assert_eq!((stub.count("/i"), stub.connections()), (10, 1));
    stub.go_down().await;
    stub.come_back().await;
    assert_eq!(world.status("/api/x", "after-a-restart").await, 200);
    // One that was idle for long is not relied on.
    world.pass(20);
    assert_eq!(world.status("/api/x", "after-a-while").await, 200);
    assert_eq!((stub.count("/i"), stub.connections()), (12, 3));
}

/// F11: one of three calls fails, `active` changes; errors are 503 and trip nothing.
#[tokio::test]
async fn a_flapping_issuer_is_asked_on() {
    let world = World::start().await;
    for round in 0..10 {
        let tokens = [world.token(), world.token(), world.token()];
        assert!(world.provider.revoke(&tokens[1]));
        world.provider.set_fault_for(Endpoint::Introspect, Fault::Status(502), 1);
        is_503(&world, &tokens[0], "flap").await;
        assert_eq!(world.status("/api/x", &tokens[1]).await, 401, "round {round}");
        assert_eq!(world.status("/api/x", &tokens[2]).await, 200, "round {round}");
        assert_eq!(world.status("/api/x", &tokens[0]).await, 200, "round {round}");
    }
    world.until_metric("postern_introspection_breaker{issuer=\"corp\"}", 0).await;
}

#[tokio::test]
async fn a_dead_endpoint_is_left_alone_and_probed() {
    let world = World::start().await;
    let known = world.token();
    assert_eq!(world.status("/api/x", &known).await, 200);
    world.provider.set_fault(Endpoint::Introspect, Fault::Status(500));
    for _ in 0..5 {
        is_503(&world, &world.token(), "failing").await;
    }
    let calls = world.calls();
    for _ in 0..50 {
        is_503(&world, &world.token(), "left alone").await;
    }
    assert_eq!(world.calls(), calls, "an open breaker asks nobody");
    world.until_refused("introspection.broken", 50).await;
    world.until_metric("postern_introspection_breaker{issuer=\"corp\"}", 2).await;
    assert_eq!(world.status("/api/x", &known).await, 200, "what is known goes on");

    let ready = world.admin("/readyz").await;
    assert_eq!(ready.status, 200, "a later outage takes nobody out of rotation");
    assert_eq!(ready.json()["status"], "degraded");
    assert_eq!(ready.json()["degraded"][0]["what"], "introspection");
    let status = world.admin("/status").await;
    assert!(status.text().contains("open"), "{}", status.text());

    // A probe that fails doubles the rest.
    world.pass(1);
    is_503(&world, &world.token(), "the probe").await;
    assert_eq!(world.calls(), calls + 1);
    world.pass(1);
    is_503(&world, &world.token(), "still left alone").await;
    assert_eq!(world.calls(), calls + 1);
    // One that succeeds ends it.
    world.provider.clear_faults();
    world.pass(1);
    assert_eq!(world.status("/api/x", &world.token()).await, 200);
    world.until_metric("postern_introspection_breaker{issuer=\"corp\"}", 0).await;
    assert_eq!(world.admin("/readyz").await.json()["status"], "ready");
}

#[tokio::test]
async fn beyond_the_limit_of_questions_there_is_503_at_once() {
    let world = World::asking("concurrency: 2,").await;
    world.provider.set_fault(Endpoint::Introspect, Fault::Slow(Duration::from_secs(1)));
    let tokens = [world.token(), world.token(), world.token()];
    let (first, second, ()) = tokio::join!(world.get("/api/1", &tokens[0]), world.get("/api/2", &tokens[1]), async {
        world.until_asked(2).await;
        is_503(&world, &tokens[2], "busy").await;
        world.until_refused("introspection.busy", 1).await;
        world.until_metric("postern_introspection_under_way{issuer=\"corp\"}", 2).await;
        world.pass(1);
    });
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(world.calls(), 2);
}

/// Discovery has not succeeded: nobody knows whom to ask.
#[tokio::test]
async fn without_metadata_there_is_nobody_to_ask() {
    let hands = hands();
    let provider = provider(&hands).await;
    provider.set_fault(Endpoint::Discovery, Fault::Status(500));
    let upstream = Upstream::start(|_| Reply::Echo).await;
    let layout = Layout { issuer: "tokens: opaque,", ..Layout::default() };
    let text = config(layout, provider.issuer(), upstream.address);
    let world = World::run(&text, hands, provider, upstream).await;
    for _ in 0..20 {
        is_503(&world, &world.token(), "not discovered").await;
    }
    world.until_refused("introspection.unreachable", 20).await;
    world.provider.clear_faults();
    world.pass(1);
    world.gateway.plan.issuers[0].attempted(2).await;
    assert_eq!(world.status("/api/x", &world.token()).await, 200);
}
