//! One token for another (RFC 8693): the caller's token becomes one for the audience that the client names. With an
//! actor token the new one says who acts (`act`); without, it is impersonation.

use serde_json::{Value, json};

use super::{Reply, granted_audience};
use crate::devidp::answer::OAuthError;
use crate::devidp::form::Asked;
use crate::devidp::introspect::{self, Live};
use crate::devidp::model::Grant;
use crate::devidp::realm::Realm;
use crate::devidp::settings::ClientEntry;
use crate::seal::random;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

pub fn grant(realm: &Realm, client: &ClientEntry, asked: &Asked) -> Result<Reply, OAuthError> {
    let form = &asked.form;
    let subject = presented(realm, asked, "subject_token", "subject_token_type")?;
    let actor = match form.get("actor_token") {
        Some(_) => Some(presented(realm, asked, "actor_token", "actor_token_type")?),
        None if form.get("actor_token_type").is_some() => {
            return Err(OAuthError::invalid_request("actor_token_type without actor_token"));
        }
        None => None,
    };
    if !matches!(form.get("requested_token_type"), None | Some(ACCESS_TOKEN | JWT)) {
        return Err(OAuthError::invalid_request("only access tokens are given in exchange"));
    }
    let wanted = form.words("scope");
    // Never more than the subject token had.
    if !wanted.iter().all(|scope| subject.grant.has(scope)) {
        return Err(OAuthError::invalid_scope());
    }
    let grant = Grant {
        id: random::token(),
        client_id: client.client_id.clone(),
        scopes: if wanted.is_empty() { subject.grant.scopes.clone() } else { wanted },
        audience: granted_audience(client, form)?,
        actor: actor.map(|actor| act(&actor, &subject)),
        nonce: None,
        ..subject.grant
    };
    Ok(Reply::new(realm, client, &grant)?.with("issued_token_type", Some(ACCESS_TOKEN.to_owned())))
}

/// The chain of actors, the newest outermost (RFC 8693 section 4.1).
fn act(actor: &Live, subject: &Live) -> Value {
    match &subject.grant.actor {
        Some(earlier) => json!({ "sub": actor.subject, "act": earlier }),
        None => json!({ "sub": actor.subject }),
    }
}

fn presented(realm: &Realm, asked: &Asked, name: &str, kind: &str) -> Result<Live, OAuthError> {
    let token = asked.form.get(name).ok_or(OAuthError::invalid_request("a token to exchange is missing"))?;
    match asked.form.get(kind) {
        Some(ACCESS_TOKEN | JWT | ID_TOKEN) => {}
        Some(_) => return Err(OAuthError::invalid_request("a token of this type can't be exchanged")),
        None => return Err(OAuthError::invalid_request("the type of the token to exchange is missing")),
    }
    introspect::live(realm, token).ok_or(OAuthError::invalid_request("the token to exchange is not valid"))
}
