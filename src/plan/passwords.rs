//! Names and passwords, built: routes that ask alike share what is known of them.

use std::sync::Arc;

use super::compile::Wiring;
use super::settings::{BasicSettings, Checked};
use crate::authn::{BearerWay, PasswordSettings, Passwords, Trusted};
use crate::idp::Registration;

pub(super) struct AllPasswords<'a> {
    checked: &'a Checked,
    registrations: &'a [Arc<Registration>],
    trusted: &'a [Trusted],
    wiring: &'a Wiring,
    made: Vec<((usize, PasswordSettings), Arc<Passwords>)>,
}

impl<'a> AllPasswords<'a> {
    pub(super) const fn new(
        checked: &'a Checked,
        registrations: &'a [Arc<Registration>],
        trusted: &'a [Trusted],
        wiring: &'a Wiring,
    ) -> Self {
        Self { checked, registrations, trusted, wiring, made: Vec::new() }
    }

    /// `None` for a client that is not there, which checking has excluded.
    pub(super) fn of(&mut self, written: &BasicSettings) -> Option<Arc<Passwords>> {
        let key = (written.client, written.passwords.clone());
        if let Some((_, made)) = self.made.iter().find(|(known, _)| *known == key) {
            return Some(Arc::clone(made));
        }
        let client = self.checked.clients.get(written.client)?;
        let trusted = self.trusted.get(client.issuer)?.clone();
        let bearer = BearerWay::new(vec![trusted], Arc::clone(&self.wiring.memory));
        let bearer = bearer.limited(self.checked.server.limits.token_bytes);
        let registration = Arc::clone(self.registrations.get(written.client)?);
        let wiring = (self.wiring.clock.clone(), self.wiring.control.clone());
        let made = Passwords::new(registration, written.passwords.clone(), bearer, wiring);
        self.made.push((key, Arc::clone(&made)));
        Some(made)
    }

    /// All that were made.
    pub(super) fn into_all(self) -> Vec<Arc<Passwords>> {
        self.made.into_iter().map(|(_, passwords)| passwords).collect()
    }
}
