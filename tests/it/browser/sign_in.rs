//! Signing in: what is asked of the provider, what may come back, and what the app and the browser get to see (R21 to R33,
//! R36 to R39, R42, R43, T27, T29, F8, F9).

use postern::devidp::{Endpoint, Fault, GrantType, Withdraw};
use serde_json::{Map, Value, json};

use super::{SITE, Setup, World, parameter};
use crate::support::browser::{Browser, Page};
use crate::support::eventually;
use crate::support::raw::PATIENCE;

fn members(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// Where a browser without a session is sent.
async fn asked(browser: &mut Browser, path: &str) -> String {
    let hop = browser.step(&format!("{SITE}{path}")).await;
    assert_eq!(hop.answer.status, 302, "{}", hop.answer.text());
    hop.answer.value("location").expect("a location").to_owned()
}

/// The callback's address as the provider would send it, with the sign-in page left out.
async fn answered(browser: &mut Browser) -> String {
    let page = browser.open(&format!("{SITE}/")).await;
    browser.sign_in_at_until(&page, "alice", "wonderland", "/oauth2/callback").await
}

/// Nobody was signed in, and nothing reached the app.
fn refused(world: &World, browser: &Browser, page: &Page, status: u16) {
    assert_eq!(page.status, status, "{:#?}\n{}", page.trail(), page.text());
    assert!(page.text().contains("Start again"), "{}", page.text());
    assert!(browser.cookie("__Host-postern-shop").is_none(), "{:?}", browser.cookies());
    assert_eq!(page.answer.value("cache-control"), Some("no-store"));
    assert!(world.seen().is_empty(), "the app saw something");
}

#[tokio::test]
async fn a_person_signs_in_and_the_app_sees_who_they_are() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let (mut browser, page) = world.alice().await;
        assert_eq!(page.url.as_str(), "https://shop.test/orders?page=2", "back where they wanted to be");
        let seen = world.seen();
        assert_eq!(seen.len(), 1, "only what came after the sign-in reached the app");
        assert_eq!(seen[0].value("x-forwarded-user"), Some("alice"));
        assert_eq!(seen[0].value("x-forwarded-email"), Some("alice@example.com"));
        assert_eq!(seen[0].value("x-forwarded-groups"), Some("staff,admins"));
        assert_eq!((seen[0].value("cookie"), seen[0].value("authorization")), (None, None));
        // Nothing is left of the attempt, and the session goes on.
        let ours = browser.cookies().iter().filter(|cookie| cookie.name.starts_with("__Host-postern-shop"));
        assert_eq!(ours.count(), 1, "{:?}", browser.cookies());
        let cookie = browser.cookie("__Host-postern-shop").expect("a session cookie");
        assert!(cookie.http_only && cookie.same_site == "Lax");
        assert_eq!(browser.open(&format!("{SITE}/cart")).await.status, 200);
        assert_eq!(world.provider.calls(GrantType::AuthorizationCode), 1);
    }
}

