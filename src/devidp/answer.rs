//! What the provider says back: a status, a few header fields and content that faults can still change before it is
//! written. OAuth errors have one shape everywhere (RFC 6749 section 5.2).

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::wire::body::Body;

/// Content of an answer, kept apart from its bytes so that a fault may change members of a JSON object.
pub enum Content {
    None,
    Json(Value),
    Html(String),
    /// A signed answer, with its media type.
    Signed(String, &'static str),
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub content: Content,
}

impl Answer {
    pub fn new(status: StatusCode, content: Content) -> Self {
        Self { status, headers: vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], content }
    }

    pub fn json(value: Value) -> Self {
        Self::new(StatusCode::OK, Content::Json(value))
    }

    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, Content::None)
    }

    /// 303, so that a POST is never repeated at the target (RFC 9700 section 4.12).
    pub fn see_other(location: &str) -> Self {
        Self::empty(StatusCode::SEE_OTHER).with(header::LOCATION, location)
    }

    pub fn method_not_allowed(allow: &str) -> Self {
        Self::empty(StatusCode::METHOD_NOT_ALLOWED).with(header::ALLOW, allow)
    }

    /// Adds a field; a value that no header can carry is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub fn into_response(self) -> Response<Body> {
        let (content_type, bytes) = match self.content {
            Content::None => (None, Bytes::new()),
            Content::Json(value) => (Some("application/json"), Bytes::from(value.to_string())),
            Content::Html(page) => (Some("text/html; charset=utf-8"), Bytes::from(page)),
            Content::Signed(token, kind) => (Some(kind), Bytes::from(token)),
        };
        let mut response = Response::new(Body::Full(bytes));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        if let Some(kind) = content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        response
    }
}

/// An OAuth error (RFC 6749 section 5.2): `error` is a registered code, the description is for developers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    pub error: &'static str,
    pub description: &'static str,
}

impl OAuthError {
    pub const fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    pub const fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    pub const fn invalid_grant(description: &'static str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub const fn invalid_client(description: &'static str) -> Self {
        Self::new("invalid_client", description)
    }

    pub const fn invalid_scope() -> Self {
        Self::new("invalid_scope", "a scope that was asked for is not registered for this client")
    }
}

impl From<OAuthError> for Answer {
    fn from(refused: OAuthError) -> Self {
        let body = Content::Json(json!({ "error": refused.error, "error_description": refused.description }));
        match refused.error {
            // RFC 6749 section 5.2: 401 with a challenge that fits what the client may use.
            "invalid_client" => {
                Self::new(StatusCode::UNAUTHORIZED, body).with(header::WWW_AUTHENTICATE, "Basic realm=\"devidp\"")
            }
            "access_denied" => Self::new(StatusCode::FORBIDDEN, body),
            _ => Self::new(StatusCode::BAD_REQUEST, body),
        }
    }
}
