//! One connection: TLS if the listener has it, HTTP/2 or HTTP/1.1 by ALPN or preface, and then hyper until the end.
//! The watch stands between the socket and hyper; deadlines come from the worker's sweeper.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::guard::{Guard, ReadTimeouts};
use super::head::HeadLimits;
use super::stream::Stream;
use super::worker::Counted;
use crate::deadline::Slot;
use crate::gateway::{self, Answer, Connection, View};
use crate::wire::facts::Scheme;

/// How connections are treated; the same for all of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRules {
    pub head: HeadLimits,
    pub timeouts: ReadTimeouts,
    /// HTTP/2 streams open at once on one connection.
    pub h2_streams: u32,
}

/// For so many fields hyper has room on the stack; told of another number, it allocates it for each request.
const AT_HAND: usize = 100;

/// What is held for a client that does not read: more is not asked of the upstream. Bytes, for each answer.
const SEND_BUFFER: usize = 64 * 1024;
/// hyper's buffer for one HTTP/1.1 connection; heads within their limits always fit.
const LEAST_BUFFER: usize = 128 * 1024;
/// A peer that vanished under open streams is noticed after these two.
const HTTP2_PING_AFTER: Duration = Duration::from_secs(15);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that was told to end may take to say so.
const FAREWELL: Duration = Duration::from_secs(5);

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a client speaks before anything else when it knows that we speak HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a TCP connection to its end.
pub async fn serve_tcp(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    redirect: bool,
    view: Arc<View>,
    rules: ConnectionRules,
    counted: Counted,
) {
    let counted = Arc::new(counted);
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        let facts = Facts { peer: Some(peer), scheme: Scheme::Http, redirect, counted };
        return serve_cleartext(Stream::Tcp(stream), facts, view, rules).await;
    };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let facts = Facts { peer: Some(peer), scheme: Scheme::Https, redirect: false, counted };
    let slot = Arc::new(view.sweeper.slot());
    let stream = Stream::Tls(Box::new(stream));
    if http2 {
        serve_http2(Guard::transparent(stream, Vec::new(), Arc::clone(&slot)), facts, slot, view, rules).await;
    } else {
        serve_http1(
            Guard::new(stream, Vec::new(), (rules.head, rules.timeouts), Arc::clone(&slot)),
            facts,
            slot,
            view,
            rules,
        )
        .await;
    }
}

/// Serves a connection over a Unix socket to its end.
pub async fn serve_unix(stream: tokio::net::UnixStream, view: Arc<View>, rules: ConnectionRules, counted: Counted) {
    let facts = Facts { peer: None, scheme: Scheme::Http, redirect: false, counted: Arc::new(counted) };
    serve_cleartext(Stream::Unix(stream), facts, view, rules).await;
}

struct Facts {
    peer: Option<SocketAddr>,
    scheme: Scheme,
    redirect: bool,
    counted: Arc<Counted>,
}

async fn serve_cleartext(mut stream: Stream, facts: Facts, view: Arc<View>, rules: ConnectionRules) {
    let slot = Arc::new(view.sweeper.slot());
    // Nothing is allocated for a client that has not spoken yet.
    let Some(first) = first_bytes(&mut stream, &slot, rules.timeouts).await else { return };
    if first.starts_with(PREFACE) {
        serve_http2(Guard::transparent(stream, first, Arc::clone(&slot)), facts, slot, view, rules).await;
    } else {
        serve_http1(
            Guard::new(stream, first, (rules.head, rules.timeouts), Arc::clone(&slot)),
            facts,
            slot,
            view,
            rules,
        )
        .await;
    }
}

