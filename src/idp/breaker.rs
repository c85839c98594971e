//! A circuit breaker: an endpoint that fails time after time is left alone for a while, and then tried with one request.
//! Comes in: how each call ended. Goes out: whether the next one may be made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Tick;

/// So many failures in a row open it.
const FAILURES: u32 = 5;
/// How long it is open at first; each probe that fails doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LAST_REST: Duration = Duration::from_secs(30);

/// Shared by all who ask the endpoint.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Tick,
        rest: Duration,
    },
    /// One probe is under way.
    HalfOpen {
        rest: Duration,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// How it stands, for metrics and for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

impl BreakerState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The endpoint is left alone for this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint has failed several times in a row and is left alone")]
pub struct LeftAlone {
    pub retry_after: Duration,
}

/// Leave to make one call. Dropped without a word it counts as a failure, so that a probe that came to no end does not
/// leave the breaker half open for ever.
#[derive(Debug)]
pub struct Leave {
    breaker: Arc<Breaker>,
    probe: bool,
    now: Tick,
    told: bool,
}

impl Breaker {
    /// Whether a call may be made now.
    ///
    /// # Errors
    /// [`LeftAlone`] while it is open, or while a probe is under way.
    pub fn leave(self: &Arc<Self>, now: Tick) -> Result<Leave, LeftAlone> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, rest } if until <= now => {
                *state = State::HalfOpen { rest };
                true
            }
            State::Open { until, .. } => return Err(LeftAlone { retry_after: until.since(now) }),
            State::HalfOpen { .. } => return Err(LeftAlone { retry_after: FIRST_REST }),
        };
        Ok(Leave { breaker: Arc::clone(self), probe, now, told: false })
    }

    pub fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// What a call brought. Calls that were begun before it opened have no say any more.
    fn tell(&self, probe: bool, good: bool, now: Tick) {
        let mut state = self.lock();
        *state = match (&*state, good) {
            (State::Closed { .. }, true) => State::default(),
            (State::Closed { failures }, false) if failures + 1 < FAILURES => State::Closed { failures: failures + 1 },
            (State::Closed { .. }, false) => State::Open { until: now.plus(FIRST_REST), rest: FIRST_REST },
            (State::HalfOpen { .. }, true) if probe => State::default(),
            (State::HalfOpen { rest }, false) if probe => {
                let rest = (*rest * 2).min(LAST_REST);
                State::Open { until: now.plus(rest), rest }
            }
            (State::HalfOpen { .. } | State::Open { .. }, _) => return,
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// The endpoint did its part, whatever it said of the token.
    pub fn good(mut self, now: Tick) {
        self.told = true;
        self.breaker.tell(self.probe, true, now);
    }

    pub fn failed(mut self, now: Tick) {
        self.told = true;
        self.breaker.tell(self.probe, false, now);
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.tell(self.probe, false, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.plus(Duration::from_secs(seconds))
    }

    fn broken(breaker: &Arc<Breaker>) {
        for _ in 0..FAILURES {
            breaker.leave(at(0)).unwrap().failed(at(0));
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let breaker = Arc::<Breaker>::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                breaker.leave(at(0)).unwrap().failed(at(0));
            }
            breaker.leave(at(0)).unwrap().good(at(0));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        broken(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.leave(at(0)).unwrap_err(), LeftAlone { retry_after: FIRST_REST });
    }

    #[test]
    fn one_probe_at_a_time_decides_and_rests_grow() {
        let breaker = Arc::<Breaker>::default();
        broken(&breaker);
        let mut now = 1;
        for rest in [2, 4, 8, 16, 30, 30] {
            let probe = breaker.leave(at(now)).unwrap();
            assert_eq!(breaker.state(), BreakerState::HalfOpen);
            assert!(breaker.leave(at(now)).is_err(), "a second probe");
            probe.failed(at(now));
            assert_eq!(breaker.leave(at(now)).unwrap_err().retry_after, Duration::from_secs(rest));
            now += rest;
        }
        breaker.leave(at(now)).unwrap().good(at(now));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn who_began_before_it_opened_has_no_say() {
        let breaker = Arc::<Breaker>::default();
        let (early, late) = (breaker.leave(at(0)).unwrap(), breaker.leave(at(0)).unwrap());
        broken(&breaker);
        early.good(at(0));
        assert_eq!(breaker.state(), BreakerState::Open);
        let probe = breaker.leave(at(1)).unwrap();
        late.failed(at(1));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        drop(probe);
        assert_eq!(breaker.state(), BreakerState::Open, "a probe that came to no end has failed");
    }
}
