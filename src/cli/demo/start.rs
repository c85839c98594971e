//! Everything of the demo, started in order: provider, sample applications, gateway. Comes in: which ports are wished
//! for. Goes out: a [`Demo`] that serves, knows where everything is, and can be stopped.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};

use super::client::TalkError;
use super::gateway::{self, GatewayError, Started};
use super::journal::Journal;
use super::orders::Orders;
use super::page::Page;
use super::service::{self, answer};
use super::shop;
use super::tokens::{Asker, TokenShelf};
use crate::app::Running;
use crate::app::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::route::{Access, Bearer, Route};
use crate::control::Control;
use crate::devidp::{self, ClientEntry, GrantType, Provider, ResponseType, Settings};
use crate::idp::Issuer;
use crate::seal::random;
use crate::server::{Address, BindError};
use crate::telemetry::{AccessLog, LogError};

/// The demo's tokens outlive a look around.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// The last lines of the log are out by then.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("no port of 127.0.0.1 could be had: {0}")]
    Port(#[from] io::Error),
    #[error(transparent)]
    Provider(#[from] devidp::StartError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("the provider gave no tokens: {0}")]
    Tokens(#[from] TalkError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the tokens could not be written to {folder}: {source}")]
    Files { folder: String, source: io::Error },
}

impl DemoError {
    /// Somebody took a port between the look whether it is free and the taking.
    fn is_port_taken(&self) -> bool {
        let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        match self {
            Self::Port(error) | Self::Provider(devidp::StartError::Bind { source: error, .. }) => taken(error),
            Self::Gateway(GatewayError::Start(StartError::Bind(error))) => matches!(error, BindError::InUse { .. }),
            _ => false,
        }
    }
}

/// How often a start is tried when ports are taken under our hands.
const STARTS: u32 = 5;

/// Ports that are wished for; 0 takes any.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub gateway: u16,
    pub orders: u16,
    pub shop: u16,
    pub provider: u16,
    pub status: u16,
}

impl Ports {
    pub const USUAL: Self = Self { gateway: 8080, orders: 8081, shop: 8082, provider: 8083, status: 9090 };
    pub const ANY: Self = Self { gateway: 0, orders: 0, shop: 0, provider: 0, status: 0 };
}

/// Where everything is.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub gateway: SocketAddr,
    pub orders: SocketAddr,
    pub shop: SocketAddr,
    pub provider: SocketAddr,
    pub status: SocketAddr,
}

/// The demo, running.
pub struct Demo {
    pub clock: Clock,
    pub control: Control,
    pub places: Places,
    pub provider: Provider,
    pub orders: Arc<Orders>,
    pub journal: Arc<Journal>,
    pub tokens: Arc<TokenShelf>,
    pub issuers: Vec<Arc<Issuer>>,
    gateway: Running,
    access_log: AccessLog,
}

/// Further sections of the configuration, as `--check` needs them.
#[derive(Clone, Debug, Default)]
pub struct Further {
    pub issuers: String,
    pub clients: String,
    pub sites: String,
    pub upstreams: String,
    pub routes: String,
}

impl Demo {
    /// Starts everything on the runtime that this is called on. `prints` is whether people watch the requests.
    ///
    /// # Errors
    /// [`DemoError`]; what had started ends with the runtime.
    pub async fn start(ports: Ports, further: &Further, prints: bool) -> Result<Self, DemoError> {
        for _ in 1..STARTS {
            match Self::start_once(ports, further, prints).await {
                Err(error) if error.is_port_taken() => {}
                ended => return ended,
            }
        }
        Self::start_once(ports, further, prints).await
    }

    async fn start_once(ports: Ports, further: &Further, prints: bool) -> Result<Self, DemoError> {
        let (clock, control) = (Clock::system(), Control::current());
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, service::free_port(port)));
        let provider = Provider::start(loopback(ports.provider), settings(), clock.clone()).await?;

        let orders = Orders::new(control.clone());
        let api = Arc::clone(&orders);
        let orders_at =
            service::serve(service::listen(ports.orders)?, &control, move |request| Arc::clone(&api).answer(request))?;
        let shop_at =
            service::serve(service::listen(ports.shop)?, &control, |request| async move { shop::respond(&request) })?;
        let page_socket = service::listen(0)?;

        // Known beforehand, for a site has to name it. Whoever takes the port meanwhile makes the demo start again.
        let gateway_at = service::listen(service::free_port(ports.gateway))?.local_addr()?;
        let text = gateway::TEXT
            .replace("  # $issuers\n", &further.issuers)
            .replace("  # $clients\n", &further.clients)
            .replace("  # $sites\n", &further.sites)
            .replace("  # $upstreams\n", &further.upstreams)
            .replace("  # $routes\n", &further.routes)
            .replace("$gateway", &gateway_at.to_string())
            .replace("$port", &gateway_at.port().to_string())
            .replace("$key", &STANDARD.encode(random::bytes::<32>()))
            .replace("$status", &loopback(ports.status).to_string())
            .replace("$issuer", provider.issuer())
            .replace("$page", &page_socket.local_addr()?.to_string())
            .replace("$orders", &orders_at.to_string())
            .replace("$shop", &shop_at.to_string());
        let (config, checked) = gateway::load(text)?;
        let journal = Journal::new(demands(&config));
        let tokens = Arc::<TokenShelf>::default();
        let page = Arc::new(Page::new(Arc::clone(&journal), Arc::clone(&tokens)));
        service::serve(page_socket, &control, move |request| Arc::clone(&page).answer(request))?;
        let started = gateway::start(&checked, &clock, &control, &journal, prints).await?;

        let Address::Tcp(status) = *started.running.admin() else { return Err(GatewayError::NoAddress.into()) };
        let gateway = started.running.address().ok_or(GatewayError::NoAddress)?;
        let places = Places { gateway, orders: orders_at, shop: shop_at, provider: provider.addr(), status };
        for client in settings().behind(&format!("http://{gateway}")).clients {
            provider.register(elsewhere(client, gateway.port()))?;
        }
        provider.register(brief(gateway.port()))?;
        tokens.fill(Asker { provider: places.provider }, &provider).await?;
        let Started { running: gateway, issuers, access_log } = started;
        Ok(Self { clock, control, places, provider, orders, journal, tokens, issuers, gateway, access_log })
    }

    /// Stops accepting, finishes what is under way, and frees the ports.
    pub async fn stop(self) {
        let finished = self.gateway.drain(&self.clock).await;
        if finished {
            self.gateway.join();
        }
        self.access_log.flush(LAST_LINES);
        self.provider.stop().await;
    }
}

