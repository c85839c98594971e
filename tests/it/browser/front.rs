//! Tokens that come through the browser: hybrid and implicit sign-ins, answers in a fragment, signed answers; and every
//! answer that is not what was asked for, which sets nothing and shows a page (security requirements R21 to R33).

use postern::devidp::{Endpoint, Fault, GrantType, Lie};
use serde_json::{Map, Value, json};

use super::{SITE, Setup, World, parameter};
use crate::support::browser::{Browser, Page};
use crate::support::corpus::Failures;
use crate::support::eventually;
use crate::support::raw::PATIENCE;

const CALLBACK: &str = "https://shop.test/oauth2/callback";

/// A site that asks for this.
fn asking(response_type: &str, response_mode: Option<&str>) -> Setup {
    let (client_id, grants) = match response_type {
        "code" => ("shop", "authorization_code, refresh_token"),
        hybrid if hybrid.starts_with("code") => ("hybrid", "hybrid, refresh_token"),
        _ => ("implicit", "implicit"),
    };
    let through = if response_type.ends_with(" token") { "    allow_access_tokens_via_browser: true\n" } else { "" };
    let mode = response_mode.map_or_else(String::new, |mode| format!("    response_mode: {mode}\n"));
    Setup {
        client: format!("    par: off\n    allowed_grant_types: [{grants}]\n{through}"),
        client_id,
        ..Setup::with_site(&format!("    response_type: {response_type}\n{mode}"))
    }
}

async fn world(response_type: &str, response_mode: Option<&str>) -> World {
    World::start(asking(response_type, response_mode)).await
}

