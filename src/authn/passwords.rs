//! Names and passwords, exchanged for tokens (RFC 6749 section 4.3), or a machine's id and secret (section 4.4). Comes in: a
//! pair that somebody showed. Goes out: who it is, by the token that the issuer gave for it.
//!
//! What is remembered lies under a keyed digest: the key is random and of this process alone, so the digest is of no use to
//! whoever reads it elsewhere, and the password itself is gone with its request. Tokens are renewed by their refresh token as
//! long as the password was seen recently enough; beyond that it is asked for anew, so that one that was changed is noticed.

mod exchange;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::AuthnError;
use super::basic::Pair;
use super::bearer::BearerWay;
use super::budget::Limiter;
use super::forget::{Forget, Tokens};
use super::presented::Token;
use super::tally::{PasswordTally, Users};
use crate::caller::{Caller, How, Identity};
use crate::clock::{Clock, Time};
use crate::control::Control;
use crate::flight::Flight;
use crate::idp::Registration;
use crate::reason::Reason;
use crate::seal::{DigestKey, Secret, TokenDigest};

/// What is remembered of pairs that are good. Bytes.
const BYTES: u64 = 64 * 1024 * 1024;

/// Pairs that are none: apart from the good ones, so that they push out none of them.
const REFUSED: u64 = 10_000;

/// Questions to the issuer under way at once.
const MOST_AT_ONCE: usize = 64;

const SOON: Duration = Duration::from_secs(1);

/// By which grant a pair is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairGrant {
    /// A person's name and password (RFC 6749 section 4.3).
    Password,
    /// A machine's id and secret (RFC 6749 section 4.4).
    ClientCredentials,
}

impl PairGrant {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// How pairs are exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PasswordSettings {
    pub grant: PairGrant,
    /// What is asked for, space-separated; `None` leaves it to the issuer.
    pub scope: Option<Box<str>>,
    /// Whom the token is for, by name and by address; `None` leaves it to the issuer.
    pub audience: Option<Box<str>>,
    pub resource: Option<Box<str>>,
    /// The client may use refresh tokens, where they come.
    pub refreshes: bool,
    /// A password that was seen so long ago is asked about anew.
    pub ttl: Duration,
    /// Failures in a minute, for each name and for each client address; 0 is no limit.
    pub failures_per_user: u32,
    pub failures_per_client: u32,
}

/// Pairs of one issuer. Shared by all routes and workers that ask alike.
pub struct Passwords {
    registration: Arc<Registration>,
    settings: PasswordSettings,
    /// Judges the token.
    bearer: BearerWay,
    clock: Clock,
    key: DigestKey,
    known: Cache<TokenDigest, Arc<Kept>>,
    refused: Cache<TokenDigest, (AuthnError, Time)>,
    flight: Flight<TokenDigest, Result<Arc<Kept>, AuthnError>>,
    users: Limiter<TokenDigest>,
    clients: Limiter<IpAddr>,
    /// How often something was forgotten: what was asked before is not put away after.
    era: AtomicU64,
    tally: PasswordTally,
    seen: Users,
}

/// What a pair was exchanged for.
struct Kept {
    token: Secret,
    /// The token's, in the memory of tokens.
    digest: TokenDigest,
    good_until: Time,
    refresh: Option<Secret>,
    /// Until then the password counts as seen.
    seen_until: Time,
    caller: ArcSwapOption<Both>,
}

/// The caller of the token, and the same as one who came by a password.
struct Both {
    by_token: Arc<Caller>,
    by_pair: Arc<Caller>,
}

impl Kept {
    /// About what it costs: the claims grow to a few times the text that they came from, and there are two callers.
    fn bytes(&self) -> u32 {
        let refresh = self.refresh.as_ref().map_or(0, |token| token.expose().len());
        u32::try_from(2048 + 8 * self.token.expose().len() + refresh).unwrap_or(u32::MAX)
    }
}

impl Passwords {
    pub fn new(
        registration: Arc<Registration>,
        settings: PasswordSettings,
        bearer: BearerWay,
        (clock, control): (Clock, Control),
    ) -> Arc<Self> {
        let (users, clients) = (Limiter::new(settings.failures_per_user), Limiter::new(settings.failures_per_client));
        Arc::new(Self {
            registration,
            settings,
            bearer,
            clock,
            key: DigestKey::random(),
            known: Cache::builder()
                .max_capacity(BYTES)
                .weigher(|_, kept: &Arc<Kept>| kept.bytes())
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            refused: Cache::builder().max_capacity(REFUSED).eviction_policy(EvictionPolicy::lru()).build(),
            flight: Flight::new(control, MOST_AT_ONCE),
            users,
            clients,
            era: AtomicU64::new(0),
            tally: PasswordTally::default(),
            seen: Users::default(),
        })
    }