/// Reads until it is clear whether the client speaks HTTP/2. `None` when it says nothing, or too slowly.
async fn first_bytes(stream: &mut Stream, slot: &Slot, timeouts: ReadTimeouts) -> Option<Vec<u8>> {
    let mut first = Vec::new();
    loop {
        let limit = if first.is_empty() { timeouts.idle } else { timeouts.head };
        let reading = std::pin::pin!(stream.read_buf(&mut first));
        let mut reading = slot.within(limit, reading);
        let read = std::future::poll_fn(|cx| {
            if slot.sweeper().is_draining() {
                return Poll::Ready(Ok(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            Pin::new(&mut reading).poll(cx)
        });
        match read.await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return None,
        }
        let compared = first.len().min(PREFACE.len());
        if first.get(..compared) != PREFACE.get(..compared) || compared == PREFACE.len() {
            return Some(first);
        }
    }
}

fn connection(
    facts: Facts,
    slot: Arc<Slot>,
    view: Arc<View>,
    watch: Option<Arc<crate::wire::watch::Watch>>,
) -> Arc<Connection> {
    let Facts { peer, scheme, redirect, counted } = facts;
    Arc::new(Connection {
        view,
        peer,
        scheme,
        watch,
        slot,
        redirect_to_https: redirect,
        kept: counted,
        requests: AtomicU64::new(0),
        told: Default::default(),
    })
}

async fn serve_http1(guard: Guard<Stream>, facts: Facts, slot: Arc<Slot>, view: Arc<View>, rules: ConnectionRules) {
    let watch = guard.watch();
    let connection = connection(facts, Arc::new(view.sweeper.slot()), view, Some(Arc::clone(&watch)));
    let service = Service(connection);
    let mut builder = http1::Builder::new();
    // The watch below has its own limits; hyper's would cost a timer of the runtime for each request.
    builder.keep_alive(true).header_read_timeout(None);
    builder.max_buf_size(LEAST_BUFFER.max(2 * (rules.head.header + rules.head.target)));
    if rules.head.fields > AT_HAND {
        builder.max_headers(rules.head.fields);
    }
    let served = builder.serve_connection(TokioIo::new(guard), service).with_upgrades();
    let mut served = std::pin::pin!(served);
    let mut draining = false;
    std::future::poll_fn(|cx| {
        slot.register(cx);
        if !draining && slot.sweeper().is_draining() {
            draining = true;
            served.as_mut().graceful_shutdown();
        }
        let polled = served.as_mut().poll(cx).map(|_| ());
        // hyper does not read again once an answer is out, so the guard does not learn that the connection is idle.
        if polled.is_pending() && !watch.in_flight() && !slot.is_armed() {
            slot.arm(rules.timeouts.idle);
        }
        polled
    })
    .await;
}

async fn serve_http2(guard: Guard<Stream>, facts: Facts, slot: Arc<Slot>, view: Arc<View>, rules: ConnectionRules) {
    let idle = rules.timeouts.idle;
    let connection = connection(facts, Arc::new(view.sweeper.slot()), view, None);
    let service = Service(Arc::clone(&connection));
    let served = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(rules.h2_streams)
        .max_header_list_size(u32::try_from(rules.head.header).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(20))
        .max_local_error_reset_streams(Some(100))
        .max_send_buf_size(SEND_BUFFER)
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_AFTER)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .serve_connection(TokioIo::new(guard), service);
    let mut served = std::pin::pin!(served);
    let mut ending = false;
    std::future::poll_fn(|cx| {
        slot.register(cx);
        // Who does not answer the farewell, or never spoke at all, is left without one.
        let expired = slot.is_expired();
        if ending && expired {
            return Poll::Ready(());
        }
        if !ending && (expired || slot.sweeper().is_draining()) {
            ending = true;
            slot.disarm();
            served.as_mut().graceful_shutdown();
        }
        let polled = served.as_mut().poll(cx).map(|_| ());
        // The service holds one handle, this function another; each exchange one more.
        if Arc::strong_count(&connection) > 2 {
            slot.disarm();
        } else if polled.is_pending() && !slot.is_armed() {
            slot.arm(if ending { FAREWELL } else { idle });
        }
        polled
    })
    .await;
}

/// hyper's way into the gateway. The future is boxed: it is large, and hyper would keep room for it in every idle
/// connection.
struct Service(Arc<Connection>);

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Answer>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(gateway::handle(Arc::clone(&self.0), request))
    }
}
