use serde_json::json;

use super::*;
use crate::idp::testing::{NOW, Provider, clock, started};
use crate::jose::SigningKey;

const SECOND: Duration = Duration::from_secs(1);

fn wanted() -> Wanted<'static> {
    Wanted {
        client_id: "shop",
        nonce: Nonce::Is("n-1"),
        code: Companion::None,
        access_token: Companion::MayBeBound("at-1"),
        acr: &[],
        max_age: None,
        now: Time::from_seconds(NOW),
    }
}

fn honest() -> Claims {
    let claims = json!({ "iss": "https://id.example", "aud": "shop", "sub": "alice", "nonce": "n-1", "sid": "s-1",
        "iat": NOW, "exp": NOW + 300, "auth_time": NOW - 60, "acr": "1",
        "at_hash": half_hash(Algorithm::Rs256, "at-1"), "c_hash": half_hash(Algorithm::Rs256, "c-1") });
    if let Value::Object(claims) = claims { claims } else { Claims::new() }
}

/// The verdict on the honest claims with these changes; null removes one.
fn verdict(changes: &Value, wanted: &Wanted<'_>) -> Result<IdToken, IdTokenError> {
    let mut claims = honest();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    let header = Header { algorithm: Algorithm::Rs256, kid: None, typ: Some("JWT".to_owned()) };
    judge(&header, claims, &Expected { issuer: "https://id.example", clock_skew: 30 * SECOND }, wanted)
}

#[test]
fn an_honest_token_says_who_signed_in() {
    let token = verdict(&json!({}), &wanted()).unwrap();
    assert_eq!((&*token.subject, token.session.as_deref()), ("alice", Some("s-1")));
    assert_eq!(token.auth_time, Some(Time::from_seconds(NOW - 60)));
    assert_eq!(token.expires_at, Time::from_seconds(NOW + 300));
}

#[test]
fn each_rule_is_looked_at() {
    use IdTokenError::{Audience, AuthorizedParty, Claim, Expired, FromTheFuture, Hash, Issuer, Kind, Nonce};
    let long = "x".repeat(256);
    for (changes, error) in [
        (json!({ "iss": "https://id.example/" }), Issuer),
        (json!({ "iss": null }), Issuer),
        (json!({ "iss": ["https://id.example"] }), Claim("iss")),
        (json!({ "aud": "other" }), Audience),
        (json!({ "aud": null }), Audience),
        (json!({ "aud": [] }), Audience),
        (json!({ "aud": ["shop", 7] }), Claim("aud")),
        (json!({ "aud": ["shop", "other"] }), AuthorizedParty),
        (json!({ "aud": ["shop", "other"], "azp": "other" }), AuthorizedParty),
        (json!({ "azp": "other" }), AuthorizedParty),
        (json!({ "sub": null }), Claim("sub")),
        (json!({ "sub": "" }), Claim("sub")),
        (json!({ "sub": 7 }), Claim("sub")),
        (json!({ "sub": long }), Claim("sub")),
        (json!({ "sub": "zoë" }), Claim("sub")),
        (json!({ "iat": null }), Claim("iat")),
        (json!({ "iat": "1" }), Claim("iat")),
        (json!({ "iat": NOW + 31 }), FromTheFuture),
        (json!({ "nbf": NOW + 31 }), FromTheFuture),
        (json!({ "exp": null }), Claim("exp")),
        (json!({ "exp": "9999999999" }), Claim("exp")),
        (json!({ "exp": NOW - 30 }), Expired),
        (json!({ "nonce": null }), Nonce),
        (json!({ "nonce": "n-2" }), Nonce),
        (json!({ "nonce": ["n-1"] }), Claim("nonce")),
        (json!({ "at_hash": "c29tZXRoaW5nIGVsc2U" }), Hash("at_hash")),
        (json!({ "at_hash": half_hash(Algorithm::Rs512, "at-1") }), Hash("at_hash")),
        (json!({ "events": {} }), Kind),
        (json!({ "typ": "Bearer" }), Kind),
        (json!({ "typ": "Logout" }), Kind),
        (json!({ "sid": 7 }), Claim("sid")),
    ] {
        assert_eq!(verdict(&changes, &wanted()), Err(error), "{changes}");
    }
    for changes in [
        json!({ "aud": ["shop"] }),
        json!({ "aud": ["shop", "other"], "azp": "shop" }),
        json!({ "azp": "shop" }),
        json!({ "at_hash": null, "c_hash": null, "auth_time": null, "acr": null }),
        json!({ "exp": NOW - 29, "iat": NOW - 300 }),
        json!({ "typ": "ID" }),
    ] {
        assert!(verdict(&changes, &wanted()).is_ok(), "{changes}");
    }
}

