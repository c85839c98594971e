//! An introspection answer (RFC 7662 section 2.2), judged as strictly as the claims of a JWT. Comes in: its members, what
//! the issuer's tokens must be like, and the time. Goes out: the same facts as a JWT's, or the reason why not.
//!
//! The issuer has looked at the token's signature, if it has one; who the token is for is still ours to judge.

use serde_json::Value;

use super::{
    Audiences, Claims, Expected, LAST_SECOND, Stated, date, is_access_token, is_for_us, scopes, skew_millis, text,
};
use crate::clock::Time;
use crate::reason::Reason;

/// What an answer says of the token's life. RFC 7662 makes `active` a required boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Active,
    Inactive,
    /// `active` is missing, or of another type: not a yes, and nothing to be remembered as a no.
    Unclear,
}

pub fn life(answer: &Claims) -> Life {
    match answer.get("active") {
        Some(Value::Bool(true)) => Life::Active,
        Some(Value::Bool(false)) => Life::Inactive,
        _ => Life::Unclear,
    }
}

/// Judges what an answer says of a token that is active. `needs_audience`: an answer without `aud` is refused where the
/// issuer has audiences.
///
/// # Errors
/// The one [`Reason`] why this is no access token for us at `now`.
pub fn judge(answer: &Claims, expected: &Expected<'_>, needs_audience: bool, now: Time) -> Result<Stated, Reason> {
    if text(answer, "iss")?.is_some_and(|iss| iss != expected.issuer) {
        return Err(Reason::TokenIssuer);
    }
    is_access_token(answer, expected.accept_id_tokens)?;
    is_of_a_type_for_us(answer)?;
    if answer.contains_key("cnf") {
        return Err(Reason::TokenBound);
    }
    match (expected.audiences, answer.contains_key("aud")) {
        (Audiences::OneOf(_), false) if needs_audience => return Err(Reason::TokenAudienceMissing),
        (Audiences::OneOf(_), false) => {}
        (audiences, _) => is_for_us(answer, audiences)?,
    }
    let stated = stated(answer, expected)?;
    if stated.usable_until <= now {
        return Err(Reason::TokenExpired);
    }
    if now < stated.usable_from {
        return Err(Reason::TokenNotYetValid);
    }
    Ok(stated)
}

/// `token_type` is that of RFC 6749 section 7.1; some providers write there, or into `token_use`, what kind of token it is.
/// Under the DPoP scheme it is bound to a key (RFC 9449 section 6.2).
fn is_of_a_type_for_us(answer: &Claims) -> Result<(), Reason> {
    let is_one_of = |names: &[&str], text: &str| names.iter().any(|name| name.eq_ignore_ascii_case(text));
    match text(answer, "token_type")? {
        Some(kind) if kind.eq_ignore_ascii_case("DPoP") => return Err(Reason::TokenBound),
        Some(kind) if !is_one_of(&["Bearer", "access_token"], kind) => return Err(Reason::TokenNotAccess),
        _ => {}
    }
    match text(answer, "token_use")? {
        Some(used) if !is_one_of(&["access_token", "access"], used) => Err(Reason::TokenNotAccess),
        _ => Ok(()),
    }
}

