//! Signing out (R34, R35, T30): here first, then at the provider; by the person's own wish alone; and by the provider's
//! word, over the back channel and in a frame.

use postern::devidp::{Endpoint, Fault, Lie};
use serde_json::json;

use super::{SITE, Setup, World, parameter};
use crate::support::browser::Browser;
use crate::support::raw::{self, Answer};
use crate::support::{eventually, raw::PATIENCE};

const SESSION: &str = "__Host-postern-shop";

async fn is_signed_in(browser: &Browser) -> bool {
    browser.clone().step(&format!("{SITE}/cart")).await.answer.status == 200
}

#[tokio::test]
async fn signing_out_ends_the_session_here_and_at_the_provider() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let (mut browser, page) = world.alice().await;
        let old = browser.clone();
        let out = browser.follow(&page, "/oauth2/sign_out").await;
        assert_eq!((out.status, out.url.path()), (200, "/oauth2/signed_out"), "{:#?}", out.trail());
        assert!(out.text().contains("signed out"), "{}", out.text());
        let at_provider = out.hop("/end_session").url.to_string();
        assert!(parameter(&at_provider, "id_token_hint").is_some());
        assert_eq!(parameter(&at_provider, "client_id").as_deref(), Some("shop"));
        let back = parameter(&at_provider, "post_logout_redirect_uri");
        assert_eq!(back.as_deref(), Some("https://shop.test/oauth2/signed_out"));
        assert_eq!(parameter(&at_provider, "state"), parameter(out.url.as_str(), "state"));
        // The deletion names what the cookie was set with, or it would not go.
        let sign_out = out.hop("/oauth2/sign_out");
        let deletions = sign_out.answer.values("set-cookie");
        let deletion = deletions.iter().find(|field| field.starts_with(&format!("{SESSION}=;"))).unwrap();
        for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=0"] {
            assert!(deletion.contains(attribute), "{attribute}: {deletion}");
        }
        assert!(browser.cookies().iter().all(|cookie| !cookie.name.starts_with(SESSION)), "{:?}", browser.cookies());
        // A copy of the cookie opens nothing, and the provider asks for the password again.
        assert!(!is_signed_in(&old).await, "{store}");
        let again = browser.open(&format!("{SITE}/")).await;
        assert!(again.text().contains("name=\"password\""));
    }
}

