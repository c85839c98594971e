//! The provider itself, as its endpoints see it: settings, clock, keys, memory and faults behind one shared handle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use super::faults::{Endpoint, Fault, FaultBoard};
use super::keys::{KeyError, KeyRing, SigningKeys};
use super::model::State;
use super::settings::{ClientEntry, Settings, User};
use crate::clock::{Clock, Time};

/// Shared by all connections. No lock is held across an await.
pub struct Realm {
    pub issuer: String,
    /// Path of the issuer, empty or beginning with `/`.
    pub path: String,
    pub clock: Clock,
    pub settings: Settings,
    /// Not `settings.clients`: clients may be registered while it runs.
    clients: Mutex<HashMap<String, Arc<ClientEntry>>>,
    keys: Mutex<KeyRing>,
    foreign: OnceLock<SigningKeys>,
    state: Mutex<State>,
    faults: Mutex<FaultBoard>,
}

/// A panic while a lock was held is a bug of its own; the data behind it is still the best there is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Realm {
    pub fn new(issuer: String, path: String, settings: Settings, keys: SigningKeys, clock: Clock) -> Self {
        let clients = settings.clients.iter().map(|entry| (entry.client_id.clone(), Arc::new(entry.clone()))).collect();
        Self {
            issuer,
            path,
            clock,
            settings,
            clients: Mutex::new(clients),
            keys: Mutex::new(KeyRing::new(keys)),
            foreign: OnceLock::new(),
            state: Mutex::new(State::new()),
            faults: Mutex::new(FaultBoard::default()),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn ring(&self) -> MutexGuard<'_, KeyRing> {
        lock(&self.keys)
    }

    pub fn keys(&self) -> Arc<SigningKeys> {
        self.ring().current()
    }

    /// Every public key that is in the set now.
    pub fn published_keys(&self) -> Vec<Value> {
        self.ring().published(self.now())
    }

    /// Keys that are in no set; made when first needed.
    pub fn foreign_keys(&self) -> Result<&SigningKeys, KeyError> {
        if let Some(made) = self.foreign.get() {
            return Ok(made);
        }
        let fresh = SigningKeys::generate()?;
        Ok(self.foreign.get_or_init(|| fresh))
    }

    pub fn faults(&self) -> MutexGuard<'_, FaultBoard> {
        lock(&self.faults)
    }

    pub fn arrive(&self, endpoint: Endpoint) -> Option<Fault> {
        self.faults().arrive(endpoint)
    }

    pub fn client(&self, client_id: &str) -> Option<Arc<ClientEntry>> {
        lock(&self.clients).get(client_id).cloned()
    }

    pub fn register(&self, entry: ClientEntry) {
        lock(&self.clients).insert(entry.client_id.clone(), Arc::new(entry));
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.settings.users.iter().find(|user| user.name == name)
    }

    pub fn user_by_subject(&self, subject: &str) -> Option<&User> {
        self.settings.users.iter().find(|user| user.subject() == subject)
    }

    /// The user, if the password is theirs. An unknown name costs the same comparison as a known one.
    pub fn sign_in(&self, name: &str, password: &str) -> Option<&User> {
        let user = self.user(name);
        let nobody = crate::seal::Secret::new(" ".repeat(password.len().saturating_add(1)));
        let right = user.map_or(&nobody, |user| &user.password).equals(password.as_bytes());
        user.filter(|_| right)
    }

    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