/// As for a JWT, but that nothing has to be there.
fn stated(answer: &Claims, expected: &Expected<'_>) -> Result<Stated, Reason> {
    let expires_at = date(answer, "exp")?;
    let from = date(answer, "nbf")?.max(date(answer, "iat")?).unwrap_or(Time::from_millis(0));
    for name in ["jti", "username"] {
        let _: Option<&str> = text(answer, name)?;
    }
    let subject = text(answer, "sub")?;
    let client_id = text(answer, "client_id")?.or(text(answer, "azp")?);
    let expires_at = expires_at.unwrap_or(Time::from_seconds(LAST_SECOND));
    Ok(Stated {
        subject: subject.map(Box::from),
        client_id: client_id.map(Box::from),
        kind: super::kind::kind(answer),
        scopes: scopes(answer)?,
        expires_at,
        usable_from: Time::from_millis(from.millis().saturating_sub(skew_millis(expected.clock_skew))),
        usable_until: expires_at.plus(expected.clock_skew),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::caller::Kind;
    use crate::jose::TokenType;

    const NOW: u64 = 1_700_000_000;

    fn claims(answer: Value) -> Claims {
        answer.as_object().unwrap().clone()
    }

    fn judged_by(audiences: &Audiences, needs_audience: bool, answer: Value) -> Result<Stated, Reason> {
        let expected = Expected {
            issuer: "https://id.example",
            audiences,
            token_type: TokenType::Any,
            accept_id_tokens: false,
            clock_skew: Duration::from_secs(30),
        };
        judge(&claims(answer), &expected, needs_audience, Time::from_seconds(NOW))
    }

    fn judged(answer: Value) -> Result<Stated, Reason> {
        judged_by(&Audiences::OneOf(["api".into()].into()), true, answer)
    }

    #[test]
    fn only_the_boolean_true_is_active() {
        for (answer, life_of_it) in [
            (json!({"active": true}), Life::Active),
            (json!({"active": false}), Life::Inactive),
            (json!({"active": "true"}), Life::Unclear),
            (json!({"active": 1}), Life::Unclear),
            (json!({"active": null}), Life::Unclear),
            (json!({"active": [true]}), Life::Unclear),
            (json!({}), Life::Unclear),
        ] {
            assert_eq!(life(&claims(answer.clone())), life_of_it, "{answer}");
        }
    }

    #[test]
    fn an_answer_says_who_and_for_how_long() {
        let stated = judged(json!({
            "active": true, "sub": "alice", "client_id": "cli", "aud": ["x", "api"], "scope": "read write",
            "exp": NOW + 60, "nbf": NOW, "iss": "https://id.example", "token_type": "bearer", "username": "al"
        }))
        .unwrap();
        assert_eq!((stated.subject.as_deref(), stated.client_id.as_deref()), (Some("alice"), Some("cli")));
        assert_eq!((stated.kind, stated.expires_at), (Kind::User, Time::from_seconds(NOW + 60)));
        assert!(stated.scopes.contains("read") && stated.scopes.contains("write"));
        let bare = judged(json!({"active": true, "aud": "api"})).unwrap();
        assert_eq!((bare.kind, bare.expires_at), (Kind::User, Time::from_seconds(LAST_SECOND)));
    }

    #[test]
    fn what_a_jwt_is_refused_for_an_answer_is_refused_for() {
        for (member, value, reason) in [
            ("iss", json!("https://id.example/"), Reason::TokenIssuer),
            ("iss", json!(["https://id.example"]), Reason::TokenClaims),
            ("aud", json!("apis"), Reason::TokenAudience),
            ("aud", json!([]), Reason::TokenClaims),
            ("aud", json!(7), Reason::TokenClaims),
            ("exp", json!(NOW - 31), Reason::TokenExpired),
            ("exp", json!((NOW + 60).to_string()), Reason::TokenClaims),
            ("nbf", json!(NOW + 31), Reason::TokenNotYetValid),
            ("nbf", json!(true), Reason::TokenClaims),
            ("iat", json!(NOW + 31), Reason::TokenNotYetValid),
            ("cnf", json!({"jkt": "x"}), Reason::TokenBound),
            ("cnf", Value::Null, Reason::TokenBound),
            ("token_type", json!("DPoP"), Reason::TokenBound),
            ("token_type", json!("refresh_token"), Reason::TokenNotAccess),
            ("token_type", json!(1), Reason::TokenClaims),
            ("token_use", json!("refresh_token"), Reason::TokenNotAccess),
            ("typ", json!("Refresh"), Reason::TokenNotAccess),
            ("events", json!({}), Reason::TokenNotAccess),
            ("at_hash", json!("x"), Reason::TokenNotAccess),
            ("scope", json!({}), Reason::TokenClaims),
            ("sub", json!(7), Reason::TokenClaims),
            ("client_id", json!(null), Reason::TokenClaims),
            ("username", json!({}), Reason::TokenClaims),
            ("jti", json!(1), Reason::TokenClaims),
        ] {
            let mut answer = json!({"active": true, "aud": "api", "exp": NOW + 60});
            assert!(judged(answer.clone()).is_ok());
            answer[member] = value;
            assert_eq!(judged(answer.clone()).unwrap_err(), reason, "{answer}");
        }
    }

    #[test]
    fn a_missing_audience_follows_the_configuration() {
        let answer = json!({"active": true, "exp": NOW + 60});
        let ours = Audiences::OneOf(["api".into()].into());
        assert_eq!(judged_by(&ours, true, answer.clone()), Err(Reason::TokenAudienceMissing));
        assert!(judged_by(&ours, false, answer.clone()).is_ok());
        assert!(judged_by(&Audiences::Any, true, answer).is_ok());
        let other = json!({"active": true, "aud": "other"});
        assert_eq!(judged_by(&ours, false, other.clone()), Err(Reason::TokenAudience));
        assert!(judged_by(&Audiences::Any, true, other).is_ok());
    }
}
