//! F35: a handler panics. It costs its own request and nothing else.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::Semaphore;

use super::*;
use crate::support::h2;

fn fault(head: &Head) {
    assert!(!head.headers.contains_key("x-fault"), "this handler was told to fail");
}

/// An upstream whose answer under `/public/long` waits for the gate.
async fn world(gate: &Arc<Semaphore>) -> World {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let long = vec![Step::send(head), Step::Await(Arc::clone(gate)), Step::send("world")];
    let choose =
        move |seen: &Seen| if seen.target == "/public/long" { Reply::Script(long.clone()) } else { Reply::Echo };
    World::start("", healthy().await, choose, Some(fault)).await
}

#[tokio::test]
async fn a_panic_costs_its_own_request_and_nothing_else() {
    let gate = Arc::new(Semaphore::new(0));
    let world = world(&gate).await;
    let mut download = world.connect().await;
    download.send(format!("GET /public/long HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    download.until_received(b"hello").await;
    let mut connection = world.connect().await;
    assert_eq!(get(&mut connection, "/public/before", "").await.status, 200);

    let failed = get(&mut connection, "/public/failed", "X-Fault: 1\r\n").await;
    assert_eq!(failed.status, 500);
    assert_eq!(failed.value("content-type"), Some("application/problem+json"));
    let problem = failed.json();
    assert_eq!((&problem["status"], problem["request_id"].as_str()), (&json!(500), failed.value("x-request-id")));
    assert!(failed.value("x-request-id").is_some_and(|id| id.len() == 36), "{failed:?}");
    assert!(!failed.text().contains("told to fail"), "the client learns nothing of the inside");

    let after = get(&mut connection, "/public/after", "").await;
    assert_eq!(after.status, 200, "the same connection goes on");
    assert_ne!(after.value("x-request-id"), failed.value("x-request-id"));
    gate.add_permits(1);
    let answer = download.answer().await;
    assert_eq!((answer.text().as_str(), answer.whole), ("helloworld", true), "another connection goes on");
    assert_eq!(raw::get(world.address(), HOST, "/public/new").await.status, 200, "the worker goes on accepting");
    let targets: Vec<_> = world.upstream.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/public/long", "/public/before", "/public/after", "/public/new"]);
    world.until_metric("postern_refusals_total{route=\"none\",reason=\"gateway.internal\"}", 1).await;
    world.until_metric("postern_requests_total{route=\"none\",code=\"500\"}", 1).await;
    world.until_metric("postern_requests_total{route=\"public\",code=\"200\"}", 4).await;
    assert_eq!(world.ready().await, 200);
}

#[tokio::test]
async fn a_panic_on_one_stream_leaves_the_others_of_its_connection_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let world = world(&gate).await;
    let mut connection = h2::connect(world.address()).await;
    let request = |target: &str, fault: bool| {
        let request = Request::get(format!("http://{HOST}{target}"));
        let request = if fault { request.header("x-fault", "1") } else { request };
        request.body(Full::new(Bytes::new())).expect("a request")
    };
    let (mut other, long) = (connection.clone(), request("/public/long", false));
    let download = tokio::spawn(async move { h2::ask(&mut other, long).await });
    eventually("the download is under way", PATIENCE, || (world.upstream.count("/public/long") == 1).then_some(()))
        .await;
    let failed = h2::ask(&mut connection, request("/public/failed", true)).await;
    assert_eq!((failed.status.as_u16(), failed.value("content-type")), (500, Some("application/problem+json")));
    assert_eq!(h2::ask(&mut connection, request("/public/after", false)).await.status, 200);
    gate.add_permits(1);
    assert_eq!(download.await.expect("an answer").body, "helloworld");
    world.until_metric("postern_refusals_total{route=\"none\",reason=\"gateway.internal\"}", 1).await;
}
