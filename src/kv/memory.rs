//! Records in this process. Bounded in entries and in bytes: when it is full, what was not used for longest goes. Each
//! record has a lifetime of its own, judged by our clock; moka's own timer only frees what nobody asks for any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use subtle::ConstantTimeEq;

use super::lease::{Owner, REMEMBERED};
use super::{Key, MAX_MEMBERS};
use crate::clock::{Clock, Tick};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKvLimits {
    pub entries: u64,
    pub bytes: u64,
}

impl Default for MemoryKvLimits {
    fn default() -> Self {
        Self { entries: 200_000, bytes: 512 * 1024 * 1024 }
    }
}

/// What is kept now; it may lag behind by the records of the last moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKvCounts {
    pub entries: u64,
    pub bytes: u64,
}

/// A store in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryKv {
    clock: Clock,
    records: Cache<Key, Record>,
    leases: Cache<Key, Held>,
}

#[derive(Clone)]
struct Record {
    content: Content,
    ends: Tick,
    lifetime: Duration,
}

#[derive(Clone)]
enum Content {
    Value(Bytes),
    Members(Arc<[Member]>),
}

#[derive(Clone)]
struct Member {
    name: Bytes,
    ends: Tick,
}

/// Who has the lease, or had it last.
#[derive(Clone, Copy)]
struct Held {
    owner: Owner,
    until: Tick,
    remembered_until: Tick,
    lifetime: Duration,
}

/// What a record costs beside its key and its bytes: measured with 100,000 sessions.
const ENTRY_BYTES: usize = 300;

/// Leases that are remembered at once.
const MAX_LEASES: u64 = 100_000;

