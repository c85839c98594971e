//! The configuration in parsed types. Comes in: nothing; `check` fills these. Goes out: what rooms are built from, so that
//! nobody behind this parses a string again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use url::Url;

use super::patterns::{HostPattern, PathPattern};
use crate::authn::PasswordSettings;
use crate::config::Report;
use crate::config::client::{AssertionAudience, GrantType, Par, Pkce, RequestObject};
use crate::config::forward::AccessToken;
use crate::config::issuer::{Algorithm, MissingAudience, TokenType, Tokens};
use crate::config::route::{ClaimRule, EncodedSlash, Preflight};
use crate::config::site::{Authorize, BackChannelLogout, LongLived, SameSite};
use crate::config::telemetry::{AccessLog, LogFormat, LogLevel};
use crate::config::upstream::Balance;
use crate::jose::SigningKey;
use crate::kv::RedisSettings;
use crate::login::{Allowed, Brand, Flow, Landing, Mode};
use crate::outbound::TokenTarget;
use crate::seal::{MasterKeys, Secret};

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Checked {
    pub server: ServerSettings,
    pub admin: AdminSettings,
    pub telemetry: TelemetrySettings,
    /// By name.
    pub issuers: Vec<IssuerSettings>,
    /// By name.
    pub clients: Vec<ClientSettings>,
    /// By name.
    pub sites: Vec<SiteSettings>,
    pub sessions: SessionsSettings,
    /// By name.
    pub upstreams: Vec<UpstreamSettings>,
    /// In the order of the file.
    pub routes: Vec<RouteSettings>,
    /// What is allowed and unwise.
    pub warnings: Report,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Never empty.
    pub listeners: Vec<ListenerSettings>,
    /// An origin: scheme, host and port only.
    pub public_url: Option<Url>,
    pub trusted_proxies: Vec<IpNet>,
    /// `None` is the CPU quota.
    pub workers: Option<u32>,
    pub drain_delay: Duration,
    pub shutdown_grace: Duration,
    pub limits: Limits,
    pub takeover: bool,
    /// Starts with `/`, ends without.
    pub auth_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    pub bind: Bind,
    /// Empty for cleartext. The first is the default; the files have been seen to hold a chain and a key.
    pub certificates: Vec<CertificateFiles>,
    pub redirect_to_https: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// Bounds on what one client may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub target_bytes: usize,
    pub header_bytes: usize,
    pub field_bytes: usize,
    pub fields: usize,
    pub token_bytes: usize,
    /// `None` is no limit.
    pub request_body: Option<u64>,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    /// `None` is a third of the file descriptors.
    pub connections: Option<u32>,
    pub h2_streams: u32,
}

#[derive(Clone, Debug)]
pub struct AdminSettings {
    pub bind: Bind,
    pub ready_after: Duration,
    pub actions: Option<ActionsSettings>,
}

/// The listener for what changes the gateway.
#[derive(Clone, Debug)]
pub struct ActionsSettings {
    pub bind: Bind,
    pub token: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    pub level: LogLevel,
    pub format: LogFormat,
    pub access_log: AccessLog,
}

#[derive(Clone, Debug)]
pub struct IssuerSettings {
    pub name: Arc<str>,
    /// As it was written: `iss` is compared with it byte for byte.
    pub issuer: Arc<str>,
    /// `None` is any audience.
    pub audiences: Option<Vec<String>>,
    /// Never empty.
    pub algorithms: Vec<Algorithm>,
    pub token_type: TokenType,
    pub tokens: Tokens,
    /// Also JWTs are asked about.
    pub introspect_jwts: bool,
    /// There if any of its tokens is asked about.
    pub introspection: Option<IntrospectionSettings>,
    pub accept_id_tokens: bool,
    pub clock_skew: Duration,
    pub allow_http: bool,
    pub keys: KeySource,
    pub endpoints: Endpoints,
    pub refresh: Duration,
    pub cooldown: Duration,
    pub max_stale: Duration,
    pub tls: Option<TlsFiles>,
}

