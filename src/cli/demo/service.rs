//! The little HTTP/1.1 server that the demo's own parts stand on. Comes in: a listening socket and a function from
//! request to answer. Goes out: nothing; it serves until the runtime ends. Loopback only, at most 512 connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::control::Control;
use crate::wire::Body;

const CONNECTION_LIMIT: usize = 512;

/// Listens on `preferred`, or on a free port if that one is taken.
///
/// # Errors
/// When loopback has no port to give.
pub fn listen(preferred: u16) -> io::Result<TcpListener> {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    at(preferred).or_else(|_| at(0))
}

/// `preferred` if nobody listens there, else 0 for a free port: for those who open their sockets themselves.
pub fn free_port(preferred: u16) -> u16 {
    let free = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, preferred))).is_ok();
    if free { preferred } else { 0 }
}

/// Serves `listener` in the background. Goes out: where it listens.
///
/// # Errors
/// When the socket is not usable.
pub fn serve<A, F>(listener: TcpListener, control: &Control, answer: A) -> io::Result<SocketAddr>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (handle, room) = (control.clone(), Arc::new(Semaphore::new(CONNECTION_LIMIT)));
    control.start(async move {
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, or a peer that left: the next one may do better.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let answer = answer.clone();
            handle.start(async move {
                let _ = stream.set_nodelay(true);
                let service = service_fn(move |request| {
                    let answering = answer(request);
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new());
                // A broken connection concerns nobody but its peer.
                let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                drop(permit);
            });
        }
    });
    Ok(address)
}

/// An answer of this kind.
pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", format!("{value:#}\n"))
}

/// The value of a field, if it is text.
pub fn field<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A page of another site whose name leads here (DNS rebinding) has another name than these.
pub fn asked_by_local_name(headers: &HeaderMap) -> bool {
    let host = field(headers, HOST.as_str()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_replaced_by_a_free_one() {
        let first = listen(0).unwrap();
        let taken = first.local_addr().unwrap().port();
        assert_eq!(free_port(taken), 0);
        assert_ne!(listen(taken).unwrap().local_addr().unwrap().port(), taken);
    }

    #[test]
    fn only_local_names_are_answered() {
        for (host, local) in [("127.0.0.1:8080", true), ("localhost", true), ("evil.example:8080", false), ("", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(asked_by_local_name(&headers), local, "{host}");
        }
    }
}
