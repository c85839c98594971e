//! The browser side, black box: a scripted browser, the development provider with its faults and lies, the program as a
//! process, and an upstream that records what it sees.

use std::fmt::Write as _;

use postern::clock::Clock;
use postern::devidp::{ClientEntry, Provider, Settings};

use crate::support::browser::{Browser, Page};
use crate::support::gateway::{Gateway, Start};
use crate::support::upstream::{Reply, Seen, Upstream, answer};

mod chromium;
mod front;
mod landing;
mod lies;
mod preserve;
mod sign_in;
mod sign_out;
mod signed_requests;

/// The site under test, as browsers know it.
const SITE: &str = "https://shop.test";
/// 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// How a world differs from the usual one: YAML lines, each with its indentation and line end.
struct Setup {
    store: &'static str,
    url: String,
    site: String,
    client: String,
    /// Its name at the provider.
    client_id: &'static str,
    routes: String,
    /// Public keys of its client, by which the provider knows what it signed.
    keys: Vec<serde_json::Value>,
    /// A second provider, which the site offers too.
    partner: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let routes = "  - match: { hosts: [shop.test], path: /public/** }\n    upstream: app\n    access: public\n  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop } }\n    forward: { headers: { X-Forwarded-User: sub, X-Forwarded-Email: email, X-Forwarded-Groups: groups } }\n";
        Self {
            store: "cookie",
            url: SITE.to_owned(),
            site: String::new(),
            // Pushed requests have a test of their own; here the address shows what is asked for.
            client: "    par: off\n".to_owned(),
            client_id: "shop",
            routes: routes.to_owned(),
            keys: Vec::new(),
            partner: false,
        }
    }
}

impl Setup {
    fn with_site(lines: &str) -> Self {
        Self { site: lines.to_owned(), ..Self::default() }
    }
}

struct World {
    provider: Provider,
    partner: Option<Provider>,
    gateway: Gateway,
    upstream: Upstream,
}

impl World {
    async fn usual() -> Self {
        Self::start(Setup::default()).await
    }

    async fn start(setup: Setup) -> Self {
        let upstream = Upstream::start(app).await;
        let provider = provider(&setup.keys).await;
        let partner = if setup.partner { Some(self::provider(&[]).await) } else { None };
        let mut config = format!(
            "server:\n  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 1\nadmin: {{ bind: 127.0.0.1:0 }}\ntelemetry: {{ log: {{ format: json, level: debug }}, access_log: json }}\n\
             sessions: {{ store: {}, keys: [{KEY}] }}\nupstreams: {{ app: {{ servers: [http://{}] }} }}\nroutes:\n{}",
            setup.store, upstream.address, setup.routes
        );
        let providers = [("corp", Some(&provider)), ("partner", partner.as_ref())];
        let providers: Vec<_> = providers.into_iter().filter_map(|(name, one)| Some((name, one?))).collect();
        config += "issuers:\n";
        for (name, one) in &providers {
            let _ = writeln!(
                config,
                "  {name}: {{ issuer: {}, audiences: [orders], jwks: {{ cooldown: 1s }} }}",
                one.issuer()
            );
        }
        config += "clients:\n";
        for (name, _) in &providers {
            let _ = writeln!(
                config,
                "  {name}-web:\n    issuer: {name}\n    client_id: {}\n    client_secret: {}-secret\n    scopes: [openid, profile, email, groups]\n{}",
                setup.client_id, setup.client_id, setup.client
            );
        }
        let names: Vec<String> = providers.iter().map(|(name, _)| format!("{name}-web")).collect();
        let _ = writeln!(
            config,
            "sites:\n  shop:\n    url: {}\n    sign_in: [{}]\n{}",
            setup.url,
            names.join(", "),
            setup.site
        );
        let gateway = Gateway::start_as(Start { config: &config, ..Start::default() }).await;
        Self { provider, partner, gateway, upstream }
    }

    /// A browser that knows where the site is.
    fn browser(&self) -> Browser {
        Browser::default().knows(SITE, self.gateway.address())
    }

    /// Alice, signed in.
    async fn alice(&self) -> (Browser, Page) {
        let mut browser = self.browser();
        let page = browser.sign_in(&format!("{SITE}/orders?page=2"), "alice", "wonderland").await;
        assert_eq!(page.status, 200, "{:#?}\n{}", page.trail(), page.text());
        (browser, page)
    }

    /// The requests that the app saw since it was last asked.
    fn seen(&self) -> Vec<Seen> {
        self.upstream.take()
    }
}

/// A page of the app: whoever sees it has got through.
fn app(seen: &Seen) -> Reply {
    answer(200, "text/html", format!("<h1>The app</h1><p>{} {}", seen.method, seen.target))
}

async fn provider(keys: &[serde_json::Value]) -> Provider {
    let settings = Settings::demo().behind(SITE);
    // The provider tells of logouts on this machine only; the tests that need it deliver the token themselves.
    let alone = |client: ClientEntry| ClientEntry { backchannel_logout_uri: None, jwks: keys.to_vec(), ..client };
    let settings = Settings { clients: settings.clients.into_iter().map(alone).collect(), ..settings };
    Provider::start(([127, 0, 0, 1], 0).into(), settings, Clock::system()).await.expect("a provider")
}

/// The value of a parameter of an address.
fn parameter(address: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
