//! The walk of a request, on one screen: arrival → route → credential → decision → upstream. Comes in: what hyper read
//! on a connection. Goes out: the upstream's answer, or a refusal. Each step consumes what the one before proved:
//! `Request → Arrival → Known → Permit → Outgoing → Response`, so no step can be left out.

mod answer;
mod audience;
mod exchange;
mod forward;
mod lasting;
mod metadata;
mod pages;
mod refusal;
mod request_body;
mod respond;
mod sign_in;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HeaderName, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;

pub use answer::Answer;
use exchange::Exchange;
use forward::Beyond;
use lasting::Lasting;
use refusal::{Kind, Refusal};

use crate::authn;
use crate::deadline::{Slot, Sweeper};
use crate::login::Ask;
use crate::outbound::{self, OutboundError};
use crate::plan::router::Found;
use crate::plan::running::{DoorPlan, Plan, Route, Target};
use crate::policy::{Denial, Requirement};
use crate::reason::Reason;
use crate::upstream::Pools;
use crate::wire::arrival::{self, Arrival};
use crate::wire::cookies::OwnCookies;
use crate::wire::facts::{Facts, Scheme};
use crate::wire::watch::Watch;
use crate::wire::{Body, facts};

/// What one worker serves requests with: the plan, its own connections, its own meters. A reload gives a new one.
pub struct View {
    pub plan: Arc<Plan>,
    pub pools: Pools,
    pub shared: Arc<Shared>,
    pub sweeper: Sweeper,
    pub request_ids: std::sync::Mutex<crate::seal::random::RequestIds>,
}

/// What all workers share.
pub struct Shared {
    pub clock: crate::clock::Clock,
    pub metrics: crate::telemetry::Metrics,
    pub access_log: Option<crate::telemetry::AccessLog>,
    /// Runs before the walk, in tests that need a handler to fail.
    pub fault: Option<fn(&Parts)>,
}

/// One client's connection.
pub struct Connection {
    pub view: Arc<View>,
    pub peer: Option<std::net::SocketAddr>,
    pub scheme: Scheme,
    /// The watch below hyper; `None` over HTTP/2.
    pub watch: Option<Arc<Watch>>,
    /// For the one exchange at a time of HTTP/1.1.
    pub slot: Arc<Slot>,
    /// What must live as long as the connection, a tunnel that it became included.
    pub kept: Arc<dyn std::any::Any + Send + Sync>,
    /// `redirect_to_https`: every request is sent to the same address by https.
    pub redirect_to_https: bool,
    pub requests: AtomicU64,
    /// What upstreams were told of it last.
    pub told: outbound::Told,
}

/// Serves one request. Never fails: whatever goes wrong is an answer.
pub async fn handle(connection: Arc<Connection>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let number = connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (parts, incoming) = request.into_parts();
    let is_old = parts.version == http::Version::HTTP_10;
    let mut exchange = Exchange::open(&connection, &parts);
    let violation = connection.watch.as_ref().and_then(|watch| watch.violation_of(number));
    let walked = match violation {
        Some(violation) => Err(Refusal::from(violation)),
        None => {
            let walking = std::pin::pin!(walk(&connection, &mut exchange, parts, incoming));
            match Caught(walking).await {
                Ok(walked) => walked,
                Err(Panicked) => Err(Refusal::new(Reason::Internal, Kind::Ours)),
            }
        }
    };
    let mut response = match walked {
        Ok(response) => exchange.close(response),
        Err(refusal) => exchange.refuse(&refusal),
    };
    if is_old && hyper::body::Body::size_hint(response.body()).exact().is_none() {
        // HTTP/1.0 has no chunks: only the end of the connection tells where such a body ends. An answer of that version
        // which does not ask to keep the connection makes hyper end it; otherwise it would say `keep-alive` first.
        *response.version_mut() = http::Version::HTTP_10;
    }
    Ok(response)
}

