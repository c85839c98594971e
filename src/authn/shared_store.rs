//! Answers that replicas share, in a store: Redis. Comes in: whose answer, and the answer. Goes out: what another replica
//! was told, or that the store can't be asked; then this process goes on with its own answers alone.
//!
//! Records lie under keyed digests of the token and are sealed, so that a dump of the store opens and names nothing. The
//! keys come from the operator's session keys; a new first key begins with an empty second level.
//!
//! What is forgotten leaves a mark for as long as an answer could live: by token, subject, client or `jti`. An answer
//! that was put away before its mark, or shortly after (it may have been asked for before), is not believed. So nothing
//! has to be found to be forgotten, however many tokens it was.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::forget::{Forget, Tokens};
use super::shared::{Doing, SharedAnswer, SharedAnswers, SharedToken, SharedUnavailable};
use crate::caller::Claims;
use crate::clock::{Clock, Time};
use crate::kv::{Key, Kv, KvError};
use crate::seal::{DigestKey, KeyRing, MasterKeys, TokenDigest};

/// What an answer may be asked for before and put away after something was forgotten: the longest question, and how far
/// the clocks of replicas may be apart.
const MARGIN: Duration = Duration::from_secs(30);

/// Larger answers are not shared.
const MAX_BYTES: usize = 64 * 1024;

const ANSWERS: &str = "introspection";
const MARKS: &str = "introspection-forgotten";

/// The shared answers of one issuer.
#[derive(Debug)]
pub struct StoredAnswers {
    store: Kv,
    clock: Clock,
    names: DigestKey,
    seal: KeyRing,
    /// The longest life of an answer.
    longest: Duration,
}

/// What lies in a record.
#[derive(Serialize, Deserialize)]
struct Written {
    members: Claims,
    /// Milliseconds since 1970, as the next.
    until: u64,
    put_at: u64,
}

impl StoredAnswers {
    /// `longest` is the longest life of an answer, `cache.ttl`.
    pub fn new(store: Kv, keys: &MasterKeys, longest: Duration, clock: Clock) -> Self {
        Self { store, clock, names: keys.digest_key(ANSWERS), seal: keys.ring(ANSWERS), longest }
    }

    async fn find(&self, of: SharedToken<'_>) -> Result<Option<SharedAnswer>, KvError> {
        let digest = self.named(&[of.issuer, of.client_id, of.token.expose()]);
        let (key, any) = (Key::keyed(ANSWERS, &digest), self.mark(of.issuer, "any", ""));
        let (record, any_mark) = tokio::join!(self.store.get(&key), self.store.get(&any));
        let (Some(record), is_marked) = (record?, any_mark?.is_some()) else { return Ok(None) };
        let Some(written) = self.open(&digest, &record) else { return Ok(None) };
        if is_marked && self.was_forgotten(of.issuer, &key, &written).await? {
            return Ok(None);
        }
        let until = Time::from_millis(written.until);
        let is_fresh = self.clock.now() < until;
        Ok(is_fresh.then_some(SharedAnswer { members: written.members, until }))
    }

