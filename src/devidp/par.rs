//! Pushed authorization requests (RFC 9126): the client sends its request here first, authenticated, and the browser
//! carries only a reference to it.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::answer::{Answer, Content, OAuthError};
use super::authorize::request::{self, Refused};
use super::client_auth::authenticate;
use super::form::Asked;
use super::realm::Realm;
use crate::seal::random;

const LIFETIME: Duration = Duration::from_secs(90);

pub fn answer(realm: &Realm, asked: &Asked) -> Answer {
    if asked.method != http::Method::POST {
        return Answer::method_not_allowed("POST");
    }
    match serve(realm, asked) {
        Ok(uri) => {
            let body = json!({ "request_uri": uri, "expires_in": LIFETIME.as_secs() });
            Answer::new(StatusCode::CREATED, Content::Json(body))
        }
        Err(refused) => refused.into(),
    }
}

fn serve(realm: &Realm, asked: &Asked) -> Result<String, OAuthError> {
    let client = authenticate(realm, asked)?;
    if asked.form.get("request_uri").is_some() {
        return Err(OAuthError::invalid_request("request_uri can't be pushed"));
    }
    // RFC 9126 section 2.1: it is a parameter of the request, however the client authenticates.
    if asked.form.get("client_id").is_none() {
        return Err(OAuthError::invalid_request("client_id is missing"));
    }
    let form = request::resolve(realm, &asked.form)?;
    if form.get("client_id") != Some(&client.client_id) {
        return Err(OAuthError::invalid_request("client_id is not that of the client that pushes"));
    }
    match request::read(realm, &form) {
        Ok(_) => {}
        Err(Refused::Here(why)) => return Err(OAuthError::invalid_request(why)),
        Err(Refused::AtClient(_, refused)) => return Err(refused),
    }
    let uri = format!("urn:ietf:params:oauth:request_uri:{}", random::token());
    let until = realm.now().plus(LIFETIME);
    realm.state().pushed.put(uri.clone(), (client.client_id.clone(), form), until);
    Ok(uri)
}
