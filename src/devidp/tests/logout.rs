//! The end of a session: by the application, by the operator, and what the clients hear of it.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::support::{Browser, CALLBACK, World, answered, authorize, decode, encode};
use crate::clock::Clock;
use crate::devidp::{ClientEntry, Endpoint, Fault, Lie, LogoutCall, Provider, Settings, StartError};

const SIGNED_OUT: &str = "http://127.0.0.1:8080/oauth2/signed_out";

/// alice signed in at the shop, with nobody listening for logout calls.
async fn alice(world: &World, further: &[(&str, &str)]) -> (Browser, super::support::Reply) {
    let mut browser = Browser::default();
    let back = answered(&browser.sign_in(world, &authorize("shop", further), "alice", "wonderland").await);
    let tokens = world.redeem("shop", &back["code"], &[]).await;
    (browser, tokens)
}

/// The demo's settings, with no client that wants to be called.
fn quiet() -> Settings {
    let mut settings = Settings::demo();
    for client in &mut settings.clients {
        client.backchannel_logout_uri = None;
    }
    settings
}

/// A client's logout endpoint that takes one call: its address, and the form that came.
async fn listener() -> (String, tokio::task::JoinHandle<HashMap<String, String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/logout", listener.local_addr().unwrap());
    let call = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        while !text.contains("logout_token=") || text.ends_with("logout_token=") {
            let mut piece = [0; 8192];
            let read = stream.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "{text}");
            text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
    });
    (uri, call)
}

#[tokio::test]
async fn an_application_signs_its_user_out_and_gets_the_browser_back() {
    let world = World::with(quiet()).await;
    let (mut browser, tokens) = alice(&world, &[]).await;
    let pairs = [
        ("id_token_hint", tokens.text("id_token")),
        ("post_logout_redirect_uri", SIGNED_OUT.to_owned()),
        ("state", "a b".to_owned()),
    ];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // An expired hint is good enough.
    world.hands.advance(std::time::Duration::from_secs(3600));
    let reply = browser.get(&world, &format!("/end_session?{}", encode(&pairs))).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some(format!("{SIGNED_OUT}?state=a+b").as_str())));
    assert!(!browser.cookies.contains_key("devidp-session"));
    assert_eq!(
        answered(&browser.get(&world, &authorize("shop", &[("prompt", "none")])).await)["error"],
        "login_required"
    );
    assert_eq!(world.refresh("shop", &tokens.text("refresh_token")).await.error(), "invalid_grant");
}

#[tokio::test]
async fn offline_access_outlives_the_session() {
    let world = World::with(quiet()).await;
    let (mut browser, tokens) = alice(&world, &[("scope", "openid offline_access")]).await;
    browser.get(&world, &format!("/end_session?{}", encode(&[("id_token_hint", &tokens.text("id_token"))]))).await;
    assert_eq!(world.refresh("shop", &tokens.text("refresh_token")).await.status, 200);
}

#[tokio::test]
async fn without_a_hint_the_person_is_asked() {
    let world = World::with(quiet()).await;
    let (mut browser, _) = alice(&world, &[]).await;
    let asked = browser.get(&world, "/end_session?client_id=shop").await;
    assert!(asked.body.contains("<h1>Sign out?</h1>"));
    assert_eq!(browser.get(&world, &authorize("shop", &[("prompt", "none")])).await.status, 303);
    let done = browser.post(&world, "/end_session", &[("client_id", "shop"), ("confirm", "yes")]).await;
    assert!(done.body.contains("You are signed out"));
    assert_eq!(browser.get(&world, &authorize("shop", &[])).await.status, 200);
}

#[tokio::test]
async fn the_way_back_after_a_logout_must_be_registered() {
    let world = World::with(quiet()).await;
    let (mut browser, tokens) = alice(&world, &[]).await;
    let hint = tokens.text("id_token");
    let spoiled = crate::devidp::jwt::spoil(&hint);
    for bad in [
        vec![("id_token_hint", hint.as_str()), ("post_logout_redirect_uri", CALLBACK)],
        vec![("post_logout_redirect_uri", SIGNED_OUT)],
        vec![("id_token_hint", hint.as_str()), ("client_id", "hybrid")],
        vec![("id_token_hint", spoiled.as_str())],
    ] {
        let reply = browser.get(&world, &format!("/end_session?{}", encode(&bad))).await;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{bad:?}");
        assert!(browser.cookies.contains_key("devidp-session"));
    }
}

