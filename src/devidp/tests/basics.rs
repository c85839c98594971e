//! Start, metadata, keys, the machine's grant, and tokens to order.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{LOOPBACK, World, decode, send};
use crate::clock::Clock;
use crate::devidp::jwt::Parsed;
use crate::devidp::{Algorithm, Endpoint, GrantType, Mint, MintKey, Provider, Settings, StartError, Withdraw};

#[tokio::test]
async fn it_binds_loopback_and_nothing_else() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Provider::start(addr.parse().unwrap(), Settings::demo(), Clock::system()).await;
        assert!(matches!(refused, Err(StartError::NotLoopback(_))), "{addr}");
    }
}

#[tokio::test]
async fn metadata_names_its_own_issuer_in_both_places() {
    let world = World::with(Settings { issuer_path: "/realms/demo".to_owned(), ..Settings::demo() }).await;
    let issuer = world.provider.issuer().to_owned();
    assert_eq!(issuer, format!("http://{}/realms/demo", world.addr()));
    for target in
        ["/realms/demo/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/demo"]
    {
        let metadata = world.get(target).await.json();
        assert_eq!(metadata["issuer"], issuer.as_str());
        assert_eq!(metadata["jwks_uri"], format!("{issuer}/jwks"));
    }
    assert_eq!(world.get("/realms/demo/jwks").await.status, 200);
    assert_eq!(world.get("/jwks").await.status, 404);
}

#[tokio::test]
async fn a_foreign_host_name_is_misdirected() {
    let world = World::new().await;
    let mut stream = tokio::net::TcpStream::connect(world.addr()).await.unwrap();
    let request = b"GET /jwks HTTP/1.1\r\nhost: attacker.example\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

async fn published(world: &World) -> Vec<Value> {
    world.get("/jwks").await.json()["keys"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_algorithm_signs_what_the_published_keys_verify() {
    let world = World::new().await;
    let keys = published(&world).await;
    for algorithm in Algorithm::ALL {
        let token = world.provider.mint(&Mint::machine("batch").algorithm(algorithm));
        assert!(Parsed::read(&token).unwrap().signed_by(&keys), "{algorithm:?}");
        assert_eq!(decode(&token).0["kid"], world.provider.key_id(algorithm));
        for key in [MintKey::Foreign, MintKey::Unknown, MintKey::Spoiled, MintKey::Nothing, MintKey::Hmac(vec![1; 32])]
        {
            let bad = world.provider.mint(&Mint::machine("batch").algorithm(algorithm).key(key.clone()));
            assert!(!Parsed::read(&bad).unwrap().signed_by(&keys), "{algorithm:?} {key:?}");
        }
    }
}

/// jsonwebtoken is a second opinion on keys and signatures.
#[tokio::test]
async fn another_library_agrees_with_keys_and_signatures() {
    use jsonwebtoken::crypto::verify;
    let world = World::new().await;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&world.get("/jwks").await.body).unwrap();
    let known = [
        ("RS256", Algorithm::Rs256),
        ("PS384", Algorithm::Ps384),
        ("ES256", Algorithm::Es256),
        ("EdDSA", Algorithm::EdDsa),
    ];
    for (name, algorithm) in known {
        let token = world.provider.mint(&Mint::user("shop", "alice").algorithm(algorithm));
        let jwk = set.find(&world.provider.key_id(algorithm)).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(verify(signature, message.as_bytes(), &key, name.parse().unwrap()).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn a_machine_gets_a_token_of_rfc_9068() {
    let world = World::new().await;
    let reply = world.call("/token", "batch", &[("grant_type", "client_credentials"), ("scope", "orders:read")]).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    let answer = reply.json();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert_eq!((&answer["scope"], &answer["refresh_token"]), (&json!("orders:read"), &Value::Null));
    let (header, claims) = decode(&reply.text("access_token"));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("RS256")));
    assert_eq!(claims["iss"], world.provider.issuer());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("batch"), &json!("batch")));
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!("orders"), &json!("orders:read")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(world.provider.calls(GrantType::ClientCredentials), 1);
    assert_eq!(world.provider.count(Endpoint::Token), 1);
}

#[tokio::test]
async fn what_a_machine_may_not_have_is_refused_by_its_right_name() {
    let world = World::new().await;
    let grant = ("grant_type", "client_credentials");
    let refused = async |client: &str, form: &[(&str, &str)]| {
        let reply = world.call("/token", client, form).await;
        (reply.status, reply.error())
    };
    assert_eq!(refused("batch", &[grant, ("scope", "admin")]).await, (400, "invalid_scope".to_owned()));
    assert_eq!(refused("batch", &[grant, ("resource", "https://x")]).await, (400, "invalid_target".to_owned()));
    assert_eq!(refused("shop", &[grant]).await, (400, "unauthorized_client".to_owned()));
    assert_eq!(refused("batch", &[("grant_type", "implicit")]).await, (400, "unsupported_grant_type".to_owned()));
    assert_eq!(refused("batch", &[]).await, (400, "invalid_request".to_owned()));
    assert_eq!(refused("batch", &[grant, grant]).await, (400, "invalid_request".to_owned()));
    assert_eq!(refused("nobody", &[grant]).await, (401, "invalid_client".to_owned()));
    assert_eq!(world.provider.calls(GrantType::ClientCredentials), 0);
}

#[tokio::test]
async fn keys_that_are_rotated_away_stay_as_long_as_was_said() {
    let world = World::new().await;
    let kid = |keys: &[Value]| keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let old = kid(&published(&world).await);
    world.provider.rotate_keys(Withdraw::After(Duration::from_secs(60))).unwrap();
    let both = kid(&published(&world).await);
    assert!(old.iter().all(|kid| both.contains(kid)) && both.len() == 2 * old.len());
    world.hands.advance(Duration::from_secs(61));
    assert!(kid(&published(&world).await).iter().all(|kid| !old.contains(kid)));
    let token = world.provider.mint(&Mint::machine("batch"));
    world.provider.rotate_keys(Withdraw::AtOnce).unwrap();
    assert!(!Parsed::read(&token).unwrap().signed_by(&published(&world).await));
}

#[tokio::test]
async fn a_minted_token_says_what_was_ordered() {
    let world = World::new().await;
    let order = Mint::user("shop", "alice").scope("openid email orders:read").lifetime(-10).audience("other");
    let token = world.provider.mint(&order.claim("jti", Value::Null).claim("tenant", "umbrella").header("typ", "JWT"));
    let (header, claims) = decode(&token);
    assert_eq!(header["typ"], "JWT");
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["tenant"]),
        (&json!("alice"), &json!("other"), &json!("umbrella"))
    );
    assert_eq!((&claims["email"], &claims["name"]), (&json!("alice@example.com"), &Value::Null));
    assert_eq!(claims["exp"].as_u64().unwrap(), 1_800_000_000 - 10);
    assert!(claims.get("jti").is_none());
    let raw =
        world.provider.mint_raw("{\"alg\":\"RS256\"}", "{\"sub\":1,\"sub\":2}", Algorithm::Rs256, &MintKey::Current);
    assert!(Parsed::read(&raw).unwrap().signed_by(&published(&world).await));
}

#[tokio::test]
async fn a_provider_that_was_stopped_frees_its_port() {
    let provider = super::support::start(Settings::demo(), Clock::system()).await;
    let addr = provider.addr();
    assert_eq!(send(addr, "GET", "/jwks", &[], "").await.unwrap().status, 200);
    provider.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    assert_ne!(LOOPBACK, addr.to_string());
}
