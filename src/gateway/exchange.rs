//! One request and everything learnt about it on the way; becomes the access-log line and the metrics. It holds facts
//! for the record only: no room reads a decision from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{CONNECTION, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Version};

use super::answer::{Answer, Content};
use super::audience::Audience;
use super::refusal::{Kind, Refusal};
use super::request_body::Timely;
use super::respond::{self, Challenge, Setting};
use super::{Connection, REQUEST_ID, metadata};
use crate::caller::{Caller, Known};
use crate::login::Site;
use crate::plan::running::{DoorPlan, Route};
use crate::reason::Reason;
use crate::telemetry::{AccessRecord, Observation, RouteMeters};
use crate::wire::cookies::CookieChanges;
use crate::wire::headers::clean_response;
use crate::wire::{Body, Facts};

/// nginx's word for a client that went away before its answer; never sent.
const CLIENT_GONE: u16 = 499;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// See the module.
pub struct Exchange {
    connection: Arc<Connection>,
    facts: Facts,
    started: u64,
    audience: Audience,
    /// Kept for the log only; `None` when there is none.
    asked: Option<Asked>,
    host: Option<HeaderValue>,
    meters: Option<Arc<RouteMeters>>,
    route: Option<Arc<str>>,
    takes_bearer: bool,
    asks_for_password: bool,
    /// Where a person could sign in.
    site: Option<Arc<Site>>,
    has_body: bool,
    caller: Option<Arc<Caller>>,
    /// For whatever answer goes out.
    cookies: CookieChanges,
    reason: Option<Reason>,
    status: u16,
    upstream: Upstream,
    /// `None` while there is no body to count.
    received: Option<Arc<AtomicU64>>,
    sent: u64,
    finished: bool,
}

/// What the log tells of the request itself.
struct Asked {
    method: Method,
    target: PathAndQuery,
    version: Version,
    user_agent: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

/// What became of the request upstream. Times in microseconds of the clock.
#[derive(Default)]
struct Upstream {
    endpoint: Option<Arc<str>>,
    attempts: u32,
    began: Option<u64>,
    answered: Option<u64>,
}

impl Exchange {
    pub fn open(connection: &Arc<Connection>, parts: &Parts) -> Box<Self> {
        let shared = &connection.view.shared;
        let asked = shared.access_log.is_some().then(|| Asked {
            method: parts.method.clone(),
            target: parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            version: parts.version,
            user_agent: parts.headers.get(USER_AGENT).cloned(),
            traceparent: parts.headers.get(TRACEPARENT).cloned(),
        });
        Box::new(Self {
            facts: super::facts(connection, parts),
            started: shared.clock.micros(),
            audience: Audience::of(&parts.method, &parts.headers),
            asked,
            host: parts
                .headers
                .get(http::header::HOST)
                .cloned()
                .or_else(|| parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())),
            connection: Arc::clone(connection),
            meters: None,
            route: None,
            takes_bearer: false,
            asks_for_password: false,
            site: None,
            has_body: false,
            caller: None,
            cookies: CookieChanges::default(),
            reason: None,
            status: 0,
            upstream: Upstream::default(),
            received: None,
            sent: 0,
            finished: false,
        })
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Counts the client's body as it passes.
    pub fn received(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.received.get_or_insert_default())
    }

    pub fn on_route(&mut self, route: &Route) {
        self.meters = Some(Arc::clone(&route.meters));
        self.route = Some(Arc::clone(&route.name));
        self.takes_bearer = route.ways.bearer.is_some();
        // Where people sign in, no browser is to ask for a password of its own accord.
        self.asks_for_password = route.ways.basic.is_some() && route.ways.session.is_none();
        self.site = route.site.and_then(|number| self.connection.view.plan.sites.get(number)).cloned();
    }

    pub fn on_door(&mut self, door: &DoorPlan) {
        self.meters = Some(Arc::clone(&door.meters));
        self.route = Some(Arc::clone(&door.name));
        self.site = Some(Arc::clone(&door.site));
    }

    /// The client's body, for who takes it whole: within the time for which it may be silent.
    pub fn timely(&self, body: Body) -> Body {
        let view = &self.connection.view;
        let clock = view.shared.clock.clone();
        let within = view.plan.limits.body_silence;
        Timely::guard(body, async move { clock.sleep(within).await })
    }

    pub fn on_body(&mut self, body: &Body) {
        self.has_body = !matches!(body, Body::Empty);
    }

    pub fn on_known(&mut self, known: &Known) {
        if let Known::Caller(caller) = known {
            self.caller = Some(Arc::clone(caller));
        }
    }

    /// Whether a person is looking: a top-level navigation.
    pub fn is_navigation(&self) -> bool {
        self.audience == Audience::Browser
    }

