//! The contract of the stores: memory, one Redis server with TLS, a Redis cluster, a set that Sentinel watches.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use postern::clock::{Clock, ManualClock, Time};
use postern::control::Control;
use postern::kv::{Key, Kv, Lease, Leased, MAX_MEMBERS, MemoryKv, MemoryKvLimits, RedisKv, RedisSettings};

use crate::support::raw::PATIENCE;
use crate::support::redis::{Cluster, Redis, Watched, certificates};
use crate::support::{Folder, eventually_async};

const SOON: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(600);

/// A store, and the clock that its lifetimes follow, where a test holds it.
struct Store {
    kv: Kv,
    hands: Option<ManualClock>,
}

impl Store {
    fn memory() -> Self {
        let hands = ManualClock::at(Time::from_seconds(1_700_000_000));
        let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits::default(), hands.clock()));
        Self { kv, hands: Some(hands) }
    }

    fn redis(settings: RedisSettings) -> Self {
        let redis = RedisKv::new(settings, Clock::system(), Control::current());
        redis.start();
        Self { kv: Kv::Redis(redis), hands: None }
    }

    /// Looks again and again, while time goes on, until the condition holds.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        eventually_async(what, PATIENCE, async || {
            if let Some(hands) = &self.hands {
                hands.advance(Duration::from_millis(10));
            }
            holds().await.then_some(())
        })
        .await;
    }

    async fn get(&self, key: &Key) -> Option<Bytes> {
        self.kv.get(key).await.expect("the store is there")
    }

    async fn put(&self, key: &Key, value: &'static str, lifetime: Duration) {
        self.kv.put(key, value.into(), lifetime).await.expect("the store is there");
    }

    async fn lease(&self, key: &Key, lifetime: Duration) -> Leased {
        Lease::take(&self.kv, key, lifetime).await.expect("the store is there")
    }

    async fn granted(&self, key: &Key, lifetime: Duration) -> Lease {
        match self.lease(key, lifetime).await {
            Leased::Granted(lease) => lease,
            Leased::Held(left) => panic!("it is held for {left:?}"),
        }
    }

    async fn members(&self, key: &Key) -> Vec<Bytes> {
        let mut members = self.kv.members(key).await.expect("the store is there");
        members.sort();
        members
    }

    async fn add(&self, key: &Key, member: &str, lifetime: Duration) {
        self.kv.add_member(key, member.as_bytes(), lifetime).await.expect("the store is there");
    }
}

/// Every test has keys of its own, in whatever store.
fn key(name: &str) -> Key {
    Key::new("contract", &[name.as_bytes()])
}

async fn a_record_is_there_until_its_time_is_over(store: &Store) {
    let key = key("lifetime");
    store.put(&key, "v", SOON).await;
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"v"[..]));
    store.until("its time is over", async || store.get(&key).await.is_none()).await;
    assert!(!store.kv.delete(&key).await.unwrap(), "there is nothing left to delete");
    assert_eq!(store.kv.take(&key).await.unwrap(), None);
}

async fn a_record_is_replaced_with_its_lifetime(store: &Store) {
    let (replaced, shortened) = (key("replaced"), key("shortened"));
    store.put(&replaced, "one", SOON).await;
    store.put(&replaced, "two", LONG).await;
    store.put(&shortened, "one", LONG).await;
    store.put(&shortened, "two", SOON).await;
    store.until("the shorter one is over", async || store.get(&shortened).await.is_none()).await;
    assert_eq!(store.get(&replaced).await.as_deref(), Some(&b"two"[..]));
    store.put(&replaced, "three", Duration::ZERO).await;
    assert_eq!(store.get(&replaced).await, None, "a lifetime of zero keeps nothing");
}

