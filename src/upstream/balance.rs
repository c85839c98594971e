//! Which server gets a request. The counts are each worker's own; health is shared. No lock, no allocation.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::endpoint::{Endpoint, Standing};
use super::settings::Balance;
use crate::clock::Clock;

/// Up to so many servers are all compared; among more, two chosen by chance.
const COMPARE_ALL: usize = 8;
/// Longest round of the weighted round robin.
const LONGEST_ROUND: usize = 1024;

/// One worker's view of how busy the servers of an upstream are.
#[derive(Debug)]
pub(super) struct Balancer {
    rule: Balance,
    in_flight: Box<[AtomicU32]>,
    /// Server indices in the order of a round, each as often as its weight says, spread evenly.
    round: Box<[u16]>,
    turn: AtomicUsize,
}

/// The servers that an earlier attempt of the same request has tried; the first 64 are remembered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u64);

impl Tried {
    pub fn add(&mut self, index: usize) {
        self.0 |= Self::bit(index);
    }

    pub fn has(self, index: usize) -> bool {
        self.0 & Self::bit(index) != 0
    }

    fn bit(index: usize) -> u64 {
        u32::try_from(index).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0)
    }
}

impl Balancer {
    pub fn new(rule: Balance, endpoints: &[Endpoint]) -> Self {
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let round = if rule == Balance::RoundRobin { spread(&weights) } else { Box::default() };
        Self { rule, in_flight: weights.iter().map(|_| AtomicU32::new(0)).collect(), round, turn: AtomicUsize::new(0) }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.iter().map(|count| count.load(Ordering::Relaxed) as usize).sum()
    }

