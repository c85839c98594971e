use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Answer = http::Response<http_body_util::combinators::BoxBody<Bytes, crate::wire::BoxError>>;

/// An HTTP/2 server with prior knowledge that answers as the closure says.
async fn http2_server<F>(
    streams: u32,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Server
where
    F: Future<Output = Answer> + Send + 'static,
{
    Server::start(move |_, stream| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(streams)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

fn h2c(server: &Server) -> UpstreamSettings {
    settings(&[server.address], ServerScheme::H2c)
}

fn plain(body: impl Into<Bytes>) -> Answer {
    http::Response::new(http_body_util::Full::new(body.into()).map_err(|never| match never {}).boxed())
}

#[tokio::test]
async fn requests_share_one_connection_and_carry_their_authority() {
    let server = http2_server(100, |request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        assert!(!request.headers().contains_key("host"));
        plain(request.uri().to_string())
    })
    .await;
    let (pools, upstream) = (Arc::new(pools()), Upstream::new(h2c(&server)).unwrap());
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let (pools, upstream) = (Arc::clone(&pools), Arc::clone(&upstream));
            tokio::spawn(async move {
                let path = format!("/{number}");
                let sent = send(&pools, &upstream, get(&path)).await.unwrap();
                assert_eq!(text(sent).await.unwrap(), format!("http://api.example.com{path}"));
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn trailers_travel_both_ways() {
    let server = http2_server(100, |request| async move {
        let sum = request.into_body().collect().await.unwrap().trailers().unwrap()["x-sum"].clone();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", sum);
        let frames = [Ok(Frame::data(Bytes::from_static(b"ok"))), Ok(Frame::trailers(trailers))];
        http::Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))))
    })
    .await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("7"));
    let frames = [Ok(Frame::data(Bytes::from_static(b"hello"))), Ok(Frame::trailers(trailers))];
    let body = Body::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let upstream = Upstream::new(h2c(&server)).unwrap();
    let sent = send(&pools(), &upstream, request(Method::POST, "/", body)).await.unwrap();
    let answer = sent.response.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "7");
}

#[tokio::test]
async fn more_streams_than_the_server_allows_open_another_connection() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let server = http2_server(2, move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            plain("ok")
        }
    })
    .await;
    let (pools, upstream) = (Arc::new(pools()), Upstream::new(h2c(&server)).unwrap());
    // The server's settings are known once it has answered.
    open.send(true).unwrap();
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    open.send(false).unwrap();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (pools, upstream) = (Arc::clone(&pools), Arc::clone(&upstream));
            tokio::spawn(async move { text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap() })
        })
        .collect();
    while server.accepted() < 2 {
        tokio::task::yield_now().await;
    }
    open.send(true).unwrap();
    for client in clients {
        assert_eq!(client.await.unwrap(), "ok");
    }
    assert!((2..=4).contains(&server.accepted()), "{}", server.accepted());
}

#[tokio::test]
async fn a_connection_that_went_away_is_replaced() {
    let server = http2_server(100, |_| async { plain("ok") }).await;
    let (pools, upstream) = (pools(), Upstream::new(h2c(&server)).unwrap());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    let shared = &upstream.shared.pools()[0];
    assert!(shared.give_up_idle());
    while upstream.open_connections() > 0 {
        tokio::task::yield_now().await;
    }
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_resets_its_stream_alone() {
    let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
    let server = http2_server(100, move |request| {
        let seen = seen.clone();
        async move {
            if request.method() == Method::POST {
                seen.send(request.into_body().collect().await.is_err()).unwrap();
            }
            plain("ok")
        }
    })
    .await;
    let (pools, upstream) = (pools(), Upstream::new(h2c(&server)).unwrap());
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
    feed.send(Err("gone".into())).await.unwrap();
    let failed = send(&pools, &upstream, request(Method::POST, "/", body)).await.unwrap_err();
    assert!(matches!(failed.error, SendError::RequestBody(_)), "{failed}");
    assert!(tokio::time::timeout(PATIENCE, sees.recv()).await.unwrap().unwrap());
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn requests_that_come_together_while_the_server_refuses_fail_together() {
    let upstream = Upstream::new(settings(&[nobody().await], ServerScheme::H2c)).unwrap();
    let pools = pools();
    let (one, two) = tokio::join!(send(&pools, &upstream, get("/")), send(&pools, &upstream, get("/")));
    assert!(matches!(one.unwrap_err().error, SendError::Connect(_)));
    assert!(matches!(two.unwrap_err().error, SendError::Connect(_)));
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_is_no_end() {
    let server = Server::start(|_, mut stream| async move {
        let mut taken = Vec::new();
        // Until the request's HEADERS (type 1) are there, after the preface, on stream 1.
        while !taken.windows(5).any(|bytes| bytes == [1, 5, 0, 0, 0]) {
            taken.push(stream.read_u8().await.unwrap());
        }
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        // `:status: 200` is number 8 of the static table (RFC 7541, appendix A).
        let headers = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
        let data = [0, 0, 4, 0, 0, 0, 0, 0, 1, b'h', b'a', b'l', b'f'];
        let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        stream.write_all(&[&settings[..], &headers, &data, &reset].concat()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let upstream = Upstream::new(h2c(&server)).unwrap();
    let pools = pools();
    let broken = match send(&pools, &upstream, get("/")).await {
        Ok(sent) => text(sent).await.is_err(),
        Err(failed) => failed.error.status() == 502,
    };
    assert!(broken);
}
