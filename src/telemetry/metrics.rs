//! The metrics as Prometheus reads them. Comes in: the meters of routes, and functions that read what others count
//! (issuers, the token memory, connections). Goes out: the text format.
//!
//! Labels are bounded: routes and issuers come from the configuration, reasons and statuses are finite.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::proto::{Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::meters::{Distribution, RouteMeters};

/// The label of requests that no route took.
const NO_ROUTE: &str = "none";

/// All numbers of a process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inside>);

struct Inside {
    /// What the prometheus crate counts by itself: the process.
    registry: Registry,
    none: Arc<RouteMeters>,
    /// Kept across reloads, so that counters never fall.
    routes: RwLock<BTreeMap<Arc<str>, Arc<RouteMeters>>>,
    sources: RwLock<BTreeMap<&'static str, Source>>,
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// One number that is read when it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Values of the labels, in the order in which they were named.
    pub labels: Vec<String>,
    pub value: f64,
}

/// Times that are kept elsewhere: the values of their labels, and how they are distributed.
pub type Times<'a> = Vec<(Vec<String>, &'a Distribution)>;

struct Source {
    help: &'static str,
    labels: &'static [&'static str],
    read: Read,
}

enum Read {
    Numbers(Kind, Box<dyn Fn() -> Vec<Sample> + Send + Sync>),
    Times(Box<dyn Fn() -> Shown + Send + Sync>),
}

/// Distributions with the values of their labels; `None` while nothing was observed.
type Shown = Vec<(Vec<String>, Option<Histogram>)>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        if let Err(error) = registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())) {
            tracing::warn!(%error, "process metrics are not available");
        }
        let none = Arc::new(RouteMeters::new(NO_ROUTE.into()));
        let routes = RwLock::new(BTreeMap::from([(NO_ROUTE.into(), Arc::clone(&none))]));
        let metrics = Self(Arc::new(Inside { registry, none, routes, sources: RwLock::default() }));
        let version = || vec![Sample { labels: vec![env!("CARGO_PKG_VERSION").to_owned()], value: 1.0 }];
        metrics.watch(Kind::Gauge, "postern_build_info", "The version that runs.", &["version"], version);
        metrics
    }

    /// The meters of a route; the same ones for the same name.
    pub fn route(&self, name: &str) -> Arc<RouteMeters> {
        let mut routes = self.0.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = routes.get(name) {
            return Arc::clone(meters);
        }
        let name: Arc<str> = name.into();
        let meters = Arc::new(RouteMeters::new(Arc::clone(&name)));
        routes.insert(name, Arc::clone(&meters));
        meters
    }

    /// For requests that no route took.
    pub fn no_route(&self) -> &RouteMeters {
        &self.0.none
    }

    /// Shows numbers that are kept elsewhere; `read` is called at each scrape. A second source of the same name takes
    /// the place of the first, as after a reload.
    pub fn watch(
        &self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        read: impl Fn() -> Vec<Sample> + Send + Sync + 'static,
    ) {
        self.put(name, Source { help, labels, read: Read::Numbers(kind, Box::new(read)) });
    }

    /// The same for times. `owner` is what holds them.
    pub fn watch_times<T: Send + Sync + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        owner: T,
        read: impl Fn(&T) -> Times<'_> + Send + Sync + 'static,
    ) {
        let show = move || read(&owner).into_iter().map(|(labels, times)| (labels, times.show())).collect();
        self.put(name, Source { help, labels, read: Read::Times(Box::new(show)) });
    }

    fn put(&self, name: &'static str, source: Source) {
        self.0.sources.write().unwrap_or_else(PoisonError::into_inner).insert(name, source);
    }

    /// Everything, in the text format.
    pub fn text(&self) -> String {
        let mut families = self.routes();
        let sources = self.0.sources.read().unwrap_or_else(PoisonError::into_inner);
        families.extend(sources.iter().map(|(name, source)| source.show(name)));
        drop(sources);
        families.extend(self.0.registry.gather());
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics can't be shown");
            String::new()
        })
    }

    fn routes(&self) -> Vec<MetricFamily> {
        let routes: Vec<Arc<RouteMeters>> = {
            let routes = self.0.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.values().cloned().collect()
        };
        let requests = routes.iter().flat_map(|meters| {
            meters.statuses().map(|(status, count)| {
                counted(vec![label("route", &meters.route), label("code", &status.to_string())], count)
            })
        });
        let refusals = routes.iter().flat_map(|meters| {
            meters.refusals().map(|(reason, count)| {
                counted(vec![label("route", &meters.route), label("reason", reason.code())], count)
            })
        });
        let times = |name, help, show: fn(&RouteMeters) -> Option<Histogram>| {
            let metrics = routes.iter().filter_map(|meters| {
                let mut metric = Metric::from_label(vec![label("route", &meters.route)]);
                metric.set_histogram(show(meters)?);
                Some(metric)
            });
            family(name, help, MetricType::HISTOGRAM, metrics.collect())
        };
        vec![
            family("postern_requests_total", "Requests that were answered.", MetricType::COUNTER, requests.collect()),
            family(
                "postern_refusals_total",
                "Requests that were refused or cut short, by reason (docs/reasons.md).",
                MetricType::COUNTER,
                refusals.collect(),
            ),
            times("postern_request_duration_seconds", "From the head to the last byte of the answer.", |meters| {
                meters.total.show()
            }),
            times("postern_upstream_duration_seconds", "Until the head of the upstream's answer.", |meters| {
                meters.upstream.show()
            }),
            times("postern_own_duration_seconds", "What Postern itself took, without any streaming.", |meters| {
                meters.own.show()
            }),
        ]
    }
}

