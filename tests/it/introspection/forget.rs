//! Revocation reaches the caches: what is forgotten is asked about again, by everything that a token is known by.

use std::time::Duration;

use postern::authn::{Forget, Tokens};
use postern::devidp::Fault;
use postern::seal::Secret;

use super::*;

fn by(tokens: Tokens) -> Forget {
    Forget { tokens, issuer: None }
}

fn token(text: &str) -> Tokens {
    Tokens::Token(Secret::new(text.to_owned()))
}

#[tokio::test]
async fn a_token_is_forgotten_by_itself_its_subject_its_client_and_its_id() {
    let world = World::start().await;
    let memories = &world.gateway.plan.memories;
    let of = |subject: &str| {
        let mint = Mint { subject: Some(subject.to_owned()), ..mint() };
        world.provider.mint_opaque(&mint.claim("jti", format!("id-{subject}")))
    };
    let (alice, bob) = (of("alice"), of("bob\"\u{e9}"));
    let machine = world.provider.mint_opaque(&Mint::machine("batch").scope("read"));
    let all = [&alice, &bob, &machine];
    let use_all = async || {
        for token in all {
            assert_eq!(world.status("/api/x", token).await, 200);
        }
        world.calls()
    };
    let before = use_all().await;
    assert_eq!(use_all().await, before);
    let cases = [
        (by(token(&alice)), 1),
        (by(Tokens::Subject("alice".into())), 1),
        (by(Tokens::Subject("bob\"\u{e9}".into())), 1),
        (by(Tokens::Subject("bo".into())), 0),
        (by(Tokens::ClientId("shop".into())), 2),
        (by(Tokens::ClientId("batch".into())), 1),
        (by(Tokens::Id("id-alice".into())), 1),
        (by(Tokens::Id("alice".into())), 0),
        (by(token("nobody's")), 0),
        (Forget { issuer: Some("corp".into()), ..by(Tokens::Subject("alice".into())) }, 1),
        (Forget { issuer: Some(world.provider.issuer().into()), ..by(token(&bob)) }, 1),
        (Forget { issuer: Some("other".into()), ..by(Tokens::Subject("alice".into())) }, 0),
        (Forget { issuer: Some("other".into()), ..by(token(&bob)) }, 0),
    ];
    for (forget, count) in cases {
        let calls = use_all().await;
        assert_eq!(memories.forget(&forget).await, Ok(count), "{forget:?}");
        assert_eq!(use_all().await - calls, count as u64, "{forget:?}");
    }
}

#[tokio::test]
async fn a_revoked_token_that_is_forgotten_passes_no_more() {
    let world = World::start().await;
    let token_text = world.token();
    assert_eq!(world.status("/api/x", &token_text).await, 200);
    assert!(world.provider.revoke(&token_text));
    assert_eq!(world.status("/api/x", &token_text).await, 200, "until somebody says so");
    assert_eq!(world.gateway.plan.memories.forget(&by(token(&token_text))).await, Ok(1));
    assert_eq!(world.status("/api/x", &token_text).await, 401);
}

/// A negative answer can be taken back as well.
#[tokio::test]
async fn a_negative_answer_is_forgotten_with_its_token() {
    let world = World::start().await;
    for _ in 0..2 {
        assert_eq!(world.status("/api/x", "junk").await, 401);
    }
    assert_eq!(world.calls(), 1);
    assert_eq!(world.gateway.plan.memories.forget(&by(token("junk"))).await, Ok(1));
    assert_eq!(world.status("/api/x", "junk").await, 401);
    assert_eq!(world.calls(), 2);
}

/// An answer that was under way when its token was forgotten fills nothing in again.
#[tokio::test]
async fn what_is_under_way_fills_in_nothing_that_was_forgotten() {
    let world = World::start().await;
    let text = world.token();
    // The answer is made, and then held back.
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Slow(Duration::from_secs(1)), 1);
    let (first, second) = tokio::join!(world.get("/api/x", &text), async {
        world.until_asked(1).await;
        world.gateway.plan.memories.forget(&by(Tokens::Subject("alice".into()))).await.expect("no store");
        // Who comes now waits for no question of before.
        let late = world.status("/api/x", &text).await;
        assert_eq!(world.calls(), 2);
        world.pass(1);
        late
    });
    assert_eq!((first.status, second), (200, 200));
    // The second question's answer is kept, the first one's is not.
    assert_eq!(world.gateway.plan.memories.forget(&by(token(&text))).await, Ok(1));
    world.provider.set_fault_for(Endpoint::Introspect, Fault::Slow(Duration::from_secs(1)), 1);
    let (first, ()) = tokio::join!(world.get("/api/x", &text), async {
        world.until_asked(3).await;
        world.gateway.plan.memories.forget(&by(token(&text))).await.expect("no store");
        world.pass(1);
    });
    assert_eq!(first.status, 200);
    assert_eq!(world.status("/api/x", &text).await, 200);
    assert_eq!(world.calls(), 4, "asked anew: nothing had been kept");
}

