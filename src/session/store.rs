//! Where sessions are kept. Comes in: a session, or what a cookie holds. Goes out: what the cookie is to hold, or the
//! session.
//!
//! `InCookie` keeps everything at the browser; what ended has to be remembered until it would have ended by itself.
//! `Kept` keeps sessions in a [`Kv`]: the cookie holds the id alone. The record lies under a digest of the id and is
//! sealed with a key that is made of the id, so that who reads the store can open nothing of it.

use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::index::{Ended, Index};
use super::{Session, SessionId, codec};
use crate::clock::Time;
use crate::kv::{Key, Kv, KvError};
use crate::reason::Reason;
use crate::seal::{KeyRing, MasterKey};

/// The contract of the stores is one: see `tests/it/contracts/session_store.rs`.
#[derive(Debug)]
pub enum SessionStore {
    InCookie(Ended),
    Kept(Kept),
}

/// Why a store has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Kv(#[from] KvError),
    /// More than a browser keeps for us; the operator has to choose another store.
    #[error("the session needs {bytes} bytes, more than cookies can hold: use `sessions.store: memory` or `redis`")]
    TooLarge { bytes: usize },
}

impl StoreError {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Kv(_) => Reason::SessionStore,
            Self::TooLarge { .. } => Reason::SessionTooLarge,
        }
    }

    /// When it is worth trying again; `None` when it is not.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Kv(error) => Some(error.retry_after()),
            Self::TooLarge { .. } => None,
        }
    }
}

/// What a cookie holds, as the bytes that are sealed.
pub type Held = Zeroizing<Vec<u8>>;

impl SessionStore {
    /// Keeps a new session for so long. Goes out: what its cookie is to hold.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach.
    pub async fn begin(&self, session: &Session, lifetime: Lifetime) -> Result<Held, StoreError> {
        match self {
            Self::InCookie(_) => {}
            Self::Kept(kept) => kept.begin(session, lifetime).await?,
        }
        Ok(self.held(session))
    }

    /// What the cookie of a session is to hold.
    pub fn held(&self, session: &Session) -> Held {
        Zeroizing::new(match self {
            Self::InCookie(_) => codec::encode_session(session),
            Self::Kept(_) => [&[HANDLE][..], session.id.as_bytes()].concat(),
        })
    }

    /// Whether a session that was loaded a while ago has not ended since. To be asked is not to be used.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach.
    pub async fn lives(&self, session: &Session) -> Result<bool, StoreError> {
        match self {
            Self::InCookie(ended) => Ok(!ended.holds(session).await?),
            Self::Kept(kept) => Ok(kept.kv.get(&key(&session.id)).await?.is_some()),
        }
    }

    /// Ends a session: no copy of its cookie opens anything again.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach; the session may live then.
    pub async fn end(&self, session: &Session, lifetime: Lifetime) -> Result<(), StoreError> {
        match self {
            Self::InCookie(ended) => Ok(ended.end(&session.id, lifetime.absolute).await?),
            Self::Kept(kept) => kept.end(session).await,
        }
    }

    /// Ends all sessions of one subject at an issuer, or of one of the issuer's own sessions (OIDC Back-Channel Logout
    /// section 2.6): those that began until `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach; some may live then.
    pub async fn end_all(&self, whose: Whose<'_>, now: Time, absolute: Duration) -> Result<(), StoreError> {
        match self {
            Self::InCookie(ended) => Ok(ended.end_all(whose, now, absolute).await?),
            Self::Kept(kept) => kept.end_all(whose).await,
        }
    }

    /// The same at the word of somebody who proves nothing: ends what is there, and remembers nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach; some may live then.
    pub async fn end_known(&self, whose: Whose<'_>) -> Result<(), StoreError> {
        match self {
            // Whom the mark would be about can't be known; anybody could fill the store with them.
            Self::InCookie(_) => Ok(()),
            Self::Kept(kept) => kept.end_all(whose).await,
        }
    }
}

/// How long a session may still be kept.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Without being used.
    pub idle: Duration,
    /// At most.
    pub absolute: Duration,
}

impl Lifetime {
    pub(super) fn shorter(self) -> Duration {
        self.idle.min(self.absolute)
    }
}

/// Whose sessions a provider ends.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub site: &'a str,
    pub issuer: &'a str,
    pub subject: Option<&'a str>,
    /// Given beside a subject, one sign-in of several; those that the issuer gave no `sid` are meant too.
    pub sid: Option<&'a str>,
}

/// Sessions in a [`Kv`].
#[derive(Debug)]
pub struct Kept {
    kv: Kv,
    index: Index,
}

