//! The way to the provider. Comes in: a browser that is to sign in, and where it wants to go afterwards. Goes out: a new
//! attempt in its cookie, and the redirect; or the page to choose a provider from, where a site has several.

use std::sync::Arc;
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderValue, Method, Response, StatusCode};
use url::form_urlencoded;

use super::landing::Landing;
use super::pages::{self, Choice};
use super::{Door, LoginError, Met, Site, Visit};
use crate::idp::Registration;
use crate::idp::authorize::{AuthorizationRequest, Verifier, Wishes};
use crate::session::transaction::State;
use crate::session::{Asked, Transaction};
use crate::wire::Body;
use crate::wire::cookies::CookieChanges;
use crate::wire::form;

/// What a sign-in is to bring, beyond somebody who is signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Space-separated; instead of the site's own.
    pub acr_values: Option<Box<str>>,
    /// Seconds.
    pub max_age: Option<u64>,
}

/// What a request that has to wait for a sign-in needs of it.
#[derive(Debug, Default)]
pub struct Needs {
    pub ask: Ask,
    pub met: Met,
}

/// What a browser is sent to a provider for.
struct Errand<'a> {
    landing: &'a Landing,
    wishes: &'a Wishes,
    met: Met,
}

/// Behind the session cookie's name: the provider that was chosen last.
const REMEMBERED: &str = ".with";
const REMEMBERED_FOR: Duration = Duration::from_secs(90 * 86_400);

/// The longest hint that is passed on. Bytes.
const LONGEST_HINT: usize = 320;

impl Site {
    /// Sends a browser to sign in, and afterwards to `landing`. `method` is that of the request which needs it: whatever
    /// was not a GET becomes one (RFC 9700 section 4.12).
    ///
    /// # Errors
    /// [`LoginError::Authorize`] when the provider is out of reach.
    pub async fn begin(
        &self,
        visit: &Visit<'_>,
        landing: &Landing,
        needs: Needs,
        changes: &mut CookieChanges,
    ) -> Result<Response<Body>, LoginError> {
        let Needs { ask, met } = needs;
        match self.settings.registrations.as_slice() {
            [only] => {
                let wishes = self.wishes(&ask, None);
                self.send_to(only, visit, Errand { landing, wishes: &wishes, met }, changes).await
            }
            _ if ask != Ask::default() => {
                // Who is signed in has to show more: to the provider that knows them. There is nothing to choose, and on
                // the way over the page what is asked for would get lost.
                let session = self.sessions.peek(visit.cookies, visit.facts.now).await?;
                match session.and_then(|session| self.registration(&session.client)) {
                    Some(own) => {
                        let wishes = self.wishes(&ask, None);
                        self.send_to(own, visit, Errand { landing, wishes: &wishes, met }, changes).await
                    }
                    None => Ok(self.offer(visit, landing, met, changes).await),
                }
            }
            _ => Ok(self.offer(visit, landing, met, changes).await),
        }
    }

    /// The way to the page to choose from.
    async fn offer(
        &self,
        visit: &Visit<'_>,
        landing: &Landing,
        met: Met,
        changes: &mut CookieChanges,
    ) -> Response<Body> {
        let waiting =
            if met.is_something() { Some(self.await_choice(met, visit, landing, changes).await) } else { None };
        let query = query(landing, None, waiting.as_ref());
        redirect(visit.method, &format!("{}?{query}", self.path(Door::SignIn)))
    }

