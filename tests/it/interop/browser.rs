//! People signing in at npm `oidc-provider`: code and PKCE, pushed requests, form_post, refresh with rotation, sign-out
//! from either side; and all that with two gateways that share Redis.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::eventually_async;
use crate::support::foreign::{Foreign, client};
use crate::support::gateway::{Gateway, Start};
use crate::support::raw::PATIENCE;
use crate::support::redis::Redis;
use crate::support::upstream::{Upstream, answer};

pub(super) const SITE: &str = "https://shop.test";
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub(super) struct World {
    pub(super) provider: Foreign,
    gateway: Gateway,
    pub(super) upstream: Upstream,
    config: String,
}

/// How a world differs from the usual one.
pub(super) struct Setup {
    /// More of the registration at the provider.
    pub(super) registered: Value,
    /// More of the provider.
    pub(super) provider: Value,
    pub(super) scopes: &'static str,
    /// More of the client, of the site, in YAML flow, each with its comma.
    pub(super) client: &'static str,
    pub(super) site: String,
    /// Sessions lie here, if anywhere but in the gateway's memory.
    pub(super) redis: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        let (registered, provider) = (Value::Null, Value::Null);
        let scopes = "openid, profile, email, offline_access";
        Self { registered, provider, scopes, client: "", site: String::new(), redis: None }
    }
}

