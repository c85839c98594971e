//! The only file that reads the time. Comes in: nothing. Goes out: wall-clock [`Time`] (tokens are judged by it) and
//! monotonic [`Tick`] (caches, cooldowns and timeouts are judged by it), so that a step of the wall clock ends no
//! cache and starts no storm. Tests hold a [`ManualClock`] and move it; nothing sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From a NumericDate in whole seconds (RFC 7519 section 2); saturates at the far end.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Monotonic time in milliseconds since the clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    pub const ZERO: Self = Self(0);

    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub const fn millis(self) -> u64 {
        self.0
    }
}

fn millis_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where the time comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    wall: AtomicU64,
    elapsed: AtomicU64,
    moved: tokio::sync::watch::Sender<u64>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this file is the home of reading the time")]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    #[expect(clippy::disallowed_methods, reason = "this file is the home of reading the time")]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System(_) => Time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis_of)),
            Source::Manual(hands) => Time(hands.wall.load(Ordering::Acquire)),
        }
    }

    pub fn tick(&self) -> Tick {
        match &self.0 {
            Source::System(start) => Tick(millis_of(start.elapsed())),
            Source::Manual(hands) => Tick(hands.elapsed.load(Ordering::Acquire)),
        }
    }

    /// Monotonic microseconds since the clock was made: for durations in logs and metrics.
    pub fn micros(&self) -> u64 {
        match &self.0 {
            Source::System(start) => u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
            Source::Manual(hands) => hands.elapsed.load(Ordering::Acquire).saturating_mul(1000),
        }
    }

    /// Waits until `span` has passed on this clock.
    pub async fn sleep(&self, span: Duration) {
        match &self.0 {
            Source::System(_) => tokio::time::sleep(span).await,
            Source::Manual(hands) => {
                let end = hands.elapsed.load(Ordering::Acquire).saturating_add(millis_of(span));
                let mut moved = hands.moved.subscribe();
                // The sender lives in `hands`, which this future borrows: it cannot be gone.
                let _ = moved.wait_for(|elapsed| *elapsed >= end).await;
            }
        }
    }
}

/// A clock that moves only when a test moves it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

impl ManualClock {
    pub fn at(start: Time) -> Self {
        let (moved, _) = tokio::sync::watch::channel(0);
        Self(Arc::new(Hands { wall: AtomicU64::new(start.0), elapsed: AtomicU64::new(0), moved }))
    }

    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(Arc::clone(&self.0)))
    }

    /// Moves both the wall clock and the monotonic clock forward.
    pub fn advance(&self, span: Duration) {
        self.0.wall.fetch_add(millis_of(span), Ordering::AcqRel);
        let elapsed = self.0.elapsed.fetch_add(millis_of(span), Ordering::AcqRel) + millis_of(span);
        self.0.moved.send_replace(elapsed);
    }

    /// Steps the wall clock alone, as NTP or an operator would.
    pub fn step_wall(&self, to: Time) {
        self.0.wall.store(to.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the sleeper is this test's own task")]
    async fn a_sleeper_wakes_when_the_hands_have_moved_far_enough() {
        let hands = ManualClock::at(Time::from_seconds(1_000));
        let clock = hands.clock();
        let sleeper = tokio::spawn(async move { clock.sleep(Duration::from_secs(5)).await });
        tokio::task::yield_now().await;
        hands.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        hands.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }

    #[test]
    fn a_step_of_the_wall_clock_leaves_the_monotonic_clock_alone() {
        let hands = ManualClock::at(Time::from_seconds(1_000));
        let before = hands.clock().tick();
        hands.step_wall(Time::from_seconds(10));
        assert_eq!(hands.clock().now(), Time::from_seconds(10));
        assert_eq!(hands.clock().tick(), before);
    }
}
