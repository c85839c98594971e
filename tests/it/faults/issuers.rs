//! F1 to F7: the provider is away, slow, broken, huge, or changes its keys.

use std::sync::LazyLock;
use std::time::Instant;

use serde_json::{Value, json};

use super::{SECOND, assert_flat, token_of};
use crate::support::gateway::{Gateway, Start};
use crate::support::keys::{Key, ring};
use crate::support::provider::Provider;
use crate::support::raw::{self, Answer};
use crate::support::standard::{Layout, get};
use crate::support::upstream::{Reply, Step, Upstream, answer};
use crate::support::{eventually, eventually_async};

struct World {
    provider: Provider,
    upstream: Upstream,
    gateway: Gateway,
}

impl World {
    /// A gateway that learns its keys from a provider, with these settings of `jwks`.
    async fn start(jwks: &str) -> Self {
        let provider = Provider::start(&ring().set()).await;
        Self::start_with(provider, jwks, false).await
    }

    async fn start_with(provider: Provider, jwks: &str, unready: bool) -> Self {
        let upstream = Upstream::echo().await;
        let layout = Layout { issuer: format!("    jwks: {{ {jwks} }}\n"), ..Layout::default() };
        let config = layout.config(&provider.issuer(), upstream.address);
        let gateway = Gateway::start_as(Start { config: &config, unready, ..Start::default() }).await;
        Self { provider, upstream, gateway }
    }

    fn token(&self, key: &Key, kid: &str) -> String {
        token_of(&self.provider.issuer(), key, kid)
    }

    fn good(&self) -> String {
        self.token(&ring().rsa, "rsa")
    }

    async fn ask(&self, target: &str, token: Option<&str>) -> Answer {
        raw::request(self.gateway.address(), &get(target, token)).await
    }

    async fn status(&self, token: &str) -> u16 {
        self.ask("/api/x", Some(token)).await.status
    }

    /// Uses unknown keys until the provider has been asked for its set once more. Gives the status of the last try.
    async fn provoke_a_fetch(&self) -> u16 {
        let before = self.provider.key_fetches();
        let token = self.token(&ring().stranger, &format!("unknown-{before}"));
        eventually_async("a fetch of the keys", raw::PATIENCE, async || {
            let status = self.status(&token).await;
            (self.provider.key_fetches() > before).then_some(status)
        })
        .await
    }
}

/// F1
#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_waited_for() {
    let mut provider = Provider::start(&ring().set()).await;
    provider.go_down().await;
    let mut world = World::start_with(provider, "refresh: 15m", true).await;
    let ready = raw::get(world.gateway.admin, "localhost", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("corp"), "it names what is missing: {}", ready.text());
    assert_eq!(raw::get(world.gateway.admin, "localhost", "/livez").await.status, 200);
    for token in [world.good(), world.token(&ring().stranger, "nobody")] {
        let refused = world.ask("/api/x", Some(&token)).await;
        assert_eq!(refused.status, 503, "neither a pass nor a 401");
        let wait: u64 = refused.value("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!((1..=60).contains(&wait));
    }
    assert_eq!(world.ask("/api/x", None).await.status, 401, "who shows nothing is told so");
    assert_eq!(world.ask("/public/x", None).await.status, 200, "open routes go on");
    assert_eq!(world.upstream.take().len(), 1);

    world.provider.come_back().await;
    world.gateway.until_ready(SECOND * 35).await;
    assert_eq!(world.status(&world.good()).await, 200);
}

/// F2
#[tokio::test]
async fn known_keys_serve_on_while_the_issuer_is_down_until_they_are_too_old() {
    let mut world = World::start("refresh: 1s, cooldown: 1s, max_stale: 6s").await;
    let remembered = world.good();
    assert_eq!(world.status(&remembered).await, 200);
    world.provider.go_down().await;
    let down = Instant::now();
    assert_eq!(world.status(&remembered).await, 200);
    assert_eq!(world.status(&world.token(&ring().p256, "p256")).await, 200, "a token that was never seen before");
    eventually_async("/readyz tells of the trouble", raw::PATIENCE, async || {
        let ready = raw::get(world.gateway.admin, "localhost", "/readyz").await;
        (ready.status == 200 && ready.text().contains("degraded") && ready.text().contains("corp")).then_some(())
    })
    .await;
    eventually_async("the keys are too old", raw::PATIENCE, async || {
        (world.status(&world.good()).await == 503).then_some(())
    })
    .await;
    assert!(down.elapsed() > SECOND * 4, "they were given up after {:?}", down.elapsed());
    assert_eq!(world.status(&remembered).await, 503, "what is remembered is not believed longer than its key");
    world.provider.come_back().await;
    eventually_async("the keys are there again", SECOND * 35, async || {
        (world.status(&remembered).await == 200).then_some(())
    })
    .await;
}