async fn walk(
    connection: &Connection,
    exchange: &mut Exchange,
    mut parts: Parts,
    incoming: Incoming,
) -> Result<Response<answer::Content>, Refusal> {
    let view = &connection.view;
    if let Some(fault) = view.shared.fault {
        fault(&parts);
    }
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let body = if hyper::body::Body::is_end_stream(&incoming) { Body::Empty } else { Body::Incoming(incoming) };
    exchange.on_body(&body);
    let mut arrival = arrival::check(parts, body, &view.plan.owned, &view.plan.limits)?;
    let cookies = OwnCookies::take(&mut arrival.headers, &view.plan.own_cookies);
    if connection.redirect_to_https && exchange.facts().scheme == Scheme::Http {
        return redirect_to_https(&arrival);
    }
    let (route, parameters) = match find(&view.plan, &arrival)? {
        Where::Route(route, parameters) => (route, parameters),
        Where::Resource(number) => return metadata::answer(&view.plan, number, exchange.facts(), &arrival),
        Where::Jwks => return metadata::jwks(&view.plan),
        // Boxed, so that the walk's own future stays small.
        Where::Door(door) => return Box::pin(sign_in::enter(&view.plan, door, exchange, arrival, &cookies)).await,
    };
    exchange.on_route(route);
    let preflight = route.forwards_preflight && is_preflight(&arrival);
    let seen = if preflight {
        // Browsers send preflights without credentials; what comes with one goes no further.
        arrival.headers.remove(AUTHORIZATION);
        authn::Seen::default()
    } else {
        authn::identify(&route.ways, exchange.facts(), &mut arrival, &cookies).await?
    };
    exchange.on_known(&seen.known);
    exchange.carry(seen.cookies);
    let lasting = seen.lasting.map(|(sessions, live)| Lasting::new(sessions, live));
    let public = Requirement::public();
    let requirement = if preflight { &public } else { &route.requirement };
    let permit = match requirement.admit(seen.known, exchange.facts(), &arrival, &parameters) {
        Ok(permit) => permit,
        // Boxed, so that the walk's own future stays small.
        Err(denial) => return Box::pin(denied(&view.plan, route, exchange, &mut arrival, &cookies, denial)).await,
    };
    let now = exchange.facts().now;
    let ready = match route.dress.at_hand(&permit, &arrival.headers, now) {
        _ if preflight => Ok(route.dress.bare()),
        Some(ready) => ready,
        // Boxed, so that the walk's own future stays small.
        None => Box::pin(route.dress.obtain(&permit, &arrival.headers, now)).await,
    };
    let ready = match ready {
        // Signing in again brings another token to exchange.
        Err(OutboundError::TokenOver) => {
            let denial = Denial::Unauthenticated;
            return Box::pin(denied(&view.plan, route, exchange, &mut arrival, &cookies, denial)).await;
        }
        ready => ready?,
    };
    let asked_upgrade = arrival.upgrade.take();
    let outgoing = outbound::dress(ready, permit, arrival, exchange.facts(), &connection.told)?;
    forward::send(connection, route, exchange, outgoing, Beyond { switch: asked_upgrade.zip(upgrade), lasting }).await
}

/// A person who has to sign in first, or better, is sent there; everybody else is refused. Only a top-level navigation is
/// sent anywhere, and only one that a session could help: beside `Authorization` none is looked at.
async fn denied(
    plan: &Plan,
    route: &Route,
    exchange: &mut Exchange,
    arrival: &mut Arrival,
    cookies: &OwnCookies,
    denial: Denial,
) -> Result<Response<answer::Content>, Refusal> {
    let site = route.site.and_then(|number| plan.sites.get(number));
    let site = site.filter(|_| exchange.is_navigation() && !arrival.headers.contains_key(AUTHORIZATION));
    let ask = match (&denial, site) {
        (Denial::Unauthenticated, Some(_)) => Ask::default(),
        (Denial::StepUp { acr_values, max_age, .. }, Some(_)) => {
            Ask { acr_values: acr_values.as_deref().map(Box::from), max_age: *max_age }
        }
        _ => return Err(denial.into()),
    };
    let Some(site) = site else { return Err(denial.into()) };
    exchange.on_denied(denial.reason());
    let mut response = sign_in::begin(site, exchange, arrival, cookies, ask).await?;
    exchange.leave_body(response.headers_mut());
    Ok(response)
}