#[tokio::test]
async fn every_attempt_is_asked_for_anew_and_bound_by_a_challenge() {
    let world = World::usual().await;
    let mut browser = world.browser();
    let (one, two) = (asked(&mut browser, "/a").await, asked(&mut browser, "/b").await);
    for name in ["state", "nonce", "code_challenge"] {
        let (first, second) = (parameter(&one, name).unwrap(), parameter(&two, name).unwrap());
        assert!(first.len() >= 43 && first != second, "{name}: {first}");
    }
    assert_eq!(parameter(&one, "code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(parameter(&one, "response_type").as_deref(), Some("code"));
    assert_eq!(parameter(&one, "redirect_uri").as_deref(), Some("https://shop.test/oauth2/callback"));
    assert_eq!(parameter(&one, "scope").as_deref(), Some("openid profile email groups"));
    assert!(!one.contains("secret"), "{one}");
}

#[tokio::test]
async fn no_field_of_a_request_has_a_part_in_the_redirect_address() {
    let world = World::usual().await;
    let mut browser = world.browser();
    browser.lines = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nForwarded: host=evil.example\r\nX-Original-URL: /x\r\n".to_owned();
    let address = asked(&mut browser, "/").await;
    assert_eq!(parameter(&address, "redirect_uri").as_deref(), Some("https://shop.test/oauth2/callback"));
    assert!(!address.contains("evil"), "{address}");
}

#[tokio::test]
async fn answers_of_a_sign_in_are_not_stored_not_framed_and_tell_nobody_their_address() {
    let world = World::usual().await;
    let (_, page) = world.alice().await;
    let ours = page.hops.iter().filter(|hop| hop.url.path().starts_with("/oauth2/"));
    let (mut count, started) = (0, world.browser().step(&format!("{SITE}/oauth2/start")).await);
    for hop in ours.chain([&started]) {
        assert_eq!(hop.answer.value("cache-control"), Some("no-store"), "{}", hop.url);
        assert_eq!(hop.answer.value("referrer-policy"), Some("no-referrer"), "{}", hop.url);
        assert!(hop.answer.value("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{}", hop.url);
        assert!(matches!(hop.answer.status, 302 | 303), "never 307: {}", hop.url);
        count += 1;
    }
    assert!(count >= 2);
}

#[tokio::test]
async fn an_answer_belongs_to_one_attempt_of_one_browser_and_is_taken_once() {
    let world = World::usual().await;
    let (mut alice, mut mallory) = (world.browser(), world.browser());
    let answer = answered(&mut alice).await;
    let (state, code) = (parameter(&answer, "state").unwrap(), parameter(&answer, "code").unwrap());
    let callback = |query: &str| format!("{SITE}/oauth2/callback?{query}");
    let issuer = format!("iss={}", world.provider.issuer());
    let long = "s".repeat(7_000);
    let kept = alice.clone();
    // Each in a copy of the browser: none of them uses the attempt up.
    for query in [
        String::new(),
        format!("code={code}&{issuer}"),
        format!("code={code}&state=&{issuer}"),
        format!("code={code}&state=c29tZXRoaW5n&{issuer}"),
        format!("code={code}&state={long}&{issuer}"),
        format!("state={state}&{issuer}&code={code}&code={code}"),
        format!("state={state}&state={state}&{issuer}&code={code}"),
        format!("state={state}&{issuer}"),
        format!("state={state}&{issuer}&code={code}&error=x"),
        format!("state={state}&{issuer}&code={code}&id_token=x"),
        format!("state={state}&{issuer}&code={code}&access_token=x"),
        format!("state={state}&{issuer}&code=%ff"),
    ] {
        let mut browser = kept.clone();
        let page = browser.open(&callback(&query)).await;
        refused(&world, &browser, &page, 400);
    }
    let page = mallory.open(&answer).await;
    refused(&world, &mallory, &page, 400);
    assert_eq!(world.provider.count(Endpoint::Token), 0, "no code was sent anywhere");
    // The same answer by the other method is none.
    let posted = kept.clone().lured(SITE, "POST", &callback(""), Some(answer.split_once('?').unwrap().1)).await;
    assert_eq!(posted.status, 400);
    let page = alice.open(&answer).await;
    assert_eq!(page.status, 200, "{}", page.text());
    // A second time, with the cookies that were there before.
    let mut copy = kept.clone();
    let _ = world.seen();
    let page = copy.open(&answer).await;
    refused(&world, &copy, &page, 400);
    assert_eq!(world.provider.count(Endpoint::Token), 1);
    for reason in ["login.answer", "login.state", "login.replayed"] {
        let logged = || world.gateway.access().iter().any(|line| line["reason"] == reason).then_some(());
        eventually(reason, PATIENCE, logged).await;
    }
    let at_the_door = world.gateway.access().iter().filter(|line| line["route"] == "shop/callback").count();
    assert!(at_the_door >= 15, "{at_the_door}");
}

#[tokio::test]
async fn an_answer_must_name_the_provider_that_was_asked() {
    for fault in [Fault::WrongIssuer, Fault::MissingIssuer] {
        let world = World::usual().await;
        world.provider.set_fault(Endpoint::Authorize, fault);
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        refused(&world, &browser, &page, 400);
        assert_eq!(world.provider.count(Endpoint::Token), 0, "the code went nowhere");
    }
}

#[tokio::test]
async fn what_the_provider_refuses_gives_a_page_with_a_way_to_begin_again() {
    let world = World::usual().await;
    let mut browser = world.browser();
    let asked = browser.open(&format!("{SITE}/orders?page=3")).await;
    let page = browser.submit(&asked, &[("cancel", "yes")]).await;
    refused(&world, &browser, &page, 400);
    assert!(!page.text().contains("access_denied"), "the reason is not for the client");
    let again = page.link("Start again");
    let asked = browser.follow(&page, &again).await;
    let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
    assert_eq!(page.url.as_str(), "https://shop.test/orders?page=3");
}

#[tokio::test]
async fn a_token_endpoint_that_gives_no_tokens_signs_nobody_in() {
    let world = World::usual().await;
    let change = |value: Value| Fault::Change(members(value));
    for (fault, status) in [
        (Fault::Status(500), 503),
        (Fault::Drop, 503),
        (Fault::OAuthError("temporarily_unavailable".to_owned()), 503),
        (Fault::DropAfter, 503),
        (Fault::Garbage, 400),
        (Fault::Html, 400),
        (Fault::WrongContentType, 400),
        (Fault::Oversized(1_000_000), 503),
        (Fault::Truncated, 503),
        (change(json!({ "id_token": null })), 400),
        (change(json!({ "access_token": null })), 400),
        (change(json!({ "token_type": "DPoP" })), 400),
        (change(json!({ "expires_in": -1 })), 400),
        (change(json!({ "expires_in": "300" })), 400),
    ] {
        let before = world.provider.count(Endpoint::Token);
        world.provider.set_fault_for(Endpoint::Token, fault.clone(), 1);
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        refused(&world, &browser, &page, status);
        assert_eq!(page.answer.value("retry-after").is_some(), status == 503, "{fault:?}");
        assert_eq!(world.provider.count(Endpoint::Token) - before, 1, "the code was sent once: {fault:?}");
    }
    world.provider.clear_faults();
    world.alice().await;
}

#[tokio::test]
async fn a_provider_that_redirects_a_request_of_ours_is_not_followed() {
    let world = World::usual().await;
    let trap = crate::support::upstream::Upstream::echo().await;
    world.provider.set_fault(Endpoint::Token, Fault::Redirect(format!("http://{}/", trap.address)));
    let mut browser = world.browser();
    let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
    refused(&world, &browser, &page, 400);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn new_keys_of_the_provider_are_fetched_within_the_sign_in() {
    let world = World::usual().await;
    world.alice().await;
    world.provider.rotate_keys(Withdraw::AtOnce).unwrap();
    tokio::time::sleep(std::time::Duration::ZERO).await;
    world.alice().await;
}

#[tokio::test]
async fn a_form_post_brings_the_attempt_along_and_a_query_does_not_count() {
    let world = World::start(Setup::with_site("    response_mode: form_post\n")).await;
    let mut browser = world.browser();
    let asked = browser.open(&format!("{SITE}/cart")).await;
    let attempt = browser.cookies().iter().find(|cookie| cookie.name.starts_with("__Host-postern-shop.tx.")).unwrap();
    assert_eq!(attempt.same_site, "None");
    assert_eq!(parameter(asked.hops.last().unwrap().url.as_str(), "response_mode").as_deref(), Some("form_post"));
    let by_get = {
        let mut copy = browser.clone();
        let state = parameter(asked.url.as_str(), "state").unwrap();
        copy.open(&format!("{SITE}/oauth2/callback?code=x&state={state}&iss={}", world.provider.issuer())).await
    };
    assert_eq!(by_get.status, 400);
    let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
    assert_eq!((page.status, page.url.path()), (200, "/cart"), "{:#?}", page.trail());
    assert_eq!(page.hop("/oauth2/callback").answer.status, 303, "a POST is followed by a GET");
    assert_eq!(browser.cookie("__Host-postern-shop").unwrap().same_site, "Lax");
}

#[tokio::test]
async fn a_strict_cookie_comes_along_after_the_sign_in() {
    let world = World::start(Setup::with_site("    cookie: { same_site: strict }\n")).await;
    let (browser, page) = world.alice().await;
    assert_eq!(page.url.path(), "/orders");
    assert_eq!(page.hop("/oauth2/callback").answer.status, 200, "a page of the site goes on, no redirect");
    assert_eq!(browser.cookie("__Host-postern-shop").unwrap().same_site, "Strict");
}

#[tokio::test]
async fn several_tabs_sign_in_at_once() {
    let world = World::usual().await;
    let mut browser = world.browser();
    let mut tabs = Vec::new();
    for number in 0..4 {
        tabs.push(browser.open(&format!("{SITE}/tab/{number}")).await);
    }
    // The last first, so that each finds its own attempt among the others.
    for (number, tab) in tabs.iter().enumerate().rev() {
        let page = browser.sign_in_at(tab, "alice", "wonderland").await;
        assert_eq!((page.status, page.url.path()), (200, format!("/tab/{number}").as_str()));
    }
}

#[tokio::test]
async fn abandoned_attempts_do_not_pile_up() {
    let world = World::usual().await;
    let mut browser = world.browser();
    for number in 0..50 {
        let hop = browser.step(&format!("{SITE}/{number}/{}", "x".repeat(900))).await;
        assert_eq!(hop.answer.status, 302, "never too many cookies");
    }
    assert!(browser.cookies().len() <= 8, "{}", browser.cookies().len());
    let page = browser.sign_in(&format!("{SITE}/at-last"), "alice", "wonderland").await;
    assert_eq!((page.status, page.url.path()), (200, "/at-last"));
}

#[tokio::test]
async fn a_sign_in_makes_a_new_session_and_the_old_one_is_dead() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let (mut browser, _) = world.alice().await;
        let old = browser.clone();
        let page = browser.open(&format!("{SITE}/oauth2/start?rd=/again")).await;
        assert_eq!((page.status, page.url.path()), (200, "/again"), "{:#?}", page.trail());
        assert_ne!(old.cookie("__Host-postern-shop"), browser.cookie("__Host-postern-shop"));
        assert_eq!(browser.open(&format!("{SITE}/cart")).await.url.path(), "/cart");
        let hop = old.clone().step(&format!("{SITE}/cart")).await;
        assert_eq!(hop.answer.status, 302, "{store}: the old session is over");
    }
}

#[tokio::test]
async fn no_token_of_the_provider_ever_reaches_the_browser() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let (mut browser, page) = world.alice().await;
    let told = browser.open(&format!("{SITE}/oauth2/userinfo")).await;
    assert_eq!(told.answer.json()["sub"], "alice");
    let ours = page.hops.iter().filter(|hop| hop.url.as_str().starts_with(SITE));
    for hop in ours.chain(&told.hops) {
        let shown = format!("{:?} {}", hop.answer.fields, hop.answer.text());
        assert!(!shown.contains("eyJ"), "a token in the answer of {}: {shown}", hop.url);
    }
}

#[tokio::test]
async fn a_page_of_the_site_learns_who_is_signed_in_and_no_other_does() {
    let world = World::usual().await;
    let (mut browser, _) = world.alice().await;
    let address = format!("{SITE}/oauth2/userinfo");
    let hop = browser.fetch(&format!("{SITE}/orders"), "GET", &address).await;
    assert_eq!((hop.answer.status, hop.answer.value("content-type")), (200, Some("application/json")));
    let told = hop.answer.json();
    assert_eq!((&told["sub"], &told["email"]), (&json!("alice"), &json!("alice@example.com")));
    for withheld in ["nonce", "sid", "at_hash"] {
        assert_eq!(told[withheld], Value::Null, "{withheld}");
    }
    let hop = browser.fetch("https://evil.example/", "GET", &address).await;
    assert_eq!(hop.answer.status, 401, "no cookie comes along");
    assert_eq!(hop.answer.value("access-control-allow-origin"), None);
    let hop = world.browser().fetch(SITE, "GET", &address).await;
    assert_eq!(hop.answer.status, 401);
    assert_eq!(hop.answer.json()["login_url"], format!("{SITE}/oauth2/start"), "where its user can sign in");
}

#[tokio::test]
async fn userinfo_is_merged_where_the_site_asks_for_it_and_only_about_the_same_person() {
    let world = World::start(Setup::with_site("    userinfo: true\n")).await;
    world.provider.set_fault(Endpoint::Userinfo, Fault::Change(members(json!({ "groups": ["from-userinfo"] }))));
    world.alice().await;
    assert_eq!(world.seen()[0].value("x-forwarded-groups"), Some("from-userinfo"));
    for (fault, status) in [
        (Fault::Change(members(json!({ "sub": "mallory" }))), 400),
        (Fault::Change(members(json!({ "sub": null }))), 400),
        (Fault::Garbage, 400),
        (Fault::Status(500), 503),
    ] {
        world.provider.set_fault(Endpoint::Userinfo, fault);
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        refused(&world, &browser, &page, status);
    }
}

#[tokio::test]
async fn a_request_is_pushed_where_the_provider_takes_it_and_must_be_where_that_is_required() {
    for (par, pushed) in [("auto", 1), ("required", 1), ("off", 0)] {
        let world = World::start(Setup { client: format!("    par: {par}\n"), ..Setup::default() }).await;
        let mut browser = world.browser();
        let address = asked(&mut browser, "/").await;
        assert_eq!(world.provider.count(Endpoint::Par), pushed, "{par}");
        assert_eq!(parameter(&address, "request_uri").is_some(), pushed == 1);
        assert_eq!(parameter(&address, "state").is_some(), pushed == 0, "the state travels on the back channel");
        world.alice().await;
    }
    let world = World::start(Setup { client: "    par: auto\n".to_owned(), ..Setup::default() }).await;
    world.provider.set_fault(Endpoint::Par, Fault::Status(500));
    let page = world.browser().open(&format!("{SITE}/")).await;
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.answer.value("retry-after").is_some());
}

