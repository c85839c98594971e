//! F24, F30 to F32: clients that dribble, flood, or take every place.

use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{SECOND, assert_flat, impatient};
use crate::support::eventually_async;
use crate::support::gateway::{Gateway, Start};
use crate::support::raw::{self, Connection, Ending, Until};
use crate::support::standard::{HOST, Layout, Standard};
use crate::support::tokens::ISSUER;
use crate::support::upstream::{Reply, Step, Upstream};

/// F24: a byte now and then is not progress.
#[tokio::test]
async fn dribbled_heads_are_given_up_and_others_unaffected() {
    let standard = Standard::start_with(impatient()).await;
    let dribble = async |message: &str| {
        let started = Instant::now();
        let mut connection = Connection::open(standard.address()).await;
        for byte in message.as_bytes() {
            connection.send(&[*byte]).await;
            if connection.more((Instant::now() + SECOND / 5).into()).await && connection.ending() != Ending::Open {
                break;
            }
        }
        let talk = connection.read(Until::End).await;
        (talk.statuses(), talk.ending, started.elapsed())
    };
    let head = format!("GET /public/slow HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "a".repeat(200));
    let (slow, ()) = tokio::join!(futures_util::future::join_all((0..20).map(|_| dribble(&head))), async {
        for _ in 0..100 {
            let started = Instant::now();
            assert_eq!(standard.get("/public/quick", None).await.status, 200);
            assert!(started.elapsed() < SECOND);
        }
    });
    for (statuses, ending, took) in slow {
        assert!(matches!(statuses[..], [408] | []) && ending != Ending::Open, "{statuses:?} {ending:?}");
        assert!(took < SECOND * 4, "given up after {took:?}");
    }
    assert_eq!(standard.upstream.count("/public/slow"), 0);
}

/// Silence inside a request body is bounded; silence of an answer is the upstream's right.
#[tokio::test]
async fn a_silent_body_is_given_up_and_a_silent_answer_is_not() {
    let late = vec![
        Step::send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Step::Delay(SECOND * 3),
        Step::send("5\r\nhello\r\n0\r\n\r\n"),
    ];
    let standard = Standard::start_before(impatient(), move |seen| {
        if seen.target == "/public/late" { Reply::Script(late.clone()) } else { Reply::Echo }
    })
    .await;
    let silent = format!("POST /public/silent HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello");
    let (silent, late) =
        tokio::join!(raw::talk(standard.address(), silent.as_bytes(), Until::End), standard.get("/public/late", None));
    assert!(matches!(silent.statuses()[..], [408 | 400] | []), "{:?}", silent.statuses());
    assert_eq!(
        (late.status, late.text().as_str(), late.whole),
        (200, "hello", true),
        "longer than every client timeout"
    );
    assert!(standard.seen().iter().all(|seen| seen.target != "/public/silent" || !seen.whole));
}

/// F30, all at once.
#[tokio::test]
async fn header_bombs_are_refused_flat() {
    let standard = Standard::start_with(impatient()).await;
    let before = standard.gateway.resident();
    let bomb = |lines: String| format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    let bombs = [
        bomb(format!("X: {}\r\n", "a".repeat(1 << 20))),
        bomb("X: y\r\n".repeat(20_000)),
        format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(64 << 10)),
        bomb(format!("{}: y\r\n", "a".repeat(1 << 20))),
        "a".repeat(4 << 20),
        "GET ".repeat(1 << 18),
    ];
    for round in 0..10 {
        let talks = bombs.iter().map(|bomb| raw::talk(standard.address(), bomb.as_bytes(), Until::End));
        for (number, talk) in futures_util::future::join_all(talks).await.iter().enumerate() {
            let refused = matches!(talk.statuses()[..], [400 | 414 | 431] | []);
            assert!(refused && talk.ending != Ending::Open, "bomb {number}, round {round}: {:?}", talk.statuses());
        }
    }
    assert!(standard.saw_nothing());
    assert_flat(&standard.gateway, before, "header bombs");
}

