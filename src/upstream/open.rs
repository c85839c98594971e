//! A new connection for a pool: a place under the limit, a socket, and the protocol that is spoken on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connect::connect;
use super::endpoint::Protocol;
use super::error::{SendError, TimeoutKind};
use super::http1::Http1;
use super::http2::start_http2;
use super::limit::Place;
use super::pool::{MOST_HTTP2, Pool, Taken, drive};
use crate::deadline::Sweeper;
use crate::wire::BoxError;

enum Admitted {
    Place(Place),
    /// While this waited for a place, a connection became free.
    Returned(Box<Http1>),
}

impl Pool {
    /// Opens a connection to server `index`, or takes one that comes free meanwhile.
    pub(super) async fn open(self: &Arc<Self>, index: usize, upgrade: bool) -> Result<Taken, SendError> {
        if upgrade || self.shared.endpoints[index].protocol() == Some(Protocol::Http1) {
            return match self.admit(index).await? {
                Admitted::Place(place) => self.open_in(index, place, upgrade).await,
                Admitted::Returned(http1) => Ok(Taken::Http1(http1)),
            };
        }
        self.open_shared(index).await
    }

    /// One opens, the others use what it opened, or share its failure rather than fail in a row.
    async fn open_shared(self: &Arc<Self>, index: usize) -> Result<Taken, SendError> {
        let shelf = &self.shelves[index];
        let failed_before = shelf.failed_opens.load(Ordering::Acquire);
        let opening = shelf.opening.lock().await;
        if let Some(taken) = self.take(index, false) {
            return Ok(taken);
        }
        if self.shared.endpoints[index].protocol() == Some(Protocol::Http1) {
            // It was not known before. Such connections aren't shared: no need to open one after the other.
            drop(opening);
            return Box::pin(self.open(index, false)).await;
        }
        if shelf.failed_opens.load(Ordering::Acquire) != failed_before {
            return Err(SendError::Connect("an attempt to connect has just failed".into()));
        }
        let count = self.http2_count(index);
        // A worker without any connection could do nothing at all: its first one is not refused.
        let place = match self.shared.limit.try_place() {
            Some(place) if count < MOST_HTTP2 => Some(place),
            _ if count == 0 => Some(self.shared.limit.extra_place()),
            _ => None,
        };
        match (place, self.share_http2(index)) {
            (None, Some(shared)) => Ok(shared),
            (place, _) => {
                let place = place.unwrap_or_else(|| self.shared.limit.extra_place());
                let opened = self.open_in(index, place, false).await;
                if opened.is_err() {
                    shelf.failed_opens.fetch_add(1, Ordering::AcqRel);
                }
                opened
            }
        }
    }

    /// Waits for a place under the limit, in a bounded queue and for a bounded time.
    async fn admit(&self, index: usize) -> Result<Admitted, SendError> {
        let limit = &self.shared.limit;
        if let Some(place) = limit.try_place() {
            return Ok(Admitted::Place(place));
        }
        let seat = limit.queue_up().ok_or(SendError::QueueFull)?;
        let returned = self.wait_for_returned(index);
        // Idle connections to other servers, or of other workers, are no reason to wait.
        self.shared.give_up_idle();
        let waited = within(self.shared.settings.connect_timeout, async {
            tokio::select! {
                biased;
                Ok(http1) = returned => Some(Admitted::Returned(http1)),
                place = limit.next_place() => place.map(Admitted::Place),
            }
        });
        let admitted = waited.await;
        drop(seat);
        admitted.flatten().ok_or(SendError::QueueFull)
    }

    async fn open_in(self: &Arc<Self>, index: usize, place: Place, upgrade: bool) -> Result<Taken, SendError> {
        let endpoint = &self.shared.endpoints[index];
        let opened = within(self.shared.settings.connect_timeout, self.make(index, place, upgrade)).await;
        match opened {
            Some(Ok(taken)) => {
                endpoint.connect_succeeded();
                Ok(taken)
            }
            Some(Err(error)) => {
                endpoint.connect_failed(self.clock.tick());
                Err(SendError::Connect(error))
            }
            None => {
                endpoint.connect_failed(self.clock.tick());
                Err(SendError::Timeout(TimeoutKind::Connect))
            }
        }
    }

    async fn make(&self, index: usize, place: Place, upgrade: bool) -> Result<Taken, BoxError> {
        let endpoint = &self.shared.endpoints[index];
        let limit = self.shared.settings.connect_timeout;
        let generation = endpoint.generation();
        let (stream, protocol) = connect(endpoint, self.shared.tls.as_ref(), upgrade, limit, &self.clock).await?;
        if !upgrade {
            endpoint.learn_protocol(protocol);
        }
        match protocol {
            Protocol::Http1 => {
                let mut http1 = Http1::new(stream, place, generation);
                http1.slot = self.sweeper.as_ref().map(Sweeper::slot);
                Ok(Taken::Http1(Box::new(http1)))
            }
            Protocol::Http2 => {
                let (http2, driver) = start_http2(stream, place, generation).await?;
                drive(async move {
                    if let Err(error) = driver.await {
                        tracing::debug!(%error, "a connection to an upstream ended");
                    }
                });
                Ok(self.add_http2(index, http2))
            }
        }
    }
}

/// `None` when the limit passed; a limit of zero is none.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    if limit.is_zero() { Some(work.await) } else { tokio::time::timeout(limit, work).await.ok() }
}