    /// The client's name in the configuration.
    pub fn client(&self) -> &str {
        self.registration.name()
    }

    pub const fn grant(&self) -> PairGrant {
        self.settings.grant
    }

    pub const fn tally(&self) -> &PasswordTally {
        &self.tally
    }

    /// Who showed a pair that was good, lately.
    pub const fn seen(&self) -> &Users {
        &self.seen
    }

    /// Forgets pairs by what their tokens are known by: the next request of each is a question again.
    pub fn forget(&self, forget: &Forget) {
        // First: what is asked meanwhile sees it, or is seen here.
        self.era.fetch_add(1, Ordering::SeqCst);
        for (digest, kept) in &self.known {
            let is_meant = match &forget.tokens {
                Tokens::Token(token) => kept.token.equals(token.expose().as_bytes()),
                // Of whom nothing is known yet, nothing is kept that could be wrong.
                _ => kept.caller.load().as_ref().is_none_or(|both| forget.means(&both.by_token)),
            };
            if is_meant {
                self.known.invalidate(&*digest);
            }
        }
    }

    pub(super) async fn caller(
        self: &Arc<Self>,
        pair: &Pair,
        now: Time,
        client: Option<IpAddr>,
    ) -> Result<Arc<Caller>, AuthnError> {
        let outcome = self.found(pair, now, client).await;
        self.tally.count(&outcome);
        outcome
    }

    async fn found(
        self: &Arc<Self>,
        pair: &Pair,
        now: Time,
        client: Option<IpAddr>,
    ) -> Result<Arc<Caller>, AuthnError> {
        let digest = self.key.digest(pair.whole());
        if let Some(kept) = self.known.get(&digest).filter(|kept| now < kept.good_until && now < kept.seen_until) {
            match self.caller_of(&kept, now).await {
                // Revoked, or no longer believed: the password decides again.
                Err(AuthnError::Invalid(_)) => self.known.invalidate(&digest),
                found => return found,
            }
        }
        let kept = self.exchanged(pair, digest, client).await?;
        self.caller_of(&kept, now).await.map_err(|error| match error {
            AuthnError::Invalid(reason) => {
                tracing::warn!(client = self.client(), reason = reason.code(), "the token for a password is none here");
                AuthnError::Unavailable { reason: Reason::BasicToken, retry_after: SOON }
            }
            other => other,
        })
    }

    /// The caller of the token, judged anew with each request: a token that was remembered costs a look-up.
    async fn caller_of(&self, kept: &Kept, now: Time) -> Result<Arc<Caller>, AuthnError> {
        let by_token = match self.bearer.recall(&kept.digest, now) {
            Some(caller) => caller,
            None => {
                let token = Token::of(kept.token.expose()).ok_or(AuthnError::Invalid(Reason::TokenMalformed))?;
                // On nobody's budget: it is no token that a client made up.
                Box::pin(self.bearer.check(token, kept.digest, now, None)).await?
            }
        };
        if let Some(both) = kept.caller.load().as_ref().filter(|both| Arc::ptr_eq(&both.by_token, &by_token)) {
            return Ok(Arc::clone(&both.by_pair));
        }
        let by_pair = Arc::new(by_pair(&by_token).with_token(kept.token.clone(), Some(kept.good_until)));
        kept.caller.store(Some(Arc::new(Both { by_token, by_pair: Arc::clone(&by_pair) })));
        Ok(by_pair)
    }
}

fn unavailable(reason: Reason) -> AuthnError {
    AuthnError::Unavailable { reason, retry_after: SOON }
}

/// The same caller, who came by name and password.
fn by_pair(caller: &Caller) -> Caller {
    Caller::new(Identity {
        issuer: Arc::clone(&caller.issuer),
        iss: Arc::clone(&caller.iss),
        subject: caller.subject.clone(),
        client_id: caller.client_id.clone(),
        kind: caller.kind,
        how: How::Basic,
        scopes: caller.scopes.clone(),
        claims: caller.claims.clone(),
        expires_at: caller.expires_at,
    })
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Passwords({})", self.client())
    }
}
