//! WebSockets and streams end with the session that opened them (`long_lived`).

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::support::eventually_async;
use crate::support::raw::{Connection, Ending, PATIENCE};
use crate::support::upstream::Step;

/// A stream without an end, and a WebSocket without a word.
fn endless(seen: &Seen) -> Reply {
    if !seen.values("upgrade").is_empty() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        return Reply::Script(vec![Step::send(head), Step::Hang]);
    }
    if seen.target == "/events" {
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        return Reply::Script(vec![Step::send(head), Step::Await(Arc::new(Semaphore::new(0)))]);
    }
    app(seen)
}

async fn world(setup: Setup) -> (World, Gateway) {
    let mut world = World::start(setup).await;
    world.upstream = Upstream::start(endless).await;
    let gateway = world.another(&world.setup).await;
    (world, gateway)
}

async fn open(gateway: &Gateway, target: &str, cookies: &str, lines: &str, until: &str) -> Connection {
    let mut connection = Connection::open(gateway.address()).await;
    let head = format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\nCookie: {cookies}\r\n{lines}\r\n");
    connection.send(head.as_bytes()).await;
    connection.until_received(until.as_bytes()).await;
    connection
}

async fn both(gateway: &Gateway, cookies: &str) -> [Connection; 2] {
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    [
        open(gateway, "/events", cookies, "", "hello").await,
        open(gateway, "/ws", cookies, websocket, "101 Switching").await,
    ]
}

async fn is_closed(connection: &mut Connection) -> bool {
    connection.more(Instant::now() + Duration::from_millis(10)).await;
    connection.ending() != Ending::Open
}

async fn until_closed(world: &World, mut connection: Connection) {
    eventually_async("it ends with its session", PATIENCE, async || {
        world.advance(Duration::from_secs(1));
        is_closed(&mut connection).await.then_some(())
    })
    .await;
    assert!(!String::from_utf8_lossy(connection.received()).ends_with("0\r\n\r\n"), "broken off, not ended");
}

#[tokio::test]
async fn what_a_session_opened_ends_when_it_ends() {
    for store in ["memory", "cookie"] {
        let (world, gateway) = world(Setup::of(store)).await;
        let mut browser = gateway.browser();
        browser.sign_in(&format!("{SITE}/a"), "alice", "wonderland").await;
        let open = both(&gateway, &cookies_of(&browser)).await;
        browser.open(&format!("{SITE}/oauth2/sign_out")).await;
        for connection in open {
            until_closed(&world, connection).await;
        }
    }
}

#[tokio::test]
async fn an_open_connection_keeps_no_session_alive() {
    let (world, gateway) = world(Setup::of("memory").with_site("    idle_timeout: 1m\n")).await;
    let mut browser = gateway.browser();
    browser.sign_in(&format!("{SITE}/a"), "alice", "wonderland").await;
    for connection in both(&gateway, &cookies_of(&browser)).await {
        until_closed(&world, connection).await;
    }
    assert_eq!(gateway.fetch("GET", "/a", &cookies_of(&browser), "").await.status, 401);
}

#[tokio::test]
async fn what_is_to_be_kept_is_kept() {
    let (world, gateway) = world(Setup::of("memory").with_site("    long_lived: keep\n")).await;
    let mut browser = gateway.browser();
    browser.sign_in(&format!("{SITE}/a"), "alice", "wonderland").await;
    let open = both(&gateway, &cookies_of(&browser)).await;
    browser.open(&format!("{SITE}/oauth2/sign_out")).await;
    for mut connection in open {
        for _ in 0..20 {
            world.advance(Duration::from_secs(5));
            assert!(!is_closed(&mut connection).await);
        }
    }
}

/// The issuer renews no more: what the session opened ends, though its cookie was not touched by a sign-out.
#[tokio::test]
async fn what_a_session_opened_ends_when_it_can_be_renewed_no_more() {
    for store in ["memory", "cookie"] {
        let (world, gateway) = world(Setup::of(store)).await;
        let mut browser = gateway.browser();
        browser.sign_in(&format!("{SITE}/a"), "alice", "wonderland").await;
        let cookies = cookies_of(&browser);
        let open = both(&gateway, &cookies).await;
        world.provider.set_fault(Endpoint::Token, Fault::OAuthError("invalid_grant".to_owned()));
        world.advance(Duration::from_secs(250));
        assert_eq!(gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{store}");
        for connection in open {
            until_closed(&world, connection).await;
        }
    }
}
