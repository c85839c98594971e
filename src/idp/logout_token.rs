//! Logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.6): how a provider says that sessions are over. Comes
//! in: the text of one. Goes out: whose sessions, or the one rule that was broken.

use std::time::Duration;

use serde_json::Value;

use super::{Issuer, KeysUnavailable};
use crate::caller::Claims;
use crate::clock::Time;
use crate::jose::token::without_application;
use crate::jose::{Header, Jws, claims, json};

/// The longest logout token that is looked at. Bytes.
pub const LIMIT: usize = 16 * 1024;

/// A logout token is told at once or not at all: one that is older proves nothing, and its `jti` must be remembered no
/// longer than this.
pub const OLDEST: Duration = Duration::from_secs(600);

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The longest identifier in it. Bytes.
const LONGEST_IDENTIFIER: usize = 1024;

/// A logout token whose every rule and whose signature held. At least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    pub subject: Option<Box<str>>,
    pub session: Option<Box<str>>,
    /// `jti`: to be taken once.
    pub id: Box<str>,
    /// Until when a replay of it must be known as one.
    pub remember_until: Time,
}

/// Which rule a logout token broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutTokenError {
    #[error("it is no signed token")]
    Malformed,
    #[error("it is another kind of token")]
    Kind,
    #[error("`{0}` is missing or has the wrong type")]
    Claim(&'static str),
    #[error("`iss` is not the issuer")]
    Issuer,
    #[error("`aud` does not name this client")]
    Audience,
    #[error("signed with an algorithm that the issuer is not configured for")]
    Algorithm,
    #[error("the signature is not by a key of the issuer")]
    Signature,
    #[error("it has expired, or is too old")]
    Expired,
    #[error("it was issued in the future")]
    FromTheFuture,
    #[error("`events` does not say that somebody signed out")]
    Event,
    #[error("it has a `nonce`, as an ID token has")]
    Nonce,
    #[error("it names neither `sub` nor `sid`")]
    Nobody,
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
}

/// `iss` as a token states it, to find the client that it is for; not to be believed yet.
pub fn stated_issuer(text: &str) -> Option<String> {
    let jws = Jws::parse(text, LIMIT).ok()?;
    let claims = json::object(&jws.payload).ok()?;
    claims::stated_issuer(&claims).map(str::to_owned)
}

impl Issuer {
    /// Checks a logout token in full, but for whether it came before: that is the caller's to remember.
    ///
    /// # Errors
    /// [`LogoutTokenError`] for the first rule that does not hold.
    pub async fn check_logout_token(
        &self,
        text: &str,
        client_id: &str,
        now: Time,
    ) -> Result<LogoutToken, LogoutTokenError> {
        let jws = Jws::parse(text, LIMIT).map_err(|_| LogoutTokenError::Malformed)?;
        let claims = json::object(&jws.payload).map_err(|_| LogoutTokenError::Malformed)?;
        let settings = self.settings();
        if !settings.algorithms.contains(jws.header.algorithm) {
            return Err(LogoutTokenError::Algorithm);
        }
        let expected = Expected { issuer: &settings.issuer, client_id, clock_skew: settings.clock_skew, now };
        let token = judge(&jws.header, &claims, &expected)?;
        self.check_signature(&jws).await?.map_err(|_| LogoutTokenError::Signature)?;
        Ok(token)
    }
}

struct Expected<'a> {
    issuer: &'a str,
    client_id: &'a str,
    clock_skew: Duration,
    now: Time,
}

fn judge(header: &Header, claims: &Claims, expected: &Expected<'_>) -> Result<LogoutToken, LogoutTokenError> {
    let typ = header.typ.as_deref().map(without_application);
    let fits = |typ: &str| typ.eq_ignore_ascii_case("logout+jwt") || typ.eq_ignore_ascii_case("JWT");
    if !typ.is_none_or(fits) {
        return Err(LogoutTokenError::Kind);
    }
    if text(claims, "iss")? != Some(expected.issuer) {
        return Err(LogoutTokenError::Issuer);
    }
    is_for(claims, expected.client_id)?;
    let (now, skew) = (expected.now, expected.clock_skew);
    let issued_at = date(claims, "iat")?.ok_or(LogoutTokenError::Claim("iat"))?;
    let expires_at = date(claims, "exp")?.ok_or(LogoutTokenError::Claim("exp"))?;
    let remember_until = expires_at.min(issued_at.plus(OLDEST)).plus(skew);
    if remember_until <= now {
        return Err(LogoutTokenError::Expired);
    }
    if issued_at > now.plus(skew) {
        return Err(LogoutTokenError::FromTheFuture);
    }
    let id = identifier(claims, "jti")?.ok_or(LogoutTokenError::Claim("jti"))?;
    // The member's value is an object, and should be the empty one; what else is in `events` is not ours to judge.
    let events = claims.get("events").and_then(Value::as_object);
    if !events.and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(LogoutTokenError::Event);
    }
    // Section 2.4: so that it can't be passed off as an ID token.
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let (subject, session) = (identifier(claims, "sub")?, identifier(claims, "sid")?);
    if subject.is_none() && session.is_none() {
        return Err(LogoutTokenError::Nobody);
    }
    Ok(LogoutToken { subject, session, id, remember_until })
}