#[tokio::test]
async fn every_client_of_the_session_is_told() {
    let world = World::with(quiet()).await;
    let (uri, call) = listener().await;
    let shop = Settings::demo().clients.into_iter().find(|client| client.client_id == "shop").unwrap();
    world.provider.register(ClientEntry { backchannel_logout_uri: Some(uri), ..shop }).unwrap();
    let (mut browser, tokens) = alice(&world, &[]).await;
    let hint = tokens.text("id_token");
    assert_eq!(browser.get(&world, &format!("/end_session?{}", encode(&[("id_token_hint", &hint)]))).await.status, 200);
    let (header, claims) = decode(&call.await.unwrap()["logout_token"]);
    let (_, id_token) = decode(&hint);
    assert_eq!(header["typ"], "logout+jwt");
    for same in ["iss", "aud", "sub", "sid"] {
        assert_eq!(claims[same], id_token[same], "{same}");
    }
    assert!(claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    assert!(claims["jti"].is_string() && claims.get("nonce").is_none());
    assert_eq!(world.provider.count(Endpoint::BackchannelLogout), 1);
}

#[tokio::test]
async fn a_client_that_is_gone_is_reported_and_holds_nothing_up() {
    let world = World::with(quiet()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let shop = Settings::demo().clients.into_iter().find(|client| client.client_id == "shop").unwrap();
    let gone = Some(format!("http://{closed}/logout"));
    world.provider.register(ClientEntry { backchannel_logout_uri: gone, ..shop }).unwrap();
    alice(&world, &[]).await;
    let told = world.provider.log_out(Some("alice")).await;
    assert_eq!(told, [LogoutCall { client_id: "shop".to_owned(), status: None }]);
    assert_eq!(world.provider.log_out(None).await, []);
}

#[tokio::test]
async fn logout_calls_off_this_machine_are_refused_at_the_start() {
    let client = ClientEntry {
        backchannel_logout_uri: Some("https://example.com/logout".to_owned()),
        ..ClientEntry::public("far")
    };
    let settings = Settings { clients: vec![client], ..Settings::default() };
    let refused = Provider::start("127.0.0.1:0".parse().unwrap(), settings, Clock::system()).await;
    assert!(matches!(refused, Err(StartError::LogoutUri { .. })));
}

#[tokio::test]
async fn the_front_channel_is_loaded_in_frames() {
    let world = World::with(quiet()).await;
    let shop = quiet().clients.into_iter().find(|client| client.client_id == "shop").unwrap();
    let frontchannel_logout_uri = Some("http://127.0.0.1:8080/oauth2/frontchannel_logout".to_owned());
    world.provider.register(ClientEntry { frontchannel_logout_uri, ..shop }).unwrap();
    let (mut browser, tokens) = alice(&world, &[]).await;
    let (_, claims) = decode(&tokens.text("id_token"));
    let pairs = [("id_token_hint", tokens.text("id_token")), ("post_logout_redirect_uri", SIGNED_OUT.to_owned())];
    let page = browser
        .get(&world, &format!("/end_session?{}", encode(&pairs.each_ref().map(|(n, v)| (*n, v.as_str())))))
        .await;
    assert!(page.body.contains("/oauth2/frontchannel_logout?iss="));
    assert!(page.body.contains(&format!("sid={}", claims["sid"].as_str().unwrap())));
    assert!(page.body.contains(&format!("url={SIGNED_OUT}")));
}

#[tokio::test]
async fn logout_tokens_can_lie() {
    let world = World::new().await;
    let told = |lie| decode(&world.provider.logout_token("shop", Some("alice"), Some("s"), Some(lie)));
    assert!(told(Lie::MissingEvent).1.get("events").is_none());
    assert!(told(Lie::WithNonce).1["nonce"].is_string());
    assert_eq!(told(Lie::WrongAudience).1["aud"], "somebody-else");
    assert_eq!(told(Lie::AlgorithmNone).0["alg"], "none");
    let sessionless = told(Lie::MissingSession).1;
    assert!(sessionless.get("sid").is_none() && sessionless.get("sub").is_none());
    world.provider.set_fault(Endpoint::BackchannelLogout, Fault::Lie(Lie::WrongEvent));
}
