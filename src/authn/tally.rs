//! What is counted: of introspection, by issuer; of names and passwords, by where they are exchanged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::AuthnError;
use crate::clock::Time;
use crate::reason::Reason;
use crate::telemetry::Distribution;

/// Counts of one issuer; each only grows.
#[derive(Debug)]
pub struct IntrospectionTally {
    /// Questions by what was answered: the token is active and good here,
    pub active: AtomicU64,
    /// it is not active,
    pub inactive: AtomicU64,
    /// the answer did not say whether it is,
    pub unclear: AtomicU64,
    /// it is active, and refused by the issuer's rules (audience and so on),
    pub refused: AtomicU64,
    /// the endpoint is not known, can't be reached, or did not answer,
    pub unreachable: AtomicU64,
    /// it does not let our client introspect,
    pub unauthorized: AtomicU64,
    /// its answer was none.
    pub bad_answer: AtomicU64,
    /// Not asked: the breaker is open,
    pub left_alone: AtomicU64,
    /// too many questions are under way,
    pub busy: AtomicU64,
    /// the client has shown too many tokens that are none.
    pub over_budget: AtomicU64,
    /// Answers that were at hand: positive,
    pub positive: AtomicU64,
    /// negative,
    pub negative: AtomicU64,
    /// positive and too old, while the issuer could not be asked,
    pub stale: AtomicU64,
    /// from what replicas share.
    pub shared: AtomicU64,
    pub shared_unavailable: AtomicU64,
    /// How long questions took.
    pub latency: Distribution,
}

impl Default for IntrospectionTally {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            active: zero(),
            inactive: zero(),
            unclear: zero(),
            refused: zero(),
            unreachable: zero(),
            unauthorized: zero(),
            bad_answer: zero(),
            left_alone: zero(),
            busy: zero(),
            over_budget: zero(),
            positive: zero(),
            negative: zero(),
            stale: zero(),
            shared: zero(),
            shared_unavailable: zero(),
            latency: Distribution::of_requests(),
        }
    }
}

impl IntrospectionTally {
    pub(super) fn failed(&self, reason: Reason) {
        let count = match reason {
            Reason::IntrospectionRefused => &self.unauthorized,
            Reason::IntrospectionAnswer => &self.bad_answer,
            Reason::IntrospectionBroken => &self.left_alone,
            _ => &self.unreachable,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions by outcome, as the metric names them.
    pub fn calls(&self) -> [(&'static str, u64); 7] {
        [
            ("active", &self.active),
            ("inactive", &self.inactive),
            ("unclear", &self.unclear),
            ("refused", &self.refused),
            ("unreachable", &self.unreachable),
            ("unauthorized", &self.unauthorized),
            ("bad_answer", &self.bad_answer),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Questions that were not asked, by why.
    pub fn not_asked(&self) -> [(&'static str, u64); 3] {
        [("breaker", &self.left_alone), ("busy", &self.busy), ("budget", &self.over_budget)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Answers that were at hand, by where.
    pub fn hits(&self) -> [(&'static str, u64); 4] {
        [("positive", &self.positive), ("negative", &self.negative), ("stale", &self.stale), ("shared", &self.shared)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// What became of names and passwords at one way; each only grows.
#[derive(Debug, Default)]
pub struct PasswordTally {
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
    pub limited: AtomicU64,
    pub unavailable: AtomicU64,
}

impl PasswordTally {
    pub(super) fn count<T>(&self, outcome: &Result<T, AuthnError>) {
        let counter = match outcome {
            Ok(_) => &self.accepted,
            Err(AuthnError::Limited { .. } | AuthnError::TooMany { .. }) => &self.limited,
            Err(AuthnError::Unavailable { .. }) => &self.unavailable,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Names that were last exchanged for a token, for who wants to know who still does so.
#[derive(Debug, Default)]
pub struct Users(Mutex<HashMap<Box<str>, (u64, Time)>>);

/// Names that are remembered; the one that was seen longest ago goes first.
const MOST_USERS: usize = 100;

impl Users {
    pub(super) fn saw(&self, name: &str, now: Time) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((times, last)) = users.get_mut(name) {
            (*times, *last) = (*times + 1, now);
            return;
        }
        if users.len() >= MOST_USERS
            && let Some(oldest) = users.iter().min_by_key(|(_, (_, last))| *last).map(|(name, _)| name.clone())
        {
            users.remove(&oldest);
        }
        users.insert(name.into(), (1, now));
    }

    /// Each name, how often it was exchanged, and when last; the last one first.
    pub fn list(&self) -> Vec<(Box<str>, u64, Time)> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = users.iter().map(|(name, (times, last))| (name.clone(), *times, *last)).collect();
        list.sort_by(|one, other| (other.2, &one.0).cmp(&(one.2, &other.0)));
        list
    }
}
