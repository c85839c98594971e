//! How strong, and how recent, the authentication behind a token must be (RFC 9470). Comes in: the claims `acr` and
//! `auth_time`. Goes out: nothing, or the denial from which the challenge is written.

use std::sync::Arc;
use std::time::Duration;

use super::Denial;
use crate::caller::Claims;
use crate::clock::Time;
use crate::reason::Reason;

/// A clock that is further ahead than this, or milliseconds taken for seconds, would make every sign-in recent.
const MOST_AHEAD: Duration = Duration::from_secs(60);

/// A demand on the authentication event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    acr: Box<[Box<str>]>,
    /// Space-separated, in order of preference (RFC 9470 section 3).
    acr_values: Option<Arc<str>>,
    max_age: Option<Duration>,
}

impl StepUp {
    /// An empty `acr` accepts any; no `max_age` accepts any age.
    pub fn new(acr: &[String], max_age: Option<Duration>) -> Self {
        let acr_values = (!acr.is_empty()).then(|| acr.join(" ").into());
        Self { acr: acr.iter().map(|value| value.as_str().into()).collect(), acr_values, max_age }
    }

    pub(super) fn check(&self, claims: &Claims, now: Time) -> Result<(), Denial> {
        let acr = claims.get("acr").and_then(|value| value.as_str());
        if !self.acr.is_empty() && !acr.is_some_and(|acr| self.acr.iter().any(|wanted| **wanted == *acr)) {
            return Err(self.denial(Reason::StepUpAcr));
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        // A token that does not say when its subject authenticated can't show that it was recently.
        match auth_time(claims) {
            Some(at) if at <= now.plus(MOST_AHEAD) && now.since(at) <= max_age => Ok(()),
            _ => Err(self.denial(Reason::StepUpAge)),
        }
    }

    /// Names the whole demand, so that the next token answers it at once.
    fn denial(&self, reason: Reason) -> Denial {
        Denial::StepUp {
            reason,
            acr_values: self.acr_values.clone(),
            max_age: self.max_age.map(|max_age| max_age.as_secs()),
        }
    }
}

/// `auth_time` is a NumericDate (OIDC Core section 2), which may have a fraction (RFC 7519 section 2).
fn auth_time(claims: &Claims) -> Option<Time> {
    let value = claims.get("auth_time")?;
    if let Some(seconds) = value.as_u64() {
        return Some(Time::from_seconds(seconds));
    }
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, saturating")]
    let millis = (seconds * 1000.0) as u64;
    Some(Time::from_millis(millis))
}

impl std::fmt::Display for StepUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.acr_values, self.max_age) {
            (Some(acr), Some(age)) => write!(f, "authenticated with acr {acr}, at most {}s ago", age.as_secs()),
            (Some(acr), None) => write!(f, "authenticated with acr {acr}"),
            (None, Some(age)) => write!(f, "authenticated at most {}s ago", age.as_secs()),
            (None, None) => f.write_str("authenticated in any way"),
        }
    }
}
