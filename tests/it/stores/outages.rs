//! One server that goes away, falls silent, gets slow, comes back empty, or does not let us in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use postern::clock::Clock;
use postern::control::Control;
use postern::kv::{Key, Kv, KvError, RedisKv, RedisSettings, Standing};
use postern::seal::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::raw::PATIENCE;
use crate::support::redis::{Redis, certificates};
use crate::support::{Folder, eventually, eventually_async};

const LONG: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn key(name: &str) -> Key {
    Key::new("outage", &[name.as_bytes()])
}

pub(super) fn connect(settings: RedisSettings) -> (RedisKv, Kv) {
    let redis = RedisKv::new(settings, Clock::system(), Control::current());
    redis.start();
    (redis.clone(), Kv::Redis(redis))
}

async fn up(settings: RedisSettings) -> (RedisKv, Kv) {
    let (redis, kv) = connect(settings);
    redis.ping().await.expect("Redis is there");
    (redis, kv)
}

/// F12
#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_waited_for_without_blocking() {
    let mut server = Redis::start().await;
    server.kill();
    let (redis, kv) = connect(server.settings());
    let started = Instant::now();
    let error = kv.get(&key("a")).await.unwrap_err();
    assert!(matches!(error, KvError::Unreachable(_)), "{error}");
    for _ in 0..100 {
        assert!(kv.put(&key("a"), "v".into(), LONG).await.is_err());
    }
    assert!(started.elapsed() < SECOND, "known to be away, it is not waited for: {:?}", started.elapsed());
    assert!(matches!(redis.standing(), Standing::Down { .. }));
    server.restart().await;
    let back = Instant::now();
    eventually_async("it is in use again", PATIENCE, async || kv.put(&key("a"), "v".into(), LONG).await.ok()).await;
    assert!(back.elapsed() < SECOND, "recovered within a second: {:?}", back.elapsed());
    assert_eq!(redis.standing(), Standing::Up);
}

/// F12, F14
#[tokio::test]
async fn a_redis_that_is_restarted_empty_is_in_use_again_and_has_nothing() {
    let mut server = Redis::start().await;
    let (redis, kv) = up(server.settings()).await;
    kv.put(&key("a"), "v".into(), LONG).await.unwrap();
    server.kill();
    eventually("its absence is noticed without a command", PATIENCE, || {
        matches!(redis.standing(), Standing::Down { .. }).then_some(())
    })
    .await;
    assert!(kv.get(&key("a")).await.is_err());
    server.restart().await;
    let back = Instant::now();
    let found = eventually_async("it answers again", PATIENCE, async || kv.get(&key("a")).await.ok()).await;
    assert!(back.elapsed() < SECOND, "{:?}", back.elapsed());
    assert_eq!(found, None, "nothing, and no error");
}

/// F12: at most one command is lost with the connection.
#[tokio::test]
async fn a_connection_that_was_closed_costs_at_most_one_command() {
    let server = Redis::start().await;
    let (redis, kv) = up(RedisSettings { timeout: SECOND * 3, ..server.settings() }).await;
    kv.put(&key("a"), "v".into(), LONG).await.unwrap();
    for round in 1..=5_u64 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        let failed = kv.get(&key("a")).await.is_err();
        let again = kv.get(&key("a")).await;
        assert!(again.is_ok(), "round {round}, after {failed}: {again:?}");
    }
    assert!(redis.connects() >= 2);
}

