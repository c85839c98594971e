//! Asks an issuer about a token (RFC 7662). Comes in: the token. Goes out: what the issuer says of it, or why it said
//! nothing that could be relied on; then nobody knows whether the token is good, and nothing is remembered.
//!
//! Connections are kept for the next question. One retry, on a connection that broke off, a kept one above all: asking twice
//! changes nothing. Everything else ends at once, and five failures in a row open the breaker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use url::Url;

use super::breaker::{Breaker, BreakerState, Leave, LeftAlone};
use super::client_auth::NoCredentials;
use super::fetch::kept::Kept;
use super::{ClientIdentity, FetchError, FetchTls, Issuer, Question, Reply};
use crate::caller::Claims;
use crate::clock::Clock;
use crate::jose::claims::answer::{Life, life};
use crate::jose::json::{self, JsonError};
use crate::jose::{Jws, verify};
use crate::reason::Reason;
use crate::seal::Secret;
use crate::wire::form::Form;

const JSON: &str = "application/json";
/// RFC 9701 section 4.
const SIGNED: &str = "application/token-introspection+jwt";
/// How old the signature on an answer may be, beyond the skew: it was made for this very question.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);

/// How an issuer is asked about tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct IntrospectorSettings {
    /// Who asks (RFC 7662 section 2.1).
    pub client: ClientIdentity,
    /// Answers must be signed (RFC 9701).
    pub signed: bool,
    /// For a whole question, the retry included.
    pub timeout: Duration,
}

/// Asks one issuer. Shared by all workers; runs on Control.
#[derive(Debug)]
pub struct Introspector {
    issuer: Arc<Issuer>,
    settings: IntrospectorSettings,
    clock: Clock,
    kept: Kept,
    tls: Option<FetchTls>,
    breaker: Arc<Breaker>,
    last_error: Mutex<Option<Arc<str>>>,
}

/// What the issuer said.
#[derive(Clone, Debug, PartialEq)]
pub enum Introspected {
    /// The members of the answer are yet to be judged.
    Active(Claims, Freshness),
    Inactive,
    /// It did not say that the token is active, nor that it is not.
    Unclear,
}

/// What the answer's `Cache-Control` says (RFC 9111 section 5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    pub no_store: bool,
    pub max_age: Option<Duration>,
}

