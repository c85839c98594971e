//! The signed statement of who the caller is (`forward.identity_token`), and the keys that apps check it with.

use postern::jose::{Jws, KeySet, json, verify};
use serde_json::Value;

use super::*;

fn setup() -> Setup {
    let signed = "forward: { identity_token: { audience: shop-app } }";
    let routes = format!(
        "  - match: {{ path: /signed/** }}\n    upstream: app\n    access: {{ session: {{ site: shop }}, bearer: {{ issuers: [corp] }} }}\n    {signed}\n{}",
        Setup::default().routes
    );
    Setup { routes, ..Setup::default() }
}

async fn keys(gateway: &Gateway) -> Answer {
    gateway.fetch("GET", "/oauth2/jwks", "", "").await
}

/// The claims of a statement, checked as an app would.
fn checked(statement: &str, keys: &Answer) -> serde_json::Map<String, Value> {
    let set = KeySet::parse(&keys.body).unwrap();
    let jws = Jws::parse(statement, 16 * 1024).unwrap();
    verify::verify(&jws, &set).unwrap();
    json::object(&jws.payload).unwrap()
}

#[tokio::test]
async fn an_app_can_check_who_it_is_with_our_keys() {
    let world = World::start(setup()).await;
    let cookies = cookies_of(&world.alice().await);
    let spoofed = "X-Postern-Identity: eyJ.eyJ.x\r\nX_Postern_Identity: y\r\n";
    assert_eq!(world.gateway.fetch("GET", "/signed/a", &cookies, spoofed).await.status, 200);
    let keys = keys(&world.gateway).await;
    assert_eq!((keys.status, keys.value("content-type")), (200, Some("application/jwk-set+json")));
    assert!(!keys.text().contains("\"d\""), "nothing private: {}", keys.text());
    let seen = world.seen();
    let told = seen[0].values("x-postern-identity");
    assert_eq!(told.len(), 1);
    assert!(seen[0].values("x_postern_identity").is_empty());
    let claims = checked(told[0], &keys);
    for (name, wanted) in
        [("iss", SITE), ("aud", "shop-app"), ("sub", "alice"), ("kind", "user"), ("email", "alice@example.com")]
    {
        assert_eq!(claims[name], wanted, "{claims:?}");
    }
    assert_eq!(claims["idp"], world.provider.issuer());
    assert_eq!(claims["groups"], serde_json::json!(["staff", "admins"]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    for name in ["nonce", "at_hash", "sid", "azp"] {
        assert!(!claims.contains_key(name), "{name} is of the issuer's own token");
    }
    // Nothing of it where it was not asked for.
    assert_eq!(world.gateway.fetch("GET", "/a", &cookies, spoofed).await.status, 200);
    assert!(world.seen()[0].values("x-postern-identity").is_empty());
}

#[tokio::test]
async fn a_statement_is_made_once_for_minutes_and_anew_before_it_ends() {
    let world = World::start(setup()).await;
    let token = world.provider.mint(&postern::devidp::Mint::machine("shop").lifetime(3000));
    let lines = format!("Authorization: Bearer {token}\r\n");
    let mut told = Vec::new();
    for _ in 0..4 {
        assert_eq!(world.gateway.fetch("GET", "/signed/a", "", &lines).await.status, 200);
        let seen = world.seen();
        let statement = seen[0].values("x-postern-identity")[0].to_owned();
        let claims = checked(&statement, &keys(&world.gateway).await);
        let now = world.hands.clock().now().seconds();
        assert!(claims["exp"].as_u64().unwrap() >= now + 60, "good for a minute at least");
        assert_eq!((&claims["kind"], &claims["client_id"]), (&"machine".into(), &"shop".into()));
        told.push(statement);
        world.advance(2 * MINUTE);
    }
    assert_eq!(told[0], told[1]);
    assert_ne!(told[1], told[2]);
}

#[tokio::test]
async fn replicas_sign_with_the_same_key_and_an_exchange_leaves_the_old_one_known() {
    let world = World::start(setup()).await;
    let replica = world.another(&world.setup).await;
    let own = keys(&world.gateway).await.json();
    assert_eq!(own, keys(&replica).await.json());
    let next = world.another(&Setup { keys: format!("{OTHER_KEY}, {KEY}"), ..world.setup.clone() }).await;
    let both = keys(&next).await.json();
    let both = both["keys"].as_array().unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!(both[1], own["keys"][0]);
}
