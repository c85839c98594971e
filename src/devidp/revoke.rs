//! Revocation (RFC 7009): an access token ends alone, a refresh token ends its whole grant. A token that is unknown, or
//! another client's, gets the same 200 (section 2.2).

use super::answer::{Answer, OAuthError};
use super::client_auth::authenticate;
use super::form::Asked;
use super::introspect;
use super::jwt::Parsed;
use super::realm::Realm;

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    if asked.method != http::Method::POST {
        return Answer::method_not_allowed("POST");
    }
    match serve(realm, asked) {
        Ok(()) => Answer::empty(http::StatusCode::OK),
        Err(refused) => refused.into(),
    }
}

fn serve(realm: &Realm, asked: &Asked) -> Result<(), OAuthError> {
    let client = authenticate(realm, asked)?;
    let token = asked.form.get("token").ok_or(OAuthError::invalid_request("token is missing"))?;
    revoke(realm, token, Some(&client.client_id));
    Ok(())
}

/// Ends `token`, if it is `client_id`'s; anyone's with `None`. Says whether there was anything to end.
pub fn revoke(realm: &Realm, token: &str, client_id: Option<&str>) -> bool {
    let now = realm.now();
    let theirs = |owner: &str| client_id.is_none_or(|client_id| client_id == owner);
    let refresh = realm.state().refresh_tokens.look(token, now).map(|known| known.grant.clone());
    if let Some(grant) = refresh {
        if theirs(&grant.client_id) {
            realm.state().end_grant(&grant.id, now);
        }
        return theirs(&grant.client_id);
    }
    let Some(live) = introspect::live(realm, token).filter(|live| theirs(&live.grant.client_id)) else { return false };
    let id = Parsed::read(token).and_then(|parsed| parsed.text("jti").map(str::to_owned));
    let day = std::time::Duration::from_secs(86_400);
    let until = live
        .claims
        .get("exp")
        .and_then(serde_json::Value::as_u64)
        .map_or(now.plus(day), crate::clock::Time::from_seconds);
    let mut state = realm.state();
    let key = id.unwrap_or_else(|| token.to_owned());
    state.access_tokens.take(&key, now);
    state.revoked.put(key, (), until);
    true
}
