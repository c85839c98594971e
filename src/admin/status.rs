//! What `/status` shows, as JSON and as a page. The views are plain data that the running parts fill, so that this
//! room needs to know none of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AdminState, Readiness};

/// An issuer as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerView {
    /// Its name in the configuration.
    pub name: String,
    /// The issuer identifier.
    pub issuer: String,
    pub standing: IssuerStanding,
    /// How it is asked about tokens, if it is.
    pub introspection: Option<IntrospectionView>,
}

/// How an issuer's introspection endpoint does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionView {
    /// `closed`, `half_open` or `open`.
    pub breaker: String,
    /// It failed several times in a row, and has not answered since.
    pub left_alone: bool,
    pub last_error: Option<String>,
    pub under_way: usize,
    /// Answers that are kept.
    pub positive: u64,
    pub negative: u64,
}

/// How an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerStanding {
    /// Never loaded so far.
    Waiting {
        error: Option<String>,
    },
    Ready {
        age: Duration,
        keys: usize,
    },
    /// The last attempt failed; older keys serve until they are too old.
    Degraded {
        error: String,
        age: Duration,
    },
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    pub upstream: String,
    pub address: String,
    pub healthy: bool,
}

/// A store that replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreView {
    pub name: String,
    pub standing: StoreStanding,
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStanding {
    /// Not connected yet.
    Waiting,
    Up,
    Down {
        error: String,
    },
}

/// A token for upstreams, or the exchange of callers' tokens for such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTokenView {
    /// By which client, by its name in the configuration.
    pub client: String,
    /// What is asked for, in words.
    pub target: String,
    pub kind: UpstreamTokenKind,
    /// What became of the questions so far.
    pub issued: u64,
    pub refused: u64,
    pub failed: u64,
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTokenKind {
    /// Postern's own: how long the one at hand serves, and why the last question brought none.
    Own { good_for: Option<Duration>, error: Option<String> },
    /// Callers': of how many it is known what they are exchanged for.
    Exchanged { kept: u64 },
}

/// Who still shows names and passwords, for who wants to be rid of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicView {
    /// The client's name in the configuration.
    pub client: String,
    pub grant: &'static str,
    /// Names that were last exchanged for a token, how often, and how long ago; the last one first.
    pub names: Vec<(String, u64, Duration)>,
}

/// A route in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    pub name: String,
    /// Methods, host and path.
    pub matches: String,
    pub upstream: String,
    /// Who may pass, one rule a line.
    pub access: Vec<String>,
}

pub(super) struct Status {
    pub(super) uptime: Duration,
    pub(super) readiness: Readiness,
    pub(super) issuers: Vec<IssuerView>,
    pub(super) endpoints: Vec<EndpointView>,
    pub(super) routes: Vec<RouteView>,
    pub(super) stores: Vec<StoreView>,
    pub(super) upstream_tokens: Vec<UpstreamTokenView>,
    pub(super) basic: Vec<BasicView>,
}

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Status {
    pub(super) fn of(state: &AdminState) -> Self {
        Self {
            uptime: state.uptime(),
            readiness: state.readiness(),
            issuers: (state.views.issuers)(),
            endpoints: (state.views.endpoints)(),
            routes: (state.views.routes)(),
            stores: (state.views.stores)(),
            upstream_tokens: (state.views.upstream_tokens)(),
            basic: (state.views.basic)(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "version": VERSION,
            "uptime_seconds": self.uptime.as_secs(),
            "readiness": self.readiness.to_json(),
            "issuers": self.issuers.iter().map(IssuerView::to_json).collect::<Vec<_>>(),
            "upstreams": self.endpoints.iter().map(EndpointView::to_json).collect::<Vec<_>>(),
            "routes": self.routes.iter().map(RouteView::to_json).collect::<Vec<_>>(),
            "stores": self.stores.iter().map(StoreView::to_json).collect::<Vec<_>>(),
            "upstream_tokens": self.upstream_tokens.iter().map(UpstreamTokenView::to_json).collect::<Vec<_>>(),
            "basic": self.basic.iter().map(BasicView::to_json).collect::<Vec<_>>(),
        })
    }
}