impl MemoryKv {
    pub fn new(limits: MemoryKvLimits, clock: Clock) -> Self {
        // An entry weighs at least its share, so that the bound in bytes is one in entries as well.
        let least = u32::try_from(limits.bytes / limits.entries.max(1)).unwrap_or(u32::MAX);
        let weigh = move |key: &Key, record: &Record| {
            let bytes = ENTRY_BYTES + key.size() + record.content.size();
            u32::try_from(bytes).unwrap_or(u32::MAX).max(least)
        };
        let records = Cache::builder()
            .max_capacity(limits.bytes)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetimes)
            .build();
        let leases = Cache::builder()
            .max_capacity(MAX_LEASES)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Lifetimes)
            .build();
        Self { clock, records, leases }
    }

    pub fn counts(&self) -> MemoryKvCounts {
        MemoryKvCounts { entries: self.records.entry_count(), bytes: self.records.weighted_size() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Bytes> {
        self.records.get(key)?.value(self.clock.tick())
    }

    pub(super) fn renew(&self, key: &Key, lifetime: Duration) -> Option<Bytes> {
        let now = self.clock.tick();
        let mut found = None;
        self.records.entry_by_ref(key).and_compute_with(|entry| {
            found = entry.and_then(|entry| entry.into_value().value(now));
            match &found {
                Some(value) if !lifetime.is_zero() => Op::Put(self.record(value.clone(), lifetime)),
                _ => Op::Nop,
            }
        });
        found
    }

    pub(super) fn put(&self, key: &Key, value: Bytes, lifetime: Duration) {
        if lifetime.is_zero() {
            self.records.invalidate(key);
        } else {
            self.records.insert(key.clone(), self.record(value, lifetime));
        }
    }

    pub(super) fn take(&self, key: &Key) -> Option<Bytes> {
        self.records.remove(key)?.value(self.clock.tick())
    }

    pub(super) fn delete(&self, key: &Key) -> bool {
        self.records.remove(key).is_some_and(|record| record.is_there(self.clock.tick()))
    }

    pub(super) fn put_if_absent(&self, key: &Key, value: Bytes, lifetime: Duration) -> bool {
        let now = self.clock.tick();
        let put = self.records.entry_by_ref(key).and_compute_with(|entry| match entry {
            Some(entry) if entry.value().is_there(now) => Op::Nop,
            _ if lifetime.is_zero() => Op::Nop,
            _ => Op::Put(self.record(value, lifetime)),
        });
        matches!(put, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
    }

    pub(super) fn delete_if(&self, key: &Key, expected: &[u8]) -> bool {
        let now = self.clock.tick();
        let deleted = self.records.entry_by_ref(key).and_compute_with(|entry| {
            let found = entry.and_then(|entry| entry.into_value().value(now));
            if found.is_some_and(|value| value.ct_eq(expected).into()) { Op::Remove } else { Op::Nop }
        });
        matches!(deleted, CompResult::Removed(_))
    }

    pub(super) fn add_member(&self, key: &Key, member: &[u8], lifetime: Duration) {
        let now = self.clock.tick();
        let added = Member { name: Bytes::copy_from_slice(member), ends: now.plus(lifetime) };
        self.records.entry_by_ref(key).and_compute_with(|entry| {
            let mut members = entry.map_or_else(Vec::new, |entry| entry.into_value().members_but(member, now));
            members.push(added);
            if members.len() > MAX_MEMBERS {
                members.sort_by_key(|member| std::cmp::Reverse(member.ends));
                members.truncate(MAX_MEMBERS);
            }
            set_of(members, now)
        });
    }

    pub(super) fn members(&self, key: &Key) -> Vec<Bytes> {
        let now = self.clock.tick();
        let record = self.records.get(key).filter(|record| record.is_there(now));
        match record.map(|record| record.content) {
            Some(Content::Members(members)) => {
                members.iter().filter(|member| now < member.ends).map(|member| member.name.clone()).collect()
            }
            Some(Content::Value(_)) | None => Vec::new(),
        }
    }

    pub(super) fn remove_member(&self, key: &Key, member: &[u8]) {
        let now = self.clock.tick();
        self.records.entry_by_ref(key).and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
            Some(record) if matches!(record.content, Content::Members(_)) => {
                set_of(record.members_but(member, now), now)
            }
            _ => Op::Nop,
        });
    }

    pub(super) fn lease(&self, key: &Key, owner: &Owner, lifetime: Duration) -> Option<Duration> {
        let now = self.clock.tick();
        let mut left = None;
        self.leases.entry_by_ref(key).and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
            Some(held) if now < held.until => {
                left = Some(held.until.since(now));
                Op::Nop
            }
            _ => Op::Put(Held {
                owner: *owner,
                until: now.plus(lifetime),
                remembered_until: now.plus(lifetime + REMEMBERED),
                lifetime: lifetime + REMEMBERED,
            }),
        });
        left
    }

    pub(super) fn put_leased(&self, key: &Key, owner: &Owner, value: Bytes, lifetime: Duration) -> bool {
        let now = self.clock.tick();
        let mut replaced = false;
        // The lock on the lease is held while the record is written, so that no other lease is given in between.
        self.leases.entry_by_ref(key).and_compute_with(|entry| {
            let is_ours = entry.is_some_and(|entry| {
                let held = entry.into_value();
                held.owner == *owner && now < held.remembered_until
            });
            replaced = is_ours && self.replace(key, value, lifetime, now);
            Op::Nop
        });
        replaced
    }

    pub(super) fn release(&self, key: &Key, owner: &Owner) {
        let now = self.clock.tick();
        self.leases.entry_by_ref(key).and_compute_with(|entry| match entry.map(moka::Entry::into_value) {
            // Ended, not forgotten: its write may still be under way.
            Some(held) if held.owner == *owner && now < held.until => Op::Put(Held { until: now, ..held }),
            _ => Op::Nop,
        });
    }

    fn replace(&self, key: &Key, value: Bytes, lifetime: Duration, now: Tick) -> bool {
        let replaced = self.records.entry_by_ref(key).and_compute_with(|entry| match entry {
            Some(entry) if entry.value().is_there(now) && !lifetime.is_zero() => Op::Put(self.record(value, lifetime)),
            _ => Op::Nop,
        });
        matches!(replaced, CompResult::ReplacedWith(_))
    }

    fn record(&self, value: Bytes, lifetime: Duration) -> Record {
        Record { content: Content::Value(value), ends: self.clock.tick().plus(lifetime), lifetime }
    }
}

impl std::fmt::Debug for MemoryKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryKv({:?})", self.counts())
    }
}

impl Record {
    fn is_there(&self, now: Tick) -> bool {
        now < self.ends
    }

    fn value(self, now: Tick) -> Option<Bytes> {
        match self.content {
            Content::Value(value) if now < self.ends => Some(value),
            Content::Value(_) | Content::Members(_) => None,
        }
    }

