//! Active health checks, on Control: one loop for each server asks for a path over a connection of its own and
//! keeps the shared flag. The loops end with their upstream. A second task keeps looked-up names fresh, so that a
//! server that moved is noticed though its old connections are never idle.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};

use super::connect::connect;
use super::endpoint::{Endpoint, Protocol, Reach};
use super::head;
use super::http1::Http1;
use super::http2::start_http2;
use super::open::within;
use super::request_body::RequestBody;
use super::settings::{HealthCheck, HostRule};
use super::{Shared, Upstream};
use crate::clock::Clock;
use crate::control::Control;
use crate::wire::BoxError;

/// So many failed checks in a row make a server unhealthy; one that passes makes it healthy.
const FAILURES_TO_FALL: u32 = 2;
const LOOK_AT_NAMES_EVERY: Duration = Duration::from_secs(5);

impl Upstream {
    /// Begins the health checks, if the settings ask for them, and keeps looked-up names fresh.
    pub fn start_health_checks(self: &Arc<Self>, control: &Control, clock: &Clock) {
        if let Some(check) = &self.shared.settings.health_check {
            for index in 0..self.shared.endpoints.len() {
                control.start(watch_endpoint(Arc::downgrade(self), index, check.clone(), clock.clone()));
            }
        }
        control.start(keep_names_fresh(Arc::downgrade(self), clock.clone()));
    }
}

async fn keep_names_fresh(upstream: Weak<Upstream>, clock: Clock) {
    loop {
        clock.sleep(LOOK_AT_NAMES_EVERY).await;
        let Some(shared) = upstream.upgrade().map(|upstream| Arc::clone(&upstream.shared)) else { return };
        for endpoint in &shared.endpoints {
            if let Reach::Tcp { resolver, .. } = &endpoint.reach
                && resolver.is_due(&clock)
            {
                // A failure keeps the last good addresses; connecting will tell.
                let _ = resolver.addresses(&clock).await;
            }
        }
    }
}

async fn watch_endpoint(upstream: Weak<Upstream>, index: usize, check: HealthCheck, clock: Clock) {
    let mut failures = 0;
    loop {
        let Some(shared) = upstream.upgrade().map(|upstream| Arc::clone(&upstream.shared)) else { return };
        let endpoint = &shared.endpoints[index];
        let outcome = within(check.timeout, ask(&shared, endpoint, &check.path, &clock)).await;
        let outcome = outcome.unwrap_or_else(|| Err("no answer in time".into()));
        failures = if outcome.is_ok() { 0 } else { failures + 1 };
        if failures == 0 || failures >= FAILURES_TO_FALL {
            report(&shared, endpoint, outcome);
        }
        drop(shared);
        clock.sleep(check.interval).await;
    }
}

fn report(shared: &Shared, endpoint: &Endpoint, outcome: Result<(), BoxError>) {
    if !endpoint.judge(outcome.is_ok()) {
        return;
    }
    let (upstream, server) = (&*shared.settings.name, &*endpoint.label);
    match outcome {
        Ok(()) => tracing::info!(upstream, server, "the server is healthy again"),
        Err(error) => tracing::warn!(upstream, server, %error, "the server fails its health check"),
    }
}

/// One check on a connection of its own. Any status below 400 is well.
pub(super) async fn ask(shared: &Shared, endpoint: &Endpoint, path: &str, clock: &Clock) -> Result<(), BoxError> {
    let settings = &shared.settings;
    let (stream, protocol) = connect(endpoint, shared.tls.as_ref(), false, settings.connect_timeout, clock).await?;
    let place = shared.limit.extra_place();
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = PathAndQuery::try_from(path)?.into();
    request.headers_mut().insert(USER_AGENT, http::HeaderValue::from_static("postern-health"));
    if settings.host == HostRule::Preserve {
        request.headers_mut().insert(HOST, endpoint.authority.clone());
    }
    head::fit(&mut request, endpoint, protocol, &settings.host)?;
    let status = match protocol {
        Protocol::Http1 => {
            let mut http1 = Http1::new(stream, place, 0);
            let answer = http1.exchange(&mut request, false).await;
            answer.map_err(|fault| format!("no answer: {fault:?}"))?.head.status()
        }
        Protocol::Http2 => {
            let (mut http2, driver) = start_http2(stream, place, 0).await?;
            beside(driver, http2.sender.send_request(request)).await?.status()
        }
    };
    if status < StatusCode::BAD_REQUEST { Ok(()) } else { Err(status.to_string().into()) }
}

/// Drives the connection until the answer is there.
async fn beside<T>(
    driver: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = hyper::Result<T>>,
) -> hyper::Result<T> {
    let mut driver = std::pin::pin!(driver);
    let mut answer = std::pin::pin!(answer);
    let mut driven = false;
    std::future::poll_fn(|cx| {
        if !driven && driver.as_mut().poll(cx).is_ready() {
            driven = true;
        }
        answer.as_mut().poll(cx)
    })
    .await
}