    /// `start?rd=…`: `client` names a provider, `login_hint` goes along, `form` names what waited for the choice. A link
    /// that a provider or a portal made says `iss` and `target_link_uri` instead (OpenID Connect Core section 4).
    pub(super) async fn start(
        &self,
        visit: &Visit<'_>,
        changes: &mut CookieChanges,
    ) -> Result<Response<Body>, LoginError> {
        let query = form::Form::parse(visit.query.as_bytes())?;
        let landing = self.landings.find_or_home(query.get("rd").or_else(|| query.get("target_link_uri")));
        let by_issuer = query.get("iss").and_then(|iss| {
            self.settings.registrations.iter().find(|registration| *registration.issuer().settings().issuer == *iss)
        });
        let named = query.get("client").and_then(|name| self.registration(name)).or(by_issuer);
        let chosen = named.or(match self.settings.registrations.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let Some(chosen) = chosen else { return self.begin(visit, &landing, Needs::default(), changes).await };
        if self.settings.registrations.len() > 1 {
            let name = format!("{}{REMEMBERED}", self.settings.cookie);
            changes.push(self.settings.cookie_scope.set(&name, &slug(chosen.name()), REMEMBERED_FOR));
        }
        let wishes = self.wishes(&Ask::default(), query.get("login_hint"));
        let met = self.chosen_for(query.get("form"), visit, &landing, changes).await;
        self.send_to(chosen, visit, Errand { landing: &landing, wishes: &wishes, met }, changes).await
    }

    /// `sign_in?rd=…`: the page to choose from.
    pub(super) fn choose(&self, visit: &Visit<'_>) -> Result<Response<Body>, LoginError> {
        let query = form::Form::parse(visit.query.as_bytes())?;
        let landing = self.landings.find_or_home(query.get("rd"));
        let waiting = query.get("form").and_then(State::parse);
        let remembered = visit.cookies.find(&format!("{}{REMEMBERED}", self.settings.cookie)).ok().flatten();
        let registrations = &self.settings.registrations;
        let choice = |registration: &Arc<Registration>| {
            let issuer = &registration.issuer().settings().name;
            let is_shared = registrations.iter().filter(|one| one.issuer().settings().name == *issuer).count() > 1;
            let label = if is_shared { registration.name() } else { issuer };
            Choice {
                label: (**label).into(),
                href: self.start_address(&landing, Some(registration.name()), waiting.as_ref()),
                remembered: remembered == Some(slug(registration.name()).as_str()),
            }
        };
        Ok(pages::choose(&self.settings.brand, &registrations.iter().map(choice).collect::<Vec<_>>()))
    }

    /// The link by which a sign-in begins.
    fn start_address(&self, landing: &Landing, client: Option<&str>, waiting: Option<&State>) -> String {
        format!("{}?{}", self.path(Door::Start), query(landing, client, waiting))
    }

    /// The link by which a sign-in begins anew, to land on `target` if that is an address of the site.
    pub fn start_again(&self, target: Option<&str>) -> String {
        self.start_address(&self.landings.find_or_home(target), None, None)
    }

    fn wishes(&self, ask: &Ask, login_hint: Option<&str>) -> Wishes {
        let own = &self.settings.wishes;
        Wishes {
            acr_values: ask.acr_values.clone().or_else(|| own.acr_values.clone()),
            max_age: ask.max_age.or(own.max_age),
            login_hint: login_hint.filter(|hint| hint.len() <= LONGEST_HINT).map(Box::from),
            ..own.clone()
        }
    }

    async fn send_to(
        &self,
        registration: &Arc<Registration>,
        visit: &Visit<'_>,
        errand: Errand<'_>,
        changes: &mut CookieChanges,
    ) -> Result<Response<Body>, LoginError> {
        let Errand { landing, wishes, met } = errand;
        let acr = wishes.acr_values.as_deref().unwrap_or_default().split(' ').filter(|acr| !acr.is_empty());
        let asked = Asked { acr: acr.map(Box::from).collect(), max_age: wishes.max_age };
        let now = visit.facts.now;
        let attempt = Transaction::new(&self.settings.name, registration.name(), landing.as_str(), asked, now);
        let attempt = Transaction { has_form: met.is_something(), ..attempt };
        let verifier = Verifier::kept(attempt.verifier.clone());
        let flow = self.settings.flow;
        let request = AuthorizationRequest {
            client_id: registration.client_id(),
            redirect_uri: &self.address(Door::Callback),
            response_type: flow.name,
            response_mode: self.settings.mode.name(flow),
            scope: &registration.settings().scope,
            state: attempt.state.expose(),
            nonce: &attempt.nonce,
            verifier: (flow.code && registration.settings().pkce).then_some(&verifier),
            wishes,
        };
        let address = registration.authorization_address(&request).await?;
        if let Met::Form(form) = met {
            self.keep_form(form, &attempt.state, now).await;
        }
        changes.extend(self.transactions.begin(&attempt, visit.cookies, now));
        Ok(redirect(visit.method, address.as_str()))
    }
}

/// What the way to a sign-in, and over the page to choose from, takes along.
fn query(landing: &Landing, client: Option<&str>, waiting: Option<&State>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("rd", landing.as_str());
    query.extend_pairs(client.map(|client| ("client", client)));
    query.extend_pairs(waiting.map(|state| ("form", state.expose())));
    query.finish()
}

/// A provider's name as a cookie can hold it.
fn slug(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

/// 302 after GET and HEAD, 303 after anything else: the next request is a GET in any case, and a body goes nowhere
/// (RFC 9700 section 4.12).
pub(super) fn redirect(method: &Method, address: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() =
        if *method == Method::GET || *method == Method::HEAD { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    pages::protect(response.headers_mut());
    response
}
