//! What the admin listener and the metrics read of issuers that are asked about tokens.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::observe::{number, sample};
use crate::admin::IntrospectionView;
use crate::authn::Introspection;
use crate::idp::Issuer;
use crate::idp::breaker::BreakerState;
use crate::plan::running::Plan;
use crate::telemetry::{Kind, Metrics, Sample};

/// How an issuer is asked, if it is.
pub(super) fn view(plan: &Plan, issuer: &Issuer) -> Option<IntrospectionView> {
    let introspection = plan.introspections.iter().find(|asked| asked.issuer().id() == issuer.id())?;
    let breaker = introspection.breaker();
    let (positive, _, negative) = introspection.kept();
    Some(IntrospectionView {
        breaker: breaker.word().to_owned(),
        left_alone: breaker != BreakerState::Closed,
        last_error: introspection.last_error().map(|error| error.to_string()),
        under_way: introspection.under_way(),
        positive,
        negative,
    })
}

/// Registers the metrics of introspection.
pub(super) fn register(metrics: &Metrics, plan: &Arc<Plan>) {
    let counted = |name, help, labels: &'static [&'static str], read: fn(&Introspection) -> Vec<Sample>| {
        let plan = Arc::clone(plan);
        metrics.watch(Kind::Counter, name, help, labels, move || each(&plan, read));
    };
    counted(
        "postern_introspection_calls_total",
        "Questions to the introspection endpoint, by what was answered.",
        &["issuer", "outcome"],
        |asked| labelled(asked, &asked.tally().calls()),
    );
    counted(
        "postern_introspection_not_asked_total",
        "Tokens that the issuer was not asked about: the breaker is open, too many questions are under way, or the client \
         showed too many tokens that are none.",
        &["issuer", "why"],
        |asked| labelled(asked, &asked.tally().not_asked()),
    );
    counted(
        "postern_introspection_hits_total",
        "Answers that were at hand: positive, negative, stale (the issuer could not be asked), shared by another replica.",
        &["issuer", "kind"],
        |asked| labelled(asked, &asked.tally().hits()),
    );
    counted(
        "postern_introspection_coalesced_total",
        "Requests that waited for the question of another.",
        &["issuer"],
        |asked| one(asked, asked.coalesced()),
    );
    counted(
        "postern_introspection_shared_unavailable_total",
        "Times that the answers which replicas share could not be asked or told.",
        &["issuer"],
        |asked| one(asked, asked.tally().shared_unavailable.load(Ordering::Relaxed)),
    );
    gauges(metrics, plan);
    metrics.watch_times(
        "postern_introspection_duration_seconds",
        "How long questions to the introspection endpoint took.",
        &["issuer"],
        Arc::clone(plan),
        |plan| plan.introspections.iter().map(|asked| (vec![name(asked)], &asked.tally().latency)).collect(),
    );
}

fn gauges(metrics: &Metrics, plan: &Arc<Plan>) {
    let gauge = |name, help, labels: &'static [&'static str], read: fn(&Introspection) -> Vec<Sample>| {
        let plan = Arc::clone(plan);
        metrics.watch(Kind::Gauge, name, help, labels, move || each(&plan, read));
    };
    gauge("postern_introspection_under_way", "Questions under way.", &["issuer"], |asked| {
        one(asked, asked.under_way() as u64)
    });
    gauge(
        "postern_introspection_breaker",
        "The breaker of the introspection endpoint: 0 closed, 1 half open, 2 open.",
        &["issuer"],
        |asked| {
            let state = match asked.breaker() {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            one(asked, state)
        },
    );
    gauge("postern_introspection_answers", "Answers that are kept, about.", &["issuer", "kind"], |asked| {
        let (positive, _, negative) = asked.kept();
        labelled(asked, &[("positive", positive), ("negative", negative)])
    });
    gauge("postern_introspection_answer_bytes", "Bytes of the positive answers that are kept.", &["issuer"], |asked| {
        let (_, bytes, _) = asked.kept();
        one(asked, bytes)
    });
}

fn each(plan: &Plan, read: fn(&Introspection) -> Vec<Sample>) -> Vec<Sample> {
    plan.introspections.iter().flat_map(|asked| read(asked)).collect()
}

fn name(asked: &Introspection) -> String {
    asked.issuer().settings().name.to_string()
}

fn one(asked: &Introspection, count: u64) -> Vec<Sample> {
    vec![sample(&[&name(asked)], number(count))]
}

fn labelled(asked: &Introspection, counts: &[(&str, u64)]) -> Vec<Sample> {
    let name = name(asked);
    counts.iter().map(|(label, count)| sample(&[&name, label], number(*count))).collect()
}
