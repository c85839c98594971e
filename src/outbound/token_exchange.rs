//! One token for another (RFC 8693): the caller's access token becomes one for this upstream. Comes in: the caller's token,
//! which has been checked. Goes out: a field value that is good now, or that the issuer says no. What the issuer said is
//! remembered under a keyed digest of the caller's token, until the earlier end of both; one request asks, the others wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::own_token::{NoToken, OwnToken, TokenTally, TokenTarget, bearer};
use crate::caller::Caller;
use crate::clock::{Clock, Time};
use crate::control::Control;
use crate::flight::{Flight, FlightError};
use crate::idp::token::{Grant, OAuthError};
use crate::idp::{Registration, TokenError};
use crate::reason::Reason;
use crate::seal::{DigestKey, Secret, TokenDigest};

/// How long a no is remembered: as long as a client that asks again and again would only be told the same.
const NO_FOR: Duration = Duration::from_secs(10);

/// What is remembered for one target. Bytes.
const BYTES: u64 = 64 * 1024 * 1024;

/// What the cache itself needs for an entry: its key, links and counters. Bytes.
const ENTRY_BYTES: usize = 400;

/// Exchanges under way at once, for one target.
const MOST_AT_ONCE: usize = 1024;

/// Why a caller's token was not exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The issuer says that this caller gets none for this target.
    #[error("the issuer does not exchange the caller's token")]
    Refused,
    #[error(transparent)]
    NoToken(#[from] NoToken),
}

/// The exchange for one target. Shared by all routes and workers that need it.
pub struct TokenExchange {
    registration: Arc<Registration>,
    target: TokenTarget,
    /// Whose token says who acts for the caller.
    actor: Option<Arc<OwnToken>>,
    clock: Clock,
    key: DigestKey,
    known: Cache<TokenDigest, Kept>,
    /// Under the era as well: who comes after something was forgotten does not wait for what was asked before.
    flight: Flight<(TokenDigest, u64), Result<HeaderValue, ExchangeError>>,
    /// How often something was forgotten. Held while an answer is put away, so that none is put away after it should have
    /// been forgotten.
    era: Mutex<u64>,
    tally: TokenTally,
}

#[derive(Clone)]
struct Kept {
    /// `None` is a no.
    field: Option<HeaderValue>,
    until: Time,
    of: Of,
}

/// Whose a token is, for who has to make it forgotten.
#[derive(Clone, Debug)]
pub struct Of {
    /// The issuer's name in the configuration, and its identifier.
    issuer: [Arc<str>; 2],
    subject: Option<Box<str>>,
    /// Issuers write the client into `client_id` or `azp`; where both are there, each counts.
    clients: [Option<Box<str>>; 2],
}

impl Of {
    fn caller(caller: &Caller) -> Self {
        Self {
            issuer: [Arc::clone(&caller.issuer), Arc::clone(&caller.iss)],
            subject: caller.subject.clone(),
            clients: [caller.client_id.clone(), caller.claims.get("azp").and_then(|azp| azp.as_str()).map(Box::from)],
        }
    }

    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    pub fn is_of_client(&self, client_id: &str) -> bool {
        self.clients.iter().flatten().any(|known| **known == *client_id)
    }
}

impl TokenExchange {
    pub fn new(
        registration: Arc<Registration>,
        target: TokenTarget,
        actor: Option<Arc<OwnToken>>,
        (clock, control): (Clock, Control),
    ) -> Arc<Self> {
        let weigh = |_: &TokenDigest, kept: &Kept| {
            let texts = kept.of.clients.iter().chain([&kept.of.subject]).flatten().map(|text| text.len());
            let size = ENTRY_BYTES + kept.field.as_ref().map_or(0, HeaderValue::len) + texts.sum::<usize>();
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        let known = Cache::builder().max_capacity(BYTES).weigher(weigh).eviction_policy(EvictionPolicy::lru()).build();
        Arc::new(Self {
            registration,
            target,
            actor,
            clock,
            key: DigestKey::random(),
            known,
            flight: Flight::new(control, MOST_AT_ONCE),
            era: Mutex::new(0),
            tally: TokenTally::default(),
        })
    }

    /// The client's name in the configuration.
    pub fn client(&self) -> &str {
        self.registration.name()
    }

    pub const fn tally(&self) -> &TokenTally {
        &self.tally
    }

    pub const fn target(&self) -> &TokenTarget {
        &self.target
    }

    /// Callers' tokens of which it is known what they are exchanged for, or that they are not.
    pub fn kept(&self) -> u64 {
        self.known.run_pending_tasks();
        self.known.entry_count()
    }

    /// What is known of a caller's token, by its digest.
    pub(super) fn recall(
        &self,
        subject: &[u8],
        now: Time,
    ) -> (TokenDigest, Option<Result<HeaderValue, ExchangeError>>) {
        let digest = self.key.digest(subject);
        (digest, self.known_of(&digest, now))
    }

    fn known_of(&self, digest: &TokenDigest, now: Time) -> Option<Result<HeaderValue, ExchangeError>> {
        let kept = self.known.get(digest).filter(|kept| now < kept.until)?;
        Some(kept.field.ok_or(ExchangeError::Refused))
    }

    /// Asks the issuer.
    ///
    /// # Errors
    /// [`ExchangeError`] when there is no token.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        digest: TokenDigest,
        subject: &[u8],
        caller: &Arc<Caller>,
    ) -> Result<HeaderValue, ExchangeError> {
        let busy = ExchangeError::NoToken(NoToken {
            reason: Reason::UpstreamTokenUnavailable,
            retry_after: Duration::from_secs(1),
        });
        let era = *self.era();
        let begin = || {
            let subject = std::str::from_utf8(subject).map_err(|_| ExchangeError::Refused)?;
            let (exchange, subject) = (Arc::clone(self), Secret::new(subject.to_owned()));
            Ok(exchange.ask((digest, era), subject, Arc::clone(caller)))
        };
        match self.flight.join((digest, era), begin).await {
            Ok(answered) => answered,
            Err(FlightError::Refused(error)) => Err(error),
            Err(FlightError::Full | FlightError::Lost) => Err(busy),
        }
    }

