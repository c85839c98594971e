//! From checked settings to what runs. Comes in: [`Checked`], in which every name is resolved. Goes out: a [`Plan`] and
//! what the process needs beside it. Connects to nothing and waits for nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::build::{self, Parts};
use super::identity::{self, IdentityKeys};
use super::login;
use super::passwords::AllPasswords;
use super::patterns::{HostPattern, PathSegment};
use super::router::{self, Methods, Router, Segment};
use super::running::{
    ActionsPlan, HeadRules, ListenAddress, ListenerPlan, METADATA_PATH, Plan, Process, Resource, Target,
};
use super::settings::{
    BearerSettings, Bind, Checked, ClientCredentials, ClientSettings, HostRule, IssuerSettings, RouteSettings,
    ServerAddress, ServerScheme, TlsFiles, UpstreamSettings,
};
use super::trust;
use super::upstream_tokens::UpstreamTokens;
use crate::authn::{Memories, TokenMemory};
use crate::clock::Clock;
use crate::config::client as config;
use crate::config::issuer::TokenType;
use crate::config::upstream::Balance;
use crate::control::Control;
use crate::idp::{
    self, AssertionAudience, Audiences, Certificate, ClientAuth, ClientIdentity, ClientKey, Fetch, FetchTls, Issuer,
};
use crate::jose::{self, AlgorithmSet};
use crate::kv::Kv;
use crate::outbound::DressError;
use crate::policy::{self, ProgramError};
use crate::telemetry::Metrics;
use crate::upstream::{self, SetUpError, Upstream};
use crate::wire::arrival::Limits;
use crate::wire::cookies::OwnCookieNames;
use crate::wire::forwarded::TrustedProxies;
use crate::wire::owned::OwnedNames;

/// What a plan is wired to.
#[derive(Clone)]
pub struct Wiring {
    pub clock: Clock,
    pub control: Control,
    pub metrics: Metrics,
    pub memory: Arc<TokenMemory>,
}