/// The same address by https (RFC 9110 section 15.4.9: method and body are kept).
fn redirect_to_https(arrival: &Arrival) -> Result<Response<answer::Content>, Refusal> {
    let host = arrival.host.as_ref().map(arrival::Host::name);
    let location = host.and_then(|host| format!("https://{host}{}", arrival.path.target()).parse().ok());
    let Some(location) = location else { return Err(arrival::ArrivalError::Host.into()) };
    let mut response = Response::new(answer::Content::Ours(Body::Empty));
    *response.status_mut() = http::StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(http::header::LOCATION, location);
    // A permanent redirect is stored for ever unless it says otherwise; ours is for as long as it is configured.
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Values of `{name}` segments; empty for most routes.
type Parameters = Vec<(Box<str>, Box<str>)>;

enum Where<'p> {
    Route(&'p Route, Parameters),
    Resource(usize),
    Jwks,
    Door(&'p DoorPlan),
}

fn find<'p>(plan: &'p Plan, arrival: &Arrival) -> Result<Where<'p>, Refusal> {
    let host = arrival.host.as_ref().map(arrival::Host::name);
    let path = arrival.path.as_str();
    let found = match asked_method(arrival).map(|method| plan.router.find(host, path, &method)) {
        // A preflight asks about another method: if that one's route answers preflights above, it goes there.
        Some(found) if forwards_preflight(plan, &found) => found,
        _ => plan.router.find(host, path, &arrival.method),
    };
    let nothing = || Refusal::new(Reason::RouteNone, Kind::NoRoute);
    let encoded_slash = || Refusal::new(Reason::RequestTarget, Kind::Malformed { status: 400, close: true });
    match found {
        Found::Route { target: Target::Route(number), parameters } => {
            let route = plan.routes.get(*number).ok_or_else(nothing)?;
            if arrival.path.has_encoded_slash() && !route.keeps_encoded_slash {
                return Err(encoded_slash());
            }
            let parameters = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            Ok(Where::Route(route, parameters))
        }
        _ if arrival.path.has_encoded_slash() => Err(encoded_slash()),
        Found::Route { target: Target::Resource(number), .. } => Ok(Where::Resource(*number)),
        Found::Route { target: Target::Jwks, .. } => Ok(Where::Jwks),
        Found::Route { target: Target::Door(number), .. } => {
            plan.doors.get(*number).map(Where::Door).ok_or_else(nothing)
        }
        Found::Method { allow } => Err(Refusal::new(Reason::RouteMethod, Kind::NoMethod { allow })),
        Found::Nothing => Err(nothing()),
    }
}

fn forwards_preflight(plan: &Plan, found: &Found<'_, '_, Target>) -> bool {
    let Found::Route { target: Target::Route(number), .. } = found else { return false };
    plan.routes.get(*number).is_some_and(|route| route.forwards_preflight)
}

/// A CORS preflight (Fetch standard): OPTIONS with an origin and the method it asks for.
fn is_preflight(arrival: &Arrival) -> bool {
    arrival.method == Method::OPTIONS
        && arrival.headers.contains_key(ORIGIN)
        && arrival.headers.contains_key(http::header::ACCESS_CONTROL_REQUEST_METHOD)
        && matches!(arrival.body, Body::Empty)
}

fn asked_method(arrival: &Arrival) -> Option<Method> {
    if !is_preflight(arrival) {
        return None;
    }
    let asked = arrival.headers.get(http::header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

/// The facts of a request, read before owned names are removed.
fn facts(connection: &Connection, parts: &Parts) -> Facts {
    let view = &connection.view;
    let way =
        crate::wire::forwarded::way(connection.peer, connection.scheme, &parts.headers, &view.plan.trusted_proxies);
    let now = view.shared.clock.now();
    let given = way.trusted_peer.then(|| parts.headers.get(REQUEST_ID)).flatten().filter(|id| is_request_id(id));
    let request_id = match given {
        Some(id) => facts::RequestId::given(id.clone()),
        None => {
            facts::RequestId::ours(view.request_ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next(now))
        }
    };
    Facts {
        now,
        peer: connection.peer,
        client_address: way.client_address,
        scheme: way.scheme,
        trusted_peer: way.trusted_peer,
        forwarded_for: way.chain,
        forwarded_host: way.host,
        request_id,
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request id that is kept: short and printable, so that it may stand in logs and fields.
fn is_request_id(id: &http::HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// A walk that panicked costs its own request and nothing else.
struct Caught<'a, F>(Pin<&'a mut F>);

struct Panicked;

impl<F: Future> Future for Caught<'_, F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}
