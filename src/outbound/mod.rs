//! What an upstream gets to see. Comes in: a [`Permit`], which proves that the request may pass, and the request.
//! Goes out: an [`Outgoing`], the only thing that can be sent up.
//!
//! The client's own spellings of the fields that are set here are gone since arrival ([`OwnedNames`]), on every route;
//! so are hop-by-hop fields, which is why `Connection` can't name away what is set now.
//!
//! [`OwnedNames`]: crate::wire::owned::OwnedNames

mod credential;
mod forwarded;
mod headers;
mod identity_token;
mod own_token;
mod path;
mod token_exchange;

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri};
use zeroize::Zeroizing;

use crate::caller::Known;
use crate::policy::Permit;
use crate::seal::Secret;
use crate::wire::path::PathError;
use crate::wire::{Arrival, Body, Facts};

use credential::Shown;
pub use credential::{Authorization, Ready, Renewal};
pub use forwarded::Told;
use headers::IdentityFields;
use identity_token::IdentityToken;
pub use identity_token::IdentityTokenSettings;
pub use own_token::{NoToken, OwnStanding, OwnToken, TokenTally, TokenTarget};
use path::PathRule;
pub use token_exchange::{ExchangeError, TokenExchange};

const X_FORWARDED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-forwarded-access-token");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where an app gets the access token of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// `X-Forwarded-Access-Token`.
    Header,
    /// `Authorization: Bearer`.
    Bearer,
}

/// What a [`Dress`] is made of, already parsed.
#[derive(Clone, Debug, Default)]
pub struct DressSettings {
    pub authorization: Authorization,
    /// A field name, and the claim (or dotted path) that fills it.
    pub headers: Vec<(HeaderName, String)>,
    /// The access token of a session goes up, while it is good.
    pub relay: Option<Relay>,
    /// A signed statement of who the caller is.
    pub identity_token: Option<IdentityTokenSettings>,
    /// Whole segments that are taken from the front of the path, `/api`.
    pub strip_prefix: Option<String>,
    /// Put in front of the path afterwards, `/v1`.
    pub add_prefix: Option<String>,
}

/// How the requests of one route are dressed.
#[derive(Debug)]
pub struct Dress {
    authorization: Authorization,
    relay: Option<Relay>,
    identity: IdentityFields,
    token: Option<IdentityToken>,
    path: PathRule,
}

/// A dress that cannot be worn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DressError {
    #[error("`{0}` frames or routes the request, or is set by Postern itself: a claim can't fill it")]
    Reserved(HeaderName),
    #[error("`{0}` is filled twice")]
    Repeated(HeaderName),
    #[error("the claim for `{0}` is empty")]
    EmptyClaim(HeaderName),
    #[error("the prefix `{0}` is no normal path: {1}")]
    Prefix(String, PathError),
}

/// Why a permitted request can't be sent up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    #[error("the path is ambiguous once its prefix is changed: {0}")]
    Path(#[from] PathError),
    /// There is no token to send up.
    #[error(transparent)]
    NoToken(#[from] NoToken),
    /// There is nothing to exchange any more: a session outlives its access token where no other could be had.
    #[error("the caller's access token is over")]
    TokenOver,
    /// The issuer does not let this caller through to this upstream.
    #[error("the caller's token is not exchanged for one of the upstream")]
    NotExchanged,
}

impl From<ExchangeError> for OutboundError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused => Self::NotExchanged,
            ExchangeError::NoToken(none) => Self::NoToken(none),
        }
    }
}

impl Dress {
    /// # Errors
    /// [`DressError`] when a field is not for claims to fill, or a prefix is no normal path.
    pub fn new(settings: DressSettings) -> Result<Self, DressError> {
        let DressSettings { authorization, headers, relay, identity_token, strip_prefix, add_prefix } = settings;
        let identity = IdentityFields::new(headers)?;
        let token = identity_token.map(IdentityToken::new);
        if let Some(token) = &token {
            headers::check_field(token.field())?;
            if identity.names().any(|name| name == token.field()) {
                return Err(DressError::Repeated(token.field().clone()));
            }
        }
        let path = PathRule::new(strip_prefix.as_deref(), add_prefix.as_deref())?;
        Ok(Self { authorization, relay, identity, token, path })
    }

