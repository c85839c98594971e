//! Postern's own token on upstream requests (RFC 6749 section 4.4). Comes in: who Postern is to the issuer, and what the
//! token is for. Goes out: a field value that is good now. A token at hand costs a load and a count; it is renewed behind
//! the requests that use it, ahead of its end, by one request of ours however many ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::clock::{Clock, Time};
use crate::control::Control;
use crate::flight::{Flight, FlightError};
use crate::idp::token::{Grant, Target};
use crate::idp::{Registration, TokenError, TokenSet};
use crate::reason::Reason;
use crate::seal::Secret;

/// Between two renewals that upstreams force by refusing a token.
const FORCED_APART: Duration = Duration::from_secs(10);

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a token is asked for; `None` leaves it to the issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenTarget {
    /// Space-separated.
    pub scope: Option<Box<str>>,
    pub audience: Option<Box<str>>,
    pub resource: Option<Box<str>>,
}

impl TokenTarget {
    pub(super) fn borrow(&self) -> Target<'_> {
        Target { scope: self.scope.as_deref(), audience: self.audience.as_deref(), resource: self.resource.as_deref() }
    }
}

/// In words: `scope read, audience inventory`; nothing where all is left to the issuer.
impl std::fmt::Display for TokenTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)];
        let said = named.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
        said.enumerate()
            .try_for_each(|(index, (name, text))| write!(f, "{}{name} {text}", if index > 0 { ", " } else { "" }))
    }
}

/// Why there is no token to send up. The client is not at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no token for the upstream: {reason}")]
pub struct NoToken {
    pub reason: Reason,
    pub retry_after: Duration,
}

/// What became of requests for tokens.
#[derive(Debug, Default)]
pub struct TokenTally {
    pub issued: AtomicU64,
    pub refused: AtomicU64,
    pub failed: AtomicU64,
}

/// How a token of Postern's own is, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnStanding {
    /// How long the one at hand serves; `None` without one.
    pub good_for: Option<Duration>,
    /// Why the last question brought none.
    pub trouble: Option<Reason>,
}

/// A token of Postern's own. Shared by all routes and workers that send it.
pub struct OwnToken {
    registration: Arc<Registration>,
    target: TokenTarget,
    clock: Clock,
    control: Control,
    held: ArcSwapOption<Held>,
    flight: Flight<(), Result<Arc<Held>, NoToken>>,
    trouble: Mutex<Trouble>,
    tally: TokenTally,
}

/// A token, ready to be sent.
pub(super) struct Held {
    pub(super) token: Secret,
    pub(super) field: HeaderValue,
    /// Counts the tokens, so that a refusal is laid to the one that was sent.
    pub(super) number: u64,
    renew_at: Time,
    good_until: Time,
}

#[derive(Default)]
struct Trouble {
    failures: u32,
    /// Nobody is asked before.
    paused: Option<(Time, NoToken)>,
    /// The token that an upstream refused last, and when.
    refused: Option<(u64, Time)>,
}

