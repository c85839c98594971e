//! `postern check --online`: what a configuration relies on is reached once; what can't be has its place in the report.

use std::net::{SocketAddr, TcpListener};
use std::process::Output;

use postern::clock::Clock;
use postern::devidp::{ClientEntry, Endpoint, Fault, GrantType, Provider, Settings};
use serde_json::json;

use crate::support::Folder;
use crate::support::gateway::run;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;

/// What a configuration names, all of it there and in order.
struct World {
    provider: Provider,
    upstream: Upstream,
    redis: Redis,
}

impl World {
    async fn start() -> Self {
        let gateway = ClientEntry { may_introspect: true, ..ClientEntry::confidential("gateway", "secret") };
        let nosy = ClientEntry::confidential("nosy", "secret");
        let shop = ClientEntry::confidential("shop", "secret").grants(&[GrantType::AuthorizationCode]);
        let settings = Settings { clients: vec![gateway, nosy, shop], ..Settings::default() };
        let provider = Provider::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, Clock::system());
        Self { provider: provider.await.unwrap(), upstream: Upstream::echo().await, redis: Redis::start().await }
    }

    fn config(&self) -> String {
        format!(
            "\
server: {{ trusted_proxies: [10.0.0.0/8] }}
issuers:
  corp:
    issuer: {}
    audiences: [orders]
    tokens: any
    introspection: {{ client: gateway }}
clients:
  gateway: {{ issuer: corp, client_id: gateway, client_secret: {{ env: SECRET }} }}
  web: {{ issuer: corp, client_id: shop, client_secret: {{ env: SECRET }} }}
sites:
  shop: {{ url: 'https://shop.example.com', sign_in: [web] }}
sessions:
  keys: [{{ env: KEY }}]
  redis: {{ urls: [\"{}\"] }}
upstreams:
  echo: {{ servers: [\"http://{}\"] }}
routes:
  - {{ match: {{ path: /** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp] }} }} }}
  - {{ match: {{ path: /** }}, upstream: echo, access: {{ session: {{ site: shop }} }} }}
",
            self.provider.issuer(),
            self.redis.url(),
            self.upstream.address
        )
    }
}

/// What was said: the exit code, stdout, stderr.
async fn check(config: String) -> (Option<i32>, String, String) {
    // On a thread of its own: the provider runs on this one's runtime.
    let output = tokio::task::spawn_blocking(move || {
        let folder = Folder::new();
        let file = folder.write(
            "gateway.yaml",
            config.replace("{ env: SECRET }", "{ file: secret }").replace("{ env: KEY }", "{ file: key }"),
        );
        folder.write("secret", "secret\n");
        folder.write("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n");
        run(&["check", "--online", "--config", &file.display().to_string()])
    });
    let Output { status, stdout, stderr } = output.await.expect("it was waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A port on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback socket");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn what_is_there_is_listed_and_nothing_else_happens() {
    let world = World::start().await;
    let (code, out, err) = check(world.config()).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "issuers.corp: reached, ",
        "issuers.corp.introspection: our client may introspect",
        "clients.web: the issuer knows our client",
        "sessions.redis: reached, and it lets us in",
        &format!("upstreams.echo.servers[0]: {} reached", world.upstream.address),
        "ok: everything was reached",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}");
    }
    assert_eq!(world.provider.count(Endpoint::Introspect), 1);
    assert!(world.upstream.take().is_empty(), "a connection, no request");
}

/// What is changed in a good configuration, where the report points then, and what it says.
async fn wrong(world: &World, change: impl Fn(String) -> String, path: &str, says: &str) {
    let (code, out, err) = check(change(world.config())).await;
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(err.contains(&format!("error: {path}: ")), "{path} is not in\n{err}");
    assert!(err.contains(says), "{says} is not in\n{err}");
    assert!(err.contains("gateway.yaml:"), "the place is told:\n{err}");
    assert!(err.contains("not everything could be reached") && err.contains("1 error"), "{err}");
    assert!(!err.contains("secret\n") && !out.contains("everything was reached"), "{out}{err}");
}

#[tokio::test]
async fn what_is_not_there_is_reported_with_its_place() {
    let world = World::start().await;
    let issuer = world.provider.issuer().to_owned();
    let elsewhere = format!("http://{}", nobody());
    wrong(&world, |config| config.replace(&issuer, &elsewhere), "issuers.corp", "can't be reached").await;
    let (redis, upstream) = (world.redis.url(), world.upstream.address.to_string());
    let dead = format!("redis://{}", nobody());
    wrong(&world, |config| config.replace(&redis, &dead), "sessions.redis", "out of reach").await;
    wrong(&world, |config| config.replace(&upstream, &nobody()), "upstreams.echo.servers[0]", "can't be reached").await;
}

#[tokio::test]
async fn an_issuer_that_is_another_is_reported() {
    let world = World::start().await;
    world.provider.set_fault(Endpoint::Discovery, Fault::WrongIssuer);
    wrong(&world, |config| config, "issuers.corp", "names the issuer").await;
    world.provider.clear_faults();
    world.provider.set_fault(Endpoint::Jwks, Fault::EmptyKeys);
    wrong(&world, |config| config, "issuers.corp", "key").await;
}

#[tokio::test]
async fn a_client_that_may_not_introspect_is_told_so() {
    let world = World::start().await;
    let path = "issuers.corp.introspection";
    let says = "does not let our client introspect";
    wrong(&world, |config| config.replace("client_id: gateway", "client_id: nosy"), path, says).await;
    wrong(&world, |config| config.replace("client_id: gateway", "client_id: nobody"), path, says).await;
    world.provider.set_fault(Endpoint::Introspect, Fault::Html);
    wrong(&world, |config| config, path, "media type").await;
    world.provider.set_fault(Endpoint::Introspect, Fault::Status(500));
    wrong(&world, |config| config, path, "500").await;
    let always = json!({ "active": true }).as_object().expect("an object").clone();
    world.provider.set_fault(Endpoint::Introspect, Fault::Change(always));
    wrong(&world, |config| config, path, "nobody has issued").await;
}

#[tokio::test]
async fn a_client_that_the_issuer_does_not_take_is_told_so() {
    let world = World::start().await;
    let says = "does not take our client";
    wrong(&world, |config| config.replace("client_id: shop", "client_id: nobody"), "clients.web", says).await;
    wrong(&world, |config| config.replace("client_id: shop", "client_id: nosy"), "clients.web", says).await;
    world.provider.set_fault(Endpoint::Token, Fault::Html);
    wrong(&world, |config| config, "clients.web", "answer").await;
}

#[tokio::test]
async fn a_bad_configuration_reaches_nothing() {
    let world = World::start().await;
    let (code, _, err) = check(world.config().replace("upstream: echo", "upstream: ecko")).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("did you mean `echo`?"), "{err}");
    assert_eq!(world.provider.count(Endpoint::Discovery), 0);
}

/// With several providers on a site an answer that names nobody is refused: better told now than to who signs in.
#[tokio::test]
async fn a_provider_of_several_that_does_not_name_itself_is_reported() {
    let (world, partner) = (World::start().await, World::start().await);
    let issuers = format!("issuers:\n  partner: {{ issuer: {} }}\n", partner.provider.issuer());
    let clients = "clients:\n  far: { issuer: partner, client_id: shop, client_secret: { env: SECRET } }\n";
    let change = |config: String| {
        let config = config.replace("issuers:\n", &issuers).replace("clients:\n", clients);
        config.replace("sign_in: [web]", "sign_in: [web, far]")
    };
    let (code, out, err) = check(change(world.config())).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let silent = json!({ "authorization_response_iss_parameter_supported": false }).as_object().unwrap().clone();
    partner.provider.set_fault(Endpoint::Discovery, Fault::Change(silent));
    wrong(&world, change, "sites.shop.sign_in[1]", "does not announce that its answers name it").await;
}
