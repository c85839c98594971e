//! Coarse deadlines without a timer each. A timer of the runtime costs some 1,500 instructions and a wake-up a
//! request; instead every connection holds a [`Slot`] in its worker's [`Sweeper`], which looks at all of them ten
//! times a second. Arming a slot is two atomic operations; a deadline passes at most two beats late, never early.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;

/// How often slots are looked at.
pub const BEAT: Duration = Duration::from_millis(100);

const NEVER: u64 = u64::MAX;

/// One worker's deadlines. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sweeper(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    beat: AtomicU64,
    draining: AtomicBool,
    slots: Mutex<Vec<Arc<State>>>,
}

#[derive(Debug)]
struct State {
    deadline: AtomicU64,
    waker: AtomicWaker,
}

/// A place in the sweeper's list: one deadline at a time, and the task to wake when it has passed.
#[derive(Debug)]
pub struct Slot {
    state: Arc<State>,
    sweeper: Sweeper,
}

impl Sweeper {
    /// A new slot, swept until it is dropped.
    pub fn slot(&self) -> Slot {
        let state = Arc::new(State { deadline: AtomicU64::new(NEVER), waker: AtomicWaker::new() });
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&state));
        Slot { state, sweeper: self.clone() }
    }

    /// Beats for as long as it is polled. Start it once for each worker.
    pub async fn run(self) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            self.beat();
        }
    }

    /// One beat: wakes the slots whose deadline has passed and forgets those that were dropped.
    pub fn beat(&self) {
        let now = self.0.beat.fetch_add(1, Ordering::AcqRel) + 1;
        let draining = self.is_draining();
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|state| {
            if Arc::strong_count(state) == 1 {
                return false;
            }
            if draining || state.deadline.load(Ordering::Acquire) <= now {
                state.waker.wake();
            }
            true
        });
    }

    /// From the next beat on, every slot's task is woken so that it can finish what it has and end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }
}

impl Slot {
    /// Sets the deadline to `limit` from now; zero means none.
    pub fn arm(&self, limit: Duration) {
        let deadline = if limit.is_zero() {
            NEVER
        } else {
            // One beat more: the current one has partly gone by, and a deadline must not pass early.
            let beats = limit.as_millis().div_ceil(BEAT.as_millis()) + 1;
            self.sweeper.0.beat.load(Ordering::Acquire).saturating_add(u64::try_from(beats).unwrap_or(NEVER))
        };
        self.state.deadline.store(deadline, Ordering::Release);
    }

    pub fn is_armed(&self) -> bool {
        self.state.deadline.load(Ordering::Acquire) != NEVER
    }

    pub fn disarm(&self) {
        self.state.deadline.store(NEVER, Ordering::Release);
    }

    pub fn is_expired(&self) -> bool {
        self.state.deadline.load(Ordering::Acquire) <= self.sweeper.0.beat.load(Ordering::Acquire)
    }

    /// The task to wake at the deadline, or when the worker drains.
    pub fn register(&self, cx: &Context<'_>) {
        self.state.waker.register(cx.waker());
    }

    pub fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    /// Waits for `work`, but not past `limit` (zero = no limit). The slot must serve nothing else meanwhile.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit has passed first.
    pub fn within<'a, F: Future>(&'a self, limit: Duration, work: Pin<&'a mut F>) -> Within<'a, F> {
        self.arm(limit);
        Within { slot: self, work }
    }
}

/// The limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time limit has passed")]
pub struct Elapsed;

/// See [`Slot::within`].
#[derive(Debug)]
pub struct Within<'a, F> {
    slot: &'a Slot,
    work: Pin<&'a mut F>,
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(done) = self.work.as_mut().poll(cx) {
            self.slot.disarm();
            return Poll::Ready(Ok(done));
        }
        self.slot.register(cx);
        if self.slot.is_expired() {
            self.slot.disarm();
            return Poll::Ready(Err(Elapsed));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_passes_late_rather_than_early() {
        let sweeper = Sweeper::default();
        let slot = sweeper.slot();
        slot.arm(Duration::from_millis(200));
        sweeper.beat();
        sweeper.beat();
        assert!(!slot.is_expired());
        sweeper.beat();
        assert!(slot.is_expired());
    }

    #[tokio::test]
    async fn work_that_never_ends_is_given_up_and_the_slot_is_free_again() {
        let sweeper = Sweeper::default();
        let slot = sweeper.slot();
        let never = std::pin::pin!(std::future::pending::<()>());
        let mut waiting = std::pin::pin!(slot.within(Duration::from_millis(100), never));
        let mut beats = 0;
        let result = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = waiting.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            beats += 1;
            sweeper.beat();
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        assert_eq!(result, Err(Elapsed));
        assert_eq!(beats, 2);
    }

    #[test]
    fn dropped_slots_are_forgotten() {
        let sweeper = Sweeper::default();
        drop(sweeper.slot());
        sweeper.beat();
        assert!(sweeper.0.slots.lock().unwrap().is_empty());
    }
}
