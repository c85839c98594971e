//! The body of an answer, and what hangs on it: only when it has ended as it should does its connection go back to
//! the pool. Dropped before, or after any fault, the connection is closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Http1, StreamSlot};
use super::error::BodyError;
use super::pool::Pool;
use super::request_body::Watch;
use crate::wire::BoxError;

/// An answer's body on its way down.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    silence: Option<Box<Silence>>,
}

/// What an exchange holds until it is over.
#[derive(Debug)]
pub(super) struct Lease {
    pub held: Held,
    pub upload: Upload,
    pub flight: Flight,
}

#[derive(Debug)]
pub(super) enum Held {
    /// To be put back.
    Http1(Box<Http1>),
    Http2(#[expect(dead_code, reason = "held for its drop")] StreamSlot),
    /// A connection that must not be used again.
    Last(#[expect(dead_code, reason = "held for its drop")] Box<Http1>),
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
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.pool.balancer.end(self.index);
    }
}

impl Lease {
    fn finish(self) {
        let sent_whole = self.upload.0.as_ref().is_none_or(|watch| watch.is_complete());
        if let Held::Http1(http1) = self.held
            && sent_whole
        {
            self.flight.pool.put_back(self.flight.index, http1);
        }
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
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(tokio::time::Instant::now() + self.limit);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, stream_idle: Duration) -> Self {
        if incoming.is_end_stream() {
            lease.finish();
            return Self { incoming, lease: None, silence: None };
        }
        let silence = (!stream_idle.is_zero()).then(|| {
            Box::new(Silence { limit: stream_idle, waiting: false, timer: Box::pin(tokio::time::sleep(stream_idle)) })
        });
        Self { incoming, lease: Some(lease), silence }
    }

    /// Spares the connection a turn when its last piece is taken: by then it has read and done all there is to do.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(Lease { held: Held::Http1(http1), .. }) = &self.lease else {
            return Pin::new(&mut self.incoming).poll_frame(cx);
        };
        let (polled, rang) = http1.bell.hold(|| Pin::new(&mut self.incoming).poll_frame(cx));
        if rang && !self.incoming.is_end_stream() {
            http1.bell.ring();
        }
        polled
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }
}

impl http_body::Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = this.poll_incoming(cx);
        if let Some(silence) = &mut this.silence {
            if polled.is_ready() {
                silence.waiting = false;
            } else if silence.poll(cx).is_ready() {
                this.lease = None;
                return Poll::Ready(Some(Err(BodyError::Silent.into())));
            }
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                // Who reads the body may stop asking as soon as it is known to be over.
                if frame.is_trailers() || this.incoming.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.lease = None;
                Poll::Ready(Some(Err(BodyError::Broken(error).into())))
            }
            None => {
                this.finish();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
