//! Records with a lifetime, in this process or in Redis. Comes in: a [`Key`], bytes, how long they are to be kept. Goes
//! out: the bytes, or nothing, or that the store is out of reach. Sealing and meaning are the caller's.
//!
//! The closed set of stores shares one contract, `tests/it/contracts/kv.rs`. What must not happen twice (a code used, a
//! transaction taken, a token refreshed) rests on the four atomic operations: [`Kv::take`], [`Kv::put_if_absent`],
//! [`Kv::delete_if`], and the [`Lease`].

mod lease;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

pub use lease::{Lease, Leased};
pub use memory::{MemoryKv, MemoryKvCounts, MemoryKvLimits};
#[cfg(feature = "redis")]
pub use redis::RedisKv;
pub use settings::{RedisAddress, RedisMode, RedisSettings, RedisTls, Standing, Tally};

use crate::clock::Clock;
use crate::control::Control;
use crate::seal::TokenDigest;
use lease::Owner;

/// How many members one set has at most: the sessions of one user at one issuer. Of more, those go that end first.
pub const MAX_MEMBERS: usize = 1000;

/// Where records are kept. Cheap to clone; clones share the store.
#[derive(Clone, Debug)]
pub enum Kv {
    Memory(MemoryKv),
    #[cfg(feature = "redis")]
    Redis(RedisKv),
}

/// The name of a record: what kind it is, and a digest of whose. What was hashed can't be read from a dump of the store
/// or its log. Records of different kinds with the same id lie on one node of a cluster.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    space: &'static str,
    id: Box<str>,
}

/// The store can't be asked now: an outage, never "there is no such record". To the client 503.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    #[error("the store is out of reach: {0}")]
    Unreachable(Arc<str>),
    #[error("the store did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("too many commands wait for the store")]
    Busy,
    #[error("the store refused the command: {0}")]
    Refused(Arc<str>),
}

impl KvError {
    /// When it is worth asking again.
    pub const fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }
}

impl Key {
    /// A key of the kind `space`, named by SHA-256 over `parts`: for ids that can't be guessed.
    pub fn new(space: &'static str, parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // With its length, so that no two lists of parts run into one another.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self { space, id: URL_SAFE_NO_PAD.encode(context.finish()).into() }
    }

    /// A key named by a keyed digest: for what could be guessed, such as a subject, or a token to be looked for.
    pub fn keyed(space: &'static str, digest: &TokenDigest) -> Self {
        Self { space, id: URL_SAFE_NO_PAD.encode(digest.as_bytes()).into() }
    }

    /// The key of another kind with the same id.
    #[must_use]
    pub fn beside(&self, space: &'static str) -> Self {
        Self { space, id: self.id.clone() }
    }

    /// The braces make Redis Cluster hash the id alone.
    #[cfg(feature = "redis")]
    fn render(&self, prefix: &str) -> String {
        format!("{prefix}{}:{{{}}}", self.space, self.id)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.id.len()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.space)
    }
}

/// One line for each store: the compiler names the arms that a new store still needs.
macro_rules! on {
    ($kv:expr, $store:ident => $call:expr) => {
        match $kv {
            Kv::Memory($store) => Ok($call),
            #[cfg(feature = "redis")]
            Kv::Redis($store) => $call.await,
        }
    };
}

/// The store itself.
impl Kv {
    /// A store in Redis, which connects to nothing before [`Kv::start`]. `None` in a build without Redis.
    pub fn redis(settings: RedisSettings, clock: Clock, control: Control) -> Option<Self> {
        #[cfg(feature = "redis")]
        return Some(Self::Redis(RedisKv::new(settings, clock, control)));
        #[cfg(not(feature = "redis"))]
        {
            let _ = (settings, clock, control);
            None
        }
    }

