//! The bearer way. Comes in: a b64token. Goes out: its [`Caller`], remembered or freshly found out: by its signature where it
//! is a JWT of an issuer that signs, by asking its issuer otherwise.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::AuthnError;
use super::cache::{Remembered, TokenMemory};
use super::jwt;
use super::opaque::{Introspection, Shown};
use super::presented::Token;
use crate::caller::{Caller, Claims};
use crate::clock::Time;
use crate::idp::Issuer;
use crate::jose::{Jws, claims, json};
use crate::reason::Reason;
use crate::seal::TokenDigest;

/// The longest token that is looked at, unless the configuration says otherwise. Bytes.
const TOKEN_LIMIT: usize = 16 * 1024;

/// How far an issuer's tokens are trusted.
#[derive(Clone, Debug)]
pub struct Trusted {
    pub issuer: Arc<Issuer>,
    /// What has the shape of a JWT of this issuer is checked here.
    pub signs: bool,
    /// Everything else is asked about there.
    pub answers: bool,
    /// Also a JWT passes only if the issuer says that it is active.
    pub confirms: bool,
    /// There if `answers` or `confirms`.
    pub introspection: Option<Arc<Introspection>>,
}

impl Trusted {
    /// An issuer whose JWTs are believed, and nothing else.
    pub fn signer(issuer: Arc<Issuer>) -> Self {
        Self { issuer, signs: true, answers: false, confirms: false, introspection: None }
    }

    /// Whether what is remembered of a token is still so.
    fn holds(&self, known: &Remembered) -> bool {
        let by_signature = match known.generation {
            Some(generation) => self.signs && self.issuer.generation() == Some(generation),
            None => self.answers,
        };
        by_signature
            && match (&known.answered, &self.introspection) {
                (Some(answered), Some(introspection)) => introspection.holds(answered),
                (Some(_), None) => false,
                (None, _) => known.generation.is_some() && !self.confirms,
            }
    }
}

/// A route's bearer tokens: whose they may be, and the memory of those already checked.
#[derive(Debug)]
pub struct BearerWay {
    trusted: Vec<Trusted>,
    memory: Arc<TokenMemory>,
    limit: usize,
}

/// A token that is a JWT of one of the route's issuers, by its shape and by what it says.
struct Local<'w, 't> {
    trusted: &'w Trusted,
    jws: Jws<'t>,
    claims: Claims,
}

impl BearerWay {
    /// `trusted` are the issuers that the route names; a token of any other is refused, however good it is elsewhere.
    pub fn new(trusted: Vec<Trusted>, memory: Arc<TokenMemory>) -> Self {
        Self { trusted, memory, limit: TOKEN_LIMIT }
    }

    /// Looks at tokens of at most so many bytes.
    #[must_use]
    pub fn limited(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.trusted.iter().map(|trusted| &trusted.issuer)
    }

    /// The caller of a remembered token, if what was found out about it still holds on this route. Never waits, never
    /// allocates.
    pub(super) fn recall(&self, digest: &TokenDigest, now: Time) -> Option<Arc<Caller>> {
        let known = self.memory.recall(digest)?;
        let trusted = self.trusted.iter().find(|trusted| trusted.issuer.id() == known.issuer)?;
        (known.is_usable(now) && trusted.holds(&known)).then_some(known.caller)
    }

    pub(super) fn digest(&self, token: Token<'_>) -> Result<TokenDigest, AuthnError> {
        if token.expose().len() > self.limit {
            return Err(AuthnError::Invalid(Reason::TokenMalformed));
        }
        Ok(self.memory.digest(token.expose()))
    }

    /// Finds out about a token that is not remembered.
    pub(super) async fn check(
        &self,
        token: Token<'_>,
        digest: TokenDigest,
        now: Time,
        client: Option<IpAddr>,
    ) -> Result<Arc<Caller>, AuthnError> {
        // Before anything is looked at that could be forgotten meanwhile.
        let shown = Shown { token, digest, now, client, era: self.memory.era(), own: None };
        match self.local(token)? {
            Some(local) => self.check_jwt(local, shown).await,
            None => self.ask(shown).await,
        }
    }

