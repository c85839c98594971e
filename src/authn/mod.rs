//! Who is it? Comes in: a request and the ways in which its route lets callers identify themselves. Goes out: a caller,
//! nobody, or why the credential is none. What the caller may do is `policy`'s question.
//!
//! A credential that fails is final: it never counts as none, and never falls through to another way.

mod answers;
mod basic;
mod bearer;
mod budget;
mod cache;
mod cross_site;
mod forget;
mod jwt;
mod opaque;
mod passwords;
mod presented;
mod session;
mod shared;
mod shared_store;
mod tally;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use answers::{AnswerLimits, Answers};
pub use basic::BasicWay;
pub use bearer::{BearerWay, Trusted};
pub use cache::{MemoryCounts, MemoryLimits, TokenMemory};
pub use cross_site::{AllowedPath, CrossSite};
pub use forget::{Forget, Memories, Tokens};
pub use opaque::{Introspection, IntrospectionSettings, IntrospectionWiring};
pub use passwords::{PairGrant, PasswordSettings, Passwords};
pub use session::SessionWay;
pub use shared::{Doing, SharedAnswer, SharedAnswers, SharedToken, SharedUnavailable};
pub use shared_store::StoredAnswers;
pub use tally::{IntrospectionTally, PasswordTally, Users};

use crate::caller::Known;
use crate::clock::Time;
use crate::reason::Reason;
use crate::session::{Live, Sessions};
use crate::wire::cookies::{CookieChanges, OwnCookies};
use crate::wire::{Arrival, Facts};
use presented::Presented;

/// The ways of a route. A public route has none.
#[derive(Debug, Default)]
pub struct Ways {
    pub bearer: Option<BearerWay>,
    pub session: Option<SessionWay>,
    pub basic: Option<BasicWay>,
}

/// Who a request comes from, and what is to become of our cookies at the client whatever else is decided.
#[derive(Clone, Debug)]
pub struct Seen {
    pub known: Known,
    pub cookies: CookieChanges,
    /// The session, where what it opens ends with it.
    pub lasting: Option<(Arc<Sessions>, Arc<Live>)>,
}

impl Default for Seen {
    fn default() -> Self {
        Self::of(Known::Nobody)
    }
}

impl Seen {
    fn of(known: Known) -> Self {
        Self { known, cookies: CookieChanges::default(), lasting: None }
    }
}

/// Why a credential identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// `Bearer` without a b64token: 400.
    #[error("the credential is malformed")]
    Malformed,
    /// More than one credential: 400.
    #[error("the request shows more than one credential")]
    Repeated,
    /// A token that is no valid token here and now: 401 with `invalid_token`, the same for every reason.
    #[error("the token is not valid: {0}")]
    Invalid(Reason),
    /// Whether it is valid can't be known now: 503.
    #[error("the issuer can't be asked: {reason}")]
    Unavailable { reason: Reason, retry_after: Duration },
    /// This client showed too many tokens that are none: 429.
    #[error("the client has shown too many tokens that are none")]
    TooMany { retry_after: Duration },
    /// A name and a password that are none: 401, the same for every reason.
    #[error("the name and password are not good")]
    Refused,
    /// The issuer knows who it is, and grants less than the route asks for: 403.
    #[error("the issuer does not grant what the route asks for")]
    NotGranted,
    /// This name, or this client, showed too many pairs that are none: 429.
    #[error("too many names and passwords that are none")]
    Limited { retry_after: Duration },
    /// An unsafe request or an upgrade that another site caused, with a session: 403.
    #[error("another site caused this request")]
    CrossSite,
    /// Whether there is a session can't be known now: 503; or it is too large for its store: 500.
    #[error("the session can't be known: {reason}")]
    Session { reason: Reason, retry_after: Option<Duration> },
}

impl AuthnError {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Malformed => Reason::CredentialMalformed,
            Self::Repeated => Reason::CredentialRepeated,
            Self::Invalid(reason) | Self::Unavailable { reason, .. } | Self::Session { reason, .. } => *reason,
            Self::TooMany { .. } => Reason::IntrospectionBudget,
            Self::Refused => Reason::BasicRefused,
            Self::NotGranted => Reason::ScopeMissing,
            Self::Limited { .. } => Reason::BasicLimited,
            Self::CrossSite => Reason::SessionCrossSite,
        }
    }
}

/// Finds out who a request comes from. A token that is remembered costs a digest and a lookup: no wait, no allocation.
///
/// # Errors
/// [`AuthnError`] when a credential was shown that is malformed, repeated, invalid, or can't be checked now.
pub async fn identify(
    ways: &Ways,
    facts: &Facts,
    arrival: &mut Arrival,
    cookies: &OwnCookies,
) -> Result<Seen, AuthnError> {
    // Beside `Authorization`, whatever its scheme, a session is not looked at: one request shows one credential.
    if let Some(session) = &ways.session
        && !arrival.headers.contains_key(AUTHORIZATION)
    {
        // Boxed, so that the walk's own future stays small.
        return Box::pin(session.judge(facts.now, arrival, cookies)).await;
    }
    // A browser that was once asked for a password sends it with whatever another site makes it ask for.
    let is_forged = ways.basic.is_some() && cross_site::is_forged(arrival);
    let by = By { now: facts.now, client: facts.client_address, is_forged };
    judge(ways, by, &arrival.headers, arrival.query()).await.map(Seen::of)
}

/// How a request comes.
#[derive(Clone, Copy)]
struct By {
    now: Time,
    client: Option<IpAddr>,
    /// Another site caused it.
    is_forged: bool,
}

async fn judge(ways: &Ways, by: By, headers: &HeaderMap, query: Option<&str>) -> Result<Known, AuthnError> {
    let By { now, client, .. } = by;
    if ways.bearer.is_none() && ways.basic.is_none() {
        let is_repeated = presented::is_repeated(headers);
        return if is_repeated { Err(AuthnError::Repeated) } else { Ok(Known::Nobody) };
    }
    let (bearer, token) = match (presented::find(headers, query)?, &ways.bearer, &ways.basic) {
        (Presented::Bearer(token), Some(bearer), _) => (bearer, token),
        (Presented::Bound, Some(_), _) => return Err(AuthnError::Invalid(Reason::TokenBound)),
        (Presented::Basic(_), _, Some(_)) if by.is_forged => return Err(AuthnError::CrossSite),
        // Boxed, so that the walk's own future stays small.
        (Presented::Basic(shown), _, Some(basic)) => return Box::pin(basic.judge(shown, now, client)).await,
        // Nothing, or a scheme that this route does not take.
        _ => return Ok(Known::Nobody),
    };
    let digest = bearer.digest(token)?;
    if let Some(caller) = bearer.recall(&digest, now) {
        return Ok(Known::Caller(caller));
    }
    // Boxed, so that the walk's own future stays small: this is taken once a token.
    Box::pin(bearer.check(token, digest, now, client)).await.map(Known::Caller)
}

#[cfg(test)]
mod tests;