    /// Something of this issuer was forgotten lately: was it this?
    async fn was_forgotten(&self, issuer: &str, key: &Key, written: &Written) -> Result<bool, KvError> {
        let member = |name: &str| written.members.get(name).and_then(|value| value.as_str());
        let mut marks = vec![key.beside(MARKS)];
        for (kind, value) in [
            ("sub", member("sub")),
            ("client_id", member("client_id")),
            ("client_id", member("azp")),
            ("jti", member("jti")),
        ] {
            marks.extend(value.map(|value| self.mark(issuer, kind, value)));
        }
        for mark in marks {
            let Some(mark) = self.store.get(&mark).await? else { continue };
            // A mark that can't be read may be any; nothing is believed against it.
            let marked_at = std::str::from_utf8(&mark).ok().and_then(|text| text.parse().ok());
            let believed_from = Time::from_millis(marked_at.unwrap_or(u64::MAX)).plus(MARGIN);
            if Time::from_millis(written.put_at) <= believed_from {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn keep(&self, of: SharedToken<'_>, answer: &SharedAnswer, life: Duration) -> Result<(), KvError> {
        let digest = self.named(&[of.issuer, of.client_id, of.token.expose()]);
        let (until, put_at) = (answer.until.millis(), self.clock.now().millis());
        let written = Written { members: answer.members.clone(), until, put_at };
        let plain = serde_json::to_vec(&written).unwrap_or_default();
        if plain.is_empty() || plain.len() > MAX_BYTES {
            return Ok(());
        }
        let sealed = self.seal.seal(digest.as_bytes(), &plain);
        self.store.put(&Key::keyed(ANSWERS, &digest), sealed.into(), life.min(self.longest)).await
    }

    /// `None` is a record that is not ours, or not for this token.
    fn open(&self, digest: &TokenDigest, sealed: &[u8]) -> Option<Written> {
        let opened = self.seal.open(digest.as_bytes(), sealed).ok()?;
        serde_json::from_slice(&opened.plain).ok()
    }

    /// The mark first, then the record: an answer that is put away in between finds its mark.
    async fn forget_token(&self, of: SharedToken<'_>) -> Result<(), KvError> {
        let key = Key::keyed(ANSWERS, &self.named(&[of.issuer, of.client_id, of.token.expose()]));
        self.leave_mark(of.issuer, &key.beside(MARKS)).await?;
        self.store.delete(&key).await.map(drop)
    }

    async fn forget_all(&self, issuer: &str, forget: &Forget) -> Result<(), KvError> {
        let mark = match &forget.tokens {
            // By its token: the caller knows who asks, and takes `remove`.
            Tokens::Token(_) => return Ok(()),
            Tokens::Subject(subject) => self.mark(issuer, "sub", subject),
            Tokens::ClientId(client_id) => self.mark(issuer, "client_id", client_id),
            Tokens::Id(id) => self.mark(issuer, "jti", id),
        };
        self.leave_mark(issuer, &mark).await
    }

    /// The one that says that there are marks comes last: who sees it sees the others.
    async fn leave_mark(&self, issuer: &str, mark: &Key) -> Result<(), KvError> {
        let now: Bytes = self.clock.now().millis().to_string().into();
        let life = self.longest.saturating_add(MARGIN);
        self.store.put(mark, now.clone(), life).await?;
        self.store.put(&self.mark(issuer, "any", ""), now, life).await
    }

    fn mark(&self, issuer: &str, kind: &str, value: &str) -> Key {
        Key::keyed(MARKS, &self.named(&[kind, issuer, value]))
    }

    fn named(&self, parts: &[&str]) -> TokenDigest {
        let mut all = Vec::with_capacity(128);
        for part in parts {
            // With its length, so that no two lists of parts run into one another.
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
        self.names.digest(&all)
    }
}

impl SharedAnswers for StoredAnswers {
    fn get<'a>(&'a self, of: SharedToken<'a>) -> Doing<'a, Option<SharedAnswer>> {
        Box::pin(async move { self.find(of).await.map_err(unavailable) })
    }

    fn put<'a>(&'a self, of: SharedToken<'a>, answer: &'a SharedAnswer, life: Duration) -> Doing<'a, ()> {
        Box::pin(async move { self.keep(of, answer, life).await.map_err(unavailable) })
    }

    fn remove<'a>(&'a self, of: SharedToken<'a>) -> Doing<'a, ()> {
        Box::pin(async move { self.forget_token(of).await.map_err(unavailable) })
    }

    fn forget<'a>(&'a self, issuer: &'a str, _: &'a str, forget: &'a Forget) -> Doing<'a, ()> {
        Box::pin(async move { self.forget_all(issuer, forget).await.map_err(unavailable) })
    }
}

fn unavailable(error: KvError) -> SharedUnavailable {
    tracing::debug!(%error, "the shared answers can't be asked");
    SharedUnavailable
}

#[cfg(test)]
mod tests;