/// What checking could not see: a file that changed since, or a rule that a room refuses.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("upstreams.{name}: {error}")]
    Upstream { name: Arc<str>, error: SetUpError },
    #[error("issuers.{name}: {error}")]
    Algorithm { name: Arc<str>, error: jose::algorithm::UnknownAlgorithm },
    #[error("routes[{index}].access.{way}.policy: {error}")]
    Policy { index: usize, way: &'static str, error: ProgramError },
    #[error("routes[{index}].access.{way}.claims: {error}")]
    Claims { index: usize, way: &'static str, error: policy::ClaimRuleError },
    #[error("routes[{index}].forward: {error}")]
    Dress { index: usize, error: DressError },
    #[error("clients.{name} names what does not exist")]
    Client { name: Arc<str> },
    #[error("sites.{name} names what does not exist, or there are no keys for it")]
    Site { name: Arc<str> },
    #[error("routes[{index}] names what does not exist")]
    Dangling { index: usize },
}

/// Compiles the plan.
///
/// # Errors
/// [`CompileError`] for the first part that cannot be built.
pub fn compile(checked: &Checked, wiring: &Wiring) -> Result<Plan, CompileError> {
    let fetch = Fetch::new(wiring.clock.clone());
    let issuers = checked.issuers.iter().enumerate().map(|(index, written)| {
        let sources = trust::sources(checked, index, written);
        issuer(written, sources, wiring, &fetch)
    });
    let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
    let redis = checked.sessions.redis.clone();
    let redis = redis.and_then(|settings| Kv::redis(settings, wiring.clock.clone(), wiring.control.clone()));
    let trusted = trust::trusted(checked, &issuers, redis.as_ref(), wiring);
    let introspections: Vec<_> = trusted.iter().filter_map(|trusted| trusted.introspection.clone()).collect();
    let upstreams = checked.upstreams.iter().map(upstream).collect::<Result<Vec<_>, _>>()?;
    let registrations = login::registrations(checked, &issuers)?;
    let sites = login::sites(checked, &registrations, redis.as_ref(), wiring)?;
    let limits = &checked.server.limits;
    let mut router = Router::default();
    let doors = login::doors(&sites, &mut router, wiring);
    let identity = checked.sessions.keys.as_ref().and_then(IdentityKeys::new);
    let signing = checked.routes.iter().filter(|route| route.forward.identity_token.is_some());
    identity::address(&mut router, &checked.server.auth_prefix, signing.flat_map(hosts));
    let parts = Parts { checked, trusted: &trusted, upstreams: &upstreams, sites: &sites, identity: identity.as_ref() };
    let mut tokens = UpstreamTokens::new(&registrations, wiring);
    let mut passwords = AllPasswords::new(checked, &registrations, &trusted, wiring);
    let mut routes = Vec::with_capacity(checked.routes.len());
    for written in &checked.routes {
        let target = Target::Route(routes.len());
        for host in hosts(written) {
            router.insert(&host, &segments(written), methods(written), target);
        }
        routes.push(build::route(written, &parts, (&mut tokens, &mut passwords), wiring)?);
    }
    let owned = OwnedNames::new(&routes.iter().flat_map(|route| route.dress.names().cloned()).collect::<Vec<_>>());
    let resources = resources(checked, &mut router);
    let (own_tokens, exchanges) = tokens.into_parts();
    Ok(Plan {
        router,
        routes,
        resources,
        issuers,
        memories: Memories::new(Arc::clone(&wiring.memory), introspections.clone()),
        introspections,
        upstreams,
        passwords: passwords.into_all(),
        own_tokens,
        exchanges,
        own_cookies: OwnCookieNames::new(sites.iter().map(|site| &*site.settings().cookie)),
        sites,
        doors,
        redis,
        jwks: identity.map(|keys| keys.document),
        owned: Arc::new(owned),
        trusted_proxies: TrustedProxies::new(checked.server.trusted_proxies.clone()),
        limits: Limits {
            target: limits.target_bytes,
            header: limits.header_bytes,
            field: limits.field_bytes,
            fields: limits.fields,
            body: limits.request_body.unwrap_or(0),
            body_silence: limits.body_timeout,
        },
        public_url: checked.server.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').into()),
    })
}

/// What the process needs beside the plan. `workers` and `connections` are what `auto` means here.
pub fn process(checked: &Checked, workers: usize, connections: usize) -> Process {
    let server = &checked.server;
    let limits = &server.limits;
    let listener = |written: &super::settings::ListenerSettings| ListenerPlan {
        address: listen_address(&written.bind),
        tls: written.certificates.iter().map(|pair| (pair.certificate.clone(), pair.private_key.clone())).collect(),
        redirect_to_https: written.redirect_to_https,
    };
    Process {
        listeners: server.listeners.iter().map(listener).collect(),
        workers: server.workers.map_or(workers, |workers| workers as usize).max(1),
        takeover: server.takeover,
        connections: limits.connections.map_or(connections, |connections| connections as usize),
        head: HeadRules {
            target: limits.target_bytes,
            header: limits.header_bytes,
            field: limits.field_bytes,
            fields: limits.fields,
            head_timeout: limits.header_timeout,
            body_timeout: limits.body_timeout,
            idle_timeout: limits.idle_timeout,
            h2_streams: limits.h2_streams,
        },
        drain_delay: server.drain_delay,
        shutdown_grace: server.shutdown_grace,
        admin_bind: listen_address(&checked.admin.bind),
        actions: checked
            .admin
            .actions
            .as_ref()
            .map(|actions| ActionsPlan { address: listen_address(&actions.bind), token: actions.token.clone() }),
        ready_after: checked.admin.ready_after,
    }
}

fn listen_address(bind: &Bind) -> ListenAddress {
    match bind {
        Bind::Tcp(address) => ListenAddress::Tcp(*address),
        Bind::Unix(path) => ListenAddress::Unix(path.clone()),
    }
}

fn issuer(
    written: &IssuerSettings,
    sources: trust::Sources,
    wiring: &Wiring,
    fetch: &Fetch,
) -> Result<Arc<Issuer>, CompileError> {
    let names = written.algorithms.iter().map(|algorithm| algorithm.word());
    let algorithms = AlgorithmSet::parse(names)
        .map_err(|error| CompileError::Algorithm { name: Arc::clone(&written.name), error })?;
    let settings = idp::IssuerSettings {
        name: Arc::clone(&written.name),
        issuer: Arc::clone(&written.issuer),
        audiences: match &written.audiences {
            None => Audiences::Any,
            Some(audiences) => Audiences::OneOf(audiences.iter().map(|audience| audience.as_str().into()).collect()),
        },
        algorithms,
        token_type: match written.token_type {
            TokenType::Any => idp::TokenType::Any,
            TokenType::AtJwt => idp::TokenType::AtJwt,
        },
        accept_id_tokens: written.accept_id_tokens,
        clock_skew: written.clock_skew,
        keys: sources.keys,
        keys_optional: sources.keys_optional,
        endpoints: endpoints(&written.endpoints),
        discover: sources.discover,
        refresh: written.refresh,
        cooldown: written.cooldown,
        max_stale: written.max_stale,
        allow_http: written.allow_http,
        tls: written.tls.as_ref().map(|files| {
            let (certificate, key) = identity(files);
            FetchTls { ca: files.ca.clone(), certificate, key }
        }),
    };
    Ok(Issuer::new(settings, wiring.clock.clone(), wiring.control.clone(), fetch.clone()))
}

fn endpoints(written: &super::settings::Endpoints) -> idp::Endpoints {
    let super::settings::Endpoints { authorization, token, introspection, revocation, userinfo, end_session, par } =
        written.clone();
    idp::Endpoints { authorization, token, introspection, revocation, userinfo, end_session, par }
}

/// Who Postern is to an issuer.
pub fn client_identity(written: &ClientSettings) -> ClientIdentity {
    let auth = match &written.credentials {
        ClientCredentials::None => ClientAuth::None,
        ClientCredentials::SecretBasic(secret) => ClientAuth::SecretBasic(secret.clone()),
        ClientCredentials::SecretPost(secret) => ClientAuth::SecretPost(secret.clone()),
        ClientCredentials::SecretJwt(secret, audience) => {
            ClientAuth::SecretJwt(secret.clone(), assertion_audience(*audience))
        }
        ClientCredentials::PrivateKeyJwt(key, audience) => {
            ClientAuth::PrivateKeyJwt(ClientKey(Arc::clone(key)), assertion_audience(*audience))
        }
        ClientCredentials::AssertionFile(file) => ClientAuth::AssertionFile(file.clone()),
        ClientCredentials::Tls(pair) => ClientAuth::Tls(
            pair.as_ref().map(|pair| Certificate { chain: pair.certificate.clone(), key: pair.private_key.clone() }),
        ),
    };
    ClientIdentity { client_id: written.client_id.clone(), auth }
}

const fn assertion_audience(written: config::AssertionAudience) -> AssertionAudience {
    match written {
        config::AssertionAudience::Issuer => AssertionAudience::Issuer,
        config::AssertionAudience::TokenEndpoint => AssertionAudience::TokenEndpoint,
    }
}

fn identity(files: &TlsFiles) -> (Option<PathBuf>, Option<PathBuf>) {
    match &files.identity {
        Some(pair) => (Some(pair.certificate.clone()), Some(pair.private_key.clone())),
        None => (None, None),
    }
}

/// A health check that takes longer than this has failed.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

fn upstream(written: &UpstreamSettings) -> Result<Arc<Upstream>, CompileError> {
    let server = |target: &super::settings::ServerTarget| upstream::ServerSettings {
        address: match &target.address {
            ServerAddress::Unix(path) => upstream::ServerAddress::Unix { path: path.clone(), h2c: false },
            ServerAddress::Tcp { scheme, host, port } => upstream::ServerAddress::Tcp {
                scheme: match scheme {
                    ServerScheme::Http => upstream::ServerScheme::Http,
                    ServerScheme::Https => upstream::ServerScheme::Https,
                    ServerScheme::H2c => upstream::ServerScheme::H2c,
                },
                host: host.trim_start_matches('[').trim_end_matches(']').into(),
                port: *port,
            },
        },
        weight: target.weight,
    };
    let settings = upstream::UpstreamSettings {
        name: Arc::clone(&written.name),
        servers: written.servers.iter().map(server).collect(),
        host: match &written.host {
            HostRule::Preserve => upstream::HostRule::Preserve,
            HostRule::Upstream => upstream::HostRule::Upstream,
            HostRule::Named(name) => upstream::HostRule::Named(name.clone()),
        },
        balance: match written.balance {
            Balance::LeastRequests => upstream::Balance::LeastRequests,
            Balance::RoundRobin => upstream::Balance::RoundRobin,
        },
        health_check: written.health_check.as_ref().map(|check| upstream::HealthCheck {
            path: check.path.as_str().into(),
            interval: check.interval,
            timeout: check.interval.min(HEALTH_CHECK_TIMEOUT),
        }),
        connect_timeout: written.connect,
        response_header_timeout: written.response_header,
        pooled_idle: written.pooled_idle,
        stream_idle: written.stream_idle,
        retries: written.retries,
        connections: written.connections,
        queue: written.queue,
        tls: written.tls.as_ref().map(|files| {
            let (certificate, private_key) = identity(files);
            let server_name = files.server_name.as_deref().map(Into::into);
            upstream::UpstreamTls { ca: files.ca.clone(), certificate, private_key, server_name }
        }),
    };
    Upstream::new(settings).map_err(|error| CompileError::Upstream { name: Arc::clone(&written.name), error })
}

fn hosts(written: &RouteSettings) -> Vec<router::HostPattern> {
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(name) => router::HostPattern::Exact(name.clone()),
        HostPattern::Wildcard(rest) => router::HostPattern::Wildcard(format!(".{rest}").into()),
    };
    match written.matching.hosts.as_slice() {
        [] => vec![router::HostPattern::Any],
        hosts => hosts.iter().map(host).collect(),
    }
}