    pub fn begin(&self, index: usize) {
        if let Some(count) = self.in_flight.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn end(&self, index: usize) {
        if let Some(count) = self.in_flight.get(index) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The best server not tried yet. One that failed lately is taken only if there is no other, one that its
    /// health check calls down never.
    pub fn pick(&self, endpoints: &[Endpoint], tried: Tried, clock: &Clock) -> Option<usize> {
        if let [only] = endpoints {
            let usable = !tried.has(0) && only.weight > 0 && only.is_healthy();
            return usable.then_some(0);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let standing = |index: usize| match endpoints.get(index) {
            Some(endpoint) if endpoint.weight > 0 && !tried.has(index) => endpoint.standing(clock),
            _ => Standing::Down,
        };
        let picked = match self.rule {
            Balance::RoundRobin => self.next_in_round(turn, &standing),
            Balance::LeastRequests => self.least_busy(turn, endpoints, &standing),
        };
        // Nothing is up: what was only put aside is better than nothing.
        picked.or_else(|| (0..endpoints.len()).find(|index| standing(*index) == Standing::Aside))
    }

    fn next_in_round(&self, turn: usize, standing: &impl Fn(usize) -> Standing) -> Option<usize> {
        let length = self.round.len();
        (0..length)
            .filter_map(|step| self.round.get(turn.wrapping_add(step) % length))
            .map(|index| usize::from(*index))
            .find(|index| standing(*index) == Standing::Up)
    }

    fn least_busy(&self, turn: usize, endpoints: &[Endpoint], standing: &impl Fn(usize) -> Standing) -> Option<usize> {
        let count = endpoints.len();
        let is_up = |index: &usize| standing(*index) == Standing::Up;
        if count > COMPARE_ALL {
            let chance = scatter(turn);
            let two = [chance as usize % count, (chance >> 32) as usize % count];
            if let Some(index) = two.into_iter().filter(is_up).reduce(|a, b| self.calmer(endpoints, a, b)) {
                return Some(index);
            }
        }
        // Starting at another server each time shares out the ties.
        (0..count).map(|step| turn.wrapping_add(step) % count).filter(is_up).reduce(|a, b| self.calmer(endpoints, a, b))
    }

    /// The one of two that would be less busy with one more request, in relation to its weight.
    fn calmer(&self, endpoints: &[Endpoint], a: usize, b: usize) -> usize {
        let load =
            |index: usize| u64::from(self.in_flight.get(index).map_or(0, |count| count.load(Ordering::Relaxed))) + 1;
        let weight = |index: usize| u64::from(endpoints.get(index).map_or(1, |endpoint| endpoint.weight));
        if load(b) * weight(a) < load(a) * weight(b) { b } else { a }
    }
}

/// splitmix64's finaliser: turns a counter into something that looks like chance.
const fn scatter(turn: usize) -> u64 {
    let mut x = (turn as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Smooth weighted round robin, worked out once for a whole round.
fn spread(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut shares: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    while shares.iter().sum::<i64>() > LONGEST_ROUND as i64 && shares.iter().any(|share| *share > 1) {
        shares.iter_mut().for_each(|share| *share = (*share).min(1).max(*share / 2));
    }
    let total: i64 = shares.iter().sum();
    let mut current = vec![0_i64; shares.len()];
    let mut round = Vec::new();
    for _ in 0..total {
        for (now, share) in current.iter_mut().zip(&shares) {
            *now += share;
        }
        let Some(best) = (0..shares.len())
            .filter(|index| shares.get(*index) != Some(&0))
            .max_by_key(|index| (current.get(*index).copied(), std::cmp::Reverse(*index)))
        else {
            break;
        };
        if let Some(now) = current.get_mut(best) {
            *now -= total;
        }
        round.extend(u16::try_from(best));
    }
    round.into()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Tick, Time};
    use crate::upstream::settings::{ServerAddress, ServerScheme, ServerSettings, UpstreamTls};
    use std::time::Duration;

    fn servers(weights: &[u32]) -> Vec<Endpoint> {
        let server = |(index, weight): (usize, &u32)| {
            let host = format!("192.0.2.{index}").into();
            let address = ServerAddress::Tcp { scheme: ServerScheme::Http, host, port: 80 };
            Endpoint::new(&ServerSettings { address, weight: *weight }, &UpstreamTls::default()).unwrap()
        };
        weights.iter().enumerate().map(server).collect()
    }

    fn picks(balancer: &Balancer, servers: &[Endpoint], clock: &Clock, times: usize) -> Vec<usize> {
        (0..times).map(|_| balancer.pick(servers, Tried::default(), clock).unwrap()).collect()
    }

    #[test]
    fn round_robin_follows_the_weights_without_clumps() {
        let clock = ManualClock::at(Time::from_seconds(1)).clock();
        let servers = servers(&[4, 2, 0, 2]);
        let balancer = Balancer::new(Balance::RoundRobin, &servers);
        assert_eq!(picks(&balancer, &servers, &clock, 8), [0, 1, 3, 0, 0, 1, 3, 0]);
    }

    #[test]
    fn least_requests_takes_the_least_busy_for_its_weight() {
        let clock = ManualClock::at(Time::from_seconds(1)).clock();
        let servers = servers(&[1, 3]);
        let balancer = Balancer::new(Balance::LeastRequests, &servers);
        let mut counts = [0; 2];
        for _ in 0..40 {
            let index = balancer.pick(&servers, Tried::default(), &clock).unwrap();
            balancer.begin(index);
            counts[index] += 1;
        }
        assert_eq!(counts, [10, 30]);
        assert_eq!(balancer.in_flight(), 40);
    }

    #[test]
    fn among_many_servers_a_busy_one_is_avoided() {
        let clock = ManualClock::at(Time::from_seconds(1)).clock();
        let servers = servers(&[1; 20]);
        let balancer = Balancer::new(Balance::LeastRequests, &servers);
        (0..100).for_each(|_| balancer.begin(7));
        let sevens = picks(&balancer, &servers, &clock, 200).into_iter().filter(|index| *index == 7).count();
        assert!(sevens <= 2, "{sevens}");
    }

    #[test]
    fn a_server_that_is_down_is_never_taken_and_one_put_aside_only_for_want_of_a_better() {
        let hands = ManualClock::at(Time::from_seconds(1));
        let clock = hands.clock();
        let servers = servers(&[1, 1]);
        let balancer = Balancer::new(Balance::LeastRequests, &servers);
        (0..3).for_each(|_| servers[0].connect_failed(clock.tick()));
        assert_eq!(picks(&balancer, &servers, &clock, 4), [1; 4]);
        servers[1].judge(false);
        assert_eq!(picks(&balancer, &servers, &clock, 2), [0; 2]);
        servers[0].judge(false);
        assert_eq!(balancer.pick(&servers, Tried::default(), &clock), None);
        servers[0].judge(true);
        servers[1].judge(true);
        hands.advance(Duration::from_secs(10));
        assert!(picks(&balancer, &servers, &clock, 4).contains(&0), "its time is over");
    }

    #[test]
    fn a_server_tried_before_is_not_picked_again() {
        let clock = ManualClock::at(Time::from_seconds(1)).clock();
        let servers = servers(&[1, 1]);
        let balancer = Balancer::new(Balance::LeastRequests, &servers);
        let mut tried = Tried::default();
        tried.add(0);
        assert_eq!(balancer.pick(&servers, tried, &clock), Some(1));
        tried.add(1);
        assert_eq!(balancer.pick(&servers, tried, &clock), None);
    }

    #[test]
    fn the_only_server_is_tried_however_often_it_failed() {
        let clock = ManualClock::at(Time::from_seconds(1)).clock();
        let servers = servers(&[1]);
        let balancer = Balancer::new(Balance::LeastRequests, &servers);
        (0..9).for_each(|_| servers[0].connect_failed(Tick::ZERO));
        assert_eq!(balancer.pick(&servers, Tried::default(), &clock), Some(0));
    }
}