impl Source {
    fn show(&self, name: &str) -> MetricFamily {
        let labelled = |values: &[String]| {
            let labels = self.labels.iter().zip(values).map(|(name, value)| label(name, value));
            Metric::from_label(labels.collect())
        };
        let (kind, metrics) = match &self.read {
            Read::Numbers(kind, read) => {
                let number = |sample: Sample| {
                    let mut metric = labelled(&sample.labels);
                    match kind {
                        Kind::Counter => metric.set_counter(counter(sample.value)),
                        Kind::Gauge => {
                            let mut gauge = Gauge::default();
                            gauge.set_value(sample.value);
                            metric.set_gauge(gauge);
                        }
                    }
                    metric
                };
                let kind = if *kind == Kind::Counter { MetricType::COUNTER } else { MetricType::GAUGE };
                (kind, read().into_iter().map(number).collect())
            }
            Read::Times(read) => {
                let times = |(labels, times): (Vec<String>, Option<Histogram>)| {
                    let mut metric = labelled(&labels);
                    metric.set_histogram(times?);
                    Some(metric)
                };
                (MetricType::HISTOGRAM, read().into_iter().filter_map(times).collect())
            }
        };
        family(name, self.help, kind, metrics)
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[expect(clippy::cast_precision_loss, reason = "the text format has floats only")]
fn counted(labels: Vec<LabelPair>, count: u64) -> Metric {
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter(count as f64));
    metric
}

fn counter(value: f64) -> Counter {
    let mut counter = Counter::default();
    counter.set_value(value);
    counter
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::telemetry::Observation;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|have| have == line), "{line}\n is not in\n{text}");
    }

    #[test]
    fn requests_are_counted_by_route_status_and_reason() {
        let metrics = Metrics::new();
        let orders = metrics.route("orders");
        let ok = Observation {
            status: 200,
            total_micros: 1_500,
            upstream_micros: Some(900),
            own_micros: 40,
            ..Observation::default()
        };
        orders.observe(&ok);
        metrics.route("orders").observe(&ok);
        let refused = Observation { status: 401, reason: Some(Reason::TokenExpired), own_micros: 7, ..ok };
        orders.observe(&Observation { upstream_micros: None, ..refused });
        metrics.no_route().observe(&Observation { status: 404, reason: Some(Reason::RouteNone), ..ok });
        let text = metrics.text();
        has(&text, r#"postern_requests_total{route="orders",code="200"} 2"#);
        has(&text, r#"postern_requests_total{route="orders",code="401"} 1"#);
        has(&text, r#"postern_requests_total{route="none",code="404"} 1"#);
        has(&text, r#"postern_refusals_total{route="orders",reason="token.expired"} 1"#);
        has(&text, r#"postern_refusals_total{route="none",reason="route.none"} 1"#);
        has(&text, r#"postern_request_duration_seconds_bucket{route="orders",le="0.001"} 0"#);
        has(&text, r#"postern_request_duration_seconds_bucket{route="orders",le="0.0025"} 3"#);
        has(&text, r#"postern_request_duration_seconds_count{route="orders"} 3"#);
        has(&text, r#"postern_upstream_duration_seconds_count{route="orders"} 2"#);
        has(&text, r#"postern_upstream_duration_seconds_sum{route="orders"} 0.0018"#);
        has(&text, r#"postern_own_duration_seconds_bucket{route="orders",le="0.000025"} 1"#);
        has(&text, "# TYPE postern_own_duration_seconds histogram");
    }

    #[test]
    fn what_takes_for_ever_is_counted_beyond_the_last_bucket() {
        let metrics = Metrics::new();
        let slow = Observation { status: 200, total_micros: u64::MAX / 4, ..Observation::default() };
        metrics.route("slow").observe(&slow);
        let text = metrics.text();
        has(&text, r#"postern_request_duration_seconds_bucket{route="slow",le="60"} 0"#);
        has(&text, r#"postern_request_duration_seconds_bucket{route="slow",le="+Inf"} 1"#);
    }

    #[test]
    fn a_status_that_is_none_counts_as_500() {
        let metrics = Metrics::new();
        for status in [0, 99, 600, 65535] {
            metrics.route("odd").observe(&Observation { status, ..Observation::default() });
        }
        has(&metrics.text(), r#"postern_requests_total{route="odd",code="500"} 4"#);
    }

    #[test]
    fn every_reason_has_a_counter() {
        let metrics = Metrics::new();
        for reason in Reason::ALL {
            metrics.route("all").observe(&Observation { status: 400, reason: Some(*reason), ..Observation::default() });
        }
        let text = metrics.text();
        for reason in Reason::ALL {
            has(&text, &format!(r#"postern_refusals_total{{route="all",reason="{reason}"}} 1"#));
        }
    }

    #[test]
    fn what_others_keep_is_read_at_each_scrape_and_replaced_by_name() {
        let metrics = Metrics::new();
        let age = |value: f64| move || vec![Sample { labels: vec!["corp\"\n".into()], value }];
        metrics.watch(Kind::Gauge, "postern_jwks_age_seconds", "Age of the keys.", &["issuer"], age(1.0));
        metrics.watch(Kind::Gauge, "postern_jwks_age_seconds", "Age of the keys.", &["issuer"], age(2.5));
        let text = metrics.text();
        has(&text, r#"postern_jwks_age_seconds{issuer="corp\"\n"} 2.5"#);
        assert_eq!(text.matches("\npostern_jwks_age_seconds{").count(), 1);
    }

    #[test]
    fn build_and_process_are_told() {
        let text = Metrics::new().text();
        has(&text, &format!(r#"postern_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")));
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    }
}
