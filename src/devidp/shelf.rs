//! A map with a bound and a lifetime for each entry: everything that the provider remembers lies on one of these.

use std::collections::{HashMap, VecDeque};

use crate::clock::Time;

/// Values under random keys. When it is full, the oldest goes.
pub struct Shelf<T> {
    entries: HashMap<String, (T, Time)>,
    order: VecDeque<String>,
    limit: usize,
}

impl<T> Shelf<T> {
    pub fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), limit }
    }

    pub fn put(&mut self, key: String, value: T, until: Time) {
        if self.entries.insert(key.clone(), (value, until)).is_none() {
            self.order.push_back(key);
        }
        // Keys that were taken out stay in `order` until they reach its front; twice the limit bounds them.
        while self.entries.len() > self.limit || self.order.len() > 2 * self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }

    pub fn look(&self, key: &str, now: Time) -> Option<&T> {
        self.entries.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub fn look_mut(&mut self, key: &str, now: Time) -> Option<&mut T> {
        self.entries.get_mut(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub fn take(&mut self, key: &str, now: Time) -> Option<T> {
        self.entries.remove(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub fn iter(&self, now: Time) -> impl Iterator<Item = (&str, &T)> {
        let live = self.entries.iter().filter(move |(_, (_, until))| *until > now);
        live.map(|(key, (value, _))| (key.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shelf_drops_its_oldest_and_a_late_look_finds_nothing() {
        let mut shelf = Shelf::new(2);
        for key in ["a", "b", "c"] {
            shelf.put(key.to_owned(), key, Time::from_seconds(10));
        }
        let now = Time::from_seconds(5);
        assert_eq!(shelf.look("a", now), None);
        assert_eq!(shelf.look("c", now), Some(&"c"));
        assert_eq!(shelf.look("c", Time::from_seconds(10)), None);
        assert_eq!(shelf.take("b", now), Some("b"));
        assert_eq!(shelf.take("b", now), None);
    }
}
