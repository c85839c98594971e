//! The sign-in page, as a browser with a cookie jar meets it.

use std::time::Duration;

use super::support::{Browser, World, answered, authorize, decode, hidden};

#[tokio::test]
async fn alice_signs_in_and_the_client_gets_tokens_about_her() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = browser.get(&world, &authorize("shop", &[])).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for part in ["<label for=\"username\"", "<label for=\"password\"", "lang=\"en\"", "<title>Sign in</title>"] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "no resource from elsewhere");
    let transaction = hidden(&page.body, "transaction");
    let form = [("transaction", transaction.as_str()), ("username", "alice"), ("password", "wonderland")];
    let back = answered(&browser.post(&world, "/authorize/sign_in", &form).await);
    assert_eq!((back["state"].as_str(), back["iss"].as_str()), ("st", world.provider.issuer()));

    let reply = world.redeem("shop", &back["code"], &[]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let (header, claims) = decode(&reply.text("id_token"));
    assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"JWT".into()));
    assert_eq!((&claims["sub"], &claims["aud"], &claims["azp"]), (&"alice".into(), &"shop".into(), &"shop".into()));
    assert_eq!((&claims["nonce"], &claims["acr"]), (&"no".into(), &"1".into()));
    assert_eq!((&claims["email"], &claims["auth_time"]), (&"alice@example.com".into(), &1_800_000_000.into()));
    assert!(claims["at_hash"].is_string() && claims["sid"].is_string() && claims.get("groups").is_none());
    let (_, access) = decode(&reply.text("access_token"));
    assert_eq!(
        (&access["sub"], &access["client_id"], &access["sid"]),
        (&"alice".into(), &"shop".into(), &claims["sid"])
    );
}

#[tokio::test]
async fn a_wrong_password_gets_the_page_again_and_the_right_one_still_works() {
    let world = World::new().await;
    let mut browser = Browser::default();
    for (name, password) in [("alice", "builder"), ("nobody", "wonderland"), ("alice", ""), ("", "")] {
        let page = browser.sign_in(&world, &authorize("shop", &[]), name, password).await;
        assert_eq!(page.status, 403);
        assert!(page.body.contains("role=\"alert\""));
    }
    let back = answered(&browser.sign_in(&world, &authorize("shop", &[]), "alice", "wonderland").await);
    assert!(back.contains_key("code"));
}

#[tokio::test]
async fn a_page_belongs_to_its_browser_and_is_used_once() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = browser.get(&world, &authorize("shop", &[])).await;
    let transaction = hidden(&page.body, "transaction");
    let form = [("transaction", transaction.as_str()), ("username", "alice"), ("password", "wonderland")];
    assert_eq!(Browser::default().post(&world, "/authorize/sign_in", &form).await.status, 400);
    assert_eq!(browser.post(&world, "/authorize/sign_in", &form).await.status, 303);
    assert_eq!(browser.post(&world, "/authorize/sign_in", &form).await.status, 400);
}

#[tokio::test]
async fn who_says_no_is_sent_back_with_access_denied() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = browser.get(&world, &authorize("shop", &[])).await;
    let transaction = hidden(&page.body, "transaction");
    let form = [("transaction", transaction.as_str()), ("cancel", "yes")];
    let back = answered(&browser.post(&world, "/authorize/sign_in", &form).await);
    assert_eq!((back["error"].as_str(), back["state"].as_str()), ("access_denied", "st"));
    assert_eq!(back["iss"], world.provider.issuer());
}

#[tokio::test]
async fn the_second_client_gets_in_without_a_page_unless_it_wants_more() {
    let world = World::new().await;
    let mut browser = Browser::default();
    browser.sign_in(&world, &authorize("shop", &[]), "alice", "wonderland").await;
    assert!(answered(&browser.get(&world, &authorize("opaque-shop", &[])).await).contains_key("code"));
    assert!(answered(&browser.get(&world, &authorize("shop", &[("prompt", "none")])).await).contains_key("code"));
    for wish in [("prompt", "login"), ("prompt", "select_account"), ("max_age", "0"), ("acr_values", "gold")] {
        assert_eq!(browser.get(&world, &authorize("shop", &[wish])).await.status, 200, "{wish:?}");
    }
    assert_eq!(browser.get(&world, &authorize("shop", &[("max_age", "60")])).await.status, 303);
    world.hands.advance(Duration::from_secs(61));
    assert_eq!(browser.get(&world, &authorize("shop", &[("max_age", "60")])).await.status, 200);
}

