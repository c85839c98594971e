//! How many tokens that are none one client address may make us ask about. Comes in: an address, and that the issuer said
//! no. Goes out: whether it may cause another question, or when.
//!
//! A good token costs nothing, so clients that behave never meet this; junk is answered from the negative memory first.
//! Bounded by two generations of addresses: when the younger is full, the older is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Tick;

const WINDOW: Duration = Duration::from_secs(60);
/// Keys of one generation.
const KEYS: usize = 10_000;

/// Shared by all workers; asked for tokens that nothing is known of.
#[derive(Debug)]
pub(super) struct Budget(Limiter<IpAddr>);

impl Budget {
    /// Refusals in a minute; 0 is no limit.
    pub(super) fn new(allowed: u32) -> Self {
        Self(Limiter::new(allowed))
    }

    /// Whether this address may cause a question. A client without an address is a process of this machine.
    ///
    /// # Errors
    /// How long until it may.
    pub(super) fn check(&self, client: Option<IpAddr>, now: Tick) -> Result<(), Duration> {
        self.0.check(client.map(network).as_ref(), now)
    }

    /// The issuer said no to a token of this address.
    pub(super) fn spend(&self, client: Option<IpAddr>, now: Tick) {
        self.0.spend(client.map(network), now);
    }
}

/// So many in a minute for each key (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct Limiter<K> {
    /// 0 is no limit.
    allowed: u32,
    spent: Mutex<Spent<K>>,
}

/// When each key will have regained what it spent.
#[derive(Debug)]
struct Spent<K> {
    young: HashMap<K, Tick>,
    old: HashMap<K, Tick>,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    pub(super) fn new(allowed: u32) -> Self {
        Self { allowed, spent: Mutex::new(Spent { young: HashMap::new(), old: HashMap::new() }) }
    }

    fn check(&self, key: Option<&K>, now: Tick) -> Result<(), Duration> {
        let (Some(key), true) = (key, self.allowed > 0) else { return Ok(()) };
        self.owes(&self.lock(), key, now)
    }

    fn spend(&self, key: Option<K>, now: Tick) {
        let (Some(key), true) = (key, self.allowed > 0) else { return };
        self.spend_in(&mut self.lock(), key, now);
    }

    /// Checks and spends at once, so that many who come together are no more than one after the other. Without a key
    /// nothing is counted.
    ///
    /// # Errors
    /// How long until it may.
    pub(super) fn take(&self, key: Option<K>, now: Tick) -> Result<(), Duration> {
        let (Some(key), true) = (key, self.allowed > 0) else { return Ok(()) };
        let mut spent = self.lock();
        self.owes(&spent, &key, now)?;
        self.spend_in(&mut spent, key, now);
        Ok(())
    }

    /// What was taken turned out to be nothing to count.
    pub(super) fn give_back(&self, key: Option<K>) {
        let Some(key) = key else { return };
        let each = self.each();
        let mut spent = self.lock();
        let Spent { young, old } = &mut *spent;
        if let Some(regained) = young.get_mut(&key).or_else(|| old.get_mut(&key)) {
            *regained = Tick::ZERO.plus(regained.since(Tick::ZERO).saturating_sub(each));
        }
    }

    fn owes(&self, spent: &Spent<K>, key: &K, now: Tick) -> Result<(), Duration> {
        let Some(regained) = spent.young.get(key).or_else(|| spent.old.get(key)) else { return Ok(()) };
        let owed = regained.since(now);
        let most = WINDOW.saturating_sub(self.each());
        if owed > most { Err(owed.saturating_sub(most)) } else { Ok(()) }
    }

    fn spend_in(&self, spent: &mut Spent<K>, key: K, now: Tick) {
        let before = spent.young.get(&key).or_else(|| spent.old.get(&key)).copied().unwrap_or(now);
        let regained = before.max(now).plus(self.each());
        if spent.young.len() >= KEYS && !spent.young.contains_key(&key) {
            spent.old = std::mem::take(&mut spent.young);
        }
        spent.young.insert(key, regained);
    }

    fn each(&self) -> Duration {
        WINDOW / self.allowed.max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Spent<K>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber has at least 2^64 addresses of IPv6 (RFC 6177).
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::ZERO.plus(Duration::from_millis(millis))
    }

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_client_that_fails_too_often_waits_and_the_others_do_not() {
        let budget = Budget::new(60);
        let (junk, good) = (client("192.0.2.1"), client("192.0.2.2"));
        for _ in 0..60 {
            assert_eq!(budget.check(junk, at(0)), Ok(()));
            budget.spend(junk, at(0));
        }
        assert_eq!(budget.check(junk, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(budget.check(good, at(0)), Ok(()));
        assert_eq!(budget.check(junk, at(999)), Err(Duration::from_millis(1)));
        assert_eq!(budget.check(junk, at(1000)), Ok(()));
        assert_eq!(budget.check(None, at(0)), Ok(()));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client() {
        let budget = Budget::new(1);
        budget.spend(client("2001:db8:0:1::1"), at(0));
        assert!(budget.check(client("2001:db8:0:1:ffff::2"), at(0)).is_err());
        assert!(budget.check(client("2001:db8:0:2::1"), at(0)).is_ok());
        budget.spend(client("::ffff:192.0.2.1"), at(0));
        assert!(budget.check(client("192.0.2.1"), at(0)).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_no_limit_is_none() {
        let budget = Budget::new(1);
        for number in 0..3 * KEYS as u32 {
            budget.spend(Some(IpAddr::V4(number.into())), at(0));
        }
        let spent = budget.0.lock();
        assert!(spent.young.len() + spent.old.len() <= 2 * KEYS);
        drop(spent);
        let open = Budget::new(0);
        open.spend(client("192.0.2.1"), at(0));
        assert_eq!(open.check(client("192.0.2.1"), at(0)), Ok(()));
    }
}
