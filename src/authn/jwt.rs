//! The bearer way for signed tokens. Comes in: a b64token. Goes out: its [`Caller`], remembered or freshly checked.
//! The order is cheapest first, and nothing that can be refused without a key ever causes a fetch or a signature check.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::AuthnError;
use super::cache::{Remembered, TokenMemory};
use super::presented::Token;
use crate::caller::{Caller, Claims, How, Identity};
use crate::clock::Time;
use crate::idp::{Issuer, Keys, KeysUnavailable};
use crate::jose::claims::{self, Stated};
use crate::jose::{Jws, json, verify};
use crate::reason::Reason;
use crate::seal::TokenDigest;

/// The longest token that is looked at, unless the configuration says otherwise. Bytes.
const TOKEN_LIMIT: usize = 16 * 1024;

/// A route's bearer tokens: whose they may be, and the memory of those already checked.
#[derive(Debug)]
pub struct BearerWay {
    issuers: Vec<Arc<Issuer>>,
    memory: Arc<TokenMemory>,
    limit: usize,
}

impl BearerWay {
    /// `issuers` are those that the route names; a token of any other is refused, however good it is elsewhere.
    pub fn new(issuers: Vec<Arc<Issuer>>, memory: Arc<TokenMemory>) -> Self {
        Self { issuers, memory, limit: TOKEN_LIMIT }
    }

    /// Looks at tokens of at most so many bytes.
    #[must_use]
    pub fn limited(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// The caller of a remembered token, if what was found out about it still holds on this route. Never waits, never
    /// allocates.
    pub(super) fn recall(&self, digest: &TokenDigest, now: Time) -> Option<Arc<Caller>> {
        let known = self.memory.recall(digest)?;
        let issuer = self.issuers.iter().find(|issuer| issuer.id() == known.issuer)?;
        let holds = known.is_usable(now) && issuer.generation() == Some(known.generation);
        holds.then_some(known.caller)
    }

    pub(super) fn digest(&self, token: Token<'_>) -> Result<TokenDigest, AuthnError> {
        if token.expose().len() > self.limit {
            return Err(AuthnError::Invalid(Reason::TokenMalformed));
        }
        Ok(self.memory.digest(token.expose()))
    }

    /// Checks a token in full, and remembers it if it is good.
    pub(super) async fn check(
        &self,
        token: Token<'_>,
        digest: TokenDigest,
        now: Time,
    ) -> Result<Arc<Caller>, AuthnError> {
        let jws = Jws::parse(token.expose(), self.limit).map_err(|error| AuthnError::Invalid(error.reason()))?;
        let claims = json::object(&jws.payload).map_err(|_| AuthnError::Invalid(Reason::TokenMalformed))?;
        let issuer = self.issuer_of(&claims)?;
        let outcome = checked(issuer, &jws, claims, now).await;
        let tally = issuer.tally();
        match &outcome {
            Ok(_) => &tally.accepted,
            Err(AuthnError::Unavailable { .. }) => &tally.unavailable,
            Err(_) => &tally.refused,
        }
        .fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(good) => {
                let caller = Arc::clone(&good.caller);
                self.memory.remember(digest, good, token.expose().len());
                Ok(caller)
            }
            Err(error) => {
                self.memory.forget(&digest);
                Err(error)
            }
        }
    }

    /// The issuer that the token names, byte for byte, among those of this route (RFC 8725 section 3.8).
    fn issuer_of(&self, claims: &Claims) -> Result<&Arc<Issuer>, AuthnError> {
        let named = claims::stated_issuer(claims).ok_or(AuthnError::Invalid(Reason::TokenIssuer))?;
        let found = self.issuers.iter().find(|issuer| *issuer.settings().issuer == *named);
        found.ok_or(AuthnError::Invalid(Reason::TokenIssuer))
    }
}

async fn checked(issuer: &Issuer, jws: &Jws<'_>, claims: Claims, now: Time) -> Result<Remembered, AuthnError> {
    let settings = issuer.settings();
    if !settings.algorithms.contains(jws.header.algorithm) {
        return Err(AuthnError::Invalid(Reason::TokenAlgorithm));
    }
    let stated = claims::judge(&jws.header, &claims, &issuer.expected(), now).map_err(AuthnError::Invalid)?;
    let keys = keys_for(issuer, jws).await?;
    verify::verify(jws, &keys.set).map_err(|error| AuthnError::Invalid(error.reason()))?;
    let Stated { subject, client_id, kind, scopes, expires_at, usable_from, usable_until } = stated;
    let caller = Caller::new(Identity {
        issuer: Arc::clone(&settings.name),
        iss: Arc::clone(&settings.issuer),
        subject,
        client_id,
        kind,
        how: How::Jwt,
        scopes,
        claims,
        expires_at,
    });
    let generation = keys.generation;
    Ok(Remembered { caller: Arc::new(caller), issuer: issuer.id(), generation, usable_from, usable_until })
}

/// The keys to look in: as they are, unless the token names one that is not there.
async fn keys_for(issuer: &Issuer, jws: &Jws<'_>) -> Result<Arc<Keys>, AuthnError> {
    let keys = match jws.header.kid.as_deref() {
        Some(kid) => issuer.keys_with(kid).await,
        None => issuer.keys(),
    };
    keys.map_err(|KeysUnavailable { retry_after }| AuthnError::Unavailable { retry_after })
}