/// Tells what such a cookie holds from a whole session.
const HANDLE: u8 = 0x80;

impl Kept {
    /// Where there is no Redis, `index` is a store of its own: sets that nobody asks for would go before the sessions.
    pub fn new(kv: Kv, index: Kv) -> Self {
        Self { index: Index::new(index), kv }
    }

    pub const fn kv(&self) -> &Kv {
        &self.kv
    }

    async fn begin(&self, session: &Session, lifetime: Lifetime) -> Result<(), StoreError> {
        // Found by the issuer's word before it can be used. A logout that comes at this moment may be too early for the
        // record: the index tells then.
        self.index.add(session, lifetime.absolute).await?;
        self.keep(session, lifetime).await
    }

    async fn keep(&self, session: &Session, lifetime: Lifetime) -> Result<(), StoreError> {
        self.kv.put(&key(&session.id), seal(session), lifetime.shorter()).await?;
        if !self.index.has(session).await? {
            tracing::info!(site = &*session.site, "the issuer has ended a session while it began");
            self.kv.delete(&key(&session.id)).await?;
        }
        Ok(())
    }

    /// A session was renewed: what finds it stays as long as it does.
    pub(super) async fn renewed(&self, session: &Session, lifetime: Lifetime) -> Result<(), KvError> {
        self.index.add(session, lifetime.absolute).await
    }

    /// The record of a session, whose idle time begins anew.
    ///
    /// # Errors
    /// [`StoreError`] when the store is out of reach: never "no session".
    pub(super) async fn record(&self, id: &SessionId, idle: Duration) -> Result<Option<Bytes>, StoreError> {
        Ok(self.kv.renew(&key(id), idle).await?)
    }

    async fn end(&self, session: &Session) -> Result<(), StoreError> {
        self.kv.delete(&key(&session.id)).await?;
        // What is left in the index leads nowhere and runs out by itself.
        Ok(self.index.remove(session).await?)
    }

    async fn end_all(&self, whose: Whose<'_>) -> Result<(), StoreError> {
        for member in self.index.find(whose).await? {
            // First the record, so that what breaks off half-way can be done again. And once more, for a session that
            // begins at this moment and saw itself in the index still.
            self.kv.delete(&member.record).await?;
            self.index.forget(&member).await?;
            self.kv.delete(&member.record).await?;
        }
        Ok(())
    }
}

/// The id that a cookie holds.
pub(super) fn id(held: &[u8]) -> Option<SessionId> {
    held.strip_prefix(&[HANDLE]).and_then(|id| id.try_into().ok()).map(SessionId::from_bytes)
}

/// Where a session's record lies.
pub(super) fn key(id: &SessionId) -> Key {
    Key::new("session", &[id.digest().as_bytes()])
}

fn ring(id: &SessionId) -> KeyRing {
    MasterKey::from_bytes(*id.as_bytes()).ring("session record")
}

/// The record of a session: opened by who has its id, and by nobody else.
pub(super) fn seal(session: &Session) -> Bytes {
    let plain = Zeroizing::new(codec::encode_session(session));
    ring(&session.id).seal(session.id.digest().as_bytes(), &plain).into()
}

/// A record that is not ours, or was cut short, is no session.
pub(super) fn open(id: &SessionId, record: &[u8]) -> Option<Session> {
    let opened = ring(id).open(id.digest().as_bytes(), record).ok()?;
    codec::decode_session(&opened.plain).filter(|session| session.id == *id)
}

#[cfg(test)]
mod tests {
    use super::super::testing::session;
    use super::*;
    use crate::clock::ManualClock;
    use crate::kv::{MemoryKv, MemoryKvLimits};

    #[tokio::test]
    async fn a_logout_that_comes_between_a_sessions_index_and_its_record_ends_it() {
        let hands = ManualClock::at(Time::from_seconds(1_900_000_000));
        let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
        let (kept, session) = (Kept::new(kv.clone(), kv), session());
        let lifetime = Lifetime { idle: Duration::from_secs(600), absolute: Duration::from_secs(3600) };
        let whose = Whose { site: &session.site, issuer: &session.issuer, subject: None, sid: session.sid.as_deref() };
        kept.index.add(&session, lifetime.absolute).await.unwrap();
        kept.end_all(whose).await.unwrap();
        kept.keep(&session, lifetime).await.unwrap();
        assert_eq!(kept.record(&session.id, lifetime.idle).await.unwrap(), None);
        kept.begin(&session, lifetime).await.unwrap();
        assert!(kept.record(&session.id, lifetime.idle).await.unwrap().is_some());
    }
}
