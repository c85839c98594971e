//! A cluster and a set behind Sentinel that demand TLS, client certificates and passwords: the right ones open, any wrong
//! one does not.

use std::time::Duration;

use postern::kv::{Key, KvError, RedisMode, RedisSettings, RedisTls};
use postern::seal::Secret;

use super::outages::{connect, key};
use crate::support::Folder;
use crate::support::eventually_async;
use crate::support::raw::PATIENCE;
use crate::support::redis::{GuardedCluster, GuardedWatched, certificates};

const LONG: Duration = Duration::from_secs(600);

async fn opens(settings: RedisSettings) {
    let (_, kv) = connect(settings);
    let keys: Vec<Key> = (0..20).map(|number| key(&format!("guarded {number}"))).collect();
    for key in &keys {
        eventually_async("a write", PATIENCE, async || kv.put(key, "v".into(), LONG).await.ok()).await;
        assert_eq!(kv.get(key).await.unwrap().as_deref(), Some(&b"v"[..]));
    }
}

async fn stays_shut(about: &str, settings: RedisSettings) {
    let (redis, kv) = connect(settings);
    let error = kv.put(&key("a"), "v".into(), LONG).await.expect_err(about);
    assert!(!matches!(error, KvError::Busy), "{about}: {error}");
    let told = format!("{error} {:?}", redis.standing());
    assert!(!told.contains("of-the-"), "{about}: a password is told: {told}");
}

/// Each of what is demanded, wrong or left out.
async fn wrong_ones_stay_shut(good: &RedisSettings) {
    let folder = Folder::new();
    let wrong = Some(Secret::new("guessed".to_owned()));
    stays_shut("a wrong password", RedisSettings { password: wrong, ..good.clone() }).await;
    stays_shut("no password", RedisSettings { password: None, ..good.clone() }).await;
    let no_certificate = RedisTls { identity: None, ..good.tls.clone() };
    stays_shut("no client certificate", RedisSettings { tls: no_certificate, ..good.clone() }).await;
    let other_ca = RedisTls { ca: Some(certificates(&folder, "other").ca), ..good.tls.clone() };
    stays_shut("another CA", RedisSettings { tls: other_ca, ..good.clone() }).await;
}

#[tokio::test]
async fn a_guarded_cluster_opens_to_whom_it_should() {
    let cluster = GuardedCluster::start().await;
    opens(cluster.settings()).await;
    wrong_ones_stay_shut(&cluster.settings()).await;
}

#[tokio::test]
async fn a_guarded_set_behind_sentinel_opens_to_whom_it_should() {
    let watched = GuardedWatched::start().await;
    opens(watched.settings()).await;
    wrong_ones_stay_shut(&watched.settings()).await;
    let mode = |password: Option<&str>| RedisMode::Sentinel {
        master: "shop".to_owned(),
        username: None,
        password: password.map(|password| Secret::new(password.to_owned())),
    };
    for (about, password) in [("a wrong password for the sentinels", Some("guessed")), ("none for the sentinels", None)]
    {
        stays_shut(about, RedisSettings { mode: mode(password), ..watched.settings() }).await;
    }
}
