//! The master dies, or is made a replica: Sentinel and Cluster name another, and the stores follow.

use std::time::{Duration, Instant};

use postern::kv::{Key, Kv, RedisKv};

use super::outages::{connect, key};
use crate::support::eventually_async;
use crate::support::redis::{Cluster, Watched};

const LONG: Duration = Duration::from_secs(600);

/// A failover takes its time: the others must miss the master, agree, and elect.
const FAILOVER: Duration = Duration::from_secs(30);

async fn put(kv: &Kv, key: &Key, value: &'static str) {
    eventually_async("a write", FAILOVER, async || kv.put(key, value.into(), LONG).await.ok()).await;
}

async fn read(kv: &Kv, key: &Key) -> Option<bytes::Bytes> {
    eventually_async("a read", FAILOVER, async || kv.get(key).await.ok()).await
}

/// Asks until it answers again, and sees that nobody waited longer than the timeout allows.
async fn until_it_answers(kv: &Kv, key: &Key) {
    eventually_async("it takes writes again", FAILOVER, async || {
        let started = Instant::now();
        let outcome = kv.put(key, "after".into(), LONG).await;
        assert!(started.elapsed() < Duration::from_secs(2), "a command took {:?}", started.elapsed());
        outcome.ok()
    })
    .await;
}

/// F15
#[tokio::test]
async fn a_master_that_dies_is_followed_by_the_one_that_sentinel_names() {
    let mut watched = Watched::start().await;
    let (redis, kv) = connect(watched.settings());
    put(&kv, &key("kept"), "before").await;
    assert_eq!(watched.servers[0].cli(&["WAIT", "1", "5000"]).trim().parse::<u32>().ok(), Some(1));
    watched.servers[0].kill();
    until_it_answers(&kv, &key("new")).await;
    assert_eq!(read(&kv, &key("kept")).await.as_deref(), Some(&b"before"[..]));
    assert!(watched.servers[1].cli(&["ROLE"]).starts_with("master"));
    assert!(redis.connects() >= 2);
}

/// F15
#[tokio::test]
async fn a_planned_failover_of_sentinel_loses_nothing() {
    let watched = Watched::start().await;
    let (_, kv) = connect(watched.settings());
    put(&kv, &key("kept"), "before").await;
    assert!(watched.sentinels[0].cli(&["SENTINEL", "FAILOVER", "shop"]).contains("OK"));
    eventually_async("the other is the master", FAILOVER, async || {
        watched.servers[1].cli(&["ROLE"]).starts_with("master").then_some(())
    })
    .await;
    until_it_answers(&kv, &key("new")).await;
    assert_eq!(read(&kv, &key("kept")).await.as_deref(), Some(&b"before"[..]));
    assert!(watched.servers[1].cli(&["EXISTS", &rendered(&watched.servers[1])]).trim() == "1");
}

fn rendered(server: &crate::support::redis::Redis) -> String {
    server.cli(&["--scan"]).lines().next().expect("a record").to_owned()
}

/// F15
#[tokio::test]
async fn a_node_of_a_cluster_that_dies_is_followed_by_its_replica() {
    let mut cluster = Cluster::start().await;
    cluster.until_replicated().await;
    let (_, kv) = connect(cluster.settings());
    let keys: Vec<Key> = (0..30).map(|number| key(&format!("kept {number}"))).collect();
    for key in &keys {
        put(&kv, key, "before").await;
    }
    let victim = cluster.nodes.iter().position(|node| node.cli(&["ROLE"]).starts_with("master")).expect("a master");
    assert_eq!(cluster.nodes[victim].cli(&["WAIT", "1", "5000"]).trim().parse::<u32>().ok(), Some(1));
    cluster.nodes[victim].kill();
    for key in &keys {
        until_it_answers(&kv, &key.beside("new")).await;
        assert_eq!(read(&kv, key).await.as_deref(), Some(&b"before"[..]));
    }
    cluster.until_whole().await;
}

#[tokio::test]
async fn the_next_sentinel_is_asked_when_one_is_away() {
    let mut watched = Watched::start().await;
    watched.sentinels[0].kill();
    let (redis, _) = connect(watched.settings());
    redis.ping().await.expect("the others know the master");
}

/// F15: `MOVED`, without any node going away.
#[tokio::test]
async fn slots_that_move_are_followed() {
    let cluster = Cluster::start().await;
    cluster.until_replicated().await;
    let (redis, kv) = connect(cluster.settings());
    let keys: Vec<Key> = (0..30).map(|number| key(&format!("moved {number}"))).collect();
    for key in &keys {
        put(&kv, key, "before").await;
    }
    let replicas: Vec<_> = cluster.nodes.iter().filter(|node| node.cli(&["ROLE"]).starts_with("slave")).collect();
    for replica in replicas {
        assert!(replica.cli(&["CLUSTER", "FAILOVER"]).contains("OK"));
        eventually_async("the replica has taken over", FAILOVER, async || {
            replica.cli(&["ROLE"]).starts_with("master").then_some(())
        })
        .await;
    }
    for key in &keys {
        assert_eq!(read(&kv, key).await.as_deref(), Some(&b"before"[..]));
        put(&kv, key, "after").await;
    }
    is_calm(&redis, &kv, &keys).await;
}

/// Once the moves are known, commands no longer fail.
async fn is_calm(redis: &RedisKv, kv: &Kv, keys: &[Key]) {
    let connects = redis.connects();
    for key in keys {
        assert_eq!(kv.get(key).await.unwrap().as_deref(), Some(&b"after"[..]));
    }
    assert_eq!(redis.connects(), connects);
}