async fn a_record_that_is_renewed_lives_on(store: &Store) {
    let (renewed, left) = (key("renewed"), key("left alone"));
    store.put(&renewed, "v", SOON).await;
    store.put(&left, "v", SOON).await;
    let renew = async |lifetime| store.kv.renew(&renewed, lifetime).await.expect("the store is there");
    assert_eq!(renew(LONG).await.as_deref(), Some(&b"v"[..]));
    store.until("the other is over", async || store.get(&left).await.is_none()).await;
    assert_eq!(renew(Duration::ZERO).await.as_deref(), Some(&b"v"[..]), "nothing is not a lifetime to renew for");
    assert_eq!(renew(SOON).await.as_deref(), Some(&b"v"[..]));
    store.until("the shorter time counts", async || store.get(&renewed).await.is_none()).await;
    assert_eq!(renew(LONG).await, None, "what is over does not come back");
    assert_eq!(store.get(&renewed).await, None);
}

async fn any_bytes_are_kept(store: &Store) {
    let large: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    for (number, value) in
        [vec![], vec![0], b"\r\n$-1\r\n".to_vec(), (0..=255).collect(), large].into_iter().enumerate()
    {
        let key = key(&format!("bytes {number}"));
        store.kv.put(&key, value.clone().into(), LONG).await.unwrap();
        assert!(store.get(&key).await.as_deref() == Some(&value[..]), "value {number}");
    }
}

async fn of_any_number_of_takers_one_gets_it(store: &Store) {
    let key = key("taken");
    store.put(&key, "v", LONG).await;
    let takers = join_all((0..32).map(|_| store.kv.take(&key))).await;
    let got: Vec<_> = takers.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(got, ["v"]);
    assert_eq!(store.get(&key).await, None);
}

async fn of_any_number_of_writers_one_is_first(store: &Store) {
    let key = key("first");
    let put = |number: u8| store.kv.put_if_absent(&key, vec![number].into(), SOON);
    let writers = join_all((0..32).map(put)).await;
    assert_eq!(writers.into_iter().filter(|first| *first.as_ref().unwrap()).count(), 1);
    let winner = store.get(&key).await.unwrap();
    assert!(!store.kv.put_if_absent(&key, "late".into(), LONG).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap(), winner, "who came later changed nothing");
    store.until("its time is over", async || store.kv.put_if_absent(&key, "next".into(), LONG).await.unwrap()).await;
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"next"[..]));
    let none = Key::new("contract", &[b"none"]);
    assert!(!store.kv.put_if_absent(&none, "v".into(), Duration::ZERO).await.unwrap());
    assert_eq!(store.get(&none).await, None);
}

async fn a_record_is_deleted_only_if_it_is_the_one_expected(store: &Store) {
    let key = key("compared");
    assert!(!store.kv.delete_if(&key, b"v").await.unwrap());
    store.put(&key, "v", LONG).await;
    assert!(!store.kv.delete_if(&key, b"w").await.unwrap());
    assert!(!store.kv.delete_if(&key, b"").await.unwrap());
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"v"[..]));
    assert!(store.kv.delete_if(&key, b"v").await.unwrap());
    assert_eq!(store.get(&key).await, None);
}

async fn kinds_of_records_are_apart(store: &Store) {
    let key = key("kinds");
    store.put(&key, "v", LONG).await;
    assert_eq!(store.get(&key.beside("other")).await, None);
    assert_eq!(store.members(&key).await, [] as [&[u8]; 0], "a record is no set");
    store.kv.remove_member(&key, b"v").await.unwrap();
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"v"[..]));
    let set = key.beside("set");
    store.add(&set, "m", LONG).await;
    assert_eq!(store.get(&set).await, None, "a set is no record");
    assert_eq!(store.kv.take(&set).await.unwrap(), None);
    store.add(&set, "m", LONG).await;
    store.put(&set, "v", LONG).await;
    assert_eq!(store.get(&set).await.as_deref(), Some(&b"v"[..]), "a record replaces whatever was there");
}

