//! Tokens that only their issuer can read. Comes in: a token that the memory of tokens does not know. Goes out: its
//! [`Caller`], that it is none, or that nobody can say now.
//!
//! The order: what this process was answered, what replicas were answered, the issuer. A question runs on Control and is
//! one for all who wait for it. Errors are remembered nowhere; what the issuer said is, positive and negative apart.

mod replicas;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::AuthnError;
use super::answers::{AnswerLimits, Answers, AskedIn, Recalled};
use super::budget::Budget;
use super::cache::{Answered, Era, Remembered, TokenMemory};
use super::presented::Token;
use super::shared::SharedAnswers;
use super::tally::IntrospectionTally;
use crate::caller::{Caller, Claims, How, Identity};
use crate::clock::{Clock, Tick, Time};
use crate::control::Control;
use crate::flight::{Flight, FlightError};
use crate::idp::Issuer;
use crate::idp::breaker::{BreakerState, Leave, LeftAlone};
use crate::idp::introspect::{Freshness, IntrospectError, Introspected, Introspector};
use crate::jose::claims::{Stated, answer};
use crate::reason::Reason;
use crate::seal::{Secret, TokenDigest};

/// When to come back after an outage that says nothing of its length.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How the answers of one issuer are kept and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntrospectionSettings {
    pub answers: AnswerLimits,
    /// An answer without `aud` is refused where the issuer has audiences.
    pub needs_audience: bool,
    /// Questions under way at once.
    pub concurrency: usize,
    /// Tokens that are none, by client address and minute; 0 is no limit.
    pub failures_per_client: u32,
}

/// What an [`Introspection`] is wired to.
#[derive(Clone, Debug)]
pub struct IntrospectionWiring {
    pub clock: Clock,
    pub control: Control,
    /// The memory of tokens that the routes use.
    pub memory: Arc<TokenMemory>,
    /// What replicas share, if anything.
    pub shared: Option<Arc<dyn SharedAnswers>>,
}

/// One issuer's tokens by introspection. Shared by all workers and all routes.
#[derive(Debug)]
pub struct Introspection {
    id: u64,
    introspector: Introspector,
    settings: IntrospectionSettings,
    wiring: IntrospectionWiring,
    answers: Answers,
    flight: Flight<(TokenDigest, AskedIn), Verdict>,
    budget: Budget,
    tally: IntrospectionTally,
}

/// What is known of a token in the end. An error is `Invalid`, `Unavailable` (nobody can say now), or `TooMany`.
pub(super) type Verdict = Result<Alive, AuthnError>;

/// A token that is active, as far as its issuer is concerned.
#[derive(Clone, Debug)]
pub(super) struct Alive {
    pub caller: Arc<Caller>,
    /// What was answered holds so long.
    pub answered: Answered,
}

/// A token, and who shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub token: Token<'a>,
    pub digest: TokenDigest,
    pub now: Time,
    pub client: Option<IpAddr>,
    /// When the check began.
    pub era: Era,
    /// It is a JWT that was checked here: only its life is asked about.
    pub is_jwt: bool,
}

/// The same, for a question that outlives its request.
struct Question {
    token: Secret,
    digest: TokenDigest,
    client: Option<IpAddr>,
    era: Era,
    is_jwt: bool,
    asked: AskedIn,
    leave: Option<Leave>,
}

enum NotAsked {
    LeftAlone(LeftAlone),
    TooMany(Duration),
}