#[tokio::test]
async fn a_step_up_ends_with_the_acr_that_was_asked_for() {
    let world = World::new().await;
    let back = world.signed_in("shop", &[("acr_values", "gold 1")]).await;
    let (_, claims) = decode(&world.redeem("shop", &back["code"], &[]).await.text("id_token"));
    assert_eq!(claims["acr"], "gold");
}

#[tokio::test]
async fn without_a_session_prompt_none_ends_in_login_required() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let silent = authorize("shop", &[("prompt", "none")]);
    assert_eq!(answered(&browser.get(&world, &silent).await)["error"], "login_required");
    browser.sign_in(&world, &authorize("shop", &[]), "alice", "wonderland").await;
    world.hands.advance(Duration::from_secs(9 * 3600));
    assert_eq!(answered(&browser.get(&world, &silent).await)["error"], "login_required");
}

#[tokio::test]
async fn a_new_sign_in_is_a_new_session() {
    let world = World::new().await;
    let mut browser = Browser::default();
    browser.sign_in(&world, &authorize("shop", &[]), "alice", "wonderland").await;
    let first = browser.cookies["devidp-session"].clone();
    browser.sign_in(&world, &authorize("shop", &[("prompt", "login")]), "bob", "builder").await;
    assert_ne!(browser.cookies["devidp-session"], first);
    browser.cookies.insert("devidp-session".to_owned(), first);
    assert_eq!(browser.get(&world, &authorize("shop", &[])).await.status, 200, "the old session is gone");
}

#[tokio::test]
async fn what_comes_from_outside_is_escaped_on_the_page() {
    let world = World::new().await;
    let page = world.get(&authorize("shop", &[("login_hint", "\"><script>alert(1)</script>")])).await;
    assert!(page.body.contains("&quot;&gt;&lt;script&gt;") && !page.body.contains("<script>"));
}

#[tokio::test]
async fn an_unknown_client_or_redirect_uri_is_told_here_and_nowhere_else() {
    let world = World::new().await;
    let callback = "http://127.0.0.1:8080/oauth2/callback";
    let near = [
        format!("{callback}/"),
        format!("{callback}?x=1"),
        format!("{callback}/../evil"),
        "https://evil.example".to_owned(),
    ];
    for uri in near.iter().map(String::as_str).chain([""]) {
        let reply = world.get(&authorize("shop", &[("redirect_uri", uri)])).await;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{uri}");
    }
    assert_eq!(world.get(&authorize("nobody", &[])).await.status, 400);
    let twice = format!("{}&client_id=shop", authorize("shop", &[]));
    assert_eq!(world.get(&twice).await.status, 400);
}

#[tokio::test]
async fn a_bad_request_of_a_good_client_goes_back_with_its_error() {
    let world = World::new().await;
    let cases = [
        (("response_type", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", "code id_token"), "unauthorized_client"),
        (("scope", "openid admin"), "invalid_scope"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("response_mode", "carrier_pigeon"), "invalid_request"),
        (("prompt", "none login"), "invalid_request"),
        (("max_age", "old"), "invalid_request"),
        (("resource", "https://elsewhere.example"), "invalid_target"),
    ];
    for (wish, expected) in cases {
        let back = answered(&world.get(&authorize("shop", &[wish])).await);
        assert_eq!((back["error"].as_str(), back["state"].as_str()), (expected, "st"), "{wish:?}");
    }
    let unproven = authorize("native", &[("code_challenge", ""), ("code_challenge_method", "")]);
    assert_eq!(answered(&world.get(&unproven).await)["error"], "invalid_request", "a public client needs PKCE");
}
