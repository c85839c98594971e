//! The admin listeners, for looking and for acting: plain HTTP/1.1 on addresses of their own, on the background runtime,
//! so that probes are answered however busy the workers are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::bind::Sockets;
use super::stream::Stream;
use crate::wire::Body;

/// Probes and scrapers need few; who holds more open waits.
const CONNECTIONS: usize = 64;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(sockets: Sockets) -> Option<Self> {
        match sockets {
            Sockets::Tcp(sockets) => TcpListener::from_std(sockets.into_iter().next()?).ok().map(Self::Tcp),
            Sockets::Unix(sockets) => UnixListener::from_std(sockets.into_iter().next()?).ok().map(Self::Unix),
        }
    }

    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Serves one of the admin listeners for ever.
#[expect(clippy::disallowed_methods, reason = "one task for each connection")]
pub async fn serve<F, Answered>(sockets: Sockets, answer: F)
where
    F: Fn(Request<Body>) -> Answered + Clone + Send + 'static,
    Answered: Future<Output = Response<Body>> + Send,
{
    let Some(listener) = Listener::new(sockets) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(stream) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answered = answer(request.map(Body::Incoming));
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(Duration::from_secs(300), connection).await;
            drop(place);
        });
    }
}
