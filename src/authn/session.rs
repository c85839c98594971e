//! The session way. Comes in: our cookies of a request. Goes out: the caller who signed in, nobody, or that it can't be
//! said now; and what is to become of the cookies.

use std::sync::Arc;

use super::cross_site::CrossSite;
use super::{AuthnError, Seen};
use crate::caller::{Caller, How, Identity, Kind, Known, ScopeSet};
use crate::clock::Time;
use crate::session::{FindError, Session, Sessions};
use crate::wire::Arrival;
use crate::wire::cookies::OwnCookies;

/// A route's sessions: of which site, and what others may not cause.
#[derive(Debug)]
pub struct SessionWay {
    sessions: Arc<Sessions>,
    cross_site: CrossSite,
    /// WebSockets and streams end with the session that opened them.
    ends_streams: bool,
}

impl SessionWay {
    pub const fn new(sessions: Arc<Sessions>, cross_site: CrossSite, ends_streams: bool) -> Self {
        Self { sessions, cross_site, ends_streams }
    }

    pub const fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    pub(super) async fn judge(
        &self,
        now: Time,
        arrival: &mut Arrival,
        cookies: &OwnCookies,
    ) -> Result<Seen, AuthnError> {
        if !self.sessions.is_shown(cookies) {
            return Ok(Seen::default());
        }
        // Before the session is looked for: what another site causes does not even keep one alive.
        if self.cross_site.is_refused(arrival) {
            return Err(AuthnError::CrossSite);
        }
        let found = self.sessions.find(cookies, now).await.map_err(unknown)?;
        let known = match &found.session {
            None => Known::Nobody,
            // A session without its registration was no session already.
            Some(live) => live
                .caller(|session| self.caller(session))
                .map_or(Known::Nobody, |caller| Known::Caller(Arc::clone(caller))),
        };
        let lasting = found.session.filter(|_| self.ends_streams).map(|live| (Arc::clone(&self.sessions), live));
        Ok(Seen { known, cookies: found.changes, lasting })
    }

    fn caller(&self, session: &Session) -> Option<Caller> {
        let registration = self.sessions.registration(session)?;
        let issuer = registration.issuer().settings();
        let scope = session.tokens.scope.as_deref().unwrap_or(&registration.settings().scope);
        let caller = Caller::new(Identity {
            issuer: Arc::clone(&issuer.name),
            iss: Arc::clone(&issuer.issuer),
            subject: Some(session.subject.clone()),
            client_id: Some(registration.client_id().into()),
            kind: Kind::User,
            how: How::Session,
            scopes: ScopeSet::parse(scope),
            claims: session.claims.clone(),
            expires_at: session.over_at(self.sessions.settings().absolute),
        });
        Some(match &session.tokens.access {
            Some(token) => caller.with_token(token.clone(), session.tokens.access_expires_at),
            None => caller,
        })
    }
}

fn unknown(error: FindError) -> AuthnError {
    match error {
        FindError::Repeated => AuthnError::Repeated,
        FindError::Store(error) => {
            tracing::warn!(%error, "a session can't be looked for");
            AuthnError::Session { reason: error.reason(), retry_after: error.retry_after() }
        }
        FindError::Issuer { retry_after } => {
            AuthnError::Session { reason: crate::reason::Reason::SessionIssuer, retry_after: Some(retry_after) }
        }
    }
}
