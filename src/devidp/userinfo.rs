//! Who a token is about (OIDC Core section 5.3), for a token with scope `openid`, in the header or in a form.

use http::{StatusCode, header};
use serde_json::{Value, json};

use super::answer::Answer;
use super::form::Asked;
use super::introspect;
use super::issue::user_claims;
use super::realm::Realm;

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    if asked.method != http::Method::GET && asked.method != http::Method::POST {
        return Answer::method_not_allowed("GET, POST");
    }
    // RFC 6750 section 2: one way a request.
    let token = match (asked.bearer(), asked.form.get("access_token")) {
        (Some(token), None) | (None, Some(token)) => token,
        (None, None) => return challenge(StatusCode::UNAUTHORIZED, ""),
        (Some(_), Some(_)) => return challenge(StatusCode::BAD_REQUEST, " error=\"invalid_request\""),
    };
    let live = introspect::live(realm, token).filter(|live| live.claims.contains_key("client_id"));
    let Some(live) = live else { return challenge(StatusCode::UNAUTHORIZED, " error=\"invalid_token\"") };
    let user = live.grant.user.as_deref().and_then(|name| realm.user(name));
    let Some(user) = user.filter(|_| live.grant.has("openid")) else {
        return challenge(StatusCode::FORBIDDEN, " error=\"insufficient_scope\", scope=\"openid\"");
    };
    let mut claims = user_claims(user, &live.grant);
    claims.insert("sub".to_owned(), json!(user.subject()));
    Answer::json(Value::Object(claims))
}

fn challenge(status: StatusCode, detail: &str) -> Answer {
    Answer::empty(status).with(header::WWW_AUTHENTICATE, &format!("Bearer{detail}"))
}