#[test]
fn what_came_through_the_browser_must_be_bound() {
    let front = Wanted { code: Companion::Bound("c-1"), access_token: Companion::Bound("at-1"), ..wanted() };
    assert!(verdict(&json!({}), &front).is_ok());
    for (name, changes) in [("c_hash", json!({ "c_hash": null })), ("at_hash", json!({ "at_hash": null }))] {
        assert_eq!(verdict(&changes, &front), Err(IdTokenError::Hash(name)));
    }
    let other_code = Wanted { code: Companion::Bound("c-2"), ..front };
    assert_eq!(verdict(&json!({}), &other_code), Err(IdTokenError::Hash("c_hash")));
}

#[test]
fn what_was_asked_of_the_sign_in_must_be_true() {
    let gold: [Box<str>; 2] = ["gold".into(), "silver".into()];
    let strong = Wanted { acr: &gold, ..wanted() };
    assert!(verdict(&json!({ "acr": "silver" }), &strong).is_ok());
    assert_eq!(verdict(&json!({}), &strong), Err(IdTokenError::Acr));
    assert_eq!(verdict(&json!({ "acr": null }), &strong), Err(IdTokenError::Acr));
    let fresh = Wanted { max_age: Some(60 * SECOND), ..wanted() };
    assert!(verdict(&json!({ "auth_time": NOW - 90 }), &fresh).is_ok());
    assert_eq!(verdict(&json!({ "auth_time": NOW - 91 }), &fresh), Err(IdTokenError::AuthTime));
    assert_eq!(verdict(&json!({ "auth_time": null }), &fresh), Err(IdTokenError::AuthTime));
}

#[test]
fn a_refreshed_token_need_not_repeat_the_nonce() {
    let refreshed = Wanted { nonce: Nonce::NotLookedAt, ..wanted() };
    assert!(verdict(&json!({ "nonce": null }), &refreshed).is_ok());
}

/// OpenID Connect Core appendix A.3 and A.4: the examples' tokens and their hashes.
#[test]
fn hashes_are_those_of_the_specification() {
    assert_eq!(half_hash(Algorithm::Rs256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
    let code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk";
    assert_eq!(half_hash(Algorithm::Rs256, code), "LDktKdoQak3Pk0cnXxCltA");
}

#[tokio::test]
async fn a_token_counts_only_with_a_signature_of_its_issuer() {
    let (ours, foreign) =
        (SigningKey::generate(Algorithm::Es256, "a").unwrap(), SigningKey::generate(Algorithm::Es256, "a").unwrap());
    let unknown = SigningKey::generate(Algorithm::Es256, "b").unwrap();
    let provider = Provider::start(&[&ours]).await;
    let hands = clock();
    let issuer = started(provider.settings(), &hands).await;
    let mut claims = honest();
    claims.insert("iss".to_owned(), provider.issuer.clone().into());
    claims.remove("at_hash");
    let claims = Value::Object(claims);
    let wanted = wanted();
    let check = async |key: &SigningKey| {
        let token = key.sign(None, &claims).unwrap();
        issuer.check_id_token(&token, &wanted).await
    };
    assert_eq!(&*check(&ours).await.unwrap().subject, "alice");
    assert_eq!(check(&foreign).await, Err(IdTokenError::Signature));
    assert_eq!(check(&unknown).await, Err(IdTokenError::Signature));
    // A key that was put into the set just before it signed is fetched within the sign-in.
    provider.publishes(&[&ours, &unknown]);
    hands.advance(60 * SECOND);
    assert!(check(&unknown).await.is_ok());
    let rest = ours.sign(None, &claims).unwrap();
    let without_signature = format!("{}.", rest.rsplit_once('.').unwrap().0);
    assert!(matches!(issuer.check_id_token(&without_signature, &wanted).await, Err(IdTokenError::Malformed(_))));
}
