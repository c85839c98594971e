//! The grants of the token endpoint, each with its refusals.

use std::time::Duration;

use super::support::{CALLBACK, VERIFIER, World, decode};
use crate::devidp::{GrantType, Mint};

#[tokio::test]
async fn a_code_works_once_and_a_second_try_ends_what_came_of_the_first() {
    let world = World::new().await;
    let back = world.signed_in("opaque-shop", &[]).await;
    let first = world.redeem("opaque-shop", &back["code"], &[]).await;
    assert_eq!(world.introspect(&first.text("access_token")).await["active"], true);
    let second = world.redeem("opaque-shop", &back["code"], &[]).await;
    assert_eq!((second.status, second.error().as_str()), (400, "invalid_grant"));
    assert_eq!(world.introspect(&first.text("access_token")).await["active"], false);
    assert_eq!(world.refresh("opaque-shop", &first.text("refresh_token")).await.error(), "invalid_grant");
    assert_eq!(world.provider.calls(GrantType::AuthorizationCode), 1);
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_redirect_uri_its_client_and_its_time() {
    let world = World::new().await;
    let wrong_verifier = "x".repeat(43);
    let wrong = [
        ("code_verifier", ""),
        ("code_verifier", wrong_verifier.as_str()),
        ("redirect_uri", "http://127.0.0.1:8080/other"),
        ("redirect_uri", ""),
    ];
    for change in wrong {
        let back = world.signed_in("shop", &[]).await;
        assert_eq!(world.redeem("shop", &back["code"], &[change]).await.error(), "invalid_grant", "{change:?}");
        // A code is gone after a failed attempt too.
        assert_eq!(world.redeem("shop", &back["code"], &[]).await.error(), "invalid_grant", "{change:?}");
    }
    let back = world.signed_in("shop", &[]).await;
    assert_eq!(world.redeem("opaque-shop", &back["code"], &[]).await.error(), "invalid_grant");
    assert_eq!(world.redeem("shop", &back["code"], &[]).await.status, 200, "another client's try changes nothing");
    let back = world.signed_in("shop", &[]).await;
    world.hands.advance(Duration::from_secs(60));
    assert_eq!(world.redeem("shop", &back["code"], &[]).await.error(), "invalid_grant");
    let unchallenged = world.signed_in("shop", &[("code_challenge", ""), ("code_challenge_method", "")]).await;
    assert_eq!(world.redeem("shop", &unchallenged["code"], &[]).await.error(), "invalid_grant", "a downgrade");
}

#[tokio::test]
async fn a_public_client_redeems_with_pkce_alone() {
    let world = World::new().await;
    let back = world.signed_in("native", &[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "native"),
        ("code", back["code"].as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(world.post("/token", &form, &[]).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_is_rotated_and_its_second_use_ends_the_grant() {
    let world = World::new().await;
    let first = world.tokens("shop", &[]).await;
    world.hands.advance(Duration::from_secs(200));
    let second = world.refresh("shop", &first.text("refresh_token")).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
    let (before, after) = (decode(&first.text("id_token")).1, decode(&second.text("id_token")).1);
    for same in ["iss", "sub", "aud", "auth_time", "sid"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!((after.get("nonce"), &after["iat"]), (None, &1_800_000_200.into()));
    assert_eq!(world.refresh("shop", &first.text("refresh_token")).await.error(), "invalid_grant");
    assert_eq!(
        world.refresh("shop", &second.text("refresh_token")).await.error(),
        "invalid_grant",
        "the family has ended"
    );
    assert_eq!(world.provider.calls(GrantType::RefreshToken), 1);
}

#[tokio::test]
async fn a_refresh_token_belongs_to_its_client_has_an_end_and_gives_no_more_than_was_granted() {
    let world = World::new().await;
    let token = world.tokens("shop", &[]).await.text("refresh_token");
    assert_eq!(world.refresh("opaque-shop", &token).await.error(), "invalid_grant");
    let form = |scope| [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("scope", scope)];
    assert_eq!(world.call("/token", "shop", &form("openid orders:write")).await.error(), "invalid_scope");
    let less = world.call("/token", "shop", &form("email")).await;
    assert_eq!((less.status, less.json()["scope"].as_str()), (200, Some("email")));
    assert!(less.json().get("id_token").is_none());
    let whole = world.refresh("shop", &less.text("refresh_token")).await;
    assert_eq!(whole.json()["scope"], "openid profile email");
    world.hands.advance(Duration::from_secs(8 * 3600));
    assert_eq!(world.refresh("shop", &whole.text("refresh_token")).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_password_gets_tokens_where_the_client_is_that_old() {
    let world = World::new().await;
    let form = |password| {
        [("grant_type", "password"), ("username", "bob"), ("password", password), ("scope", "openid orders:read")]
    };
    let reply = world.call("/token", "legacy", &form("builder")).await;
    assert_eq!(decode(&reply.text("access_token")).1["sub"], "bob");
    assert!(reply.json()["refresh_token"].is_string() && reply.json()["id_token"].is_string());
    let wrong = world.call("/token", "legacy", &form("wonderland")).await;
    assert_eq!((wrong.status, wrong.error().as_str()), (400, "invalid_grant"));
    assert_eq!(world.call("/token", "shop", &form("builder")).await.error(), "unauthorized_client");
}

const EXCHANGE: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

#[tokio::test]
async fn a_token_is_exchanged_for_one_with_another_audience() {
    let world = World::new().await;
    let subject = world.provider.mint(&Mint::user("shop", "alice").scope("orders:read orders:write"));
    let actor = world.machine_token("batch").await;
    let form = [
        EXCHANGE,
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", actor.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
        ("audience", "inventory"),
        ("scope", "orders:read"),
    ];
    let reply = world.call("/token", "exchange", &form).await;
    assert_eq!(reply.json()["issued_token_type"], ACCESS_TOKEN);
    let (_, claims) = decode(&reply.text("access_token"));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"alice".into(), &"exchange".into()));
    assert_eq!((&claims["aud"], &claims["scope"]), (&"inventory".into(), &"orders:read".into()));
    assert_eq!(claims["act"]["sub"], "batch");
}

#[tokio::test]
async fn what_can_not_be_exchanged_is_refused() {
    let world = World::new().await;
    let good = world.provider.mint(&Mint::user("shop", "alice").scope("orders:read"));
    let ended = world.provider.mint(&Mint::user("shop", "alice").lifetime(-1));
    let refused = async |token: &str, kind: &str, further: (&str, &str)| {
        let form = [EXCHANGE, ("subject_token", token), ("subject_token_type", kind), further];
        world.call("/token", "exchange", &form).await.error()
    };
    let nothing = ("audience", "orders");
    assert_eq!(refused(&ended, ACCESS_TOKEN, nothing).await, "invalid_request");
    assert_eq!(refused("junk", ACCESS_TOKEN, nothing).await, "invalid_request");
    assert_eq!(refused(&good, "urn:ietf:params:oauth:token-type:saml2", nothing).await, "invalid_request");
    assert_eq!(refused(&good, ACCESS_TOKEN, ("audience", "payroll")).await, "invalid_target");
    assert_eq!(refused(&good, ACCESS_TOKEN, ("scope", "orders:write")).await, "invalid_scope");
    assert_eq!(refused(&good, ACCESS_TOKEN, ("actor_token_type", ACCESS_TOKEN)).await, "invalid_request");
}
