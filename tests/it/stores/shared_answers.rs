//! Two gateways that share introspection answers through Redis: one asks, both know; what is forgotten is forgotten for
//! both levels; without Redis each goes on alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use postern::clock::Clock;
use postern::devidp::{ClientEntry, Endpoint, Mint, Provider, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::support::gateway::{Gateway, Start};
use crate::support::raw::{self, PATIENCE};
use crate::support::redis::Redis;
use crate::support::standard::get;
use crate::support::upstream::Upstream;
use crate::support::{Folder, eventually_async};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=";
const ACTIONS: &str = "a-token-of-this-test-alone";

struct World {
    provider: Provider,
    redis: Redis,
    upstream: Upstream,
    folder: Folder,
}

struct Replica {
    gateway: Gateway,
    socket: PathBuf,
}

impl World {
    async fn start() -> Self {
        let gateway = ClientEntry { may_introspect: true, ..ClientEntry::confidential("gateway", "secret") };
        let settings =
            Settings { clients: vec![gateway, ClientEntry::confidential("shop", "shop")], ..Settings::default() };
        let provider = Provider::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, Clock::system());
        Self {
            provider: provider.await.unwrap(),
            redis: Redis::start().await,
            upstream: Upstream::echo().await,
            folder: Folder::for_sockets(),
        }
    }

    async fn replica(&self, name: &str, key: &str) -> Replica {
        let socket = self.folder.path(&format!("{name}.sock"));
        let config = format!(
            "\
server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}
admin: {{ bind: 127.0.0.1:0, actions: {{ bind: \"unix:{}\", token: {{ env: ACTIONS }} }} }}
issuers:
  corp:
    issuer: {}
    audiences: [orders]
    tokens: opaque
    introspection: {{ client: gateway, cache: {{ ttl: 60s, shared: redis }} }}
clients: {{ gateway: {{ issuer: corp, client_id: gateway, client_secret: {{ env: SECRET }} }} }}
sessions:
  keys: [{{ env: KEY }}]
  redis: {{ urls: [\"{}\"] }}
upstreams: {{ echo: {{ servers: [\"http://{}\"] }} }}
routes:
  - {{ match: {{ path: /api/** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}
",
            socket.display(),
            self.provider.issuer(),
            self.redis.url(),
            self.upstream.address
        );
        let environment = [("ACTIONS", ACTIONS), ("SECRET", "secret"), ("KEY", key)];
        let gateway = Gateway::start_as(Start { config: &config, environment: &environment, ..Start::default() }).await;
        Replica { gateway, socket }
    }

    fn token(&self) -> String {
        self.provider.mint_opaque(&Mint::user("shop", "alice").audience("orders").scope("read"))
    }

    fn questions(&self) -> u64 {
        self.provider.count(Endpoint::Introspect)
    }

    /// Waits until something lies in Redis: answers are shared beside the request.
    async fn until_shared(&self) {
        eventually_async("the answer is shared", PATIENCE, async || {
            (self.redis.cli(&["DBSIZE"]).trim() != "0").then_some(())
        })
        .await;
    }
}

impl Replica {
    async fn status(&self, token: &str) -> u16 {
        raw::request(self.gateway.address(), &get("/api/x", Some(token))).await.status
    }

    async fn metric(&self, line: &str) -> u64 {
        let text = raw::get(self.gateway.admin, "localhost", "/metrics").await.text();
        text.lines().find_map(|have| have.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
    }

    async fn forget(&self, what: &Value) -> u64 {
        let answer = self.act(what).await;
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        let told: Value = serde_json::from_str(body).expect("JSON");
        told["forgotten"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// What the actions listener answers, head and body.
    async fn act(&self, what: &Value) -> String {
        let body = what.to_string();
        let mut stream = UnixStream::connect(&self.socket).await.expect("a socket");
        let request = format!(
            "POST /cache/forget HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ACTIONS}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }
}

#[tokio::test]
async fn what_one_replica_was_told_the_others_need_not_ask() {
    let world = World::start().await;
    let (one, two) = tokio::join!(world.replica("one", KEY), world.replica("two", KEY));
    let token = world.token();
    assert_eq!(one.status(&token).await, 200);
    world.until_shared().await;
    assert_eq!(two.status(&token).await, 200);
    assert_eq!(world.questions(), 1);
    assert_eq!(two.metric(r#"postern_introspection_hits_total{issuer="corp",kind="shared"}"#).await, 1);
    let records = world.redis.cli(&["--scan"]);
    let dump: String = records.lines().map(|name| world.redis.cli(&["GET", name])).collect();
    for secret in [&*token, "alice", "shop", "read"] {
        assert!(!dump.contains(secret) && !records.contains(secret), "{secret} can be read in Redis");
    }
    let stranger = world.replica("stranger", OTHER_KEY).await;
    assert_eq!(stranger.status(&token).await, 200);
    assert_eq!(world.questions(), 2, "with another key nothing is found");
}

#[tokio::test]
async fn what_is_forgotten_is_forgotten_in_the_second_level_too() {
    let world = World::start().await;
    let one = world.replica("one", KEY).await;
    for what in ["token", "sub", "client_id"] {
        let token = world.token();
        assert_eq!(one.status(&token).await, 200);
        world.until_shared().await;
        assert!(world.provider.revoke(&token));
        assert_eq!(one.status(&token).await, 200, "until somebody says so");
        let value = match what {
            "token" => token.clone(),
            "sub" => "alice".to_owned(),
            _ => "shop".to_owned(),
        };
        assert!(one.forget(&json!({ what: value })).await >= 1, "{what}");
        assert_eq!(one.status(&token).await, 401, "{what}: neither level knows it");
        let fresh = world.replica(&format!("fresh-{what}"), KEY).await;
        assert_eq!(fresh.status(&token).await, 401, "{what}: nor does a replica that starts now");
        world.redis.cli(&["FLUSHALL"]);
    }
}

/// F12: Redis away is no outage of bearer routes.
#[tokio::test]
async fn without_redis_each_goes_on_alone_and_says_so() {
    let mut world = World::start().await;
    let one = world.replica("one", KEY).await;
    world.redis.kill();
    for _ in 0..2 {
        let token = world.token();
        let before = world.questions();
        for _ in 0..3 {
            assert_eq!(one.status(&token).await, 200);
        }
        assert_eq!(world.questions(), before + 1, "the local level serves");
    }
    assert!(one.metric(r#"postern_introspection_shared_unavailable_total{issuer="corp"}"#).await >= 2);
    let revoked = world.token();
    assert_eq!(one.status(&revoked).await, 200);
    world.provider.revoke(&revoked);
    // It has not reached the other replicas, and nobody is told that it has; here it counts all the same.
    let answer = one.act(&json!({ "token": revoked })).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(one.status(&revoked).await, 401);
    world.redis.restart().await;
    eventually_async("answers are shared again", PATIENCE, async || {
        assert_eq!(one.status(&world.token()).await, 200);
        (world.redis.cli(&["DBSIZE"]).trim() != "0").then_some(())
    })
    .await;
}
