//! From a server's host to socket addresses, remembered for a while. The last good answer outlives a name server
//! that fails; a changed answer retires the connections to addresses that are gone.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Tick};

/// The system's resolver tells no TTL: a name is asked for again after this long.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Of an answer with very many addresses only these are looked at.
const MOST_ADDRESSES: usize = 16;

/// One server's host.
#[derive(Debug)]
pub(super) struct Resolver {
    host: Box<str>,
    port: u16,
    fixed: Option<SocketAddr>,
    known: Mutex<Known>,
    /// One look-up at a time; whoever waits takes its result.
    asking: tokio::sync::Mutex<()>,
    generation: AtomicU32,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Option<Arc<[SocketAddr]>>,
    asked: Option<Tick>,
}

impl Resolver {
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            fixed: host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port)),
            host: host.into(),
            port,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            generation: AtomicU32::new(0),
        }
    }

    /// Changes when an address that was in use is no longer the host's.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether the host is a name that has been in use and may have moved meanwhile.
    pub fn is_due(&self, clock: &Clock) -> bool {
        self.fixed.is_none() && self.lock().addresses.is_some() && self.fresh(clock).is_none()
    }

    /// The host's addresses, at least one.
    pub async fn addresses(&self, clock: &Clock) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(address) = self.fixed {
            return Ok(Arc::new([address]));
        }
        if let Some(addresses) = self.fresh(clock) {
            return Ok(addresses);
        }
        let _asking = self.asking.lock().await;
        if let Some(addresses) = self.fresh(clock) {
            return Ok(addresses);
        }
        // Claimed before the question, so that a name server that hangs costs one caller, not all.
        self.lock().asked = Some(clock.tick());
        let answer = tokio::net::lookup_host((&*self.host, self.port)).await;
        self.learn(answer.map(|addresses| addresses.take(MOST_ADDRESSES).collect()))
    }

    fn learn(&self, answer: io::Result<Vec<SocketAddr>>) -> io::Result<Arc<[SocketAddr]>> {
        let mut known = self.lock();
        match answer {
            Ok(found) if !found.is_empty() => {
                let found: Arc<[SocketAddr]> = found.into();
                let gone = |old: &Arc<[SocketAddr]>| old.iter().any(|address| !found.contains(address));
                if known.addresses.as_ref().is_some_and(gone) {
                    self.generation.fetch_add(1, Ordering::Relaxed);
                }
                known.addresses = Some(Arc::clone(&found));
                Ok(found)
            }
            failed => known.addresses.clone().ok_or_else(|| {
                failed.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
            }),
        }
    }

    fn fresh(&self, clock: &Clock) -> Option<Arc<[SocketAddr]>> {
        let known = self.lock();
        let asked = known.asked?;
        if clock.tick().since(asked) < REMEMBERED { known.addresses.clone() } else { None }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Time};

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    #[tokio::test]
    async fn the_last_good_address_is_kept_while_the_name_server_fails() {
        let resolver = Resolver::new("orders.example", 80);
        resolver.learn(Ok(vec![address(1)])).unwrap();
        let kept = resolver.learn(Err(io::Error::other("no answer"))).unwrap();
        assert_eq!(&*kept, &[address(1)]);
        assert_eq!(&*resolver.learn(Ok(vec![])).unwrap(), &[address(1)]);
        assert_eq!(resolver.generation(), 0);
    }

    #[tokio::test]
    async fn a_name_that_never_had_an_address_is_an_error() {
        assert!(Resolver::new("orders.example", 80).learn(Ok(vec![])).is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_gone_starts_a_new_generation_and_a_further_one_does_not() {
        let resolver = Resolver::new("orders.example", 80);
        resolver.learn(Ok(vec![address(1)])).unwrap();
        resolver.learn(Ok(vec![address(1), address(2)])).unwrap();
        assert_eq!(resolver.generation(), 0);
        resolver.learn(Ok(vec![address(2)])).unwrap();
        assert_eq!(resolver.generation(), 1);
    }

    #[tokio::test]
    async fn a_name_is_asked_for_again_after_a_while() {
        let hands = ManualClock::at(Time::from_seconds(1));
        let clock = hands.clock();
        let resolver = Resolver::new("localhost", 80);
        assert!(!resolver.is_due(&clock));
        resolver.addresses(&clock).await.unwrap();
        assert!(!resolver.is_due(&clock));
        hands.advance(REMEMBERED);
        assert!(resolver.is_due(&clock));
    }
}
