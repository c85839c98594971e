//! What the admin listener and the metrics read of the running parts, each asked when it is looked at; and what the
//! actions listener may have done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::introspections;
use crate::admin::actions::{Deeds, ForgetBy, ForgetRequest, Undone};
use crate::admin::{
    BasicView, EndpointView, IssuerStanding, IssuerView, RouteView, StoreStanding, StoreView, UpstreamTokenKind,
    UpstreamTokenView, Views,
};
use crate::authn::{Forget, Passwords, TokenMemory, Tokens};
use crate::clock::{Clock, Time};
use crate::idp::{Issuer, Standing};
use crate::kv::{self, Kv, Tally};
use crate::login::Site;
use crate::outbound::{OwnStanding, TokenTally, TokenTarget};
use crate::plan::running::Plan;
use crate::server::worker::ConnectionCount;
use crate::telemetry::{AccessLog, Kind, Metrics, Sample};

/// Views of the plan for `/readyz` and `/status`.
pub fn views(plan: &Arc<Plan>, clock: &Clock) -> Views {
    let clock = clock.clone();
    let (issuers, endpoints, routes) = (Arc::clone(plan), Arc::clone(plan), Arc::clone(plan));
    let (stores, tokens, basic) = (plan.redis.clone(), Arc::clone(plan), Arc::clone(plan));
    Views {
        issuers: Box::new(move || issuers.issuers.iter().map(|issuer| issuer_view(&issuers, issuer)).collect()),
        endpoints: Box::new(move || endpoint_views(&endpoints)),
        routes: Box::new(move || route_views(&routes)),
        stores: Box::new(move || stores.iter().map(store_view).collect()),
        upstream_tokens: Box::new(move || upstream_token_views(&tokens)),
        basic: Box::new(move || basic.passwords.iter().map(|passwords| basic_view(passwords, clock.now())).collect()),
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

fn store_view(redis: &Kv) -> StoreView {
    let standing = match redis.standing() {
        kv::Standing::Waiting => StoreStanding::Waiting,
        kv::Standing::Up => StoreStanding::Up,
        kv::Standing::Down { error } => StoreStanding::Down { error: error.to_string() },
    };
    StoreView { name: "redis".to_owned(), standing }
}

fn upstream_token_views(plan: &Plan) -> Vec<UpstreamTokenView> {
    let view = |client: &str, target: &TokenTarget, kind, tally: &TokenTally| UpstreamTokenView {
        client: client.to_owned(),
        target: target.to_string(),
        kind,
        issued: tally.issued.load(Ordering::Relaxed),
        refused: tally.refused.load(Ordering::Relaxed),
        failed: tally.failed.load(Ordering::Relaxed),
    };
    let own = plan.own_tokens.iter().map(|token| {
        let OwnStanding { good_for, trouble } = token.standing();
        let error = trouble.map(|reason| reason.code().to_owned());
        view(token.client(), token.target(), UpstreamTokenKind::Own { good_for, error }, token.tally())
    });
    let exchanged = plan.exchanges.iter().map(|exchange| {
        let kind = UpstreamTokenKind::Exchanged { kept: exchange.kept() };
        view(exchange.client(), exchange.target(), kind, exchange.tally())
    });
    own.chain(exchanged).collect()
}

fn basic_view(passwords: &Passwords, now: Time) -> BasicView {
    let names = passwords.seen().list().into_iter();
    BasicView {
        client: passwords.client().to_owned(),
        grant: passwords.grant().name(),
        names: names.map(|(name, times, last)| (name.into(), times, now.since(last))).collect(),
    }
}

/// What the actions listener may have done.
pub fn deeds(plan: &Arc<Plan>) -> Deeds {
    let plan = Arc::clone(plan);
    Deeds {
        forget: Box::new(move |wanted| {
            let plan = Arc::clone(&plan);
            Box::pin(async move {
                let known = |wanted: &str| {
                    let settings = plan.issuers.iter().map(|issuer| issuer.settings());
                    settings.into_iter().any(|issuer| *issuer.name == *wanted || *issuer.issuer == *wanted)
                };
                if wanted.issuer.as_deref().is_some_and(|wanted| !known(wanted)) {
                    return Err(Undone::NoSuchIssuer);
                }
                plan.forget(&meant(wanted)).await.map_err(|_| Undone::Store)
            })
        }),
    }
}

fn meant(ForgetRequest { by, issuer }: ForgetRequest) -> Forget {
    let tokens = match by {
        ForgetBy::Token(token) => Tokens::Token(token),
        ForgetBy::Subject(subject) => Tokens::Subject(subject),
        ForgetBy::ClientId(client_id) => Tokens::ClientId(client_id),
        ForgetBy::Id(id) => Tokens::Id(id),
    };
    Forget { tokens, issuer }
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
    let renewing = Arc::clone(&plan);
    metrics.watch(
        Kind::Counter,
        "postern_session_renewals_total",
        "Renewals of sessions' tokens, by site: renewed, over (the issuer refused), failed (it gave no answer).",
        &["site", "outcome"],
        move || renewing.sites.iter().flat_map(|site| renewals(site)).collect(),
    );
    let got = Arc::clone(&plan);
    metrics.watch(
        Kind::Counter,
        "postern_upstream_tokens_total",
        "Requests for tokens that go up: issued, refused (the issuer gives none), failed (it gave no answer).",
        &["client", "grant", "outcome"],
        move || upstream_tokens(&got),
    );
    let shown = Arc::clone(&plan);
    metrics.watch(
        Kind::Counter,
        "postern_basic_credentials_total",
        "Names and passwords that were shown: accepted, refused, limited (too many failures), unavailable.",
        &["client", "grant", "outcome"],
        move || basic_credentials(&shown),
    );
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
    if let Some(redis) = &plan.redis {
        register_redis(metrics, redis);
    }
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

fn renewals(site: &Site) -> [Sample; 3] {
    let tally = site.sessions().renewals();
    let outcomes = [("renewed", &tally.renewed), ("over", &tally.over), ("failed", &tally.failed)];
    outcomes.map(|(outcome, count)| sample(&[&site.settings().name, outcome], number(count.load(Ordering::Relaxed))))
}

/// Added up by client and grant: routes may differ in what they ask for.
fn basic_credentials(plan: &Plan) -> Vec<Sample> {
    let mut sums = std::collections::BTreeMap::<[&str; 3], u64>::new();
    for passwords in &plan.passwords {
        let tally = passwords.tally();
        for (outcome, count) in [
            ("accepted", &tally.accepted),
            ("refused", &tally.refused),
            ("limited", &tally.limited),
            ("unavailable", &tally.unavailable),
        ] {
            let labels = [passwords.client(), passwords.grant().name(), outcome];
            *sums.entry(labels).or_default() += count.load(Ordering::Relaxed);
        }
    }
    sums.into_iter().map(|(labels, sum)| sample(&labels, number(sum))).collect()
}

/// Added up by client: several routes may ask for tokens of several kinds by the same one.
fn upstream_tokens(plan: &Plan) -> Vec<Sample> {
    let own = plan.own_tokens.iter().map(|token| (token.client(), "client_credentials", token.tally()));
    let exchanged = plan.exchanges.iter().map(|exchange| (exchange.client(), "token_exchange", exchange.tally()));
    let mut sums = std::collections::BTreeMap::<[&str; 3], u64>::new();
    for (client, grant, tally) in own.chain(exchanged) {
        for (outcome, count) in [("issued", &tally.issued), ("refused", &tally.refused), ("failed", &tally.failed)] {
            *sums.entry([client, grant, outcome]).or_default() += count.load(Ordering::Relaxed);
        }
    }
    sums.into_iter().map(|(labels, sum)| sample(&labels, number(sum))).collect()
}

/// Redis as this gateway meets it.
fn register_redis(metrics: &Metrics, redis: &Kv) {
    let (up, asked, opened, waiting) = (redis.clone(), redis.clone(), redis.clone(), redis.clone());
    metrics.watch(Kind::Gauge, "postern_redis_up", "Whether the connection to Redis stands.", &[], move || {
        vec![sample(&[], number(u64::from(up.standing() == kv::Standing::Up)))]
    });
    metrics.watch(
        Kind::Counter,
        "postern_redis_commands_total",
        "Commands to Redis, by how they ended; `busy` were not tried because too many waited.",
        &["outcome"],
        move || asked.tally().map(redis_commands).into_iter().flatten().collect(),
    );
    metrics.watch(
        Kind::Counter,
        "postern_redis_connects_total",
        "How often a connection to Redis was opened.",
        &[],
        move || vec![sample(&[], number(opened.connects()))],
    );
    metrics.watch(Kind::Gauge, "postern_redis_commands_in_flight", "Commands that wait for Redis.", &[], move || {
        vec![sample(&[], number(waiting.under_way() as u64))]
    });
}

fn redis_commands(tally: &Tally) -> [Sample; 5] {
    let Tally { answered, refused, unreachable, timed_out, busy } = tally;
    [
        ("answered", answered),
        ("refused", refused),
        ("unreachable", unreachable),
        ("timed_out", timed_out),
        ("busy", busy),
    ]
    .map(|(outcome, count)| sample(&[outcome], number(count.load(Ordering::Relaxed))))
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
