//! What goes on longer than a request: a WebSocket or a stream that a session opened ends when the session does (sign-out,
//! the issuer's word, its absolute time, or nobody having used it). Comes in: the session. Goes out: a future that is ready
//! when it is over, and a body that breaks off then.
//!
//! An open connection does not count as use: a forgotten tab would keep a session alive for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::clock::Clock;
use crate::session::{Live, Sessions};
use crate::upstream::UpstreamBody;
use crate::wire::BoxError;

/// How often it is asked whether the session lives.
const CHECK: Duration = Duration::from_secs(5);

/// The session that something goes on for.
#[derive(Clone, Debug)]
pub struct Lasting {
    sessions: Arc<Sessions>,
    live: Arc<Live>,
}

/// The session has ended, and what it opened with it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the session has ended")]
struct Over;

impl Lasting {
    pub const fn new(sessions: Arc<Sessions>, live: Arc<Live>) -> Self {
        Self { sessions, live }
    }

    /// Ready when the session is over. A store that gives no answer ends nothing: it is asked again.
    pub async fn over(self, clock: Clock) {
        loop {
            clock.sleep(CHECK).await;
            match self.sessions.lives(&self.live.session, clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::debug!(%error, "whether a session lives can't be known now"),
            }
        }
    }

    /// A body that breaks off when the session is over.
    pub fn guard(self, body: UpstreamBody, clock: &Clock) -> Guarded {
        Guarded { body, waiting: Waiting::For(self, clock.clone()) }
    }
}

/// See [`Lasting::guard`].
pub struct Guarded {
    body: UpstreamBody,
    waiting: Waiting,
}

/// Nothing is asked until the body first keeps its reader waiting.
enum Waiting {
    For(Lasting, Clock),
    Asking(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Waiting::Asking(over) = &mut this.waiting
            && over.as_mut().poll(cx).is_ready()
        {
            this.waiting = Waiting::Over;
        }
        if let Waiting::Over = this.waiting {
            return Poll::Ready(Some(Err(Over.into())));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Waiting::For(lasting, clock) = &this.waiting
        {
            let mut over: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(lasting.clone().over(clock.clone()));
            // Registers the waker; it can't be ready yet.
            let _ = over.as_mut().poll(cx);
            this.waiting = Waiting::Asking(over);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
