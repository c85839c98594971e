//! The provider tells of a logout (OpenID Connect Back-Channel Logout 1.0 section 2.5). Comes in: a logout token, posted by
//! the provider's server. Goes out: every session that it names has ended; 200, or 400 and nothing has changed.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::callback::taken;
use super::{Along, LoginError, SignedOut, Site, Visit};
use crate::idp::Registration;
use crate::idp::logout_token::{self, LogoutToken, LogoutTokenError};
use crate::kv::Key;
use crate::session::Sessions;
use crate::wire::Body;

/// The largest form with a logout token. Bytes.
const FORM_LIMIT: usize = 32 * 1024;

impl Site {
    pub(super) async fn backchannel_logout(
        &self,
        visit: &Visit<'_>,
        body: Body,
        along: &mut Along,
    ) -> Result<Response<Body>, LoginError> {
        if !self.settings.takes_logout_tokens {
            return Err(LoginError::LogoutReplayed);
        }
        let form = taken(visit.headers, body, FORM_LIMIT).await?;
        let text = form.get("logout_token").ok_or(LogoutTokenError::Malformed)?;
        let (registration, token) = self.checked(text, visit).await?;
        let now = visit.facts.now;
        let issuer = &*registration.issuer().settings().issuer;
        let used = Key::new("used-logout-token", &[issuer.as_bytes(), token.id.as_bytes()]);
        if self.kv.get(&used).await?.is_some() {
            return Err(LoginError::LogoutReplayed);
        }
        along.signed_out = token.subject.clone().map(|subject| SignedOut { issuer: issuer.into(), subject });
        // The token is used up afterwards: what an outage, or our own end, interrupts, the provider may try again.
        for sessions in self.told(registration) {
            sessions.end_all(issuer, token.subject.as_deref(), token.session.as_deref(), now).await?;
        }
        if !self.kv.put_if_absent(&used, Bytes::from_static(b"1"), token.remember_until.since(now)).await? {
            return Err(LoginError::LogoutReplayed);
        }
        tracing::info!(site = &*self.settings.name, "the provider has ended sessions");
        Ok(Response::new(Body::Empty))
    }

    /// The sessions of this site and of all others with the same registration: a provider has one address for each client.
    fn told(&self, registration: &Registration) -> impl Iterator<Item = &Arc<Sessions>> {
        let others = self.settings.told.iter().filter(|one| !Arc::ptr_eq(one, &self.sessions));
        let concerned = |one: &&Arc<Sessions>| {
            let mut theirs = one.settings().registrations.iter();
            theirs.any(|theirs| theirs.name() == registration.name())
        };
        std::iter::once(&self.sessions).chain(others.filter(concerned))
    }

    /// The token, checked as for the registration that it is for.
    async fn checked(&self, text: &str, visit: &Visit<'_>) -> Result<(&Registration, LogoutToken), LoginError> {
        let stated = logout_token::stated_issuer(text).ok_or(LogoutTokenError::Malformed)?;
        let mut refused = LogoutTokenError::Issuer;
        for registration in &self.settings.registrations {
            let issuer = registration.issuer();
            if *issuer.settings().issuer != *stated {
                continue;
            }
            match issuer.check_logout_token(text, registration.client_id(), visit.facts.now).await {
                Ok(token) => return Ok((registration, token)),
                // Another registration at the same issuer may be the one that is meant.
                Err(LogoutTokenError::Audience) => refused = LogoutTokenError::Audience,
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.into())
    }
}
