//! The memory of pairs that the issuer was shown. Comes in: a pair's keyed digest. Goes out: the caller and the token that
//! was got, or that the issuer said no.
//!
//! The digest needs no slow hash: its key is random, lives in this process alone and is never written anywhere, so whoever
//! could try passwords against it reads this memory already. Bounded in bytes; wrong pairs apart, so that they push out no
//! good ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::authn::AuthnError;
use crate::authn::forget::{Forget, Tokens};
use crate::caller::Caller;
use crate::clock::{Tick, Time};
use crate::seal::{Secret, TokenDigest};

/// Wrong pairs that are known to be wrong.
const REFUSED: u64 = 10_000;

/// A pair that is good, and what was got for it.
#[derive(Clone)]
pub(super) struct Kept {
    /// As one who came by this way.
    pub caller: Arc<Caller>,
    /// As the memory of tokens knows them.
    pub source: Arc<Caller>,
    pub token: Secret,
    /// Of the token, by the key of that memory.
    pub token_digest: TokenDigest,
    pub refresh: Option<Secret>,
    /// The token's end, with some time to spare.
    pub good_until: Time,
    /// When the issuer must be shown the pair again, whatever the token.
    pub until: Tick,
}

/// When a question began, as the memory counts: what was asked before something was forgotten is not put away after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era(u64);

pub(super) enum Recalled {
    /// The token may be over.
    Good(Arc<Kept>),
    Refused(AuthnError),
    Nothing,
}

pub(super) struct Memory {
    good: Cache<TokenDigest, Arc<Kept>>,
    refused: Cache<TokenDigest, (AuthnError, Tick)>,
    era: AtomicU64,
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        let weigh = |_: &TokenDigest, kept: &Arc<Kept>| {
            // The claims grow to a few times the text they came from, and there are two callers.
            let refresh = kept.refresh.as_ref().map_or(0, |token| token.expose().len());
            u32::try_from(2048 + 8 * kept.token.expose().len() + refresh).unwrap_or(u32::MAX)
        };
        Self {
            good: Cache::builder().max_capacity(bytes).weigher(weigh).eviction_policy(EvictionPolicy::lru()).build(),
            refused: Cache::builder().max_capacity(REFUSED).eviction_policy(EvictionPolicy::lru()).build(),
            era: AtomicU64::new(0),
        }
    }

    pub(super) fn era(&self) -> Era {
        Era(self.era.load(Ordering::SeqCst))
    }

    pub(super) fn recall(&self, digest: &TokenDigest, now: Tick) -> Recalled {
        if let Some(kept) = self.good.get(digest) {
            if now < kept.until {
                return Recalled::Good(kept);
            }
            self.good.invalidate(digest);
        }
        match self.refused.get(digest) {
            Some((error, until)) if now < until => Recalled::Refused(error),
            _ => Recalled::Nothing,
        }
    }

    pub(super) fn keep(&self, digest: TokenDigest, kept: Arc<Kept>, era: Era) {
        if self.era() != era {
            return;
        }
        self.good.insert(digest, kept);
        // Who forgets begins a new era first: either that was seen above, or this entry is seen there, or it is taken back.
        if self.era() != era {
            self.good.invalidate(&digest);
        }
    }

    pub(super) fn drop_good(&self, digest: &TokenDigest) {
        self.good.invalidate(digest);
    }

    pub(super) fn refuse(&self, digest: TokenDigest, error: AuthnError, until: Tick, era: Era) {
        if self.era() == era {
            self.refused.insert(digest, (error, until));
        }
    }

    /// Forgets the pairs whose tokens are meant, and every no; says how many were good.
    pub(super) fn forget(&self, forget: &Forget) -> usize {
        self.era.fetch_add(1, Ordering::SeqCst);
        self.refused.invalidate_all();
        let is_meant = |kept: &Kept| match &forget.tokens {
            Tokens::Token(token) => {
                kept.token.equals(token.expose().as_bytes())
                    && forget.is_of_issuer(&kept.caller.issuer, &kept.caller.iss)
            }
            _ => forget.means(&kept.caller),
        };
        let meant: Vec<_> = self.good.iter().filter(|(_, kept)| is_meant(kept)).map(|(digest, _)| *digest).collect();
        meant.iter().for_each(|digest| self.good.invalidate(digest));
        meant.len()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} good, {} refused)", self.good.entry_count(), self.refused.entry_count())
    }
}
