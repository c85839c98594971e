//! The body of an answer, and what hangs on it: only when it has ended as it should does its connection go back to
//! the pool. Dropped before, or after any fault, the connection is closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::BodyError;
use super::http1::{Download, Http1, Tunnel};
use super::http2::StreamSlot;
use super::pool::Pool;
use super::request_body::Watch;
use crate::wire::BoxError;

/// An answer's body on its way down.
#[derive(Debug)]
pub struct UpstreamBody {
    content: Content,
    lease: Option<Lease>,
    silence: Option<Box<Silence>>,
}

#[derive(Debug)]
enum Content {
    /// Read already, with the head.
    Whole(Bytes),
    Http1 {
        download: Download,
        persistent: bool,
    },
    Http2 {
        incoming: Incoming,
        _slot: StreamSlot,
    },
    /// No body: the connection itself, after 101.
    Switched(Box<Http1>),
}

/// What an exchange holds until it is over.
#[derive(Debug)]
pub(super) struct Lease {
    #[expect(dead_code, reason = "held for its drop")]
    pub upload: Upload,
    pub flight: Flight,
}

/// The request's body; when the exchange ends before it does, nobody waits for the rest.
#[derive(Debug)]
pub(super) struct Upload(pub Option<Arc<Watch>>);

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(watch) = &self.0
            && !watch.is_complete()
        {
            watch.abandon();
        }
    }
}

/// One request under way, as the balancer counts it.
#[derive(Debug)]
pub(super) struct Flight {
    pool: Arc<Pool>,
    index: usize,
}

impl Flight {
    pub fn begin(pool: &Arc<Pool>, index: usize) -> Self {
        pool.balancer.begin(index);
        Self { pool: Arc::clone(pool), index }
    }

    fn put_back(&self, http1: Box<Http1>) {
        self.pool.put_back(self.index, http1);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.pool.balancer.end(self.index);
    }
}

/// Watches for silence, and only while something is waited for: a slow client is not the upstream's silence.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    waiting: bool,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Silence {
    fn new(limit: Duration) -> Option<Box<Self>> {
        (!limit.is_zero()).then(|| Box::new(Self { limit, waiting: false, timer: Box::pin(tokio::time::sleep(limit)) }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(tokio::time::Instant::now() + self.limit);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl UpstreamBody {
    /// A body that may have come with its head; then its connection is free at once.
    pub(super) fn http1(
        mut download: Download,
        persistent: bool,
        lease: Lease,
        stream_idle: Duration,
    ) -> Result<Self, BoxError> {
        let Some(whole) = download.at_once()? else {
            let content = Content::Http1 { download, persistent };
            return Ok(Self { content, lease: Some(lease), silence: Silence::new(stream_idle) });
        };
        if let Some(http1) = download.into_connection().filter(|_| persistent) {
            lease.flight.put_back(http1);
        }
        Ok(Self { content: Content::Whole(whole), lease: None, silence: None })
    }

    pub(super) fn http2(incoming: Incoming, slot: StreamSlot, lease: Lease, stream_idle: Duration) -> Self {
        let silence = if incoming.is_end_stream() { None } else { Silence::new(stream_idle) };
        let lease = (!incoming.is_end_stream()).then_some(lease);
        Self { content: Content::Http2 { incoming, _slot: slot }, lease, silence }
    }

    pub(super) const fn switched(http1: Box<Http1>) -> Self {
        Self { content: Content::Switched(http1), lease: None, silence: None }
    }

    /// The connection, after the server has switched protocols.
    pub fn into_tunnel(self) -> Option<Tunnel> {
        match self.content {
            Content::Switched(http1) => Some(http1.into_tunnel()),
            Content::Whole(_) | Content::Http1 { .. } | Content::Http2 { .. } => None,
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.content {
            Content::Whole(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Whole(_) | Content::Switched(_) => Poll::Ready(None),
            Content::Http1 { download, .. } => download.poll_frame(cx),
            Content::Http2 { incoming, .. } => match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                // hyper takes a reset without an error code for an end; where more was to come it is none.
                None if !incoming.is_end_stream() => Poll::Ready(Some(Err("the stream was reset inside it".into()))),
                polled => Poll::Ready(polled.map(|frame| frame.map_err(Into::into))),
            },
        }
    }

    /// The answer has ended as it should.
    fn finish(&mut self) {
        let content = std::mem::replace(&mut self.content, Content::Whole(Bytes::new()));
        if let (Some(lease), Content::Http1 { download, persistent: true }) = (self.lease.take(), content)
            && let Some(http1) = download.into_connection()
        {
            lease.flight.put_back(http1);
        }
    }

    /// It has not, and never will.
    fn break_off(&mut self) {
        self.content = Content::Whole(Bytes::new());
        self.lease = None;
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = this.poll_content(cx);
        if let Some(silence) = &mut this.silence {
            if polled.is_ready() {
                silence.waiting = false;
            } else if silence.poll(cx).is_ready() {
                this.break_off();
                return Poll::Ready(Some(Err(BodyError::Silent.into())));
            }
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                // Who reads the body may stop asking as soon as it is known to be over.
                if frame.is_trailers() || this.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.break_off();
                Poll::Ready(Some(Err(BodyError::Broken(error).into())))
            }
            None => {
                this.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Http1 { download, .. } => download.is_over(),
            Content::Http2 { incoming, .. } => incoming.is_end_stream(),
            Content::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Http1 { download, .. } => download.size_hint(),
            Content::Http2 { incoming, .. } => incoming.size_hint(),
            Content::Switched(_) => SizeHint::with_exact(0),
        }
    }
}
