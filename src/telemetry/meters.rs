//! Numbers that requests move. Comes in: one [`Observation`] a request. Goes out: counts and distributions, for
//! [`super::metrics`] to show. Everything is found before traffic comes, so a request costs a few atomic additions and
//! no look-up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use prometheus::proto::{Bucket, Histogram};

use crate::reason::Reason;

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    pub status: u16,
    /// Why it was refused, or cut short.
    pub reason: Option<Reason>,
    /// From the head to the last byte of the answer.
    pub total_micros: u64,
    /// From sending it up to the head of the upstream's answer.
    pub upstream_micros: Option<u64>,
    /// Postern alone: until it was sent up, or, when it was not, until the answer. Never the streaming of a body.
    pub own_micros: u64,
}

/// The meters of one route, shared by all workers.
#[derive(Debug)]
pub struct RouteMeters {
    pub(super) route: Arc<str>,
    /// By status, from 100 on; made when the first request is counted.
    statuses: OnceLock<Box<[AtomicU64; STATUSES]>>,
    refusals: OnceLock<Box<[AtomicU64]>>,
    pub(super) total: Distribution,
    pub(super) upstream: Distribution,
    pub(super) own: Distribution,
}

const STATUSES: usize = 500;

impl RouteMeters {
    pub(super) fn new(route: Arc<str>) -> Self {
        Self {
            route,
            statuses: OnceLock::new(),
            refusals: OnceLock::new(),
            total: Distribution::new(WHOLE),
            upstream: Distribution::new(WHOLE),
            own: Distribution::new(OWN),
        }
    }

    pub fn observe(&self, seen: &Observation) {
        let statuses = self.statuses.get_or_init(|| Box::new([const { AtomicU64::new(0) }; STATUSES]));
        // What is no status counts as our own fault.
        let status = usize::from(seen.status).checked_sub(100).filter(|status| *status < STATUSES).unwrap_or(400);
        if let Some(count) = statuses.get(status) {
            count.fetch_add(1, Relaxed);
        }
        if let Some(reason) = seen.reason {
            let refusals = self.refusals.get_or_init(|| Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect());
            if let Some(count) = refusals.get(reason as usize) {
                count.fetch_add(1, Relaxed);
            }
        }
        self.total.observe(seen.total_micros);
        self.own.observe(seen.own_micros);
        if let Some(micros) = seen.upstream_micros {
            self.upstream.observe(micros);
        }
    }

    /// Requests by status, without those that never occurred.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.statuses.get().into_iter().flat_map(|counts| counts.iter());
        counts.enumerate().map(|(index, count)| (index + 100, count.load(Relaxed))).filter(|(_, count)| *count > 0)
    }

    /// Refusals by reason, without those that never occurred.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.refusals.get().into_iter().flat_map(|counts| counts.iter());
        let counts = Reason::ALL.iter().zip(counts).map(|(reason, count)| (*reason, count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// Upper bounds in microseconds: half a millisecond to a minute.
const WHOLE: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];
/// What Postern itself takes is of another order, until it waits for an issuer.
const OWN: &[u64] =
    &[25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// Times by bucket. Two additions an observation; the prometheus crate's own takes a loop around a float.
#[derive(Debug)]
pub struct Distribution {
    bounds: &'static [u64],
    /// One more than there are bounds.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Distribution {
    /// For what takes as long as a request: half a millisecond to a minute.
    pub fn of_requests() -> Self {
        Self::new(WHOLE)
    }

    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, micros: u64) {
        let bucket = self.bounds.iter().position(|bound| micros <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(micros, Relaxed);
    }

    /// As it is shown; `None` while nothing was observed.
    pub(super) fn show(&self) -> Option<Histogram> {
        let mut cumulative = 0;
        let mut shown = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&self.buckets) {
            cumulative += count.load(Relaxed);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(*bound));
            bucket.set_cumulative_count(cumulative);
            shown.push(bucket);
        }
        let count = cumulative + self.buckets.last().map_or(0, |count| count.load(Relaxed));
        let mut histogram = Histogram::default();
        histogram.set_bucket(shown);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(seconds(self.sum.load(Relaxed)));
        (count > 0).then_some(histogram)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums of microseconds stay below 2^53 for centuries")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}