/// F13
#[tokio::test]
async fn a_redis_that_falls_silent_is_given_up_and_nothing_piles_up() {
    let server = Redis::start().await;
    let (redis, kv) = up(server.settings()).await;
    kv.put(&key("a"), "v".into(), LONG).await.unwrap();
    server.freeze();
    let started = Instant::now();
    let outcomes = join_all((0..5000).map(|_| kv.get(&PROBE))).await;
    assert!(started.elapsed() < SECOND * 3, "all were told within {:?}", started.elapsed());
    assert!(outcomes.iter().all(Result::is_err));
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(KvError::Busy))).count();
    assert!(busy >= 3900, "only so many wait at once: {busy} were told at once");
    eventually("it is known to be away", PATIENCE, || matches!(redis.standing(), Standing::Down { .. }).then_some(()))
        .await;
    eventually_async("nobody waits for it any more", PATIENCE, async || {
        let started = Instant::now();
        assert!(kv.get(&key("a")).await.is_err());
        (started.elapsed() < SECOND / 10).then_some(())
    })
    .await;
    assert_eq!(redis.under_way(), 0);
    server.thaw();
    let back = Instant::now();
    let found = eventually_async("it answers again", PATIENCE, async || kv.get(&key("a")).await.ok()).await;
    assert!(back.elapsed() < SECOND * 2, "{:?}", back.elapsed());
    assert_eq!(found.as_deref(), Some(&b"v"[..]));
}

static PROBE: std::sync::LazyLock<Key> = std::sync::LazyLock::new(|| key("probe"));

/// A way to a server on which answers take their time.
struct SlowRoad {
    port: u16,
    millis: Arc<AtomicU64>,
}

impl SlowRoad {
    async fn to(server: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, millis, address) =
            (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)), server.address());
        let delay = Arc::clone(&millis);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(address).await.unwrap();
                let (mut client_in, mut client_out) = client.into_split();
                let (mut server_in, mut server_out) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut client_in, &mut server_out).await });
                let delay = Arc::clone(&delay);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = server_in.read(&mut buffer).await {
                        tokio::time::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))).await;
                        if client_out.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, millis }
    }

    fn takes(&self, span: Duration) {
        self.millis.store(u64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// F13
#[tokio::test]
async fn a_slow_redis_is_not_waited_for_beyond_the_timeout() {
    let server = Redis::start().await;
    let road = SlowRoad::to(&server).await;
    let mut settings = server.settings();
    settings.addresses[0].port = road.port;
    let (redis, kv) = up(settings).await;
    kv.put(&key("a"), "v".into(), LONG).await.unwrap();
    road.takes(SECOND * 2);
    let end = Instant::now() + SECOND * 4;
    while Instant::now() < end {
        let started = Instant::now();
        let outcomes = join_all((0..200).map(|_| kv.get(&PROBE))).await;
        assert!(outcomes.iter().all(Result::is_err));
        assert!(started.elapsed() < SECOND * 2, "{:?}", started.elapsed());
        eventually("all places are free again", PATIENCE, || (redis.under_way() == 0).then_some(())).await;
    }
    road.takes(Duration::ZERO);
    let found = eventually_async("it is quick again", PATIENCE, async || kv.get(&key("a")).await.ok()).await;
    assert_eq!(found.as_deref(), Some(&b"v"[..]));
}

/// F15
#[tokio::test]
async fn a_server_that_became_a_replica_is_not_written_to() {
    let (server, other) = (Redis::start().await, Redis::start().await);
    let (_, kv) = up(server.settings()).await;
    kv.put(&key("a"), "v".into(), LONG).await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let error = kv.put(&key("a"), "w".into(), LONG).await.unwrap_err();
    assert!(matches!(&error, KvError::Unreachable(why) if why.contains("READONLY")), "{error}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("it takes writes again", PATIENCE, async || kv.put(&key("a"), "w".into(), LONG).await.ok()).await;
}

/// A peer that says what a server says while it loads its data, until it is told otherwise.
async fn a_loading_server() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, loading) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(1)));
    let is_loading = Arc::clone(&loading);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let is_loading = Arc::clone(&is_loading);
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut buffer).await {
                    text.extend_from_slice(&buffer[..length]);
                    // Each command begins with the count of its words.
                    let commands = text.iter().filter(|byte| **byte == b'*').count();
                    text.clear();
                    let answer = if is_loading.load(Ordering::Relaxed) == 1 {
                        "-LOADING Redis is loading the dataset in memory\r\n"
                    } else {
                        "+OK\r\n"
                    };
                    if client.write_all(answer.repeat(commands).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, loading)
}

