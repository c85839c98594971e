//! An issuer's keys and metadata, kept fresh. Comes in: where they are published. Goes out: the last good set, or that
//! there is none to rely on; and the endpoints that discovery found last.
//!
//! One task on Control does all fetching: at the start until it succeeds (with back-off), then every `refresh`, and
//! when somebody asks because of an unknown `kid`. So there is never more than one fetch in flight, and a client that
//! goes away cancels none. Askers share the next fetch and wait no longer than its deadline; a cooldown between such
//! fetches bounds what a flood of made-up `kid`s can cause. A set that can't be used never replaces one that can.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};
use url::Url;

use super::discovery::{Discovery, DiscoveryError, Metadata};
use super::fetch::{self, DOCUMENT_LIMIT, Fetch, FetchError, Wanted};
use super::{IssuerSettings, KeySource, Standing};
use crate::clock::{Clock, Tick};
use crate::control::Control;
use crate::jose::KeySet;
use crate::jose::keyset::KeySetError;
use crate::seal::random;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// A set of keys and what was true when it came.
#[derive(Clone, Debug)]
pub struct Keys {
    pub set: Arc<KeySet>,
    /// Grows whenever a key left or changed: what was verified under an older number is to be verified again.
    pub generation: u64,
    fetched: Tick,
}

/// There are no keys to rely on: never loaded, too old, or the fetch that was needed failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's keys are not available")]
pub struct KeysUnavailable {
    pub retry_after: Duration,
}

/// Why a fetch brought no new set.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

pub(super) struct KeyRing {
    clock: Clock,
    max_stale: Duration,
    cooldown: Duration,
    /// How long an asker waits: as long as a fetch may take.
    patience: Duration,
    current: ArcSwapOption<Keys>,
    /// What discovery found last; where endpoints are configured, those.
    metadata: Arc<ArcSwap<Metadata>>,
    asked: Mutex<Asked>,
    done: watch::Sender<Done>,
    wake: Arc<Notify>,
}

/// What askers want: the number of the last fetch that was asked for, and when that was.
#[derive(Default)]
struct Asked {
    number: u64,
    at: Option<Tick>,
}

/// What the fetching task did: how many attempts, up to which asking, and how the last one went.
#[derive(Clone, Debug, Default)]
struct Done {
    attempts: u64,
    asked: u64,
    error: Option<Arc<str>>,
    next: Option<Tick>,
}

