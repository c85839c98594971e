//! The claims of an access token (RFC 7519 section 4, RFC 9068 section 2.2), typed and judged. Comes in: header and
//! payload of a token, what its issuer's tokens must be like, and the time. Goes out: what the rooms need to know of
//! it, or the reason why it is no access token for us now. Nothing here looks at a signature.
//!
//! A claim of the wrong type is a refusal, never an absent claim; only `exp` and `iss` must be there, unless RFC 9068
//! is asked for strictly.

pub mod answer;
mod kind;

use std::time::Duration;

use serde_json::Value;

use super::token::{Header, without_application};
use crate::caller::{Claims, Kind, ScopeSet};
use crate::clock::Time;
use crate::reason::Reason;

/// 9999-12-31T23:59:59Z: what lies behind it is no date that RFC 3339 can write, so it is a mistake (milliseconds
/// taken for seconds) or a probe.
const LAST_SECOND: u64 = 253_402_300_799;

/// Whom a token must be meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// `aud` is not looked at.
    Any,
    /// One of these must be in `aud`, byte for byte.
    OneOf(Box<[Box<str>]>),
}

/// Which tokens an issuer's access tokens are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// `typ` absent, `JWT` or `at+jwt`.
    #[default]
    Any,
    /// RFC 9068 strictly: `typ` is `at+jwt`, and all claims that its section 2.2 requires are there.
    AtJwt,
}

/// What a token must be like to be an access token of this issuer for us.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Compared byte for byte with `iss`.
    pub issuer: &'a str,
    pub audiences: &'a Audiences,
    pub token_type: TokenType,
    /// Lifts the two rules that tell an ID token by `at_hash`, `c_hash` and `nonce`.
    pub accept_id_tokens: bool,
    pub clock_skew: Duration,
}

/// What a token says of itself, in types. To be believed once its signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    pub subject: Option<Box<str>>,
    pub client_id: Option<Box<str>>,
    pub kind: Kind,
    pub scopes: ScopeSet,
    /// `exp` itself.
    pub expires_at: Time,
    /// The span in which it is accepted, skew included: from the first, until just before the second.
    pub usable_from: Time,
    pub usable_until: Time,
}

/// `iss` as a token states it, by which its issuer is chosen. It must be a string (RFC 7519 section 4.1.1).
pub fn stated_issuer(claims: &Claims) -> Option<&str> {
    claims.get("iss").and_then(Value::as_str)
}

/// Judges the claims of a token for its issuer.
///
/// # Errors
/// The one [`Reason`] why this is no access token for us at `now`.
pub fn judge(header: &Header, claims: &Claims, expected: &Expected<'_>, now: Time) -> Result<Stated, Reason> {
    if !expected.token_type.takes(header.typ.as_deref()) {
        return Err(Reason::TokenType);
    }
    if stated_issuer(claims) != Some(expected.issuer) {
        return Err(Reason::TokenIssuer);
    }
    is_access_token(claims, expected.accept_id_tokens)?;
    // A proof of possession can't be checked yet, so nobody has shown one (RFC 9449 section 7, RFC 8705 section 3).
    if claims.contains_key("cnf") {
        return Err(Reason::TokenBound);
    }
    if expected.token_type == TokenType::AtJwt {
        has_all_of_rfc_9068(claims)?;
    }
    is_for_us(claims, expected.audiences)?;
    let stated = stated(claims, expected.clock_skew)?;
    if stated.usable_until <= now {
        return Err(Reason::TokenExpired);
    }
    if now < stated.usable_from {
        return Err(Reason::TokenNotYetValid);
    }
    Ok(stated)
}

impl TokenType {
    fn takes(self, typ: Option<&str>) -> bool {
        let is = |typ: &str, name: &str| without_application(typ).eq_ignore_ascii_case(name);
        match (self, typ) {
            (Self::Any, None) => true,
            (Self::Any, Some(typ)) => is(typ, "JWT") || is(typ, "at+jwt"),
            (Self::AtJwt, typ) => typ.is_some_and(|typ| is(typ, "at+jwt")),
        }
    }
}

