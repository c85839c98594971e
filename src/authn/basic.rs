//! The Basic way (RFC 7617), for callers who know nothing better. Comes in: a name and a password. Goes out: their
//! [`Caller`], remembered or freshly found out: the issuer is shown them once (RFC 6749 sections 4.3 and 4.4), and the
//! token that it gives is judged as any bearer token of that issuer.
//!
//! Only a keyed digest of the pair is kept, beside the token. One question at a time for each pair; wrong ones are counted
//! for the name and for the address, before the issuer is asked.

mod memory;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::AuthnError;
use super::bearer::BearerWay;
use super::budget::{Budget, network};
use super::cross_site;
use super::forget::Forget;
use super::pair::Pair;
use super::presented::Token;
use crate::caller::{Caller, How, Identity, Kind};
use crate::clock::{Clock, Time};
use crate::control::Control;
use crate::flight::{Flight, FlightError};
use crate::idp::token::{Grant, OAuthError, TokenTarget};
use crate::idp::{ClientAuth, ClientIdentity, Registration, TokenError, TokenSet};
use crate::reason::Reason;
use crate::seal::{DigestKey, Secret, TokenDigest};
use crate::wire::Arrival;
use memory::{Era, Kept, Memory, Recalled};
pub use users::{BasicTally, User};
use users::{Outcome, Users};

/// When to come back after an outage.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Pairs that are looked into at once; what the issuer is asked at once is bounded by the registration.
const MOST_AT_ONCE: usize = 1024;

/// A token is put away so long before its end, for the way to the upstream; a short one a tenth earlier.
const MARGIN: Duration = Duration::from_secs(10);

/// How a name and a password become a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicGrant {
    /// A person's (RFC 6749 section 4.3).
    Password,
    /// A machine's id and secret (RFC 6749 section 4.4).
    ClientCredentials,
}

impl BasicGrant {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// How pairs are exchanged and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicSettings {
    pub grant: BasicGrant,
    /// Refresh tokens are used, where they come.
    pub refreshes: bool,
    pub target: TokenTarget,
    /// A pair is believed for at most so long.
    pub ttl: Duration,
    /// A pair that is none is known to be none for so long.
    pub negative_ttl: Duration,
    /// Bytes of tokens that are kept.
    pub bytes: u64,
    /// Wrong passwords by name, and by address, in a minute; 0 is no limit.
    pub failures_per_user: u32,
    pub failures_per_client: u32,
}

/// Exchanges pairs at one issuer. Shared by all workers, and by all routes that ask for the same.
#[derive(Debug)]
pub struct BasicExchange {
    settings: BasicSettings,
    registration: Arc<Registration>,
    /// What tokens of the issuer must be like.
    tokens: BearerWay,
    clock: Clock,
    key: DigestKey,
    memory: Memory,
    flight: Flight<TokenDigest, Verdict>,
    names: Budget<TokenDigest>,
    addresses: Budget<IpAddr>,
}

/// A route's Basic callers.
#[derive(Debug)]
pub struct BasicWay {
    exchange: Arc<BasicExchange>,
    refuses_cross_site: bool,
    tally: BasicTally,
    users: Users,
}

type Verdict = Result<Arc<Caller>, AuthnError>;

/// A pair that the issuer is to be shown, and what is known of it.
struct Question {
    pair: Pair,
    digest: TokenDigest,
    name: Option<TokenDigest>,
    address: Option<IpAddr>,
    era: Era,
    /// It was good, and its token is over.
    known: Option<Arc<Kept>>,
}

impl BasicWay {
    pub fn new(exchange: Arc<BasicExchange>, refuses_cross_site: bool) -> Self {
        Self { exchange, refuses_cross_site, tally: BasicTally::default(), users: Users::default() }
    }

    pub const fn exchange(&self) -> &Arc<BasicExchange> {
        &self.exchange
    }

    pub const fn tally(&self) -> &BasicTally {
        &self.tally
    }