    /// Begins to connect in the background; a store in memory has nothing to begin. Call it once.
    pub fn start(&self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.start(),
        }
    }

    pub fn standing(&self) -> Standing {
        match self {
            Self::Memory(_) => Standing::Up,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.standing(),
        }
    }

    /// How commands to it ended; none are sent to a store in memory.
    pub fn tally(&self) -> Option<&Tally> {
        match self {
            Self::Memory(_) => None,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Some(redis.tally()),
        }
    }

    /// How often a connection was opened.
    pub fn connects(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.connects(),
        }
    }

    /// Commands that wait or are under way.
    pub fn under_way(&self) -> usize {
        match self {
            Self::Memory(_) => 0,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.under_way(),
        }
    }

    /// Asks whether the store is there and lets us in.
    ///
    /// # Errors
    /// [`KvError`] when it is not, or does not.
    pub async fn ping(&self) -> Result<(), KvError> {
        match self {
            Self::Memory(_) => Ok(()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.ping().await,
        }
    }
}

/// All of these fail with [`KvError`] when the store is out of reach, and then nothing is known: a change may have been
/// made or not.
impl Kv {
    /// The record, if it is there and its time is not over. A record of a foreign type counts as none.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        on!(self, store => store.get(key))
    }

    /// The record, which from now on is kept for so long again.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn renew(&self, key: &Key, lifetime: Duration) -> Result<Option<Bytes>, KvError> {
        on!(self, store => store.renew(key, lifetime))
    }

    /// Keeps the record for so long, instead of what is there. A lifetime of zero keeps nothing.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn put(&self, key: &Key, value: Bytes, lifetime: Duration) -> Result<(), KvError> {
        on!(self, store => store.put(key, value, lifetime))
    }

    /// The record, which is gone then: of any number of takers one gets it.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn take(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        on!(self, store => store.take(key))
    }

    /// Whether there was something to delete, be it a record or a set.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn delete(&self, key: &Key) -> Result<bool, KvError> {
        on!(self, store => store.delete(key))
    }

    /// Keeps the record unless one is there: of any number of writers one is told `true`.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn put_if_absent(&self, key: &Key, value: Bytes, lifetime: Duration) -> Result<bool, KvError> {
        on!(self, store => store.put_if_absent(key, value, lifetime))
    }

    /// Deletes the record if it is this one still.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn delete_if(&self, key: &Key, expected: &[u8]) -> Result<bool, KvError> {
        on!(self, store => store.delete_if(key, expected))
    }

    /// Adds a member to a set, for so long. Adding it again sets its time anew. At most [`MAX_MEMBERS`] stay.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn add_member(&self, key: &Key, member: &[u8], lifetime: Duration) -> Result<(), KvError> {
        on!(self, store => store.add_member(key, member, lifetime))
    }

    /// The members of a set whose time is not over, in no order.
    ///
    /// # Errors
    /// [`KvError`]
    pub async fn members(&self, key: &Key) -> Result<Vec<Bytes>, KvError> {
        on!(self, store => store.members(key))
    }

    /// # Errors
    /// [`KvError`]
    pub async fn remove_member(&self, key: &Key, member: &[u8]) -> Result<(), KvError> {
        on!(self, store => store.remove_member(key, member))
    }

    /// How long the lease on `key` is still another's; `None` when it is ours now.
    async fn lease(&self, key: &Key, owner: &Owner, lifetime: Duration) -> Result<Option<Duration>, KvError> {
        on!(self, store => store.lease(key, owner, lifetime))
    }

    /// Replaces the record under a lease: only if it is there still and no later lease was given.
    async fn put_leased(&self, key: &Key, owner: &Owner, value: Bytes, lifetime: Duration) -> Result<bool, KvError> {
        on!(self, store => store.put_leased(key, owner, value, lifetime))
    }

    async fn release(&self, key: &Key, owner: &Owner) -> Result<(), KvError> {
        on!(self, store => store.release(key, owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_nothing_of_what_it_names_and_has_one_reading() {
        let key = Key::new("session", &[b"id"]);
        assert!(!format!("{key:?}").contains(&*key.id));
        assert!(Key::new("a", &[b"bc", b"d"]) != Key::new("a", &[b"b", b"cd"]));
        assert!(Key::new("a", &[b"b"]) != Key::new("a", &[b"b", b""]));
        assert!(Key::new("a", &[b"b"]) != Key::new("c", &[b"b"]));
        assert!(key.beside("lease") == Key::new("lease", &[b"id"]));
    }
}
