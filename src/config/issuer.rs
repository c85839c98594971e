//! `issuers`: whose tokens are believed, and what they must say.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::secret::SecretRef;
use super::values::{ByteSize, Period, words};

pub const CLOCK_SKEW: Period = Period::seconds(30);
pub const MAX_CLOCK_SKEW: Period = Period::seconds(60);
pub const REFRESH: Period = Period::minutes(15);
pub const COOLDOWN: Period = Period::seconds(30);
pub const MAX_STALE: Period = Period::hours(24);
pub const ANSWER_TTL: Period = Period::seconds(60);
pub const NEGATIVE_TTL: Period = Period::seconds(10);
pub const ANSWERS: u32 = 100_000;
pub const ANSWER_BYTES: ByteSize = ByteSize::kib(256 * 1024);
pub const INTROSPECTION_TIMEOUT: Period = Period::seconds(2);
pub const INTROSPECTIONS: u32 = 64;
pub const FAILURES_PER_CLIENT: u32 = 60;

/// An identity provider whose tokens are believed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// The issuer's identifier: compared byte for byte with `iss`, and the start of discovery.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// One of them must be in `aud`; `any` means that `aud` is not looked at.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Audiences>,
    /// Signature algorithms that are accepted; always asymmetric.
    pub algorithms: Vec<Algorithm>,
    /// What this issuer's access tokens are; `any`: JWTs of this issuer are checked here, the rest is asked about.
    pub tokens: Tokens,
    /// `at+jwt` demands the header `typ` of RFC 9068.
    pub token_type: TokenType,
    /// Accept tokens that look like ID tokens, for issuers that hand these out as access tokens.
    pub accept_id_tokens: bool,
    /// How far the issuer's clock may be off; at most 60s.
    pub clock_skew: Period,
    /// Accept an http issuer that is not on loopback.
    pub allow_http: bool,
    /// Where the keys come from and how long they are kept.
    pub jwks: Jwks,
    /// Ask about JWTs, too: they pass only if their issuer says that they are active.
    pub introspect_jwts: bool,
    /// How the issuer is asked about tokens (RFC 7662).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// Where the issuer is asked, instead of what its metadata says.
    pub endpoints: Endpoints,
    /// TLS towards the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: None,
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            tokens: Tokens::Jwt,
            token_type: TokenType::Any,
            accept_id_tokens: false,
            clock_skew: CLOCK_SKEW,
            allow_http: false,
            jwks: Jwks::default(),
            introspect_jwts: false,
            introspection: None,
            endpoints: Endpoints::default(),
            tls: None,
        }
    }
}

/// An issuer's keys.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Jwks {
    /// How often the keys are fetched anew.
    pub refresh: Period,
    /// The least time between two fetches that unknown keys cause.
    pub cooldown: Period,
    /// How long the last good keys serve while the issuer is out of reach.
    pub max_stale: Period,
    /// The key set's URL; without it discovery finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file with the key set, relative to the configuration file; instead of `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A bearer token for fetching the key set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
}

impl Default for Jwks {
    fn default() -> Self {
        Self { refresh: REFRESH, cooldown: COOLDOWN, max_stale: MAX_STALE, url: None, file: None, token: None }
    }
}

/// How an issuer is asked about tokens (RFC 7662).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Introspection {
    /// The name of a client: as whom Postern asks.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How long and how many answers are kept.
    pub cache: AnswerCache,
    /// What becomes of a token whose answer has no `aud`.
    pub missing_audience: MissingAudience,
    /// Ask for signed answers and take no others (RFC 9701).
    pub signed: bool,
    /// How much longer a positive answer serves while the issuer can't be asked; never past the token's end.
    pub stale_if_error: Period,
    /// How long a question may take.
    pub timeout: Period,
    /// Questions under way at once.
    pub concurrency: u32,
    /// Tokens that are none, by client address and minute; beyond it 429. 0 is no limit.
    pub failures_per_client: u32,
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            client: None,
            cache: AnswerCache::default(),
            missing_audience: MissingAudience::default(),
            signed: false,
            stale_if_error: Period::ZERO,
            timeout: INTROSPECTION_TIMEOUT,
            concurrency: INTROSPECTIONS,
            failures_per_client: FAILURES_PER_CLIENT,
        }
    }
}

