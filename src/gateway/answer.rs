//! The body of an answer: Postern's own bytes or the upstream's stream, with the exchange that it ends. When the last
//! byte has gone out, or the client has gone, the exchange is closed and told of.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::exchange::Exchange;
use crate::upstream::UpstreamBody;
use crate::wire::{self, BoxError};

/// What is in an answer.
pub enum Content {
    Ours(wire::Body),
    Upstream(UpstreamBody),
}

impl Content {
    pub fn ours(bytes: impl Into<Bytes>) -> Self {
        Self::Ours(wire::Body::Full(bytes.into()))
    }
}

/// See the module.
pub struct Answer {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

impl Answer {
    pub(super) fn new(content: Content, exchange: Box<Exchange>) -> Self {
        Self { content, exchange: Some(exchange) }
    }

    fn is_over(&self) -> bool {
        match &self.content {
            Content::Ours(body) => body.is_end_stream(),
            Content::Upstream(body) => body.is_end_stream(),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut polled = match &mut this.content {
            Content::Ours(body) => Pin::new(body).poll_frame(cx),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(exchange)) = (&mut polled, &this.exchange)
            && let Some(trailers) = frame.trailers_mut()
        {
            exchange.clean_trailers(trailers);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut this.exchange) {
                    exchange.count_out(data.len());
                }
            }
            Poll::Ready(Some(Err(_))) => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.finish(false);
                }
            }
            Poll::Ready(None) => {
                if let Some(exchange) = this.exchange.take() {
                    exchange.finish(true);
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ours(body) => body.size_hint(),
            Content::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            // hyper asks no further once `is_end_stream` says so; anything else that is dropped was cut off.
            exchange.finish(self.is_over());
        }
    }
}