impl IssuerStanding {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Ready { .. } => "ready",
            Self::Degraded { .. } => "degraded",
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Waiting { error } => error.as_deref(),
            Self::Ready { .. } => None,
            Self::Degraded { error, .. } => Some(error),
        }
    }

    /// Since the keys were loaded.
    pub fn age(&self) -> Option<Duration> {
        match self {
            Self::Waiting { .. } => None,
            Self::Ready { age, .. } | Self::Degraded { age, .. } => Some(*age),
        }
    }
}

impl BasicView {
    fn to_json(&self) -> Value {
        let name = |(name, times, ago): &(String, u64, Duration)| json!({ "name": name, "exchanges": times, "seconds_ago": ago.as_secs() });
        json!({ "client": self.client, "grant": self.grant, "names": self.names.iter().map(name).collect::<Vec<_>>() })
    }
}

impl StoreView {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "standing": self.standing.word(), "error": self.standing.error() })
    }
}

impl StoreStanding {
    /// The word that the page's colours go by as well.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "ready",
            Self::Down { .. } => "unhealthy",
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        match self {
            Self::Waiting | Self::Up => None,
            Self::Down { error } => Some(error),
        }
    }
}

impl IssuerView {
    fn to_json(&self) -> Value {
        let keys = match self.standing {
            IssuerStanding::Ready { keys, .. } => Some(keys),
            IssuerStanding::Waiting { .. } | IssuerStanding::Degraded { .. } => None,
        };
        json!({
            "name": self.name,
            "issuer": self.issuer,
            "standing": self.standing.word(),
            "error": self.standing.error(),
            "keys": keys,
            "keys_age_seconds": self.standing.age().map(|age| age.as_secs()),
            "introspection": self.introspection.as_ref().map(IntrospectionView::to_json),
        })
    }
}

impl IntrospectionView {
    /// In a few words, for the page.
    pub(super) fn words(&self) -> String {
        let error = self.last_error.as_ref().filter(|_| self.left_alone).map(|error| format!(": {error}"));
        format!("breaker {}{}, {} answers kept", self.breaker, error.unwrap_or_default(), self.positive)
    }

    fn to_json(&self) -> Value {
        json!({
            "breaker": self.breaker,
            "last_error": self.last_error,
            "under_way": self.under_way,
            "answers": { "positive": self.positive, "negative": self.negative },
        })
    }
}

impl UpstreamTokenView {
    pub(super) fn grant(&self) -> &'static str {
        match self.kind {
            UpstreamTokenKind::Own { .. } => "client_credentials",
            UpstreamTokenKind::Exchanged { .. } => "token_exchange",
        }
    }

    /// The word that the page's colours go by, and what it says there.
    pub(super) fn words(&self) -> (&'static str, String) {
        match &self.kind {
            UpstreamTokenKind::Own { good_for: Some(left), error: None } => {
                ("ready", format!("good for {}s", left.as_secs()))
            }
            UpstreamTokenKind::Own { good_for: Some(left), error: Some(error) } => {
                ("degraded", format!("good for {}s, not renewed: {error}", left.as_secs()))
            }
            UpstreamTokenKind::Own { good_for: None, error: Some(error) } => ("unhealthy", format!("none: {error}")),
            UpstreamTokenKind::Own { good_for: None, error: None } => ("", "not asked for yet".to_owned()),
            UpstreamTokenKind::Exchanged { kept } => ("", format!("{kept} kept")),
        }
    }

    fn to_json(&self) -> Value {
        let (good_for, error, kept) = match &self.kind {
            UpstreamTokenKind::Own { good_for, error } => (good_for.map(|left| left.as_secs()), error.as_deref(), None),
            UpstreamTokenKind::Exchanged { kept } => (None, None, Some(*kept)),
        };
        json!({
            "client": self.client,
            "grant": self.grant(),
            "target": self.target,
            "good_for_seconds": good_for,
            "error": error,
            "kept": kept,
            "asked": { "issued": self.issued, "refused": self.refused, "failed": self.failed },
        })
    }
}

impl EndpointView {
    fn to_json(&self) -> Value {
        json!({ "upstream": self.upstream, "endpoint": self.address, "healthy": self.healthy })
    }
}

impl RouteView {
    fn to_json(&self) -> Value {
        json!({ "name": self.name, "matches": self.matches, "upstream": self.upstream, "access": self.access })
    }
}
