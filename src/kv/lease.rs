//! A lease: the right of one process to renew a record, for a limited time. Comes in: the record's key and a time. Goes
//! out: the lease, or how long another still has it.
//!
//! A lease that has run out may be given to the next while its first holder is still at work. So that this one can't
//! write over what the next has written, a write under a lease is guarded: it counts only if no later lease was given on
//! that record, and only if the record is still there (a session that was ended meanwhile does not come back).

use std::time::Duration;

use bytes::Bytes;

use super::{Key, Kv, KvError};
use crate::seal::random;

/// Tells one lease from every other.
pub(super) type Owner = [u8; 16];

/// How long it is remembered who had a lease last, beyond the lease itself: a holder who comes back later than this has
/// lost it.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3600);

/// The right to renew one record. It ends by itself; releasing it lets the next one have it at once.
#[derive(Debug)]
pub struct Lease {
    kv: Kv,
    key: Key,
    owner: Owner,
}

/// Whether a lease was to be had.
#[derive(Debug)]
pub enum Leased {
    Granted(Lease),
    /// Another has it, for so long at most.
    Held(Duration),
}

impl Lease {
    /// Asks for the lease on the record `key`, for `lifetime`: longer than the work under it is allowed to take.
    ///
    /// # Errors
    /// [`KvError`] when the store is out of reach.
    pub async fn take(kv: &Kv, key: &Key, lifetime: Duration) -> Result<Leased, KvError> {
        let owner = random::bytes();
        Ok(match kv.lease(key, &owner, lifetime).await? {
            None => Leased::Granted(Self { kv: kv.clone(), key: key.clone(), owner }),
            Some(left) => Leased::Held(left),
        })
    }

    /// Replaces the record, unless it is gone or a later lease was given. Goes out: whether it was replaced. The lease
    /// may have run out, as long as nobody has taken it since.
    ///
    /// # Errors
    /// [`KvError`] when the store is out of reach; whether the record was replaced is not known then.
    pub async fn put(&self, value: Bytes, lifetime: Duration) -> Result<bool, KvError> {
        self.kv.put_leased(&self.key, &self.owner, value, lifetime).await
    }

    /// Gives the lease back; nothing happens if it is another's by now.
    ///
    /// # Errors
    /// [`KvError`] when the store is out of reach; the lease ends by itself then.
    pub async fn release(self) -> Result<(), KvError> {
        self.kv.release(&self.key, &self.owner).await
    }
}
