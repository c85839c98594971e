//! Reaches what a configuration relies on, once: issuers and their keys, introspection, clients that people sign in
//! through, Redis, upstreams. Comes in: a
//! plan that was compiled and not started. Goes out: one line for each, with the place in the configuration that it is
//! about. Requests of others are not concerned: nothing listens.

use std::sync::Arc;
use std::time::Duration;

use crate::authn::Introspection;
use crate::clock::Clock;
use crate::config::ValuePath;
use crate::idp::authorize::Verifier;
use crate::idp::introspect::{IntrospectError, Introspected};
use crate::idp::token::{Grant, OAuthError, TokenError};
use crate::idp::{Issuer, Registration, Standing};
use crate::kv::Kv;
use crate::login::Site;
use crate::plan::running::Plan;
use crate::seal::{Secret, random};
use crate::upstream::Upstream;

/// One thing that was tried.
#[derive(Debug)]
pub struct Tried {
    /// Where it stands in the configuration.
    pub path: ValuePath,
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// What was found.
    Good(String),
    /// What is wrong, and what might help.
    Wrong(String, String),
}

/// Issuers have deadlines of their own for each request; this one is for a first load as a whole.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries everything, one after the other, in the order of the sections.
pub async fn reach(plan: &Plan, clock: &Clock) -> Vec<Tried> {
    for issuer in &plan.issuers {
        issuer.start();
    }
    if let Some(redis) = &plan.redis {
        redis.start();
    }
    let mut tried = Vec::new();
    for issuer in &plan.issuers {
        let path = ValuePath::root().key("issuers").key(&issuer.settings().name);
        let outcome = reach_issuer(issuer, clock).await;
        // An endpoint that is configured can be tried without anything that the issuer publishes.
        let is_known = matches!(outcome, Outcome::Good(_)) || issuer.metadata().endpoints.introspection.is_some();
        tried.push(Tried { path: path.clone(), outcome });
        let introspection = plan.introspections.iter().find(|asked| asked.issuer().id() == issuer.id());
        if let Some(introspection) = introspection.filter(|_| is_known) {
            tried.push(Tried { path: path.key("introspection"), outcome: ask(introspection).await });
        }
    }
    tried.extend(plan.sites.iter().flat_map(|site| unnamed(site)));
    tried.extend(reach_clients(plan).await);
    if let Some(redis) = &plan.redis {
        let path = ValuePath::root().key("sessions").key("redis");
        tried.push(Tried { path, outcome: reach_redis(redis).await });
    }
    for upstream in &plan.upstreams {
        tried.extend(reach_upstream(upstream, clock).await);
    }
    tried
}

async fn reach_issuer(issuer: &Issuer, clock: &Clock) -> Outcome {
    let hint = || "is `issuer` what its discovery document says, and is it reachable from here?".to_owned();
    tokio::select! {
        () = issuer.attempted(1) => {}
        () = clock.sleep(PATIENCE) => return Outcome::Wrong(format!("no answer within {PATIENCE:?}"), hint()),
    }
    match issuer.standing() {
        Standing::Ready { keys, skipped: 0, .. } => Outcome::Good(format!("reached, {}", counted(keys, "key"))),
        Standing::Ready { keys, skipped, .. } => {
            Outcome::Good(format!("reached, {}, {} that can't be used", counted(keys, "key"), counted(skipped, "more")))
        }
        Standing::Waiting { error } => Outcome::Wrong(error.as_deref().unwrap_or("not reached").to_owned(), hint()),
        Standing::Degraded { error, .. } => Outcome::Wrong(error.as_ref().to_owned(), hint()),
    }
}

/// The providers of a site with several that do not say that they name themselves in their answers (RFC 9207): answers
/// without a name are refused there.
fn unnamed(site: &Site) -> Vec<Tried> {
    let settings = site.settings();
    let several = settings.registrations.windows(2).any(|pair| match pair {
        [one, other] => one.issuer().id() != other.issuer().id(),
        _ => false,
    });
    let silent = settings.registrations.iter().enumerate().filter(|(_, registration)| {
        let issuer = registration.issuer();
        several && matches!(issuer.standing(), Standing::Ready { .. }) && !issuer.metadata().names_itself_in_answers
    });
    let wrong = |(index, registration): (usize, &Arc<Registration>)| {
        let name = &registration.issuer().settings().name;
        let message =
            format!("`{name}` does not announce that its answers name it, which a site with several providers needs");
        let hint = "turn on `authorization_response_iss_parameter_supported` (RFC 9207) at the provider, or give it a site of its own";
        let path = ValuePath::root().key("sites").key(&settings.name).key("sign_in").index(index);
        Tried { path, outcome: Outcome::Wrong(message, hint.to_owned()) }
    };
    silent.map(wrong).collect()
}

