//! The memory of tokens that were checked in full. Comes in: a token's keyed digest. Goes out: its caller, if the same
//! issuer object still holds the same keys and the time is right. What a route demands is never remembered; it is
//! judged for each request.
//!
//! Shared by all workers, so that a token is verified once. A hash map behind a mutex, in shards: a lookup takes one
//! uncontended lock for some tens of nanoseconds and copies one `Arc`, which a read-optimised cache with a log of its
//! reads does not undercut (measured 0.25 to 1.3 µs). Bounded in entries and in bytes by two generations: when the
//! younger half of a shard is full it becomes the older one, what was not asked for since is dropped, and what is asked
//! for moves back among the young.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::forget::{Forget, Tokens};
use crate::caller::Caller;
use crate::clock::{Tick, Time};
use crate::seal::{DigestKey, TokenDigest};

const SHARDS: usize = 64;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    pub entries: usize,
    pub bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 256 * 1024 * 1024 }
    }
}

/// Tokens that were checked in full.
pub struct TokenMemory {
    key: DigestKey,
    shards: Box<[Mutex<Shard>]>,
    /// For half a shard.
    share: MemoryLimits,
    /// How often something was forgotten by who it is about.
    era: AtomicU64,
}

/// When a check began, as the memory counts: what was checked before something was forgotten is not remembered after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era(u64);

/// A verdict and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub caller: Arc<Caller>,
    /// Which issuer object gave it ([`crate::idp::Issuer::id`]).
    pub issuer: u64,
    /// Under which of its key generations, where a signature was checked.
    pub generation: Option<u64>,
    /// On which answer of the issuer it rests, where that was asked.
    pub answered: Option<Answered>,
    /// The span in which the token is accepted, skew included.
    pub usable_from: Time,
    pub usable_until: Time,
}

/// An answer to a question about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Which object asked.
    pub by: u64,
    pub until: Tick,
}

impl Remembered {
    pub(super) fn is_usable(&self, now: Time) -> bool {
        self.usable_from <= now && now < self.usable_until
    }
}

#[derive(Default)]
struct Shard {
    young: Half,
    old: Half,
    hits: u64,
    misses: u64,
}

#[derive(Default)]
struct Half {
    entries: HashMap<TokenDigest, Slot, BuildHasherDefault<FirstBytes>>,
    bytes: usize,
}

struct Slot {
    remembered: Remembered,
    bytes: usize,
}

/// What the memory holds and how often it helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    pub entries: usize,
    pub bytes: usize,
    pub hits: u64,
    pub misses: u64,
}

