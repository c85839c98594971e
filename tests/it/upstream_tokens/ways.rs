//! However a request comes, the token goes up with it, and stays out of sight.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use postern::clock::Clock;
use postern::devidp::Fault;

use super::own::picky;
use super::*;
use crate::support::gateway::Gateway;
use crate::support::h2;
use crate::support::raw::Connection;
use crate::support::upstream::Step;

/// Switches protocols for whoever asks, unless the token is one of those that it refuses.
fn switching(choose: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| match choose(seen) {
        Reply::Echo if seen.value("upgrade").is_some() => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            Reply::Script(vec![Step::send(head), Step::Hang])
        }
        reply => reply,
    }
}

fn websocket(target: &str, token: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_websocket_is_opened_with_the_token_and_a_refused_one_is_not_tried_twice() {
    let (refused, reply) = picky();
    let world = World::start(switching(reply)).await;
    let alice = world.alice();
    for target in ["/own/ws", "/exchanged/ws"] {
        let mut connection = Connection::open(world.address()).await;
        connection.send(websocket(target, &alice).as_bytes()).await;
        connection.until_received(b"101 Switching").await;
        let seen = world.upstream.take();
        let fields = seen[0].values("authorization");
        assert!(fields.len() == 1 && fields[0].starts_with("Bearer ") && !fields[0].contains(&alice), "{target}");
        if target == "/own/ws" {
            refused.lock().expect("no panic").insert(fields[0].to_owned());
        }
    }
    let asked = world.asked();
    let mut connection = Connection::open(world.address()).await;
    connection.send(websocket("/own/ws", &alice).as_bytes()).await;
    assert_eq!(connection.answer().await.status, 401);
    assert_eq!(world.upstream.take().len(), 1, "it is not sent again");
    // Who comes next has the new token.
    world.until_asked(asked + 1).await;
    assert_eq!(world.get("/own/x", &alice).await.status, 200);
}

#[tokio::test]
async fn over_http_2_it_is_the_same() {
    let (refused, reply) = picky();
    let world = World::start(reply).await;
    let alice = world.alice();
    let mut connection = h2::connect(world.address()).await;
    let mut get = async |target: &str| {
        let request = Request::get(format!("http://{HOST}{target}")).header("authorization", format!("Bearer {alice}"));
        h2::ask(&mut connection, request.body(Full::new(Bytes::new())).expect("a request")).await.status
    };
    for target in ["/own/x", "/exchanged/x"] {
        assert_eq!(get(target).await, 200);
        let seen = world.upstream.take();
        let fields = seen[0].values("authorization");
        assert!(fields.len() == 1 && !fields[0].contains(&alice), "{target}: {fields:?}");
        refused.lock().expect("no panic").insert(fields[0].to_owned());
    }
    // Postern's own is renewed; what a caller's token became is that caller's matter.
    assert_eq!((get("/own/x").await, get("/exchanged/x").await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn an_upstream_that_refuses_an_exchanged_token_is_believed() {
    let (refused, reply) = picky();
    let world = World::start(reply).await;
    let alice = world.alice();
    let exchanged = world.forwarded("/exchanged/x", &alice).await;
    refused.lock().expect("no panic").insert(format!("Bearer {exchanged}"));
    assert_eq!(world.get("/exchanged/x", &alice).await.status, 401);
    assert_eq!((world.upstream.take().len(), world.asked()), (1, 1));
}

/// The program itself, telling all it can.
#[tokio::test]
async fn no_token_and_no_secret_is_in_any_log() {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let provider = Provider::start(address, clients(), Clock::system()).await.expect("a free port");
    let upstream = Upstream::start(echo).await;
    let config = config(&provider, &upstream, "batch-secret", "sts-secret");
    let gateway =
        Gateway::start(&format!("{config}telemetry: {{ log: {{ level: trace }}, access_log: json }}\n")).await;
    let alice = provider.mint(&Mint::user("shop", "alice").audience("orders").scope("read").lifetime(3600));
    let ask = async |target: &str| {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Bearer {alice}");
        raw::request(gateway.address(), &format!("{head}\r\n\r\n")).await.status
    };
    let mut secrets = vec![alice.clone(), "batch-secret".to_owned(), "sts-secret".to_owned()];
    for target in ["/own/x", "/exchanged/x", "/acting/x"] {
        assert_eq!(ask(target).await, 200);
        let seen = upstream.take();
        let field = seen[0].value("authorization").expect("a token went up");
        secrets.push(field.strip_prefix("Bearer ").expect("a bearer token").to_owned());
    }
    for fault in [Fault::OAuthError("invalid_client".to_owned()), Fault::Garbage] {
        provider.set_fault(Endpoint::Token, fault);
        assert_eq!(ask("/open/x").await, 503);
    }
    let is_told = || gateway.log().contains("a caller's token could not be exchanged") && gateway.access().len() >= 5;
    eventually("the outages are logged", PATIENCE, || is_told().then_some(())).await;
    let told = format!("{}\n{:?}", gateway.log(), gateway.access());
    for secret in secrets {
        assert!(!told.contains(&secret), "{}…", &secret[..8]);
        // The signed part alone would do for whoever has the rest.
        assert!(secret.rsplit('.').next().is_none_or(|part| part.len() < 20 || !told.contains(part)));
    }
}
