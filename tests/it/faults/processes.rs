//! F40 and F49: the process is asked to end, or is ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::SECOND;
use crate::support::gateway::Gateway;
use crate::support::raw::{self, Connection, Until};
use crate::support::standard::{HOST, Layout, Standard};
use crate::support::tokens::{ISSUER, good};
use crate::support::upstream::{Reply, Step};
use crate::support::{eventually, eventually_async};

const GET: &str = "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n";

/// F40: what was accepted is finished; what is new is refused; exit 0.
#[tokio::test]
async fn a_drain_fails_no_request_and_exits_clean() {
    let gate = Arc::new(Semaphore::new(0));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let long = vec![Step::send(head), Step::Await(gate.clone()), Step::send("world")];
    let mut standard = Standard::start_before(Layout::default(), move |seen| {
        if seen.target == "/public/long" { Reply::Script(long.clone()) } else { Reply::Echo }
    })
    .await;
    let address = standard.address();
    let (served, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            tokio::spawn(async move { ordinary_client(address, &served, &stop).await })
        })
        .collect();
    let mut download = Connection::open(address).await;
    download.send(GET.replace("/x", "/long").as_bytes()).await;
    download.until_received(b"hello").await;
    let mut idle = Connection::open(address).await;
    eventually("load is on", raw::PATIENCE, || (served.load(Ordering::SeqCst) > 200).then_some(())).await;

    standard.gateway.signal("TERM");
    let admin = standard.gateway.admin;
    let answered = async || match tokio::net::TcpStream::connect(admin).await {
        Ok(_) => Some(raw::get(admin, "localhost", "/readyz").await.status),
        Err(_) => None,
    };
    eventually_async("it says that it is draining", raw::PATIENCE, async || {
        matches!(answered().await, Some(503) | None).then_some(())
    })
    .await;
    eventually_async("nothing new is accepted", raw::PATIENCE, async || {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no accepted request fails");
    }
    assert!(idle.read(Until::End).await.answers.is_empty(), "an idle connection is closed");
    assert!(standard.gateway.is_running(), "a download is still under way");
    gate.add_permits(1);
    let answer = download.answer().await;
    assert_eq!((answer.text().as_str(), answer.whole), ("helloworld", true));
    assert!(standard.gateway.exit(SECOND * 10).await.success());
}

/// Asks on kept connections, and opens another when one was closed between requests. A request whose connection ends
/// without a byte of an answer was not accepted, if the connection had served before: the race that keep-alive has
/// (RFC 9112 section 9.5). Anything else is a failure.
async fn ordinary_client(address: std::net::SocketAddr, served: &AtomicUsize, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let Ok(stream) = tokio::net::TcpStream::connect(address).await else { return };
        let mut connection = Connection::over(stream);
        let mut before = 0;
        while !stop.load(Ordering::SeqCst) {
            connection.send(GET.as_bytes()).await;
            let talk = connection.read(Until::Answers(1)).await;
            let Some(answer) = talk.finals().first().copied().cloned() else {
                assert!(talk.rest.is_empty(), "an answer that broke off");
                assert!(
                    before > 0 || stop.load(Ordering::SeqCst) || is_gone(address).await,
                    "a new connection got no answer"
                );
                break;
            };
            assert_eq!((answer.status, answer.whole), (200, true));
            served.fetch_add(1, Ordering::SeqCst);
            before += 1;
            if answer.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                break;
            }
        }
    }
}

async fn is_gone(address: std::net::SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err()
}

/// A drain does not wait for ever, and a second signal does not wait at all.
#[tokio::test]
async fn a_drain_ends_with_its_grace_and_at_once_with_a_second_signal() {
    let hang = |_: &_| Reply::Script(vec![Step::Hang]);
    for (grace, signals, limit) in [("1s", 1, 5), ("600s", 2, 3)] {
        let layout = Layout {
            server: format!("  listeners: [{{ bind: 127.0.0.1:0 }}]\n  shutdown_grace: {grace}\n"),
            ..Layout::default()
        };
        let mut standard = Standard::start_before(layout, hang).await;
        let mut stuck = Connection::open(standard.address()).await;
        stuck.send(GET.as_bytes()).await;
        eventually("the request is upstream", raw::PATIENCE, || (!standard.upstream.seen().is_empty()).then_some(()))
            .await;
        let started = Instant::now();
        standard.gateway.signal("TERM");
        let address = standard.address();
        eventually_async("the drain has begun", raw::PATIENCE, async || is_gone(address).await.then_some(())).await;
        if signals == 2 {
            assert!(standard.gateway.is_running());
            standard.gateway.signal("TERM");
        }
        standard.gateway.exit(SECOND * limit).await;
        assert!(started.elapsed() < SECOND * (limit + 2), "grace {grace}, {signals} signals: {:?}", started.elapsed());
    }
}

/// With nobody connected, an end is immediate.
#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut standard = Standard::start().await;
        let started = Instant::now();
        standard.gateway.signal(signal);
        assert!(standard.gateway.exit(SECOND * 5).await.success(), "SIG{signal}");
        assert!(started.elapsed() < SECOND * 3, "SIG{signal}: {:?}", started.elapsed());
    }
}

/// SIGHUP is no end.
#[tokio::test]
async fn a_hangup_is_survived() {
    let mut standard = Standard::start().await;
    for _ in 0..5 {
        standard.gateway.signal("HUP");
        assert_eq!(standard.get("/api/x", Some(&good("read"))).await.status, 200);
    }
    assert!(standard.gateway.is_running());
}

/// F49: killed and started again, on the same address, at once.
#[tokio::test]
async fn a_killed_gateway_starts_again_on_its_address() {
    let standard = Standard::start().await;
    let address = standard.address();
    let mut connection = Connection::open(address).await;
    connection.send(GET.as_bytes()).await;
    assert_eq!(connection.answer().await.status, 200);
    let Standard { upstream, mut gateway, .. } = standard;
    gateway.signal("KILL");
    assert!(!gateway.exit(SECOND * 5).await.success());

    let folder = crate::support::Folder::new();
    let keys = folder.write("keys.json", crate::support::keys::ring().set().to_string());
    let layout = Layout {
        server: format!("  listeners: [{{ bind: \"{address}\" }}]\n"),
        issuer: format!("    jwks: {{ file: {} }}\n", keys.display()),
        ..Layout::default()
    };
    let started = Instant::now();
    let again = Gateway::start(&layout.config(ISSUER, upstream.address)).await;
    assert!(started.elapsed() < SECOND * 4, "it took {:?}", started.elapsed());
    assert_eq!(again.address(), address);
    assert_eq!(raw::get(address, HOST, "/public/x").await.status, 200);
}

/// An address that is taken is noticed, although the workers share theirs.
#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let standard = Standard::start().await;
    let folder = crate::support::Folder::new();
    let config =
        Layout { server: format!("  listeners: [{{ bind: \"{}\" }}]\n", standard.address()), ..Layout::default() }
            .config(ISSUER, standard.upstream.address);
    let file = folder.write("postern.yaml", config);
    let output = crate::support::gateway::run(&["serve", "--config", file.to_str().expect("a path")]);
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&standard.address().to_string()) || told.contains("in use"), "{told}");
}
