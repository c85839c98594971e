//! Implicit and hybrid answers, the ways they travel, and requests that are pushed or signed.

use std::collections::HashMap;

use aws_lc_rs::digest::SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::support::{Browser, CALLBACK, World, answered, authorize, decode, hidden};
use crate::devidp::jwt::{Parsed, Signer, sign};
use crate::devidp::{Authentication, ClientEntry, GrantType, ResponseType, Settings};

fn half(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&aws_lc_rs::digest::digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

#[tokio::test]
async fn each_response_type_brings_its_parts_and_their_hashes() {
    let world = World::new().await;
    for (client, kind) in [
        ("implicit", "id_token"),
        ("implicit", "id_token token"),
        ("hybrid", "code id_token"),
        ("hybrid", "code token"),
        ("hybrid", "token code id_token"),
    ] {
        let back = world.signed_in(client, &[("response_type", kind)]).await;
        let wants = |word: &str| kind.split(' ').any(|known| known == word);
        let has = |name: &str| back.contains_key(name);
        assert_eq!(
            (has("code"), has("id_token"), has("access_token")),
            (wants("code"), wants("id_token"), wants("token")),
            "{kind}"
        );
        assert!(!has("refresh_token"), "{kind}");
        if wants("id_token") {
            let (_, claims) = decode(&back["id_token"]);
            assert_eq!(claims["nonce"], "no");
            assert_eq!(
                claims["at_hash"].as_str(),
                back.get("access_token").map(|token| half(token)).as_deref(),
                "{kind}"
            );
            assert_eq!(claims["c_hash"].as_str(), back.get("code").map(|code| half(code)).as_deref(), "{kind}");
        }
        if wants("code") {
            let (_, second) = decode(&world.redeem(client, &back["code"], &[]).await.text("id_token"));
            assert_eq!((&second["sub"], &second["iss"]), (&json!("alice"), &json!(world.provider.issuer())));
        }
    }
}

#[tokio::test]
async fn tokens_by_the_browser_need_a_nonce_a_scope_and_never_come_in_the_query() {
    let world = World::new().await;
    let refused = async |further: &[(&str, &str)]| {
        let mut all = vec![("response_type", "code id_token")];
        all.extend(further);
        let reply = world.get(&authorize("hybrid", &all)).await;
        answered(&reply)["error"].clone()
    };
    assert_eq!(refused(&[("nonce", "")]).await, "invalid_request");
    assert_eq!(refused(&[("response_mode", "query")]).await, "invalid_request");
    assert_eq!(refused(&[("scope", "email")]).await, "invalid_scope");
}

#[tokio::test]
async fn a_form_post_carries_the_answer_in_hidden_fields() {
    let world = World::new().await;
    let target = authorize("hybrid", &[("response_type", "code id_token"), ("response_mode", "form_post")]);
    let page = Browser::default().sign_in(&world, &target, "alice", "wonderland").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains(&format!("<form method=\"post\" action=\"{CALLBACK}\">")));
    assert_eq!(hidden(&page.body, "state"), "st");
    assert_eq!(decode(&hidden(&page.body, "id_token")).1["c_hash"], half(&hidden(&page.body, "code")).as_str());
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'sha256-"));
}

#[tokio::test]
async fn a_signed_answer_is_one_jwt_for_the_client() {
    let world = World::new().await;
    let back = world.signed_in("shop", &[("response_mode", "jwt")]).await;
    assert_eq!(back.keys().collect::<Vec<_>>(), ["response"]);
    let (_, claims) = decode(&back["response"]);
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!("shop"), &json!(world.provider.issuer())));
    assert_eq!((&claims["state"], claims["exp"].is_u64()), (&json!("st"), true));
    assert_eq!(world.redeem("shop", claims["code"].as_str().unwrap(), &[]).await.status, 200);
}

#[tokio::test]
async fn a_pushed_request_is_used_once_by_its_own_client() {
    let world = World::new().await;
    let target = authorize("shop", &[("scope", "openid orders:read")]);
    let pushed: Vec<(String, String)> =
        url::form_urlencoded::parse(target.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
    let pairs: Vec<(&str, &str)> = pushed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let reply = world.call("/par", "shop", &pairs).await;
    assert_eq!((reply.status, reply.json()["expires_in"].as_u64()), (201, Some(90)));
    let uri = reply.text("request_uri");
    let by = |client: &str| {
        format!("/authorize?{}", super::support::encode(&[("client_id", client), ("request_uri", &uri)]))
    };
    let mut browser = Browser::default();
    let back = answered(&browser.sign_in(&world, &by("shop"), "alice", "wonderland").await);
    assert_eq!(world.redeem("shop", &back["code"], &[]).await.json()["scope"], "openid orders:read");
    assert_eq!(browser.get(&world, &by("shop")).await.status, 400, "used");

    assert_eq!(world.call("/par", "opaque-shop", &pairs).await.error(), "invalid_request");
    let bad: HashMap<_, _> = pairs.iter().copied().chain([("scope", "admin")]).collect();
    let bad: Vec<(&str, &str)> = bad.into_iter().collect();
    assert_eq!(world.call("/par", "shop", &bad).await.error(), "invalid_scope");
    assert_eq!(world.call("/par", "shop", &[("request_uri", &uri)]).await.error(), "invalid_request");
}

#[tokio::test]
async fn of_a_signed_request_only_what_was_signed_counts() {
    let key = crate::devidp::keys::SigningKeys::generate().unwrap();
    let signer = Signer::Keys(&key, crate::devidp::Algorithm::Es256);
    let client = ClientEntry {
        jwks: key.jwks(),
        authentication: Authentication::PrivateKeyJwt,
        ..ClientEntry::public("signer")
    };
    let client = client.behind("http://127.0.0.1:8080").scopes("openid");
    let client = client.grants(&[GrantType::AuthorizationCode]).responses(&[ResponseType::CODE]);
    let mut settings = Settings::demo();
    settings.clients.push(client);
    let world = World::with(settings).await;
    let object = |audience: &str| {
        let members = json!({ "client_id": "signer", "aud": audience, "redirect_uri": CALLBACK, "response_type": "code",
            "scope": "openid", "state": "signed", "exp": 1_800_000_060 });
        sign(serde_json::Map::new(), members.as_object().unwrap(), signer).unwrap()
    };
    let target = |object: &str| {
        format!(
            "/authorize?{}",
            super::support::encode(&[("client_id", "signer"), ("state", "unsigned"), ("request", object)])
        )
    };
    let good = object(world.provider.issuer());
    assert!(Parsed::read(&good).unwrap().signed_by(&key.jwks()));
    let back = answered(&Browser::default().sign_in(&world, &target(&good), "alice", "wonderland").await);
    assert_eq!(back["state"], "signed");
    assert_eq!(world.get(&target(&object("https://other.example"))).await.status, 400);
    assert_eq!(world.get(&target(&crate::devidp::jwt::spoil(&good))).await.status, 400);
}
