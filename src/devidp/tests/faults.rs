//! Outages on demand, each seen from the other end of the wire.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Browser, World, answered, authorize, decode, send};
use crate::devidp::jwt::Parsed;
use crate::devidp::{Endpoint, Fault, GrantType, Lie};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

fn members(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn an_answer_is_spoiled_as_ordered_and_whole_again_when_cleared() {
    let world = World::new().await;
    let provider = &world.provider;
    let get = async |fault: Fault| {
        provider.set_fault(Endpoint::Jwks, fault);
        send(world.addr(), "GET", "/jwks", &[], "").await
    };
    for code in [404, 429, 500, 503] {
        assert_eq!(get(Fault::Status(code)).await.unwrap().status, code);
    }
    let parsed = |body: &str| serde_json::from_str::<Value>(body).is_ok();
    assert!(!parsed(&get(Fault::Garbage).await.unwrap().body));
    let html = get(Fault::Html).await.unwrap();
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let away = get(Fault::Redirect("http://127.0.0.1:9/x".to_owned())).await.unwrap();
    assert_eq!((away.status, away.header("location")), (302, Some("http://127.0.0.1:9/x")));
    let plain = get(Fault::WrongContentType).await.unwrap();
    assert!(plain.header("content-type") == Some("text/plain") && parsed(&plain.body));
    let cut = get(Fault::Truncated).await.unwrap();
    assert!(!cut.complete && !parsed(&cut.body) && cut.body.starts_with("{\"keys\""), "{cut:?}");
    let large = get(Fault::Oversized(3_000_000)).await.unwrap();
    assert!(large.complete && large.body.len() > 3_000_000 && parsed(&large.body));
    assert!(get(Fault::Nested(5000)).await.unwrap().body.starts_with("[[[["));
    assert!(get(Fault::Drop).await.is_none());
    assert_eq!(get(Fault::EmptyKeys).await.unwrap().json(), json!({ "keys": [] }));
    assert_eq!(get(Fault::UnknownKeys).await.unwrap().json()["keys"][0]["kty"], "STRANGE");
    assert_eq!(get(Fault::ManyKeys(100)).await.unwrap().json()["keys"].as_array().unwrap().len(), 105);
    let changed = get(Fault::Change(members(json!({ "keys": null, "extra": 1 })))).await.unwrap();
    assert_eq!(changed.json(), json!({ "extra": 1 }));
    provider.clear_faults();
    assert_eq!(world.get("/jwks").await.json()["keys"].as_array().unwrap().len(), 5);
    assert_eq!(provider.count(Endpoint::Jwks), 17);
}

#[tokio::test]
async fn a_slow_answer_waits_on_the_clock_and_a_hung_one_for_ever() {
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Jwks, Fault::Slow(Duration::from_secs(30)));
    let addr = world.addr();
    let slow = tokio::spawn(async move { send(addr, "GET", "/jwks", &[], "").await });
    while world.provider.count(Endpoint::Jwks) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!slow.is_finished());
    // The handler may not have looked at the clock yet: move it until it has.
    let mut slow = std::pin::pin!(slow);
    loop {
        tokio::select! {
            reply = &mut slow => break assert_eq!(reply.unwrap().unwrap().status, 200),
            () = tokio::task::yield_now() => world.hands.advance(Duration::from_secs(30)),
        }
    }
    world.provider.set_fault(Endpoint::Jwks, Fault::Hang);
    let hung = tokio::spawn(async move { send(addr, "GET", "/jwks", &[], "").await });
    while world.provider.count(Endpoint::Jwks) == 1 {
        tokio::task::yield_now().await;
    }
    world.provider.stop().await;
    assert!(hung.await.unwrap().is_none(), "cut when the provider stops");
}

#[tokio::test]
async fn a_drip_comes_byte_by_byte() {
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Revoke, Fault::Drip);
    world.provider.set_fault(Endpoint::Jwks, Fault::Drip);
    let addr = world.addr();
    let drip = tokio::spawn(async move { send(addr, "GET", "/jwks", &[], "").await });
    let mut drip = std::pin::pin!(drip);
    let mut seconds = 0;
    let reply = loop {
        tokio::select! {
            reply = &mut drip => break reply.unwrap().unwrap(),
            () = tokio::task::yield_now() => {
                seconds += 1;
                world.hands.advance(Duration::from_secs(1));
            }
        }
    };
    assert!(seconds >= reply.body.len() && reply.complete, "{seconds}");
}