/// Asks about a token that nobody has issued.
async fn ask(introspection: &Introspection) -> Outcome {
    let introspector = introspection.introspector();
    let Ok(leave) = introspector.leave() else {
        return Outcome::Wrong("the endpoint is left alone".to_owned(), "try again".to_owned());
    };
    match introspector.ask(leave, &Secret::new(random::token())).await {
        Ok(Introspected::Inactive) => Outcome::Good("our client may introspect".to_owned()),
        Ok(Introspected::Active(..)) => Outcome::Wrong(
            "it says of a token that nobody has issued that it is active".to_owned(),
            "every token would pass: this is no introspection endpoint to rely on".to_owned(),
        ),
        Ok(Introspected::Unclear) => Outcome::Wrong(
            "it does not say whether a token is active".to_owned(),
            "the answer needs `\"active\": false` (RFC 7662 section 2.2)".to_owned(),
        ),
        Err(error @ IntrospectError::Refused(_)) => Outcome::Wrong(
            error.to_string(),
            "look at the client's secret and `authentication`, and whether the issuer lets it introspect".to_owned(),
        ),
        Err(error @ IntrospectError::NoEndpoint) => {
            Outcome::Wrong(error.to_string(), "`endpoints: { introspection: … }`".to_owned())
        }
        Err(error) => Outcome::Wrong(error.to_string(), "an introspection endpoint (RFC 7662)".to_owned()),
    }
}

/// Every registration that a site uses, whose issuer is there: whether the issuer knows it.
async fn reach_clients(plan: &Plan) -> Vec<Tried> {
    let mut tried: Vec<Tried> = Vec::new();
    for site in &plan.sites {
        let settings = site.settings();
        for registration in &settings.registrations {
            let path = ValuePath::root().key("clients").key(registration.name());
            let is_there = matches!(registration.issuer().standing(), Standing::Ready { .. });
            if is_there && !tried.iter().any(|other| other.path == path) {
                let redirect_uri =
                    format!("{}{}/callback", settings.url.origin().ascii_serialization(), settings.prefix);
                tried.push(Tried { path, outcome: redeem(registration, &redirect_uri).await });
            }
        }
    }
    tried
}

/// Redeems a code that nobody has issued: the issuer looks at the client first (RFC 6749 section 5.2).
async fn redeem(registration: &Registration, redirect_uri: &str) -> Outcome {
    if registration.issuer().metadata().endpoints.authorization.is_none() {
        let hint = "`endpoints: { authorization: … }`, or another issuer: people can't be sent there".to_owned();
        return Outcome::Wrong("its issuer names no authorization endpoint".to_owned(), hint);
    }
    let (code, verifier) = (Secret::new(random::token()), Verifier::random());
    let verifier = registration.settings().pkce.then_some(&verifier);
    match registration.redeem(Grant::Code { code: &code, redirect_uri, verifier }).await {
        Err(TokenError::Refused(error @ (OAuthError::InvalidClient | OAuthError::UnauthorizedClient))) => {
            let hint = "look at its secret, its `authentication`, and the grant types that the issuer allows it";
            Outcome::Wrong(format!("the issuer does not take our client: {error}"), hint.to_owned())
        }
        Err(TokenError::Refused(OAuthError::InvalidGrant)) => Outcome::Good("the issuer knows our client".to_owned()),
        Err(TokenError::Refused(error)) => Outcome::Good(format!("the issuer answers our client, with {error}")),
        Err(error) => Outcome::Wrong(error.to_string(), "a token endpoint (RFC 6749 section 3.2)".to_owned()),
        Ok(_) => Outcome::Wrong(
            "the issuer gave tokens for a code that nobody has issued".to_owned(),
            "whoever sends any code would be signed in".to_owned(),
        ),
    }
}

async fn reach_redis(redis: &Kv) -> Outcome {
    match redis.ping().await {
        Ok(()) => Outcome::Good("reached, and it lets us in".to_owned()),
        Err(error) => Outcome::Wrong(error.to_string(), "address, TLS, user and password".to_owned()),
    }
}

async fn reach_upstream(upstream: &Upstream, clock: &Clock) -> Vec<Tried> {
    let path = ValuePath::root().key("upstreams").key(upstream.name()).key("servers");
    let tried = upstream.reach(clock).await.into_iter().enumerate().map(|(index, reached)| {
        let outcome = match reached.outcome {
            Ok(()) => Outcome::Good(format!("{} reached", reached.server)),
            Err(error) => Outcome::Wrong(
                format!("{} can't be reached: {error}", reached.server),
                "is it running, and is the address right?".to_owned(),
            ),
        };
        Tried { path: path.index(index), outcome }
    });
    tried.collect()
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 || what == "more" { "" } else { "s" };
    format!("{count} {what}{plural}")
}
