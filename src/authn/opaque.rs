//! Tokens that only their issuer can read. Comes in: a token that the memory of tokens does not know. Goes out: its
//! [`Caller`], that it is none, or that nobody can say now.
//!
//! The order: what this process was answered, what replicas were answered, the issuer. A question runs on Control and is
//! one for all who wait for it. Errors are remembered nowhere; what the issuer said is, positive and negative apart.

mod alive;
mod sharing;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::AuthnError;
use super::answers::{AnswerLimits, Answers, AskedIn, Recalled};
use super::budget::Budget;
use super::cache::{Answered, Era, TokenMemory};
use super::forget::{self, Forget, Tokens};
use super::presented::Token;
use super::shared::SharedAnswers;
use super::tally::IntrospectionTally;
use crate::caller::{Caller, Claims};
use crate::clock::{Clock, Tick, Time};
use crate::control::Control;
use crate::flight::{Flight, FlightError};
use crate::idp::Issuer;
use crate::idp::breaker::{BreakerState, Leave, LeftAlone};
use crate::idp::introspect::{Freshness, IntrospectError, Introspected, Introspector};
use crate::reason::Reason;
use crate::seal::{Secret, TokenDigest};

/// When to come back after an outage that says nothing of its length.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Tokens that are looked into at once, for each question that may be under way: what lies in the second level needs none.
const LOOKS: usize = 16;

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
    /// Places for questions to the issuer.
    places: Arc<Semaphore>,
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
    /// The claims of a JWT that was checked here: only its life is asked about.
    pub own: Option<&'a Claims>,
}

/// The same, for a question that outlives its request.
struct Question {
    token: Secret,
    digest: TokenDigest,
    /// On whose budget it is, if it turns out to be none.
    client: Option<IpAddr>,
    era: Era,
    /// By what a JWT can be forgotten, whatever its issuer answers.
    own: Option<Claims>,
    asked: AskedIn,
}

/// What is at hand about a token.
enum Looked {
    Told(Verdict),
    Unsettled {
        /// Serves until then, if the issuer can't be asked.
        stale: Option<(Claims, Tick)>,
        was_good: bool,
    },
}

/// All that a question to the issuer needs.
struct Way {
    leave: Leave,
    place: OwnedSemaphorePermit,
}

enum NotAsked {
    /// There is an answer.
    Told(Verdict),
    LeftAlone(LeftAlone),
    Busy,
    TooMany(Duration),
}

