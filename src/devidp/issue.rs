//! Makes tokens: access tokens (JWT of RFC 9068, or opaque), ID tokens (OIDC Core section 2), refresh tokens. Comes in:
//! a grant. Goes out: the token, remembered where introspection and revocation will look for it.

use serde_json::{Map, Value, json};

use super::answer::OAuthError;
use super::faults::Fault;
use super::jwt::{self, Members, Signer};
use super::keys::KeyError;
use super::lies::Draft;
use super::model::{AccessToken, Grant, RefreshToken};
use super::realm::Realm;
use super::settings::{AccessTokenKind, ClientEntry, GrantType, User};
use crate::seal::random;

impl From<KeyError> for OAuthError {
    fn from(_: KeyError) -> Self {
        Self::new("server_error", "a signature could not be made")
    }
}

/// Claims that a scope opens (OIDC Core section 5.4); what is named nowhere here is given with any scope.
const CLAIMS_BY_SCOPE: [(&str, &[&str]); 5] = [
    (
        "profile",
        &[
            "name",
            "given_name",
            "family_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("phone", &["phone_number", "phone_number_verified"]),
    ("address", &["address"]),
    ("groups", &["groups", "roles"]),
];

/// The claims about a user that `grant` opens.
pub fn user_claims(user: &User, grant: &Grant) -> Members {
    let opened = |name: &str| {
        let scope = CLAIMS_BY_SCOPE.iter().find(|(_, claims)| claims.contains(&name)).map(|(scope, _)| scope);
        scope.is_none_or(|scope| grant.has(scope))
    };
    user.claims.iter().filter(|(name, _)| opened(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `sub` of a grant: a machine is its own subject (RFC 9068 section 5).
pub fn subject<'a>(realm: &'a Realm, grant: &'a Grant) -> &'a str {
    let user = grant.user.as_deref().and_then(|name| realm.user(name));
    user.map_or(&grant.client_id, |user| user.subject())
}

/// One audience is a string, several are an array.
pub fn audience_claim(audience: &[String]) -> Value {
    match audience {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

/// Makes and remembers an access token.
pub fn access_token(realm: &Realm, client: &ClientEntry, grant: &Grant) -> Result<String, OAuthError> {
    let expires = realm.now().plus(client.access_token_lifetime);
    let id = random::token();
    let claims = access_claims(realm, client, grant, &id);
    let (key, text) = match client.access_token {
        AccessTokenKind::Opaque => {
            let token = random::token();
            (token.clone(), token)
        }
        AccessTokenKind::Jwt => {
            (id, jwt::sign(access_header(), &claims, Signer::Keys(&realm.keys(), client.algorithm))?)
        }
    };
    realm.state().access_tokens.put(key, AccessToken { grant: grant.clone(), claims }, expires);
    Ok(text)
}

/// RFC 9068 section 2.1.
pub fn access_header() -> Members {
    Map::from_iter([("typ".to_owned(), json!("at+jwt"))])
}

/// RFC 9068 section 2.2.
fn access_claims(realm: &Realm, client: &ClientEntry, grant: &Grant, id: &str) -> Members {
    let now = realm.now();
    let mut claims = client.claims.clone();
    if let Some(user) = grant.user.as_deref().and_then(|name| realm.user(name)) {
        claims.extend(user_claims(user, grant));
    }
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            claims.insert(name.to_owned(), value);
        }
    };
    set("iss", json!(realm.issuer));
    set("sub", json!(subject(realm, grant)));
    set("aud", audience_claim(&grant.audience));
    set("client_id", json!(grant.client_id));
    set("iat", json!(now.seconds()));
    set("exp", json!(now.plus(client.access_token_lifetime).seconds()));
    set("jti", json!(id));
    set("scope", if grant.scopes.is_empty() { Value::Null } else { json!(grant.scope()) });
    set("act", grant.actor.clone().unwrap_or_default());
    if let Some(session) = &grant.session {
        set("sid", json!(session.id));
        set("auth_time", json!(session.signed_in.seconds()));
        set("acr", json!(session.acr));
    }
    claims
}

/// What an ID token travels with; the hashes of these go into it.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    pub access_token: Option<&'a str>,
    pub code: Option<&'a str>,
}

/// Makes an ID token, or, under a fault, one that lies.
pub fn id_token(
    realm: &Realm,
    client: &ClientEntry,
    grant: &Grant,
    beside: Beside<'_>,
    fault: Option<&Fault>,
) -> Result<String, OAuthError> {
    let now = realm.now();
    let user = grant.user.as_deref().and_then(|name| realm.user(name));
    let mut claims = user.map(|user| user_claims(user, grant)).unwrap_or_default();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    set("iss", Some(json!(realm.issuer)));
    set("sub", Some(json!(subject(realm, grant))));
    set("aud", Some(json!(client.client_id)));
    set("azp", Some(json!(client.client_id)));
    set("iat", Some(json!(now.seconds())));
    set("exp", Some(json!(now.plus(realm.settings.id_token_lifetime).seconds())));
    set("nonce", grant.nonce.as_ref().map(|nonce| json!(nonce)));
    set("at_hash", beside.access_token.map(|token| json!(jwt::half_hash(client.algorithm, token))));
    set("c_hash", beside.code.map(|code| json!(jwt::half_hash(client.algorithm, code))));
    if let Some(session) = &grant.session {
        set("sid", Some(json!(session.id)));
        set("auth_time", Some(json!(session.signed_in.seconds())));
        set("acr", Some(json!(session.acr)));
        set("amr", Some(json!(["pwd"])));
    }
    sign_draft(realm, client, Map::from_iter([("typ".to_owned(), json!("JWT"))]), claims, fault)
}

/// Signs as `client` is registered, unless a fault says to lie.
pub fn sign_draft(
    realm: &Realm,
    client: &ClientEntry,
    header: Members,
    claims: Members,
    fault: Option<&Fault>,
) -> Result<String, OAuthError> {
    let keys = realm.keys();
    let secret = client.secret.as_ref().map(|secret| secret.expose().as_bytes()).unwrap_or_default();
    let Some(Fault::Lie(lie)) = fault else {
        return Ok(jwt::sign(header, &claims, Signer::Keys(&keys, client.algorithm))?);
    };
    let foreign = realm.foreign_keys()?;
    let draft = Draft { header, claims, algorithm: client.algorithm, keys: &keys, foreign, client_secret: secret };
    Ok(lie.sign(draft)?)
}

/// Makes a refresh token, if the client may use one.
pub fn refresh_token(realm: &Realm, client: &ClientEntry, grant: &Grant) -> Option<String> {
    if !client.allows(GrantType::RefreshToken) {
        return None;
    }
    let token = random::token();
    let expires = realm.now().plus(client.refresh_token_lifetime);
    let remembered = RefreshToken { grant: grant.clone(), expires, used: false };
    // Kept past its end, so that a late second use is still known for what it is.
    realm.state().refresh_tokens.put(token.clone(), remembered, expires.plus(client.refresh_token_lifetime));
    Some(token)
}
