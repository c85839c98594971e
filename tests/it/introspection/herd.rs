//! Many at once: one new token is one question, however many show it; junk by the thousand is bounded.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use postern::devidp::Fault;

use super::*;
use crate::support::h2;

const CONNECTIONS: usize = 100;
const STREAMS: usize = 100;

/// Ten thousand requests at once, each with the token that is its number's; their statuses.
async fn herd(world: &World, token: impl Fn(usize) -> String) -> Vec<u16> {
    let mut all = Vec::with_capacity(CONNECTIONS * STREAMS);
    for connection in 0..CONNECTIONS {
        let send = h2::connect(world.address()).await;
        for stream in 0..STREAMS {
            let request = Request::get(format!("http://{HOST}/api/{connection}/{stream}"))
                .header("authorization", format!("Bearer {}", token(connection * STREAMS + stream)))
                .body(Full::new(Bytes::new()))
                .expect("a request");
            let mut send = send.clone();
            all.push(async move { h2::ask(&mut send, request).await.status.as_u16() });
        }
    }
    futures_util::future::join_all(all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_with_one_new_token_make_one_call() {
    let world = World::start().await;
    let token = world.token();
    world.provider.set_fault(Endpoint::Introspect, Fault::Slow(Duration::from_secs(1)));
    let (statuses, ()) = tokio::join!(herd(&world, |_| token.clone()), async {
        world.until_metric("postern_introspection_coalesced_total{issuer=\"corp\"}", 9_999).await;
        world.pass(1);
    });
    assert_eq!(statuses.len(), 10_000);
    let others: std::collections::BTreeSet<_> = statuses.iter().filter(|status| **status != 200).collect();
    let metrics = world.admin("/metrics").await.text();
    let refusals: Vec<_> = metrics.lines().filter(|line| line.starts_with("postern_refusals_total")).collect();
    assert!(others.is_empty(), "{others:?}: {refusals:?}");
    assert_eq!(world.calls(), 1);
    assert_eq!(world.seen().len(), 10_000);
}

/// Whoever began the question goes away; those who wait for it do not notice.
#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing_for_the_others() {
    let world = World::start().await;
    let token = world.token();
    world.provider.set_fault(Endpoint::Introspect, Fault::Slow(Duration::from_secs(1)));
    let mut first = raw::Connection::open(world.address()).await;
    first.send(get("/api/first", Some(&token)).as_bytes()).await;
    world.until_asked(1).await;
    let (second, ()) = tokio::join!(world.get("/api/second", &token), async {
        world.until_metric("postern_introspection_coalesced_total{issuer=\"corp\"}", 1).await;
        drop(first);
        // The gateway has noticed that the first one left.
        world.until_metric("postern_refusals_total{route=\"api\",reason=\"request.client_gone\"}", 1).await;
        world.pass(1);
    });
    assert_eq!((second.status, world.calls()), (200, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_junk_tokens_are_bounded() {
    let world = World::start().await;
    let good = world.token();
    assert_eq!(world.from("192.0.2.7", &good).await.status, 200);
    let statuses = herd(&world, |number| format!("junk-{number}")).await;
    let of = |status: u16| statuses.iter().filter(|have| **have == status).count();
    assert_eq!(of(401) + of(429) + of(503), 10_000, "nothing passes");
    // The budget of one address, and what was under way when it was spent.
    assert!(world.calls() <= 1 + 60 + 64, "{} calls", world.calls());
    assert!(of(429) > 0 && of(401) <= 1 + 60 + 64, "401: {}, 429: {}, 503: {}", of(401), of(429), of(503));
    assert!(world.seen().len() == 1, "only the good one went up");
    assert_eq!(world.from("192.0.2.7", &good).await.status, 200);
    assert_eq!(world.from("192.0.2.8", &world.token()).await.status, 200, "other clients are asked for as before");
}
