//! The provider's page loads this in a frame (OpenID Connect Front-Channel Logout 1.0 section 2). Comes in: `iss` and `sid`.
//! Goes out: the session of this browser has ended if it is that one. Browsers send no `Lax` cookie into a frame of
//! another site, so sessions that are kept on this side are also found by `sid`, which only provider and browser know. Of
//! those that lie in cookies only the one that is shown ends: anybody may ask, so nothing is remembered of whom this side
//! does not know. Nothing is revoked: the provider knows already.

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, Response};

use super::{Along, LoginError, Site, Visit};
use crate::wire::Body;
use crate::wire::form::Form;

impl Site {
    pub(super) async fn frontchannel_logout(
        &self,
        visit: &Visit<'_>,
        along: &mut Along,
    ) -> Result<Response<Body>, LoginError> {
        let query = Form::parse(visit.query.as_bytes())?;
        let (Some(issuer), Some(sid)) = (query.get("iss"), query.get("sid")) else { return Err(LoginError::Carrier) };
        if !self.settings.registrations.iter().any(|one| *one.issuer().settings().issuer == *issuer) {
            return Err(LoginError::OtherIssuer);
        }
        let now = visit.facts.now;
        let current = self.sessions.peek(visit.cookies, now).await?;
        if current.is_some_and(|session| *session.issuer == *issuer && session.sid.as_deref() == Some(sid)) {
            along.cookies.extend(self.sessions.end(visit.cookies, now).await?.1);
        }
        self.sessions.end_known(issuer, sid).await?;
        let mut response = Response::new(Body::Empty);
        // The one answer that may be framed, and by the providers of this site alone.
        let origins = self.settings.registrations.iter().filter_map(|one| {
            let url = url::Url::parse(&one.issuer().settings().issuer).ok()?;
            Some(url.origin().ascii_serialization())
        });
        let policy = format!("default-src 'none'; frame-ancestors {}", origins.collect::<Vec<_>>().join(" "));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        Ok(response)
    }
}