#[tokio::test]
async fn an_endless_answer_ends_with_its_reader() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Jwks, Fault::Endless);
    let mut stream = tokio::net::TcpStream::connect(world.addr()).await.unwrap();
    let head = format!("GET /jwks HTTP/1.1\r\nhost: {}\r\n\r\n", world.addr());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut taken = vec![0; 2_000_000];
    stream.read_exact(&mut taken).await.unwrap();
    drop(stream);
    world.provider.stop().await;
}

#[tokio::test]
async fn a_fault_ends_after_its_calls_and_stays_at_its_endpoint() {
    let world = World::new().await;
    world.provider.set_fault_for(Endpoint::Token, Fault::Status(503), 2);
    assert_eq!(world.get("/jwks").await.status, 200);
    for expected in [503, 503, 200] {
        assert_eq!(world.call("/token", "batch", &[GRANT]).await.status, expected);
    }
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_work_was_done() {
    let world = World::new().await;
    let token = world.tokens("shop", &[]).await.text("refresh_token");
    world.provider.set_fault_for(Endpoint::Token, Fault::DropAfter, 1);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token.as_str()),
        ("client_id", "shop"),
        ("client_secret", "shop-secret"),
    ];
    assert!(world.try_post("/token", &form, &[]).await.is_none());
    assert_eq!(world.provider.calls(GrantType::RefreshToken), 1);
    assert_eq!(world.refresh("shop", &token).await.error(), "invalid_grant", "it was used up");
}

#[tokio::test]
async fn oauth_errors_can_be_ordered() {
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Token, Fault::OAuthError("slow_down".to_owned()));
    let reply = world.call("/token", "batch", &[GRANT]).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "slow_down"));
    world.provider.set_fault_for(Endpoint::Authorize, Fault::OAuthError("server_error".to_owned()), 1);
    let mut browser = Browser::default();
    let first = answered(&browser.sign_in(&world, &authorize("shop", &[]), "alice", "wonderland").await);
    assert_eq!(
        (first["error"].as_str(), first["state"].as_str(), first.contains_key("code")),
        ("server_error", "st", false)
    );
    assert!(answered(&browser.get(&world, &authorize("shop", &[])).await).contains_key("code"));
}

#[tokio::test]
async fn the_way_back_to_the_client_can_be_mixed_up() {
    let world = World::new().await;
    let back = async |fault: Fault| {
        world.provider.set_fault(Endpoint::Authorize, fault);
        world.signed_in("shop", &[]).await
    };
    assert_eq!(back(Fault::WrongIssuer).await["iss"], "https://other.example");
    assert!(!back(Fault::MissingIssuer).await.contains_key("iss"));
    assert_ne!(back(Fault::WrongState).await["state"], "st");
    assert!(!back(Fault::MissingState).await.contains_key("state"));
}

#[tokio::test]
async fn discovery_can_name_another_issuer() {
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Discovery, Fault::WrongIssuer);
    assert_eq!(world.get("/.well-known/openid-configuration").await.json()["issuer"], "https://other.example");
}

/// The refusal modules of the conformance suite, by what each changes in an ID token.
#[tokio::test]
async fn id_tokens_lie_in_one_respect_each() {
    let world = World::new().await;
    let keys = world.get("/jwks").await.json()["keys"].as_array().unwrap().clone();
    let (_, honest) = decode(&world.tokens("shop", &[]).await.text("id_token"));
    for name in Lie::names() {
        let lie = Lie::parse(name).unwrap();
        world.provider.set_fault(Endpoint::Token, Fault::Lie(lie.clone()));
        let token = world.tokens("shop", &[]).await.text("id_token");
        let (header, claims) = decode(&token);
        let believed = Parsed::read(&token).unwrap().signed_by(&keys);
        let unbelievable = [
            Lie::BadSignature,
            Lie::ForeignKey,
            Lie::UnknownKey,
            Lie::AlgorithmNone,
            Lie::Hs256,
            Lie::PublicKeyAsSecret,
        ];
        assert_eq!(believed, !unbelievable.contains(&lie), "{name}");
        match lie {
            Lie::WrongIssuer => assert_eq!(claims["iss"], "https://other.example"),
            Lie::WrongAuthorizedParty => {
                assert_eq!((&claims["azp"], &claims["aud"]), (&json!("somebody-else"), &json!(["shop", "other"])))
            }
            Lie::WrongSubject => assert_eq!(claims["sub"], "mallory"),
            Lie::MissingSubject => assert!(claims.get("sub").is_none()),
            Lie::MissingIssuedAt => assert!(claims.get("iat").is_none()),
            Lie::Expired => assert!(claims["exp"].as_u64().unwrap() < 1_800_000_000),
            Lie::WrongNonce | Lie::WithNonce => assert_ne!(claims["nonce"], honest["nonce"]),
            Lie::WrongAccessTokenHash => assert_eq!(claims["at_hash"], "c29tZXRoaW5nIGVsc2U"),
            Lie::MissingKeyId => assert!(header.get("kid").is_none()),
            Lie::ForeignKey => assert_eq!(header["kid"], world.provider.key_id(crate::devidp::Algorithm::Rs256)),
            Lie::UnknownKey => assert!(keys.iter().all(|key| key["kid"] != header["kid"])),
            Lie::OtherAlgorithm => assert_eq!(header["alg"], "ES256"),
            Lie::AlgorithmNone => assert_eq!(header["alg"], "none"),
            _ => {}
        }
    }
    world.provider.set_fault(Endpoint::Token, Fault::Lie(Lie::Claims(members(json!({ "sub": null, "extra": true })))));
    let (_, claims) = decode(&world.tokens("shop", &[]).await.text("id_token"));
    assert!(claims.get("sub").is_none() && claims["extra"] == true);
}

