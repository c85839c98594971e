//! Readiness and drain, by a clock that the test holds.

use super::*;

#[tokio::test]
async fn readiness_waits_for_the_issuer_until_the_wait_is_over() {
    let provider = healthy().await;
    provider.keys_answer(answer(503, "text/plain", "not yet"));
    let world = World::start("", provider, echo, None).await;
    let wait = world.process.ready_after;
    let told = world.admin("/readyz").await;
    assert_eq!(told.status, 503);
    assert_eq!(
        (&told.json()["missing"][0]["what"], &told.json()["missing"][0]["name"]),
        (&json!("issuer"), &json!("corp"))
    );
    world.step_wall(START + 10 * HOUR);
    assert_eq!(world.ready().await, 503, "the wall clock does not count");
    world.hands.advance(wait - Duration::from_millis(1));
    assert_eq!(world.ready().await, 503);
    world.hands.advance(Duration::from_millis(1));
    let told = world.admin("/readyz").await;
    assert_eq!((told.status, &told.json()["status"]), (200, &json!("degraded")));

    world.provider.serve_keys(&ring().set());
    eventually_async("the keys are loaded by a later attempt", PATIENCE, async || {
        world.hands.advance(Duration::from_secs(1));
        (world.admin("/readyz").await.json()["status"] == "ready").then_some(())
    })
    .await;
}

/// Not ready → `drain_delay` → nothing new is accepted → what was accepted is finished.
#[tokio::test]
async fn a_drain_says_so_first_then_stops_accepting_then_finishes() {
    let world = World::start("  drain_delay: 5s\n  shutdown_grace: 10m\n", healthy().await, echo, None).await;
    assert_eq!(world.ready().await, 200);
    let (running, clock) = (Arc::clone(&world.running), world.hands.clock());
    let drain = tokio::spawn(async move { running.drain(&clock).await });
    eventually_async("it says that it is draining", PATIENCE, async || (world.ready().await == 503).then_some(()))
        .await;
    world.hands.advance(Duration::from_millis(4_999));
    assert_eq!(raw::get(world.address(), HOST, "/public/x").await.status, 200, "still accepting");

    let mut upload = world.connect().await;
    let head = format!("POST /public/upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello");
    upload.send(head.as_bytes()).await;
    eventually("the upload is under way", PATIENCE, || (world.upstream.count("/public/upload") == 1).then_some(()))
        .await;
    world.hands.advance(Duration::from_millis(1));
    eventually_async("nothing new is accepted", PATIENCE, async || {
        TcpStream::connect(world.address()).await.is_err().then_some(())
    })
    .await;
    assert_eq!(world.admin("/livez").await.status, 200, "whoever watches is answered to the end");
    assert!(!drain.is_finished(), "an upload is still under way");
    upload.send(b"world").await;
    let talk = upload.read(Until::End).await;
    assert_eq!(talk.statuses(), [200]);
    assert_eq!(talk.finals()[0].json()["body_bytes"], 10);
    eventually("the drain ends", PATIENCE, || {
        world.hands.advance(Duration::from_millis(20));
        drain.is_finished().then_some(())
    })
    .await;
    assert!(drain.await.expect("no panic"), "everything was finished");
    let running = Arc::clone(&world.running);
    tokio::task::spawn_blocking(move || running.join()).await.expect("the workers end");
}
