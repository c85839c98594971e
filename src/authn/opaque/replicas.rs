//! What other replicas were told of a token, and what they are told: the second level, behind the answers of this process.
//! And forgetting, which goes through all levels.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Alive, Introspection, Question};
use crate::authn::forget::{Forget, Tokens};
use crate::authn::shared::{SharedAnswer, SharedToken};
use crate::caller::Claims;
use crate::clock::Time;
use crate::seal::{Secret, TokenDigest};

impl Introspection {
    pub(super) async fn shared(self: &Arc<Self>, question: &Question) -> Option<Alive> {
        let shared = self.wiring.shared.as_ref()?;
        let (now, tick) = (self.wiring.clock.now(), self.wiring.clock.tick());
        let found = match shared.get(self.shared_token(&question.token)).await {
            Ok(found) => found?,
            Err(_) => {
                self.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        // What another replica was told is judged by our own rules, and lives no longer than it would have here.
        let (mut alive, stated) = self.alive(found.members.clone(), now, tick, question.is_jwt).ok()?;
        let life = self.settings.answers.ttl.min(found.until.since(now)).min(stated.expires_at.since(now));
        if life.is_zero() {
            return None;
        }
        alive.answered.until = tick.plus(life);
        let size = self.answers.keep(question.digest, &found.members, alive.answered.until, question.asked)?;
        self.remember_for(question, &alive, &stated, size);
        self.tally.shared.fetch_add(1, Ordering::Relaxed);
        Some(alive)
    }

    /// Lets replicas know, without keeping those who wait.
    pub(super) fn share(self: &Arc<Self>, question: &Question, members: Claims, until: Time, life: Duration) {
        if self.wiring.shared.is_none() {
            return;
        }
        let (this, token, asked) = (Arc::clone(self), question.token.clone(), question.asked);
        self.wiring.control.start(async move {
            let Some(shared) = &this.wiring.shared else { return };
            let answer = SharedAnswer { members, until };
            let mut told = shared.put(this.shared_token(&token), &answer, life).await;
            if this.answers.era() != asked {
                told = shared.remove(this.shared_token(&token)).await;
            }
            if told.is_err() {
                this.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn shared_token<'a>(&'a self, token: &'a Secret) -> SharedToken<'a> {
        let client_id = &self.introspector.settings().client.client_id;
        SharedToken { issuer: &self.issuer().settings().issuer, client_id, token }
    }

    pub(in crate::authn) fn forget(&self, forget: &Forget, forgotten: &mut HashSet<TokenDigest>) {
        if !self.is_meant(forget) {
            return;
        }
        let digest = match &forget.tokens {
            Tokens::Token(token) => Some(self.wiring.memory.digest(token.expose())),
            _ => None,
        };
        self.answers.forget(forget, digest, forgotten);
    }

    pub(in crate::authn) async fn forget_shared(&self, forget: &Forget) {
        let Some(shared) = self.wiring.shared.as_ref().filter(|_| self.is_meant(forget)) else { return };
        let client_id = &self.introspector.settings().client.client_id;
        let told = match &forget.tokens {
            Tokens::Token(token) => shared.remove(self.shared_token(token)).await,
            _ => shared.forget(&self.issuer().settings().issuer, client_id, forget).await,
        };
        if told.is_err() {
            self.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_meant(&self, forget: &Forget) -> bool {
        let settings = self.issuer().settings();
        forget.is_of_issuer(&settings.name, &settings.issuer)
    }
}
