//! What the admin listener and the metrics read of the running parts, each asked when it is looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::introspections;
use crate::admin::{EndpointView, IssuerStanding, IssuerView, RouteView, Views};
use crate::authn::TokenMemory;
use crate::idp::{Issuer, Standing};
use crate::plan::running::Plan;
use crate::server::worker::ConnectionCount;
use crate::telemetry::{AccessLog, Kind, Metrics, Sample};

/// Views of the plan for `/readyz` and `/status`.
pub fn views(plan: &Arc<Plan>) -> Views {
    let (issuers, endpoints, routes) = (Arc::clone(plan), Arc::clone(plan), Arc::clone(plan));
    Views {
        issuers: Box::new(move || issuers.issuers.iter().map(|issuer| issuer_view(&issuers, issuer)).collect()),
        endpoints: Box::new(move || endpoint_views(&endpoints)),
        routes: Box::new(move || route_views(&routes)),
    }
}

fn issuer_view(plan: &Plan, issuer: &Issuer) -> IssuerView {
    let standing = match issuer.standing() {
        Standing::Waiting { error } => IssuerStanding::Waiting { error: error.map(|error| error.to_string()) },
        Standing::Ready { age, keys, .. } => IssuerStanding::Ready { age, keys },
        Standing::Degraded { error, age } => IssuerStanding::Degraded { error: error.to_string(), age },
    };
    let (name, identifier) = (issuer.settings().name.to_string(), issuer.settings().issuer.to_string());
    IssuerView { name, issuer: identifier, standing, introspection: introspections::view(plan, issuer) }
}

fn endpoint_views(plan: &Plan) -> Vec<EndpointView> {
    let endpoints = plan.upstreams.iter().flat_map(|upstream| {
        upstream.endpoints().map(|status| EndpointView {
            upstream: upstream.name().to_string(),
            address: status.endpoint.to_owned(),
            healthy: status.healthy,
        })
    });
    endpoints.collect()
}

fn route_views(plan: &Plan) -> Vec<RouteView> {
    let view = |route: &crate::plan::running::Route| RouteView {
        name: route.name.to_string(),
        matches: route.matches.to_string(),
        upstream: route.upstream.name().to_string(),
        access: route.requirement.describe(),
    };
    plan.routes.iter().map(view).collect()
}

/// What [`register`] has to read from.
pub struct Sources {
    pub plan: Arc<Plan>,
    pub memory: Arc<TokenMemory>,
    pub connections: Arc<ConnectionCount>,
    pub access_log: Option<AccessLog>,
}

pub(super) fn sample(labels: &[&str], value: f64) -> Sample {
    Sample { labels: labels.iter().map(|label| (*label).to_owned()).collect(), value }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point; counts stay far below 2^53")]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}

/// Registers the metrics that are read when they are scraped.
pub fn register(metrics: &Metrics, sources: Sources) {
    let Sources { plan, memory, connections, access_log } = sources;
    let checked = Arc::clone(&plan);
    metrics.watch(
        Kind::Counter,
        "postern_token_checks_total",
        "Tokens that were checked in full, by issuer and verdict; remembered ones are not among them.",
        &["issuer", "verdict"],
        move || checked.issuers.iter().flat_map(|issuer| token_checks(issuer)).collect(),
    );
    introspections::register(metrics, &plan);
    let aged = Arc::clone(&plan);
    metrics.watch(
        Kind::Gauge,
        "postern_jwks_age_seconds",
        "Age of the key set that an issuer's tokens are checked with.",
        &["issuer"],
        move || aged.issuers.iter().filter_map(|issuer| jwks_age(issuer)).collect(),
    );
    metrics.watch(
        Kind::Counter,
        "postern_token_memory_lookups_total",
        "Look-ups of tokens that may have been checked before.",
        &["result"],
        move || {
            let counts = memory.counts();
            vec![sample(&["hit"], number(counts.hits)), sample(&["miss"], number(counts.misses))]
        },
    );
    metrics.watch(Kind::Gauge, "postern_connections", "Open client connections.", &[], move || {
        vec![sample(&[], number(connections.open() as u64))]
    });
    metrics.watch(
        Kind::Gauge,
        "postern_upstream_connections",
        "Open connections to upstreams.",
        &["upstream"],
        move || {
            plan.upstreams
                .iter()
                .map(|upstream| sample(&[upstream.name()], number(upstream.open_connections() as u64)))
                .collect()
        },
    );
    if let Some(log) = access_log {
        metrics.watch(
            Kind::Counter,
            "postern_log_lines_dropped_total",
            "Log lines that were dropped because nobody took them.",
            &["log"],
            move || vec![sample(&["access"], number(log.dropped()))],
        );
    }
}

fn token_checks(issuer: &Issuer) -> [Sample; 3] {
    let (name, tally) = (&*issuer.settings().name, issuer.tally());
    [("accepted", &tally.accepted), ("refused", &tally.refused), ("unavailable", &tally.unavailable)]
        .map(|(verdict, count)| sample(&[name, verdict], number(count.load(Ordering::Relaxed))))
}

fn jwks_age(issuer: &Issuer) -> Option<Sample> {
    match issuer.standing() {
        Standing::Waiting { .. } => None,
        Standing::Ready { age, .. } | Standing::Degraded { age, .. } => {
            Some(sample(&[&issuer.settings().name], age.as_secs_f64()))
        }
    }
}
