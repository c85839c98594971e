//! Sessions by what an issuer calls them: its own session (`sid`) or its subject (`sub`). Comes in: a session that begins,
//! or a logout that the issuer tells of. Goes out: the records to delete, or the mark that a sealed cookie is over.
//!
//! Names are digests that nobody can guess from: a dump of the store tells neither who is signed in nor where.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::store::{Whose, key};
use super::{Session, SessionId};
use crate::clock::Time;
use crate::kv::{Key, Kv, KvError};

/// Finds kept sessions.
#[derive(Debug)]
pub struct Index {
    kv: Kv,
}

impl Index {
    pub(super) const fn new(kv: Kv) -> Self {
        Self { kv }
    }

    pub(super) async fn add(&self, session: &Session, lifetime: Duration) -> Result<(), KvError> {
        let member = session.id.digest();
        for set in sets(session) {
            self.kv.add_member(&set, member.as_bytes(), lifetime).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&self, session: &Session) -> Result<(), KvError> {
        let member = session.id.digest();
        for set in sets(session) {
            self.kv.remove_member(&set, member.as_bytes()).await?;
        }
        Ok(())
    }

    /// The records of the sessions that are meant.
    pub(super) async fn find(&self, whose: Whose<'_>) -> Result<Vec<Key>, KvError> {
        let Some(set) = whose.set() else { return Ok(Vec::new()) };
        let members = self.kv.members(&set).await?;
        Ok(members.iter().map(|digest| Key::new("session", &[digest])).collect())
    }
}

/// The sets that a session belongs to.
fn sets(session: &Session) -> impl Iterator<Item = Key> {
    let whose = Whose::of(session);
    [whose.by_subject(), whose.by_sid()].into_iter().flatten()
}

impl<'a> Whose<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            site: &session.site,
            issuer: &session.issuer,
            subject: Some(&session.subject),
            sid: session.sid.as_deref(),
        }
    }

    fn by_subject(self) -> Option<Key> {
        Self { sid: None, ..self }.set()
    }

    fn by_sid(self) -> Option<Key> {
        Self { subject: None, ..self }.set()
    }

    /// The name that sessions of this kind share.
    fn set(&self) -> Option<Key> {
        let named = |kind: &[u8], name: &str| {
            Key::new("sessions", &[kind, self.site.as_bytes(), self.issuer.as_bytes(), name.as_bytes()])
        };
        match (self.sid, self.subject) {
            (Some(sid), _) => Some(named(b"sid", sid)),
            (None, Some(subject)) => Some(named(b"sub", subject)),
            (None, None) => None,
        }
    }
}

/// Sessions that ended before their cookies do. Bounded by the store; each mark lives as long as the session could have.
#[derive(Debug)]
pub struct Ended {
    kv: Kv,
    /// Whether there may be a mark at all: known only where no other process makes any.
    may_hold: AtomicBool,
}

impl Ended {
    /// `kv` is shared by all processes where there is Redis, else this process's own.
    pub fn new(kv: Kv) -> Self {
        let may_hold = AtomicBool::new(!matches!(kv, Kv::Memory(_)));
        Self { kv, may_hold }
    }

    pub const fn kv(&self) -> &Kv {
        &self.kv
    }

    /// Whether a session has ended: itself, or as one of those that its issuer ended.
    pub(super) async fn holds(&self, session: &Session) -> Result<bool, KvError> {
        if !self.may_hold.load(Ordering::Acquire) {
            return Ok(false);
        }
        let whose = Whose::of(session);
        // At once: where the marks lie in Redis, that is one journey and not three.
        let (own, by_subject, by_sid) = tokio::join!(
            self.mark(Some(ended(&session.id))),
            self.marked(whose.by_subject()),
            self.marked(whose.by_sid())
        );
        let began_before =
            |mark: Option<Bytes>| mark.and_then(|mark| until(&mark)).is_some_and(|until| session.signed_in_at <= until);
        Ok(own?.is_some() || began_before(by_subject?) || began_before(by_sid?))
    }

    async fn marked(&self, set: Option<Key>) -> Result<Option<Bytes>, KvError> {
        self.mark(set.map(|set| set.beside("ended"))).await
    }

    async fn mark(&self, key: Option<Key>) -> Result<Option<Bytes>, KvError> {
        match key {
            Some(key) => self.kv.get(&key).await,
            None => Ok(None),
        }
    }

    pub(super) async fn end(&self, id: &SessionId, lifetime: Duration) -> Result<(), KvError> {
        self.may_hold.store(true, Ordering::Release);
        self.kv.put(&ended(id), Bytes::from_static(b"1"), lifetime).await
    }

    /// All that began until now; who signs in afterwards is somebody new.
    pub(super) async fn end_all(&self, whose: Whose<'_>, now: Time, lifetime: Duration) -> Result<(), KvError> {
        let Some(set) = whose.set() else { return Ok(()) };
        self.may_hold.store(true, Ordering::Release);
        let mark = Bytes::copy_from_slice(&now.millis().to_be_bytes());
        self.kv.put(&set.beside("ended"), mark, lifetime).await
    }
}

fn ended(id: &SessionId) -> Key {
    key(id).beside("ended")
}

fn until(mark: &[u8]) -> Option<Time> {
    mark.try_into().ok().map(u64::from_be_bytes).map(Time::from_millis)
}