#[tokio::test]
async fn the_tokens_are_revoked_at_the_provider() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let (mut browser, page) = world.alice().await;
    browser.follow(&page, "/oauth2/sign_out").await;
    // A refresh token and an access token.
    eventually("both tokens are revoked", PATIENCE, || (world.provider.count(Endpoint::Revoke) == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_keeps_nobody_signed_in() {
    let world = World::usual().await;
    let (mut browser, page) = world.alice().await;
    let old = browser.clone();
    world.provider.set_fault(Endpoint::Revoke, Fault::Status(500));
    world.provider.set_fault(Endpoint::EndSession, Fault::Status(500));
    let out = browser.follow(&page, "/oauth2/sign_out").await;
    assert_eq!(out.status, 500, "that is the provider's page");
    assert!(!is_signed_in(&old).await);
}

#[tokio::test]
async fn where_people_land_is_as_configured_or_as_the_link_says() {
    let world = World::start(Setup::with_site("    after_sign_out: /public/bye\n")).await;
    let (mut browser, page) = world.alice().await;
    let out = browser.follow(&page, "/oauth2/sign_out").await;
    assert_eq!((out.status, out.url.path()), (200, "/public/bye"), "{:#?}", out.trail());
    let (mut browser, page) = world.alice().await;
    let out = browser.follow(&page, "/oauth2/sign_out?rd=%2Fpublic%2Felsewhere").await;
    assert_eq!(out.url.path(), "/public/elsewhere", "{:#?}", out.trail());
}

#[tokio::test]
async fn a_foreign_page_signs_nobody_out_without_asking() {
    let world = World::usual().await;
    let (browser, _) = world.alice().await;
    let sign_out = format!("{SITE}/oauth2/sign_out");
    for (method, body) in [("GET", None), ("POST", Some("rd=%2F")), ("POST", Some(""))] {
        let mut lured = browser.clone();
        let page = lured.lured("https://evil.example", method, &sign_out, body).await;
        assert_eq!(page.status, 200, "{method}: {:?}", page.trail());
        assert!(page.text().contains("Do you want to sign out"), "{method}: {}", page.text());
        assert!(is_signed_in(&lured).await, "{method}");
    }
    // In a frame or by a picture of that page neither.
    let mut framed = browser.clone();
    framed.frame("https://evil.example", &sign_out).await;
    assert!(is_signed_in(&framed).await);
    // Asked, the person says yes.
    let mut lured = browser.clone();
    let page = lured.lured("https://evil.example", "GET", &format!("{sign_out}?rd=%2Fpublic%2Fbye"), None).await;
    let out = lured.submit(&page, &[]).await;
    assert_eq!((out.status, out.url.path()), (200, "/public/bye"), "{:#?}", out.trail());
    assert!(!is_signed_in(&lured).await);
}

#[tokio::test]
async fn coming_back_with_another_state_or_none_leads_nowhere() {
    let world = World::start(Setup::with_site("    after_sign_out: /public/bye\n")).await;
    for query in ["", "?state=other", "?state="] {
        let (mut browser, _) = world.alice().await;
        let hop = browser.step(&format!("{SITE}/oauth2/sign_out")).await;
        assert_eq!(hop.answer.status, 302);
        let page = browser.open(&format!("{SITE}/oauth2/signed_out{query}")).await;
        assert_eq!((page.status, page.url.path()), (200, "/oauth2/signed_out"), "{query}");
    }
}

async fn told(world: &World, token: &str) -> Answer {
    let body = format!("logout_token={token}");
    let length = body.len();
    let head = "POST /oauth2/backchannel_logout HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    raw::request(world.gateway.address(), &format!("{head}Content-Length: {length}\r\n\r\n{body}")).await
}

/// `sid` of the session that a browser has, as the provider knows it.
async fn sid(browser: &Browser) -> String {
    let page = browser.clone().open(&format!("{SITE}/oauth2/sign_out")).await;
    let hint = parameter(page.hop("/end_session").url.as_str(), "id_token_hint").expect("an ID token");
    let payload = hint.split('.').nth(1).unwrap();
    let json = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap();
    serde_json::from_slice::<serde_json::Value>(&json).unwrap()["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_provider_ends_sessions_over_the_back_channel() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let (alice, _) = world.alice().await;
        let (mut bob, _) = (world.browser(), ());
        bob.sign_in(&format!("{SITE}/"), "bob", "builder").await;
        let token = world.provider.logout_token("shop", Some("alice"), None, None);
        let answer = told(&world, &token).await;
        assert_eq!((answer.status, answer.value("cache-control")), (200, Some("no-store")), "{}", answer.text());
        assert!(!is_signed_in(&alice).await, "{store}");
        assert!(is_signed_in(&bob).await, "{store}: bob was not meant");
        assert_eq!(told(&world, &token).await.status, 400, "a logout token counts once");
        // Whoever signs in afterwards is signed in.
        let (alice, _) = world.alice().await;
        assert!(is_signed_in(&alice).await, "{store}");
    }
}

#[tokio::test]
async fn one_session_of_several_is_ended_by_its_name() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let (first, _) = world.alice().await;
        let (second, _) = world.alice().await;
        let (third, _) = world.alice().await;
        // Found by signing out in a copy, which ends that session too.
        let name = sid(&third).await;
        let token = world.provider.logout_token("shop", Some("alice"), Some(&name), None);
        assert_eq!(told(&world, &token).await.status, 200);
        assert!(is_signed_in(&first).await && is_signed_in(&second).await, "{store}");
        assert!(!is_signed_in(&third).await, "{store}");
    }
}