/// How long and how many introspection answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerCache {
    /// The longest life of a positive answer: a revoked token passes for at most so long.
    pub ttl: Period,
    /// The life of a negative answer.
    pub negative_ttl: Period,
    /// Positive answers, and negative ones beside them.
    pub max_entries: u32,
    /// Bytes of positive answers.
    pub max_bytes: ByteSize,
    /// Keep no answer that says `Cache-Control: no-store`, as most do.
    pub obey_no_store: bool,
    /// What replicas share.
    pub shared: SharedAnswers,
}

impl Default for AnswerCache {
    fn default() -> Self {
        Self {
            ttl: ANSWER_TTL,
            negative_ttl: NEGATIVE_TTL,
            max_entries: ANSWERS,
            max_bytes: ANSWER_BYTES,
            obey_no_store: false,
            shared: SharedAnswers::default(),
        }
    }
}

words! {
    /// What becomes of a token whose answer has no `aud`.
    MissingAudience { #[default] Refuse = "refuse", Accept = "accept" }
}
words! {
    /// Where answers are shared with other replicas.
    SharedAnswers { #[default] Off = "off", Redis = "redis" }
}

/// An issuer's endpoints, where they are not those of its metadata document (RFC 8414 section 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userinfo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub par: Option<String>,
}

/// TLS towards an issuer or an upstream; PEM files, relative to the configuration file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTls {
    /// Certificates that are trusted instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate chain that Postern shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
}

words! {
    /// The signature algorithms that can be accepted (RFC 7518, RFC 8037, RFC 8812, RFC 9864).
    Algorithm {
        #[default] Rs256 = "RS256", Rs384 = "RS384", Rs512 = "RS512", Ps256 = "PS256", Ps384 = "PS384", Ps512 = "PS512",
        Es256 = "ES256", Es384 = "ES384", Es512 = "ES512", Es256k = "ES256K", EdDsa = "EdDSA", Ed25519 = "Ed25519",
    }
    refused {
        "none" => "is no signature: anybody could write such a token",
        "HS256" => "needs a secret that every verifier could sign with: use an asymmetric algorithm",
        "HS384" => "needs a secret that every verifier could sign with: use an asymmetric algorithm",
        "HS512" => "needs a secret that every verifier could sign with: use an asymmetric algorithm",
    }
}

impl Algorithm {
    /// The default: everything that needs no shared secret.
    pub const ASYMMETRIC: &'static [Self] = &[
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Es256k,
        Self::EdDsa,
        Self::Ed25519,
    ];
}

words! {
    /// What an issuer's access tokens are.
    Tokens { #[default] Jwt = "jwt", Opaque = "opaque", Any = "any" }
}
words! {
    /// Which header `typ` an access token must have.
    TokenType { #[default] Any = "any", AtJwt = "at+jwt" }
}

/// `any`, one audience, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    Any,
    OneOf(Vec<String>),
}

struct AudiencesVisitor;

impl<'de> Visitor<'de> for AudiencesVisitor {
    type Value = Audiences;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of audiences, or `any`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Audiences, E> {
        Ok(if text == "any" { Audiences::Any } else { Audiences::OneOf(vec![text.to_owned()]) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audiences, A::Error> {
        let mut audiences = Vec::new();
        while let Some(audience) = list.next_element()? {
            audiences.push(audience);
        }
        Ok(Audiences::OneOf(audiences))
    }
}

impl<'de> Deserialize<'de> for Audiences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AudiencesVisitor)
    }
}

impl Serialize for Audiences {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::OneOf(audiences) => audiences.serialize(serializer),
        }
    }
}

impl JsonSchema for Audiences {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Audiences".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Audiences of which one must be in `aud`, or `any`.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}
