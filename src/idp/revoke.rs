//! Token revocation (RFC 7009): after a sign-out the issuer is told that the tokens are of no more use. Comes in: a token.
//! Goes out: nothing that anybody waits for: the session is over on this side whatever the issuer says.

use std::sync::Arc;

use super::registration::{Cause, Registration, Unanswered};
use crate::seal::Secret;
use crate::wire::form::Form;

/// Revocations under way in this process; beyond them tokens are left to expire.
const MOST_AT_ONCE: usize = 64;

static UNDER_WAY: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(MOST_AT_ONCE);

impl Registration {
    /// Revokes a refresh token and then an access token (section 2.1: the order in which one may take the other along),
    /// on Control; what fails is logged.
    pub fn revoke(self: &Arc<Self>, refresh_token: Option<Secret>, access_token: Option<Secret>) {
        let metadata = self.issuer().metadata();
        let Some(endpoint) = self.settings().identity.endpoints(&metadata).revocation.clone() else { return };
        let name = Arc::clone(self.name());
        let Ok(permit) = UNDER_WAY.try_acquire() else {
            tracing::warn!(client = &*name, "too many revocations are under way; these tokens are left to expire");
            return;
        };
        let registration = Arc::clone(self);
        self.issuer().control().start(async move {
            let tokens = [("refresh_token", refresh_token), ("access_token", access_token)];
            for (hint, token) in tokens.into_iter().filter_map(|(hint, token)| Some((hint, token?))) {
                let form = Form::default().with("token", token.expose()).with("token_type_hint", hint);
                // Section 2.2: 200 also for a token that the issuer no longer knows.
                let failed = match registration.ask(Cause::Session, endpoint.clone(), form).await {
                    Ok(reply) if reply.status.is_success() => None,
                    Ok(reply) => Some(Unanswered::Failed(format!("it answered {}", reply.status).into())),
                    Err(error) => Some(error),
                };
                if let Some(error) = failed {
                    tracing::warn!(client = &*name, token = hint, %error, "a token could not be revoked");
                }
            }
            drop(permit);
        });
    }
}
