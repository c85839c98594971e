//! Sessions that were opened lately. Comes in: the sealed text of a cookie, or a record. Goes out: the session in it, opened
//! before or now. Opening costs a decryption and a parse; a page makes dozens of requests with the same cookie.
//!
//! Nothing is decided here: whether a session has ended, or is over for age, is asked for each request anew.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::sync::Cache;

use super::Session;
use crate::caller::Caller;
use crate::seal::{DigestKey, TokenDigest};

/// Bytes of opened sessions that one site keeps.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// What is not asked for goes; it is opened again when it comes.
const UNUSED: Duration = Duration::from_secs(300);

/// What a session costs beside its tokens and claims, and how much larger claims are parsed than written: generous, so
/// that the bound holds.
const ENTRY_BYTES: usize = 1500;
const PARSED: usize = 6;

/// A session of a request, and the caller that it makes.
#[derive(Debug)]
pub struct Live {
    pub session: Session,
    /// What it was opened of was sealed by the first key.
    pub(super) is_current: bool,
    caller: OnceLock<Option<Arc<Caller>>>,
}

impl Live {
    pub(super) fn new(session: Session, is_current: bool) -> Arc<Self> {
        Arc::new(Self { session, is_current, caller: OnceLock::new() })
    }

    /// The caller: made once, however many requests there are.
    pub fn caller(&self, make: impl FnOnce(&Session) -> Option<Caller>) -> Option<&Arc<Caller>> {
        self.caller.get_or_init(|| make(&self.session).map(Arc::new)).as_ref()
    }
}

/// See the module. One for each site.
pub(super) struct Opened {
    cache: Cache<TokenDigest, Arc<Live>>,
    key: DigestKey,
}

impl Opened {
    pub(super) fn new() -> Self {
        let weigh = |_: &TokenDigest, live: &Arc<Live>| {
            let tokens = &live.session.tokens;
            let tokens = [&tokens.access, &tokens.refresh, &tokens.id];
            let tokens: usize = tokens.into_iter().flatten().map(|token| token.expose().len()).sum();
            // Claims are the payload of the ID token, or a little more.
            u32::try_from(ENTRY_BYTES + PARSED * tokens).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(MOST_BYTES).weigher(weigh).time_to_idle(UNUSED).build();
        Self { cache, key: DigestKey::random() }
    }

    /// The session in `sealed`, by `open` unless it was opened before. `name` says which one it has to be.
    pub(super) fn find(
        &self,
        name: &[u8],
        sealed: &[u8],
        open: impl FnOnce() -> Option<Arc<Live>>,
    ) -> Option<Arc<Live>> {
        let digest = self.key.digest_parts(&[name, sealed]);
        if let Some(live) = self.cache.get(&digest) {
            return Some(live);
        }
        let live = open()?;
        self.cache.insert(digest, Arc::clone(&live));
        Some(live)
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({})", self.cache.entry_count())
    }
}