impl TokenMemory {
    pub fn new(limits: MemoryLimits) -> Self {
        let of = |all: usize| (all / SHARDS / 2).max(1);
        Self {
            key: DigestKey::random(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            share: MemoryLimits { entries: of(limits.entries), bytes: of(limits.bytes) },
            era: AtomicU64::new(0),
        }
    }

    pub(super) fn digest(&self, token: &str) -> TokenDigest {
        self.key.digest(token.as_bytes())
    }

    /// What is known of a token, usable or not.
    pub(super) fn recall(&self, digest: &TokenDigest) -> Option<Remembered> {
        let mut shard = self.shard(digest);
        let shard = &mut *shard;
        if let Some(slot) = shard.young.entries.get(digest) {
            shard.hits += 1;
            return Some(slot.remembered.clone());
        }
        let Some(slot) = shard.old.remove(digest) else {
            shard.misses += 1;
            return None;
        };
        shard.hits += 1;
        let remembered = slot.remembered.clone();
        // The old half only ever shrinks here, so together they stay within the bound of two halves.
        shard.young.insert(*digest, slot);
        Some(remembered)
    }

    /// To be asked before a check looks at anything that can be forgotten.
    pub(super) fn era(&self) -> Era {
        Era(self.era.load(Ordering::SeqCst))
    }

    /// Remembers what was found out since `era`, unless something was forgotten meanwhile. `size`: the
    /// text that its claims came from, in bytes.
    pub(super) fn remember(&self, digest: TokenDigest, remembered: Remembered, size: usize, era: Era) {
        let slot = Slot { bytes: size_of_entry(size), remembered };
        if slot.bytes > self.share.bytes {
            return;
        }
        let dropped;
        {
            let mut shard = self.shard(&digest);
            let shard = &mut *shard;
            // Under the lock that forgetting takes after it has begun a new era.
            if self.era() != era {
                return;
            }
            shard.old.remove(&digest);
            shard.young.remove(&digest);
            let is_full = shard.young.entries.len() >= self.share.entries
                || shard.young.bytes.saturating_add(slot.bytes) > self.share.bytes;
            dropped = is_full.then(|| std::mem::replace(&mut shard.old, std::mem::take(&mut shard.young)));
            shard.young.insert(digest, slot);
        }
        // After the lock: freeing many claims takes a while.
        drop(dropped);
    }

    /// Takes a verdict back, because it no longer holds.
    pub(super) fn forget(&self, digest: &TokenDigest) {
        let mut shard = self.shard(digest);
        shard.young.remove(digest);
        shard.old.remove(digest);
    }

    /// Takes back every verdict on the tokens that are meant, and on those that were `forgotten` elsewhere.
    pub(super) fn forget_all(&self, forget: &Forget, forgotten: &mut HashSet<TokenDigest>) {
        self.era.fetch_add(1, Ordering::SeqCst);
        forgotten.iter().for_each(|digest| self.forget(digest));
        if let Tokens::Token(token) = &forget.tokens {
            let digest = self.digest(token.expose());
            let mut shard = self.shard(&digest);
            let shard = &mut *shard;
            for half in [&mut shard.young, &mut shard.old] {
                let of = |slot: &Slot| forget.is_of_issuer(&slot.remembered.caller.issuer, &slot.remembered.caller.iss);
                if half.entries.get(&digest).is_some_and(of) && half.remove(&digest).is_some() {
                    forgotten.insert(digest);
                }
            }
            return;
        }
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let shard = &mut *shard;
            for half in [&mut shard.young, &mut shard.old] {
                let meant = half.entries.extract_if(|_, slot| forget.means(&slot.remembered.caller));
                for (digest, slot) in meant {
                    half.bytes -= slot.bytes;
                    forgotten.insert(digest);
                }
            }
        }
    }

    pub fn counts(&self) -> MemoryCounts {
        self.shards.iter().fold(MemoryCounts::default(), |sum, shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            MemoryCounts {
                entries: sum.entries + shard.young.entries.len() + shard.old.entries.len(),
                bytes: sum.bytes + shard.young.bytes + shard.old.bytes,
                hits: sum.hits + shard.hits,
                misses: sum.misses + shard.misses,
            }
        })
    }

    fn shard(&self, digest: &TokenDigest) -> MutexGuard<'_, Shard> {
        let mut hasher = FirstBytes::default();
        std::hash::Hash::hash(digest, &mut hasher);
        // The maps use the low bits and the top seven.
        let number = usize::try_from((hasher.finish() >> 32) % SHARDS as u64).unwrap_or(0);
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for TokenMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenMemory({:?})", self.counts())
    }
}

impl Half {
    fn insert(&mut self, digest: TokenDigest, slot: Slot) {
        self.bytes += slot.bytes;
        if let Some(replaced) = self.entries.insert(digest, slot) {
            self.bytes -= replaced.bytes;
        }
    }

    fn remove(&mut self, digest: &TokenDigest) -> Option<Slot> {
        let slot = self.entries.remove(digest)?;
        self.bytes -= slot.bytes;
        Some(slot)
    }
}

/// About what one entry costs: its claims grow to a few times the text they came from.
const fn size_of_entry(text: usize) -> usize {
    512 + 4 * text
}

/// Takes the first bytes of a digest as its hash: it is one already, under a key that nobody outside knows.
#[derive(Clone, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    /// The length that is written before an array.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests;
