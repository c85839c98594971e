//! New tokens for a refresh token (RFC 6749 section 6). With rotation each works once; a second use is taken for theft
//! and ends the grant (RFC 9700 section 4.14.2).

use super::Reply;
use crate::devidp::answer::OAuthError;
use crate::devidp::faults::Fault;
use crate::devidp::form::Asked;
use crate::devidp::issue::{self, Beside};
use crate::devidp::model::Grant;
use crate::devidp::realm::Realm;
use crate::devidp::settings::ClientEntry;

pub fn grant(realm: &Realm, client: &ClientEntry, asked: &Asked, fault: Option<&Fault>) -> Result<Reply, OAuthError> {
    let given = asked.form.get("refresh_token").ok_or(OAuthError::invalid_request("refresh_token is missing"))?;
    let wanted = asked.form.words("scope");
    let whole = redeem(realm, client, given, &wanted)?;
    // Less may be asked for than was granted; the refresh token keeps the whole (RFC 6749 section 6).
    let narrowed = if wanted.is_empty() { whole.clone() } else { Grant { scopes: wanted, ..whole.clone() } };
    let reply = Reply::new(realm, client, &narrowed)?;
    let refresh = if client.refresh_rotation { issue::refresh_token(realm, client, &whole) } else { None };
    // OIDC Core section 12.2: no nonce need be in it, and iss, sub, aud and auth_time stay.
    let told = Grant { nonce: None, ..narrowed };
    let beside = Beside { access_token: Some(&reply.access_token), code: None };
    let id_token = told.has("openid").then(|| issue::id_token(realm, client, &told, beside, fault)).transpose()?;
    Ok(reply.with("refresh_token", refresh).with("id_token", id_token))
}

fn redeem(realm: &Realm, client: &ClientEntry, given: &str, wanted: &[String]) -> Result<Grant, OAuthError> {
    let now = realm.now();
    let mut state = realm.state();
    let unknown = OAuthError::invalid_grant("the refresh token is unknown, expired or revoked");
    let known = state.refresh_tokens.look_mut(given, now);
    let token = known.filter(|token| token.grant.client_id == client.client_id).ok_or(unknown.clone())?;
    let grant = token.grant.clone();
    if token.used {
        state.end_grant(&grant.id, now);
        return Err(OAuthError::invalid_grant("the refresh token was used before; the grant has ended"));
    }
    if token.expires <= now {
        return Err(unknown);
    }
    if !wanted.iter().all(|scope| grant.has(scope)) {
        return Err(OAuthError::invalid_scope());
    }
    token.used = client.refresh_rotation;
    if state.has_ended(&grant.id, now) { Err(unknown) } else { Ok(grant) }
}
