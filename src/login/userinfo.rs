//! Who is signed in, for the site's own pages. Comes in: a session cookie. Goes out: its claims as JSON, never a token.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::Value;

use super::{LoginError, Site, Visit};
use crate::wire::Body;

/// Of no use to a page, and not everybody's business.
const WITHHELD: [&str; 7] = ["nonce", "at_hash", "c_hash", "sid", "jti", "azp", "aud"];

impl Site {
    pub(super) async fn userinfo(&self, visit: &Visit<'_>) -> Result<Response<Body>, LoginError> {
        let session = self.sessions.peek(visit.cookies, visit.facts.now).await?.ok_or(LoginError::NoSession)?;
        let mut claims = session.claims;
        claims.retain(|name, _| !WITHHELD.contains(&name.as_str()));
        let mut response = Response::new(Body::from(Value::Object(claims).to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}
