//! Whether a token is alive, and what it says (RFC 7662). Only clients that may introspect are told; RFC 9701's signed
//! form is given to who asks for it.

use http::header;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Content, OAuthError};
use super::client_auth::authenticate;
use super::form::Asked;
use super::issue::subject;
use super::jwt::{Members, Parsed, Signer, sign};
use super::model::Grant;
use super::realm::Realm;
use super::settings::ClientEntry;

const SIGNED: &str = "application/token-introspection+jwt";

/// A token that is good right now.
pub struct Live {
    pub grant: Grant,
    pub subject: String,
    pub claims: Members,
}

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    if asked.method != http::Method::POST {
        return Answer::method_not_allowed("POST");
    }
    match serve(realm, asked) {
        Ok((client, verdict)) if asked.header(header::ACCEPT).is_some_and(|accept| accept.contains(SIGNED)) => {
            signed(realm, &client, verdict)
        }
        Ok((_, verdict)) => Answer::json(verdict),
        Err(refused) => refused.into(),
    }
}

fn serve(realm: &Realm, asked: &Asked) -> Result<(std::sync::Arc<ClientEntry>, Value), OAuthError> {
    let client = authenticate(realm, asked)?;
    if !client.may_introspect {
        return Err(OAuthError::new("access_denied", "this client may not introspect"));
    }
    let token = asked.form.get("token").ok_or(OAuthError::invalid_request("token is missing"))?;
    let found = live(realm, token).filter(|live| live.claims.contains_key("client_id"));
    let verdict = found.map(|live| describe(realm, live)).or_else(|| refresh_token(realm, token));
    Ok((client, verdict.unwrap_or_else(|| json!({ "active": false }))))
}

/// RFC 7662 section 2.2.
fn describe(realm: &Realm, live: Live) -> Value {
    let mut members = live.claims;
    members.insert("active".to_owned(), json!(true));
    members.entry("token_type").or_insert_with(|| json!("Bearer"));
    if let Some(user) = live.grant.user.as_deref().and_then(|name| realm.user(name)) {
        members.entry("username").or_insert_with(|| json!(user.name));
    }
    Value::Object(members)
}

/// A refresh token is told about too: its type says what it is.
fn refresh_token(realm: &Realm, token: &str) -> Option<Value> {
    let now = realm.now();
    let state = realm.state();
    let known = state.refresh_tokens.look(token, now)?;
    let grant = &known.grant;
    let alive = !known.used && known.expires > now && !state.has_ended(&grant.id, now);
    alive.then(|| {
        json!({ "active": true, "token_type": "refresh_token", "client_id": grant.client_id, "scope": grant.scope(),
            "sub": subject(realm, grant), "exp": known.expires.seconds(), "iss": realm.issuer })
    })
}

/// RFC 9701 section 5.
fn signed(realm: &Realm, client: &ClientEntry, verdict: Value) -> Answer {
    let header = Map::from_iter([("typ".to_owned(), json!("token-introspection+jwt"))]);
    let claims = Map::from_iter([
        ("iss".to_owned(), json!(realm.issuer)),
        ("aud".to_owned(), json!(client.client_id)),
        ("iat".to_owned(), json!(realm.now().seconds())),
        ("token_introspection".to_owned(), verdict),
    ]);
    match sign(header, &claims, Signer::Keys(&realm.keys(), client.algorithm)) {
        Ok(token) => Answer::new(http::StatusCode::OK, Content::Signed(token, SIGNED)),
        Err(error) => OAuthError::from(error).into(),
    }
}

/// An opaque token that was issued, or a JWT of ours: issued here, or minted for a test.
pub fn live(realm: &Realm, token: &str) -> Option<Live> {
    let now = realm.now();
    let parsed = Parsed::read(token);
    let key = match &parsed {
        Some(parsed) if parsed.signed_by(&realm.published_keys()) => parsed.text("jti").unwrap_or_default().to_owned(),
        Some(_) => return None,
        None => token.to_owned(),
    };
    let state = realm.state();
    let remembered = state.access_tokens.look(&key, now).cloned();
    let (grant, claims) = match (remembered, parsed) {
        (Some(known), _) => (known.grant, known.claims),
        (None, Some(parsed)) if parsed.text("iss") == Some(&realm.issuer) => {
            (grant_of(realm, &parsed.claims), parsed.claims)
        }
        _ => return None,
    };
    let seconds = |claim: &str| claims.get(claim).and_then(Value::as_i64);
    let now_seconds = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    let in_time =
        seconds("exp").is_some_and(|end| end > now_seconds) && seconds("nbf").is_none_or(|start| start <= now_seconds);
    if !in_time || state.revoked.look(&key, now).is_some() || state.has_ended(&grant.id, now) {
        return None;
    }
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Live { grant, subject, claims })
}

/// The grant that a minted token would have come from.
pub fn grant_of(realm: &Realm, claims: &Members) -> Grant {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let audience = match claims.get("aud") {
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => text("aud").map(str::to_owned).into_iter().collect(),
    };
    Grant {
        id: text("jti").unwrap_or_default().to_owned(),
        client_id: text("client_id").unwrap_or_default().to_owned(),
        user: text("sub").and_then(|subject| realm.user_by_subject(subject)).map(|user| user.name.clone()),
        scopes: text("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        audience,
        session: None,
        nonce: None,
        actor: claims.get("act").cloned(),
    }
}
