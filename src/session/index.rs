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

    /// Adding a session again keeps it from being the one that was not used for longest.
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

    /// Whether a session is still found by all that its issuer may call it.
    pub(super) async fn has(&self, session: &Session) -> Result<bool, KvError> {
        let member = session.id.digest();
        for set in sets(session) {
            if !self.kv.members(&set).await?.iter().any(|known| **known == *member.as_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The records of the sessions that are meant, each with where it was found.
    pub(super) async fn find(&self, whose: Whose<'_>) -> Result<Vec<Member>, KvError> {
        let mut found = Vec::new();
        for set in whose.meant() {
            let members = self.kv.members(&set).await?.into_iter();
            found.extend(members.map(|digest| Member {
                record: Key::new("session", &[&digest]),
                set: set.clone(),
                digest,
            }));
        }
        Ok(found)
    }

    pub(super) async fn forget(&self, member: &Member) -> Result<(), KvError> {
        self.kv.remove_member(&member.set, &member.digest).await
    }
}

/// A session as the index has it.
pub(super) struct Member {
    pub(super) record: Key,
    set: Key,
    digest: Bytes,
}

/// The sets that a session belongs to.
fn sets(session: &Session) -> [Key; 2] {
    let whose = Whose::of(session);
    [whose.named(b"sub", &session.subject), whose.narrow(session)]
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

    /// The set of an issuer's own session; of a subject's sessions, where the issuer gave them no name.
    fn narrow(&self, session: &Session) -> Key {
        match &session.sid {
            Some(sid) => self.named(b"sid", sid),
            None => self.named(b"sub without sid", &session.subject),
        }
    }

    /// The sets that a logout means. Of a subject's sessions the one that is named, and those that have no name: any of
    /// them may be it.
    fn meant(&self) -> impl Iterator<Item = Key> {
        let by_sid = self.sid.map(|sid| self.named(b"sid", sid));
        let kind: &[u8] = if self.sid.is_some() { b"sub without sid" } else { b"sub" };
        let by_subject = self.subject.map(|subject| self.named(kind, subject));
        [by_sid, by_subject].into_iter().flatten()
    }

    fn named(&self, kind: &[u8], name: &str) -> Key {
        Key::new("sessions", &[kind, self.site.as_bytes(), self.issuer.as_bytes(), name.as_bytes()])
    }
}

/// Sessions that ended before their cookies do. Bounded by the store; each mark lives as long as the session could have.
#[derive(Debug)]
pub struct Ended {
    kv: Kv,
    /// Results of renewals, for who still has the old cookie: not among the marks, which they would push out.
    renewed: Kv,
    /// Whether there may be a mark at all: known only where no other process makes any.
    may_hold: AtomicBool,
}

impl Ended {
    /// Both are shared by all processes where there is Redis, else this process's own.
    pub fn new(kv: Kv, renewed: Kv) -> Self {
        let may_hold = AtomicBool::new(!matches!(kv, Kv::Memory(_)));
        Self { kv, renewed, may_hold }
    }

    pub const fn renewed(&self) -> &Kv {
        &self.renewed
    }

    /// Whether a session has ended: itself, or as one of those that its issuer ended.
    pub(super) async fn holds(&self, session: &Session) -> Result<bool, KvError> {
        if !self.may_hold.load(Ordering::Acquire) {
            return Ok(false);
        }
        let [by_subject, narrow] = sets(session).map(|set| set.beside("ended"));
        let own = ended(&session.id);
        // At once: where the marks lie in Redis, that is one journey and not three.
        let (own, by_subject, narrow) = tokio::join!(self.kv.get(&own), self.kv.get(&by_subject), self.kv.get(&narrow));
        let began_before =
            |mark: Option<Bytes>| mark.and_then(|mark| until(&mark)).is_some_and(|until| session.signed_in_at <= until);
        let is_over = own?.is_some_and(|mark| session.generation <= generation(&mark));
        Ok(is_over || began_before(by_subject?) || began_before(narrow?))
    }

    pub(super) async fn end(&self, id: &SessionId, lifetime: Duration) -> Result<(), KvError> {
        self.may_hold.store(true, Ordering::Release);
        self.kv.put(&ended(id), Bytes::from_static(&EVERY_GENERATION), lifetime).await
    }

    /// A session that can't be renewed any more. Only as it is here: a copy of its cookie that is older than what the
    /// browser has by now says nothing about the newer one.
    pub(super) async fn outlived(&self, session: &Session, lifetime: Duration) -> Result<(), KvError> {
        self.may_hold.store(true, Ordering::Release);
        let key = ended(&session.id);
        let mark = Bytes::copy_from_slice(&session.generation.to_be_bytes());
        // The mark of an older copy gives way, that of a session that was ended never.
        if let Some(known) = self.kv.get(&key).await?.filter(|known| generation(known) < session.generation) {
            self.kv.delete_if(&key, &known).await?;
        }
        self.kv.put_if_absent(&key, mark, lifetime).await.map(drop)
    }

    /// All that began until now; who signs in afterwards is somebody new.
    pub(super) async fn end_all(&self, whose: Whose<'_>, now: Time, lifetime: Duration) -> Result<(), KvError> {
        self.may_hold.store(true, Ordering::Release);
        let mark = Bytes::copy_from_slice(&now.millis().to_be_bytes());
        for set in whose.meant() {
            self.kv.put(&set.beside("ended"), mark.clone(), lifetime).await?;
        }
        Ok(())
    }
}

fn ended(id: &SessionId) -> Key {
    key(id).beside("ended")
}

const EVERY_GENERATION: [u8; 4] = u32::MAX.to_be_bytes();

/// Up to which generation a session is over. A mark that can't be read counts for all.
fn generation(mark: &[u8]) -> u32 {
    mark.try_into().map_or(u32::MAX, u32::from_be_bytes)
}

fn until(mark: &[u8]) -> Option<Time> {
    mark.try_into().ok().map(u64::from_be_bytes).map(Time::from_millis)
}

#[cfg(test)]
mod tests {
    use super::super::testing::session;
    use super::*;
    use crate::clock::ManualClock;
    use crate::kv::{MemoryKv, MemoryKvLimits};

    #[tokio::test]
    async fn an_old_copy_that_is_over_says_nothing_of_the_newer_and_undoes_no_sign_out() {
        let hands = ManualClock::at(Time::from_seconds(1_900_000_000));
        let kv = || Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
        let (ended, hour) = (Ended::new(kv(), kv()), Duration::from_secs(3600));
        let at = |generation: u32| Session { generation, ..session() };
        let over = async || [ended.holds(&at(1)).await, ended.holds(&at(2)).await, ended.holds(&at(3)).await];
        ended.outlived(&at(1), hour).await.unwrap();
        assert_eq!(over().await, [Ok(true), Ok(false), Ok(false)]);
        ended.outlived(&at(2), hour).await.unwrap();
        ended.outlived(&at(1), hour).await.unwrap();
        assert_eq!(over().await, [Ok(true), Ok(true), Ok(false)]);
        ended.end(&session().id, hour).await.unwrap();
        ended.outlived(&at(3), hour).await.unwrap();
        assert_eq!(over().await, [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(ended.holds(&at(4)).await, Ok(true), "signed out is signed out");
    }
}