/// F3
#[tokio::test]
async fn a_slow_issuer_makes_only_those_wait_who_need_it() {
    let world = World::start("cooldown: 1s").await;
    let good = world.good();
    assert_eq!(world.status(&good).await, 200);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{";
    let dribble: Vec<Step> = (0..200).flat_map(|_| [Step::Delay(SECOND / 4), Step::send(" ")]).collect();
    let steps = [vec![Step::Body, Step::send(head)], dribble].concat();
    world.provider.keys_answer(Reply::Script(steps));
    let before = world.provider.key_fetches();
    let strangers = async {
        let ask = |number: usize| {
            let token = world.token(&ring().stranger, &format!("unknown-{number}"));
            async { world.ask("/api/x", Some(&{ token })).await }
        };
        let started = Instant::now();
        let answers = futures_util::future::join_all((0..20).map(ask)).await;
        assert!(started.elapsed() < SECOND * 14, "they waited {:?}", started.elapsed());
        for answer in answers {
            assert!(matches!(answer.status, 503 | 401), "{}", answer.status);
        }
    };
    let others = async {
        eventually("the slow fetch has begun", raw::PATIENCE, || (world.provider.key_fetches() > before).then_some(()))
            .await;
        for _ in 0..50 {
            let started = Instant::now();
            assert_eq!(world.status(&good).await, 200);
            assert_eq!(world.status(&world.token(&ring().p256, "p256")).await, 200);
            assert!(started.elapsed() < SECOND, "a caller with a known key waited {:?}", started.elapsed());
        }
        assert_eq!(world.provider.key_fetches(), before + 1, "one fetch at a time");
    };
    tokio::join!(strangers, others);
}

/// Answers that are no key set.
fn broken() -> Vec<(&'static str, Reply)> {
    let json = |text: &str| answer(200, "application/json", text);
    let redirect = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"keys\":[";
    vec![
        ("500", answer(500, "application/json", ring().set().to_string())),
        ("404", answer(404, "text/plain", "not found")),
        ("302", Reply::Script(vec![Step::Body, Step::send(redirect)])),
        ("a page", answer(200, "text/html", "<html><body>maintenance</body></html>")),
        ("an empty answer", json("")),
        ("truncated JSON", json(&ring().set().to_string()[..200])),
        ("a truncated answer", Reply::Script(vec![Step::Body, Step::send(cut), Step::Close])),
        ("no keys", json(r#"{"keys":[]}"#)),
        ("no set", json("{}")),
        ("null", json(r#"{"keys":null}"#)),
        ("keys that cannot be used", json(r#"{"keys":[{"kty":"AKP","kid":"a"},{"kty":"oct","kid":"b","k":"AAAA"}]}"#)),
        ("keys that are none", json(r#"{"keys":[1,"x",null,{}]}"#)),
        ("another document", json(r#"{"issuer":"https://evil.test","jwks_uri":"https://evil.test/jwks"}"#)),
        ("nonsense", Reply::Script(vec![Step::send("SSH-2.0-x\r\n\r\n"), Step::Close])),
        ("a reset", Reply::Script(vec![Step::Reset])),
        ("a close", Reply::Script(vec![Step::Close])),
    ]
}

/// F4
#[tokio::test]
async fn a_broken_set_never_replaces_a_good_one() {
    let world = World::start("cooldown: 1s").await;
    for (about, reply) in broken() {
        world.provider.keys_answer(reply);
        let status = world.provoke_a_fetch().await;
        assert!(matches!(status, 401 | 503), "{about}: {status} for an unknown key");
        assert_eq!(world.status(&world.good()).await, 200, "after {about}");
        assert_eq!(world.status(&world.token(&ring().ed25519, "ed25519")).await, 200, "after {about}");
    }
    assert!(!world.provider.targets().contains(&"/elsewhere".to_owned()), "redirects are not followed");
    world.provider.serve_keys(&ring().set());
    assert_eq!(world.provoke_a_fetch().await, 401, "the set is good again, the key is still unknown");
}

/// F5
#[tokio::test]
async fn a_monstrous_set_is_cut_off() {
    let world = World::start("cooldown: 1s").await;
    let good = world.good();
    assert_eq!(world.status(&good).await, 200);
    let before = world.gateway.resident();
    let head =
        |length: u64| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    let megabyte = vec![b' '; 1 << 20];
    let chunk = [b"100000\r\n".as_slice(), &megabyte, b"\r\n"].concat();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let keys: Vec<Value> = (0..5000).map(|number| json!({ "kty": "RSA", "kid": number.to_string() })).collect();
    let nested = format!("{{\"keys\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    for (about, reply) in [
        ("50 MB", Reply::Script(vec![Step::Body, Step::send(head(50 << 20)), Step::Repeat(megabyte.clone(), 50)])),
        ("endless chunks", Reply::Script(vec![Step::Body, Step::send(chunked), Step::Repeat(chunk, 1000)])),
        ("an endless head", Reply::Script(vec![Step::Repeat(b"X: y\r\n".repeat(1000), 10_000)])),
        ("5,000 keys", answer(200, "application/json", json!({ "keys": keys }).to_string())),
        ("deep nesting", answer(200, "application/json", nested)),
    ] {
        world.provider.keys_answer(reply);
        let started = Instant::now();
        let status = world.provoke_a_fetch().await;
        assert!(matches!(status, 401 | 503), "{about}: {status}");
        assert!(started.elapsed() < SECOND * 14, "{about} took {:?}", started.elapsed());
        assert_eq!(world.status(&good).await, 200, "after {about}");
        assert_flat(&world.gateway, before, about);
    }
}

static NEXT: LazyLock<Key> = LazyLock::new(|| Key::p256("next"));

/// F6
#[tokio::test]
async fn a_new_key_is_learnt_at_its_first_use_and_an_old_one_forgotten() {
    let world = World::start("refresh: 2s, cooldown: 1s").await;
    let old = world.good();
    assert_eq!(world.status(&old).await, 200);
    let next = world.token(&NEXT, "next");
    let mut set = ring().set();
    set["keys"].as_array_mut().expect("keys").push(NEXT.jwk());
    world.provider.serve_keys(&set);
    assert_eq!(world.status(&next).await, 200, "the first request with the new key");
    assert_eq!(world.status(&old).await, 200, "both are valid while both are in the set");

    world.provider.serve_keys(&json!({ "keys": [NEXT.jwk()] }));
    eventually_async("the withdrawn key is refused", raw::PATIENCE, async || {
        let status = world.status(&old).await;
        assert!(matches!(status, 200 | 401), "{status}");
        (status == 401).then_some(())
    })
    .await;
    assert_eq!(world.status(&next).await, 200);
    eventually("a key that left is logged", raw::PATIENCE, || world.gateway.log().contains("rsa").then_some(())).await;
}

/// The same `kid`, another key: what was remembered with the old one is not believed.
#[tokio::test]
async fn a_key_that_changes_under_its_name_takes_its_tokens_with_it() {
    let world = World::start("refresh: 1s, cooldown: 1s").await;
    let old = world.good();
    assert_eq!(world.status(&old).await, 200);
    world.provider.serve_keys(&json!({ "keys": [ring().stranger.jwk_with(json!({ "kid": "rsa" }))] }));
    eventually_async("the old key is refused", raw::PATIENCE, async || (world.status(&old).await == 401).then_some(()))
        .await;
    assert_eq!(world.status(&world.token(&ring().stranger, "rsa")).await, 200);
}

/// F7
#[tokio::test]
async fn unknown_keys_cause_one_fetch_in_a_cooldown() {
    let world = World::start("cooldown: 30s").await;
    let good = world.good();
    assert_eq!(world.status(&good).await, 200);
    let before = world.provider.key_fetches();
    let flood = async {
        for round in 0..40 {
            let ask = |number: usize| {
                let token = world.token(&ring().p256, &format!("random-{round}-{number}"));
                async { world.ask("/api/x", Some(&{ token })).await.status }
            };
            for status in futures_util::future::join_all((0..50).map(ask)).await {
                assert_eq!(status, 401);
            }
        }
    };
    let others = async {
        for _ in 0..200 {
            let started = Instant::now();
            assert_eq!(world.status(&good).await, 200);
            assert!(started.elapsed() < SECOND * 2, "a good token waited {:?}", started.elapsed());
        }
    };
    tokio::join!(flood, others);
    assert!(world.provider.key_fetches() <= before + 1, "{} fetches", world.provider.key_fetches() - before);
}

/// R32: metadata that names another issuer is not that issuer's.
#[tokio::test]
async fn metadata_of_another_issuer_leaves_it_unready() {
    let provider = Provider::start(&ring().set()).await;
    provider.metadata_answers(provider.metadata_of("https://evil.test"));
    let world = World::start_with(provider, "refresh: 1s", true).await;
    eventually("the metadata was read", raw::PATIENCE, || (world.provider.metadata_fetches() > 0).then_some(())).await;
    assert_eq!(world.status(&world.good()).await, 503);
    assert_eq!(raw::get(world.gateway.admin, "localhost", "/readyz").await.status, 503);
    assert_eq!(world.provider.key_fetches(), 0, "its keys are nobody's");
}