#[tokio::test]
async fn a_lie_at_the_front_leaves_the_back_channel_honest() {
    let world = World::new().await;
    world.provider.set_fault(Endpoint::Authorize, Fault::Lie(Lie::WrongCodeHash));
    let back = world.signed_in("hybrid", &[("response_type", "code id_token")]).await;
    assert_eq!(decode(&back["id_token"]).1["c_hash"], "c29tZXRoaW5nIGVsc2U");
    assert_eq!(decode(&world.redeem("hybrid", &back["code"], &[]).await.text("id_token")).1["sub"], "alice");
}

#[tokio::test]
async fn an_operator_switches_faults_by_form_and_by_json() {
    let world = World::new().await;
    let form = [("endpoint", "jwks"), ("fault", "status"), ("value", "502"), ("calls", "1")];
    assert_eq!(world.post("/dev/faults", &form, &[]).await.status, 200);
    assert_eq!((world.get("/jwks").await.status, world.get("/jwks").await.status), (502, 200));
    let body = r#"{"endpoint":"introspect","fault":"change","value":{"active":"true"}}"#;
    let kind = [("content-type", "application/json")];
    assert_eq!(send(world.addr(), "POST", "/dev/faults", &kind, body).await.unwrap().status, 200);
    assert_eq!(world.introspect("junk").await["active"], "true");
    assert_eq!(world.post("/dev/faults", &[("fault", "none")], &[]).await.status, 200);
    assert_eq!(world.introspect("junk").await["active"], false);
    for bad in [("endpoint", "nowhere"), ("fault", "gravity"), ("calls", "many")] {
        let mut all = vec![("endpoint", "jwks"), ("fault", "hang")];
        all.retain(|(name, _)| *name != bad.0);
        all.push(bad);
        assert_eq!(world.post("/dev/faults", &all, &[]).await.error(), "invalid_request", "{bad:?}");
    }
    assert_eq!(world.get("/jwks").await.status, 200);
}

#[tokio::test]
async fn an_operator_has_a_page_rotates_keys_and_signs_people_out() {
    let world = World::new().await;
    let page = world.get("/dev").await;
    assert!(page.status == 200 && page.body.contains("Clear all faults") && !page.body.contains("<script"));
    let old = world.provider.key_id(crate::devidp::Algorithm::Rs256);
    let accept = [("accept", "text/html")];
    let reply = world.post("/dev/rotate", &[("withdraw", "5m")], &accept).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/dev")));
    assert_ne!(world.provider.key_id(crate::devidp::Algorithm::Rs256), old);
    assert_eq!(world.get("/jwks").await.json()["keys"].as_array().unwrap().len(), 10);
    let told = world.post("/dev/logout", &[("user", "alice")], &[]).await.json();
    assert_eq!(told, json!({ "told": [] }));
    assert_eq!(world.get("/dev/logout").await.status, 405);
}

#[tokio::test]
async fn a_page_of_another_site_can_switch_nothing() {
    let world = World::new().await;
    let form = [("endpoint", "jwks"), ("fault", "status")];
    let own = format!("http://{}", world.addr());
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(world.post("/dev/faults", &form, &[(name, value)]).await.status, 403, "{name} {value}");
    }
    assert_eq!(world.get("/jwks").await.status, 200);
    assert_eq!(
        world.post("/dev/faults", &form, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.status,
        200
    );
    assert_eq!(world.get("/jwks").await.status, 500);
}