impl OwnToken {
    pub fn new(registration: Arc<Registration>, target: TokenTarget, clock: Clock, control: Control) -> Arc<Self> {
        let flight = Flight::new(control.clone(), 1);
        Arc::new(Self {
            registration,
            target,
            clock,
            control,
            held: ArcSwapOption::empty(),
            flight,
            trouble: Mutex::default(),
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

    pub fn standing(&self) -> OwnStanding {
        let now = self.clock.now();
        let left = self.held.load().as_ref().map(|held| held.good_until.since(now));
        let trouble = self.trouble().paused.map(|(_, outage)| outage.reason);
        OwnStanding { good_for: left.filter(|left| !left.is_zero()), trouble }
    }

    /// The token that is good now, if one is there; its renewal begins behind the request once it is due.
    pub(super) fn at_hand(self: &Arc<Self>, now: Time) -> Option<(HeaderValue, u64)> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| now < held.good_until)?;
        if now >= held.renew_at {
            self.renew_behind(held.number, now);
        }
        Some((held.field.clone(), held.number))
    }

    fn renew_behind(self: &Arc<Self>, number: u64, now: Time) {
        if self.flight.under_way() > 0 || self.paused(now).is_some() {
            return;
        }
        let token = Arc::clone(self);
        self.control.start(async move {
            // What fails is logged, and the token at hand serves on.
            let _ = token.after(number).await;
        });
    }

    /// A token that is good now, fetched if need be.
    ///
    /// # Errors
    /// [`NoToken`] when none can be had.
    pub(super) async fn obtain(self: &Arc<Self>, now: Time) -> Result<Arc<Held>, NoToken> {
        let held = self.held.load_full();
        let number = held.as_ref().map_or(0, |held| held.number);
        if let Some(held) = held.filter(|held| now < held.good_until) {
            return Ok(held);
        }
        match self.paused(now) {
            Some(outage) => Err(outage),
            None => self.after(number).await,
        }
    }

    /// Another token in place of the one with this number, which an upstream refused: once for each token, and not again
    /// and again for an upstream that refuses every one.
    pub(super) async fn instead_of(self: &Arc<Self>, number: u64, now: Time) -> Option<HeaderValue> {
        if self.held.load().as_ref().is_some_and(|held| held.number > number) {
            // Should that one be over by now, there is a next.
            return self.obtain(now).await.ok().map(|held| held.field.clone());
        }
        {
            let mut trouble = self.trouble();
            match trouble.refused {
                Some((refused, _)) if refused == number => {}
                Some((_, at)) if now < at.plus(FORCED_APART) => return None,
                _ => trouble.refused = Some((number, now)),
            }
        }
        if self.paused(now).is_some() {
            return None;
        }
        self.after(number).await.ok().map(|held| held.field.clone())
    }

    pub(super) fn instead_behind(self: &Arc<Self>, number: u64, now: Time) {
        if self.flight.under_way() == 0 {
            let token = Arc::clone(self);
            self.control.start(async move {
                let _ = token.instead_of(number, now).await;
            });
        }
    }

    /// The token that follows the one with this number, 0 for the first.
    async fn after(self: &Arc<Self>, number: u64) -> Result<Arc<Held>, NoToken> {
        let token = Arc::clone(self);
        let joined = self.flight.join((), || Ok::<_, std::convert::Infallible>(token.fetch(number)));
        joined.await.unwrap_or_else(|error| match error {
            FlightError::Refused(never) => match never {},
            FlightError::Full | FlightError::Lost => {
                Err(NoToken { reason: Reason::UpstreamTokenUnavailable, retry_after: Duration::from_secs(1) })
            }
        })
    }

    /// One request to the issuer. Every wait in it has a bound: see `idp::registration`.
    async fn fetch(self: Arc<Self>, after: u64) -> Result<Arc<Held>, NoToken> {
        // Another request's may have come between the look at what is held and the joining of this flight.
        if let Some(held) = self.held.load_full().filter(|held| held.number > after) {
            return Ok(held);
        }
        let asked_at = self.clock.now();
        let answered = self.registration.redeem(Grant::ClientCredentials(self.target.borrow())).await;
        let held = answered.and_then(|set| self.hold(&set, asked_at));
        match held {
            Ok(held) => {
                self.tally.issued.fetch_add(1, Ordering::Relaxed);
                let mut trouble = self.trouble();
                (trouble.failures, trouble.paused) = (0, None);
                self.held.store(Some(Arc::clone(&held)));
                Ok(held)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn hold(&self, set: &TokenSet, asked_at: Time) -> Result<Arc<Held>, TokenError> {
        let field = bearer(&set.access_token).ok_or(TokenError::Malformed("`access_token` is no field value"))?;
        let number = self.held.load().as_ref().map_or(1, |held| held.number + 1);
        Ok(Arc::new(Held {
            token: set.access_token.clone(),
            field,
            number,
            renew_at: asked_at.plus(set.life() * 4 / 5),
            good_until: set.good_until(asked_at),
        }))
    }

    fn failed(&self, error: &TokenError) -> NoToken {
        let (reason, counter) = match error {
            TokenError::Refused(_) => (Reason::UpstreamTokenRefused, &self.tally.refused),
            TokenError::Malformed(_) | TokenError::Unreachable(_) => {
                (Reason::UpstreamTokenUnavailable, &self.tally.failed)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(client = self.client(), reason = reason.code(), %error, "no token for the upstream");
        let mut trouble = self.trouble();
        trouble.failures = trouble.failures.saturating_add(1);
        let pause = Duration::from_secs(1 << (trouble.failures - 1).min(5)).min(LONGEST_PAUSE);
        let outage = NoToken { reason, retry_after: pause };
        trouble.paused = Some((self.clock.now().plus(pause), outage));
        outage
    }

    /// The outage, while the issuer is left in peace after it.
    fn paused(&self, now: Time) -> Option<NoToken> {
        let (until, outage) = self.trouble().paused?;
        let left = until.since(now);
        (!left.is_zero()).then_some(NoToken { retry_after: left, ..outage })
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `Authorization` with a token; `None` for what no field can hold.
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut field = HeaderValue::from_str(&text).ok()?;
    field.set_sensitive(true);
    Some(field)
}

impl std::fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnToken({})", self.client())
    }
}
