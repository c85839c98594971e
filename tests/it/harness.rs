//! The instruments themselves: an upstream that would not notice a flaw, or a client that would not notice a cut message,
//! would make every other test here worthless.

use std::time::Duration;

use crate::support::raw::{self, Connection, Ending, Until, talk};
use crate::support::upstream::{Reply, Step, Upstream, answer};

#[tokio::test]
async fn the_upstream_notices_every_flaw() {
    for (message, flaw) in [
        ("GET / HTTP/1.1\r\nX: y\r\n\r\n", "0 Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "2 Host"),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "bare"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n", "name"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "version"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "framing"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "Content-Length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding"),
    ] {
        let upstream = Upstream::echo().await;
        let talk = talk(upstream.address, message.as_bytes(), Until::End).await;
        assert_eq!(talk.statuses(), [400], "{message:?}");
        let noted = upstream.seen()[0].flaw.clone().unwrap_or_default();
        assert!(noted.contains(flaw), "{message:?}: {noted:?}");
    }
}

#[tokio::test]
async fn the_upstream_records_what_came_and_echoes_it() {
    let upstream = Upstream::echo().await;
    let message = "POST /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n\
                   GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let talk = talk(upstream.address, message.as_bytes(), Until::End).await;
    assert_eq!(talk.statuses(), [200, 200]);
    assert_eq!(talk.answers[0].json()["body_bytes"], 3);
    let seen = upstream.seen();
    assert_eq!((seen[0].target.as_str(), seen[0].body.as_slice(), seen[0].whole), ("/a?b", &b"abc"[..], true));
    assert_eq!(seen[0].values("X"), ["1", "2"]);
    assert_eq!(seen[0].trailers, [("T".to_owned(), "u".to_owned())]);
    assert_eq!((seen[1].target.as_str(), seen[1].connection), ("/c", 0));
    assert_eq!((upstream.connections(), upstream.flawless()), (1, true));
}

#[tokio::test]
async fn names_fold_as_a_cgi_back_end_folds_them() {
    let upstream = Upstream::echo().await;
    let message =
        "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded.User: a\r\nx-forwarded-user: b\r\nConnection: close\r\n\r\n";
    talk(upstream.address, message.as_bytes(), Until::End).await;
    assert_eq!(upstream.seen()[0].folded("X-Forwarded-User"), ["a", "b"]);
}

#[tokio::test]
async fn the_client_tells_a_cut_message_from_a_whole_one() {
    for (message, body, whole) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hel", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "hel", false),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 204 No\r\n\r\n", "", true),
    ] {
        let script = Reply::Script(vec![Step::send(message), Step::Close]);
        let upstream = Upstream::start(move |_| script.clone()).await;
        let answer = raw::get(upstream.address, "h", "/").await;
        assert_eq!((answer.text().as_str(), answer.whole), (body, whole), "{message:?}");
    }
}

#[tokio::test]
async fn the_client_tells_how_a_connection_ended() {
    for (last, ending) in [(Step::Close, Ending::Closed), (Step::Reset, Ending::Reset), (Step::Hang, Ending::Open)] {
        let upstream = Upstream::start(move |_| Reply::Script(vec![last.clone()])).await;
        let mut connection = Connection::open(upstream.address).await;
        connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(connection.read(Until::Quiet(Duration::from_millis(300))).await.ending, ending);
    }
}

#[tokio::test]
async fn an_upstream_that_is_down_refuses_and_can_come_back() {
    let mut upstream = Upstream::start(|_| answer(201, "text/plain", "here")).await;
    let mut kept = Connection::open(upstream.address).await;
    upstream.go_down().await;
    assert_ne!(kept.read(Until::End).await.ending, Ending::Open);
    assert!(tokio::net::TcpStream::connect(upstream.address).await.is_err());
    upstream.come_back().await;
    assert_eq!(raw::get(upstream.address, "h", "/").await.status, 201);
}