async fn a_set_has_members_with_lifetimes_of_their_own(store: &Store) {
    let key = key("set");
    assert_eq!(store.members(&key).await, [] as [&[u8]; 0]);
    for (member, lifetime) in [("a", SOON), ("b", LONG), ("c", LONG), ("b", LONG), ("\0\r\n", LONG)] {
        store.add(&key, member, lifetime).await;
    }
    assert_eq!(store.members(&key).await, ["\0\r\n", "a", "b", "c"]);
    store.kv.remove_member(&key, b"c").await.unwrap();
    store.kv.remove_member(&key, b"nobody").await.unwrap();
    store.until("one member's time is over", async || store.members(&key).await == ["\0\r\n", "b"]).await;
    assert!(store.kv.delete(&key).await.unwrap());
    assert_eq!(store.members(&key).await, [] as [&[u8]; 0]);
    assert!(!store.kv.delete(&key).await.unwrap());
}

async fn a_set_ends_with_its_last_member(store: &Store) {
    let (brief, renewed) = (key("brief set"), key("renewed set"));
    store.add(&brief, "a", SOON).await;
    store.add(&renewed, "a", SOON).await;
    store.add(&renewed, "a", LONG).await;
    store.until("the set has ended", async || store.members(&brief).await.is_empty()).await;
    assert!(!store.kv.delete(&brief).await.unwrap(), "nothing is left of it");
    assert_eq!(store.members(&renewed).await, ["a"], "adding a member again sets its time anew");
}

async fn a_set_is_bounded(store: &Store) {
    let key = key("bounded set");
    let add = |number: usize| {
        let lifetime = LONG + Duration::from_secs(u64::try_from(number).unwrap());
        let name = format!("{number:05}");
        let (store, key) = (store, &key);
        async move { store.add(key, &name, lifetime).await }
    };
    for batch in (0..MAX_MEMBERS + 20).collect::<Vec<_>>().chunks(100) {
        join_all(batch.iter().map(|number| add(*number))).await;
    }
    let members = store.members(&key).await;
    assert_eq!(members.len(), MAX_MEMBERS);
    assert_eq!(members[0], "00020", "those went that end first");
}

async fn a_lease_has_one_holder(store: &Store) {
    let key = key("lease");
    let all = join_all((0..32).map(|_| store.lease(&key, LONG))).await;
    let (granted, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|leased| matches!(leased, Leased::Granted(_)));
    assert_eq!(granted.len(), 1);
    for leased in held {
        assert!(matches!(leased, Leased::Held(left) if left > Duration::ZERO && left <= LONG), "{leased:?}");
    }
    assert!(matches!(store.lease(&Key::new("contract", &[b"another"]), LONG).await, Leased::Granted(_)));
    for leased in granted {
        let Leased::Granted(lease) = leased else { continue };
        lease.release().await.unwrap();
    }
    assert!(matches!(store.lease(&key, LONG).await, Leased::Granted(_)), "a released lease is free at once");
}

async fn a_lease_ends_by_itself(store: &Store) {
    let key = key("ending lease");
    let lost = store.granted(&key, SOON).await;
    assert!(matches!(store.lease(&key, LONG).await, Leased::Held(_)));
    let mut next = None;
    store
        .until("the lease has run out", async || {
            if let Leased::Granted(lease) = store.lease(&key, LONG).await {
                next = Some(lease);
            }
            next.is_some()
        })
        .await;
    lost.release().await.unwrap();
    assert!(matches!(store.lease(&key, LONG).await, Leased::Held(_)), "who lost it can't release it");
}