    /// The members that are still there, without this one.
    fn members_but(&self, name: &[u8], now: Tick) -> Vec<Member> {
        match &self.content {
            Content::Members(members) => {
                members.iter().filter(|member| now < member.ends && member.name != name).cloned().collect()
            }
            Content::Value(_) => Vec::new(),
        }
    }
}

/// A set lives as long as its last member.
fn set_of(members: Vec<Member>, now: Tick) -> Op<Record> {
    let ends = members.iter().map(|member| member.ends).max().filter(|ends| now < *ends);
    ends.map_or(Op::Remove, |ends| {
        Op::Put(Record { content: Content::Members(members.into()), ends, lifetime: ends.since(now) })
    })
}

impl Content {
    fn size(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Members(members) => {
                members.iter().map(|member| size_of::<Member>() + member.name.len()).sum::<usize>()
            }
        }
    }
}

/// When moka may drop an entry that nobody asks for. Later than our clock says it ends, so that only one of the two
/// decides what is seen.
struct Lifetimes;

const SLACK: Duration = Duration::from_secs(60);

/// What has a lifetime.
trait Lasting {
    fn lifetime(&self) -> Duration;
}

impl Lasting for Record {
    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl Lasting for Held {
    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl<V: Lasting> Expiry<Key, V> for Lifetimes {
    fn expire_after_create(&self, _: &Key, value: &V, _: Instant) -> Option<Duration> {
        Some(value.lifetime().saturating_add(SLACK))
    }

    fn expire_after_update(&self, _: &Key, value: &V, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(value.lifetime().saturating_add(SLACK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Time};

    const MINUTE: Duration = Duration::from_secs(60);

    fn store(limits: MemoryKvLimits) -> MemoryKv {
        MemoryKv::new(limits, ManualClock::at(Time::from_seconds(0)).clock())
    }

    fn key(number: u32) -> Key {
        Key::new("test", &[&number.to_be_bytes()])
    }

    #[test]
    fn a_record_that_is_renewed_lives_on_and_one_that_is_over_does_not_come_back() {
        let hands = ManualClock::at(Time::from_seconds(0));
        let store = MemoryKv::new(MemoryKvLimits::default(), hands.clock());
        store.put(&key(1), Bytes::from_static(b"a"), MINUTE);
        for _ in 0..3 {
            hands.advance(MINUTE / 2);
            assert_eq!(store.renew(&key(1), MINUTE).unwrap(), "a");
        }
        hands.advance(MINUTE);
        assert!(store.renew(&key(1), MINUTE).is_none());
        assert!(store.get(&key(1)).is_none());
    }

    #[test]
    fn entries_are_bounded_and_the_latest_stay() {
        let store = store(MemoryKvLimits { entries: 100, bytes: 1 << 20 });
        for number in 0..10_000 {
            store.put(&key(number), Bytes::from_static(b"x"), MINUTE);
        }
        store.records.run_pending_tasks();
        assert!(store.counts().entries <= 100, "{:?}", store.counts());
        assert!(store.get(&key(9_999)).is_some());
        assert!(store.get(&key(0)).is_none());
    }

    #[test]
    fn bytes_are_bounded_whatever_the_size_of_a_record() {
        let store = store(MemoryKvLimits { entries: 1_000_000, bytes: 1 << 20 });
        for number in 0..1000 {
            store.put(&key(number), vec![0; 10_000].into(), MINUTE);
        }
        store.records.run_pending_tasks();
        assert!(store.counts().bytes <= 1 << 20, "{:?}", store.counts());
        assert!(store.counts().entries >= 50, "{:?}", store.counts());
        store.put(&key(5_000), vec![0; 2 << 20].into(), MINUTE);
        store.records.run_pending_tasks();
        assert!(store.counts().bytes <= 1 << 20, "one that is larger than all is not kept");
    }

    #[test]
    fn a_full_set_keeps_those_that_last_longest() {
        let store = store(MemoryKvLimits::default());
        for number in 0..u64::try_from(MAX_MEMBERS).unwrap() + 10 {
            store.add_member(&key(1), &number.to_be_bytes(), Duration::from_secs(10 + number));
        }
        let members = store.members(&key(1));
        assert_eq!(members.len(), MAX_MEMBERS);
        assert!(!members.iter().any(|member| member[..] == 9_u64.to_be_bytes()));
    }
}