impl KeyRing {
    pub(super) fn new(clock: Clock, settings: &IssuerSettings, deadline: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            max_stale: settings.max_stale,
            cooldown: settings.cooldown,
            patience: deadline,
            current: ArcSwapOption::empty(),
            metadata: Arc::new(ArcSwap::from_pointee(Metadata {
                endpoints: settings.endpoints.clone(),
                mtls_endpoints: settings.endpoints.clone(),
                ..Metadata::default()
            })),
            asked: Mutex::default(),
            done: watch::Sender::new(Done::default()),
            wake: Arc::default(),
        })
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Begins fetching, until the ring is dropped.
    pub(super) fn start(self: &Arc<Self>, settings: Arc<IssuerSettings>, fetch: Fetch, control: &Control) {
        let ring = Arc::downgrade(self);
        let (clock, wake) = (self.clock.clone(), Arc::clone(&self.wake));
        let loader = Loader { settings, fetch, metadata: Arc::clone(&self.metadata), address: None };
        control.start(keep_fresh(ring, clock, wake, loader));
    }

    /// What is known of the issuer's endpoints now.
    pub(super) fn metadata(&self) -> Arc<Metadata> {
        self.metadata.load_full()
    }

    /// The set to check tokens with now.
    pub(super) fn keys(&self) -> Result<Arc<Keys>, KeysUnavailable> {
        match self.current.load_full() {
            Some(keys) if !self.is_stale(&keys) => Ok(keys),
            _ => Err(self.unavailable()),
        }
    }

    /// The number under which a remembered verdict still holds; `None` when there are no keys to rely on.
    pub(super) fn generation(&self) -> Option<u64> {
        let current = self.current.load();
        current.as_deref().filter(|keys| !self.is_stale(keys)).map(|keys| keys.generation)
    }

    /// The set after at most one fetch for a `kid` that is not in it; it may still not be in it then.
    pub(super) async fn keys_with(&self, kid: &str) -> Result<Arc<Keys>, KeysUnavailable> {
        let keys = self.keys()?;
        if keys.set.knows(kid) {
            return Ok(keys);
        }
        let number = self.ask();
        let mut done = self.done.subscribe();
        let failed = tokio::select! {
            // The sender lives in `self`: it cannot be gone.
            done = done.wait_for(|done| done.asked >= number) => done.is_ok_and(|done| done.error.is_some()),
            () = self.clock.sleep(self.patience) => true,
        };
        let keys = self.keys()?;
        if failed && !keys.set.knows(kid) { Err(self.unavailable()) } else { Ok(keys) }
    }

    /// Asks for a fetch, unless one was asked for within the cooldown; the number of the fetch that answers.
    fn ask(&self) -> u64 {
        let now = self.clock.tick();
        let mut asked = lock(&self.asked);
        if asked.at.is_none_or(|at| now.since(at) >= self.cooldown) {
            asked.number += 1;
            asked.at = Some(now);
            self.wake.notify_one();
        }
        asked.number
    }

    pub(super) fn standing(&self) -> Standing {
        let done = self.done.borrow().clone();
        let Some(keys) = self.current.load_full() else { return Standing::Waiting { error: done.error } };
        let age = self.clock.tick().since(keys.fetched);
        match done.error {
            None if self.is_stale(&keys) => Standing::Degraded { error: "the keys are too old".into(), age },
            None => Standing::Ready { age, keys: keys.set.len(), skipped: keys.set.skipped() },
            Some(error) => Standing::Degraded { error, age },
        }
    }

    /// Waits until this many attempts to load the keys have ended, well or badly.
    pub(super) async fn attempted(&self, attempts: u64) {
        let _ = self.done.subscribe().wait_for(|done| done.attempts >= attempts).await;
    }

    fn is_stale(&self, keys: &Keys) -> bool {
        self.clock.tick().since(keys.fetched) > self.max_stale
    }

    fn unavailable(&self) -> KeysUnavailable {
        let next = self.done.borrow().next;
        let wait = next.map_or(FIRST_RETRY, |next| next.since(self.clock.tick()));
        KeysUnavailable { retry_after: wait.clamp(FIRST_RETRY, LAST_RETRY) }
    }

    /// Takes a fetched set: replaces the old one, and tells of keys that are gone.
    fn take(&self, issuer: &str, set: KeySet) {
        let fetched = self.clock.tick();
        let keys = match self.current.load_full() {
            None => Keys { set: Arc::new(set), generation: 1, fetched },
            Some(old) => {
                let gone = old.set.gone_in(&set);
                if !gone.is_empty() {
                    tracing::warn!(issuer, keys = ?gone, "keys left the issuer's set; tokens they signed are refused from now on");
                }
                let generation = old.generation + u64::from(!gone.is_empty());
                Keys { set: Arc::new(set), generation, fetched }
            }
        };
        self.current.store(Some(Arc::new(keys)));
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        // So that the fetching task notices at once and ends.
        self.wake.notify_one();
    }
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one task that fetches.
async fn keep_fresh(ring: Weak<KeyRing>, clock: Clock, wake: Arc<Notify>, mut loader: Loader) {
    let mut retry = FIRST_RETRY;
    loop {
        let Some(number) = ring.upgrade().map(|ring| lock(&ring.asked).number) else { return };
        let outcome = loader.load(number).await;
        let Some(ring_now) = ring.upgrade() else { return };
        let name = &*loader.settings.name;
        let (error, pause) = match outcome {
            Ok(set) => {
                ring_now.take(name, set);
                retry = FIRST_RETRY;
                (None, early(loader.settings.refresh.min(loader.settings.max_stale)).max(FIRST_RETRY))
            }
            Err(error) => {
                let pause = early(retry);
                retry = (retry * 2).min(LAST_RETRY);
                tracing::warn!(issuer = name, error = %error, retry_in = ?pause, "the issuer's keys could not be loaded");
                (Some(Arc::from(error.to_string())), pause)
            }
        };
        let next = Some(clock.tick().plus(pause));
        ring_now.done.send_modify(|done| *done = Done { attempts: done.attempts + 1, asked: number, error, next });
        drop(ring_now);
        let mut over = std::pin::pin!(clock.sleep(pause));
        loop {
            tokio::select! {
                () = &mut over => break,
                () = wake.notified() => {}
            }
            match ring.upgrade() {
                None => return,
                Some(ring) if lock(&ring.asked).number > number => break,
                // This asking was already answered by the fetch that has just ended.
                Some(_) => {}
            }
        }
    }
}

