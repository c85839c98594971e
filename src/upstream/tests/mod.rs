//! Promises of the upstream side, against servers that are written byte by byte.
#![expect(clippy::disallowed_methods, clippy::panic, reason = "the servers of these tests are tasks of their own")]

mod body;
mod faults;
mod http2;
mod limits;
mod pooling;
mod retries;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::Clock;
use crate::wire::Body;
use crate::wire::body::{CappedError, capped};

const PATIENCE: Duration = Duration::from_secs(5);

/// A server whose every connection is handled by a closure that knows the connection's number.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    async fn start<H, F>(handle: H) -> Self
    where
        H: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(handle(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers every request head with the same bytes and keeps the connection.
    async fn answering(answer: &'static str) -> Self {
        Self::start(move |_, mut stream| async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        })
        .await
    }

    /// The same with a body that is never read at once with its head: it holds its connection until it is read.
    async fn answering_at_length() -> Self {
        let body = "x".repeat(500_000);
        Self::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak()).await
    }

    /// Answers the first request head with these bytes and closes.
    async fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                if read_head(&mut stream).await.is_some() {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                    // Wait for the other side: closing with unread bytes would be a reset.
                    let _ = stream.read(&mut [0; 64]).await;
                }
            }
        })
        .await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn settings(&self) -> UpstreamSettings {
        settings(&[self.address], ServerScheme::Http)
    }

    fn upstream(&self) -> Arc<Upstream> {
        Upstream::new(self.settings()).unwrap()
    }
}

fn settings(addresses: &[SocketAddr], scheme: ServerScheme) -> UpstreamSettings {
    let server = |address: &SocketAddr| {
        let host = address.ip().to_string().into();
        ServerSettings { address: ServerAddress::Tcp { scheme, host, port: address.port() }, weight: 1 }
    };
    UpstreamSettings::new("orders", addresses.iter().map(server).collect())
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn pools() -> Pools {
    Pools::new(Clock::system())
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "api.example.com").body(body).unwrap()
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::Empty)
}

async fn send(pools: &Pools, upstream: &Arc<Upstream>, request: Request<Body>) -> Result<Sent, Failed> {
    tokio::time::timeout(PATIENCE, pools.send(upstream, request, SendOptions::default())).await.expect("in time")
}

async fn text(sent: Sent) -> Result<String, CappedError> {
    let bytes = tokio::time::timeout(PATIENCE, capped(sent.response.into_body(), 1 << 20)).await.expect("in time")?;
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

/// The bytes up to the end of a head; `None` when the connection ends before.
async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    read_until(stream, "\r\n\r\n").await
}

async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), end: &str) -> Option<String> {
    let mut taken = Vec::new();
    while !taken.ends_with(end.as_bytes()) {
        taken.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(taken).ok()
}

/// A body that a test feeds.
fn fed() -> (tokio::sync::mpsc::Sender<Result<Bytes, crate::wire::BoxError>>, Body) {
    struct Fed(tokio::sync::mpsc::Receiver<Result<Bytes, crate::wire::BoxError>>);
    impl http_body::Body for Fed {
        type Data = Bytes;
        type Error = crate::wire::BoxError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|item| item.map(|item| item.map(http_body::Frame::data)))
        }
    }
    let (feed, fed) = tokio::sync::mpsc::channel(4);
    (feed, Body::boxed(Fed(fed)))
}