#[tokio::test]
async fn several_providers_are_offered_and_none_can_answer_for_another() {
    let world = World::start(Setup { partner: true, ..Setup::default() }).await;
    let mut browser = world.browser();
    let choice = browser.open(&format!("{SITE}/orders")).await;
    assert_eq!(choice.url.path(), "/oauth2/sign_in");
    assert!(choice.text().contains("corp") && choice.text().contains("partner"));
    let to_partner = browser.follow(&choice, &choice.link("partner")).await;
    assert!(to_partner.url.as_str().starts_with(world.partner.as_ref().unwrap().issuer()));
    let page = browser.sign_in_at(&to_partner, "bob", "builder").await;
    assert_eq!((page.status, page.url.path()), (200, "/orders"), "{:#?}", page.trail());
    assert_eq!(world.seen().last().unwrap().value("x-forwarded-user"), Some("bob"));
    // What was chosen stands first the next time, in this browser.
    let html = browser.open(&format!("{SITE}/oauth2/sign_in")).await.text();
    assert!(html.find("partner").unwrap() < html.find("corp").unwrap(), "{html}");
    // The partner answers an attempt that began with the other.
    let mut victim = world.browser();
    let choice = victim.open(&format!("{SITE}/")).await;
    let at_corp = victim.follow(&choice, &choice.link("corp")).await;
    let state = victim_state(&at_corp);
    let before = world.partner.as_ref().unwrap().count(Endpoint::Token) + world.provider.count(Endpoint::Token);
    for issuer in [format!("&iss={}", world.partner.as_ref().unwrap().issuer()), String::new()] {
        let page = victim.clone().open(&format!("{SITE}/oauth2/callback?code=stolen&state={state}{issuer}")).await;
        assert_eq!(page.status, 400);
    }
    let after = world.partner.as_ref().unwrap().count(Endpoint::Token) + world.provider.count(Endpoint::Token);
    assert_eq!(before, after, "no code went anywhere");
}

