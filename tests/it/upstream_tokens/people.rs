//! A person's session, whose access token becomes one for the upstream.

use postern::authn::{Forget, Tokens};
use postern::devidp::Fault;

use super::*;
use crate::support::browser::Browser;

const SITE: &str = "https://shop.test";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn world() -> World {
    world_of(&[GrantType::AuthorizationCode, GrantType::RefreshToken]).await
}

/// What the site's client may use at the provider.
async fn world_of(grants: &[GrantType]) -> World {
    let hands = ManualClock::at(Time::from_seconds(START));
    let settings = Settings::demo().behind(SITE);
    let lived = |client: ClientEntry| ClientEntry {
        allowed_grant_types: if client.client_id == "shop" {
            grants.to_vec()
        } else {
            client.allowed_grant_types.clone()
        },
        access_token_lifetime: Duration::from_secs(LIFE),
        // There is nobody at that address; the test brings the logout token itself.
        backchannel_logout_uri: None,
        ..client
    };
    let settings = Settings { clients: settings.clients.into_iter().map(lived).collect(), ..settings };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let provider = Provider::start(address, settings, hands.clock()).await.expect("a free port");
    let upstream = Upstream::start(echo).await;
    let text = format!(
        "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 2 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
         issuers: {{ corp: {{ issuer: \"{}\", audiences: [orders] }} }}\n\
         clients:\n\
         \x20 web: {{ issuer: corp, client_id: shop, client_secret: shop-secret, scopes: [openid] }}\n\
         \x20 sts: {{ issuer: corp, client_id: exchange, client_secret: exchange-secret, \
         allowed_grant_types: ['urn:ietf:params:oauth:grant-type:token-exchange'] }}\n\
         \x20 legacy: {{ issuer: corp, client_id: legacy, client_secret: legacy-secret, allowed_grant_types: [password] }}\n\
         sites: {{ shop: {{ url: {SITE}, sign_in: [web] }} }}\nsessions: {{ store: memory, keys: [{KEY}] }}\n\
         upstreams: {{ echo: {{ servers: [\"http://{}\"] }} }}\nroutes:\n\
         \x20 - name: shop\n    match: {{ path: /** }}\n    upstream: echo\n    access: {{ session: {{ site: shop }}, bearer: {{ issuers: [corp] }} }}\n\
         \x20   forward: {{ authorization: {{ exchange: {{ client: sts, audience: inventory }} }} }}\n\
         \x20 - name: legacy\n    match: {{ hosts: [{HOST}], path: /** }}\n    upstream: echo\n    access: {{ basic: {{ client: legacy }} }}\n\
         \x20   forward: {{ authorization: {{ exchange: {{ client: sts, audience: inventory }} }} }}\n",
        provider.issuer(),
        upstream.address,
    );
    let gateway = Inside::start(&text, &hands, None).await;
    World { hands, provider, upstream, gateway }
}

async fn alice(world: &World) -> Browser {
    let mut browser = Browser::default().knows(SITE, world.address());
    let page = browser.sign_in(&format!("{SITE}/a"), "alice", "wonderland").await;
    assert_eq!(page.status, 200, "{:#?}\n{}", page.trail(), page.text());
    browser
}

/// The token that the app saw with the last request, and nothing else of the session.
fn seen(world: &World) -> String {
    let seen = world.upstream.take();
    let seen = seen.last().expect("it came through");
    assert_eq!((seen.value("cookie"), seen.value("x-forwarded-access-token")), (None, None));
    let fields = seen.values("authorization");
    assert_eq!(fields.len(), 1, "one token goes up");
    fields[0].strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

fn exchanges(world: &World) -> u64 {
    world.provider.calls(GrantType::TokenExchange)
}

#[tokio::test]
async fn a_sessions_token_is_exchanged_and_once_more_when_it_is_renewed() {
    let world = world().await;
    let mut browser = alice(&world).await;
    let first = seen(&world);
    let claims = said(&first);
    assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some("alice"), Some("exchange")));
    assert_eq!(claims["aud"].as_str().or(claims["aud"][0].as_str()), Some("inventory"));
    for _ in 0..3 {
        assert_eq!(browser.open(&format!("{SITE}/b")).await.status, 200);
        assert_eq!(seen(&world), first);
    }
    assert_eq!(exchanges(&world), 1);
    // The session's token is renewed ahead of its end, and what it became with it.
    world.pass(250);
    assert_eq!(browser.open(&format!("{SITE}/c")).await.status, 200);
    assert_ne!(seen(&world), first);
    assert_eq!((world.provider.calls(GrantType::RefreshToken), exchanges(&world)), (1, 2));
}

#[tokio::test]
async fn a_password_becomes_a_token_and_that_one_for_the_upstream() {
    let world = world().await;
    // alice:wonderland
    let shown = "Basic YWxpY2U6d29uZGVybGFuZA==";
    for _ in 0..2 {
        let head = format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: {shown}\r\n\r\n");
        let answer = world.send(&head).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let claims = said(&seen(&world));
        assert_eq!((claims["sub"].as_str(), claims["client_id"].as_str()), (Some("alice"), Some("exchange")));
    }
    assert_eq!((world.provider.calls(GrantType::Password), exchanges(&world)), (1, 1));
}

#[tokio::test]
async fn what_can_not_be_exchanged_goes_nowhere_and_signs_nobody_out() {
    let world = world().await;
    let mut browser = alice(&world).await;
    let token = seen(&world);
    let forget = Forget { tokens: Tokens::Subject("alice".into()), issuer: None };
    world.gateway.plan.forget(&forget).await.expect("no store");
    for (fault, status) in [(Fault::Drop, 503), (Fault::OAuthError("invalid_target".to_owned()), 403)] {
        world.provider.set_fault(Endpoint::Token, fault.clone());
        let page = browser.open(&format!("{SITE}/a")).await;
        world.provider.clear_faults();
        assert_eq!(page.status, status, "{fault:?}");
        assert!(world.upstream.take().is_empty(), "{fault:?}");
    }
    world.pass(10);
    assert_eq!(browser.open(&format!("{SITE}/a")).await.status, 200);
    assert_ne!(seen(&world), token);
}

/// A provider that gives no refresh token: the session lives on, and its access token does not.
#[tokio::test]
async fn a_person_whose_token_is_over_signs_in_again() {
    let world = world_of(&[GrantType::AuthorizationCode]).await;
    let mut browser = alice(&world).await;
    let first = seen(&world);
    world.pass(LIFE);
    let cookies = browser.cookies().iter().find(|cookie| cookie.name.starts_with("__Host-postern-shop")).expect("one");
    let fetch = format!(
        "GET /a HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n\
         Cookie: {}={}\r\n\r\n",
        cookies.name, cookies.value
    );
    let told = world.send(&fetch).await;
    assert_eq!(told.status, 401, "a script is told: {}", told.text());
    assert!(world.upstream.take().is_empty());
    // The provider still knows her, so a page load brings a new token and is where it wanted to be.
    let page = browser.open(&format!("{SITE}/b")).await;
    assert_eq!((page.status, page.url.path()), (200, "/b"), "{:#?}", page.trail());
    assert_ne!(seen(&world), first);
}

#[tokio::test]
async fn a_logout_token_takes_back_what_was_got_for_its_subject() {
    let world = world().await;
    let mut browser = alice(&world).await;
    seen(&world);
    // The same person calls an API with a token of hers; the provider says that she has signed out everywhere.
    let hers = world.provider.mint(&Mint::user("shop", "alice").audience("orders").lifetime(3600));
    let call = async || {
        let head = "GET /api HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nAuthorization: Bearer";
        assert_eq!(world.send(&format!("{head} {hers}\r\n\r\n")).await.status, 200);
        seen(&world)
    };
    let first = call().await;
    assert_eq!(call().await, first);
    let body = format!("logout_token={}", world.provider.logout_token("shop", Some("alice"), None, None));
    let head = "POST /oauth2/backchannel_logout HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let told = world.send(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_ne!(call().await, first, "it is asked for anew");
    // Her session has ended: nothing of it goes up any more.
    let page = browser.step(&format!("{SITE}/a")).await;
    assert_eq!(page.answer.status, 302);
    assert!(world.upstream.take().is_empty());
}