/// How an issuer is asked about tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntrospectionSettings {
    /// An index into [`Checked::clients`].
    pub client: usize,
    pub ttl: Duration,
    pub negative_ttl: Duration,
    /// Not 0, and neither are the bytes.
    pub max_entries: usize,
    pub max_bytes: usize,
    pub obey_no_store: bool,
    /// `cache.shared: redis`; there is a Redis then, and keys.
    pub shared: bool,
    pub missing_audience: MissingAudience,
    pub signed: bool,
    pub stale_if_error: Duration,
    /// Longer than zero.
    pub timeout: Duration,
    /// Not 0.
    pub concurrency: usize,
    /// 0 is no limit.
    pub failures_per_client: u32,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    Discovery,
    Url { url: Url, token: Option<Secret> },
    File(PathBuf),
}

/// Endpoints as they were configured; `None` is what discovery finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub authorization: Option<Url>,
    pub token: Option<Url>,
    pub introspection: Option<Url>,
    pub revocation: Option<Url>,
    pub userinfo: Option<Url>,
    pub end_session: Option<Url>,
    pub par: Option<Url>,
}

/// What Postern is to an issuer.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub name: Arc<str>,
    /// An index into [`Checked::issuers`].
    pub issuer: usize,
    pub client_id: Box<str>,
    pub credentials: ClientCredentials,
    /// No two the same.
    pub grant_types: Vec<GrantType>,
    pub allow_access_tokens_via_browser: bool,
    pub scopes: Vec<String>,
    pub pkce: Pkce,
    pub par: Par,
    /// What it signs authorization requests with.
    pub key: Option<Arc<SigningKey>>,
    /// With `signed` there is a key.
    pub request_object: RequestObject,
}

/// How a client shows who it is.
#[derive(Clone, Debug)]
pub enum ClientCredentials {
    None,
    SecretBasic(Secret),
    SecretPost(Secret),
    SecretJwt(Secret, AssertionAudience),
    PrivateKeyJwt(Arc<SigningKey>, AssertionAudience),
    AssertionFile(PathBuf),
    /// `None`: the certificate of the issuer's `tls`, which is there then.
    Tls(Option<CertificateFiles>),
}

#[derive(Clone, Debug)]
pub struct SiteSettings {
    pub name: Arc<str>,
    /// An origin: scheme, host and port only; http on loopback only.
    pub url: Url,
    /// Indexes into [`Checked::clients`]; never empty, and no two the same.
    pub sign_in: Vec<usize>,
    pub flow: Flow,
    pub mode: Mode,
    pub authorize: Authorize,
    pub userinfo: bool,
    pub cookie: CookieSettings,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    pub after_sign_out: Option<Landing>,
    pub allowed_redirects: Vec<Allowed>,
    /// Unsafe methods and upgrades that another site caused are refused, but for these paths.
    pub refuses_cross_site: bool,
    pub cross_site_paths: Vec<PathPattern>,
    /// Bytes; 0 = none.
    pub preserve_post: usize,
    pub back_channel_logout: BackChannelLogout,
    pub long_lived: LongLived,
    pub brand: Arc<Brand>,
}

/// The session cookie of a site; what a browser would not keep to has been refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSettings {
    pub name: Box<str>,
    pub same_site: SameSite,
    pub domain: Option<Box<str>>,
    pub secure: bool,
}

#[derive(Clone, Debug)]
pub struct SessionsSettings {
    pub store: SessionStore,
    /// There whenever a route asks for a session.
    pub keys: Option<MasterKeys>,
    pub redis: Option<RedisSettings>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStore {
    Cookie,
    Memory,
    /// `sessions.redis` is there.
    Redis,
}

/// TLS as a client. The files have been seen to hold what they should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: Option<PathBuf>,
    pub identity: Option<CertificateFiles>,
    pub server_name: Option<String>,
}

#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    pub name: Arc<str>,
    /// Never empty, and not all of weight 0.
    pub servers: Vec<ServerTarget>,
    pub host: HostRule,
    pub balance: Balance,
    pub health_check: Option<HealthCheck>,
    pub connect: Duration,
    pub response_header: Duration,
    pub pooled_idle: Duration,
    /// Zero is off, here and above.
    pub stream_idle: Duration,
    pub retries: u32,
    /// 0 is no limit.
    pub connections: u32,
    pub queue: u32,
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTarget {
    pub address: ServerAddress,
    pub weight: u32,
}

