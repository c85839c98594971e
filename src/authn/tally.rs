//! What introspection counts, by issuer.

use std::sync::atomic::{AtomicU64, Ordering};

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