impl World {
    pub(super) async fn start(setup: Setup) -> Self {
        let Setup { registered, provider: more, scopes, client: client_more, site, redis } = setup;
        let mut shop = client(
            "shop",
            &["authorization_code", "refresh_token"],
            &json!({
                "redirect_uris": [format!("{SITE}/oauth2/callback")], "response_types": ["code"],
                "post_logout_redirect_uris": [format!("{SITE}/oauth2/signed_out")],
                "backchannel_logout_uri": format!("{SITE}/oauth2/backchannel_logout"),
                "backchannel_logout_session_required": true,
            }),
        );
        merge(&mut shop, registered);
        let mut settings = json!({ "clients": [shop], "accounts": { "alice": { "groups": ["staff", "buyers"] } } });
        merge(&mut settings, more);
        let mut provider = Foreign::node(settings).await;
        let upstream = Upstream::start(|seen| answer(200, "text/html", format!("<p>{}", seen.target))).await;
        let sessions = redis
            .map_or_else(|| "store: memory".to_owned(), |url| format!("store: redis, redis: {{ urls: [\"{url}\"] }}"));
        let config = format!(
            "\
server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}
admin: {{ bind: 127.0.0.1:0 }}
issuers: {{ corp: {{ issuer: \"{}\", audiences: [shop] }} }}
clients: {{ web: {{ issuer: corp, client_id: shop, client_secret: {{ env: SECRET }}, scopes: [{scopes}]{client_more} }} }}
sites: {{ shop: {{ url: \"{SITE}\", sign_in: [web]{site} }} }}
sessions: {{ keys: [{{ env: KEY }}], {sessions} }}
upstreams: {{ app: {{ servers: [\"http://{}\"] }} }}
routes:
  - match: {{ path: /** }}
    upstream: app
    access: {{ session: {{ site: shop }} }}
    forward: {{ headers: {{ X-Forwarded-User: sub, X-Forwarded-Email: email, X-Forwarded-Groups: groups }} }}
",
            provider.issuer, upstream.address
        );
        let gateway = gateway(&config).await;
        provider.knows(SITE, gateway.address());
        Self { provider, gateway, upstream, config }
    }

    /// Another gateway with the same configuration.
    async fn replica(&self) -> Gateway {
        gateway(&self.config).await
    }

    pub(super) fn browser(&self) -> Browser {
        Browser::default().knows(SITE, self.gateway.address())
    }

    /// Signs in at the provider's own pages: a name and any password, then consent.
    pub(super) async fn sign_in(&self, browser: &mut Browser, path: &str) -> Page {
        let asked = browser.open(&format!("{SITE}{path}")).await;
        assert!(asked.text().contains("name=\"password\""), "{:#?}\n{}", asked.trail(), asked.text());
        let consent = browser.submit(&asked, &[("login", "alice"), ("password", "any")]).await;
        assert!(consent.text().contains("consent"), "{:#?}\n{}", consent.trail(), consent.text());
        let page = browser.submit(&consent, &[]).await;
        assert_eq!(page.status, 200, "{:#?}\n{}", page.trail(), page.text());
        assert_eq!(page.url.as_str(), format!("{SITE}{path}"));
        page
    }

    pub(super) async fn is_signed_in(&self, browser: &mut Browser) -> bool {
        browser.step(&format!("{SITE}/cart")).await.answer.status == 200
    }
}

async fn gateway(config: &str) -> Gateway {
    let environment = [("SECRET", "secret of shop"), ("KEY", KEY)];
    Gateway::start_as(Start { config, environment: &environment, ..Start::default() }).await
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

#[tokio::test]
async fn people_sign_in_and_the_app_sees_who_they_are() {
    let world = World::start(Setup::default()).await;
    let mut browser = world.browser();
    let page = world.sign_in(&mut browser, "/orders?page=2").await;
    assert!(page.text().contains("/orders?page=2"));
    let callback = page.hop("/oauth2/callback").url.to_string();
    assert!(callback.contains("iss="), "the provider names itself (RFC 9207): {callback}");
    let seen = world.upstream.take();
    let seen = seen.last().expect("the app was asked");
    assert_eq!(seen.value("x-forwarded-user"), Some("alice"));
    assert_eq!(seen.value("x-forwarded-email"), Some("alice@example.test"));
    assert_eq!(seen.value("x-forwarded-groups"), Some("staff,buyers"));
    assert!(seen.values("authorization").is_empty() && seen.value("cookie").is_none());
    // The same callback again: the code and the attempt are used up.
    let again = browser.open(&callback).await;
    assert_eq!(again.status, 400, "{}", again.text());
}

#[tokio::test]
async fn requests_are_pushed_where_the_provider_demands_it() {
    let setup = Setup { registered: json!({ "require_pushed_authorization_requests": true }), ..Setup::default() };
    let world = World::start(setup).await;
    let page = world.sign_in(&mut world.browser(), "/orders").await;
    assert_eq!(page.status, 200);
    assert_eq!(world.provider.asked("/request").await, 1);
}

#[tokio::test]
async fn answers_come_by_form_post() {
    let world = World::start(Setup { site: ", response_mode: form_post".to_owned(), ..Setup::default() }).await;
    let page = world.sign_in(&mut world.browser(), "/orders").await;
    assert_eq!(page.hop("/oauth2/callback").method, "POST");
}

#[tokio::test]
async fn userinfo_is_merged_and_agrees() {
    let world = World::start(Setup { site: ", userinfo: true".to_owned(), ..Setup::default() }).await;
    world.sign_in(&mut world.browser(), "/orders").await;
    assert_eq!(world.provider.asked("/me").await, 1);
}

/// Refresh tokens rotate, and the provider ends everything when an old one comes back: that the person stays signed in
/// over several refreshes shows that none did.
#[tokio::test]
async fn rotated_refresh_tokens_keep_people_signed_in() {
    let world = World::start(Setup { provider: json!({ "ttl": { "AccessToken": 2 } }), ..Setup::default() }).await;
    let mut browser = world.browser();
    world.sign_in(&mut browser, "/orders").await;
    let first = world.provider.asked("/token").await;
    eventually_async("three refreshes", PATIENCE, async || {
        assert!(world.is_signed_in(&mut browser).await, "after {} calls", world.provider.asked("/token").await);
        (world.provider.asked("/token").await >= first + 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn signing_out_here_signs_out_there() {
    let world = World::start(Setup::default()).await;
    let mut browser = world.browser();
    let page = world.sign_in(&mut browser, "/orders").await;
    let old = browser.clone();
    let asked = browser.follow(&page, "/oauth2/sign_out").await;
    assert!(asked.url.as_str().starts_with(&world.provider.issuer), "{:#?}", asked.trail());
    let out = browser.submit(&asked, &[("logout", "yes")]).await;
    assert_eq!((out.status, out.url.path()), (200, "/oauth2/signed_out"), "{:#?}\n{}", out.trail(), out.text());
    assert!(!world.is_signed_in(&mut old.clone()).await, "a copy of the cookie opens nothing");
    let again = browser.open(&format!("{SITE}/orders")).await;
    assert!(again.text().contains("name=\"password\""), "the provider asks anew: {:#?}", again.trail());
    eventually_async("the tokens are revoked", PATIENCE, async || {
        (world.provider.asked("/token/revocation").await >= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn signing_out_there_signs_out_here() {
    let world = World::start(Setup::default()).await;
    let (mut browser, mut other) = (world.browser(), world.browser());
    world.sign_in(&mut browser, "/orders").await;
    world.sign_in(&mut other, "/orders").await;
    let asked = browser.open(&format!("{}/session/end", world.provider.issuer)).await;
    let out = browser.submit(&asked, &[("logout", "yes")]).await;
    assert_eq!(out.status, 200, "{}", out.text());
    eventually_async("the session here has ended", PATIENCE, async || {
        (!world.is_signed_in(&mut browser).await).then_some(())
    })
    .await;
    assert!(world.is_signed_in(&mut other).await, "another sign-in of the same person goes on");
}

/// One of two refreshes with the same token would end everything at the provider.
#[tokio::test]
async fn two_replicas_refresh_a_rotated_token_once() {
    let redis = Redis::start().await;
    let provider = json!({ "ttl": { "AccessToken": 2 } });
    let world = World::start(Setup { redis: Some(redis.url()), provider, ..Setup::default() }).await;
    let replica = world.replica().await;
    let mut here = world.browser();
    world.sign_in(&mut here, "/orders").await;
    let mut there = here.clone().knows(SITE, replica.address());
    let first = world.provider.asked("/token").await;
    eventually_async("four refreshes", PATIENCE * 2, async || {
        let both = tokio::join!(world.is_signed_in(&mut here), world.is_signed_in(&mut there));
        assert_eq!(both, (true, true), "after {} calls", world.provider.asked("/token").await);
        (world.provider.asked("/token").await >= first + 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn signing_out_there_signs_out_at_every_replica() {
    let redis = Redis::start().await;
    let site = ", back_channel_logout: required".to_owned();
    let world = World::start(Setup { redis: Some(redis.url()), site, ..Setup::default() }).await;
    let replica = world.replica().await;
    let mut here = world.browser();
    world.sign_in(&mut here, "/orders").await;
    let mut there = here.clone().knows(SITE, replica.address());
    assert!(world.is_signed_in(&mut there).await, "the session is everybody's");
    let asked = here.open(&format!("{}/session/end", world.provider.issuer)).await;
    here.submit(&asked, &[("logout", "yes")]).await;
    eventually_async("the session has ended at both", PATIENCE, async || {
        let both = tokio::join!(world.is_signed_in(&mut here), world.is_signed_in(&mut there));
        (both == (false, false)).then_some(())
    })
    .await;
}
