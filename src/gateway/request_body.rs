//! The client's body on its way up: counted, limited, and without trailers that must not pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::wire::headers::clean_trailers;
use crate::wire::watch::{Violation, Watch};
use crate::wire::{Body, BoxError, owned::OwnedNames};

/// Why a client's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    #[error("the body is larger than the limit")]
    TooLarge,
    #[error("{0}")]
    Violation(Violation),
    #[error("the client broke off: {0}")]
    Gone(#[source] BoxError),
}

/// A body that we read ourselves: all of it has to be there in time, whatever the protocol.
pub struct Timely {
    inner: Body,
    late: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timely {
    /// `late` is ready when the time is over.
    pub fn guard(body: Body, late: impl Future<Output = ()> + Send + 'static) -> Body {
        if matches!(body, Body::Empty) { body } else { Body::boxed(Self { inner: body, late: Box::pin(late) }) }
    }
}

impl http_body::Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.late.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(RequestBodyError::Violation(Violation::BodyTimeout).into())));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// See the module.
pub struct RequestBody {
    pub inner: Body,
    /// Zero = no limit.
    pub limit: u64,
    pub passed: Arc<AtomicU64>,
    pub watch: Option<Arc<Watch>>,
    /// How long the client may be silent inside it, where no watch below sees to that.
    pub silence: Option<Silence>,
    /// `Some` lets trailers through, less these names.
    pub trailers: Option<Arc<OwnedNames>>,
}

/// Counts while the client owes the next piece, and only then: a slow upstream is not its silence.
pub struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Silence {
    /// `None` where there is no limit.
    pub fn new(limit: Duration) -> Option<Self> {
        (!limit.is_zero()).then_some(Self { limit, timer: None })
    }

    fn is_too_long(&mut self, came: bool, cx: &mut Context<'_>) -> bool {
        if came {
            self.timer = None;
            return false;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let polled = Pin::new(&mut self.inner).poll_frame(cx);
            if let Some(silence) = &mut self.silence
                && silence.is_too_long(polled.is_ready(), cx)
            {
                let error = RequestBodyError::Violation(Violation::BodyTimeout);
                return Poll::Ready(Some(Err(error.into())));
            }
            let frame = match ready!(polled) {
                // A stream that was reset inside its body ends like one that is complete: hyper takes the lack of an
                // error code for an end.
                None if self.watch.is_none() && !self.inner.is_end_stream() => {
                    let error = RequestBodyError::Gone("the stream was reset inside its body".into());
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => return Poll::Ready(None),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let violation = self.watch.as_ref().and_then(|watch| watch.body_violation());
                    let error = violation.map_or(RequestBodyError::Gone(error), RequestBodyError::Violation);
                    return Poll::Ready(Some(Err(error.into())));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let passed = self.passed.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
                    if self.limit > 0 && passed > self.limit {
                        return Poll::Ready(Some(Err(RequestBodyError::TooLarge.into())));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(frame) => {
                    if let (Some(owned), Ok(mut trailers)) = (&self.trailers, frame.into_trailers()) {
                        clean_trailers(&mut trailers, owned);
                        if !trailers.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                        }
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