impl Introspection {
    pub fn new(introspector: Introspector, settings: IntrospectionSettings, wiring: IntrospectionWiring) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            introspector,
            answers: Answers::new(settings.answers),
            flight: Flight::new(wiring.control.clone(), settings.concurrency),
            budget: Budget::new(settings.failures_per_client),
            tally: IntrospectionTally::default(),
            settings,
            wiring,
        })
    }

    pub fn issuer(&self) -> &Arc<Issuer> {
        self.introspector.issuer()
    }

    /// Whom it asks, to try that by hand.
    pub const fn introspector(&self) -> &Introspector {
        &self.introspector
    }

    pub const fn tally(&self) -> &IntrospectionTally {
        &self.tally
    }

    pub fn breaker(&self) -> BreakerState {
        self.introspector.breaker()
    }

    /// Why the last question that failed did.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.introspector.last_error()
    }

    /// Questions under way.
    pub fn under_way(&self) -> usize {
        self.flight.under_way()
    }

    /// How often a request waited for the question of another.
    pub fn coalesced(&self) -> u64 {
        self.flight.coalesced()
    }

    /// Positive answers and their bytes, and negative answers.
    pub fn kept(&self) -> (u64, u64, u64) {
        self.answers.counts()
    }

    /// Whether what the memory of tokens holds still rests on an answer of this issuer that may be relied on.
    pub(super) fn holds(&self, answered: &Answered) -> bool {
        let holds = answered.by == self.id && self.wiring.clock.tick() < answered.until;
        if holds {
            self.tally.positive.fetch_add(1, Ordering::Relaxed);
        }
        holds
    }

    /// Finds out whether a token is active.
    pub(super) async fn judge(self: &Arc<Self>, shown: Shown<'_>) -> Verdict {
        let tick = self.wiring.clock.tick();
        let asked = self.answers.era();
        let stale = match self.answers.recall(&shown.digest, tick) {
            Recalled::Fresh { members, until, size } => {
                if let Ok((alive, stated)) = self.alive(members, shown.now, until, shown.is_jwt) {
                    self.tally.positive.fetch_add(1, Ordering::Relaxed);
                    self.remember(&shown, &alive, &stated, size);
                    return Ok(alive);
                }
                None
            }
            Recalled::Stale { members } => Some(members),
            Recalled::Refused(reason) => {
                self.tally.negative.fetch_add(1, Ordering::Relaxed);
                return Err(AuthnError::Invalid(reason));
            }
            Recalled::Nothing => None,
        };
        let verdict = self.ask_once(&shown, asked, tick).await;
        match stale {
            Some(members) if matches!(verdict, Err(AuthnError::Unavailable { .. })) => {
                self.still_alive(members, &shown, tick).map_or(verdict, Ok)
            }
            _ => verdict,
        }
    }

    /// What an answer that is too old still says while the issuer can't be asked; never past the token's own end, skew or
    /// not.
    fn still_alive(&self, members: Claims, shown: &Shown<'_>, tick: Tick) -> Option<Alive> {
        let (alive, stated) = self.alive(members, shown.now, tick, shown.is_jwt).ok()?;
        let is_in_time = shown.now < stated.expires_at;
        self.tally.stale.fetch_add(u64::from(is_in_time), Ordering::Relaxed);
        is_in_time.then_some(alive)
    }

    async fn ask_once(self: &Arc<Self>, shown: &Shown<'_>, asked: AskedIn, tick: Tick) -> Verdict {
        let begin = || {
            self.budget.check(shown.client, tick).map_err(NotAsked::TooMany)?;
            // With a second level the leave is taken once that has not helped.
            let leave = match self.wiring.shared {
                None => Some(self.introspector.leave().map_err(NotAsked::LeftAlone)?),
                Some(_) => None,
            };
            let token = Secret::new(shown.token.expose().to_owned());
            let Shown { digest, client, era, is_jwt, .. } = *shown;
            Ok(Arc::clone(self).ask(Question { token, digest, client, era, is_jwt, asked, leave }))
        };
        match self.flight.join((shown.digest, asked), begin).await {
            Ok(verdict) => verdict,
            Err(FlightError::Refused(NotAsked::TooMany(retry_after))) => {
                self.tally.over_budget.fetch_add(1, Ordering::Relaxed);
                Err(AuthnError::TooMany { retry_after })
            }
            Err(FlightError::Refused(NotAsked::LeftAlone(left))) => self.failed(&left.into()),
            Err(FlightError::Full) => {
                self.tally.busy.fetch_add(1, Ordering::Relaxed);
                Err(AuthnError::Unavailable { reason: Reason::IntrospectionBusy, retry_after: RETRY_AFTER })
            }
            Err(FlightError::Lost) => {
                Err(AuthnError::Unavailable { reason: Reason::IntrospectionUnreachable, retry_after: RETRY_AFTER })
            }
        }
    }

    async fn ask(self: Arc<Self>, mut question: Question) -> Verdict {
        if let Some(alive) = self.shared(&question).await {
            return Ok(alive);
        }
        let leave = match question.leave.take().map_or_else(|| self.introspector.leave(), Ok) {
            Ok(leave) => leave,
            Err(left) => return self.failed(&left.into()),
        };
        let begun = self.wiring.clock.micros();
        let told = self.introspector.ask(leave, &question.token).await;
        let took = self.wiring.clock.micros().saturating_sub(begun);
        self.tally.latency.observe(took);
        match told {
            Err(error) => {
                if error.is_about_the_token() {
                    self.budget.spend(question.client, self.wiring.clock.tick());
                }
                self.failed(&error)
            }
            Ok(Introspected::Active(members, freshness)) => {
                self.active(&question, members, freshness, Duration::from_micros(took))
            }
            Ok(Introspected::Inactive) => {
                self.tally.inactive.fetch_add(1, Ordering::Relaxed);
                self.refused(&question, Reason::TokenInactive)
            }
            Ok(Introspected::Unclear) => {
                self.tally.unclear.fetch_add(1, Ordering::Relaxed);
                // Not what RFC 7662 has for a no, so it is not remembered as one; but it ends what was a yes.
                self.answers.drop_positive(&question.digest);
                self.budget.spend(question.client, self.wiring.clock.tick());
                Err(AuthnError::Invalid(Reason::TokenInactive))
            }
        }
    }

    /// `took`: how long the question took. The answer may have been true at its beginning only, so it is as old as that.
    fn active(self: &Arc<Self>, question: &Question, members: Claims, freshness: Freshness, took: Duration) -> Verdict {
        let (now, tick) = (self.wiring.clock.now(), self.wiring.clock.tick());
        let kept = members.clone();
        let (mut alive, stated) = match self.alive(members, now, tick, question.is_jwt) {
            Ok(alive) => alive,
            Err(reason) => {
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                return self.refused(question, reason);
            }
        };
        self.tally.active.fetch_add(1, Ordering::Relaxed);
        let life = self.answers.lifetime(stated.expires_at, now, freshness).saturating_sub(took);
        if life.is_zero() {
            self.answers.drop_positive(&question.digest);
            return Ok(alive);
        }
        alive.answered.until = tick.plus(life);
        if let Some(size) = self.answers.keep(question.digest, &kept, alive.answered.until, question.asked) {
            self.remember_for(question, &alive, &stated, size);
            self.share(question, kept, now.plus(life), life);
        }
        Ok(alive)
    }

    fn refused(&self, question: &Question, reason: Reason) -> Verdict {
        let tick = self.wiring.clock.tick();
        self.answers.refuse(question.digest, reason, tick, question.asked);
        self.wiring.memory.forget(&question.digest);
        self.budget.spend(question.client, tick);
        Err(AuthnError::Invalid(reason))
    }

    fn failed(&self, error: &IntrospectError) -> Verdict {
        let retry_after = match error {
            IntrospectError::LeftAlone(left) => left.retry_after,
            _ => RETRY_AFTER,
        };
        let reason = error.reason();
        self.tally.failed(reason);
        Err(AuthnError::Unavailable { reason, retry_after })
    }

    /// Who the members of an answer make the token's caller, by the issuer's rules and now.
    fn alive(&self, members: Claims, now: Time, until: Tick, is_jwt: bool) -> Result<(Alive, Stated), Reason> {
        let issuer = self.issuer();
        // Whom a JWT is for, its own claims have said.
        let needs_audience = self.settings.needs_audience && !is_jwt;
        let stated = answer::judge(&members, &issuer.expected(), needs_audience, now)?;
        let settings = issuer.settings();
        let caller = Caller::new(Identity {
            issuer: Arc::clone(&settings.name),
            iss: Arc::clone(&settings.issuer),
            subject: stated.subject.clone(),
            client_id: stated.client_id.clone(),
            kind: stated.kind,
            how: How::Introspection,
            scopes: stated.scopes.clone(),
            claims: members,
            expires_at: stated.expires_at,
        });
        let answered = Answered { by: self.id, until };
        Ok((Alive { caller: Arc::new(caller), answered }, stated))
    }

    /// A JWT is remembered by who checked its signature.
    fn remember(&self, shown: &Shown<'_>, alive: &Alive, stated: &Stated, size: usize) {
        if !shown.is_jwt {
            self.put_among_tokens((shown.digest, shown.era), alive, stated, size);
        }
    }

    fn remember_for(&self, question: &Question, alive: &Alive, stated: &Stated, size: usize) {
        if !question.is_jwt {
            self.put_among_tokens((question.digest, question.era), alive, stated, size);
        }
    }

    fn put_among_tokens(&self, (digest, era): (TokenDigest, Era), alive: &Alive, stated: &Stated, size: usize) {
        let remembered = Remembered {
            caller: Arc::clone(&alive.caller),
            issuer: self.issuer().id(),
            generation: None,
            answered: Some(alive.answered),
            usable_from: stated.usable_from,
            // A remembered token ends when it says, not up to a skew later.
            usable_until: stated.expires_at,
        };
        self.wiring.memory.remember(digest, remembered, size, era);
    }
}