/// Why an issuer said nothing that could be relied on.
#[derive(Debug, thiserror::Error)]
pub enum IntrospectError {
    #[error("the issuer's introspection endpoint is not known: discovery has not found one")]
    NoEndpoint,
    #[error(transparent)]
    LeftAlone(#[from] LeftAlone),
    #[error(transparent)]
    NoCredentials(#[from] NoCredentials),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the question was not answered within {0:?}")]
    Deadline(Duration),
    #[error("the introspection endpoint answered {0}: it does not let our client introspect")]
    Refused(StatusCode),
    #[error("the introspection endpoint answered {0}")]
    Status(StatusCode),
    #[error("the introspection endpoint answered with the media type `{0}`")]
    MediaType(String),
    #[error("the introspection answer is {0}")]
    Json(#[from] JsonError),
    #[error("the signed introspection answer can't be believed: {0}")]
    Signed(&'static str),
}

impl IntrospectError {
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint | Self::NoCredentials(_) | Self::Fetch(_) | Self::Deadline(_) => {
                Reason::IntrospectionUnreachable
            }
            Self::LeftAlone(_) => Reason::IntrospectionBroken,
            Self::Refused(_) => Reason::IntrospectionRefused,
            Self::Status(_) | Self::MediaType(_) | Self::Json(_) | Self::Signed(_) => Reason::IntrospectionAnswer,
        }
    }
}

impl IntrospectError {
    /// Whether it says more of the token than of the endpoint: a filter in front took offence at it (403, 400, 414), or
    /// its answer is larger or deeper than we read. One who shows such tokens must not have the endpoint left alone for
    /// everybody. A 401 is about our client (RFC 7662 section 2.3), 408 and 429 about how busy the endpoint is.
    pub fn is_about_the_token(&self) -> bool {
        match self {
            Self::Refused(status) | Self::Status(status) => {
                let of_the_endpoint =
                    [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
                status.is_client_error() && !of_the_endpoint.contains(status)
            }
            Self::Fetch(error) => error.is_too_large(),
            Self::Json(error) => matches!(error, JsonError::Refused(_)),
            _ => false,
        }
    }
}

impl Introspector {
    pub fn new(issuer: Arc<Issuer>, settings: IntrospectorSettings, clock: Clock) -> Self {
        let kept = Kept::new(issuer.control().clone(), clock.clone());
        let tls = settings.client.tls(&issuer);
        Self { issuer, settings, clock, kept, tls, breaker: Arc::default(), last_error: Mutex::default() }
    }

    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    pub const fn settings(&self) -> &IntrospectorSettings {
        &self.settings
    }

    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Why the last question that failed did.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leave to ask, from the breaker.
    ///
    /// # Errors
    /// [`LeftAlone`] while the endpoint is left alone.
    pub fn leave(&self) -> Result<Leave, LeftAlone> {
        self.breaker.leave(self.clock.tick())
    }

    /// Asks about a token, with leave.
    ///
    /// # Errors
    /// [`IntrospectError`] for everything but a well-formed answer.
    pub async fn ask(&self, leave: Leave, token: &Secret) -> Result<Introspected, IntrospectError> {
        let before = self.breaker.state();
        let told = tokio::select! {
            told = self.question(token) => told,
            // Not only the endpoint is waited for: a signed answer may name a key that is to be fetched.
            () = self.clock.sleep(self.settings.timeout) => Err(IntrospectError::Deadline(self.settings.timeout)),
        };
        let now = self.clock.tick();
        match &told {
            Ok(_) => leave.good(now),
            // Discovery has not come that far; the endpoint itself has not failed.
            Err(IntrospectError::NoEndpoint) => leave.good(now),
            Err(error) => {
                if error.is_about_the_token() {
                    leave.good(now);
                } else {
                    leave.failed(now);
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string().into());
                tracing::warn!(issuer = &*self.issuer.settings().name, %error, "a token could not be introspected");
            }
        }
        let after = self.breaker.state();
        if before != after {
            tracing::warn!(
                issuer = &*self.issuer.settings().name,
                from = before.word(),
                to = after.word(),
                "introspection breaker"
            );
        }
        told
    }

    async fn question(&self, token: &Secret) -> Result<Introspected, IntrospectError> {
        let client = &self.settings.client;
        let url = client.endpoints(&self.issuer.metadata()).introspection.clone();
        let url = url.ok_or(IntrospectError::NoEndpoint)?;
        let mut form = Form::default().with("token", token.expose()).with("token_type_hint", "access_token");
        let mut headers = HeaderMap::new();
        client.apply(&self.issuer, &mut form, &mut headers).await?;
        let reply = self.post(&url, &form, &headers).await?;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(IntrospectError::Refused(reply.status)),
            status => return Err(IntrospectError::Status(status)),
        }
        let answer = if self.settings.signed { self.signed(&reply).await? } else { plain(&reply)? };
        Ok(match life(&answer) {
            Life::Active => Introspected::Active(answer, Freshness::of(&reply.headers)),
            Life::Inactive => Introspected::Inactive,
            Life::Unclear => Introspected::Unclear,
        })
    }

    async fn post(&self, url: &Url, form: &Form, headers: &HeaderMap) -> Result<Reply, FetchError> {
        let accept = if self.settings.signed { SIGNED } else { JSON };
        let begun = self.clock.tick();
        let tls = self.tls.as_ref();
        let question = Question { url, form, headers, accept, tls, within: self.settings.timeout };
        match self.issuer.post_kept(question, &self.kept, false).await {
            Err(error) if error.is_broken_off() => {
                let left = self.settings.timeout.saturating_sub(self.clock.tick().since(begun));
                let again = Question { within: left, ..question };
                if left.is_zero() { Err(error) } else { self.issuer.post_kept(again, &self.kept, true).await }
            }
            told => told,
        }
    }

    /// RFC 9701 section 5: a JWT of its own type, by this issuer, for this client, around the answer.
    async fn signed(&self, reply: &Reply) -> Result<Claims, IntrospectError> {
        if !reply.is(SIGNED) {
            return Err(media_type(reply));
        }
        let refused = IntrospectError::Signed;
        let text = std::str::from_utf8(&reply.body).map_err(|_| refused("it is no text"))?;
        let jws = Jws::parse(text.trim_end(), text.len()).map_err(|_| refused("it is no signed token"))?;
        let typ = jws.header.typ.as_deref().unwrap_or_default();
        let typ = typ.strip_prefix("application/").unwrap_or(typ);
        if !typ.eq_ignore_ascii_case("token-introspection+jwt") {
            return Err(refused("its `typ` is another token's"));
        }
        let settings = self.issuer.settings();
        if !settings.algorithms.contains(jws.header.algorithm) {
            return Err(refused("its algorithm is not one of the issuer's"));
        }
        let mut claims = json::object(&jws.payload)?;
        self.is_for_this_question(&claims)?;
        let keys = match jws.header.kid.as_deref() {
            Some(kid) => self.issuer.keys_with(kid).await,
            None => self.issuer.keys(),
        };
        let keys = keys.map_err(|_| refused("the issuer's keys are not available"))?;
        verify::verify(&jws, &keys.set).map_err(|_| refused("no key of the issuer has signed it"))?;
        match claims.remove("token_introspection") {
            Some(Value::Object(answer)) => Ok(answer),
            _ => Err(refused("it holds no `token_introspection`")),
        }
    }

    fn is_for_this_question(&self, claims: &Claims) -> Result<(), IntrospectError> {
        let refused = IntrospectError::Signed;
        let settings = self.issuer.settings();
        if claims.get("iss").and_then(Value::as_str) != Some(&settings.issuer) {
            return Err(refused("it is another issuer's"));
        }
        let is_us = |audience: &Value| audience.as_str() == Some(&self.settings.client.client_id);
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_us),
            Some(audience) => is_us(audience),
            None => false,
        };
        if !for_us {
            return Err(refused("it is for another client"));
        }
        let issued_at = claims.get("iat").and_then(Value::as_f64).filter(|at| *at >= 0.0);
        let issued_at = issued_at.ok_or(refused("it has no `iat`"))?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in a float")]
        let age = self.clock.now().millis() as f64 / 1000.0 - issued_at;
        let skew = settings.clock_skew.as_secs_f64();
        if age < -skew || age > skew + SIGNED_WITHIN.as_secs_f64() {
            return Err(refused("it was not issued just now"));
        }
        Ok(())
    }
}

fn plain(reply: &Reply) -> Result<Claims, IntrospectError> {
    if !reply.is(JSON) {
        return Err(media_type(reply));
    }
    Ok(json::object(&reply.body)?)
}

fn media_type(reply: &Reply) -> IntrospectError {
    IntrospectError::MediaType(reply.media_type().unwrap_or("none").chars().take(100).collect())
}

impl Freshness {
    /// A `max-age` that can't be read allows nothing.
    fn of(headers: &HeaderMap) -> Self {
        let mut freshness = Self::default();
        let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in fields.flat_map(|field| field.split(',')).map(str::trim) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            if name.eq_ignore_ascii_case("no-store") {
                freshness.no_store = true;
            } else if name.eq_ignore_ascii_case("max-age") {
                let seconds = value.trim_matches('"').parse().unwrap_or(0);
                let age = Duration::from_secs(seconds);
                freshness.max_age = Some(freshness.max_age.map_or(age, |least| least.min(age)));
            }
        }
        freshness
    }
}

#[cfg(test)]
mod tests;
