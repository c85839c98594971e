//! The limit on open connections of one upstream, over all workers, and the bounded queue in front of it. A permit
//! belongs to the socket, not to a request: a request on a pooled connection asks for nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

#[derive(Debug)]
pub(super) struct Limit {
    permits: Option<Arc<Semaphore>>,
    queue: usize,
    waiting: AtomicUsize,
    open: Arc<AtomicUsize>,
}

/// Lives as long as its socket: counts it, and holds a place under the limit if there is one.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<AtomicUsize>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that waits; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Limit);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limit {
    pub fn new(connections: u32, queue: u32) -> Self {
        let permits = (connections > 0).then(|| Arc::new(Semaphore::new(connections as usize)));
        Self { permits, queue: queue as usize, waiting: AtomicUsize::new(0), open: Arc::default() }
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place if one is free now.
    pub fn try_place(&self) -> Option<Place> {
        match &self.permits {
            None => Some(self.place(None)),
            Some(permits) => match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => Some(self.place(Some(permit))),
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
            },
        }
    }

    /// A place outside the limit: for the one connection without which a worker could do nothing.
    pub fn extra_place(&self) -> Place {
        self.place(None)
    }

    /// Takes a seat in the queue, unless it is full.
    pub fn queue_up(&self) -> Option<Waiting<'_>> {
        let seat = |waiting| (waiting < self.queue).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, seat).ok().map(|_| Waiting(self))
    }

    /// Waits until a place is free; in order of arrival.
    pub async fn next_place(&self) -> Option<Place> {
        match &self.permits {
            None => Some(self.place(None)),
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok().map(|permit| self.place(Some(permit))),
        }
    }

    fn place(&self, permit: Option<OwnedSemaphorePermit>) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place { open: Arc::clone(&self.open), _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_given_up_goes_to_who_waits_and_the_queue_is_bounded() {
        let limit = Limit::new(1, 1);
        let first = limit.try_place().unwrap();
        assert!(limit.try_place().is_none());
        let seat = limit.queue_up().unwrap();
        assert!(limit.queue_up().is_none(), "the queue holds one");
        drop(first);
        let second = limit.next_place().await.unwrap();
        drop(seat);
        assert!(limit.queue_up().is_some());
        assert_eq!(limit.open(), 1);
        drop(second);
        assert_eq!(limit.open(), 0);
    }
}
