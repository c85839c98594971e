//! The client's body on its way up, and what the two ends need to know of it: whether it was passed on whole (else
//! its connection is never used again), and whether it was the client that failed (then it is not the upstream's
//! fault, and the error must reach the gateway as it was).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::wire::{Body, BoxError};

/// A body of ours up to this size is written in one go.
const AT_HAND: usize = 16 * 1024;

/// What is sent. A small body that is at hand whole has no watch.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// Taken for an attempt that came to nothing; comes again first.
    again: Bytes,
    body: Body,
    remaining: Option<u64>,
    watch: Option<Arc<Watch>>,
}

/// How far a streamed body has come. Shared by the body and by who waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Watch {
    complete: AtomicBool,
    /// The client owes the next piece.
    waits_for_client: AtomicBool,
    frames: AtomicU64,
    abandoned: AtomicBool,
    waker: AtomicWaker,
    failure: Mutex<Option<BoxError>>,
}

impl Watch {
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether the client is the one who is slow, as far as can be seen.
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Acquire)
    }

    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// The answer is over and the body is not: nobody will read the rest, the connection must end.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// The client's own error, once.
    pub fn take_failure(&self) -> Option<BoxError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What is told instead of the client's error, or when the rest of a body is not wanted any more.
#[derive(Debug, thiserror::Error)]
#[error("the request ended before its body was complete")]
struct Incomplete;

impl RequestBody {
    /// Wraps `body`; the watch is there if it streams.
    pub fn new(body: Body) -> (Self, Option<Arc<Watch>>) {
        let at_hand = matches!(&body, Body::Full(bytes) if bytes.len() <= AT_HAND);
        let streams = !at_hand && !body.is_end_stream();
        let watch = streams.then(Arc::<Watch>::default);
        let remaining = if streams { body.size_hint().exact() } else { None };
        (Self { again: Bytes::new(), body, remaining, watch: watch.clone() }, watch)
    }

    pub const fn empty() -> Self {
        Self { again: Bytes::new(), body: Body::Empty, remaining: None, watch: None }
    }

    /// Takes back a piece of which nothing was sent: it is the first of the next attempt.
    pub fn give_back(&mut self, piece: Bytes) {
        self.again = piece;
    }

    fn poll_watched(
        body: &mut Body,
        remaining: &mut Option<u64>,
        watch: &Watch,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        watch.waker.register(cx.waker());
        if watch.abandoned.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(Incomplete.into())));
        }
        watch.waits_for_client.store(true, Ordering::Release);
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        watch.waits_for_client.store(false, Ordering::Release);
        watch.frames.fetch_add(1, Ordering::AcqRel);
        match frame {
            None => {
                watch.complete.store(true, Ordering::Release);
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                let data = frame.data_ref().map(|data| data.len() as u64);
                if let (Some(left), Some(length)) = (remaining.as_mut(), data) {
                    *left = left.saturating_sub(length);
                }
                // Nobody asks again after trailers, after the announced length, or at the end of the stream.
                if data.is_none() || *remaining == Some(0) || body.is_end_stream() {
                    watch.complete.store(true, Ordering::Release);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                *watch.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(Some(Err(Incomplete.into())))
            }
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !this.again.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.again)))));
        }
        match &this.watch {
            None => Pin::new(&mut this.body).poll_frame(cx),
            Some(watch) => Self::poll_watched(&mut this.body, &mut this.remaining, watch, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let again = self.again.len() as u64;
        rest.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + again))
    }
}