impl Introspection {
    pub fn new(introspector: Introspector, settings: IntrospectionSettings, wiring: IntrospectionWiring) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            introspector,
            answers: Answers::new(settings.answers),
            flight: Flight::new(wiring.control.clone(), settings.concurrency.saturating_mul(LOOKS)),
            places: Arc::new(Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS))),
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
        self.settings.concurrency.saturating_sub(self.places.available_permits())
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
        let asked = self.answers.era();
        let (stale, was_good) = match self.look(&shown) {
            Looked::Told(verdict) => return verdict,
            Looked::Unsettled { stale, was_good } => (stale, was_good),
        };
        let verdict = self.ask_once(&shown, asked, was_good).await;
        match stale {
            Some(stale) if matches!(verdict, Err(AuthnError::Unavailable { .. })) => {
                self.still_alive(stale, &shown, asked).map_or(verdict, Ok)
            }
            _ => verdict,
        }
    }

    /// What this process was answered.
    fn look(&self, shown: &Shown<'_>) -> Looked {
        let unsettled = |stale, was_good| Looked::Unsettled { stale, was_good };
        match self.answers.recall(&shown.digest, self.wiring.clock.tick()) {
            Recalled::Fresh { members, until, size } => {
                match self.alive(members, shown.now, until, shown.own.is_some()) {
                    Ok((alive, stated)) => {
                        self.tally.positive.fetch_add(1, Ordering::Relaxed);
                        self.remember(shown, &alive, &stated, size);
                        Looked::Told(Ok(alive))
                    }
                    Err(_) => unsettled(None, true),
                }
            }
            Recalled::Refused(reason) => {
                self.tally.negative.fetch_add(1, Ordering::Relaxed);
                Looked::Told(Err(AuthnError::Invalid(reason)))
            }
            Recalled::Stale { members, until } => unsettled(Some((members, until)), true),
            Recalled::WasGood => unsettled(None, true),
            Recalled::Nothing => unsettled(None, false),
        }
    }

    /// What an answer that is too old still says while the issuer can't be asked, unless something was forgotten since;
    /// never past the token's own end, skew or not. The wait for the issuer counts.
    fn still_alive(&self, (members, until): (Claims, Tick), shown: &Shown<'_>, asked: AskedIn) -> Option<Alive> {
        let (now, tick) = (self.wiring.clock.now(), self.wiring.clock.tick());
        let (alive, stated) = self.alive(members, now, tick, shown.own.is_some()).ok()?;
        let is_in_time = now < stated.expires_at && tick < until && self.answers.era() == asked;
        self.tally.stale.fetch_add(u64::from(is_in_time), Ordering::Relaxed);
        is_in_time.then_some(alive)
    }

    async fn ask_once(self: &Arc<Self>, shown: &Shown<'_>, asked: AskedIn, was_good: bool) -> Verdict {
        // Junk costs; what was good, or what its issuer has signed, is no junk.
        let client = shown.client.filter(|_| !was_good && shown.own.is_none());
        let begin = || {
            // Nothing lands while this runs: what has landed since the first look is found by this one.
            if let Looked::Told(verdict) = self.look(shown) {
                return Err(NotAsked::Told(verdict));
            }
            let allowed = self.budget.check(client, self.wiring.clock.tick()).map_err(NotAsked::TooMany);
            // With a second level the way to the issuer is sought once that has not helped.
            let way = match self.wiring.shared {
                None => Ok(Some(allowed.and_then(|()| self.way())?)),
                Some(_) => allowed.map(|()| None),
            };
            let (token, own) = (Secret::new(shown.token.expose().to_owned()), shown.own.map(forget::names_of));
            let question = Question { token, digest: shown.digest, client, era: shown.era, own, asked };
            Ok(Arc::clone(self).ask(question, way))
        };
        match self.flight.join((shown.digest, asked), begin).await {
            Ok(verdict) => verdict,
            Err(FlightError::Refused(not_asked)) => self.not_asked(not_asked),
            Err(FlightError::Full) => self.not_asked(NotAsked::Busy),
            Err(FlightError::Lost) => {
                Err(AuthnError::Unavailable { reason: Reason::IntrospectionUnreachable, retry_after: RETRY_AFTER })
            }
        }
    }

    fn way(&self) -> Result<Way, NotAsked> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NotAsked::Busy)?;
        let leave = self.introspector.leave().map_err(NotAsked::LeftAlone)?;
        Ok(Way { leave, place })
    }

    fn not_asked(&self, not_asked: NotAsked) -> Verdict {
        match not_asked {
            NotAsked::Told(verdict) => verdict,
            NotAsked::LeftAlone(left) => self.failed(&left.into()),
            NotAsked::Busy => {
                self.tally.busy.fetch_add(1, Ordering::Relaxed);
                Err(AuthnError::Unavailable { reason: Reason::IntrospectionBusy, retry_after: RETRY_AFTER })
            }
            NotAsked::TooMany(retry_after) => {
                self.tally.over_budget.fetch_add(1, Ordering::Relaxed);
                Err(AuthnError::TooMany { retry_after })
            }
        }
    }

    async fn ask(self: Arc<Self>, question: Question, way: Result<Option<Way>, NotAsked>) -> Verdict {
        if let Some(alive) = self.shared(&question).await {
            return Ok(alive);
        }
        let Way { leave, place } = match way.and_then(|way| way.map_or_else(|| self.way(), Ok)) {
            Ok(way) => way,
            Err(not_asked) => return self.not_asked(not_asked),
        };
        let begun = self.wiring.clock.micros();
        let told = self.introspector.ask(leave, &question.token).await;
        drop(place);
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
        let (mut alive, stated) = match self.alive(members, now, tick, question.own.is_some()) {
            Ok(alive) => alive,
            Err(reason) => {
                self.explain(reason);
                self.tally.refused.fetch_add(1, Ordering::Relaxed);
                return self.refused(question, reason);
            }
        };
        self.tally.active.fetch_add(1, Ordering::Relaxed);
        let life = self.answers.lifetime(stated.expires_at, now, freshness).saturating_sub(took);
        if life.is_zero() {
            self.answers.note_good(question.digest, question.asked);
            return Ok(alive);
        }
        alive.answered.until = tick.plus(life);
        let none = Claims::new();
        let said = (&kept, question.own.as_ref().unwrap_or(&none));
        if let Some(size) = self.answers.keep(question.digest, said, alive.answered.until, question.asked) {
            self.remember_for(question, &alive, &stated, size);
            self.share(question, kept, now.plus(life), life);
        }
        Ok(alive)
    }

    /// A provider that says of no token whom it is for makes all of them fail: the log says which key is about that.
    fn explain(&self, reason: Reason) {
        if reason == Reason::TokenAudienceMissing {
            tracing::warn!(
                issuer = &*self.issuer().settings().name,
                key = "introspection.missing_audience",
                "a token was refused: the introspection answer has no `aud`; `missing_audience: accept` takes such answers"
            );
        }
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

    pub(super) fn forget(&self, forget: &Forget, forgotten: &mut HashSet<TokenDigest>) {
        if !self.is_meant(forget) {
            return;
        }
        let digest = match &forget.tokens {
            Tokens::Token(token) => Some(self.wiring.memory.digest(token.expose())),
            _ => None,
        };
        self.answers.forget(forget, digest, forgotten);
    }

    fn is_meant(&self, forget: &Forget) -> bool {
        let settings = self.issuer().settings();
        forget.is_of_issuer(&settings.name, &settings.issuer)
    }
}

#[cfg(test)]
mod tests;
