//! One failure vocabulary: each room's error becomes a [`Refusal`], which `respond` turns into an answer.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::sign_in::SignIn;
use crate::authn::AuthnError;
use crate::outbound::{NoToken, OutboundError};
use crate::policy::Denial;
use crate::reason::Reason;
use crate::upstream::SendError;
use crate::wire::arrival::ArrivalError;
use crate::wire::watch::Violation;

/// Why a request was not served, as the gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub kind: Kind,
}

/// What kind of answer a refusal needs (configuration contract, section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400, 405, 408, 413, 414 or 431: the request itself. `close` when the rest of the connection is in doubt.
    Malformed { status: u16, close: bool },
    /// 404.
    NoRoute,
    /// 405 with what is allowed.
    NoMethod { allow: Vec<Method> },
    /// 401 without an error code (RFC 6750 section 3.1).
    NoCredential,
    /// 401 `invalid_token`.
    BadCredential,
    /// 401 (RFC 7617 section 2).
    BadPassword,
    /// 400 `invalid_request`.
    BadRequest,
    /// 403 `insufficient_scope`.
    Scope { scopes: Arc<str> },
    /// 403.
    Forbidden,
    /// 401 `insufficient_user_authentication` (RFC 9470).
    StepUp { acr_values: Option<Arc<str>>, max_age: Option<u64> },
    /// 429 with `Retry-After`.
    TooMany { retry_after: Duration },
    /// 503 with `Retry-After`.
    Unavailable { retry_after: Duration },
    /// 400 or 503: a sign-in or sign-out that came to nothing.
    SignIn(Box<SignIn>),
    /// 502.
    UpstreamDown,
    /// 504.
    UpstreamSlow,
    /// 500.
    Ours,
}

impl Refusal {
    pub fn new(reason: Reason, kind: Kind) -> Self {
        Self { reason, kind }
    }

    fn malformed(reason: Reason, status: u16) -> Self {
        Self::new(reason, Kind::Malformed { status, close: true })
    }
}

impl From<ArrivalError> for Refusal {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Method => Self::malformed(Reason::RequestMethod, 405),
            ArrivalError::Path(_) | ArrivalError::Target => Self::malformed(Reason::RequestTarget, 400),
            ArrivalError::TargetTooLong(_) => Self::malformed(Reason::TargetTooLong, 414),
            ArrivalError::Host | ArrivalError::HostMismatch => Self::malformed(Reason::RequestHost, 400),
            ArrivalError::HeaderTooLarge => Self::malformed(Reason::HeaderTooLarge, 431),
            ArrivalError::Repeated | ArrivalError::Field => Self::malformed(Reason::RequestHeader, 400),
            ArrivalError::BodyTooLarge(_) => Self::malformed(Reason::BodyTooLarge, 413),
        }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Malformed => Self::malformed(Reason::RequestMalformed, 400),
            Violation::Framing => Self::malformed(Reason::RequestFraming, 400),
            Violation::Host => Self::malformed(Reason::RequestHost, 400),
            Violation::TargetTooLong => Self::malformed(Reason::TargetTooLong, 414),
            Violation::HeaderTooLarge => Self::malformed(Reason::HeaderTooLarge, 431),
            Violation::HeadTimeout => Self::malformed(Reason::HeadTimeout, 408),
            Violation::BodyTimeout => Self::malformed(Reason::BodyTimeout, 408),
        }
    }
}

impl From<AuthnError> for Refusal {
    fn from(error: AuthnError) -> Self {
        let reason = error.reason();
        match error {
            AuthnError::Malformed | AuthnError::Repeated => Self::new(reason, Kind::BadRequest),
            AuthnError::Invalid(_) => Self::new(reason, Kind::BadCredential),
            AuthnError::Unavailable { retry_after, .. } => Self::new(reason, Kind::Unavailable { retry_after }),
            AuthnError::Refused => Self::new(reason, Kind::BadPassword),
            AuthnError::TooMany { retry_after } | AuthnError::Limited { retry_after } => {
                Self::new(reason, Kind::TooMany { retry_after })
            }
            AuthnError::NotGranted | AuthnError::CrossSite => Self::new(reason, Kind::Forbidden),
            AuthnError::Session { retry_after: Some(retry_after), .. } => {
                Self::new(reason, Kind::Unavailable { retry_after })
            }
            AuthnError::Session { retry_after: None, .. } => Self::new(reason, Kind::Ours),
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let reason = denial.reason();
        match denial {
            Denial::Unauthenticated => Self::new(reason, Kind::NoCredential),
            Denial::InsufficientScope { scopes } => Self::new(reason, Kind::Scope { scopes }),
            Denial::Forbidden(_) => Self::new(reason, Kind::Forbidden),
            Denial::StepUp { acr_values, max_age, .. } => Self::new(reason, Kind::StepUp { acr_values, max_age }),
        }
    }
}

impl From<OutboundError> for Refusal {
    fn from(error: OutboundError) -> Self {
        match error {
            // The rewritten path is ambiguous: what the client asked for has no single reading at the upstream.
            OutboundError::Path(_) => Self::malformed(Reason::RequestTarget, 400),
            OutboundError::NoToken(NoToken { reason, retry_after }) => {
                Self::new(reason, Kind::Unavailable { retry_after })
            }
            OutboundError::TokenOver => Denial::Unauthenticated.into(),
            OutboundError::NotExchanged => Self::new(Reason::ExchangeRefused, Kind::Forbidden),
        }
    }
}

impl From<&SendError> for Refusal {
    fn from(error: &SendError) -> Self {
        let reason = error.reason();
        let kind = match reason {
            Reason::UpstreamTimeout => Kind::UpstreamSlow,
            Reason::UpstreamQueueFull | Reason::UpstreamUnhealthy | Reason::Overloaded => {
                Kind::Unavailable { retry_after: Duration::from_secs(1) }
            }
            _ => Kind::UpstreamDown,
        };
        Self::new(reason, kind)
    }
}
