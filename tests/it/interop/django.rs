//! A second opinion: Django OAuth Toolkit. Its answers to introspection name neither issuer nor audience, and its metadata
//! names neither introspection nor revocation, so both are configured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::eventually_async;
use crate::support::foreign::Foreign;
use crate::support::gateway::{Gateway, Start};
use crate::support::raw::{self, PATIENCE};
use crate::support::standard::get;
use crate::support::upstream::{Upstream, answer};

const SITE: &str = "https://shop.test";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const MACHINE: (&str, &str) = ("machine", "secret of machine");

struct World {
    provider: Foreign,
    gateway: Gateway,
    upstream: Upstream,
}

impl World {
    async fn start(access_token_seconds: u64) -> Self {
        let web = ("authorization-code", "authorization_code, refresh_token", "");
        Self::with(access_token_seconds, web).await
    }

    /// `grant` is the application's at the provider, the client's here, and what the site asks for: YAML flow.
    async fn with(access_token_seconds: u64, (grant, allowed, site): (&str, &str, &str)) -> Self {
        let machine = |id: &str| json!({ "client_id": id, "client_secret": format!("secret of {id}"), "grant": "client-credentials" });
        let shop = json!({
            "client_id": "shop", "client_secret": "secret of shop", "grant": grant,
            "redirect_uris": [format!("{SITE}/oauth2/callback")],
            "post_logout_redirect_uris": [format!("{SITE}/oauth2/signed_out")],
        });
        let legacy = json!({ "client_id": "legacy", "client_secret": "secret of legacy", "grant": "password" });
        let provider = Foreign::django(json!({
            "clients": [machine("machine"), machine("gateway"), legacy, shop],
            "access_token_seconds": access_token_seconds,
            "accounts": { "alice": { "groups": ["staff"] } },
        }))
        .await;
        let upstream = Upstream::start(|seen| answer(200, "text/html", format!("<p>{}", seen.target))).await;
        let issuer = &provider.issuer;
        let config = format!(
            "\
server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}
admin: {{ bind: 127.0.0.1:0 }}
issuers:
  corp:
    issuer: {issuer}
    audiences: [shop]
    tokens: opaque
    introspection: {{ client: gateway, missing_audience: accept, cache: {{ ttl: 1s }} }}
    endpoints: {{ introspection: \"{issuer}/introspect/\", revocation: \"{issuer}/revoke_token/\" }}
clients:
  gateway: {{ issuer: corp, client_id: gateway, client_secret: {{ env: GATEWAY }} }}
  legacy: {{ issuer: corp, client_id: legacy, client_secret: {{ env: LEGACY }}, allowed_grant_types: resource_owner_password }}
  web: {{ issuer: corp, client_id: shop, client_secret: {{ env: SHOP }}, allowed_grant_types: [{allowed}], allow_access_tokens_via_browser: {}, scopes: [openid, profile, email] }}
sites: {{ shop: {{ url: \"{SITE}\", sign_in: [web]{site} }} }}
sessions: {{ store: cookie, keys: [{{ env: KEY }}] }}
upstreams: {{ app: {{ servers: [\"http://{}\"] }} }}
routes:
  - {{ match: {{ hosts: [gw.test], path: /read/** }}, upstream: app, access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}
  - {{ match: {{ hosts: [gw.test], path: /write/** }}, upstream: app, access: {{ bearer: {{ issuers: [corp], scopes: [write] }} }} }}
  - match: {{ hosts: [gw.test], path: /basic/** }}
    upstream: app
    access: {{ basic: {{ client: legacy, scopes: [read] }} }}
    forward: {{ headers: {{ X-Forwarded-User: username }} }}
  - match: {{ path: /** }}
    upstream: app
    access: {{ session: {{ site: shop }} }}
    forward: {{ headers: {{ X-Forwarded-User: preferred_username, X-Forwarded-Groups: groups }} }}
",
            !site.is_empty(),
            upstream.address
        );
        let environment = [
            ("GATEWAY", "secret of gateway"),
            ("SHOP", "secret of shop"),
            ("LEGACY", "secret of legacy"),
            ("KEY", KEY),
        ];
        let gateway = Gateway::start_as(Start { config: &config, environment: &environment, ..Start::default() }).await;
        Self { provider, gateway, upstream }
    }

    async fn status(&self, path: &str, token: &str) -> u16 {
        raw::request(self.gateway.address(), &get(path, Some(token))).await.status
    }

    async fn is_signed_in(&self, browser: &mut Browser) -> bool {
        browser.step(&format!("{SITE}/cart")).await.answer.status == 200
    }
}

#[tokio::test]
async fn opaque_tokens_are_asked_about_judged_and_refused_when_revoked() {
    let world = World::start(600).await;
    let form = [("grant_type", "client_credentials"), ("scope", "read")];
    let token = world.provider.token(MACHINE, &form).await;
    assert_eq!(world.status("/read/x", &token).await, 200);
    assert_eq!(world.status("/write/x", &token).await, 403);
    assert_eq!(world.status("/read/x", "no-token-of-this-provider").await, 401);
    world.provider.revoke(MACHINE, &token).await;
    eventually_async("the revoked token is refused", PATIENCE, async || {
        (world.status("/read/x", &token).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_of_the_person() {
    let world = World::start(600).await;
    let ask = async |name: &str, password: &str| {
        let pair = STANDARD.encode(format!("{name}:{password}"));
        let request = format!(
            "GET /basic/x HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\r\n"
        );
        raw::request(world.gateway.address(), &request).await.status
    };
    for _ in 0..3 {
        assert_eq!(ask("alice", "let me in").await, 200);
    }
    for (name, password) in [("alice", "wrong"), ("nobody", "let me in"), ("alice", "")] {
        assert_eq!(ask(name, password).await, 401, "{name}:{password}");
    }
    let seen = world.upstream.take();
    assert_eq!(seen.len(), 3);
    for seen in seen {
        assert_eq!((seen.value("x-forwarded-user"), seen.value("authorization")), (Some("alice"), None));
    }
}

#[tokio::test]
async fn people_sign_in_stay_in_over_rotated_tokens_and_sign_out() {
    let world = World::start(2).await;
    let mut browser = Browser::default().knows(SITE, world.gateway.address());
    let asked = browser.open(&format!("{SITE}/orders?page=2")).await;
    let page = browser.submit(&asked, &[("username", "alice"), ("password", "let me in")]).await;
    assert_eq!((page.status, page.url.as_str()), (200, "https://shop.test/orders?page=2"), "{:#?}", page.trail());
    let seen = world.upstream.take();
    let seen = seen.last().expect("the app was asked");
    assert_eq!((seen.value("x-forwarded-user"), seen.value("x-forwarded-groups")), (Some("alice"), Some("staff")));

    let first = world.provider.asked("/o/token/").await;
    eventually_async("three refreshes", PATIENCE, async || {
        assert!(world.is_signed_in(&mut browser).await);
        (world.provider.asked("/o/token/").await >= first + 3).then_some(())
    })
    .await;

    let out = browser.follow(&page, "/oauth2/sign_out").await;
    assert_eq!((out.status, out.url.path()), (200, "/oauth2/signed_out"), "{:#?}\n{}", out.trail(), out.text());
    assert!(!world.is_signed_in(&mut browser).await);
    let again = browser.open(&format!("{SITE}/orders")).await;
    assert!(again.text().contains("name=\"password\""), "the provider asks anew: {:#?}", again.trail());
    eventually_async("the tokens are revoked", PATIENCE, async || {
        (world.provider.asked("/o/revoke_token/").await >= 1).then_some(())
    })
    .await;
}

/// It knows no other way for what brings tokens.
#[tokio::test]
async fn hybrid_and_implicit_answers_come_in_the_fragment() {
    for (grant, allowed, response_type) in [
        ("openid-hybrid", "hybrid, refresh_token", "code id_token"),
        ("openid-hybrid", "hybrid, refresh_token", "code id_token token"),
        ("openid-hybrid", "hybrid, refresh_token", "code token"),
        ("implicit", "implicit", "id_token"),
        ("implicit", "implicit", "id_token token"),
    ] {
        let site = format!(", response_type: {response_type}, response_mode: fragment");
        let world = World::with(600, (grant, allowed, &site)).await;
        let mut browser = Browser::default().knows(SITE, world.gateway.address());
        let asked = browser.open(&format!("{SITE}/orders")).await;
        let page = browser.submit(&asked, &[("username", "alice"), ("password", "let me in")]).await;
        assert_eq!((page.status, page.url.path()), (200, "/orders"), "{response_type}: {:#?}", page.trail());
        assert_eq!(world.upstream.take().last().and_then(|seen| seen.value("x-forwarded-user")), Some("alice"));
        assert_eq!(world.provider.asked("/o/token/").await, u64::from(response_type.starts_with("code")));
        assert!(world.is_signed_in(&mut browser).await);
    }
}