    /// Names that this dress sets from claims; they belong to the owned names of every route.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.identity.names().chain(self.token.as_ref().map(IdentityToken::field))
    }

    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.identity.describe().collect();
        lines.extend(self.path.describe());
        match &self.authorization {
            Authorization::Strip => {}
            Authorization::Keep => lines.push("the caller's Authorization goes upstream".to_owned()),
            Authorization::Own(token) => lines.push(format!("Authorization is a token of {}'s own", token.client())),
            Authorization::Exchanged(exchange) => {
                lines.push(format!("the caller's token is exchanged for one of the upstream by {}", exchange.client()));
            }
        }
        if let Some(token) = &self.token {
            lines.push(format!("{} is a signed statement for {}", token.field(), token.audience()));
        }
        if self.relay.is_some() {
            lines.push("the access token of a session goes upstream".to_owned());
        }
        lines
    }
}

/// A request that may be sent up. Only [`dress`] makes one.
pub struct Outgoing {
    request: Request<Body>,
    known: Known,
    renewal: Option<Renewal>,
}

/// Shows neither fields nor query: tokens and cookies travel there.
impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (method, path) = (self.request.method(), self.request.uri().path());
        f.debug_struct("Outgoing").field("method", method).field("path", &path).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// The request in origin form, with `Host` as the client wrote it.
    pub fn into_request(self) -> Request<Body> {
        self.request
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The way to another token, where one of Postern's own goes up.
    pub const fn renewal(&self) -> Option<&Renewal> {
        self.renewal.as_ref()
    }

    /// The same request once more, for an upstream that refuses that token. Only one without a body can be sent twice.
    pub fn spare(&self) -> Option<Request<Body>> {
        let is_spared = self.renewal.is_some() && matches!(self.request.body(), Body::Empty);
        is_spared.then(|| {
            let mut spare = Request::new(Body::Empty);
            spare.method_mut().clone_from(self.request.method());
            spare.uri_mut().clone_from(self.request.uri());
            spare.headers_mut().clone_from(self.request.headers());
            spare
        })
    }
}

impl Relay {
    fn set(self, headers: &mut HeaderMap, token: &Secret) {
        let (name, text) = match self {
            Self::Header => (X_FORWARDED_ACCESS_TOKEN, Zeroizing::new(token.expose().to_owned())),
            Self::Bearer => (AUTHORIZATION, Zeroizing::new(format!("Bearer {}", token.expose()))),
        };
        // A token that is no field value is none that anybody could send.
        if let Ok(mut value) = HeaderValue::from_str(&text) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

/// Dresses a permitted request for its upstream. `told` is the connection's.
///
/// # Errors
/// [`OutboundError`] when the path, once rewritten, has more than one reading.
pub fn dress(
    ready: Ready<'_>,
    permit: Permit,
    arrival: Arrival,
    facts: &Facts,
    told: &Told,
) -> Result<Outgoing, OutboundError> {
    let Ready { dress, shown } = ready;
    let Arrival { method, path, host, headers, body, .. } = arrival;
    let path = dress.path.apply(path)?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(path.target().clone());
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.reserve(6 + dress.identity.len());
    let renewal = match shown {
        Shown::Keep => None,
        Shown::Strip => {
            headers.remove(AUTHORIZATION);
            None
        }
        Shown::Token(field) => {
            headers.insert(AUTHORIZATION, field);
            None
        }
        Shown::Own { field, renewal } => {
            headers.insert(AUTHORIZATION, field);
            Some(renewal)
        }
    };
    // Over HTTP/2 it was `:authority`.
    let host = host.map(|host| host.written);
    if let Some(host) = &host
        && headers.get(HOST) != Some(host)
    {
        headers.insert(HOST, host.clone());
    }
    forwarded::set(headers, facts, host.as_ref(), told);
    headers.insert(X_REQUEST_ID, facts.request_id.to_header());
    let known = permit.into_known();
    if let Known::Caller(caller) = &known {
        dress.identity.set(headers, caller);
        if let Some(token) = &dress.token {
            token.set(headers, caller, facts.now);
        }
        if let (Some(relay), Some(token)) = (dress.relay, caller.token_to_relay(facts.now)) {
            relay.set(headers, token);
        }
    }
    Ok(Outgoing { request, known, renewal })
}

#[cfg(test)]
mod tests;
