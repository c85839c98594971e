//! What becomes of a token: introspection, revocation, userinfo.

use std::time::Duration;

use serde_json::json;

use super::support::{World, decode, send};
use crate::devidp::{Mint, MintKey, Withdraw};

#[tokio::test]
async fn introspection_tells_an_opaque_token_and_a_jwt_alike() {
    let world = World::new().await;
    for client in ["batch", "opaque"] {
        let token = world.machine_token(client).await;
        assert_eq!(token.contains('.'), client == "batch");
        let told = world.introspect(&token).await;
        assert_eq!((&told["active"], &told["client_id"], &told["sub"]), (&json!(true), &json!(client), &json!(client)));
        assert_eq!((&told["aud"], &told["iss"]), (&json!("orders"), &json!(world.provider.issuer())));
        assert_eq!((&told["scope"], &told["token_type"]), (&json!("orders:read orders:write"), &json!("Bearer")));
        assert_ne!(told["jti"], token.as_str());
    }
    let reply = world.tokens("opaque-shop", &[]).await;
    let told = world.introspect(&reply.text("access_token")).await;
    assert_eq!((&told["username"], &told["email"]), (&json!("alice"), &json!("alice@example.com")));
    assert_eq!(world.introspect(&reply.text("refresh_token")).await["token_type"], "refresh_token");
    assert_eq!(
        world.introspect(&reply.text("id_token")).await,
        json!({ "active": false }),
        "an ID token is no access token"
    );
}

#[tokio::test]
async fn only_good_tokens_are_active() {
    let world = World::new().await;
    let mint = |mint: Mint| world.provider.mint(&mint);
    let good = mint(Mint::machine("batch"));
    assert_eq!(world.introspect(&good).await["active"], true);
    let bad = [
        "junk".to_owned(),
        mint(Mint::machine("batch").lifetime(-1)),
        mint(Mint::machine("batch").key(MintKey::Foreign)),
        mint(Mint::machine("batch").key(MintKey::Nothing)),
        mint(Mint::machine("batch").claim("iss", "https://other.example")),
        mint(Mint::machine("batch").claim("nbf", 1_800_000_100)),
    ];
    for token in bad {
        assert_eq!(world.introspect(&token).await, json!({ "active": false }), "{token}");
    }
    let opaque =
        world.provider.mint_opaque(&Mint::user("shop", "bob").scope("orders:read").claim("tenant", "umbrella"));
    let told = world.introspect(&opaque).await;
    assert_eq!((&told["sub"], &told["tenant"]), (&json!("bob"), &json!("umbrella")));
    world.hands.advance(Duration::from_secs(300));
    assert_eq!(world.introspect(&good).await["active"], false);
    assert_eq!(world.introspect(&opaque).await["active"], false);
}

#[tokio::test]
async fn a_token_of_withdrawn_keys_is_no_longer_active() {
    let world = World::new().await;
    let token = world.provider.mint(&Mint::machine("batch"));
    world.provider.rotate_keys(Withdraw::After(Duration::from_secs(10))).unwrap();
    assert_eq!(world.introspect(&token).await["active"], true);
    world.hands.advance(Duration::from_secs(10));
    assert_eq!(world.introspect(&token).await["active"], false);
}

#[tokio::test]
async fn only_who_may_introspects_and_gets_it_signed_on_request() {
    let world = World::new().await;
    let token = world.machine_token("opaque").await;
    let refused = world.call("/introspect", "batch", &[("token", &token)]).await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "access_denied"));
    assert_eq!(world.post("/introspect", &[("token", &token)], &[]).await.status, 401);
    assert_eq!(world.call("/introspect", "gateway", &[]).await.error(), "invalid_request");
    let form = [("token", token.as_str()), ("client_id", "gateway"), ("client_secret", "gateway-secret")];
    let signed = world.post("/introspect", &form, &[("accept", "application/token-introspection+jwt")]).await;
    assert_eq!(signed.header("content-type"), Some("application/token-introspection+jwt"));
    let (header, claims) = decode(&signed.body);
    assert_eq!((&header["typ"], &claims["aud"]), (&json!("token-introspection+jwt"), &json!("gateway")));
    assert_eq!(claims["token_introspection"]["active"], true);
}

#[tokio::test]
async fn a_revoked_access_token_ends_alone_and_a_refresh_token_with_its_family() {
    let world = World::new().await;
    for client in ["shop", "opaque-shop"] {
        let reply = world.tokens(client, &[]).await;
        let (access, refresh) = (reply.text("access_token"), reply.text("refresh_token"));
        let strange = world.call("/revoke", "batch", &[("token", &access)]).await;
        assert_eq!(strange.status, 200);
        assert_eq!(world.introspect(&access).await["active"], true, "{client}: another client can't revoke it");
        assert_eq!(world.call("/revoke", client, &[("token", &access)]).await.status, 200);
        assert_eq!(world.introspect(&access).await["active"], false, "{client}");
        let renewed = world.refresh(client, &refresh).await;
        assert_eq!(world.introspect(&renewed.text("access_token")).await["active"], true, "{client}");
        world.call("/revoke", client, &[("token", &renewed.text("refresh_token"))]).await;
        assert_eq!(world.introspect(&renewed.text("access_token")).await["active"], false, "{client}");
        assert_eq!(world.refresh(client, &renewed.text("refresh_token")).await.error(), "invalid_grant");
    }
    assert_eq!(world.call("/revoke", "shop", &[("token", "junk")]).await.status, 200);
    let minted = world.provider.mint(&Mint::machine("batch"));
    assert!(world.provider.revoke(&minted));
    assert!(!world.provider.revoke(&minted));
    assert_eq!(world.introspect(&minted).await["active"], false);
}

#[tokio::test]
async fn userinfo_tells_what_the_scopes_open() {
    let world = World::new().await;
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        send(world.addr(), "GET", "/userinfo", &[("authorization", &bearer)], "").await.unwrap()
    };
    let token = world.tokens("shop", &[("scope", "openid email")]).await.text("access_token");
    let told = ask(&token).await.json();
    assert_eq!((&told["sub"], &told["email"]), (&json!("alice"), &json!("alice@example.com")));
    assert_eq!((told.get("name"), told.get("groups")), (None, None));
    assert_eq!(world.post("/userinfo", &[("access_token", &token)], &[]).await.json()["sub"], "alice");
    let nothing = world.get("/userinfo").await;
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, Some("Bearer")));
    let junk = ask("junk").await;
    assert_eq!((junk.status, junk.header("www-authenticate")), (401, Some("Bearer error=\"invalid_token\"")));
    assert_eq!(ask(&world.machine_token("batch").await).await.status, 403);
}