/// Tells access tokens from the other tokens that an issuer signs with the same keys: logout and security event tokens
/// by `events` (RFC 8417), what some providers write into the payload's `typ`, and ID tokens by the claims that bind
/// them to a sign-in (OpenID Connect Core sections 2 and 3.3.2.11).
fn is_access_token(claims: &Claims, accept_id_tokens: bool) -> Result<(), Reason> {
    const OTHERS: [&str; 4] = ["ID", "Refresh", "Offline", "Logout"];
    if claims.contains_key("events") {
        return Err(Reason::TokenNotAccess);
    }
    if text(claims, "typ")?.is_some_and(|typ| OTHERS.iter().any(|other| typ.eq_ignore_ascii_case(other))) {
        return Err(Reason::TokenNotAccess);
    }
    let has = |name| claims.contains_key(name);
    let is_id_token = has("at_hash") || has("c_hash") || (has("nonce") && !has("scope") && !has("scp"));
    if is_id_token && !accept_id_tokens { Err(Reason::TokenNotAccess) } else { Ok(()) }
}

/// RFC 9068 section 2.2: `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` are required.
fn has_all_of_rfc_9068(claims: &Claims) -> Result<(), Reason> {
    let all = ["exp", "aud", "sub", "client_id", "iat", "jti"].iter().all(|name| claims.contains_key(*name));
    if all { Ok(()) } else { Err(Reason::TokenClaims) }
}

/// RFC 7519 section 4.1.3: one string, or an array of strings.
fn is_for_us(claims: &Claims, audiences: &Audiences) -> Result<(), Reason> {
    let Audiences::OneOf(ours) = audiences else { return Ok(()) };
    let is_ours = |audience: &str| ours.iter().any(|our| **our == *audience);
    let found = match claims.get("aud") {
        None => false,
        Some(Value::String(audience)) => is_ours(audience),
        Some(Value::Array(items)) if !items.is_empty() => {
            let all: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            all.ok_or(Reason::TokenClaims)?.into_iter().any(is_ours)
        }
        Some(_) => return Err(Reason::TokenClaims),
    };
    if found { Ok(()) } else { Err(Reason::TokenAudience) }
}

fn stated(claims: &Claims, skew: Duration) -> Result<Stated, Reason> {
    let expires_at = date(claims, "exp")?.ok_or(Reason::TokenClaims)?;
    // A token from the future is as little valid as one that isn't to be used yet (RFC 7519 sections 4.1.5, 4.1.6).
    let from = date(claims, "nbf")?.max(date(claims, "iat")?).unwrap_or(Time::from_millis(0));
    let subject = text(claims, "sub")?;
    let _: Option<&str> = text(claims, "jti")?;
    let client_id = text(claims, "client_id")?.or(text(claims, "azp")?);
    Ok(Stated {
        subject: subject.map(Box::from),
        client_id: client_id.map(Box::from),
        kind: kind::kind(claims),
        scopes: scopes(claims)?,
        expires_at,
        usable_from: Time::from_millis(from.millis().saturating_sub(skew_millis(skew))),
        usable_until: expires_at.plus(skew),
    })
}

fn skew_millis(skew: Duration) -> u64 {
    u64::try_from(skew.as_millis()).unwrap_or(u64::MAX)
}

/// A claim that must be a string where it is present.
///
/// # Errors
/// [`Reason::TokenClaims`] when it is anything else.
pub fn text<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Reason::TokenClaims),
    }
}

/// A NumericDate: a JSON number of seconds, fractions allowed (RFC 7519 section 2), between 1970 and the year 9999.
///
/// # Errors
/// [`Reason::TokenClaims`] when it is anything else.
pub fn date(claims: &Claims, name: &str) -> Result<Option<Time>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(Reason::TokenClaims) };
    if let Some(seconds) = number.as_u64().filter(|seconds| *seconds <= LAST_SECOND) {
        return Ok(Some(Time::from_seconds(seconds)));
    }
    match number.as_f64() {
        Some(seconds) if (0.0..=LAST_SECOND as f64).contains(&seconds) => {
            Ok(Some(Time::from_millis((seconds * 1000.0) as u64)))
        }
        _ => Err(Reason::TokenClaims),
    }
}

/// `scope` as RFC 9068 section 2.2.3 has it, one string of scopes between single spaces; `scp` and arrays as others
/// write them. All that is there counts. An array's element is one scope as it stands: one with a space in it equals
/// none that a route can ask for.
fn scopes(claims: &Claims) -> Result<ScopeSet, Reason> {
    let mut all: Vec<&str> = Vec::new();
    for name in ["scope", "scp"] {
        match claims.get(name) {
            None => {}
            Some(Value::String(text)) => all.extend(text.split(' ').filter(|scope| !scope.is_empty())),
            Some(Value::Array(items)) => {
                for item in items {
                    all.push(item.as_str().ok_or(Reason::TokenClaims)?);
                }
            }
            Some(_) => return Err(Reason::TokenClaims),
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests;
