use super::*;
use crate::reason::Reason;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers the first request of its first connection, and closes that connection when the second request has come.
async fn closes_on_the_second() -> Server {
    Server::start(|number, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        while let Some(head) = read_head(&mut stream).await {
            if number == 0 {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_get_that_met_a_closing_connection_is_sent_again_as_it_was() {
    let server = Server::start(|number, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        let again = read_head(&mut stream).await;
        assert!(number > 0 || again.is_some());
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let first = text(send(&pools, &upstream, get("/one?a=%20b")).await.unwrap()).await.unwrap();
    let sent = send(&pools, &upstream, get("/one?a=%20b")).await.unwrap();
    assert_eq!(sent.attempts, 2);
    assert_eq!(text(sent).await.unwrap(), first, "the second copy reads like the first");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_upon_is_not_sent_again() {
    let server = closes_on_the_second().await;
    let (pools, upstream) = (pools(), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    let failed = send(&pools, &upstream, request(Method::POST, "/", Body::Empty)).await.unwrap_err();
    assert_eq!((failed.attempts, failed.error.reason()), (1, Reason::UpstreamReset));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_put_with_a_body_is_not_sent_again() {
    let server = closes_on_the_second().await;
    let (pools, upstream) = (pools(), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    let failed = send(&pools, &upstream, request(Method::PUT, "/", Body::from("new"))).await.unwrap_err();
    assert_eq!(failed.attempts, 1);
}

#[tokio::test]
async fn nothing_is_sent_again_where_retries_are_off() {
    let server = closes_on_the_second().await;
    let pools = pools();
    let upstream = Upstream::new(UpstreamSettings { retries: 0, ..server.settings() }).unwrap();
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(send(&pools, &upstream, get("/")).await.unwrap_err().attempts, 1);
}

#[tokio::test]
async fn nothing_is_sent_again_once_a_byte_of_an_answer_came() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        if read_head(&mut stream).await.is_some() {
            stream.write_all(b"HTTP/1.1 2").await.unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    let failed = send(&pools, &upstream, get("/")).await.unwrap_err();
    assert_eq!((failed.attempts, server.accepted()), (1, 1));
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_not_tried_again() {
    let server = Server::start(|_, mut stream| async move {
        let _ = read_head(&mut stream).await;
    })
    .await;
    let failed = send(&pools(), &server.upstream(), get("/")).await.unwrap_err();
    assert_eq!((failed.attempts, server.accepted()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_even_tried() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..3 {
        text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
        while upstream.open_connections() > 0 {
            pools.sweep();
            tokio::task::yield_now().await;
        }
        let sent = send(&pools, &upstream, request(Method::POST, "/", Body::from("x"))).await.unwrap();
        assert_eq!(sent.attempts, 1);
        text(sent).await.unwrap();
        while upstream.open_connections() > 0 {
            pools.sweep();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_costs_one_retry_at_another_even_for_a_post() {
    let good = Server::answering(OK).await;
    let pools = pools();
    let upstream = Upstream::new(settings(&[nobody().await, good.address], ServerScheme::Http)).unwrap();
    let mut attempts = 0;
    for _ in 0..8 {
        let sent = send(&pools, &upstream, request(Method::POST, "/", Body::from("x"))).await.unwrap();
        assert_eq!(&*sent.endpoint, good.address.to_string());
        attempts += sent.attempts;
        drop(sent);
    }
    assert_eq!(attempts, 8 + 3, "after three failures the server is put aside");
}

#[tokio::test]
async fn when_every_server_refuses_the_answer_is_unreachable() {
    let upstream = Upstream::new(settings(&[nobody().await, nobody().await], ServerScheme::Http)).unwrap();
    let failed = send(&pools(), &upstream, get("/")).await.unwrap_err();
    assert_eq!((failed.attempts, failed.error.reason()), (2, Reason::UpstreamUnreachable));
}

/// The server closes before the runtime has heard of it, so the connection is taken, and the first write fails: what was
/// taken of the body for it goes up with the next attempt, whole.
#[tokio::test]
async fn a_body_is_whole_after_an_attempt_that_sent_nothing() {
    let folder = std::env::temp_dir().join(format!("postern-upstream-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("server.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (close, told) = std::sync::mpsc::channel();
    let (closed, waits) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut bodies = Vec::new();
        for number in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let whole = |seen: &[u8]| {
                let text = String::from_utf8_lossy(seen).into_owned();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let over = if head.contains("chunked") { body.ends_with("0\r\n\r\n") } else { body.len() >= 5 };
                (over || head.starts_with("GET")).then(|| body.to_owned())
            };
            let body = loop {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "cut off: {}", seen.escape_ascii());
                seen.extend_from_slice(&buffer[..count]);
                if let Some(body) = whole(&seen) {
                    break body;
                }
            };
            stream.write_all(OK.as_bytes()).unwrap();
            if number % 2 == 1 {
                bodies.push(body);
                continue;
            }
            let _ = told.recv();
            drop(stream);
            let _ = closed.send(());
        }
        bodies
    });
    let address = ServerAddress::Unix { path: path.clone(), h2c: false };
    let settings =
        UpstreamSettings { retries: 0, ..UpstreamSettings::new("unix", vec![ServerSettings { address, weight: 1 }]) };
    let (pools, upstream) = (pools(), Upstream::new(settings).unwrap());
    for announced in [true, false] {
        text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
        // Blocks the runtime's only thread: it can't hear that the server closes.
        close.send(()).unwrap();
        waits.recv().unwrap();
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from_static(b"hello"))).await.unwrap();
        drop(feed);
        let mut upload = request(Method::POST, "/", body);
        if announced {
            upload.headers_mut().insert("content-length", http::HeaderValue::from_static("5"));
        }
        let sent = send(&pools, &upstream, upload).await.unwrap();
        text(sent).await.unwrap();
    }
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    drop(close);
    assert_eq!(server.join().unwrap(), ["hello", "5\r\nhello\r\n0\r\n\r\n"]);
    std::fs::remove_dir_all(folder).unwrap();
}
