//! The only table from a refusal to an answer: kind by audience. The client learns the status and, where RFC 6750
//! wants it, the error code; the reason stays with the log and the metrics.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::audience::Audience;
use super::pages;
use super::refusal::{Kind, Refusal};
use super::sign_in::SignIn;
use crate::login::{self, Failure};
use crate::wire::Body;

/// What the answer to a refusal needs besides the refusal.
#[derive(Debug)]
pub struct Setting<'a> {
    pub audience: Audience,
    pub request_id: &'a str,
    /// `resource_metadata` of the challenge (RFC 9728 section 5.1), where the route takes bearer tokens.
    pub challenge: Option<Challenge>,
    /// The realm of a route that takes names and passwords.
    pub basic: Option<String>,
    /// Where a person can sign in, on a route that takes sessions.
    pub login_url: Option<String>,
}

/// What a challenge says of the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub metadata: Option<String>,
}

/// The answer to a refusal.
pub fn refuse(refusal: &Refusal, setting: &Setting<'_>) -> Response<Body> {
    let (status, title, text) = describe(&refusal.kind);
    let mut response = match (setting.audience, &refusal.kind) {
        (Audience::Grpc, _) => grpc(status, title),
        (Audience::Browser, Kind::SignIn(sign_in)) => sign_in_page(sign_in, status, title, setting),
        (Audience::Browser, _) => page(status, title, text, setting.request_id),
        (Audience::Api, kind) => problem(status, title, setting.request_id, login_url(kind, setting)),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = challenge(&refusal.kind, setting.challenge.as_ref()) {
        insert(headers, WWW_AUTHENTICATE, &challenge);
    }
    if let Some(realm) =
        setting.basic.as_ref().filter(|_| matches!(refusal.kind, Kind::NoCredential | Kind::BadPassword))
    {
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", quoted(realm));
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    match &refusal.kind {
        Kind::Malformed { status, close } => {
            if *close {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if *status == 405 {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
            }
        }
        Kind::NoMethod { allow } => {
            let allow: Vec<&str> = allow.iter().map(http::Method::as_str).collect();
            insert(headers, ALLOW, &allow.join(", "));
        }
        Kind::SignIn(sign_in) => {
            if let Failure::Outage { retry_after } = sign_in.failure {
                insert(headers, RETRY_AFTER, &whole_seconds(retry_after).to_string());
            }
        }
        Kind::Unavailable { retry_after } | Kind::TooMany { retry_after } => {
            insert(headers, RETRY_AFTER, &whole_seconds(*retry_after).to_string());
        }
        _ => {}
    }
    response
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

fn insert(headers: &mut http::HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

fn describe(kind: &Kind) -> (StatusCode, &'static str, &'static str) {
    match kind {
        Kind::Malformed { status, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, malformed_title(status), "The request could not be read.")
        }
        Kind::BadRequest => (StatusCode::BAD_REQUEST, "Bad request", "The request could not be read."),
        Kind::NoRoute => (StatusCode::NOT_FOUND, "Not found", "There is nothing at this address."),
        Kind::NoMethod { .. } => {
            (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "This address does not take this kind of request.")
        }
        Kind::NoCredential | Kind::BadCredential | Kind::BadPassword | Kind::StepUp { .. } => {
            (StatusCode::UNAUTHORIZED, "Unauthorized", "You have to show who you are to see this.")
        }
        Kind::Scope { .. } | Kind::Forbidden => {
            (StatusCode::FORBIDDEN, "Forbidden", "You are not allowed to see this.")
        }
        Kind::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many requests", "Please try again in a moment."),
        Kind::SignIn(sign_in) => match sign_in.failure {
            Failure::Outage { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", sign_in.text),
            _ => (StatusCode::BAD_REQUEST, "That did not work", sign_in.text),
        },
        Kind::Unavailable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "Please try again in a moment.")
        }
        Kind::UpstreamDown => {
            (StatusCode::BAD_GATEWAY, "Bad gateway", "The service behind this address did not answer.")
        }
        Kind::UpstreamSlow => {
            (StatusCode::GATEWAY_TIMEOUT, "Gateway timeout", "The service behind this address took too long.")
        }
        Kind::Ours => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error", "Something went wrong on our side."),
    }
}

fn malformed_title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        405 => "Method not allowed",
        408 => "Request timeout",
        413 => "Content too large",
        414 => "URI too long",
        431 => "Request header fields too large",
        _ => "Bad request",
    }
}

/// The `WWW-Authenticate` value (RFC 6750 section 3, RFC 9470 section 3, RFC 9728 section 5.1).
fn challenge(kind: &Kind, challenge: Option<&Challenge>) -> Option<String> {
    let challenge = challenge?;
    let mut text = format!("Bearer realm=\"{}\"", quoted(&challenge.realm));
    match kind {
        Kind::NoCredential | Kind::BadPassword => {}
        Kind::BadCredential => text.push_str(", error=\"invalid_token\""),
        Kind::BadRequest => text.push_str(", error=\"invalid_request\""),
        Kind::Scope { scopes } => {
            let _ = write!(text, ", error=\"insufficient_scope\", scope=\"{}\"", quoted(scopes));
        }
        Kind::StepUp { acr_values, max_age } => {
            text.push_str(", error=\"insufficient_user_authentication\"");
            if let Some(acr_values) = acr_values {
                let _ = write!(text, ", acr_values=\"{}\"", quoted(acr_values));
            }
            if let Some(max_age) = max_age {
                let _ = write!(text, ", max_age=\"{max_age}\"");
            }
        }
        Kind::Malformed { .. }
        | Kind::NoRoute
        | Kind::NoMethod { .. }
        | Kind::Forbidden
        | Kind::TooMany { .. }
        | Kind::SignIn(_)
        | Kind::Unavailable { .. }
        | Kind::UpstreamDown
        | Kind::UpstreamSlow
        | Kind::Ours => return None,
    }
    if let Some(metadata) = &challenge.metadata {
        let _ = write!(text, ", resource_metadata=\"{}\"", quoted(metadata));
    }
    Some(text)
}

/// The inside of a quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}

/// Told where it would help: a person could sign in, or sign in better.
fn login_url<'s>(kind: &Kind, setting: &'s Setting<'_>) -> Option<&'s str> {
    setting.login_url.as_deref().filter(|_| matches!(kind, Kind::NoCredential | Kind::StepUp { .. }))
}

fn problem(status: StatusCode, title: &str, request_id: &str, login_url: Option<&str>) -> Response<Body> {
    let mut body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "request_id": request_id
    });
    if let Some(login_url) = login_url {
        body["login_url"] = login_url.into();
    }
    answer(status, "application/problem+json", body.to_string())
}