/// Signed tokens are forgotten, too: by the same call.
#[tokio::test]
async fn a_jwt_is_forgotten_by_who_it_is_about() {
    let world = World::with(Layout { issuer: "tokens: any, introspect_jwts: true,", ..Layout::default() }).await;
    let jwt = world.provider.mint(&mint().claim("jti", "one"));
    for _ in 0..2 {
        assert_eq!(world.status("/api/x", &jwt).await, 200);
    }
    assert_eq!(world.calls(), 1);
    for forget in [by(token(&jwt)), by(Tokens::Id("one".into())), by(Tokens::Subject("alice".into()))] {
        assert_eq!(world.gateway.plan.memories.forget(&forget).await, Ok(1), "{forget:?}");
        let calls = world.calls();
        assert_eq!(world.status("/api/x", &jwt).await, 200);
        assert_eq!(world.calls(), calls + 1, "{forget:?}");
    }
}

/// An answer need not name what a JWT is known by; it is forgotten by the token's own claims, too.
#[tokio::test]
async fn a_jwt_is_forgotten_by_what_its_answer_does_not_say() {
    let world = World::with(Layout { issuer: "tokens: any, introspect_jwts: true,", ..Layout::default() }).await;
    let mute = serde_json::json!({"sub": null, "client_id": "other", "azp": null, "jti": null});
    world.provider.set_fault(Endpoint::Introspect, Fault::Change(mute.as_object().expect("an object").clone()));
    let jwt = world.provider.mint(&mint().claim("jti", "one").claim("azp", "app"));
    assert_eq!(world.status("/api/x", &jwt).await, 200);
    let names = [
        Tokens::Id("one".into()),
        Tokens::Subject("alice".into()),
        Tokens::ClientId("shop".into()),
        Tokens::ClientId("app".into()),
        Tokens::ClientId("other".into()),
    ];
    for name in names {
        let calls = world.calls();
        assert_eq!(world.gateway.plan.memories.forget(&by(name.clone())).await, Ok(1), "{name:?}");
        assert_eq!(world.status("/api/x", &jwt).await, 200);
        assert_eq!(world.calls(), calls + 1, "{name:?}: an answer of before was used");
    }
}

/// A stale answer may serve through an outage, but not past being forgotten.
#[tokio::test]
async fn a_stale_answer_ends_when_it_is_forgotten() {
    let world = World::asking("stale_if_error: 30s,").await;
    let text = world.token();
    assert_eq!(world.status("/api/x", &text).await, 200);
    world.pass(60);
    world.provider.set_fault(Endpoint::Introspect, Fault::Hang);
    let (told, ()) = tokio::join!(world.get("/api/x", &text), async {
        world.until_asked(2).await;
        world.gateway.plan.memories.forget(&by(token(&text))).await.expect("no store");
        world.pass(2);
    });
    assert_eq!(told.status, 503);
}

/// A person whom the provider signs out over the back channel: what it said of this person's tokens may be over.
#[tokio::test]
async fn a_logout_token_takes_back_what_was_answered_about_its_subject() {
    let (hands, upstream) = (hands(), Upstream::start(|_| Reply::Echo).await);
    let provider = provider(&hands).await;
    let text = config(Layout { issuer: "tokens: opaque,", ..Layout::default() }, provider.issuer(), upstream.address)
        .replace("clients: { ", "clients: { shop: { issuer: corp, client_id: shop, client_secret: shop }, ")
        + "sessions: { keys: [MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=] }\n\
           sites: { shop: { url: https://shop.test, sign_in: [shop] } }\n";
    let world = World::run(&text, hands, provider, upstream).await;
    let of = |subject: &str| world.provider.mint_opaque(&Mint { subject: Some(subject.to_owned()), ..mint() });
    let (alice, bob) = (of("alice"), of("bob"));
    let use_both = async || {
        for token in [&alice, &bob] {
            assert_eq!(world.status("/api/x", token).await, 200);
        }
        world.calls()
    };
    let before = use_both().await;
    assert_eq!(use_both().await, before);
    let body = format!("logout_token={}", world.provider.logout_token("shop", Some("alice"), None, None));
    let request = format!(
        "POST /oauth2/backchannel_logout HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw::request(world.address(), &request).await.status, 200);
    assert_eq!(use_both().await, before + 1, "alice's alone is asked about again");
}