fn segments(written: &RouteSettings) -> Vec<Segment> {
    let segment = |segment: &PathSegment| match segment {
        PathSegment::Literal(text) => Segment::Literal(text.clone()),
        PathSegment::Param(name) => Segment::Parameter(name.clone()),
        PathSegment::Rest => Segment::Rest,
    };
    written.matching.path.segments().iter().map(segment).collect()
}

fn methods(written: &RouteSettings) -> Methods {
    match written.matching.methods.as_slice() {
        [] => Methods::Any,
        methods => Methods::Only(methods.into()),
    }
}

pub(super) fn words(written: &RouteSettings) -> String {
    let methods: Vec<&str> = written.matching.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    let hosts: Vec<String> = written.matching.hosts.iter().map(ToString::to_string).collect();
    format!("{methods} {}{}", hosts.join(","), written.matching.path)
}

/// A metadata document for each host that has a bearer route of its own, and one for all others if a hostless route
/// takes bearer tokens. A host's document names what hostless routes take as well, for they serve it too.
fn resources(checked: &Checked, router: &mut Router<Target>) -> Vec<Resource> {
    let mut hosts_seen: Vec<router::HostPattern> = Vec::new();
    let bearers: Vec<(Vec<router::HostPattern>, &BearerSettings)> =
        checked.routes.iter().filter_map(|route| Some((hosts(route), route.access.bearer()?))).collect();
    for host in bearers.iter().flat_map(|(hosts, _)| hosts) {
        if !hosts_seen.contains(host) {
            hosts_seen.push(host.clone());
        }
    }
    let path: Vec<Segment> =
        METADATA_PATH.trim_start_matches('/').split('/').map(|part| Segment::Literal(part.into())).collect();
    let mut resources = Vec::with_capacity(hosts_seen.len());
    for host in hosts_seen {
        let serves = |hosts: &[router::HostPattern]| hosts.contains(&host) || hosts.contains(&router::HostPattern::Any);
        let mut resource = Resource { authorization_servers: Vec::new(), scopes: Vec::new() };
        for (_, bearer) in bearers.iter().filter(|(hosts, _)| serves(hosts)) {
            let issuers = bearer.issuers.iter().filter_map(|at| checked.issuers.get(*at)).map(|issuer| &*issuer.issuer);
            issuers.for_each(|issuer| add(&mut resource.authorization_servers, issuer));
            bearer
                .rules
                .scopes
                .iter()
                .chain(&bearer.rules.any_scope)
                .for_each(|scope| add(&mut resource.scopes, scope));
        }
        let get = Methods::Only([http::Method::GET].into());
        router.insert(&host, &path, get, Target::Resource(resources.len()));
        resources.push(resource);
    }
    resources
}

fn add(names: &mut Vec<Box<str>>, name: &str) {
    if !names.iter().any(|known| **known == *name) {
        names.push(name.into());
    }
}