    /// Who passed last by this way, the latest first.
    pub fn users(&self) -> Vec<User> {
        self.users.latest()
    }

    /// What the request shows, if it may be shown here.
    pub(super) fn shown(&self, arrival: &Arrival) -> Result<Pair, AuthnError> {
        let pair = Pair::find(&arrival.headers)?;
        // Browsers send a password that they remember wherever a page has them go: before anything is asked.
        if self.refuses_cross_site && cross_site::is_caused_elsewhere(arrival) {
            self.tally.count(Outcome::Refused);
            return Err(AuthnError::BasicCrossSite);
        }
        Ok(pair)
    }

    pub(super) async fn judge(&self, pair: Pair, now: Time, client: Option<IpAddr>) -> Verdict {
        let verdict = self.exchange.judge(&pair, now, client).await;
        self.tally.count(match &verdict {
            Ok(_) => Outcome::Passed,
            Err(AuthnError::TooManyPasswords { .. }) => Outcome::Limited,
            Err(AuthnError::Unavailable { .. }) => Outcome::Unavailable,
            Err(_) => Outcome::Refused,
        });
        if verdict.is_ok() {
            self.users.saw(pair.name(), now);
        }
        verdict
    }
}

impl BasicExchange {
    /// `tokens`: how far tokens of the registration's issuer are trusted.
    pub fn new(
        settings: BasicSettings,
        registration: Arc<Registration>,
        tokens: BearerWay,
        (clock, control): (Clock, Control),
    ) -> Arc<Self> {
        Arc::new(Self {
            registration,
            tokens,
            clock,
            key: DigestKey::random(),
            memory: Memory::new(settings.bytes),
            flight: Flight::new(control, MOST_AT_ONCE),
            names: Budget::new(settings.failures_per_user),
            addresses: Budget::new(settings.failures_per_client),
            settings,
        })
    }

    pub const fn grant(&self) -> BasicGrant {
        self.settings.grant
    }

    /// Forgets the pairs whose tokens are meant; says how many.
    pub fn forget(&self, forget: &Forget) -> usize {
        self.memory.forget(forget)
    }

    async fn judge(self: &Arc<Self>, pair: &Pair, now: Time, client: Option<IpAddr>) -> Verdict {
        if pair.is_half_empty() {
            return Err(AuthnError::BasicRefused);
        }
        let digest = self.key.digest(pair.whole());
        let era = self.memory.era();
        let known = match self.memory.recall(&digest, self.clock.tick()) {
            Recalled::Refused(error) => return Err(error),
            Recalled::Good(kept) if now < kept.good_until => match self.still_good(&digest, &kept, now, era).await {
                Err(AuthnError::Invalid(_)) => Some(kept),
                verdict => return verdict,
            },
            Recalled::Good(kept) => Some(kept),
            Recalled::Nothing => None,
        };
        self.ask_once(pair, digest, client.map(network), era, known).await
    }

    /// The keys may have changed since, or the issuer may no longer call the token active.
    async fn still_good(&self, digest: &TokenDigest, kept: &Arc<Kept>, now: Time, era: Era) -> Verdict {
        let source = match self.tokens.recall(&kept.token_digest, now) {
            Some(source) => source,
            None => {
                let token = Token::got(&kept.token).ok_or(AuthnError::Invalid(Reason::TokenMalformed))?;
                self.tokens.check(token, kept.token_digest, now, None).await?
            }
        };
        if Arc::ptr_eq(&source, &kept.source) {
            return Ok(Arc::clone(&kept.caller));
        }
        let caller = self.caller(&source, &kept.token, kept.good_until);
        let fresh = Kept { caller: Arc::clone(&caller), source, ..Kept::clone(kept) };
        self.memory.keep(*digest, Arc::new(fresh), era);
        Ok(caller)
    }

