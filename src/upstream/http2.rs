//! An HTTP/2 connection as its pool sees it: hyper's sending half and what must be known to use it. hyper's other half,
//! which owns the socket, is a task of the worker that opened the connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::limit::Place;
use super::request_body::RequestBody;
use super::stream::{Socket, Stream};
use crate::wire::BoxError;

/// Bounds the head of an answer.
const HTTP2_HEADER_LIST: u32 = 128 * 1024;
/// What is read ahead of a slow client for one answer.
const HTTP2_STREAM_WINDOW: u32 = 128 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const HTTP2_SEND_BUFFER: usize = 128 * 1024;
/// A peer that vanished under open streams is noticed after these two.
const HTTP2_PING_AFTER: Duration = Duration::from_secs(15);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Many requests at a time, as many as the peer allows.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    pub sender: http2::SendRequest<RequestBody>,
    pub streams: Arc<Streams>,
    pub generation: u32,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    active: AtomicUsize,
    most: AtomicUsize,
    /// The pool's coarse time when this was last seen in use.
    since: AtomicU64,
    /// The driver's, until it has seen the peer's settings.
    driver: AtomicWaker,
    settled: AtomicBool,
}

/// One stream of an HTTP/2 connection, from before its request until after its answer's body.
#[derive(Debug)]
pub(super) struct StreamSlot(Arc<Streams>);

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        // The peer's settings came before its first answer; the driver looks at them when it is woken.
        if !self.0.settled.swap(true, Ordering::Relaxed) {
            self.0.driver.wake();
        }
    }
}

impl Streams {
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub fn has_room(&self) -> bool {
        self.active() < self.most.load(Ordering::Relaxed)
    }

    pub fn take(self: &Arc<Self>, now: u64) -> StreamSlot {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        StreamSlot(Arc::clone(self))
    }

    /// For how many milliseconds nothing has been under way, as of the coarse time `now`.
    pub fn idle_for(&self, now: u64) -> u64 {
        if self.active() > 0 {
            self.since.store(now, Ordering::Relaxed);
        }
        now.saturating_sub(self.since.load(Ordering::Relaxed))
    }
}

/// The sending half, and hyper's half: to be driven by a task.
pub(super) async fn start_http2(
    stream: Stream,
    place: Place,
    generation: u32,
) -> Result<(Http2, impl Future<Output = hyper::Result<()>> + Send + use<>), BoxError> {
    let io = TokioIo::new(Socket::new(stream, place));
    let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_AFTER)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_header_list_size(HTTP2_HEADER_LIST)
        .handshake(io)
        .await?;
    let streams = Arc::<Streams>::default();
    streams.most.store(connection.current_max_send_streams(), Ordering::Relaxed);
    let http2 = Http2 { sender, streams: Arc::clone(&streams), generation };
    let driver = poll_fn(move |cx| {
        if !streams.settled.load(Ordering::Relaxed) {
            streams.driver.register(cx.waker());
        }
        let polled = Pin::new(&mut connection).poll(cx);
        streams.most.store(connection.current_max_send_streams(), Ordering::Relaxed);
        polled
    });
    Ok((http2, driver))
}
