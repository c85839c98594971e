//! How many credentials that are none one client address, or one user name, may make us ask about. Comes in: whose they
//! are, and that the issuer said no. Goes out: whether they may cause another question, or when.
//!
//! A good credential costs nothing, so clients that behave never meet this; junk is answered from the negative memory first.
//! Bounded by two generations of keys: when the younger is full, the older is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Tick;

const WINDOW: Duration = Duration::from_secs(60);
/// Addresses, or names, of one generation.
const KEYS: usize = 10_000;

/// Shared by all workers; asked for credentials that nothing is known of.
#[derive(Debug)]
pub(super) struct Budget<K> {
    /// Refusals in a minute; 0 is no limit.
    allowed: u32,
    spent: Mutex<Spent<K>>,
}

/// When each will have regained what it spent (the generic cell rate algorithm).
#[derive(Debug)]
struct Spent<K> {
    young: HashMap<K, Tick>,
    old: HashMap<K, Tick>,
}

impl<K: Copy + Eq + Hash> Budget<K> {
    pub(super) fn new(allowed: u32) -> Self {
        Self { allowed, spent: Mutex::new(Spent { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// Whether this one may cause a question; nobody always may: a client without an address is a process of this machine.
    ///
    /// # Errors
    /// How long until it may.
    pub(super) fn check(&self, key: Option<K>, now: Tick) -> Result<(), Duration> {
        let (Some(key), true) = (key, self.allowed > 0) else { return Ok(()) };
        let spent = self.lock();
        let Some(regained) = spent.young.get(&key).or_else(|| spent.old.get(&key)) else { return Ok(()) };
        let owed = regained.since(now);
        let most = WINDOW.saturating_sub(self.each());
        if owed > most { Err(owed.saturating_sub(most)) } else { Ok(()) }
    }

    /// The issuer said no to a credential of this one; or may yet say so, see [`Budget::give_back`].
    pub(super) fn spend(&self, key: Option<K>, now: Tick) {
        let (Some(key), true) = (key, self.allowed > 0) else { return };
        let mut spent = self.lock();
        let before = spent.young.get(&key).or_else(|| spent.old.get(&key)).copied().unwrap_or(now);
        let regained = before.max(now).plus(self.each());
        if spent.young.len() >= KEYS && !spent.young.contains_key(&key) {
            spent.old = std::mem::take(&mut spent.young);
        }
        spent.young.insert(key, regained);
    }

    /// What was spent ahead of an answer was spent for nothing.
    pub(super) fn give_back(&self, key: Option<K>) {
        let Some(key) = key else { return };
        let each = self.each();
        if let Some(regained) = self.lock().young.get_mut(&key) {
            *regained = regained.minus(each);
        }
    }

    fn each(&self) -> Duration {
        WINDOW / self.allowed.max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Spent<K>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an address stands for: one subscriber has at least 2^64 of IPv6 (RFC 6177).
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
        Some(network(text.parse().unwrap()))
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
    fn what_is_given_back_may_be_spent_again() {
        let budget = Budget::new(1);
        let somebody = client("192.0.2.1");
        budget.spend(somebody, at(0));
        assert!(budget.check(somebody, at(0)).is_err());
        budget.give_back(somebody);
        assert_eq!(budget.check(somebody, at(0)), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_no_limit_is_none() {
        let budget = Budget::new(1);
        for number in 0..3 * KEYS as u32 {
            budget.spend(Some(IpAddr::V4(number.into())), at(0));
        }
        let spent = budget.lock();
        assert!(spent.young.len() + spent.old.len() <= 2 * KEYS);
        drop(spent);
        let open = Budget::new(0);
        open.spend(client("192.0.2.1"), at(0));
        assert_eq!(open.check(client("192.0.2.1"), at(0)), Ok(()));
    }
}
