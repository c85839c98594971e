//! What changes the state of a running gateway, on a socket of its own, for who has the token. Comes in: a POST with JSON.
//! Goes out: JSON, and a line in the log. `POST /cache/forget` takes back what is remembered of tokens, so that a
//! revocation counts at once.

use std::pin::Pin;
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{JSON, PROBLEM, answer_with, line};
use crate::clock::Clock;
use crate::seal::Secret;
use crate::wire::Body;
use crate::wire::body::capped;

/// A token and its frame fit; nothing larger is meant for here.
const BODY_LIMIT: usize = 64 * 1024;

/// How long a body may take to come.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Which tokens are to be forgotten.
#[derive(Clone, Debug)]
pub struct ForgetRequest {
    pub by: ForgetBy,
    /// Of this issuer only: its identifier, or its name in the configuration.
    pub issuer: Option<Box<str>>,
}

/// By what they are known.
#[derive(Clone, Debug)]
pub enum ForgetBy {
    Token(Secret),
    Subject(Box<str>),
    ClientId(Box<str>),
    /// `jti`
    Id(Box<str>),
}

/// Why something was not done, or not everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// No issuer of this name or identifier is configured: a revocation that names it has reached nothing.
    NoSuchIssuer,
    /// The store that replicas share is out of reach; it was done in this process alone.
    Store,
}

/// Work that is waited for.
pub type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How the running parts are told what to do. Each has its own bounds of time.
pub struct Deeds {
    /// Goes out: how many tokens were remembered.
    pub forget: Box<dyn Fn(ForgetRequest) -> Doing<Result<usize, Undone>> + Send + Sync>,
}

/// What the actions listener answers with.
pub struct Actions {
    clock: Clock,
    token: Secret,
    deeds: Deeds,
}

/// Why an action was not taken.
enum Refused {
    NoSuchAction,
    Method,
    Token,
    MediaType,
    TooLarge,
    Slow,
    Malformed(String),
    Undone(Undone),
}

impl Actions {
    pub fn new(clock: Clock, token: Secret, deeds: Deeds) -> Self {
        Self { clock, token, deeds }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.act(request).await {
            Ok(response) => response,
            Err(refused) => refused.into(),
        }
    }

    /// Who has no token learns nothing of which actions there are.
    async fn act(&self, request: Request<Body>) -> Result<Response<Body>, Refused> {
        if !self.knows(request.headers()) {
            return Err(Refused::Token);
        }
        if request.uri().path() != "/cache/forget" {
            return Err(Refused::NoSuchAction);
        }
        if request.method() != Method::POST {
            return Err(Refused::Method);
        }
        // A page in a browser can send other types to loopback addresses without asking; this one it can't.
        if !is_json(request.headers()) {
            return Err(Refused::MediaType);
        }
        let body = tokio::select! {
            body = capped(request.into_body(), BODY_LIMIT) => body.map_err(|_| Refused::TooLarge)?,
            () = self.clock.sleep(BODY_DEADLINE) => return Err(Refused::Slow),
        };
        let wanted = forget_request(&body)?;
        let about = wanted.by.word();
        let issuer = wanted.issuer.clone();
        let forgotten = (self.deeds.forget)(wanted).await.map_err(|undone| {
            tracing::warn!(
                action = "cache/forget",
                by = about,
                issuer = issuer.as_deref(),
                ?undone,
                "action not taken"
            );
            Refused::Undone(undone)
        })?;
        tracing::info!(action = "cache/forget", by = about, issuer = issuer.as_deref(), forgotten, "action taken");
        Ok(answer_with(StatusCode::OK, JSON, line(&json!({ "forgotten": forgotten }))))
    }

    /// One `Authorization: Bearer`, compared in constant time.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(one), None) = (shown.next(), shown.next()) else { return false };
        match one.as_bytes().split_at_checked(b"Bearer ".len()) {
            Some((scheme, token)) => scheme.eq_ignore_ascii_case(b"Bearer ") && self.token.equals(token),
            None => false,
        }
    }
}

impl std::fmt::Debug for Actions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Actions")
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The body of `POST /cache/forget`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: Option<String>,
    sub: Option<Box<str>>,
    client_id: Option<Box<str>>,
    jti: Option<Box<str>>,
    issuer: Option<Box<str>>,
}

fn forget_request(body: &[u8]) -> Result<ForgetRequest, Refused> {
    let written: Written = serde_json::from_slice(body).map_err(|error| Refused::Malformed(told(&error)))?;
    let Written { token, sub, client_id, jti, issuer } = written;
    let token = token.map(|token| ForgetBy::Token(Secret::new(token)));
    let all = [token, sub.map(ForgetBy::Subject), client_id.map(ForgetBy::ClientId), jti.map(ForgetBy::Id)];
    let mut given = all.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(by), None) => Ok(ForgetRequest { by, issuer }),
        _ => Err(Refused::Malformed("exactly one of token, sub, client_id, jti is needed".to_owned())),
    }
}

/// What is wrong and where, without a piece of what was sent: it may be a token.
fn told(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => "not JSON",
        _ => "known members are token, sub, client_id, jti, issuer, all strings, each once",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

impl ForgetBy {
    const fn word(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Subject(_) => "sub",
            Self::ClientId(_) => "client_id",
            Self::Id(_) => "jti",
        }
    }
}

impl From<Refused> for Response<Body> {
    fn from(refused: Refused) -> Self {
        let (status, why) = match &refused {
            Refused::NoSuchAction => (StatusCode::NOT_FOUND, "no such action: try POST /cache/forget"),
            Refused::Method => (StatusCode::METHOD_NOT_ALLOWED, "only POST"),
            Refused::Token => (StatusCode::UNAUTHORIZED, "the token of admin.actions is needed"),
            Refused::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json is needed"),
            Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off"),
            Refused::Slow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Refused::Malformed(why) => (StatusCode::BAD_REQUEST, &**why),
            Refused::Undone(Undone::NoSuchIssuer) => (StatusCode::NOT_FOUND, "no issuer of this name or identifier"),
            Refused::Undone(Undone::Store) => {
                (StatusCode::SERVICE_UNAVAILABLE, "forgotten here alone: the store that replicas share is out of reach")
            }
        };
        let mut response = match refused {
            Refused::Undone(_) => answer_with(status, PROBLEM, line(&problem(status, why))),
            _ => answer_with(status, JSON, line(&json!({ "error": why }))),
        };
        let headers = response.headers_mut();
        match refused {
            Refused::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Refused::Token => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Refused::Undone(Undone::Store) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            _ => {}
        }
        response
    }
}

/// RFC 9457
fn problem(status: StatusCode, detail: &str) -> serde_json::Value {
    let title = status.canonical_reason().unwrap_or_default();
    json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail })
}

#[cfg(test)]
mod tests;
