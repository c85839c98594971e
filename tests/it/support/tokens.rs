//! Tokens, right and wrong. A token is put together from bytes: nothing is repaired on the way.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::keys::{Key, base64url, ring};

pub const ISSUER: &str = "https://issuer.test";
pub const OTHER_ISSUER: &str = "https://other.test";
pub const AUDIENCE: &str = "orders-api";

/// Seconds since 1970.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("before 2^63")
}

/// The claims of a token that passes, with these scopes.
pub fn claims(scopes: &str) -> Value {
    json!({
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "exp": now() + 300,
        "iat": now() - 5,
        "client_id": "shop",
        "scope": scopes,
    })
}

/// A token that passes where these scopes are enough.
pub fn good(scopes: &str) -> String {
    signed(&ring().rsa, claims(scopes))
}

/// These claims, signed by the key under its own algorithm and `kid`.
pub fn signed(key: &Key, claims: Value) -> String {
    let header = json!({ "alg": key.algorithm(), "typ": "at+jwt", "kid": key.kid });
    compact(header.to_string(), claims.to_string(), |input| key.sign(key.algorithm(), input))
}

/// Header and payload verbatim, whatever they are, and whatever signature.
pub fn compact(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// A value with members set anew from another object; `null` removes one.
pub fn merged(base: &Value, changes: &Value) -> Value {
    let mut merged = base.clone();
    let object = merged.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().into_iter().flatten() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    merged
}

/// What a JWT says.
pub fn said(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a JWT");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}