fn victim_state(page: &Page) -> String {
    page.hops.iter().find_map(|hop| parameter(hop.url.as_str(), "state")).expect("a state on the way")
}

/// Who is signed in and has to show more goes to the provider that knows them, with what is asked for.
#[tokio::test]
async fn stepping_up_offers_no_other_provider() {
    let routes = "  - match: { path: /safe }\n    upstream: app\n    access: { session: { site: shop, step_up: { acr: [gold] } } }\n";
    let setup = Setup { partner: true, ..Setup::default() };
    let world = World::start(Setup { routes: format!("{routes}{}", setup.routes), ..setup }).await;
    let mut browser = world.browser();
    let choice = browser.open(&format!("{SITE}/orders")).await;
    let to_partner = browser.follow(&choice, &choice.link("partner")).await;
    assert_eq!(browser.sign_in_at(&to_partner, "bob", "builder").await.status, 200);
    let asked = browser.open(&format!("{SITE}/safe")).await;
    assert!(asked.url.as_str().starts_with(world.partner.as_ref().unwrap().issuer()), "{:?}", asked.trail());
    assert_eq!(parameter(asked.url.as_str(), "acr_values").as_deref(), Some("gold"));
    let page = browser.sign_in_at(&asked, "bob", "builder").await;
    assert_eq!((page.status, page.url.path()), (200, "/safe"), "{:?}", page.trail());
    // Nobody is signed in: there is something to choose.
    assert_eq!(world.browser().open(&format!("{SITE}/safe")).await.url.path(), "/oauth2/sign_in");
}
