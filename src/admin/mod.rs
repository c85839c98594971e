//! The admin listener's answers: `/livez`, `/readyz` (also `/ping`, `/ready`), `/metrics`, `/status`. Comes in: a
//! request, of which method and path count. Goes out: what is, never a change: what alters the gateway is asked for on
//! another socket ([`actions`]).

pub mod actions;
mod health;
mod page;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};

use crate::clock::{Clock, Tick};
use crate::telemetry::Metrics;
use crate::wire::Body;

pub use health::Readiness;
pub use status::{
    BasicView, EndpointView, IntrospectionView, IssuerStanding, IssuerView, RouteView, StoreStanding, StoreView,
    UpstreamTokenKind, UpstreamTokenView,
};

/// How the running parts are asked how they are. Each function is called once an answer and must not wait.
pub struct Views {
    pub issuers: Box<dyn Fn() -> Vec<IssuerView> + Send + Sync>,
    pub endpoints: Box<dyn Fn() -> Vec<EndpointView> + Send + Sync>,
    pub routes: Box<dyn Fn() -> Vec<RouteView> + Send + Sync>,
    pub stores: Box<dyn Fn() -> Vec<StoreView> + Send + Sync>,
    pub upstream_tokens: Box<dyn Fn() -> Vec<UpstreamTokenView> + Send + Sync>,
    pub basic: Box<dyn Fn() -> Vec<BasicView> + Send + Sync>,
}

/// What the answers are made of.
pub struct AdminState {
    clock: Clock,
    started: Tick,
    ready_after: Duration,
    draining: Arc<AtomicBool>,
    metrics: Metrics,
    views: Views,
}

impl AdminState {
    /// `ready_after` counts from now.
    pub fn new(clock: Clock, ready_after: Duration, metrics: Metrics, views: Views) -> Self {
        let started = clock.tick();
        Self { clock, started, ready_after, draining: Arc::default(), metrics, views }
    }

    /// Set it, and the gateway is no longer ready.
    pub fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }

    pub fn readiness(&self) -> Readiness {
        let waited = self.clock.tick().since(self.started) >= self.ready_after;
        let draining = self.draining.load(Ordering::Acquire);
        let views = &self.views;
        Readiness::judge(&(views.issuers)(), &(views.endpoints)(), &(views.stores)(), waited, draining)
    }

    fn uptime(&self) -> Duration {
        self.clock.tick().since(self.started)
    }
}

impl std::fmt::Debug for AdminState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminState")
    }
}

/// What is served under which path.
#[derive(Clone, Copy)]
enum Page {
    Live,
    Ready,
    Metrics,
    Status,
}

fn find(path: &str) -> Option<Page> {
    match path {
        "/livez" | "/ping" => Some(Page::Live),
        "/readyz" | "/ready" => Some(Page::Ready),
        "/metrics" => Some(Page::Metrics),
        "/status" => Some(Page::Status),
        _ => None,
    }
}

/// Answers one request; its body is left alone.
pub fn answer<B>(state: &AdminState, request: Request<B>) -> Response<Body> {
    let Some(page) = find(request.uri().path()) else {
        return answer_with(StatusCode::NOT_FOUND, PLAIN, "not found: try /livez, /readyz, /metrics or /status\n");
    };
    let head = request.method() == Method::HEAD;
    if !head && request.method() != Method::GET {
        let mut response = answer_with(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = show(state, page, request.headers());
    if head {
        *response.body_mut() = Body::Empty;
    }
    response
}

fn show(state: &AdminState, page: Page, headers: &HeaderMap) -> Response<Body> {
    match page {
        Page::Live => answer_with(StatusCode::OK, PLAIN, "ok\n"),
        Page::Ready => {
            let readiness = state.readiness();
            let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            answer_with(status, JSON, line(&readiness.to_json()))
        }
        Page::Metrics => answer_with(StatusCode::OK, METRICS, state.metrics.text()),
        Page::Status => {
            let status = status::Status::of(state);
            let mut response = if wants_page(headers) {
                answer_with(StatusCode::OK, HTML, page::render(&status))
            } else {
                answer_with(StatusCode::OK, JSON, line(&status.to_json()))
            };
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
            response
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn line(json: &serde_json::Value) -> String {
    format!("{json:#}\n")
}

/// Browsers name `text/html` first; tools name nothing or `*/*`.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let html = accept.find("text/html");
    html.is_some() && accept.find("application/json").is_none_or(|json| html < Some(json))
}

fn answer_with(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Full(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
