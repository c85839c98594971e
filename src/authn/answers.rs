//! What one issuer answered about tokens: its facts, as text, for as long as they hold. Comes in: a token's keyed digest.
//! Goes out: the members of the answer, that it was no, or nothing. What follows for a request is judged each time anew.
//!
//! Positive and negative answers lie in spaces of their own, so that junk pushes out nothing but junk; each is bounded. The
//! text is kept rather than a caller because it takes a third of the room: callers that come again are in the memory of
//! tokens, which is asked first. Each issuer has its own, so that no digest can meet another issuer's answer.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::cache::FirstBytes;
use super::forget::{Forget, named_by};
use crate::caller::Claims;
use crate::clock::{Tick, Time};
use crate::jose::json;
use crate::reason::Reason;
use crate::seal::TokenDigest;

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The longest life of a positive answer.
    pub ttl: Duration,
    pub negative_ttl: Duration,
    /// Of positive answers; also of negative ones, up to [`NEGATIVE_ENTRIES`].
    pub entries: usize,
    /// Of positive answers.
    pub bytes: usize,
    /// What answers say of `no-store` is followed.
    pub obey_no_store: bool,
    /// How much longer a positive answer serves while the issuer can't be asked.
    pub stale_if_error: Duration,
}

/// A negative answer is worth little: at most so many are kept, in about 30 MB.
const NEGATIVE_ENTRIES: usize = 100_000;

/// What the cache itself needs for an entry: its key, links and counters (measured: 280 bytes).
const ENTRY_BYTES: usize = 280;

type Space<V> = Cache<TokenDigest, V, BuildHasherDefault<FirstBytes>>;

/// The answers of one issuer.
pub struct Answers {
    limits: AnswerLimits,
    positive: Space<Kept>,
    negative: Space<Refused>,
    /// How often something was forgotten. Held while an answer is put away, so that none is put away after it should have
    /// been forgotten.
    era: Mutex<u64>,
}

#[derive(Clone)]
struct Kept {
    until: Tick,
    /// A line of JSON: the members but `active`. A second one where the token says more of itself, by which it can be
    /// forgotten. Nothing at all, if the answer was not to be kept: then only that there was one is.
    text: Arc<[u8]>,
}

#[derive(Clone, Copy)]
struct Refused {
    until: Tick,
    reason: Reason,
}

/// When a question was begun, as the memory counts. What was asked before something was forgotten is not put away after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskedIn(u64);

/// What is known of a token.
#[derive(Debug, PartialEq)]
pub(super) enum Recalled {
    Nothing,
    /// `size` is that of its text, in bytes.
    Fresh {
        members: Claims,
        until: Tick,
        size: usize,
    },
    /// Serves until then, if the issuer can't be asked.
    Stale {
        members: Claims,
        until: Tick,
    },
    /// It was good when it was last asked about.
    WasGood,
    Refused(Reason),
}

impl Answers {
    pub fn new(limits: AnswerLimits) -> Self {
        // The cache counts in 32 bits, so large bounds are counted in coarser units. An entry weighs what it takes, but at
        // least its share of the bytes, so that one weight keeps both bounds.
        let unit = limits.bytes / u32::MAX as usize + 1;
        let share = limits.bytes / limits.entries.max(1);
        let weigh = move |_: &TokenDigest, kept: &Kept| {
            let cost = (ENTRY_BYTES + kept.text.len()).max(share);
            u32::try_from(cost.div_ceil(unit)).unwrap_or(u32::MAX)
        };
        let positive = Cache::builder()
            .max_capacity((limits.bytes / unit) as u64)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .build_with_hasher(BuildHasherDefault::default());
        let negative = Cache::builder()
            .max_capacity(limits.entries.min(NEGATIVE_ENTRIES) as u64)
            .eviction_policy(EvictionPolicy::lru())
            .build_with_hasher(BuildHasherDefault::default());
        Self { limits, positive, negative, era: Mutex::new(0) }
    }

