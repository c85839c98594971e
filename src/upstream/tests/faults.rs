use super::*;
use crate::reason::Reason;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// How a request to a server fails that gives this answer and closes.
async fn failure_of(answer: impl Into<Vec<u8>>) -> Failed {
    let server = Server::answering_once(answer).await;
    send(&pools(), &server.upstream(), get("/")).await.expect_err("no answer to pass on")
}

#[tokio::test]
async fn nonsense_is_a_protocol_error() {
    for answer in [
        "220 mail.example ESMTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-bare: a\rb\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-space : a\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-fold: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 99 Low\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let failed = failure_of(answer).await;
        assert_eq!(failed.error.reason(), Reason::UpstreamProtocol, "{answer:?}: {failed}");
        assert_eq!(failed.error.status(), 502);
        assert_eq!(failed.attempts, 1, "it may have been acted upon: {answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_a_protocol_error() {
    let large = format!("HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n", "a".repeat(1 << 20));
    assert_eq!(failure_of(large).await.error.reason(), Reason::UpstreamProtocol);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: a\r\n".repeat(10_000));
    assert_eq!(failure_of(many).await.error.reason(), Reason::UpstreamProtocol);
}

#[tokio::test]
async fn interim_answers_without_end_are_a_protocol_error() {
    let server = Server::start(|_, mut stream| async move {
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(100);
        while stream.write_all(interim.as_bytes()).await.is_ok() {}
    })
    .await;
    let failed = send(&pools(), &server.upstream(), get("/")).await.unwrap_err();
    assert!(matches!(failed.error, SendError::Protocol(_) | SendError::Reset(_)), "{failed}");
    assert_eq!(failed.error.status(), 502);
}

#[tokio::test]
async fn interim_answers_before_the_final_one_are_dropped() {
    let server = Server::answering(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..2 {
        let sent = send(&pools, &upstream, get("/")).await.unwrap();
        assert_eq!(sent.response.status(), 200);
        assert_eq!(text(sent).await.unwrap(), "ok");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn surplus_bytes_never_become_the_next_answer() {
    let stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    let server = Server::start(move |_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(format!("{OK}{stray}").as_bytes()).await.unwrap();
        while read_head(&mut stream).await.is_some() {
            stream.write_all(stray.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for round in 1..=5 {
        assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "ok");
        assert_eq!(server.accepted(), round);
    }
}

#[tokio::test]
async fn surplus_bytes_that_come_later_close_the_idle_connection() {
    let (say, said) = tokio::sync::watch::channel(false);
    let server = Server::start(move |number, mut stream| {
        let mut said = said.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            if number == 0 {
                said.wait_for(|said| *said).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray").await.unwrap();
            }
            let _ = stream.read(&mut [0; 1]).await;
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    say.send(true).unwrap();
    while upstream.open_connections() > 0 {
        pools.sweep();
        tokio::task::yield_now().await;
    }
    assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "ok");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn an_end_inside_the_head_is_a_reset() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-le", "H"] {
        let failed = failure_of(answer).await;
        assert_eq!(failed.error.reason(), Reason::UpstreamReset, "{failed}");
        assert_eq!(failed.error.status(), 502);
    }
}

#[tokio::test]
async fn an_end_inside_the_body_is_an_error_and_never_an_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n",
    ] {
        let server = Server::answering_once(answer).await;
        let (pools, upstream) = (pools(), server.upstream());
        let sent = send(&pools, &upstream, get("/")).await.unwrap();
        assert!(matches!(text(sent).await, Err(CappedError::Broken(_))), "{answer:?}");
        assert_eq!(upstream.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_refusal_is_unreachable() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let failed = send(&pools(), &server.upstream(), get("/")).await.unwrap_err();
    assert_eq!(failed.error.reason(), Reason::UpstreamReset, "{failed}");
    assert_eq!(&*failed.endpoint.unwrap(), server.address.to_string());

    let upstream = Upstream::new(settings(&[nobody().await], ServerScheme::Http)).unwrap();
    let failed = send(&pools(), &upstream, get("/")).await.unwrap_err();
    assert_eq!(failed.error.reason(), Reason::UpstreamUnreachable, "{failed}");
    assert_eq!(failed.error.status(), 502);
    assert_eq!(failed.attempts, 1);
    assert_eq!(upstream.open_connections(), 0);
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_timeout() {
    let server = Server::start(|_, mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let options = SendOptions { response_header: Some(Duration::from_millis(50)), ..SendOptions::default() };
    let failed = pools.send(&upstream, get("/"), options).await.unwrap_err();
    assert!(matches!(failed.error, SendError::Timeout(TimeoutKind::ResponseHeader)), "{failed}");
    assert_eq!(failed.error.status(), 504);
    while upstream.open_connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_workers_sweeper_bounds_the_wait_without_a_timer_each() {
    let server = Server::start(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let sweeper = crate::deadline::Sweeper::default();
    let (pools, upstream) = (Pools::with_sweeper(Clock::system(), sweeper.clone()), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    let options = SendOptions { response_header: Some(Duration::from_millis(300)), ..SendOptions::default() };
    let mut waiting = std::pin::pin!(pools.send(&upstream, get("/"), options));
    for beat in 0..5 {
        let early = tokio::time::timeout(Duration::from_millis(1), waiting.as_mut()).await;
        assert!(early.is_err() || beat >= 4, "given up after {beat} beats");
        if let Ok(answered) = early {
            let failed = answered.unwrap_err();
            assert!(matches!(failed.error, SendError::Timeout(TimeoutKind::ResponseHeader)), "{failed}");
            return;
        }
        sweeper.beat();
    }
    let failed = tokio::time::timeout(PATIENCE, waiting).await.expect("in time").unwrap_err();
    assert!(matches!(failed.error, SendError::Timeout(TimeoutKind::ResponseHeader)), "{failed}");
}

#[tokio::test]
async fn a_server_that_never_accepts_is_a_connect_timeout() {
    // A listener with a full backlog drops further attempts without a word.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    for _ in 0..8 {
        let attempt = TcpStream::connect(address);
        filling.push(tokio::time::timeout(Duration::from_millis(20), attempt).await);
    }
    let connect_timeout = Duration::from_millis(50);
    let upstream =
        Upstream::new(UpstreamSettings { connect_timeout, ..settings(&[address], ServerScheme::Http) }).unwrap();
    let failed = send(&pools(), &upstream, get("/")).await.unwrap_err();
    assert!(matches!(failed.error, SendError::Timeout(TimeoutKind::Connect)), "{failed}");
    assert_eq!(failed.error.status(), 504);
    assert_eq!(upstream.open_connections(), 0);
}

#[tokio::test]
async fn a_name_without_an_address_is_unreachable() {
    let address = ServerAddress::Tcp { scheme: ServerScheme::Http, host: "nowhere.invalid".into(), port: 80 };
    let upstream =
        Upstream::new(UpstreamSettings::new("nowhere", vec![ServerSettings { address, weight: 1 }])).unwrap();
    let failed = send(&pools(), &upstream, get("/")).await.unwrap_err();
    assert_eq!(failed.error.status().as_u16() / 100, 5, "{failed}");
    assert!(matches!(failed.error, SendError::Connect(_) | SendError::Timeout(TimeoutKind::Connect)), "{failed}");
}

#[tokio::test]
async fn an_http_1_0_server_gets_each_request_on_a_connection_of_its_own() {
    let server = Server::answering("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok").await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..2 {
        assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "ok");
    }
    assert_eq!(server.accepted(), 2, "else a chunked request would be sent as HTTP/1.0 without its body");
}
