//! Signed answers of the authorization endpoint (JWT Secured Authorization Response Mode for OAuth 2.0, JARM). Comes in: the
//! `response` parameter. Goes out: the parameters that it holds, first as they are stated, so that the attempt can be found
//! which they belong to, and then that they are the issuer's.

use std::time::Duration;

use serde_json::Value;

use super::{Issuer, KeysUnavailable};
use crate::caller::Claims;
use crate::clock::Time;
use crate::jose::token::without_application;
use crate::jose::{Header, Jws, claims, json};
use crate::wire::form::Form;

/// The longest answer that is looked at: a few tokens in a token. Bytes.
pub const LIMIT: usize = 128 * 1024;

/// JARM section 2.1 advises ten minutes at most; who says more than an hour means something else.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// More members than any answer has.
const MOST_MEMBERS: usize = 50;

/// Which rule a signed answer broke (JARM section 2.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedAnswerError {
    #[error("it is no signed token: {0}")]
    Malformed(&'static str),
    #[error("it is another kind of token")]
    Kind,
    #[error("`{0}` is missing or has the wrong type")]
    Claim(&'static str),
    #[error("`iss` is not the issuer")]
    Issuer,
    #[error("`aud` is not this client")]
    Audience,
    #[error("it has expired, or lives too long")]
    Expired,
    #[error("signed with an algorithm that the issuer is not configured for")]
    Algorithm,
    #[error("the signature is not by a key of the issuer")]
    Signature,
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
}

/// The parameters that a signed answer states, none of them to be believed yet.
///
/// # Errors
/// [`SignedAnswerError::Malformed`] when it is no token, or a member is neither text nor a number.
pub fn stated(text: &str) -> Result<Form, SignedAnswerError> {
    let jws = Jws::parse(text, LIMIT).map_err(|_| SignedAnswerError::Malformed("shape or header"))?;
    let claims = members(&jws)?;
    if claims.len() > MOST_MEMBERS {
        return Err(SignedAnswerError::Malformed("members"));
    }
    let mut form = Form::default();
    for (name, value) in &claims {
        match value {
            // The token's own.
            _ if ["aud", "exp", "iat", "nbf", "jti"].contains(&name.as_str()) => {}
            Value::String(text) => form.push(name, text),
            Value::Number(number) => form.push(name, &number.to_string()),
            // An extension: nothing that is asked for is anything else.
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    Ok(form)
}

fn members(jws: &Jws<'_>) -> Result<Claims, SignedAnswerError> {
    json::object(&jws.payload).map_err(|_| SignedAnswerError::Malformed("payload"))
}

impl Issuer {
    /// Checks a signed answer in full.
    ///
    /// # Errors
    /// [`SignedAnswerError`] for the first rule that does not hold; [`SignedAnswerError::Keys`] when that can't be known now.
    pub async fn check_signed_answer(&self, text: &str, client_id: &str, now: Time) -> Result<(), SignedAnswerError> {
        let jws = Jws::parse(text, LIMIT).map_err(|_| SignedAnswerError::Malformed("shape or header"))?;
        let settings = self.settings();
        if !settings.algorithms.contains(jws.header.algorithm) {
            return Err(SignedAnswerError::Algorithm);
        }
        let expected = Expected { issuer: &settings.issuer, client_id, clock_skew: settings.clock_skew, now };
        judge(&jws.header, &members(&jws)?, &expected)?;
        self.check_signature(&jws).await?.map_err(|_| SignedAnswerError::Signature)
    }
}

struct Expected<'a> {
    issuer: &'a str,
    client_id: &'a str,
    clock_skew: Duration,
    now: Time,
}

fn judge(header: &Header, claims: &Claims, expected: &Expected<'_>) -> Result<(), SignedAnswerError> {
    let typ = header.typ.as_deref().map(without_application);
    if !typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")) {
        return Err(SignedAnswerError::Kind);
    }
    let issuer = claims::text(claims, "iss").map_err(|_| SignedAnswerError::Claim("iss"))?;
    if issuer != Some(expected.issuer) {
        return Err(SignedAnswerError::Issuer);
    }
    let is_ours = match claims.get("aud") {
        Some(Value::String(audience)) => audience == expected.client_id,
        Some(Value::Array(audiences)) => audiences.iter().all(|audience| audience == expected.client_id),
        _ => false,
    };
    if !is_ours {
        return Err(SignedAnswerError::Audience);
    }
    let date = |name| claims::date(claims, name).map_err(|_| SignedAnswerError::Claim(name));
    let expires_at = date("exp")?.ok_or(SignedAnswerError::Claim("exp"))?;
    let (now, skew) = (expected.now, expected.clock_skew);
    if expires_at.plus(skew) <= now || expires_at > now.plus(LONGEST_LIFE + skew) {
        return Err(SignedAnswerError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::idp::testing::NOW;
    use crate::jose::Algorithm;

    fn verdict(typ: Option<&str>, changes: &Value) -> Result<(), SignedAnswerError> {
        let mut claims =
            json!({ "iss": "https://id.example", "aud": "shop", "exp": NOW + 300, "code": "c", "state": "s" });
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
    fn each_rule_is_looked_at() {
        use SignedAnswerError::{Audience, Claim, Expired, Issuer, Kind};
        assert_eq!(verdict(None, &json!({})), Ok(()));
        assert_eq!(verdict(Some("JWT"), &json!({ "aud": ["shop"] })), Ok(()));
        for (changes, error) in [
            (json!({ "iss": "https://other.example" }), Issuer),
            (json!({ "iss": null }), Issuer),
            (json!({ "iss": 7 }), Claim("iss")),
            (json!({ "aud": "other" }), Audience),
            (json!({ "aud": ["shop", "other"] }), Audience),
            (json!({ "aud": null }), Audience),
            (json!({ "exp": null }), Claim("exp")),
            (json!({ "exp": "1" }), Claim("exp")),
            (json!({ "exp": NOW - 30 }), Expired),
            (json!({ "exp": NOW + 86_400 }), Expired),
        ] {
            assert_eq!(verdict(None, &changes), Err(error), "{changes}");
        }
        for typ in ["at+jwt", "logout+jwt"] {
            assert_eq!(verdict(Some(typ), &json!({})), Err(Kind), "{typ}");
        }
    }

    #[test]
    fn what_is_no_token_states_nothing() {
        for text in ["", "a.b.c", "code=c", "eyJhbGciOiJub25lIn0.e30."] {
            assert!(matches!(stated(text), Err(SignedAnswerError::Malformed(_))), "{text}");
        }
    }
}
