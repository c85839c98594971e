//! Who still uses it: counts by outcome, and the names that passed last, for whoever wants to move them to something
//! better. Bounded; only names that the issuer knows are among them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Time;

/// Names that are remembered for one route.
const NAMES: usize = 100;

/// What became of a route's requests with Basic; each count only grows.
#[derive(Debug, Default)]
pub struct BasicTally {
    passed: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
    unavailable: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Passed,
    Refused,
    Limited,
    Unavailable,
}

impl BasicTally {
    pub(super) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Passed => &self.passed,
            Outcome::Refused => &self.refused,
            Outcome::Limited => &self.limited,
            Outcome::Unavailable => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests by outcome, as the metric names them.
    pub fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("passed", &self.passed),
            ("refused", &self.refused),
            ("limited", &self.limited),
            ("unavailable", &self.unavailable),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// A name that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: Box<str>,
    pub last_seen: Time,
    pub requests: u64,
}

/// The names that passed last.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<HashMap<Box<str>, (Time, u64)>>);

impl Users {
    pub(super) fn saw(&self, name: &str, now: Time) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last_seen, requests)) = known.get_mut(name) {
            *last_seen = now.max(*last_seen);
            *requests += 1;
            return;
        }
        if known.len() >= NAMES {
            let oldest = known.iter().min_by_key(|(_, (last_seen, _))| *last_seen).map(|(name, _)| name.clone());
            oldest.and_then(|name| known.remove(&name));
        }
        known.insert(name.into(), (now, 1));
    }

    /// The latest first.
    pub(super) fn latest(&self) -> Vec<User> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let user = |(name, (last_seen, requests)): (&Box<str>, &(Time, u64))| User {
            name: name.clone(),
            last_seen: *last_seen,
            requests: *requests,
        };
        let mut users: Vec<User> = known.iter().map(user).collect();
        drop(known);
        users.sort_by(|one, other| other.last_seen.cmp(&one.last_seen).then_with(|| one.name.cmp(&other.name)));
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_passed_last_are_kept_and_no_more_of_them() {
        let users = Users::default();
        for number in 0..NAMES as u64 + 20 {
            users.saw(&format!("user-{number}"), Time::from_seconds(number));
        }
        users.saw("user-50", Time::from_seconds(1000));
        let latest = users.latest();
        assert_eq!(latest.len(), NAMES);
        assert_eq!((&*latest[0].name, latest[0].requests), ("user-50", 2));
        assert_eq!(&*latest[NAMES - 1].name, "user-20");
    }
}