/// F31: a limit on connections holds, those within it are served, and places become free again.
#[tokio::test]
async fn connections_have_a_limit_that_frees_itself() {
    let layout = Layout {
        server:
            "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 1\n  limits: { connections: 20, idle_timeout: 60s }\n"
                .to_owned(),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let ask = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut within = Vec::new();
    for _ in 0..19 {
        let mut connection = Connection::open(standard.address()).await;
        connection.send(ask.as_bytes()).await;
        assert_eq!(connection.answer().await.status, 200);
        within.push(connection);
    }
    let mut beyond = Vec::new();
    for _ in 0..100 {
        beyond.push(TcpStream::connect(standard.address()).await);
    }
    for connection in &mut within {
        connection.send(ask.as_bytes()).await;
        assert_eq!(connection.answer().await.status, 200, "who is in is served");
    }
    drop((within, beyond));
    eventually_async("places are free again", raw::PATIENCE, async || {
        let mut connection = Connection::open(standard.address()).await;
        connection.send(ask.as_bytes()).await;
        (connection.read(Until::Quiet(SECOND)).await.statuses() == [200]).then_some(())
    })
    .await;
}

/// F32: no more files; accepting pauses and goes on, without a busy loop and without an exit.
#[tokio::test]
async fn running_out_of_files_is_survived() {
    let upstream = Upstream::echo().await;
    let folder = crate::support::Folder::new();
    let keys = folder.write("keys.json", crate::support::keys::ring().set().to_string());
    let layout = Layout {
        server:
            "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 2\n  limits: { connections: 20000, idle_timeout: 60s }\n"
                .to_owned(),
        issuer: format!("    jwks: {{ file: {} }}\n", keys.display()),
        ..Layout::default()
    };
    let config = layout.config(ISSUER, upstream.address);
    let start = Start { config: &config, open_files: Some(128), ..Start::default() };
    let mut gateway = Gateway::start_as(start).await;
    let mut many = Vec::new();
    for _ in 0..400 {
        match tokio::time::timeout(SECOND, TcpStream::connect(gateway.address())).await {
            Ok(Ok(stream)) => many.push(stream),
            _ => break,
        }
    }
    assert!(many.len() > 100);
    let (busy, lines) = (gateway.processor_time(), gateway.log().lines().count());
    sleep(SECOND * 2).await;
    let busy = gateway.processor_time().saturating_sub(busy);
    assert!(busy < SECOND, "it is busy with nothing: {busy:?} in two seconds");
    let told = gateway.log().lines().count() - lines;
    assert!(told <= 20, "{told} lines in two seconds");
    assert!(gateway.is_running());
    drop(many);
    eventually_async("it serves again", raw::PATIENCE, async || {
        let mut connection = Connection::open(gateway.address()).await;
        connection.send(format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        (connection.read(Until::Quiet(SECOND)).await.statuses() == [200]).then_some(())
    })
    .await;
}

/// A connection that is kept and not used is closed after `idle_timeout`, whatever it was used for.
#[tokio::test]
async fn kept_connections_are_closed_when_they_idle() {
    let standard = Standard::start_with(impatient()).await;
    let head = format!(" HTTP/1.1\r\nHost: {HOST}\r\n");
    let idle = async |about: &'static str, request: String, status: u16| {
        let started = Instant::now();
        let mut connection = Connection::open(standard.address()).await;
        connection.send(request.as_bytes()).await;
        assert_eq!(connection.answer().await.status, status, "{about}");
        let ending = connection.read(Until::End).await.ending;
        (ending == Ending::Open || started.elapsed() > SECOND * 6).then(|| (about, ending, started.elapsed()))
    };
    let late = futures_util::join!(
        idle("answered", format!("GET /public/x{head}\r\n"), 200),
        idle("answered with a body", format!("POST /public/x{head}Content-Length: 5\r\n\r\nhello"), 200),
        idle("refused", format!("GET /api/x{head}\r\n"), 401),
        idle("refused with a body", format!("POST /api/x{head}Content-Length: 5\r\n\r\nhello"), 401),
        idle("not found, with chunks", format!("POST /nowhere{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 404),
        idle("half a next request", format!("GET /public/x{head}\r\nGET /pub"), 200),
    );
    let late: Vec<_> = [late.0, late.1, late.2, late.3, late.4, late.5].into_iter().flatten().collect();
    assert!(late.is_empty(), "not closed in time: {late:?}");
}