    /// The issuer that a JWT names, byte for byte, among those of this route that sign (RFC 8725 section 3.8). What is no
    /// such token is a matter for those that are asked; where there are none, it is refused.
    fn local<'t>(&self, token: Token<'t>) -> Result<Option<Local<'_, 't>>, AuthnError> {
        let asks = self.trusted.iter().any(|trusted| trusted.answers);
        let otherwise = |reason| if asks { Ok(None) } else { Err(AuthnError::Invalid(reason)) };
        let jws = match Jws::parse(token.expose(), self.limit) {
            Ok(jws) => jws,
            Err(error) => return otherwise(error.reason()),
        };
        let Ok(claims) = json::object(&jws.payload) else { return otherwise(Reason::TokenMalformed) };
        let named = claims::stated_issuer(&claims);
        let is_named = |trusted: &&Trusted| trusted.signs && named == Some(&*trusted.issuer.settings().issuer);
        match self.trusted.iter().find(is_named) {
            Some(trusted) => Ok(Some(Local { trusted, jws, claims })),
            None => otherwise(Reason::TokenIssuer),
        }
    }

    /// Checks a JWT in full, and remembers it if it is good.
    async fn check_jwt(&self, local: Local<'_, '_>, shown: Shown<'_>) -> Result<Arc<Caller>, AuthnError> {
        let Local { trusted, jws, claims } = local;
        let outcome = match jwt::checked(&trusted.issuer, &jws, claims, shown.now).await {
            Ok(good) => confirmed(trusted, good, shown).await,
            Err(error) => Err(error),
        };
        count(&trusted.issuer, &outcome);
        match outcome {
            Ok(good) => {
                let caller = Arc::clone(&good.caller);
                self.memory.remember(shown.digest, good, shown.token.expose().len(), shown.era);
                Ok(caller)
            }
            Err(error) => {
                self.memory.forget(&shown.digest);
                Err(error)
            }
        }
    }

    /// Asks the issuers in their order, each at most once, until one of them knows the token. While one of them could not
    /// say, the others' no is not the last word: nobody knows.
    async fn ask(&self, shown: Shown<'_>) -> Result<Arc<Caller>, AuthnError> {
        let mut refused = Reason::TokenInactive;
        let (mut unavailable, mut too_many) = (None, None);
        for trusted in self.trusted.iter().filter(|trusted| trusted.answers) {
            let Some(introspection) = &trusted.introspection else { continue };
            let outcome = introspection.judge(shown).await;
            count(&trusted.issuer, &outcome);
            match outcome {
                Ok(alive) => return Ok(alive.caller),
                // Of several reasons, the one that says more.
                Err(AuthnError::Invalid(reason)) if reason != Reason::TokenInactive => refused = reason,
                Err(error @ AuthnError::TooMany { .. }) => too_many = Some(error),
                Err(error @ AuthnError::Unavailable { .. }) => unavailable = unavailable.or(Some(error)),
                Err(_) => {}
            }
        }
        Err(unavailable.or(too_many).unwrap_or(AuthnError::Invalid(refused)))
    }
}

/// A JWT whose issuer is asked, too: both must say yes, and speak of the same subject.
async fn confirmed(trusted: &Trusted, good: Remembered, shown: Shown<'_>) -> Result<Remembered, AuthnError> {
    if !trusted.confirms {
        return Ok(good);
    }
    let Some(introspection) = &trusted.introspection else {
        let reason = Reason::IntrospectionUnreachable;
        return Err(AuthnError::Unavailable { reason, retry_after: Duration::from_secs(1) });
    };
    let alive = introspection.judge(Shown { own: Some(&good.caller.claims), ..shown }).await?;
    if alive.caller.subject.is_some() && alive.caller.subject != good.caller.subject {
        return Err(AuthnError::Invalid(Reason::TokenClaims));
    }
    Ok(Remembered { answered: Some(alive.answered), ..good })
}

fn count<T>(issuer: &Issuer, outcome: &Result<T, AuthnError>) {
    let tally = issuer.tally();
    let counter: &AtomicU64 = match outcome {
        Ok(_) => &tally.accepted,
        Err(AuthnError::Unavailable { .. } | AuthnError::TooMany { .. }) => &tally.unavailable,
        Err(_) => &tally.refused,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}