    async fn ask(
        self: Arc<Self>,
        (digest, era): (TokenDigest, u64),
        subject: Secret,
        caller: Arc<Caller>,
    ) -> Result<HeaderValue, ExchangeError> {
        let asked_at = self.clock.now();
        // Another request's may have come between the look at what is known and the joining of this flight.
        if let Some(known) = self.known_of(&digest, asked_at) {
            return known;
        }
        let actor = match &self.actor {
            Some(actor) => Some(actor.obtain(asked_at).await?),
            None => None,
        };
        let actor = actor.as_ref().map(|held| &held.token);
        let grant = Grant::Exchange { subject: &subject, actor, target: self.target.borrow() };
        let answered = self.registration.redeem(grant).await;
        let (field, until, counter) = match answered {
            Ok(set) => {
                let Some(field) = bearer(&set.access_token) else {
                    return Err(self.outage(&TokenError::Malformed("`access_token` is no field value")).into());
                };
                let until = set.good_until(asked_at).min(caller.expires_at);
                (Some(field), until, &self.tally.issued)
            }
            Err(error) if is_no(&error) => {
                tracing::info!(client = self.client(), %error, "a caller's token is not exchanged");
                (None, asked_at.plus(NO_FOR), &self.tally.refused)
            }
            Err(error) => return Err(self.outage(&error).into()),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let kept = Kept { field: field.clone(), until, of: Of::caller(&caller) };
        let now = self.era();
        if *now == era {
            self.known.insert(digest, kept);
        }
        drop(now);
        field.ok_or(ExchangeError::Refused)
    }

    fn era(&self) -> MutexGuard<'_, u64> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outage(&self, error: &TokenError) -> NoToken {
        let reason = match error {
            TokenError::Refused(_) => Reason::UpstreamTokenRefused,
            TokenError::Malformed(_) | TokenError::Unreachable(_) => Reason::UpstreamTokenUnavailable,
        };
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(client = self.client(), reason = reason.code(), %error, "a caller's token could not be exchanged");
        NoToken { reason, retry_after: Duration::from_secs(1) }
    }

    /// Forgets what was got for a token.
    pub fn forget_token(&self, token: &Secret) {
        *self.era() += 1;
        self.known.invalidate(&self.key.digest(token.expose().as_bytes()));
    }

    /// Forgets what was got for callers of whom this is true; of one issuer, if one is named, by its name or identifier.
    pub fn forget_callers(&self, issuer: Option<&str>, is_meant: impl Fn(&Of) -> bool) {
        *self.era() += 1;
        for (digest, kept) in &self.known {
            let is_of_issuer = issuer.is_none_or(|wanted| kept.of.issuer.iter().any(|name| **name == *wanted));
            if is_of_issuer && is_meant(&kept.of) {
                self.known.invalidate(&*digest);
            }
        }
    }
}

/// Whether the issuer means the caller, and not us (RFC 8693 section 2.2.2, RFC 6749 section 5.2).
const fn is_no(error: &TokenError) -> bool {
    match error {
        TokenError::Refused(
            OAuthError::InvalidClient | OAuthError::UnauthorizedClient | OAuthError::UnsupportedGrantType,
        )
        | TokenError::Malformed(_)
        | TokenError::Unreachable(_) => false,
        TokenError::Refused(_) => true,
    }
}

impl std::fmt::Debug for TokenExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenExchange({})", self.client())
    }
}