/// Nobody was signed in, nothing of the attempt is left, and nothing reached the app.
fn nothing_but_a_page(world: &World, browser: &Browser, page: &Page) -> bool {
    let ours = browser.cookies().iter().any(|cookie| cookie.name.starts_with("__Host-postern-shop"));
    let callback = page.hops.iter().filter(|hop| hop.url.path() == "/oauth2/callback");
    let sets = callback.flat_map(|hop| hop.answer.values("set-cookie")).any(|field| !field.contains("Max-Age=0"));
    page.status == 400 && page.text().contains("Start again") && !ours && !sets && world.seen().is_empty()
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[tokio::test]
async fn every_response_type_signs_in_by_every_mode_that_may_carry_it() {
    let mut modes_of = vec![("code", vec![None, Some("fragment"), Some("jwt"), Some("form_post.jwt")])];
    for hybrid_or_implicit in ["code id_token", "code token", "code id_token token", "id_token", "id_token token"] {
        let modes = vec![None, Some("form_post"), Some("fragment"), Some("jwt"), Some("fragment.jwt")];
        modes_of.push((hybrid_or_implicit, modes));
    }
    for (response_type, modes) in modes_of {
        for mode in modes {
            let world = world(response_type, mode).await;
            let mut browser = world.browser();
            let asked = browser.open(&format!("{SITE}/orders?page=2")).await;
            let address = asked.hops.last().expect("a hop").url.to_string();
            assert_eq!(parameter(&address, "response_type").as_deref(), Some(response_type));
            assert!(parameter(&address, "nonce").is_some_and(|nonce| nonce.len() >= 43));
            let has_code = response_type.starts_with("code");
            assert_eq!(parameter(&address, "code_challenge_method").is_some(), has_code, "{response_type}");
            let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
            let trail = page.trail();
            assert_eq!((page.status, page.url.as_str()), (200, "https://shop.test/orders?page=2"), "{trail:#?}");
            let seen = world.seen();
            assert_eq!(seen.len(), 1, "{response_type} {mode:?}");
            assert_eq!(seen[0].value("x-forwarded-user"), Some("alice"));
            assert_eq!(seen[0].value("x-forwarded-groups"), Some("staff,admins"));
            assert_eq!(world.provider.calls(GrantType::AuthorizationCode), u64::from(has_code), "{response_type}");
            let ours = browser.cookies().iter().filter(|cookie| cookie.name.starts_with("__Host-postern-shop"));
            assert_eq!(ours.count(), 1, "of the attempt nothing is left");
        }
    }
}

#[tokio::test]
async fn an_id_token_in_front_with_a_lie_in_it_is_refused_before_the_code_goes_anywhere() {
    let world = world("code id_token token", None).await;
    let claims = |value| Lie::Claims(members(value));
    let lies = [
        Lie::WrongIssuer,
        Lie::WrongAudience,
        Lie::MissingAudience,
        Lie::WrongAuthorizedParty,
        Lie::MissingSubject,
        Lie::WrongNonce,
        Lie::MissingNonce,
        Lie::MissingIssuedAt,
        Lie::MissingExpiry,
        Lie::Expired,
        Lie::WrongCodeHash,
        Lie::MissingCodeHash,
        Lie::WrongAccessTokenHash,
        Lie::MissingAccessTokenHash,
        Lie::BadSignature,
        Lie::ForeignKey,
        Lie::UnknownKey,
        Lie::AlgorithmNone,
        Lie::Hs256,
        Lie::PublicKeyAsSecret,
        claims(json!({ "c_hash": ["x"] })),
        claims(json!({ "iat": 9_999_999_999_u64 })),
        Lie::Header(members(json!({ "typ": "at+jwt" }))),
    ];
    let (mut failures, count) = (Failures::default(), lies.len());
    for lie in lies {
        world.provider.set_fault(Endpoint::Authorize, Fault::Lie(lie.clone()));
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        let nothing = nothing_but_a_page(&world, &browser, &page);
        let redeemed = world.provider.count(Endpoint::Token);
        failures.check(nothing && redeemed == 0, || format!("{lie:?}: {} {redeemed}", page.status));
    }
    failures.report(count, 23);
    let told = || world.gateway.access().iter().filter(|line| line["reason"] == "login.id_token").count();
    eventually("each is told in the log", PATIENCE, || (told() == count).then_some(())).await;
    world.provider.clear_faults();
    world.alice().await;
}

#[tokio::test]
async fn both_id_tokens_must_be_about_one_person() {
    for (response_type, at_authorize, at_token) in [
        ("code id_token", Some(Fault::Lie(Lie::WrongSubject)), None),
        ("code id_token", None, Some(Fault::Lie(Lie::WrongSubject))),
        ("code id_token", None, Some(Fault::Lie(Lie::WrongIssuer))),
        ("code id_token", None, Some(Fault::Change(members(json!({ "id_token": null }))))),
        ("code id_token token", None, Some(Fault::Lie(Lie::WrongNonce))),
        ("code token", None, Some(Fault::Change(members(json!({ "id_token": null }))))),
        ("code token", None, Some(Fault::Lie(Lie::WrongNonce))),
    ] {
        let world = world(response_type, None).await;
        let told = format!("{response_type}: {at_authorize:?} {at_token:?}");
        for (endpoint, fault) in [(Endpoint::Authorize, at_authorize), (Endpoint::Token, at_token)] {
            if let Some(fault) = fault {
                world.provider.set_fault(endpoint, fault);
            }
        }
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        assert!(nothing_but_a_page(&world, &browser, &page), "{told}: {} {}", page.status, page.text());
        assert_eq!(world.provider.count(Endpoint::Token), 1, "{told}");
    }
}

#[tokio::test]
async fn an_implicit_id_token_with_a_lie_in_it_signs_nobody_in() {
    for (response_type, lies) in [
        ("id_token", vec![Lie::WrongNonce, Lie::MissingNonce, Lie::Expired, Lie::WrongIssuer, Lie::AlgorithmNone]),
        ("id_token token", vec![Lie::WrongAccessTokenHash, Lie::MissingAccessTokenHash]),
    ] {
        let world = world(response_type, None).await;
        for lie in lies {
            world.provider.set_fault(Endpoint::Authorize, Fault::Lie(lie.clone()));
            let mut browser = world.browser();
            let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
            assert!(nothing_but_a_page(&world, &browser, &page), "{lie:?}: {}", page.status);
        }
        assert_eq!(world.provider.count(Endpoint::Token), 0);
    }
}

#[tokio::test]
async fn an_answer_holds_what_was_asked_for_and_nothing_else() {
    let change = |value| Fault::Change(members(value));
    let token = json!({ "access_token": "at", "token_type": "Bearer" });
    for (response_type, mode, faults) in [
        ("code id_token", None, vec![change(token.clone()), change(json!({ "code": null }))]),
        ("code id_token", Some("fragment"), vec![change(json!({ "id_token": null })), Fault::MissingState]),
        ("code", None, vec![change(token.clone()), change(json!({ "id_token": "a.b.c" }))]),
        ("id_token", None, vec![change(token), change(json!({ "code": "c" })), Fault::WrongState]),
        (
            "id_token token",
            None,
            vec![
                change(json!({ "token_type": "DPoP" })),
                change(json!({ "token_type": null })),
                change(json!({ "expires_in": "soon" })),
                change(json!({ "access_token": null })),
                change(json!({ "access_token": "another" })),
            ],
        ),
        ("code token", None, vec![change(json!({ "access_token": null })), Fault::WrongIssuer, Fault::MissingIssuer]),
    ] {
        let world = world(response_type, mode).await;
        for fault in faults {
            world.provider.set_fault(Endpoint::Authorize, fault.clone());
            let mut browser = world.browser();
            let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
            let session = browser.cookie("__Host-postern-shop").is_some();
            assert!(page.status == 400 && !session && world.seen().is_empty(), "{response_type}: {fault:?}");
            assert!(page.text().contains("Start again"));
        }
        assert_eq!(world.provider.count(Endpoint::Token), 0, "no code was sent anywhere");
    }
}

#[tokio::test]
async fn an_id_token_in_front_says_whose_answer_it_is() {
    let world = world("code id_token", None).await;
    world.provider.set_fault(Endpoint::Authorize, Fault::MissingIssuer);
    world.alice().await;
    assert_eq!(world.seen().len(), 1);
    // What is there all the same must be right.
    world.provider.set_fault(Endpoint::Authorize, Fault::WrongIssuer);
    let mut browser = world.browser();
    let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
    assert!(nothing_but_a_page(&world, &browser, &page), "{}", page.status);
}

#[tokio::test]
async fn an_error_of_the_provider_is_a_page_by_every_mode() {
    for (response_type, mode) in
        [("code id_token", None), ("id_token", Some("fragment")), ("code id_token", Some("jwt")), ("code", Some("jwt"))]
    {
        let world = world(response_type, mode).await;
        let mut browser = world.browser();
        let asked = browser.open(&format!("{SITE}/orders?page=3")).await;
        let page = browser.submit(&asked, &[("cancel", "yes")]).await;
        assert!(nothing_but_a_page(&world, &browser, &page), "{response_type} {mode:?}: {:?}", page.trail());
        assert!(!page.text().contains("access_denied"));
        let again = page.link("Start again");
        let asked = browser.follow(&page, &again).await;
        let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
        assert_eq!(page.url.as_str(), "https://shop.test/orders?page=3");
        eventually("it is told", PATIENCE, || {
            world.gateway.access().iter().any(|line| line["reason"] == "login.provider").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_posted_answer_is_of_one_browser_in_one_place_and_taken_once() {
    let world = world("code id_token", None).await;
    let (mut alice, mut mallory) = (world.browser(), world.browser());
    let asked = alice.open(&format!("{SITE}/")).await;
    let answer = alice.sign_in_at_until_form(&asked, "alice", "wonderland", "/oauth2/callback").await;
    let provider = world.provider.issuer().to_owned();
    let kept = alice.clone();
    let pairs = |fields: &[(String, String)]| {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    };
    let with = |name: &str, value: &str| {
        let mut fields = answer.clone();
        fields.push((name.to_owned(), value.to_owned()));
        fields
    };
    let value = |wanted: &str| answer.iter().find(|(name, _)| name == wanted).expect("a parameter").1.clone();
    // Each in a copy of the browser: none of them uses the attempt up.
    for name in ["state", "code", "id_token", "iss"] {
        let mut browser = kept.clone();
        let page = browser.post_from(&provider, CALLBACK, &with(name, &value(name))).await;
        assert_eq!(page.status, 400, "{name} twice");
        assert!(browser.cookie("__Host-postern-shop").is_none());
    }
    for extra in [("access_token", "at"), ("error", "access_denied"), ("response", "a.b.c")] {
        let mut browser = kept.clone();
        assert_eq!(browser.post_from(&provider, CALLBACK, &with(extra.0, extra.1)).await.status, 400, "{extra:?}");
    }
    // Tokens in the query, alone and beside the form.
    let in_query = format!("{CALLBACK}?{}", pairs(&answer));
    let page = kept.clone().open(&in_query).await;
    assert_eq!(page.status, 400, "{}", page.text());
    assert_eq!(kept.clone().post_from(&provider, &in_query, &answer).await.status, 400);
    assert_eq!(kept.clone().post_from(&provider, &format!("{CALLBACK}?x=y"), &answer).await.status, 400);
    // Another browser's.
    let page = mallory.post_from(&provider, CALLBACK, &answer).await;
    assert!(nothing_but_a_page(&world, &mallory, &page));
    assert_eq!(world.provider.count(Endpoint::Token), 0, "no code was sent anywhere");
    let page = alice.post_from(&provider, CALLBACK, &answer).await;
    assert_eq!(page.status, 200, "{}", page.text());
    // Once more, with the cookies that were there before.
    let _ = world.seen();
    let mut copy = kept.clone();
    let page = copy.post_from(&provider, CALLBACK, &answer).await;
    assert!(nothing_but_a_page(&world, &copy, &page), "{}", page.status);
    assert_eq!(world.provider.count(Endpoint::Token), 1);
    for reason in ["login.answer", "login.state", "login.replayed"] {
        let logged = || world.gateway.access().iter().any(|line| line["reason"] == reason).then_some(());
        eventually(reason, PATIENCE, logged).await;
    }
}

#[tokio::test]
async fn a_posted_answer_is_none_where_a_query_was_asked_for() {
    let world = World::usual().await;
    let mut browser = world.browser();
    let asked = browser.open(&format!("{SITE}/")).await;
    let address = browser.sign_in_at_until(&asked, "alice", "wonderland", "/oauth2/callback").await;
    let url = url::Url::parse(&address).expect("an address");
    let fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let page = browser.clone().post_from(SITE, CALLBACK, &fields).await;
    assert_eq!(page.status, 400, "same-origin, so that the attempt's cookie is there");
    assert_eq!(world.provider.count(Endpoint::Token), 0);
    assert_eq!(browser.open(&address).await.status, 200);
}

#[tokio::test]
async fn a_fragment_is_fetched_by_a_page_of_the_site_and_by_nothing_else() {
    let world = world("code id_token", Some("fragment")).await;
    let mut browser = world.browser();
    let asked = browser.open(&format!("{SITE}/cart")).await;
    let attempt = browser.cookies().iter().find(|cookie| cookie.name.starts_with("__Host-postern-shop.tx.")).unwrap();
    assert_eq!(attempt.same_site, "Lax", "nothing comes from another site's page");
    let address = browser.sign_in_at_until(&asked, "alice", "wonderland", "/oauth2/callback").await;
    let (callback, fragment) = address.split_once('#').expect("a fragment");
    assert!(!callback.contains('?'), "{callback}");
    let hop = browser.step(callback).await;
    assert_eq!(hop.answer.status, 200);
    let policy = hop.answer.value("content-security-policy").expect("a policy");
    assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(hop.answer.text().contains("<noscript>") && hop.answer.text().contains("/oauth2/start"));
    assert_eq!(hop.answer.value("cache-control"), Some("no-store"));
    assert!(hop.answer.values("set-cookie").is_empty(), "the attempt is not over yet");
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(fragment.as_bytes()).into_owned().collect();
    for from in ["https://evil.example", "https://other.shop.test"] {
        assert_eq!(browser.clone().post_from(from, CALLBACK, &fields).await.status, 400, "{from}");
    }
    assert_eq!(browser.clone().open(&format!("{CALLBACK}?{fragment}")).await.status, 400, "in the query");
    assert_eq!(browser.clone().open(CALLBACK).await.status, 400, "without a fragment");
    let twice = format!("{address}&{fragment}");
    assert_eq!(browser.clone().open(&twice).await.status, 400, "twice");
    assert_eq!(world.provider.count(Endpoint::Token), 0);
    let page = browser.open(&address).await;
    assert_eq!((page.status, page.url.as_str()), (200, "https://shop.test/cart"), "{:?}", page.trail());
    assert_eq!(page.hop("/oauth2/callback").method, "POST");
}

#[tokio::test]
async fn a_signed_answer_is_the_issuers_for_this_client_and_of_now() {
    let claims = |value| Lie::Claims(members(value));
    let lies = [
        Lie::BadSignature,
        Lie::ForeignKey,
        Lie::UnknownKey,
        Lie::AlgorithmNone,
        Lie::Hs256,
        Lie::PublicKeyAsSecret,
        Lie::WrongIssuer,
        Lie::WrongAudience,
        Lie::MissingAudience,
        Lie::MissingExpiry,
        claims(json!({ "exp": 1_000_000_000 })),
        claims(json!({ "exp": 99_999_999_999_u64 })),
        claims(json!({ "iss": null })),
        claims(json!({ "state": "c29tZXRoaW5n" })),
        claims(json!({ "state": null })),
        claims(json!({ "id_token": "a.b.c" })),
        Lie::Header(members(json!({ "typ": "at+jwt" }))),
        Lie::Header(members(json!({ "crit": ["exp"] }))),
    ];
    let world = world("code", Some("jwt")).await;
    let (mut failures, count) = (Failures::default(), lies.len());
    for lie in lies {
        world.provider.set_fault(Endpoint::Authorize, Fault::Lie(lie.clone()));
        let mut browser = world.browser();
        let page = browser.sign_in(&format!("{SITE}/"), "alice", "wonderland").await;
        let session = browser.cookie("__Host-postern-shop").is_some();
        let ok =
            page.status == 400 && !session && world.provider.count(Endpoint::Token) == 0 && world.seen().is_empty();
        failures.check(ok, || format!("{lie:?}: {}", page.status));
    }
    failures.report(count, 18);
    world.provider.clear_faults();
    let mut browser = world.browser();
    let asked = browser.open(&format!("{SITE}/")).await;
    let address = browser.sign_in_at_until(&asked, "alice", "wonderland", "/oauth2/callback").await;
    let response = parameter(&address, "response").expect("one signed parameter");
    let state = parameter(asked.hops.last().unwrap().url.as_str(), "state").unwrap();
    let issuer = world.provider.issuer();
    for query in [
        format!("response={response}&state={state}"),
        format!("response={response}&response={response}"),
        // The same in plain.
        format!("code=c&state={state}&iss={issuer}"),
    ] {
        assert_eq!(browser.clone().open(&format!("{CALLBACK}?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(world.provider.count(Endpoint::Token), 0);
    assert_eq!(browser.open(&address).await.status, 200);
}

#[tokio::test]
async fn of_a_hybrid_sign_in_the_app_gets_the_token_of_the_back_channel() {
    let routes = "  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop } }\n    forward: { access_token: header }\n";
    for (response_type, is_front) in [("code id_token token", false), ("code token", false), ("id_token token", true)] {
        let setup = Setup { routes: routes.to_owned(), ..asking(response_type, None) };
        let world = World::start(setup).await;
        let mut browser = world.browser();
        let asked = browser.open(&format!("{SITE}/")).await;
        let answer = browser.sign_in_at_until_form(&asked, "alice", "wonderland", "/oauth2/callback").await;
        let in_front = &answer.iter().find(|(name, _)| name == "access_token").expect("a token").1;
        let page = browser.post_from(world.provider.issuer(), CALLBACK, &answer).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let seen = world.seen();
        let passed = seen[0].value("x-forwarded-access-token").expect("a token");
        assert_eq!(passed == in_front, is_front, "{response_type}");
    }
}
