//! Which client is calling. Comes in: a form post. Goes out: the registered client, proven by its secret (Basic or
//! form), by an assertion that it signed (RFC 7523), or named only, if it is a public one. Exactly one way a request.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::answer::OAuthError;
use super::form::Asked;
use super::jwt::Parsed;
use super::realm::Realm;
use super::settings::{Authentication, ClientEntry};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Assertions are made to be used at once; a longer life is a mistake of the client.
const ASSERTION_LIFETIME: u64 = 600;

const UNKNOWN: OAuthError = OAuthError::invalid_client("client authentication failed");

/// What the request shows.
enum Shown {
    Basic { client_id: String, secret: String },
    Post { client_id: String, secret: String },
    Assertion(Box<Parsed>),
    Nothing { client_id: String },
}

/// Finds out who calls.
pub fn authenticate(realm: &Realm, asked: &Asked) -> Result<Arc<ClientEntry>, OAuthError> {
    let shown = shown(asked)?;
    let client_id = match &shown {
        Shown::Basic { client_id, .. } | Shown::Post { client_id, .. } | Shown::Nothing { client_id } => client_id,
        Shown::Assertion(assertion) => assertion.text("sub").ok_or(UNKNOWN)?,
    };
    let client = realm.client(client_id).ok_or(UNKNOWN)?;
    let proven = match (&shown, client.authentication) {
        (Shown::Basic { secret, .. }, Authentication::Secret | Authentication::SecretBasic)
        | (Shown::Post { secret, .. }, Authentication::Secret | Authentication::SecretPost) => {
            client.secret.as_ref().is_some_and(|known| known.equals(secret.as_bytes()))
        }
        (Shown::Assertion(assertion), Authentication::SecretJwt) => {
            let signed =
                client.secret.as_ref().is_some_and(|known| assertion.signed_with_secret(known.expose().as_bytes()));
            signed && assertion_holds(realm, assertion, &client.client_id)
        }
        (Shown::Assertion(assertion), Authentication::PrivateKeyJwt) => {
            assertion.signed_by(&client.jwks) && assertion_holds(realm, assertion, &client.client_id)
        }
        (Shown::Nothing { .. }, Authentication::None) => true,
        _ => false,
    };
    if proven { Ok(client) } else { Err(UNKNOWN) }
}

fn shown(asked: &Asked) -> Result<Shown, OAuthError> {
    const SEVERAL: OAuthError = OAuthError::invalid_request("more than one way of client authentication was used");
    let named = asked.form.get("client_id");
    let assertion = asked.form.get("client_assertion");
    let secret = asked.form.get("client_secret");
    if asked.headers.contains_key(http::header::AUTHORIZATION) {
        if assertion.is_some() || secret.is_some() {
            return Err(SEVERAL);
        }
        let (client_id, secret) = asked.basic().ok_or(UNKNOWN)?;
        let (client_id, secret) = (form_decoded(&client_id)?, form_decoded(&secret)?);
        if named.is_some_and(|named| named != client_id) {
            return Err(OAuthError::invalid_request("client_id is not that of the Authorization header"));
        }
        return Ok(Shown::Basic { client_id, secret });
    }
    if let Some(assertion) = assertion {
        if secret.is_some() {
            return Err(SEVERAL);
        }
        if asked.form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(OAuthError::invalid_request("client_assertion_type must be that of RFC 7523"));
        }
        return Parsed::read(assertion).map(|parsed| Shown::Assertion(Box::new(parsed))).ok_or(UNKNOWN);
    }
    let client_id = named.ok_or(UNKNOWN)?.to_owned();
    Ok(match secret {
        Some(secret) => Shown::Post { client_id, secret: secret.to_owned() },
        None => Shown::Nothing { client_id },
    })
}

/// RFC 6749 section 2.3.1: both halves of the Basic credentials are form-encoded.
fn form_decoded(text: &str) -> Result<String, OAuthError> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| UNKNOWN)
}

/// RFC 7523 section 3: who made it, for whom, and that it is fresh and new. The issuer and the token endpoint are both
/// taken as audience, since clients of either habit exist.
fn assertion_holds(realm: &Realm, assertion: &Parsed, client_id: &str) -> bool {
    let now = realm.now();
    let (Some(expires), Some(id)) = (assertion.seconds("exp"), assertion.text("jti")) else { return false };
    let audience =
        [realm.issuer.clone(), realm.endpoint("/token"), realm.endpoint("/par"), realm.endpoint("/introspect")];
    let holds = assertion.text("iss") == Some(client_id)
        && audience.iter().any(|audience| assertion.is_for(audience))
        && expires > now.seconds()
        && expires <= now.seconds() + ASSERTION_LIFETIME;
    let key = format!("{client_id} {id}");
    let mut state = realm.state();
    if !holds || state.assertions.look(&key, now).is_some() {
        return false;
    }
    state.assertions.put(key, (), now.plus(Duration::from_secs(ASSERTION_LIFETIME)));
    true
}
