//! One piece of work for a key at a time. Comes in: a key, and how to begin the work if nobody has. Goes out: what the
//! work brought, to everyone who asked meanwhile. It runs on Control and belongs to nobody: whoever goes away cancels it
//! for none of the others, not even the one who began it. Nothing is remembered once it has ended.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::control::Control;

/// Work under way, at most so many pieces of it.
#[derive(Debug)]
pub struct Flight<K, V> {
    control: Control,
    limit: usize,
    running: Arc<Running<K, V>>,
    coalesced: AtomicU64,
}

type Running<K, V> = Mutex<HashMap<K, watch::Receiver<Option<V>>>>;

/// Why nothing was brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlightError<E> {
    /// As many pieces of work are under way as there may be.
    #[error("too much is under way")]
    Full,
    /// The work panicked, or the process is ending.
    #[error("the work came to no end")]
    Lost,
    /// It was not begun.
    #[error("the work was not begun")]
    Refused(E),
}

impl<K, V> Flight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// `limit` bounds the keys under way; those who wait for one of them need no bound, for each is a request.
    pub fn new(control: Control, limit: usize) -> Self {
        Self { control, limit, running: Arc::default(), coalesced: AtomicU64::new(0) }
    }

    /// Waits for the work of `key`. If none is under way, `begin` says what it is, or why there is to be none.
    ///
    /// # Errors
    /// [`FlightError`] when nothing was begun, or what was begun came to no end.
    pub async fn join<E, F>(&self, key: K, begin: impl FnOnce() -> Result<F, E>) -> Result<V, FlightError<E>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut landed = self.board(key, begin)?;
        let value = landed.wait_for(Option::is_some).await.map_err(|_| FlightError::Lost)?;
        value.clone().ok_or(FlightError::Lost)
    }

    fn board<E, F>(
        &self,
        key: K,
        begin: impl FnOnce() -> Result<F, E>,
    ) -> Result<watch::Receiver<Option<V>>, FlightError<E>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(landed) = running.get(&key) {
            self.coalesced.fetch_add(1, Ordering::Relaxed);
            return Ok(landed.clone());
        }
        if running.len() >= self.limit {
            return Err(FlightError::Full);
        }
        let work = begin().map_err(FlightError::Refused)?;
        let (sender, landed) = watch::channel(None);
        running.insert(key.clone(), landed.clone());
        let landing = Landing { running: Arc::clone(&self.running), key };
        // Given back before it starts: a runtime that is ending drops the work at once, and with it the landing.
        drop(running);
        self.control.start(async move {
            let value = work.await;
            // First off the board, so that who comes from now on begins anew instead of waiting for what was.
            drop(landing);
            sender.send_replace(Some(value));
        });
        Ok(landed)
    }

    /// Pieces of work under way.
    pub fn under_way(&self) -> usize {
        lock(&self.running).len()
    }

    /// How often somebody waited for what another had begun.
    pub fn coalesced(&self) -> u64 {
        self.coalesced.load(Ordering::Relaxed)
    }
}

/// Takes its key off the board however the work ends, a panic included.
struct Landing<K: Eq + Hash, V> {
    running: Arc<Running<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.key);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::Notify;

    fn flight(limit: usize) -> Flight<u8, usize> {
        Flight::new(Control::current(), limit)
    }

    #[tokio::test]
    async fn many_who_ask_at_once_make_one_piece_of_work() {
        let (flight, begun) = (Arc::new(flight(1)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Notify::new());
        let asks = (0..1000).map(|_| {
            let (flight, begun, gate) = (Arc::clone(&flight), Arc::clone(&begun), Arc::clone(&gate));
            async move {
                let begin = || {
                    Ok::<_, Infallible>(async move {
                        gate.notified().await;
                        begun.fetch_add(1, Ordering::Relaxed) + 1
                    })
                };
                flight.join(7, begin).await
            }
        });
        let all = futures_util::future::join_all(asks);
        let (all, ()) = tokio::join!(all, async {
            while flight.coalesced() < 999 {
                tokio::task::yield_now().await;
            }
            gate.notify_one();
        });
        assert!(all.iter().all(|value| *value == Ok(1)));
        assert_eq!((flight.under_way(), begun.load(Ordering::Relaxed)), (0, 1));
    }

    #[tokio::test]
    async fn who_goes_away_cancels_nothing_for_the_others() {
        let (flight, gate) = (flight(1), Arc::new(Notify::new()));
        let held = Arc::clone(&gate);
        let begin = move || {
            Ok::<_, Infallible>(async move {
                held.notified().await;
                5
            })
        };
        // The first one begins it and leaves at once.
        assert!(futures_util::FutureExt::now_or_never(flight.join(1, begin)).is_none());
        assert_eq!(flight.under_way(), 1);
        let second =
            flight.join(1, || -> Result<std::future::Ready<usize>, Infallible> { unreachable!("is under way") });
        gate.notify_one();
        assert_eq!(second.await, Ok(5));
    }

    #[tokio::test]
    async fn beyond_the_limit_and_after_a_refusal_nothing_is_begun() {
        let flight = flight(1);
        assert_eq!(
            flight.join(1, || Err::<std::future::Ready<usize>, _>("not now")).await,
            Err(FlightError::Refused("not now"))
        );
        let never = || Ok::<_, Infallible>(std::future::pending());
        assert!(futures_util::FutureExt::now_or_never(flight.join(1, never)).is_none());
        assert_eq!(flight.join(2, || Ok::<_, Infallible>(std::future::ready(1))).await, Err(FlightError::Full));
    }

    #[test]
    fn work_that_a_runtime_at_its_end_never_begins_leaves_nobody_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flight: Flight<u8, usize> = Flight::new(Control::new(runtime.handle().clone()), 1);
        drop(runtime);
        let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..2 {
            let lost = here.block_on(flight.join(1, || Ok::<_, Infallible>(std::future::ready(1))));
            assert_eq!(lost, Err(FlightError::Lost));
        }
    }

    #[tokio::test]
    async fn work_that_panics_leaves_nobody_waiting() {
        let flight = flight(1);
        let begin = || Ok::<_, Infallible>(async { unreachable!("this is the panic") });
        assert_eq!(flight.join(1, begin).await, Err(FlightError::Lost));
        assert_eq!(flight.join(1, || Ok::<_, Infallible>(std::future::ready(2))).await, Ok(2));
    }
}
