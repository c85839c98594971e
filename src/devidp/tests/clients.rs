//! How clients prove who they are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::{Reply, World};
use crate::devidp::jwt::{Signer, sign};
use crate::devidp::keys::SigningKeys;
use crate::devidp::{Algorithm, Authentication, ClientEntry, GrantType, Settings};
use crate::seal::Secret;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const ASSERTION: (&str, &str) = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
const HARD: &str = "p:a ss%+/ä";

fn machine(id: &str, authentication: Authentication) -> ClientEntry {
    ClientEntry { authentication, ..ClientEntry::confidential(id, HARD) }.grants(&[GrantType::ClientCredentials])
}

fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

fn outcome(reply: &Reply) -> (u16, Option<String>) {
    (reply.status, reply.json()["error"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_secret_goes_where_it_is_registered_to_go_and_is_form_encoded_in_the_header() {
    let all =
        [("any", Authentication::Secret), ("basic", Authentication::SecretBasic), ("post", Authentication::SecretPost)];
    let clients = all.iter().map(|(id, authentication)| machine(id, *authentication)).collect();
    let world = World::with(Settings { clients, ..Settings::default() }).await;
    for (id, by_header, by_form) in [("any", 200, 200), ("basic", 200, 401), ("post", 401, 200)] {
        let header = basic(id, HARD);
        let reply = world.post("/token", &[GRANT], &[("authorization", &header)]).await;
        assert_eq!(reply.status, by_header, "{id}");
        let form = [GRANT, ("client_id", id), ("client_secret", HARD)];
        assert_eq!(world.post("/token", &form, &[]).await.status, by_form, "{id}");
        assert_eq!(world.post("/token", &form, &[("authorization", &header)]).await.error(), "invalid_request");
        let refused = world.post("/token", &[GRANT], &[("authorization", &basic(id, "wrong"))]).await;
        assert_eq!(outcome(&refused), (401, Some("invalid_client".to_owned())));
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic"));
        assert_eq!(world.post("/token", &[GRANT, ("client_id", id)], &[]).await.status, 401, "{id}");
    }
}

#[tokio::test]
async fn an_assertion_is_signed_for_this_provider_fresh_and_new() {
    let key = SigningKeys::generate().unwrap();
    let private = ClientEntry { jwks: key.jwks(), ..machine("key", Authentication::PrivateKeyJwt) };
    let clients = vec![private, machine("shared", Authentication::SecretJwt)];
    let world = World::with(Settings { clients, ..Settings::default() }).await;
    assert!(private_secret_is_not_enough(&world).await);
    let issuer = world.provider.issuer().to_owned();
    for (id, signer) in [("key", Signer::Keys(&key, Algorithm::Ps256)), ("shared", Signer::Hmac(HARD.as_bytes()))] {
        let attempt = async |changes: Value| {
            let mut claims = json!({ "iss": id, "sub": id, "aud": issuer, "exp": 1_800_000_060, "jti": "1" });
            claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let assertion = sign(serde_json::Map::new(), claims.as_object().unwrap(), signer).unwrap();
            world.post("/token", &[GRANT, ASSERTION, ("client_assertion", &assertion)], &[]).await.status
        };
        assert_eq!(attempt(json!({})).await, 200, "{id}");
        assert_eq!(attempt(json!({})).await, 401, "{id}: replayed");
        assert_eq!(attempt(json!({ "jti": "2", "aud": format!("{issuer}/token") })).await, 200, "{id}");
        assert_eq!(attempt(json!({ "jti": "3", "aud": "https://other.example" })).await, 401, "{id}");
        assert_eq!(attempt(json!({ "jti": "4", "exp": 1_800_000_000 })).await, 401, "{id}: over");
        assert_eq!(attempt(json!({ "jti": "5", "exp": 1_800_086_400 })).await, 401, "{id}: lives too long");
        assert_eq!(attempt(json!({ "jti": "6", "iss": "other" })).await, 401, "{id}");
        assert_eq!(attempt(json!({ "jti": null })).await, 401, "{id}");
    }
    let stranger = SigningKeys::generate().unwrap();
    let claims = json!({ "iss": "key", "sub": "key", "aud": issuer, "exp": 1_800_000_060, "jti": "7" });
    let forged =
        sign(serde_json::Map::new(), claims.as_object().unwrap(), Signer::Keys(&stranger, Algorithm::Ps256)).unwrap();
    assert_eq!(world.post("/token", &[GRANT, ASSERTION, ("client_assertion", &forged)], &[]).await.status, 401);
}

async fn private_secret_is_not_enough(world: &World) -> bool {
    world.post("/token", &[GRANT], &[("authorization", &basic("key", HARD))]).await.status == 401
}

#[tokio::test]
async fn a_public_client_has_no_credentials_of_its_own() {
    let client = ClientEntry::public("open").grants(&[GrantType::ClientCredentials]);
    let world = World::with(Settings { clients: vec![client], ..Settings::default() }).await;
    assert_eq!(world.post("/token", &[GRANT, ("client_id", "open")], &[]).await.error(), "unauthorized_client");
}

#[tokio::test]
async fn a_form_must_be_a_form_of_a_sane_size() {
    let world = World::new().await;
    let json = [("content-type", "application/json")];
    let reply = super::support::send(world.addr(), "POST", "/token", &json, "{}").await.unwrap();
    assert_eq!(outcome(&reply), (400, Some("invalid_request".to_owned())));
    let large = "x".repeat(70_000);
    let reply = world.try_post("/token", &[GRANT, ("scope", &large)], &[]).await;
    assert!(reply.is_none_or(|reply| reply.status == 413));
    assert_eq!(world.get("/token").await.status, 405);
}

#[test]
fn nothing_about_a_client_or_user_prints_its_secret() {
    let shown = format!("{:?}", Settings::demo());
    assert!(shown.contains("alice") && !shown.contains("wonderland") && !shown.contains("shop-secret"));
    assert_eq!(format!("{:?}", Secret::new("x".to_owned())), "[redacted]");
}