fn is_for(claims: &Claims, client_id: &str) -> Result<(), LogoutTokenError> {
    let is_ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == client_id,
        Some(Value::Array(audiences)) => {
            if !audiences.iter().all(Value::is_string) {
                return Err(LogoutTokenError::Claim("aud"));
            }
            audiences.iter().any(|audience| audience.as_str() == Some(client_id))
        }
        None => false,
        Some(_) => return Err(LogoutTokenError::Claim("aud")),
    };
    if is_ours { Ok(()) } else { Err(LogoutTokenError::Audience) }
}

/// A string that names something: never empty, and of bounded length, for it is remembered.
fn identifier(claims: &Claims, name: &'static str) -> Result<Option<Box<str>>, LogoutTokenError> {
    match text(claims, name)? {
        None => Ok(None),
        Some(text) if (1..=LONGEST_IDENTIFIER).contains(&text.len()) => Ok(Some(text.into())),
        Some(_) => Err(LogoutTokenError::Claim(name)),
    }
}

fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, LogoutTokenError> {
    claims::text(claims, name).map_err(|_| LogoutTokenError::Claim(name))
}

fn date(claims: &Claims, name: &'static str) -> Result<Option<Time>, LogoutTokenError> {
    claims::date(claims, name).map_err(|_| LogoutTokenError::Claim(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::idp::testing::NOW;
    use crate::jose::Algorithm;

    fn verdict(typ: Option<&str>, changes: &Value) -> Result<LogoutToken, LogoutTokenError> {
        let mut claims = json!({ "iss": "https://id.example", "aud": "shop", "iat": NOW, "exp": NOW + 120, "jti": "j-1",
            "events": { EVENT: {} }, "sub": "alice", "sid": "s-1" });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        let header = Header { algorithm: Algorithm::Es256, kid: None, typ: typ.map(str::to_owned) };
        let (clock_skew, now) = (Duration::from_secs(30), Time::from_seconds(NOW));
        let expected = Expected { issuer: "https://id.example", client_id: "shop", clock_skew, now };
        judge(&header, claims.as_object().unwrap(), &expected)
    }

    #[test]
    fn a_good_token_names_whose_sessions_are_over() {
        for typ in [None, Some("logout+jwt"), Some("application/logout+jwt"), Some("JWT")] {
            let token = verdict(typ, &json!({})).unwrap();
            assert_eq!((token.subject.as_deref(), token.session.as_deref()), (Some("alice"), Some("s-1")));
            assert_eq!((&*token.id, token.remember_until), ("j-1", Time::from_seconds(NOW + 150)));
        }
        assert!(verdict(None, &json!({ "sub": null })).is_ok());
        assert!(verdict(None, &json!({ "sid": null })).is_ok());
        assert!(verdict(None, &json!({ "aud": ["shop", "other"] })).is_ok());
        // However long it says that it is good, it is remembered for a bounded time.
        let long = verdict(None, &json!({ "exp": NOW + 86_400 })).unwrap();
        assert_eq!(long.remember_until, Time::from_seconds(NOW + 630));
    }

    #[test]
    fn each_rule_is_looked_at() {
        use LogoutTokenError::{Audience, Claim, Event, Expired, FromTheFuture, Issuer, Nobody, Nonce};
        let long = "x".repeat(1025);
        for (changes, error) in [
            (json!({ "iss": "https://id.example/" }), Issuer),
            (json!({ "iss": null }), Issuer),
            (json!({ "aud": "other" }), Audience),
            (json!({ "aud": null }), Audience),
            (json!({ "aud": [7] }), Claim("aud")),
            (json!({ "iat": null }), Claim("iat")),
            (json!({ "exp": null }), Claim("exp")),
            (json!({ "exp": "1" }), Claim("exp")),
            (json!({ "exp": NOW - 30 }), Expired),
            (json!({ "iat": NOW - 630, "exp": NOW + 120 }), Expired),
            (json!({ "iat": NOW + 31 }), FromTheFuture),
            (json!({ "jti": null }), Claim("jti")),
            (json!({ "jti": "" }), Claim("jti")),
            (json!({ "events": null }), Event),
            (json!({ "events": EVENT }), Event),
            (json!({ "events": { EVENT: null } }), Event),
            (json!({ "events": { "http://schemas.openid.net/event/other": {} } }), Event),
            (json!({ "nonce": "n" }), Nonce),
            (json!({ "nonce": false }), Nonce),
            (json!({ "sub": null, "sid": null }), Nobody),
            (json!({ "sid": 7 }), Claim("sid")),
            (json!({ "sid": long }), Claim("sid")),
        ] {
            assert_eq!(verdict(None, &changes), Err(error), "{changes}");
        }
        for typ in ["at+jwt", "dpop+jwt", "secevent+jwt"] {
            assert_eq!(verdict(Some(typ), &json!({})), Err(LogoutTokenError::Kind), "{typ}");
        }
    }
}
