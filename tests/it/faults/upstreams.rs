//! F20 to F23: the upstream breaks off, stalls, or answers what is no answer.

use std::time::Instant;

use super::{SECOND, assert_flat};
use crate::support::eventually;
use crate::support::raw::{self, Connection, Ending, Until};
use crate::support::standard::{HOST, Layout, Standard};
use crate::support::upstream::{Reply, Step};

fn patient_for_a_second() -> Layout {
    Layout {
        upstream: ", timeouts: { connect: 1s, response_header: 2s, stream_idle: 2s }".to_owned(),
        ..Layout::default()
    }
}

fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n")
}

async fn before(steps: Vec<Step>) -> Standard {
    let script = Reply::Script(steps);
    Standard::start_before(patient_for_a_second(), move |seen| {
        if seen.target == "/public/fault" { script.clone() } else { Reply::Echo }
    })
    .await
}

/// F20
#[tokio::test]
async fn a_message_that_breaks_off_is_never_given_out_as_whole() {
    for (about, sent) in [
        ("Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        ("no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello"),
        ("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("no end of the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        ("a broken chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n"),
    ] {
        for last in [Step::Close, Step::Reset] {
            let standard = before(vec![Step::send(sent), last.clone()]).await;
            let talk = raw::talk(standard.address(), request("GET", "/public/fault").as_bytes(), Until::End).await;
            let whole = talk.finals().iter().any(|answer| answer.status == 200 && answer.whole);
            assert!(!whole, "{about}, {last:?}: the client was given a clean end");
            assert_ne!(talk.ending, Ending::Open, "{about}, {last:?}");
            standard.seen();
            assert_eq!(standard.get("/public/next", None).await.status, 200);
            assert_ne!(standard.seen()[0].connection, 0, "{about}, {last:?}: a connection in doubt was used again");
        }
    }
}

/// F21: a kept connection that the upstream closes under a request: what may be repeated is, once; the rest is not.
#[tokio::test]
async fn a_request_is_repeated_only_if_that_does_no_harm() {
    let layout =
        Layout { server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 1\n".to_owned(), ..patient_for_a_second() };
    // Each connection serves one request and dies at the second, before it answers.
    let served = std::sync::Mutex::new(std::collections::BTreeSet::new());
    let standard = Standard::start_before(layout, move |seen| {
        if served.lock().unwrap().insert(seen.connection) { Reply::Echo } else { Reply::Script(vec![Step::Reset]) }
    })
    .await;
    for method in ["GET", "HEAD"] {
        assert_eq!(standard.send("GET", "/public/first", "").await.status, 200);
        standard.seen();
        assert_eq!(standard.send(method, "/public/again", "").await.status, 200, "{method} is safe to repeat");
    }
    assert_eq!(standard.send("GET", "/public/first", "").await.status, 200);
    standard.seen();
    let posted = raw::request(
        standard.address(),
        &format!("POST /public/once HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
    )
    .await;
    let times = standard.seen().iter().filter(|seen| seen.target == "/public/once").count();
    assert!(times == 1 && posted.status == 502, "a POST that was sent is sent once: {times} times, {}", posted.status);
}

#[tokio::test]
async fn an_upstream_that_always_fails_is_asked_a_bounded_number_of_times() {
    let standard = before(vec![Step::Reset]).await;
    assert_eq!(standard.send("GET", "/public/fault", "").await.status, 502);
    assert!(standard.seen().len() <= 2, "one retry at most");
}

/// F22
#[tokio::test]
async fn nonsense_is_a_bad_gateway_or_a_clean_answer() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let fields = |count: usize| "X: y\r\n".repeat(count);
    for (about, sent) in [
        ("garbage", "\0\u{1}\u{2}garbage\r\n\r\n".to_owned()),
        ("no version", "200 OK\r\n\r\n".to_owned()),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("another protocol", "RTSP/1.0 200 OK\r\n\r\n".to_owned()),
        ("two lengths", format!("{ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
        ("a length that is none", format!("{ok}Content-Length: 5x\r\n\r\nhello")),
        ("a negative length", format!("{ok}Content-Length: -5\r\n\r\nhello")),
        (
            "length and coding",
            format!("{ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ),
        ("an odd coding", format!("{ok}Transfer-Encoding: gzip\r\n\r\nhello")),
        ("a bare CR in a field", format!("{ok}X: a\rb\r\nContent-Length: 0\r\n\r\n")),
        ("a NUL in a field", format!("{ok}X: a\0b\r\nContent-Length: 0\r\n\r\n")),
        ("a name with a space", format!("{ok}X y: z\r\nContent-Length: 0\r\n\r\n")),
        ("a field of 1 MB", format!("{ok}X: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(1 << 20))),
        ("10,000 fields", format!("{ok}{}Content-Length: 0\r\n\r\n", fields(10_000))),
        ("nothing but interim answers", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000)),
        (
            "101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned(),
        ),
    ] {
        let standard = before(vec![Step::send(sent), Step::Hang]).await;
        let resident = standard.gateway.resident();
        let started = Instant::now();
        let mut connection = Connection::open(standard.address()).await;
        connection.send(request("GET", "/public/fault").as_bytes()).await;
        let talk = connection.read(Until::Answers(1)).await;
        let clean = talk.statuses() == [200] && talk.finals()[0].whole && talk.rest.is_empty();
        let cut = talk.statuses() == [200] && !talk.finals()[0].whole && talk.ending != Ending::Open;
        let refused = matches!(talk.statuses()[..], [502 | 504]);
        assert!(clean || cut || refused, "{about}: {:?}, {:?}", talk.statuses(), talk.ending);
        assert!(talk.answers.iter().all(|answer| answer.status != 101), "{about}");
        assert!(started.elapsed() < SECOND * 8, "{about} took {:?}", started.elapsed());
        assert_flat(&standard.gateway, resident, about);
        assert_eq!(standard.get("/public/next", None).await.json()["target"], "/public/next", "after {about}");
    }
}

/// Bytes behind an answer are nobody's: the next caller gets its own.
#[tokio::test]
async fn surplus_bytes_never_become_the_next_answer() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
    ] {
        let standard = before(vec![Step::Body, Step::send(format!("{first}{poison}"))]).await;
        for round in 0..5 {
            raw::request(standard.address(), &request("GET", "/public/fault")).await;
            for next in 0..3 {
                let target = format!("/public/{round}/{next}");
                let answer = standard.get(&target, None).await;
                assert_eq!(
                    (answer.status, &*answer.json()["target"].to_string()),
                    (200, &*format!("{target:?}")),
                    "{first:?}"
                );
            }
        }
    }
}

/// An answer before the request is complete is passed on; the rest of the request goes nowhere else.
#[tokio::test]
async fn an_early_answer_ends_the_request() {
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let standard = before(vec![Step::send(early), Step::Close]).await;
    let head = format!("POST /public/fault HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n");
    let mut connection = Connection::open(standard.address()).await;
    connection.send(head.as_bytes()).await;
    connection.send(&[b'a'; 1000]).await;
    let answer = connection.answer().await;
    assert!(matches!(answer.status, 413 | 502), "{}", answer.status);
    standard.seen();
    assert_eq!(standard.get("/public/next", None).await.status, 200);
    assert_eq!(standard.seen().iter().map(|seen| &*seen.target).collect::<Vec<_>>(), ["/public/next"]);
}

/// F23: a reader that does not read holds up its own upstream, and costs next to nothing.
#[tokio::test]
async fn a_slow_reader_is_felt_upstream() {
    const PIECE: usize = 1 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 10_u64 << 30);
    let standard = before(vec![Step::send(head), Step::Repeat(vec![b'a'; PIECE], 10 << 10)]).await;
    let resident = standard.gateway.resident();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(standard.address()).await;
        connection.send(request("GET", "/public/fault").as_bytes()).await;
        connection.until_received(b"HTTP/1.1 200").await;
        slow.push(connection);
    }
    // The upstream is held up once nothing more has moved for a while.
    let mut last = (0, Instant::now());
    eventually("the upstream is held up", raw::PATIENCE, || {
        let moved = standard.upstream.moved();
        if moved != last.0 {
            last = (moved, Instant::now());
        }
        (last.1.elapsed() > SECOND).then_some(())
    })
    .await;
    assert!(last.0 < slow.len() * 20 * PIECE, "{} MiB went upstream to nobody", last.0 >> 20);
    assert_flat(&standard.gateway, resident, "eight slow readers");
    assert_eq!(standard.get("/public/next", None).await.status, 200);
    drop(slow);
    eventually("their upstream connections end", raw::PATIENCE, || {
        (standard.upstream.open_connections() <= 2).then_some(())
    })
    .await;
}

/// A client that goes away takes its upstream request with it.
#[tokio::test]
async fn an_aborted_request_aborts_its_upstream() {
    let standard = before(vec![Step::Hang]).await;
    let mut connection = Connection::open(standard.address()).await;
    connection.send(request("GET", "/public/fault").as_bytes()).await;
    eventually("the request is upstream", raw::PATIENCE, || (!standard.upstream.seen().is_empty()).then_some(())).await;
    assert_eq!(standard.upstream.open_connections(), 1);
    drop(connection);
    eventually("its connection is ended", SECOND, || (standard.upstream.open_connections() == 0).then_some(())).await;
}
