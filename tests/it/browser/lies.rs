//! The modules by which the OpenID conformance suite sees whether a relying party refuses (security requirements, section
//! 3): the development provider tells one lie, and nobody is signed in.

use postern::devidp::{Endpoint, Fault, Lie};
use serde_json::{Value, json};

use super::{SITE, World};
use crate::support::corpus::Failures;
use crate::support::eventually;
use crate::support::raw::PATIENCE;

/// Claims and header members that are set to these values; null removes one.
fn claims(value: Value) -> Lie {
    Lie::Claims(value.as_object().expect("an object").clone())
}

fn header(value: Value) -> Lie {
    Lie::Header(value.as_object().expect("an object").clone())
}

#[tokio::test]
async fn an_id_token_with_a_lie_in_it_signs_nobody_in() {
    let world = World::usual().await;
    let mut failures = Failures::default();
    let lies = [
        Lie::WrongIssuer,
        Lie::WrongAudience,
        Lie::MissingAudience,
        Lie::WrongAuthorizedParty,
        Lie::MissingSubject,
        Lie::WrongNonce,
        Lie::MissingNonce,
        Lie::MissingIssuedAt,
        Lie::MissingExpiry,
        Lie::Expired,
        Lie::WrongAccessTokenHash,
        Lie::BadSignature,
        Lie::ForeignKey,
        Lie::UnknownKey,
        Lie::AlgorithmNone,
        Lie::Hs256,
        Lie::PublicKeyAsSecret,
        claims(json!({ "exp": "9999999999" })),
        claims(json!({ "iat": true })),
        claims(json!({ "iat": 9_999_999_999_u64 })),
        claims(json!({ "sub": ["alice"] })),
        claims(json!({ "sub": "" })),
        claims(json!({ "nonce": ["x"] })),
        claims(json!({ "aud": ["shop", "other"], "azp": null })),
        claims(json!({ "events": {} })),
        header(json!({ "typ": "logout+jwt" })),
        header(json!({ "typ": "at+jwt" })),
        header(json!({ "crit": ["exp"] })),
    ];
    let count = lies.len();
    for lie in lies {
        world.provider.set_fault(Endpoint::Token, Fault::Lie(lie.clone()));
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        let signed_in = browser.cookie("__Host-postern-shop").is_some();
        let seen = world.seen().len();
        failures.check(page.status == 400 && !signed_in && seen == 0, || {
            format!("{lie:?}: {} {signed_in} {seen}", page.status)
        });
    }
    failures.report(count, 28);
    let told = || world.gateway.access().iter().filter(|line| line["reason"] == "login.id_token").count();
    eventually("each is told in the log", PATIENCE, || (told() == count).then_some(())).await;
    world.provider.clear_faults();
    world.alice().await;
}

#[tokio::test]
async fn an_id_token_that_is_only_unusual_signs_in() {
    let world = World::usual().await;
    for lie in [
        Lie::MissingKeyId,
        Lie::MissingAccessTokenHash,
        Lie::MissingCodeHash,
        // Any algorithm that the issuer has a key for is one of its own, unless the configuration says otherwise.
        Lie::OtherAlgorithm,
        claims(json!({ "aud": ["shop"] })),
        claims(json!({ "azp": "shop" })),
    ] {
        world.provider.set_fault(Endpoint::Token, Fault::Lie(lie.clone()));
        let (_, page) = world.alice().await;
        assert_eq!(page.status, 200, "{lie:?}");
    }
}

#[tokio::test]
async fn a_sign_in_that_is_weaker_or_older_than_asked_for_is_none() {
    let site = "    authorize: { acr_values: \"gold silver\", max_age: 10m }\n";
    let world = World::start(super::Setup::with_site(site)).await;
    world.alice().await;
    let hop = world.browser().step(&format!("{SITE}/")).await;
    let asked = hop.answer.value("location").unwrap();
    assert_eq!(super::parameter(asked, "acr_values").as_deref(), Some("gold silver"));
    assert_eq!(super::parameter(asked, "max_age").as_deref(), Some("600"));
    for lie in
        [Lie::WrongAcr, Lie::OldAuthentication, claims(json!({ "acr": null })), claims(json!({ "auth_time": null }))]
    {
        world.provider.set_fault(Endpoint::Token, Fault::Lie(lie.clone()));
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        assert_eq!(page.status, 400, "{lie:?}");
    }
}
