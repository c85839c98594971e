//! The client is the resource owner (RFC 6749 section 4.4): its own token, no refresh token.

use super::{Reply, granted_audience, granted_scopes};
use crate::devidp::answer::OAuthError;
use crate::devidp::form::Asked;
use crate::devidp::model::Grant;
use crate::devidp::realm::Realm;
use crate::devidp::settings::{Authentication, ClientEntry};
use crate::seal::random;

pub fn grant(realm: &Realm, client: &ClientEntry, asked: &Asked) -> Result<Reply, OAuthError> {
    // RFC 6749 section 4.4: confidential clients only.
    if client.authentication == Authentication::None {
        return Err(OAuthError::new("unauthorized_client", "a public client has no credentials"));
    }
    let asked_for = asked.form.words("scope");
    let scopes = if asked_for.is_empty() { client.scopes.clone() } else { granted_scopes(client, asked_for)? };
    let grant = Grant {
        id: random::token(),
        client_id: client.client_id.clone(),
        user: None,
        scopes,
        audience: granted_audience(client, &asked.form)?,
        session: None,
        nonce: None,
        actor: None,
    };
    Reply::new(realm, client, &grant)
}
