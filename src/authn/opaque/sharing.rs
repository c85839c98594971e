//! The second level of answers, which replicas share: looked into before the issuer is asked, told what it answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Alive, Introspection, Question};
use crate::authn::forget::Forget;
use crate::authn::shared::{SharedAnswer, SharedToken, SharedUnavailable};
use crate::caller::Claims;
use crate::clock::Time;
use crate::idp::Metadata;
use crate::idp::introspect::IntrospectorSettings;
use crate::seal::Secret;

impl Introspection {
    pub(super) async fn shared(self: &Arc<Self>, question: &Question) -> Option<Alive> {
        let shared = self.wiring.shared.as_ref()?;
        let (now, tick) = (self.wiring.clock.now(), self.wiring.clock.tick());
        let metadata = self.issuer().metadata();
        let found = match shared.get(self.shared_token(&metadata, &question.token)?).await {
            Ok(found) => found?,
            Err(_) => {
                self.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        // What another replica was told is judged by our own rules, and lives no longer than it would have here.
        let (mut alive, stated) = self.alive(found.members.clone(), now, tick, question.own.is_some()).ok()?;
        let life = self.settings.answers.ttl.min(found.until.since(now)).min(stated.expires_at.since(now));
        if life.is_zero() {
            return None;
        }
        alive.answered.until = tick.plus(life);
        // Whoever shared it may have taken a token for opaque that is a JWT here.
        let said = (&found.members, question.own.as_ref().unwrap_or(&found.own));
        let size = self.answers.keep(question.digest, said, alive.answered.until, question.asked)?;
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
        let own = question.own.clone().unwrap_or_default();
        self.wiring.control.start(async move {
            let Some(shared) = &this.wiring.shared else { return };
            let answer = SharedAnswer { members, own, until };
            // What was forgotten since has its mark there, against which an answer of before is not believed.
            if this.answers.era() != asked {
                return;
            }
            let metadata = this.issuer().metadata();
            let Some(of) = this.shared_token(&metadata, &token) else { return };
            if shared.put(of, &answer, life).await.is_err() {
                this.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// `None` while nobody knows which endpoint would be asked.
    fn shared_token<'a>(&'a self, metadata: &'a Metadata, token: &'a Secret) -> Option<SharedToken<'a>> {
        let IntrospectorSettings { client, signed, .. } = self.introspector.settings();
        let endpoint = metadata.endpoints.introspection.as_ref()?.as_str();
        let issuer = &self.issuer().settings().issuer;
        Some(SharedToken { issuer, client_id: &client.client_id, endpoint, signed: *signed, token })
    }

    pub(in crate::authn) async fn forget_shared(&self, forget: &Forget) -> Result<(), SharedUnavailable> {
        let Some(shared) = self.wiring.shared.as_ref().filter(|_| self.is_meant(forget)) else { return Ok(()) };
        let told = shared.forget(&self.issuer().settings().issuer, forget).await;
        if told.is_err() {
            self.tally.shared_unavailable.fetch_add(1, Ordering::Relaxed);
        }
        told
    }
}
