//! Trailers and HTTP/2 on the upstream's side: requests' go on where the protocol has them, owned names removed;
//! answers' always.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::raw::{Connection, Until};
use crate::support::standard::{HOST, Layout, Standard};
use crate::support::upstream::{Reply, Step};

type Seen = Arc<Mutex<Vec<(http::request::Parts, Bytes, Option<HeaderMap>)>>>;
type Frames = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn frames(data: &'static str, trailers: &[(&'static str, &'static str)]) -> Frames {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.append(*name, value.parse().expect("a value"));
    }
    let frames = vec![Ok(Frame::data(Bytes::from_static(data.as_bytes()))), Ok(Frame::trailers(map))];
    StreamBody::new(futures_util::stream::iter(frames))
}

/// An HTTP/2 upstream that keeps what it saw and answers with trailers.
async fn upstream() -> (SocketAddr, JoinHandle<()>, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&kept);
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?;
                    let trailers = body.trailers().cloned();
                    seen.lock().unwrap().push((parts, body.to_bytes(), trailers));
                    let mut answer = Response::new(frames("answer", &[("x-sum", "7"), ("x-two", "a"), ("x-two", "b")]));
                    // HTTP/1.1 clients get the trailers that were announced.
                    answer.headers_mut().insert("trailer", "x-sum, x-two".parse().expect("a value"));
                    Ok::<_, hyper::Error>(answer)
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, serving, seen)
}

async fn standard(server: SocketAddr) -> Standard {
    let layout = Layout {
        upstreams: format!("  two: {{ servers: [\"h2c://{server}\"] }}\n"),
        routes: format!(
            "  - {{ name: two, match: {{ hosts: [{HOST}], path: /two/** }}, upstream: two, access: public }}\n"
        ),
        ..Layout::default()
    };
    Standard::start_with(layout).await
}

#[tokio::test]
async fn request_trailers_go_on_over_http2_without_owned_names() {
    let (address, serving, seen) = upstream().await;
    let standard = standard(address).await;
    let stream = TcpStream::connect(standard.address()).await.expect("a connection");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = handshake.await.expect("an HTTP/2 connection");
    tokio::spawn(connection);
    let spoofed = [
        ("x-checksum", "1"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x.forwarded.for", "root"),
        ("forwarded", "for=root"),
        ("x-postern-identity", "root"),
        ("authorization", "Bearer x"),
        ("host", "other.test"),
        ("content-length", "5"),
        ("cookie", "a=b"),
    ];
    let request = Request::post(format!("http://{HOST}/two/x")).body(frames("request", &spoofed)).expect("a request");
    let answer = send.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let answer = answer.into_body().collect().await.expect("a whole answer");
    let trailers = answer.trailers().cloned().expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
    assert_eq!(trailers.get_all("x-two").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(answer.to_bytes(), "answer");

    let seen = seen.lock().unwrap();
    let (parts, body, trailers) = &seen[0];
    assert_eq!((parts.uri.path(), parts.uri.authority().map(|name| name.as_str())), ("/two/x", Some(HOST)));
    assert_eq!(body, "request");
    let names: Vec<_> = trailers.iter().flat_map(|trailers| trailers.keys()).map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-checksum"]);
    serving.abort();
}

/// From an HTTP/1.1 client to an HTTP/2 upstream and back: chunked, with the answer's trailers behind it.
#[tokio::test]
async fn http1_in_and_http2_out_fit_together() {
    let (address, serving, seen) = upstream().await;
    let standard = standard(address).await;
    let request = format!(
        "POST /two/x?y HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: TE, X-Mine\r\nX-Mine: a\r\nX-Kept: b\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let mut connection = Connection::open(standard.address()).await;
    connection.send(request.as_bytes()).await;
    connection.until_received(b"x-two: b").await;
    let received = String::from_utf8_lossy(connection.received()).to_lowercase();
    assert!(
        received.contains("transfer-encoding: chunked") && received.contains("\r\n0\r\nx-sum: 7\r\n"),
        "{received}"
    );
    assert_eq!(connection.answer().await.text(), "answer");
    {
        let seen = seen.lock().unwrap();
        let (parts, body, _) = &seen[0];
        assert_eq!((parts.version, &body[..]), (http::Version::HTTP_2, &b"hello"[..]));
        assert_eq!(parts.uri.path_and_query().map(|target| target.as_str()), Some("/two/x?y"));
        assert_eq!(parts.headers.get("te").expect("set anew"), "trailers");
        assert_eq!(parts.headers.get("x-kept").expect("kept"), "b");
        for gone in ["connection", "transfer-encoding", "x-mine", "host"] {
            assert!(!parts.headers.contains_key(gone), "{gone}");
        }
    }
    serving.abort();
}

/// Trailers of an HTTP/1.1 upstream reach an HTTP/1.1 client.
#[tokio::test]
async fn answer_trailers_are_forwarded_over_http1() {
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    let script = Reply::Script(vec![Step::Body, Step::send(answer)]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let mut connection = Connection::open(standard.address()).await;
    connection.send(format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\n\r\n").as_bytes()).await;
    connection.until_received(b"\r\n0\r\n").await;
    connection.until_received(b"\r\n\r\n").await;
    let received = String::from_utf8_lossy(connection.received()).to_lowercase();
    assert!(received.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{received}");
    assert_eq!(connection.read(Until::Answers(1)).await.statuses(), [200]);
}