/// The site's own page, with a way to go on.
fn sign_in_page(sign_in: &SignIn, status: StatusCode, title: &str, setting: &Setting<'_>) -> Response<Body> {
    login::pages::failed(&sign_in.brand, status, title, sign_in.text, &sign_in.start_again, setting.request_id)
}

fn page(status: StatusCode, title: &str, text: &str, request_id: &str) -> Response<Body> {
    let page = pages::refusal(status.as_u16(), title, text, request_id);
    let mut response = answer(status, "text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    headers.insert("content-security-policy", HeaderValue::from_static(pages::CONTENT_SECURITY_POLICY));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    response
}

/// Trailers-only (gRPC over HTTP/2): the status is in the header fields, HTTP says 200.
fn grpc(status: StatusCode, title: &str) -> Response<Body> {
    let code = match status.as_u16() {
        401 => "16",
        403 => "7",
        404 | 405 => "12",
        408 | 504 => "4",
        413 | 414 | 429 | 431 => "8",
        502 | 503 => "14",
        400 => "3",
        _ => "13",
    };
    let mut response = answer(StatusCode::OK, "application/grpc", "");
    response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
    insert(response.headers_mut(), HeaderName::from_static("grpc-message"), title);
    response
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    const LOGIN_URL: &str = "https://a/oauth2/start";

    fn refused(kind: Kind, audience: Audience) -> Response<Body> {
        let challenge = Challenge { realm: "api".into(), metadata: Some("https://a/.well-known/x".into()) };
        let setting = Setting {
            audience,
            request_id: "id",
            challenge: Some(challenge),
            basic: None,
            login_url: Some(LOGIN_URL.to_owned()),
        };
        refuse(&Refusal::new(Reason::Internal, kind), &setting)
    }

    fn challenge_of(response: &Response<Body>) -> &str {
        response.headers().get(WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn challenges_are_those_of_rfc_6750() {
        let metadata = "resource_metadata=\"https://a/.well-known/x\"";
        let missing = refused(Kind::NoCredential, Audience::Api);
        assert_eq!(missing.status(), 401);
        assert_eq!(challenge_of(&missing), format!("Bearer realm=\"api\", {metadata}"));
        let bad = refused(Kind::BadCredential, Audience::Api);
        assert_eq!(challenge_of(&bad), format!("Bearer realm=\"api\", error=\"invalid_token\", {metadata}"));
        let scope = refused(Kind::Scope { scopes: "a b".into() }, Audience::Api);
        assert_eq!(scope.status(), 403);
        assert!(challenge_of(&scope).contains("error=\"insufficient_scope\", scope=\"a b\""));
        assert_eq!(challenge_of(&refused(Kind::Forbidden, Audience::Api)), "");
    }

    #[tokio::test]
    async fn a_program_learns_where_its_user_could_sign_in() {
        for (kind, wanted) in [
            (Kind::NoCredential, Some(LOGIN_URL)),
            (Kind::StepUp { acr_values: None, max_age: Some(60) }, Some(LOGIN_URL)),
            (Kind::BadCredential, None),
            (Kind::Forbidden, None),
            (Kind::Unavailable { retry_after: Duration::ZERO }, None),
        ] {
            let body = crate::wire::body::capped(refused(kind.clone(), Audience::Api).into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.get("login_url").and_then(|url| url.as_str()), wanted, "{kind:?}");
        }
    }

    #[test]
    fn grpc_hears_a_status_in_a_trailers_only_answer() {
        for (kind, code) in [
            (Kind::NoCredential, "16"),
            (Kind::Forbidden, "7"),
            (Kind::NoRoute, "12"),
            (Kind::Unavailable { retry_after: Duration::ZERO }, "14"),
            (Kind::UpstreamDown, "14"),
            (Kind::UpstreamSlow, "4"),
        ] {
            let response = refused(kind, Audience::Grpc);
            assert_eq!(
                (response.status().as_u16(), response.headers().get("grpc-status").unwrap()),
                (200, &code.parse::<HeaderValue>().unwrap())
            );
        }
    }

    #[test]
    fn an_outage_says_when_to_come_back() {
        let response = refused(Kind::Unavailable { retry_after: Duration::from_millis(1200) }, Audience::Browser);
        assert_eq!(
            (response.status().as_u16(), response.headers().get(RETRY_AFTER).unwrap()),
            (503, &HeaderValue::from_static("2"))
        );
    }
}
