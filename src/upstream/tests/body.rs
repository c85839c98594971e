use super::*;
use crate::reason::Reason;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[derive(Debug, thiserror::Error)]
#[error("the client fell silent")]
struct ClientFault;

#[tokio::test]
async fn a_body_of_known_length_has_that_length_and_one_of_unknown_length_is_chunked() {
    let server = Server::start(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let body = if head.contains("content-length: 5\r\n") {
                assert!(!head.contains("transfer-encoding"), "{head}");
                read_until(&mut stream, "hello").await.unwrap()
            } else {
                assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
                assert!(!head.contains("content-length"), "{head}");
                read_until(&mut stream, "0\r\n\r\n").await.unwrap()
            };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let whole = request(Method::POST, "/", Body::from("hello"));
    assert_eq!(text(send(&pools, &upstream, whole).await.unwrap()).await.unwrap(), "hello");

    let (feed, body) = fed();
    feed.send(Ok(Bytes::from_static(b"hello"))).await.unwrap();
    drop(feed);
    let sent = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap();
    assert_eq!(text(sent).await.unwrap(), "5\r\nhello\r\n0\r\n\r\n");

    let (feed, body) = fed();
    feed.send(Ok(Bytes::from_static(b"hello"))).await.unwrap();
    let mut announced = request(Method::POST, "/", body);
    announced.headers_mut().insert("content-length", http::HeaderValue::from_static("5"));
    drop(feed);
    assert_eq!(text(send(&pools, &upstream, announced).await.unwrap()).await.unwrap(), "hello");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_length_without_a_body_is_not_passed_on() {
    let server = Server::start(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            assert!(!head.contains("content-length: 7"), "{head}");
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut bodiless = get("/");
    bodiless.headers_mut().insert("content-length", http::HeaderValue::from_static("7"));
    assert_eq!(text(send(&pools(), &server.upstream(), bodiless).await.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_that_breaks_off_never_ends_cleanly_and_its_error_reaches_the_gateway() {
    for announced in [None, Some("10")] {
        let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(move |_, mut stream| {
            let seen = seen.clone();
            async move {
                let mut got = Vec::new();
                let _ = stream.read_to_end(&mut got).await;
                seen.send(String::from_utf8(got).unwrap()).unwrap();
            }
        })
        .await;
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
        feed.send(Err(Box::new(ClientFault))).await.unwrap();
        drop(feed);
        let mut broken = request(Method::POST, "/", body);
        if let Some(length) = announced {
            broken.headers_mut().insert("content-length", http::HeaderValue::from_static(length));
        }
        let (pools, upstream) = (pools(), server.upstream());
        let failed = send(&pools, &upstream, broken).await.unwrap_err();
        let SendError::RequestBody(error) = &failed.error else { panic!("{failed}") };
        assert!(error.downcast_ref::<ClientFault>().is_some());
        assert_eq!(failed.error.reason(), Reason::ClientGone);
        let got = tokio::time::timeout(PATIENCE, sees.recv()).await.unwrap().unwrap();
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_delivered_and_its_connection_ends() {
    for (length, expected) in [(3, "big"), (0, "")] {
        let (closed, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let server = Server::start(move |_, mut stream| {
            let closed = closed.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let answer = format!("HTTP/1.1 413 Content Too Large\r\ncontent-length: {length}\r\n\r\n{expected}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                closed.send(rest).unwrap();
            }
        })
        .await;
        let (pools, upstream) = (pools(), server.upstream());
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from_static(b"first"))).await.unwrap();
        let sent = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap();
        assert_eq!(sent.response.status(), 413);
        assert_eq!(text(sent).await.unwrap(), expected);
        let rest = tokio::time::timeout(PATIENCE, seen.recv()).await.expect("closed though the client still sends");
        assert!(!rest.unwrap().ends_with(b"0\r\n\r\n"));
        assert!(feed.is_closed(), "nobody reads the rest");
        text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
        assert_eq!(server.accepted(), 2);
    }
}

#[tokio::test]
async fn a_slow_client_is_not_the_upstreams_slowness_and_a_stalled_upstream_is() {
    let server = Server::start(|number, mut stream| async move {
        if number == 0 {
            read_until(&mut stream, "0\r\n\r\n").await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let options = SendOptions { response_header: Some(Duration::from_millis(40)), ..SendOptions::default() };
    let (feed, body) = fed();
    let slow = tokio::spawn(async move {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            feed.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
        }
    });
    let sent = pools.send(&upstream, request(Method::POST, "/", body), options).await.unwrap();
    assert_eq!(sent.response.status(), 200);
    slow.await.unwrap();

    let (feed, body) = fed();
    let flood = tokio::spawn(async move { while feed.send(Ok(Bytes::from(vec![0; 65536]))).await.is_ok() {} });
    let failed = pools.send(&upstream, request(Method::POST, "/", body), options).await.unwrap_err();
    assert!(matches!(failed.error, SendError::Timeout(TimeoutKind::ResponseHeader)), "{failed}");
    tokio::time::timeout(PATIENCE, flood).await.expect("its body is let go").unwrap();
}

#[tokio::test]
async fn silence_inside_an_answer_is_an_error_where_a_limit_is_set() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let stream_idle = Duration::from_millis(30);
    let upstream = Upstream::new(UpstreamSettings { stream_idle, ..server.settings() }).unwrap();
    let Err(CappedError::Broken(error)) = text(send(&pools(), &upstream, get("/")).await.unwrap()).await else {
        panic!("silence is no end")
    };
    assert!(matches!(error.downcast_ref(), Some(BodyError::Silent)));
}

#[tokio::test]
async fn an_upgrade_hands_over_the_connection() {
    let server = Server::start(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("upgrade: echo\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly ")
            .await
            .unwrap();
        let said = read_until(&mut stream, "!").await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let mut upgrade = get("/");
    upgrade.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
    upgrade.headers_mut().insert("upgrade", http::HeaderValue::from_static("echo"));
    let options = SendOptions { upgrade: true, ..SendOptions::default() };
    let sent = pools.send(&upstream, upgrade, options).await.unwrap();
    assert_eq!(sent.response.status(), 101);
    let mut tunnel = sent.response.into_body().into_tunnel().unwrap();
    tunnel.write_all(b"hello!").await.unwrap();
    let mut heard = String::new();
    tunnel.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "early hello!");
    assert_eq!(upstream.open_connections(), 1, "the tunnel counts while it is open");
    drop(tunnel);
    assert_eq!(upstream.open_connections(), 0);
}

#[tokio::test]
async fn a_request_goes_on_beside_its_answer_though_nobody_reads_that() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let body = read_until(&mut stream, "0\r\n\r\n").await.unwrap();
        stream.write_all(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let (feed, body) = fed();
    let sent = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap();
    let piece = Bytes::from(vec![b'x'; 100_000]);
    for _ in 0..10 {
        tokio::time::timeout(PATIENCE, feed.send(Ok(piece.clone()))).await.expect("it is taken").unwrap();
    }
    drop(feed);
    let answer = text(sent).await.unwrap();
    assert_eq!(answer.len(), "early".len() + 10 * ("186a0\r\n\r\n".len() + piece.len()) + "0\r\n\r\n".len());
}

#[tokio::test]
async fn the_rest_of_a_request_is_given_up_with_its_answer() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        // Reads nothing any more: what is written to it gets stuck.
        std::future::pending::<()>().await;
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let (feed, body) = fed();
    let sent = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap();
    let flood = tokio::spawn(async move { while feed.send(Ok(Bytes::from(vec![0; 65536]))).await.is_ok() {} });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(sent);
    tokio::time::timeout(PATIENCE, flood).await.expect("its body is let go").unwrap();
    assert_eq!((upstream.open_connections(), upstream.in_flight()), (0, 0));
}

#[tokio::test]
async fn an_answer_is_heard_though_its_server_stopped_reading_the_request() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
        // Dropped with unread bytes: the client's next write fails.
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..20 {
        let (feed, body) = fed();
        let flood = tokio::spawn(async move { while feed.send(Ok(Bytes::from(vec![0; 65536]))).await.is_ok() {} });
        match send(&pools, &upstream, request(Method::POST, "/", body)).await {
            Ok(sent) => assert_eq!(sent.response.status(), 413),
            Err(failed) => assert_eq!(failed.error.reason(), Reason::UpstreamReset, "{failed}"),
        }
        tokio::time::timeout(PATIENCE, flood).await.expect("its body is let go").unwrap();
    }
}

#[tokio::test]
async fn a_head_may_come_in_any_pieces() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 2\r\n\r\nok";
    let server = Server::start(|number, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let at = number + 1;
        stream.write_all(&ANSWER[..at]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&ANSWER[at..]).await.unwrap();
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 1..ANSWER.len() {
        let sent = send(&pools, &upstream, get("/")).await.unwrap();
        assert_eq!(sent.response.status(), 200);
        assert_eq!(sent.response.headers()["x-a"], "b");
        assert_eq!(text(sent).await.unwrap(), "ok");
        while upstream.open_connections() > 0 {
            pools.sweep();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_answer_breaks_off_when_the_request_beside_it_does() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n").await.unwrap();
        // Waits for the end of the request before it goes on.
        let _ = read_until(&mut stream, "0\r\n\r\n").await;
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let (feed, body) = fed();
    let sent = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap();
    feed.send(Err(Box::new(ClientFault))).await.unwrap();
    assert!(matches!(text(sent).await, Err(CappedError::Broken(_))));
    assert_eq!(upstream.open_connections(), 0);
}