    async fn ask_once(
        self: &Arc<Self>,
        pair: &Pair,
        digest: TokenDigest,
        address: Option<IpAddr>,
        era: Era,
        known: Option<Arc<Kept>>,
    ) -> Verdict {
        let name = Some(self.key.digest(pair.name().as_bytes()));
        let begin = || {
            // What landed since the first look.
            match self.memory.recall(&digest, self.clock.tick()) {
                Recalled::Refused(error) => return Err(error),
                Recalled::Good(kept) if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &kept)) => {
                    if self.clock.now() < kept.good_until {
                        return Ok(Landed::There(Ok(Arc::clone(&kept.caller))));
                    }
                }
                _ => {}
            }
            // What was good is no guess.
            let (name, address) = if known.is_some() { (None, None) } else { (name, address) };
            self.allowed(name, address)?;
            let question = Question { pair: pair.clone(), digest, name, address, era, known };
            Ok(Landed::Ask(Arc::clone(self), Box::new(question)))
        };
        let begin = || begin().map(Landed::verdict);
        match self.flight.join(digest, begin).await {
            Ok(verdict) => verdict,
            Err(FlightError::Refused(error)) => Err(error),
            Err(FlightError::Full | FlightError::Lost) => {
                Err(AuthnError::Unavailable { reason: Reason::BasicUnreachable, retry_after: RETRY_AFTER })
            }
        }
    }

    /// Spends one try of the name ahead of the answer, so that many guesses at once are no more than one after the other. An
    /// address stands for many people; there a failure counts once it is one.
    fn allowed(&self, name: Option<TokenDigest>, address: Option<IpAddr>) -> Result<(), AuthnError> {
        let tick = self.clock.tick();
        let too_many = |retry_after| AuthnError::TooManyPasswords { retry_after };
        self.addresses.check(address, tick).map_err(too_many)?;
        self.names.check(name, tick).map_err(too_many)?;
        self.names.spend(name, tick);
        Ok(())
    }

    async fn ask(self: Arc<Self>, question: Question) -> Verdict {
        if let Some(refreshed) = self.refreshed(&question).await {
            return refreshed;
        }
        let asked_at = self.clock.now();
        let answered = self.redeem(&question.pair).await;
        let no = match answered {
            Ok(set) => {
                self.names.give_back(question.name);
                let until = self.clock.tick().plus(self.settings.ttl);
                return self.admit(&question, set, asked_at, (until, None)).await;
            }
            Err(error) => self.no(&error),
        };
        match no {
            AuthnError::BasicRefused => self.addresses.spend(question.address, self.clock.tick()),
            _ => self.names.give_back(question.name),
        }
        if !matches!(no, AuthnError::Unavailable { .. }) {
            self.memory.drop_good(&question.digest);
            self.memory.refuse(question.digest, no, self.clock.tick().plus(self.settings.negative_ttl), question.era);
        }
        Err(no)
    }

    /// By the refresh token, if there is one. `None`: the pair itself must be shown.
    async fn refreshed(&self, question: &Question) -> Option<Verdict> {
        let known = question.known.as_ref()?;
        let token = known.refresh.as_ref().filter(|_| self.settings.refreshes)?;
        let asked_at = self.clock.now();
        match self.registration.redeem(Grant::Refresh { token }).await {
            // The password was shown when it was: a renewal proves nothing of it.
            Ok(set) => Some(self.admit(question, set, asked_at, (known.until, Some(token))).await),
            Err(error) if error.is_outage() => Some(Err(self.no(&error))),
            Err(_) => None,
        }
    }

    async fn redeem(&self, pair: &Pair) -> Result<TokenSet, TokenError> {
        let (password, target) = (pair.password(), self.settings.target.borrow());
        match self.settings.grant {
            BasicGrant::Password => {
                let grant = Grant::Password { username: pair.name(), password: &password, target };
                self.registration.redeem(grant).await
            }
            BasicGrant::ClientCredentials => {
                let auth = ClientAuth::SecretBasic(password);
                let machine = ClientIdentity { client_id: pair.name().into(), auth };
                self.registration.redeem_for(&machine, target).await
            }
        }
    }

    /// Judges the token that was got, and remembers it if it is good. `older`: a refresh token that goes on.
    async fn admit(
        &self,
        question: &Question,
        set: TokenSet,
        asked_at: Time,
        (until, older): (crate::clock::Tick, Option<&Secret>),
    ) -> Verdict {
        let now = self.clock.now();
        let token = Token::got(&set.access_token).ok_or_else(|| self.unusable(Reason::TokenMalformed))?;
        let digest = self.tokens.digest(token).map_err(|error| self.unusable(error.reason()))?;
        let source = match self.tokens.check(token, digest, now, None).await {
            Ok(source) => source,
            Err(AuthnError::Invalid(reason)) => return Err(self.unusable(reason)),
            Err(error) => return Err(error),
        };
        let life = set.expires_in.unwrap_or_else(|| source.expires_at.since(asked_at));
        let good_until = asked_at.plus(life - MARGIN.min(life / 10)).min(source.expires_at);
        let caller = self.caller(&source, &set.access_token, good_until);
        let kept = Kept {
            caller: Arc::clone(&caller),
            source,
            token: set.access_token,
            token_digest: digest,
            refresh: set.refresh_token.or_else(|| older.cloned()).filter(|_| self.settings.refreshes),
            good_until,
            until,
        };
        self.memory.keep(question.digest, Arc::new(kept), question.era);
        Ok(caller)
    }

    /// The caller by whom the token is good, as one who came by this way.
    fn caller(&self, source: &Caller, token: &Secret, good_until: Time) -> Arc<Caller> {
        let caller = Caller::new(Identity {
            issuer: Arc::clone(&source.issuer),
            iss: Arc::clone(&source.iss),
            subject: source.subject.clone(),
            client_id: source.client_id.clone(),
            kind: match self.settings.grant {
                BasicGrant::Password => Kind::User,
                BasicGrant::ClientCredentials => Kind::Machine,
            },
            how: How::Basic,
            scopes: source.scopes.clone(),
            claims: source.claims.clone(),
            expires_at: source.expires_at,
        });
        Arc::new(caller.with_token(token.clone(), Some(good_until)))
    }

    /// What the issuer's no is about: the pair, what was asked for, us, or nothing at all.
    fn no(&self, error: &TokenError) -> AuthnError {
        let client = self.registration.name();
        let ours = |reason: Reason| {
            tracing::warn!(client = &**client, reason = reason.code(), %error, "a name and a password can't be exchanged");
            AuthnError::Unavailable { reason, retry_after: RETRY_AFTER }
        };
        match (error, self.settings.grant) {
            (TokenError::Refused(OAuthError::InvalidGrant | OAuthError::Other(_)), _)
            | (
                TokenError::Refused(OAuthError::InvalidClient | OAuthError::UnauthorizedClient),
                BasicGrant::ClientCredentials,
            ) => {
                tracing::debug!(client = &**client, %error, "a name and a password are not taken");
                AuthnError::BasicRefused
            }
            // It knows them, and gives them less than the route asks for.
            (TokenError::Refused(OAuthError::InvalidScope), _) => AuthnError::NotGranted,
            (TokenError::Refused(_), _) => ours(Reason::BasicClient),
            (TokenError::Malformed(_) | TokenError::Unreachable(_), _) => ours(Reason::BasicUnreachable),
        }
    }

    /// The pair is right, and what the issuer gave for it is no token here: whoever shows it can't help that.
    fn unusable(&self, why: Reason) -> AuthnError {
        let client = &**self.registration.name();
        tracing::warn!(client, why = why.code(), "the token that was got for a name and a password is none here");
        AuthnError::Unavailable { reason: Reason::BasicToken, retry_after: RETRY_AFTER }
    }
}

/// What is to be done for a pair.
enum Landed {
    /// It was done meanwhile.
    There(Verdict),
    Ask(Arc<BasicExchange>, Box<Question>),
}

impl Landed {
    async fn verdict(self) -> Verdict {
        match self {
            Self::There(verdict) => verdict,
            Self::Ask(exchange, question) => exchange.ask(*question).await,
        }
    }
}