    pub fn era(&self) -> AskedIn {
        AskedIn(*self.era.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn recall(&self, digest: &TokenDigest, now: Tick) -> Recalled {
        let kept = self.positive.get(digest);
        if let Some(kept) = &kept {
            let (until, stale_until) = (kept.until, kept.until.plus(self.limits.stale_if_error));
            // It was written by us: what can't be read is not there.
            let members = (now < stale_until).then(|| kept.said().next()).flatten();
            if let Some(mut members) = members {
                members.insert("active".to_owned(), true.into());
                let is_fresh = now < until;
                return if is_fresh {
                    Recalled::Fresh { members, until, size: kept.text.len() }
                } else {
                    Recalled::Stale { members, until: stale_until }
                };
            }
        }
        match self.negative.get(digest) {
            Some(refused) if now < refused.until => Recalled::Refused(refused.reason),
            _ if kept.is_some() => Recalled::WasGood,
            _ => Recalled::Nothing,
        }
    }

    /// How long an answer that was given now may be relied on: `cache.ttl`, the token's own end, and what the answer's
    /// `max-age` leaves of it.
    pub(super) fn lifetime(&self, expires_at: Time, now: Time, fresh: crate::idp::introspect::Freshness) -> Duration {
        if fresh.no_store && self.limits.obey_no_store {
            return Duration::ZERO;
        }
        let left = self.limits.ttl.min(expires_at.since(now));
        // Frameworks write `no-store, max-age=0` where they mean `no-store`; it is obeyed with it, or not at all.
        let max_age = fresh.max_age.filter(|age| !(age.is_zero() && fresh.no_store));
        max_age.map_or(left, |age| left.min(age))
    }

    /// Puts a positive answer away, unless something was forgotten since it was asked for; `own` is by what else the token
    /// can be forgotten. Goes out: the size of its text.
    pub fn keep(
        &self,
        digest: TokenDigest,
        (members, own): (&Claims, &Claims),
        until: Tick,
        asked: AskedIn,
    ) -> Option<usize> {
        let mut text = Vec::with_capacity(256);
        serde_json::to_writer(&mut text, &Members(members)).ok()?;
        if !own.is_empty() {
            // A line break inside of it would be escaped.
            text.push(b'\n');
            serde_json::to_writer(&mut text, own).ok()?;
        }
        let size = text.len();
        let kept = Kept { until, text: text.into() };
        let is_put = self.put(asked, || {
            self.negative.invalidate(&digest);
            self.positive.insert(digest, kept);
        });
        is_put.then_some(size)
    }

    /// Remembers that a token is none, for `negative_ttl`; it no longer is one, if it was.
    pub(super) fn refuse(&self, digest: TokenDigest, reason: Reason, now: Tick, asked: AskedIn) {
        self.positive.invalidate(&digest);
        if !self.limits.negative_ttl.is_zero() {
            let refused = Refused { until: now.plus(self.limits.negative_ttl), reason };
            self.put(asked, || self.negative.insert(digest, refused));
        }
    }

    fn put(&self, asked: AskedIn, put: impl FnOnce()) -> bool {
        let era = self.era.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = AskedIn(*era) == asked;
        if is_good {
            put();
        }
        is_good
    }

    /// Remembers nothing of a positive answer but that there was one.
    pub(super) fn note_good(&self, digest: TokenDigest, asked: AskedIn) {
        self.positive.invalidate(&digest);
        self.put(asked, || {
            self.negative.invalidate(&digest);
            self.positive.insert(digest, Kept { until: Tick::ZERO, text: Arc::default() });
        });
    }

    /// Takes a positive answer back that no longer holds.
    pub(super) fn drop_positive(&self, digest: &TokenDigest) {
        self.positive.invalidate(digest);
    }

    /// Takes back the answers about the tokens that are meant; `digest` is that of [`Tokens::Token`].
    pub(super) fn forget(&self, forget: &Forget, digest: Option<TokenDigest>, forgotten: &mut HashSet<TokenDigest>) {
        *self.era.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if let Some(digest) = digest {
            let had = [self.positive.remove(&digest).is_some(), self.negative.remove(&digest).is_some()];
            forgotten.extend(had.contains(&true).then_some(digest));
        }
        let Some(wanted) = forget.tokens.name() else { return };
        // The text is searched first: of a million answers few hold these bytes, and only those are read.
        let needle = serde_json::Value::from(wanted.1).to_string();
        let finder = memmem::Finder::new(needle.as_bytes());
        for (digest, kept) in &self.positive {
            let names_it = |said: &Claims| named_by(said).any(|named| named == wanted);
            if finder.find(&kept.text).is_some() && kept.said().any(|said| names_it(&said)) {
                self.positive.invalidate(&*digest);
                forgotten.insert(*digest);
            }
        }
    }

    /// Positive entries, their weight in bytes, and negative entries; about, for the cache settles them now and then.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.positive.entry_count(), self.positive.weighted_size(), self.negative.entry_count())
    }

    /// Lets the cache do what it has put off, so that its bounds hold exactly.
    pub fn settle(&self) {
        self.positive.run_pending_tasks();
        self.negative.run_pending_tasks();
    }
}

impl Kept {
    fn said(&self) -> impl Iterator<Item = Claims> {
        self.text.split(|byte| *byte == b'\n').filter_map(|line| json::object(line).ok())
    }
}

/// All but `active`, which is true of everything that is kept.
struct Members<'a>(&'a Claims);

impl serde::Serialize for Members<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| *name != "active"))
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answers({:?})", self.counts())
    }
}

#[cfg(test)]
mod tests;