    /// Why a browser is sent to sign in, though what it gets is no refusal.
    pub fn on_denied(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// What is to become of our cookies at the browser, whatever answer it gets.
    pub fn carry(&mut self, cookies: CookieChanges) {
        self.cookies.extend(cookies);
    }

    pub fn on_upstream_begin(&mut self) {
        self.upstream.began = Some(self.micros());
    }

    pub fn on_upstream_end(&mut self, endpoint: Option<Arc<str>>, attempts: u32) {
        self.upstream.answered = Some(self.micros());
        self.upstream.endpoint = endpoint;
        self.upstream.attempts = attempts;
    }

    /// What an upstream's head may not say, its trailers may not say either.
    pub fn clean_trailers(&self, trailers: &mut http::HeaderMap) {
        clean_response(trailers);
        trailers.remove(http::header::CONTENT_LENGTH);
        self.connection.view.plan.own_cookies.strip_answer(trailers);
    }

    pub fn count_out(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The upstream's answer, or one of ours that is no refusal, on its way out.
    pub fn close(mut self: Box<Self>, mut response: Response<Content>) -> Response<Answer> {
        self.status = response.status().as_u16();
        response.headers_mut().insert(REQUEST_ID, self.facts.request_id.to_header());
        std::mem::take(&mut self.cookies).apply(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(watch) = &self.connection.watch
        {
            watch.upgraded();
        }
        response.map(|content| Answer::new(content, self))
    }

    /// The answer to a refusal, on its way out.
    pub fn refuse(mut self: Box<Self>, refusal: &Refusal) -> Response<Answer> {
        self.reason = Some(refusal.reason);
        let request_id = self.facts.request_id.to_string();
        let setting = Setting {
            audience: self.audience,
            request_id: &request_id,
            challenge: (self.takes_bearer || matches!(refusal.kind, Kind::StepUp { .. })).then(|| self.challenge()),
            basic: self.asks_for_password.then(|| self.realm()),
            login_url: self.site.as_ref().map(|site| site.sign_in_address()),
        };
        let mut response = respond::refuse(refusal, &setting);
        self.leave_body(response.headers_mut());
        self.close(response.map(Content::Ours))
    }

    /// A connection on which a body was left unread is in doubt: it is not used again.
    pub fn leave_body(&self, headers: &mut http::HeaderMap) {
        if self.has_body && self.connection.watch.is_some() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn challenge(&self) -> Challenge {
        let plan = &self.connection.view.plan;
        let metadata = self.takes_bearer.then(|| metadata::address(plan, &self.facts, self.host.as_ref())).flatten();
        Challenge { realm: self.realm(), metadata }
    }

    fn realm(&self) -> String {
        self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("postern").to_owned()
    }

    /// The last byte is out, or (`whole` is false) will never be.
    pub fn finish(mut self: Box<Self>, whole: bool) {
        self.record(whole);
    }

    fn micros(&self) -> u64 {
        self.connection.view.shared.clock.micros()
    }

    fn record(&mut self, whole: bool) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(watch) = &self.connection.watch {
            watch.not_upgraded();
            watch.answered();
        }
        if self.status == 0 {
            self.status = CLIENT_GONE;
        }
        if !whole && self.reason.is_none() {
            self.reason = Some(Reason::ClientGone);
        }
        let ended = self.micros();
        let upstream = self.upstream.began.map(|began| self.upstream.answered.unwrap_or(ended).saturating_sub(began));
        let observation = Observation {
            status: self.status,
            reason: self.reason,
            total_micros: ended.saturating_sub(self.started),
            upstream_micros: upstream,
            // Until the upstream was asked; bodies stream at the pace of the two ends.
            own_micros: self.upstream.began.unwrap_or(ended).saturating_sub(self.started),
        };
        let shared = &self.connection.view.shared;
        match &self.meters {
            Some(meters) => meters.observe(&observation),
            None => shared.metrics.no_route().observe(&observation),
        }
        if let (Some(log), Some(asked)) = (&shared.access_log, &self.asked) {
            log.write(&self.line(asked, &observation, shared.clock.now()));
        }
    }

    fn line<'a>(&'a self, asked: &'a Asked, observation: &Observation, now: crate::clock::Time) -> AccessRecord<'a> {
        let caller = self.caller.as_deref();
        AccessRecord {
            time: now,
            request_id: &self.facts.request_id,
            route: self.route.as_deref(),
            method: asked.method.as_str(),
            path: asked.target.path(),
            host: self.host.as_ref(),
            version: asked.version,
            status: self.status,
            reason: self.reason,
            subject: caller.and_then(|caller| caller.subject.as_deref()),
            client_id: caller.and_then(|caller| caller.client_id.as_deref()),
            issuer: caller.map(|caller| &*caller.issuer),
            kind: caller.map(|caller| caller.kind.as_str()),
            client_address: self.facts.client_address,
            upstream: self.upstream.endpoint.as_deref(),
            attempts: self.upstream.attempts,
            bytes_in: self.received.as_ref().map_or(0, |received| received.load(Ordering::Relaxed)),
            bytes_out: self.sent,
            total_micros: observation.total_micros,
            upstream_micros: observation.upstream_micros,
            user_agent: asked.user_agent.as_ref(),
            traceparent: asked.traceparent.as_ref(),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record(false);
    }
}
