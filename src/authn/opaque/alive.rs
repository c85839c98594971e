//! What an answer makes of a token: its caller, judged by the issuer's rules and now, and the verdict on it among the
//! tokens.

use std::sync::Arc;

use super::{Alive, Introspection, Question, Shown};
use crate::authn::cache::{Answered, Era, Remembered};
use crate::caller::{Caller, Claims, How, Identity};
use crate::clock::{Tick, Time};
use crate::jose::claims::{Stated, answer};
use crate::reason::Reason;
use crate::seal::TokenDigest;

impl Introspection {
    /// Who the members of an answer make the token's caller, by the issuer's rules and now.
    pub(super) fn alive(
        &self,
        members: Claims,
        now: Time,
        until: Tick,
        is_jwt: bool,
    ) -> Result<(Alive, Stated), Reason> {
        let issuer = self.issuer();
        // Whom a JWT is for, its own claims have said.
        let needs_audience = self.settings.needs_audience && !is_jwt;
        let stated = answer::judge(&members, &issuer.expected(), needs_audience, now)?;
        let settings = issuer.settings();
        let caller = Caller::new(Identity {
            issuer: Arc::clone(&settings.name),
            iss: Arc::clone(&settings.issuer),
            subject: stated.subject.clone(),
            client_id: stated.client_id.clone(),
            kind: stated.kind,
            how: How::Introspection,
            scopes: stated.scopes.clone(),
            claims: members,
            expires_at: stated.expires_at,
        });
        let answered = Answered { by: self.id, until };
        Ok((Alive { caller: Arc::new(caller), answered }, stated))
    }

    /// A JWT is remembered by who checked its signature.
    pub(super) fn remember(&self, shown: &Shown<'_>, alive: &Alive, stated: &Stated, size: usize) {
        if shown.own.is_none() {
            self.put_among_tokens((shown.digest, shown.era), alive, stated, size);
        }
    }

    pub(super) fn remember_for(&self, question: &Question, alive: &Alive, stated: &Stated, size: usize) {
        if question.own.is_none() {
            self.put_among_tokens((question.digest, question.era), alive, stated, size);
        }
    }

    fn put_among_tokens(&self, (digest, era): (TokenDigest, Era), alive: &Alive, stated: &Stated, size: usize) {
        let remembered = Remembered {
            caller: Arc::clone(&alive.caller),
            issuer: self.issuer().id(),
            generation: None,
            answered: Some(alive.answered),
            usable_from: stated.usable_from,
            // A remembered token ends when it says, not up to a skew later.
            usable_until: stated.expires_at,
        };
        self.wiring.memory.remember(digest, remembered, size, era);
    }
}
