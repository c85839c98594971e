//! Sessions from outside: gateways in this process, so that a test holds their clock, the development provider on the same
//! clock, and a scripted browser. Every promise that does not name a store is kept by each of them.

use std::time::Duration;

use postern::clock::{ManualClock, Time};
use postern::devidp::{ClientEntry, Endpoint, Fault, GrantType, Provider, Settings};

use crate::support::browser::{Browser, Page};
use crate::support::inside::Inside;
use crate::support::raw::{self, Answer};
use crate::support::redis::Redis;
use crate::support::upstream::{Reply, Seen, Upstream, answer};

mod access;
mod attempts;
mod cookies;
mod faults;
mod identity;
mod implicit;
mod killed;
mod lasting;
mod lifetime;
mod refresh;
mod replicas;

/// The site under test, as browsers know it.
const SITE: &str = "https://shop.test";
/// The name of its session cookie.
const COOKIE: &str = "__Host-postern-shop";
/// 32 bytes each.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=";
/// Seconds since 1970 when a test begins.
const START: u64 = 1_900_000_000;

const MINUTE: Duration = Duration::from_secs(60);
/// How long the provider's access tokens live.
const TOKEN: Duration = Duration::from_secs(300);
/// How long its ID tokens live.
const ID_TOKEN: Duration = Duration::from_secs(600);

/// How a world differs from the usual one.
#[derive(Clone)]
struct Setup {
    store: &'static str,
    keys: String,
    /// Lines under the site, each with its indentation and line end.
    site: String,
    /// Lines under `sessions`, the same.
    sessions: String,
    /// Further keys of the issuer: YAML flow, each with a comma in front.
    issuer: &'static str,
    routes: String,
    /// What the client is at the provider, and how it may be used: YAML flow.
    client: &'static str,
    /// Whether the provider gives a new refresh token with each use, and takes a second use for theft.
    rotation: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let routes = "  - match: { hosts: [shop.test], path: /public/** }\n    upstream: app\n    access: public\n  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop } }\n    forward: { headers: { X-Forwarded-User: sub, X-Forwarded-Groups: groups } }\n";
        Self {
            store: "cookie",
            keys: KEY.to_owned(),
            site: String::new(),
            sessions: String::new(),
            issuer: "",
            routes: routes.to_owned(),
            client: "client_id: shop, client_secret: shop-secret",
            rotation: true,
        }
    }
}

impl Setup {
    fn of(store: &'static str) -> Self {
        Self { store, ..Self::default() }
    }

    /// Sessions in this Redis.
    fn redis(redis: &Redis) -> Self {
        Self::of("redis").beside(redis)
    }

    /// The same with this Redis to share.
    fn beside(self, redis: &Redis) -> Self {
        let sessions = format!("  redis: {{ urls: ['redis://{}'], timeout: 2s }}\n", redis.address());
        Self { sessions, ..self }
    }

    /// The stores that every promise is kept by.
    fn each() -> [Self; 2] {
        ["cookie", "memory"].map(Self::of)
    }

    fn with_site(self, lines: &str) -> Self {
        Self { site: lines.to_owned(), ..self }
    }
}

/// One gateway.
struct Gateway {
    inside: Inside,
}

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    gateway: Gateway,
    setup: Setup,
}

impl World {
    async fn start(setup: Setup) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let upstream = Upstream::start(app).await;
        let provider = provider(&hands, setup.rotation).await;
        let gateway = Gateway::start(&setup, &hands, &provider, &upstream).await;
        Self { hands, provider, upstream, gateway, setup }
    }

    /// Another gateway on the same clock, with the same provider and app: a replica, or the next version.
    async fn another(&self, setup: &Setup) -> Gateway {
        Gateway::start(setup, &self.hands, &self.provider, &self.upstream).await
    }

    fn browser(&self) -> Browser {
        self.gateway.browser()
    }

    /// Alice, signed in; what the app saw of it is forgotten.
    async fn alice(&self) -> Browser {
        let (browser, page) = self.signed_in(self.browser()).await;
        assert_eq!(page.status, 200, "{:#?}\n{}", page.trail(), page.text());
        self.upstream.take();
        browser
    }

    async fn signed_in(&self, mut browser: Browser) -> (Browser, Page) {
        let page = browser.sign_in(&format!("{SITE}/orders?page=2"), "alice", "wonderland").await;
        (browser, page)
    }

    /// How often tokens were renewed.
    fn refreshes(&self) -> u64 {
        self.provider.calls(GrantType::RefreshToken)
    }

    /// What the app saw since it was last asked.
    fn seen(&self) -> Vec<Seen> {
        self.upstream.take()
    }

    fn advance(&self, span: Duration) {
        self.hands.advance(span);
    }
}

impl Gateway {
    async fn start(setup: &Setup, hands: &ManualClock, provider: &Provider, upstream: &Upstream) -> Self {
        let text = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             sessions:\n  store: {}\n  keys: [{}]\n{}\
             upstreams: {{ app: {{ servers: [http://{}] }} }}\n\
             issuers: {{ corp: {{ issuer: {}, audiences: [orders]{} }} }}\n\
             clients: {{ corp-web: {{ issuer: corp, {}, scopes: [openid, profile, email, groups] }} }}\n\
             sites:\n  shop:\n    url: {SITE}\n    sign_in: [corp-web]\n{}\
             routes:\n{}",
            setup.store,
            setup.keys,
            setup.sessions,
            upstream.address,
            provider.issuer(),
            setup.issuer,
            setup.client,
            setup.site,
            setup.routes
        );
        Self { inside: Inside::start(&text, hands, None).await }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.inside.address()
    }

    /// A browser that knows where the site is.
    fn browser(&self) -> Browser {
        Browser::default().knows(SITE, self.address())
    }

    /// A request as a script of the site's page sends it, with these cookies.
    async fn fetch(&self, method: &str, target: &str, cookies: &str, lines: &str) -> Answer {
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\
             Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n{cookies}{lines}\r\n"
        );
        raw::request(self.address(), &head).await
    }
}

/// What a browser would send to the site: all its cookies of that host.
fn cookies_of(browser: &Browser) -> String {
    let ours = browser.cookies().iter().filter(|cookie| cookie.name.starts_with(COOKIE));
    ours.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect::<Vec<_>>().join("; ")
}

/// A page of the app: whoever sees it has got through.
fn app(seen: &Seen) -> Reply {
    answer(200, "text/html", format!("<h1>The app</h1><p>{}", seen.target))
}

async fn provider(hands: &ManualClock, refresh_rotation: bool) -> Provider {
    let settings = Settings::demo().behind(SITE);
    let alone = |client: ClientEntry| ClientEntry {
        backchannel_logout_uri: None,
        access_token_lifetime: TOKEN,
        refresh_rotation,
        ..client
    };
    let clients = settings.clients.into_iter().map(alone).collect();
    let settings = Settings { clients, id_token_lifetime: ID_TOKEN, ..settings };
    Provider::start(([127, 0, 0, 1], 0).into(), settings, hands.clock()).await.expect("a provider")
}

/// Time goes on while something is waited for.
async fn ticking<T>(world: &World, waited: impl Future<Output = T>) -> T {
    let time = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.advance(Duration::from_millis(100));
        }
    };
    tokio::select! {
        done = waited => done,
        () = time => unreachable!("it goes on"),
    }
}