#[tokio::test]
async fn a_logout_token_with_a_lie_in_it_ends_nothing() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let (alice, _) = world.alice().await;
    let claims = |value: serde_json::Value| Lie::Claims(value.as_object().unwrap().clone());
    for lie in [
        Lie::AlgorithmNone,
        Lie::Hs256,
        Lie::PublicKeyAsSecret,
        Lie::BadSignature,
        Lie::ForeignKey,
        Lie::UnknownKey,
        Lie::WrongIssuer,
        Lie::WrongAudience,
        Lie::MissingAudience,
        Lie::MissingEvent,
        Lie::WrongEvent,
        Lie::WithNonce,
        Lie::MissingTokenId,
        Lie::MissingSession,
        Lie::MissingIssuedAt,
        Lie::MissingExpiry,
        Lie::Expired,
        claims(json!({ "sub": 7 })),
        Lie::Header(json!({ "typ": "at+jwt" }).as_object().unwrap().clone()),
    ] {
        let token = world.provider.logout_token("shop", Some("alice"), None, Some(lie.clone()));
        let answer = told(&world, &token).await;
        assert_eq!(
            (answer.status, answer.value("cache-control")),
            (400, Some("no-store")),
            "{lie:?}: {}",
            answer.text()
        );
        assert!(is_signed_in(&alice).await, "{lie:?}");
    }
    for body in ["", "x", "a.b.c"] {
        assert_eq!(told(&world, body).await.status, 400, "{body:?}");
    }
    let access_token = world.provider.mint(&postern::devidp::Mint::user("shop", "alice"));
    assert_eq!(told(&world, &access_token).await.status, 400, "an access token is none");
}

#[tokio::test]
async fn a_site_may_take_no_logout_tokens() {
    let world = World::start(Setup::with_site("    back_channel_logout: \"off\"\n")).await;
    let (alice, _) = world.alice().await;
    let token = world.provider.logout_token("shop", Some("alice"), None, None);
    assert_eq!(told(&world, &token).await.status, 400);
    assert!(is_signed_in(&alice).await);
}

#[tokio::test]
async fn the_provider_ends_a_session_in_a_frame() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let (_, _) = world.alice().await;
    let (victim, _) = world.alice().await;
    let name = {
        let (other, _) = world.alice().await;
        sid(&other).await
    };
    let issuer = world.provider.issuer().to_owned();
    let address = |issuer: &str, sid: &str| format!("{SITE}/oauth2/frontchannel_logout?iss={issuer}&sid={sid}");
    let mut browser = victim.clone();
    let hop = browser.frame(&issuer, &address(&issuer, &name)).await;
    assert_eq!((hop.answer.status, hop.answer.value("cache-control")), (200, Some("no-store")));
    assert!(hop.answer.value("content-security-policy").unwrap().contains(&format!("frame-ancestors {issuer}")));
    assert!(is_signed_in(&victim).await, "another session was meant");
    for bad in [address("https://other.example", &name), format!("{SITE}/oauth2/frontchannel_logout")] {
        assert_eq!(browser.frame(&issuer, &bad).await.answer.status, 400, "{bad}");
    }
}

/// Anybody can ask for a sign-out in a frame: with sessions in cookies it is that of the browser which shows its own.
#[tokio::test]
async fn a_frame_without_the_cookie_ends_only_what_is_kept_on_this_side() {
    let routes = "  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop } }\n    forward: { headers: { X-Sid: sid } }\n";
    for (store, site) in [("cookie", ""), ("cookie", "    cookie: { same_site: none }\n"), ("memory", "")] {
        let setup = Setup { store, routes: routes.to_owned(), ..Setup::with_site(site) };
        let world = World::start(setup).await;
        let (alice, _) = world.alice().await;
        let sid = world.seen().last().unwrap().value("x-sid").unwrap().to_owned();
        let issuer = world.provider.issuer().to_owned();
        let address = format!("{SITE}/oauth2/frontchannel_logout?iss={issuer}&sid={sid}");
        assert_eq!(world.browser().frame(&issuer, &address).await.answer.status, 200);
        assert_eq!(is_signed_in(&alice).await, store == "cookie", "{store} {site}: somebody who only knows the name");
        assert_eq!(alice.clone().frame(&issuer, &address).await.answer.status, 200);
        let is_shown = !site.is_empty();
        assert_eq!(is_signed_in(&alice).await, store == "cookie" && !is_shown, "{store} {site}");
    }
}