async fn a_write_under_a_lease_is_guarded(store: &Store) {
    let key = key("guarded");
    store.put(&key, "old", LONG).await;
    let first = store.granted(&key, SOON).await;
    assert!(first.put("first".into(), LONG).await.unwrap());
    let mut second = None;
    store
        .until("the lease has run out", async || {
            // It may have run out: as long as nobody took it, its holder's work counts.
            assert!(first.put("first again".into(), LONG).await.unwrap());
            if let Leased::Granted(lease) = store.lease(&key, LONG).await {
                second = Some(lease);
            }
            second.is_some()
        })
        .await;
    assert!(!first.put("too late".into(), LONG).await.unwrap());
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"first again"[..]));
    let second = second.unwrap();
    assert!(second.put("second".into(), SOON).await.unwrap());
    assert_eq!(store.get(&key).await.as_deref(), Some(&b"second"[..]));
    store.until("the record's time is over", async || store.get(&key).await.is_none()).await;
    assert!(!second.put("back".into(), LONG).await.unwrap(), "a record that has ended does not come back");
    store.put(&key, "anew", LONG).await;
    assert!(store.kv.delete(&key).await.unwrap());
    assert!(!second.put("back".into(), LONG).await.unwrap(), "one that was ended does not come back");
    assert_eq!(store.get(&key).await, None);
}

async fn a_write_may_follow_the_release(store: &Store) {
    let key = key("released");
    store.put(&key, "old", LONG).await;
    let lease = store.granted(&key, LONG).await;
    assert!(lease.put("new".into(), LONG).await.unwrap());
    lease.release().await.unwrap();
    let next = store.granted(&key, LONG).await;
    assert!(next.put("newer".into(), LONG).await.unwrap());
}

async fn clones_share_the_store(store: &Store) {
    let key = key("shared");
    let other = store.kv.clone();
    store.put(&key, "v", LONG).await;
    assert_eq!(other.get(&key).await.unwrap().as_deref(), Some(&b"v"[..]));
}

/// One line for each promise. Each runs on a store of its own, so that those who move a clock move nobody else's.
macro_rules! keeps_the_contract {
    ($store:expr) => {
        tokio::join!(
            async { a_record_is_there_until_its_time_is_over(&$store).await },
            async { a_record_is_replaced_with_its_lifetime(&$store).await },
            async { a_record_that_is_renewed_lives_on(&$store).await },
            async { any_bytes_are_kept(&$store).await },
            async { of_any_number_of_takers_one_gets_it(&$store).await },
            async { of_any_number_of_writers_one_is_first(&$store).await },
            async { a_record_is_deleted_only_if_it_is_the_one_expected(&$store).await },
            async { kinds_of_records_are_apart(&$store).await },
            async { a_set_has_members_with_lifetimes_of_their_own(&$store).await },
            async { a_set_ends_with_its_last_member(&$store).await },
            async { a_set_is_bounded(&$store).await },
            async { a_lease_has_one_holder(&$store).await },
            async { a_lease_ends_by_itself(&$store).await },
            async { a_write_under_a_lease_is_guarded(&$store).await },
            async { a_write_may_follow_the_release(&$store).await },
            async { clones_share_the_store(&$store).await },
        )
    };
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    keeps_the_contract!(Store::memory());
}

#[tokio::test]
async fn redis_with_tls_and_a_user_keeps_the_contract() {
    let folder = Folder::new();
    let redis = Redis::start_with_tls(&certificates(&folder, "redis")).await;
    let store = Store::redis(redis.settings());
    keeps_the_contract!(store);
    let names = redis.cli(&["--scan"]);
    assert!(names.lines().count() > 10, "{names}");
    for name in names.lines() {
        let (kind, id) = name.split_once('{').expect("a kind and an id");
        assert!(
            ["postern:contract:", "postern:set:", "postern:lease:", "postern:lease-last:"].contains(&kind),
            "{name}"
        );
        assert!(id.len() == 44 && id.ends_with('}'), "a digest, which tells nothing: {name}");
    }
}

#[tokio::test]
async fn a_redis_cluster_keeps_the_contract() {
    let cluster = Cluster::start().await;
    let store = Store::redis(cluster.settings());
    keeps_the_contract!(store);
    let used = cluster.nodes.iter().filter(|node| node.cli(&["DBSIZE"]).trim() != "0").count();
    assert!(used >= 3, "the records lie on several nodes: {used}");
}

#[tokio::test]
async fn redis_behind_sentinel_keeps_the_contract() {
    let watched = Watched::start().await;
    let store = Store::redis(watched.settings());
    keeps_the_contract!(store);
}