/// The provider's cast, with tokens that last.
fn settings() -> Settings {
    let mut settings = Settings::demo();
    let lasting = |client| ClientEntry { access_token_lifetime: TOKEN_LIFETIME, ..client };
    settings.clients = settings.clients.into_iter().map(lasting).collect();
    settings
}

/// Some sign in to sites of their own, which are told apart by their host.
fn elsewhere(client: ClientEntry, port: u16) -> ClientEntry {
    let host = match &*client.client_id {
        "hybrid" => "127.0.0.2",
        "implicit" => "127.0.0.3",
        _ => return client,
    };
    let usual = client.redirect_uris.clone();
    let mut client = client.behind(&format!("http://{host}:{port}"));
    client.redirect_uris.extend(usual);
    client
}

/// Signs in to the check's second site, by tokens that are over within a second.
fn brief(port: u16) -> ClientEntry {
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let client = ClientEntry::confidential("brief", "brief-secret").grants(&grants).responses(&[ResponseType::CODE]);
    let client = client.scopes("openid profile email").audience("orders").behind(&format!("http://localhost:{port}"));
    ClientEntry { access_token_lifetime: Duration::from_secs(1), ..client }
}

/// What each route demands, in words.
fn demands(config: &Config) -> HashMap<String, String> {
    let named = |route: &Route| Some((route.name.clone()?, demand(route.access.as_ref()?)));
    config.routes.iter().filter_map(named).collect()
}

fn demand(access: &Access) -> String {
    let Access::Ways(ways) = access else { return "public".to_owned() };
    if ways.basic.is_some() {
        return "a name and a password".to_owned();
    }
    if ways.session.is_some() {
        return if ways.bearer.is_some() { "a sign-in or a token" } else { "a sign-in" }.to_owned();
    }
    let Some(Bearer { scopes, any_scope, claims, policy, step_up, optional, .. }) = &ways.bearer else {
        return "nothing that anyone has".to_owned();
    };
    let mut words = Vec::new();
    if !scopes.is_empty() {
        words.push(format!("scope {}", scopes.join(" ")));
    }
    if !any_scope.is_empty() {
        words.push(format!("one of the scopes {}", any_scope.join(" ")));
    }
    if !claims.is_empty() {
        words.push(format!("claims {}", claims.keys().map(String::as_str).collect::<Vec<_>>().join(" ")));
    }
    words.extend(policy.as_ref().map(|policy| format!("policy {policy}")));
    words.extend(step_up.as_ref().map(|_| "a stronger sign-in".to_owned()));
    if *optional {
        words.push("a good token or none".to_owned());
    }
    words.join(", ")
}

/// An upstream that takes requests and never answers.
pub async fn never() -> Response<crate::wire::Body> {
    std::future::pending::<()>().await;
    answer(StatusCode::NO_CONTENT, "text/plain", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_demo_says_what_it_demands() {
        let filled = gateway::TEXT
            .replace("$gateway", "127.0.0.1:1")
            .replace("$status", "127.0.0.1:2")
            .replace("$issuers", "")
            .replace("$key", &STANDARD.encode([7; 32]))
            .replace("$issuer", "http://127.0.0.1:3")
            .replace("$page", "127.0.0.1:4")
            .replace("$orders", "127.0.0.1:5")
            .replace("$shop", "127.0.0.1:6");
        let (config, _) = gateway::load(filled).unwrap();
        let demands = demands(&config);
        assert_eq!(demands.len(), config.routes.len());
        assert_eq!(demands["orders-list"], "scope orders:read");
        assert_eq!(demands["public"], "public");
        assert!(demands.values().all(|demand| !demand.is_empty()));
        assert!(demands.contains_key(super::super::journal::SILENT_ROUTE));
    }
}