/// F15
#[tokio::test]
async fn a_server_that_is_loading_counts_as_away() {
    let (port, loading) = a_loading_server().await;
    let mut settings = Redis::start().await.settings();
    settings.addresses[0].port = port;
    let (redis, kv) = connect(settings);
    let error = kv.put(&key("a"), "v".into(), LONG).await.unwrap_err();
    assert!(
        matches!(&error, KvError::Unreachable(why) if why.contains("LOADING") || why.contains("loading")),
        "{error}"
    );
    assert!(matches!(redis.standing(), Standing::Down { .. }));
    loading.store(0, Ordering::Relaxed);
    eventually_async("it is in use", PATIENCE, async || kv.put(&key("a"), "v".into(), LONG).await.ok()).await;
}

/// F16
#[tokio::test]
async fn a_record_of_a_foreign_type_counts_as_none() {
    let server = Redis::start().await;
    let (_, kv) = up(server.settings()).await;
    for (name, command) in [("list", "RPUSH"), ("set", "SADD")] {
        kv.put(&key(name), "v".into(), LONG).await.unwrap();
        let rendered = server.cli(&["--scan"]).trim().to_owned();
        server.cli(&["DEL", &rendered]);
        server.cli(&[command, &rendered, "foreign"]);
        assert_eq!(kv.get(&key(name)).await, Ok(None), "{name}");
        assert_eq!(kv.take(&key(name)).await, Ok(None), "{name}");
        assert_eq!(kv.members(&key(name)).await, Ok(vec![]), "{name}");
        kv.put(&key(name), "v".into(), LONG).await.unwrap();
        assert_eq!(kv.get(&key(name)).await.unwrap().as_deref(), Some(&b"v"[..]), "{name}");
        server.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_and_no_secret() {
    let folder = Folder::new();
    let files = certificates(&folder, "redis");
    let server = Redis::start_with_tls(&files).await;
    let good = server.settings();
    let wrong_password = RedisSettings { password: Some(Secret::new("hunter2".to_owned())), ..good.clone() };
    let no_password = RedisSettings { username: None, password: None, ..good.clone() };
    let mut wrong_ca = good.clone();
    wrong_ca.tls.ca = Some(certificates(&folder, "other").ca);
    let mut no_certificate = good.clone();
    no_certificate.tls.identity = None;
    let mut no_tls = good.clone();
    no_tls.addresses[0].tls = false;
    let mut no_file = good.clone();
    no_file.tls.ca = Some(folder.path("nowhere.crt"));
    for (about, settings) in [
        ("a wrong password", wrong_password),
        ("no password", no_password),
        ("another CA", wrong_ca),
        ("no client certificate", no_certificate),
        ("no TLS", no_tls),
        ("a file that is not there", no_file),
    ] {
        let (redis, kv) = connect(settings);
        let error = kv.get(&key("a")).await.unwrap_err();
        let told = format!("{error} {:?} {redis:?}", redis.standing());
        assert!(!told.contains("hunter2") && !told.contains("let me in"), "{about}: {told}");
        assert!(!matches!(error, KvError::Busy), "{about}: {error}");
    }
    up(good).await;
}

/// What the user may not touch is refused, not taken for absent.
#[tokio::test]
async fn a_user_without_the_right_to_a_key_is_refused() {
    let folder = Folder::new();
    let server = Redis::start_with_tls(&certificates(&folder, "redis")).await;
    let (redis, kv) = up(RedisSettings { prefix: "other:".to_owned(), ..server.settings() }).await;
    let error = kv.get(&key("a")).await.unwrap_err();
    assert!(matches!(&error, KvError::Refused(why) if why.contains("NOPERM")), "{error}");
    assert_eq!(redis.standing(), Standing::Up, "the connection is good");
}
