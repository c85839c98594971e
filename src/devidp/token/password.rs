//! A user's name and password for tokens (RFC 6749 section 4.3): legacy, for clients that have nothing better.

use super::{Reply, granted_audience, granted_scopes};
use crate::devidp::answer::OAuthError;
use crate::devidp::faults::Fault;
use crate::devidp::form::Asked;
use crate::devidp::issue::{self, Beside};
use crate::devidp::model::{Grant, SessionFacts};
use crate::devidp::realm::Realm;
use crate::devidp::settings::ClientEntry;
use crate::seal::random;

pub fn grant(realm: &Realm, client: &ClientEntry, asked: &Asked, fault: Option<&Fault>) -> Result<Reply, OAuthError> {
    let name = asked.form.get("username").ok_or(OAuthError::invalid_request("username is missing"))?;
    let password = asked.form.get("password").ok_or(OAuthError::invalid_request("password is missing"))?;
    let user = realm.sign_in(name, password).ok_or(OAuthError::invalid_grant("user name or password is wrong"))?;
    let grant = Grant {
        id: random::token(),
        client_id: client.client_id.clone(),
        user: Some(user.name.clone()),
        scopes: granted_scopes(client, asked.form.words("scope"))?,
        audience: granted_audience(client, &asked.form)?,
        session: Some(SessionFacts { id: random::token(), signed_in: realm.now(), acr: "1".to_owned() }),
        nonce: None,
        actor: None,
    };
    let reply = Reply::new(realm, client, &grant)?;
    let refresh = issue::refresh_token(realm, client, &grant);
    let beside = Beside { access_token: Some(&reply.access_token), code: None };
    let id_token = grant.has("openid").then(|| issue::id_token(realm, client, &grant, beside, fault)).transpose()?;
    Ok(reply.with("refresh_token", refresh).with("id_token", id_token))
}
