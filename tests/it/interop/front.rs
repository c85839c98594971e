//! Tokens through the browser, from npm `oidc-provider`: every hybrid and implicit response type, by form and by fragment, and
//! answers that it signs as one (JARM).

use serde_json::json;

use super::browser::{SITE, Setup, World};

/// A site that asks for this, and a registration that may.
fn asking(response_type: &str, mode: Option<&str>) -> Setup {
    let (grants, client) = match response_type {
        "code" => (vec!["authorization_code", "refresh_token"], ""),
        hybrid if hybrid.starts_with("code") => (
            vec!["authorization_code", "implicit", "refresh_token"],
            ", allowed_grant_types: [hybrid, refresh_token], allow_access_tokens_via_browser: true",
        ),
        _ => (vec!["implicit"], ", allowed_grant_types: implicit, allow_access_tokens_via_browser: true"),
    };
    let scopes = match response_type.starts_with("code") {
        true => "openid, profile, email, offline_access",
        false => "openid, profile, email",
    };
    let mode = mode.map_or_else(String::new, |mode| format!(", response_mode: {mode}"));
    Setup {
        registered: json!({ "response_types": [response_type], "grant_types": grants }),
        scopes,
        client,
        site: format!(", response_type: {response_type}{mode}"),
        ..Setup::default()
    }
}

#[tokio::test]
async fn people_sign_in_by_every_response_type_and_mode() {
    for (response_type, mode) in [
        ("code id_token", None),
        ("code id_token", Some("fragment")),
        ("code token", None),
        ("code id_token token", None),
        ("code id_token token", Some("form_post.jwt")),
        ("code id_token", Some("fragment.jwt")),
        ("id_token", None),
        ("id_token", Some("jwt")),
        ("id_token token", None),
        ("id_token token", Some("fragment")),
        ("code", Some("jwt")),
        ("code", Some("form_post.jwt")),
        ("code", Some("fragment")),
    ] {
        let world = World::start(asking(response_type, mode)).await;
        let mut browser = world.browser();
        let page = world.sign_in(&mut browser, "/orders?page=2").await;
        let seen = world.upstream.take();
        let seen = seen.last().unwrap_or_else(|| panic!("{response_type} {mode:?}: {:#?}", page.trail()));
        assert_eq!(seen.value("x-forwarded-user"), Some("alice"), "{response_type} {mode:?}");
        let redeemed = u64::from(response_type.starts_with("code"));
        assert_eq!(world.provider.asked("/token").await, redeemed, "{response_type} {mode:?}");
        assert!(world.is_signed_in(&mut browser).await);
    }
}

#[tokio::test]
async fn an_answer_in_the_fragment_is_of_use_once() {
    let world = World::start(asking("code id_token", Some("fragment"))).await;
    let mut browser = world.browser();
    let page = world.sign_in(&mut browser, "/orders").await;
    let hop = page.hops.iter().find(|hop| hop.method == "GET" && hop.url.path() == "/oauth2/callback").expect("a page");
    assert!(hop.url.fragment().is_some_and(|answer| answer.contains("id_token=")) && hop.url.query().is_none());
    let again = browser.open(hop.url.as_str()).await;
    assert_eq!(again.status, 400, "{}", again.text());
    assert!(world.is_signed_in(&mut browser).await);
    assert_eq!(again.link("Start again"), "/oauth2/start?rd=%2F", "{SITE}");
}