/// Where a server listens and what it speaks there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// An IPv6 host has no brackets.
    Tcp {
        scheme: ServerScheme,
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerScheme {
    Http,
    Https,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    H2c,
}

/// Which `Host` an upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRule {
    Preserve,
    Upstream,
    Named(HeaderValue),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
}

#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Its place in the file.
    pub index: usize,
    pub name: Arc<str>,
    pub matching: MatchSettings,
    /// An index into [`Checked::upstreams`].
    pub upstream: usize,
    pub access: AccessSettings,
    pub forward: ForwardSettings,
    pub preflight: Preflight,
    /// Overrides the upstream's.
    pub response_header: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchSettings {
    /// Empty is every host.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Empty is every method.
    pub methods: Vec<Method>,
    pub encoded_slash: EncodedSlash,
}

#[derive(Clone, Debug)]
pub enum AccessSettings {
    Public,
    Ways(Box<WaysSettings>),
}

impl AccessSettings {
    pub fn bearer(&self) -> Option<&BearerSettings> {
        match self {
            Self::Public => None,
            Self::Ways(ways) => ways.bearer.as_ref(),
        }
    }

    pub fn basic(&self) -> Option<&BasicSettings> {
        match self {
            Self::Public => None,
            Self::Ways(ways) => ways.basic.as_ref(),
        }
    }

    pub fn session(&self) -> Option<&SessionSettings> {
        match self {
            Self::Public => None,
            Self::Ways(ways) => ways.session.as_ref(),
        }
    }

    /// Whether who shows nothing may pass.
    pub fn admits_nobody(&self) -> bool {
        let rules = [
            self.bearer().map(|way| &way.rules),
            self.session().map(|way| &way.rules),
            self.basic().map(|way| &way.rules),
        ];
        matches!(self, Self::Public) || rules.into_iter().flatten().any(|rules| rules.optional)
    }
}

/// Alternatives; at least one is there.
#[derive(Clone, Debug)]
pub struct WaysSettings {
    pub bearer: Option<BearerSettings>,
    pub session: Option<SessionSettings>,
    pub basic: Option<BasicSettings>,
}

#[derive(Clone, Debug)]
pub struct BasicSettings {
    /// An index into [`Checked::clients`].
    pub client: usize,
    pub passwords: PasswordSettings,
    pub rules: RulesSettings,
}

#[derive(Clone, Debug)]
pub struct BearerSettings {
    /// Indexes into [`Checked::issuers`]; never empty, and no two with the same identifier.
    pub issuers: Vec<usize>,
    pub rules: RulesSettings,
}

#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// An index into [`Checked::sites`].
    pub site: usize,
    pub rules: RulesSettings,
}

/// What whoever is known must satisfy.
#[derive(Clone, Debug)]
pub struct RulesSettings {
    pub scopes: Vec<String>,
    pub any_scope: Vec<String>,
    pub claims: Vec<(String, ClaimRule)>,
    /// CEL, seen to compile.
    pub policy: Option<String>,
    pub step_up: Option<StepUpSettings>,
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUpSettings {
    pub acr: Vec<String>,
    pub max_age: Option<Duration>,
}

/// A signed statement of who the caller is. `sessions.keys` are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityTokenSettings {
    pub field: HeaderName,
    pub audience: String,
    /// The origin at which our keys are found.
    pub issuer: String,
}

/// What goes up as `Authorization`; clients are indexes into [`Checked::clients`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationSettings {
    Strip,
    Keep,
    Own { client: usize, target: TokenTarget },
    Exchange { client: usize, target: TokenTarget, actor: Option<usize> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSettings {
    pub authorization: AuthorizationSettings,
    /// Field names and the claims that fill them.
    pub headers: Vec<(HeaderName, String)>,
    pub identity_token: Option<IdentityTokenSettings>,
    /// Never other than off on a route without sessions.
    pub access_token: AccessToken,
    pub strip_prefix: Option<String>,
    pub add_prefix: Option<String>,
    pub request_trailers: bool,
}
