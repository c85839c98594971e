use super::*;
use crate::clock::{ManualClock, Time};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_hundred_requests_in_a_row_use_one_connection() {
    let server = Server::answering(OK).await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..100 {
        let sent = send(&pools, &upstream, get("/")).await.unwrap();
        assert_eq!(sent.attempts, 1);
        assert_eq!(text(sent).await.unwrap(), "ok");
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(upstream.open_connections(), 1);
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn the_body_alone_keeps_the_connection_from_others() {
    let server = Server::answering_at_length().await;
    let (pools, upstream) = (pools(), server.upstream());
    let first = send(&pools, &upstream, get("/")).await.unwrap();
    let second = send(&pools, &upstream, get("/")).await.unwrap();
    assert_eq!(server.accepted(), 2);
    assert_eq!(upstream.in_flight(), 2);
    text(first).await.unwrap();
    text(second).await.unwrap();
    assert_eq!(upstream.in_flight(), 0);
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn an_answer_without_a_body_frees_its_connection_at_once() {
    let server = Server::start(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let answer = if head.starts_with("HEAD") {
                "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"
            } else if head.contains("/304") {
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 70\r\n\r\n"
            } else if head.contains("/zero") {
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            } else {
                "HTTP/1.1 204 No Content\r\n\r\n"
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    let mut kept = Vec::new();
    for (method, path) in [(Method::HEAD, "/"), (Method::GET, "/304"), (Method::GET, "/204"), (Method::GET, "/zero")] {
        kept.push(send(&pools, &upstream, request(method, path, Body::Empty)).await.unwrap());
    }
    assert_eq!(server.accepted(), 1, "the bodies are still held and need no connection");
    assert_eq!(kept[0].response.headers()["content-length"], "5000");
}

#[tokio::test]
async fn chunked_answers_keep_their_connection_and_bring_their_trailers() {
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    )
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    for _ in 0..3 {
        let sent = send(&pools, &upstream, get("/")).await.unwrap();
        let mut body = sent.response.into_body();
        let mut frames = Vec::new();
        while let Some(frame) =
            std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
        {
            frames.push(frame.unwrap());
        }
        assert_eq!(frames.last().unwrap().trailers_ref().unwrap()["x-sum"], "7");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_body_that_came_with_its_head_frees_its_connection_at_once() {
    let server = Server::answering(OK).await;
    let (pools, upstream) = (pools(), server.upstream());
    let first = send(&pools, &upstream, get("/")).await.unwrap();
    let second = send(&pools, &upstream, get("/")).await.unwrap();
    assert_eq!((server.accepted(), upstream.in_flight()), (1, 0));
    assert_eq!((text(first).await.unwrap(), text(second).await.unwrap()), ("ok".to_owned(), "ok".to_owned()));
}

#[tokio::test]
async fn a_body_dropped_before_its_end_closes_the_connection() {
    let (closed, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    drop(send(&pools, &upstream, get("/")).await.unwrap());
    tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn a_caller_that_goes_away_closes_the_connection() {
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let heard = heard.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            heard.send("request").unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            heard.send("closed").unwrap();
        }
    })
    .await;
    let (pools, upstream) = (Arc::new(pools()), server.upstream());
    let caller = {
        let (pools, upstream) = (Arc::clone(&pools), Arc::clone(&upstream));
        tokio::spawn(async move { pools.send(&upstream, get("/"), SendOptions::default()).await.map(|_| ()) })
    };
    assert_eq!(tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap(), Some("request"));
    caller.abort();
    assert_eq!(tokio::time::timeout(PATIENCE, hears.recv()).await.unwrap(), Some("closed"));
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn a_connection_that_lay_idle_too_long_is_closed_by_the_sweep() {
    let hands = ManualClock::at(Time::from_seconds(1));
    let server = Server::answering(OK).await;
    let (pools, upstream) = (Pools::new(hands.clock()), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    hands.advance(Duration::from_secs(89));
    pools.sweep();
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(server.accepted(), 1);
    hands.advance(Duration::from_secs(91));
    pools.sweep();
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn the_connections_of_an_upstream_that_is_gone_are_closed() {
    let (closed, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let (pools, upstream) = (pools(), server.upstream());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    drop(upstream);
    pools.sweep();
    tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_host_follows_its_rule() {
    let server = Server::start(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("none").to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{host}", host.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let pools = pools();
    let own = server.address.to_string();
    for (rule, expected) in [
        (HostRule::Preserve, "api.example.com"),
        (HostRule::Upstream, &own),
        (HostRule::Named(http::HeaderValue::from_static("inner.example")), "inner.example"),
    ] {
        let upstream = Upstream::new(UpstreamSettings { host: rule, ..server.settings() }).unwrap();
        assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), expected);
        let mut hostless = get("/");
        hostless.headers_mut().remove("host");
        let expected = if expected == "api.example.com" { &own } else { expected };
        assert_eq!(text(send(&pools, &upstream, hostless).await.unwrap()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn requests_are_shared_out_over_the_servers() {
    let one = Server::answering(OK).await;
    let two = Server::answering(OK).await;
    for balance in [Balance::LeastRequests, Balance::RoundRobin] {
        let pools = pools();
        let servers = settings(&[one.address, two.address], ServerScheme::Http);
        let upstream = Upstream::new(UpstreamSettings { balance, ..servers }).unwrap();
        let mut answered = Vec::new();
        for _ in 0..4 {
            let sent = send(&pools, &upstream, get("/")).await.unwrap();
            answered.push(sent.endpoint.to_string());
            text(sent).await.unwrap();
        }
        answered.sort();
        answered.dedup();
        assert_eq!(answered.len(), 2, "{balance:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_server_like_any_other() {
    let path = std::env::temp_dir().join(format!("postern-upstream-{}.sock", uuid::Uuid::now_v7()));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while read_head(&mut stream).await.is_some() {
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    });
    let server = ServerSettings { address: ServerAddress::Unix { path: path.clone(), h2c: false }, weight: 1 };
    let upstream = Upstream::new(UpstreamSettings::new("local", vec![server])).unwrap();
    let pools = pools();
    for _ in 0..2 {
        assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "ok");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_code_runs_on_a_shared_runtime() {
    let server = Server::answering(OK).await;
    let (pools, upstream) = (Arc::new(pools()), server.upstream());
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (pools, upstream) = (Arc::clone(&pools), Arc::clone(&upstream));
            tokio::spawn(async move {
                for _ in 0..50 {
                    assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "ok");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(upstream.in_flight(), 0);
}
