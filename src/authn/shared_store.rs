//! Answers that replicas share, in a store: Redis. Comes in: whose answer, and the answer. Goes out: what another replica
//! was told, or that the store can't be asked; then this process goes on with its own answers alone.
//!
//! Records lie under keyed digests of the token and are sealed, so that a dump of the store opens and names nothing. The
//! keys come from the operator's session keys; a new first key begins with an empty second level.
//!
//! What is forgotten leaves a mark for as long as an answer could live: by token, subject, client or `jti`. An answer
//! that was put away before its mark, or shortly after (it may have been asked for before), is not believed. So nothing
//! has to be found to be forgotten, however many tokens it was, and whoever asked about them whatever endpoint.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::forget::{self, Forget, Tokens};
use super::shared::{Doing, SharedAnswer, SharedAnswers, SharedToken, SharedUnavailable};
use crate::caller::Claims;
use crate::clock::{Clock, Time};
use crate::kv::{Key, Kv, KvError};
use crate::seal::{DigestKey, KeyRing, MasterKeys, TokenDigest};

/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_secs(30);

/// The longest that a look here may take, for requests wait for it, and the issuer can be asked instead.
const PATIENCE: Duration = Duration::from_millis(200);

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
    /// What was put away so long after something was forgotten may have been asked for before.
    margin: Duration,
}

/// What lies in a record.
#[derive(Serialize, Deserialize)]
struct Written {
    members: Claims,
    /// What the token says of itself.
    #[serde(default, skip_serializing_if = "Claims::is_empty")]
    own: Claims,
    /// Milliseconds since 1970, as the next.
    until: u64,
    put_at: u64,
}

impl StoredAnswers {
    /// `longest` is the longest life of an answer, `cache.ttl`; `timeout` the longest question.
    pub fn new(store: Kv, keys: &MasterKeys, (longest, timeout): (Duration, Duration), clock: Clock) -> Self {
        let margin = SKEW.saturating_add(PATIENCE).saturating_add(timeout);
        Self { store, clock, names: keys.digest_key(ANSWERS), seal: keys.ring(ANSWERS), longest, margin }
    }

    async fn find(&self, of: SharedToken<'_>) -> Result<Option<SharedAnswer>, KvError> {
        let digest = self.name_of(of);
        let (key, any) = (Key::keyed(ANSWERS, &digest), self.mark(of.issuer, "any", ""));
        let (record, any_mark) = tokio::join!(self.store.get(&key), self.store.get(&any));
        let (Some(record), is_marked) = (record?, any_mark?.is_some()) else { return Ok(None) };
        let Some(written) = self.open(&digest, &record) else { return Ok(None) };
        if is_marked && self.was_forgotten(of, &written).await? {
            return Ok(None);
        }
        let until = Time::from_millis(written.until);
        let is_fresh = self.clock.now() < until;
        Ok(is_fresh.then_some(SharedAnswer { members: written.members, own: written.own, until }))
    }

    /// Something of this issuer was forgotten lately: was it this?
    async fn was_forgotten(&self, of: SharedToken<'_>, written: &Written) -> Result<bool, KvError> {
        let mut marks = vec![self.mark(of.issuer, "token", of.token.expose())];
        for (kind, value) in forget::named_by(&written.members).chain(forget::named_by(&written.own)) {
            let mark = self.mark(of.issuer, kind, value);
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
        self.is_marked(&marks, Time::from_millis(written.put_at)).await
    }

    /// Looks at all marks at the same time.
    async fn is_marked(&self, marks: &[Key], put_at: Time) -> Result<bool, KvError> {
        let (few, more) = match marks {
            [] => return Ok(false),
            [mark] => return self.is_before(mark, put_at).await,
            marks => marks.split_at(marks.len() / 2),
        };
        let (few, more) = tokio::join!(Box::pin(self.is_marked(few, put_at)), Box::pin(self.is_marked(more, put_at)));
        Ok(few? || more?)
    }

    /// Whether an answer of then may have been asked for before this mark was left, if it was.
    async fn is_before(&self, mark: &Key, put_at: Time) -> Result<bool, KvError> {
        let Some(mark) = self.store.get(mark).await? else { return Ok(false) };
        // A mark that can't be read may be any; nothing is believed against it.
        let marked_at = std::str::from_utf8(&mark).ok().and_then(|text| text.parse().ok());
        Ok(put_at <= Time::from_millis(marked_at.unwrap_or(u64::MAX)).plus(self.margin))
    }

    async fn keep(&self, of: SharedToken<'_>, answer: &SharedAnswer, life: Duration) -> Result<(), KvError> {
        let digest = self.name_of(of);
        let (until, put_at) = (answer.until.millis(), self.clock.now().millis());
        let written = Written { members: answer.members.clone(), own: answer.own.clone(), until, put_at };
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

    /// The one that says that there are marks comes last: who sees it sees the others.
    async fn leave_mark(&self, issuer: &str, forget: &Forget) -> Result<(), KvError> {
        let mark = match &forget.tokens {
            Tokens::Token(token) => self.mark(issuer, "token", token.expose()),
            Tokens::Subject(subject) => self.mark(issuer, "sub", subject),
            Tokens::ClientId(client_id) => self.mark(issuer, "client_id", client_id),
            Tokens::Id(id) => self.mark(issuer, "jti", id),
        };
        let now: Bytes = self.clock.now().millis().to_string().into();
        let life = self.longest.saturating_add(self.margin);
        self.store.put(&mark, now.clone(), life).await?;
        self.store.put(&self.mark(issuer, "any", ""), now, life).await
    }

    fn mark(&self, issuer: &str, kind: &str, value: &str) -> Key {
        Key::keyed(MARKS, &self.named(&[kind, issuer, value]))
    }

    fn name_of(&self, of: SharedToken<'_>) -> TokenDigest {
        let SharedToken { issuer, client_id, endpoint, signed, token } = of;
        let signed = if signed { "signed" } else { "plain" };
        self.named(&[issuer, client_id, endpoint, signed, token.expose()])
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
        Box::pin(async move {
            tokio::select! {
                found = self.find(of) => found.map_err(unavailable),
                () = self.clock.sleep(PATIENCE) => Err(unavailable(KvError::TimedOut(PATIENCE))),
            }
        })
    }

    fn put<'a>(&'a self, of: SharedToken<'a>, answer: &'a SharedAnswer, life: Duration) -> Doing<'a, ()> {
        Box::pin(async move { self.keep(of, answer, life).await.map_err(unavailable) })
    }

    fn forget<'a>(&'a self, issuer: &'a str, forget: &'a Forget) -> Doing<'a, ()> {
        Box::pin(async move { self.leave_mark(issuer, forget).await.map_err(unavailable) })
    }
}

fn unavailable(error: KvError) -> SharedUnavailable {
    tracing::debug!(%error, "the shared answers can't be asked");
    SharedUnavailable
}

#[cfg(test)]
mod tests;
