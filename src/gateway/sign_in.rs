//! Where the walk meets the sign-in: a request at one of a site's doors, and a browser that has to sign in first. Comes in:
//! what the room answers. Goes out: the same as an answer of the walk, its cookies handed to the exchange, which puts them
//! on whatever goes out.

use std::sync::Arc;

use http::Response;

use super::answer::Content;
use super::exchange::Exchange;
use super::refusal::{Kind, Refusal};
use super::request_body::RequestBodyError;
use crate::authn::{Forget, Tokens};
use crate::login::{Along, Ask, Brand, Entered, Failure, Landing, LoginError, Needs, SignedOut, Site, Visit};
use crate::plan::running::{DoorPlan, Plan};
use crate::wire::body::CappedError;
use crate::wire::cookies::OwnCookies;
use crate::wire::{Arrival, Body};

/// A sign-in or sign-out that came to nothing, for the page that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub failure: Failure,
    /// What the person is told.
    pub text: &'static str,
    /// The link by which to begin anew.
    pub start_again: String,
    pub brand: Arc<Brand>,
}

/// Serves a request at a door.
///
/// # Errors
/// [`Refusal`] when it came to nothing; the exchange has its cookies in any case.
pub async fn enter(
    plan: &Plan,
    door: &DoorPlan,
    exchange: &mut Exchange,
    mut arrival: Arrival,
    cookies: &OwnCookies,
) -> Result<Response<Content>, Refusal> {
    let site = &door.site;
    exchange.on_door(door);
    arrival.body = exchange.timely(arrival.body);
    let entered = site.enter(door.door, exchange.facts(), arrival, cookies).await;
    if let Some(signed_out) = &entered.along.signed_out {
        forget(plan, signed_out).await;
    }
    given(site, exchange, entered)
}

/// A sign-out at the provider may have revoked tokens: what is remembered of them is asked about again. The sessions have
/// ended by now, so a store that can't be told makes no failure of it; its answers end by themselves.
async fn forget(plan: &Plan, signed_out: &SignedOut) {
    let SignedOut { issuer, subject } = signed_out;
    let forget = Forget { tokens: Tokens::Subject(subject.clone()), issuer: Some(issuer.clone()) };
    if plan.forget(&forget).await.is_err() {
        tracing::warn!("answers that replicas share could not be taken back after a sign-out");
    }
}

/// Sends a browser to sign in, and afterwards back to what it asked for.
///
/// # Errors
/// [`Refusal`] when the provider is out of reach.
pub async fn begin(
    site: &Site,
    exchange: &mut Exchange,
    arrival: &mut Arrival,
    cookies: &OwnCookies,
    ask: Ask,
) -> Result<Response<Content>, Refusal> {
    let mut along = Along::default();
    // Field by field: a body can't be shared, so neither can what holds one.
    let Arrival { method, path, headers, body, .. } = arrival;
    *body = exchange.timely(std::mem::replace(body, Body::Empty));
    let landing = Landing::at(path);
    let query = path.query().unwrap_or_default();
    let visit = Visit { facts: exchange.facts(), method, headers, query, cookies };
    let met = site.take_form(&visit, &landing, path.target().as_str(), body).await;
    let answer = site.begin(&visit, &landing, Needs { ask, met }, &mut along.cookies).await;
    along.return_to = Some(landing.as_str().into());
    given(site, exchange, Entered { answer, along })
}

fn given(site: &Site, exchange: &mut Exchange, entered: Entered) -> Result<Response<Content>, Refusal> {
    let Entered { answer, along } = entered;
    exchange.carry(along.cookies);
    answer
        .map(|response| response.map(Content::Ours))
        .map_err(|error| refused(site, &error, along.return_to.as_deref()))
}

fn refused(site: &Site, error: &LoginError, return_to: Option<&str>) -> Refusal {
    if let LoginError::Body(CappedError::Broken(cause)) = error
        && let Some(RequestBodyError::Violation(violation)) = cause.downcast_ref()
    {
        return Refusal::from(*violation);
    }
    let reason = error.reason();
    tracing::warn!(site = &*site.settings().name, reason = reason.code(), %error, "a sign-in or sign-out came to nothing");
    let failure = error.failure();
    let kind = match failure {
        Failure::NoSession => Kind::NoCredential,
        Failure::TooLarge => Kind::Ours,
        Failure::Attempt | Failure::Told | Failure::Outage { .. } => Kind::SignIn(Box::new(SignIn {
            failure,
            text: error.text(),
            start_again: site.start_again(return_to),
            brand: Arc::clone(&site.settings().brand),
        })),
    };
    Refusal::new(reason, kind)
}