/// Up to a quarter earlier, so that many gateways do not ask an issuer in step.
fn early(span: Duration) -> Duration {
    let [chance] = random::bytes::<1>();
    span.saturating_sub(span / 1024 * u32::from(chance))
}

/// How the set is got.
struct Loader {
    settings: Arc<IssuerSettings>,
    fetch: Fetch,
    metadata: Arc<ArcSwap<Metadata>>,
    /// Where discovery said the keys are, and for which asking it said so.
    address: Option<(Option<Url>, u64)>,
}

impl Loader {
    async fn load(&mut self, asked: u64) -> Result<KeySet, LoadError> {
        let settings = Arc::clone(&self.settings);
        let discovered = if settings.discovers() { self.discover(asked).await? } else { None };
        let document = match &settings.keys {
            KeySource::None => return Ok(KeySet::none()),
            KeySource::File(path) => return Ok(KeySet::parse(&fetch::read(path, DOCUMENT_LIMIT).await?)?),
            KeySource::Url { url, token } => self.get(url, token.as_ref()).await?,
            KeySource::Discovery if settings.keys_optional && discovered.is_none() => return Ok(KeySet::none()),
            KeySource::Discovery => {
                let url = discovered.ok_or(DiscoveryError::KeysAddress)?;
                self.get(&url, None).await.inspect_err(|_| self.address = None)?
            }
        };
        Ok(KeySet::parse(&document)?)
    }

    /// Metadata is read again at each refresh; for an unknown `kid` the keys are fetched where they were.
    async fn discover(&mut self, asked: u64) -> Result<Option<Url>, DiscoveryError> {
        if let Some((url, _)) = self.address.take().filter(|(_, known_at)| asked > *known_at) {
            self.address = Some((url.clone(), asked));
            return Ok(url);
        }
        let IssuerSettings { issuer, tls, allow_http, endpoints, .. } = &*self.settings;
        let discovery = Discovery { issuer, tls: tls.as_ref(), allow_http: *allow_http };
        let told = discovery.metadata(&self.fetch).await?;
        let url = told.jwks.clone();
        let mtls_endpoints = endpoints.or(&told.mtls_endpoints);
        self.metadata.store(Arc::new(Metadata { endpoints: endpoints.or(&told.endpoints), mtls_endpoints, ..told }));
        self.address = Some((url.clone(), asked));
        Ok(url)
    }

    async fn get(&self, url: &Url, bearer: Option<&crate::seal::Secret>) -> Result<bytes::Bytes, FetchError> {
        let IssuerSettings { tls, allow_http, .. } = &*self.settings;
        let wanted = Wanted { url, bearer, tls: tls.as_ref(), allow_http: *allow_http, limit: DOCUMENT_LIMIT };
        self.fetch.get(wanted).await
    }
}

#[cfg(test)]
mod tests;
