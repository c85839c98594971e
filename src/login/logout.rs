//! Sign-out. Comes in: a browser that wants out, or that a foreign link sent here. Goes out: no session any more, on this
//! side first; then the tokens are revoked and the browser goes to the provider, so that it is signed out there too
//! (OpenID Connect RP-Initiated Logout 1.0), and comes back to `signed_out`. Who was sent here by another site is asked.

use std::time::Duration;

use http::header::{HeaderName, ORIGIN};
use http::{Method, Response};
use url::{Url, form_urlencoded};

use super::callback::taken;
use super::landing::Landing;
use super::start::redirect;
use super::{Along, Door, LoginError, Site, Visit, pages};
use crate::idp::Registration;
use crate::seal::{Secret, random};
use crate::session::Session;
use crate::wire::Body;
use crate::wire::form::Form;

/// Behind the session cookie's name: the sign-out that is under way at the provider.
const UNDER_WAY: &str = ".out";
const UNDER_WAY_FOR: Duration = Duration::from_secs(600);

/// The largest form of a sign-out. Bytes.
const FORM_LIMIT: usize = 16 * 1024;

/// The longest ID token that fits into an address beside the rest. Bytes.
const LONGEST_HINT: usize = 6 * 1024;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Site {
    pub(super) async fn sign_out(
        &self,
        visit: &Visit<'_>,
        body: Body,
        along: &mut Along,
    ) -> Result<Response<Body>, LoginError> {
        let query = Form::parse(visit.query.as_bytes())?;
        let form = match *visit.method {
            Method::POST if !matches!(body, Body::Empty) => taken(visit.headers, body, FORM_LIMIT).await?,
            _ => Form::default(),
        };
        let wanted = form.get("rd").or_else(|| query.get("rd"));
        let wanted = wanted.and_then(|wanted| self.landings.find(wanted));
        if !self.is_own_wish(visit) {
            let fields: Vec<(&str, &str)> = wanted.iter().map(|landing| ("rd", landing.as_str())).collect();
            return Ok(pages::confirm_sign_out(&self.settings.brand, &self.path(Door::SignOut), &fields));
        }
        let landing = wanted.or_else(|| self.settings.after_sign_out.clone());
        let (session, changes) = self.sessions.end(visit.cookies, visit.facts.now).await?;
        along.cookies.extend(changes);
        let Some(session) = session else { return Ok(self.signed_out_at(visit, landing.as_ref())) };
        let Some(registration) = self.registration(&session.client) else {
            return Ok(self.signed_out_at(visit, landing.as_ref()));
        };
        registration.revoke(session.tokens.refresh.clone(), session.tokens.access.clone());
        match registration.issuer().metadata().endpoints.end_session.clone() {
            Some(endpoint) => {
                Ok(self.out_at_provider(registration, endpoint, &session, landing.as_ref(), visit, along))
            }
            None => Ok(self.signed_out_at(visit, landing.as_ref())),
        }
    }

    /// `signed_out`: where the provider sends back to. Only the `state` that this browser was sent out with leads on.
    pub(super) fn signed_out(&self, visit: &Visit<'_>, along: &mut Along) -> Response<Body> {
        let name = format!("{}{UNDER_WAY}", self.settings.cookie);
        let under_way = visit.cookies.find(&name).ok().flatten();
        let landing = under_way.and_then(|sealed| {
            let opened = self.sign_out_ring.open_text(&name, sealed).ok()?;
            let (state, landing) = std::str::from_utf8(&opened.plain).ok()?.split_once(' ')?;
            let query = Form::parse(visit.query.as_bytes()).ok()?;
            let is_ours = Secret::new(state.to_owned()).equals(query.get("state")?.as_bytes());
            is_ours.then(|| self.landings.find(landing)).flatten()
        });
        if under_way.is_some() {
            along.cookies.push(self.settings.cookie_scope.clear(&name));
        } else if visit.query.contains("state=") {
            tracing::debug!(
                site = &*self.settings.name,
                "a browser came back from a sign-out that it did not begin here"
            );
        }
        self.signed_out_at(visit, landing.as_ref())
    }

    /// Whether a request was made by a page of this very site; an old browser says so by `Origin` alone.
    pub(super) fn is_own(&self, visit: &Visit<'_>) -> bool {
        let own = self.settings.url.origin().ascii_serialization();
        match (visit.headers.get(FETCH_SITE), visit.headers.get(ORIGIN)) {
            (Some(site), _) => site.as_bytes() == b"same-origin",
            (None, origin) => origin.is_some_and(|origin| origin.as_bytes() == own.as_bytes()),
        }
    }

    /// By a POST or a click of this site or its siblings, or by the person's own hand; not by what another site's page
    /// makes a browser send (configuration contract, section 8).
    fn is_own_wish(&self, visit: &Visit<'_>) -> bool {
        let fetch_site = visit.headers.get(FETCH_SITE).map(http::HeaderValue::as_bytes);
        let own = self.settings.url.origin().ascii_serialization();
        let is_own_origin = visit.headers.get(ORIGIN).is_none_or(|origin| origin.as_bytes() == own.as_bytes());
        match (fetch_site, visit.method == Method::POST) {
            (Some(b"same-origin" | b"same-site" | b"none"), _) => true,
            (Some(_), _) => false,
            // An old browser: what it says of a POST is where that came from.
            (None, true) => is_own_origin,
            (None, false) => false,
        }
    }

    fn signed_out_at(&self, visit: &Visit<'_>, landing: Option<&Landing>) -> Response<Body> {
        match landing {
            Some(landing) if landing.as_str() != self.path(Door::SignedOut) => redirect(visit.method, landing.as_str()),
            _ => pages::signed_out(&self.settings.brand, &self.start_again(None)),
        }
    }

    /// OpenID Connect RP-Initiated Logout section 2.
    fn out_at_provider(
        &self,
        registration: &Registration,
        endpoint: Url,
        session: &Session,
        landing: Option<&Landing>,
        visit: &Visit<'_>,
        along: &mut Along,
    ) -> Response<Body> {
        let state = random::token();
        let name = format!("{}{UNDER_WAY}", self.settings.cookie);
        let kept =
            format!("{state} {}", landing.map_or_else(|| self.path(Door::SignedOut), |one| one.as_str().to_owned()));
        let sealed = self.sign_out_ring.seal_text(&name, kept.as_bytes());
        along.cookies.push(self.settings.attempt_scope().set(&name, &sealed, UNDER_WAY_FOR));
        let mut address = endpoint;
        let mut query =
            form_urlencoded::Serializer::new(address.query().map_or_else(String::new, |own| format!("{own}&")));
        query.append_pair("client_id", registration.client_id());
        if let Some(hint) = session.tokens.id.as_ref().filter(|hint| hint.expose().len() <= LONGEST_HINT) {
            query.append_pair("id_token_hint", hint.expose());
        }
        query.append_pair("post_logout_redirect_uri", &self.address(Door::SignedOut)).append_pair("state", &state);
        address.set_query(Some(&query.finish()));
        redirect(visit.method, address.as_str())
    }
}
