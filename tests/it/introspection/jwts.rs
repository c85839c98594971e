//! Issuers with both kinds of tokens: what has the shape of a JWT of theirs is checked here, and asked about if that is
//! wanted; the rest is asked about.

use postern::devidp::{Fault, MintKey};

use super::*;

#[tokio::test]
async fn a_jwt_is_checked_here_and_the_rest_is_asked_about() {
    let world = World::with(Layout { issuer: "tokens: any,", ..Layout::default() }).await;
    let jwt = world.provider.mint(&mint());
    assert_eq!(world.status("/api/x", &jwt).await, 200);
    assert_eq!(world.calls(), 0);
    assert_eq!(world.status("/api/x", &world.token()).await, 200);
    assert_eq!(world.calls(), 1);
    // A bad JWT of this issuer is final: it never falls through to a question.
    for mint in [mint().key(MintKey::Foreign), mint().key(MintKey::Spoiled), mint().lifetime(-60), mint().audience("x")]
    {
        assert_eq!(world.status("/api/x", &world.provider.mint(&mint)).await, 401, "{mint:?}");
    }
    assert_eq!(world.calls(), 1);
    // One of another issuer, and what only looks like one, are the rest.
    for rest in [
        world.provider.mint(&mint().claim("iss", "https://elsewhere.example")),
        world.provider.mint(&mint().key(MintKey::Nothing)),
        "a.b.c".to_owned(),
        "eyJhbGciOiJSUzI1NiJ9.e30.AA".to_owned(),
    ] {
        let calls = world.calls();
        assert_eq!(world.status("/api/x", &rest).await, 401, "{rest}");
        assert_eq!(world.calls(), calls + 1, "{rest}");
    }
}

#[tokio::test]
async fn an_opaque_issuers_jwts_are_opaque() {
    let world = World::start().await;
    let jwt = world.provider.mint(&mint());
    assert_eq!(world.status("/api/x", &jwt).await, 200);
    assert_eq!(world.calls(), 1);
    assert_eq!(world.seen()[0].values("x-forwarded-user"), ["alice"]);
}

#[tokio::test]
async fn a_jwt_that_is_asked_about_must_pass_both_checks() {
    let world = World::with(Layout { issuer: "tokens: jwt, introspect_jwts: true,", ..Layout::default() }).await;
    let jwt = world.provider.mint(&mint());
    for _ in 0..3 {
        assert_eq!(world.status("/api/x", &jwt).await, 200);
        assert_eq!(world.status("/admin/x", &jwt).await, 403);
    }
    assert_eq!(world.calls(), 1);
    // What is bad here is not asked about.
    assert_eq!(world.status("/api/x", &world.provider.mint(&mint().key(MintKey::Spoiled))).await, 401);
    assert_eq!(world.status("/api/x", &world.token()).await, 401, "nor is what is no JWT");
    assert_eq!(world.calls(), 1);
    // What is good here and revoked there is none.
    assert!(world.provider.revoke(&jwt));
    assert_eq!(world.status("/api/x", &jwt).await, 200, "until the answer's life ends");
    world.pass(60);
    assert_eq!(world.status("/api/x", &jwt).await, 401);
    world.until_refused("token.inactive", 1).await;
    // Nobody knows while the issuer can't be asked.
    let other = world.provider.mint(&mint());
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Status(500), 1);
    assert_eq!(world.status("/api/x", &other).await, 503);
    // Two subjects for one token are none.
    let change = serde_json::json!({"sub": "bob"}).as_object().expect("an object").clone();
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Change(change), 1);
    assert_eq!(world.status("/api/x", &other).await, 401);
}

/// The answer's `aud` may be missing: the token's own was judged.
#[tokio::test]
async fn whom_a_jwt_is_for_its_own_claims_say() {
    let world = World::with(Layout { issuer: "tokens: any, introspect_jwts: true,", ..Layout::default() }).await;
    let change = serde_json::json!({"aud": null}).as_object().expect("an object").clone();
    world.provider.set_fault(Endpoint::Introspect, Fault::Change(change));
    assert_eq!(world.status("/api/x", &world.provider.mint(&mint())).await, 200);
    assert_eq!(world.status("/api/x", &world.token()).await, 401);
}
