//! `routes`: which requests go where, who may pass, and what the upstream sees.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::forward::Forward;
use super::server::Mode;
use super::values::{Period, words};

/// Requests that match go to an upstream, if their caller may pass.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The route's name in logs and metrics; `route-1` and so on unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which requests.
    #[schemars(required)]
    #[serde(rename = "match")]
    pub matching: Match,
    /// The name of an upstream.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Who may pass: `public`, or what must be shown.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What the upstream sees.
    pub forward: Forward,
    /// CORS preflights: `refuse` treats them like any request, `forward` lets true ones up without identity.
    pub preflight: Preflight,
    /// Overrides of the upstream's timeouts.
    pub timeouts: RouteTimeouts,
    /// What a refusal does: `enforce` refuses.
    pub mode: Mode,
}

/// Which requests a route takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Exact names, or `*.example.com` for one label; empty means every host.
    pub hosts: Vec<String>,
    /// `/exact`, `/prefix/**`, or `/users/{id}/orders`; whole segments.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Methods; GET includes HEAD; empty means every method.
    pub methods: Vec<String>,
    /// `keep` lets `%2f` stand inside a segment.
    pub encoded_slash: EncodedSlash,
}

words! {
    /// What becomes of `%2f` in a path.
    EncodedSlash { #[default] Refuse = "refuse", Keep = "keep" }
}
words! {
    /// What becomes of a CORS preflight.
    Preflight { #[default] Refuse = "refuse", Forward = "forward" }
}
words! {
    /// Which proof of possession a token must come with.
    SenderConstraint { #[default] WhenBound = "when_bound" } later { "dpop", "mtls", "required" }
}

/// Overrides of the upstream's timeouts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// From the last byte of the request to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header: Option<Period>,
}

/// Who may pass.
#[derive(Clone, Debug)]
pub enum Access {
    Public,
    Ways(Box<Ways>),
}

/// The alternatives; what a client shows chooses one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ways {
    /// An access token in the `Authorization` field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Bearer>,
    /// A browser's sign-in at a site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// A name and a password, exchanged for a token; for callers who know nothing better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
}

/// What a browser's sign-in must satisfy; everything that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// The name of a site.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Scopes that the provider granted at the sign-in; all are needed.
    pub scopes: Vec<String>,
    /// Scopes of which one is needed.
    pub any_scope: Vec<String>,
    /// Claims: a value to be equal to, `{ contains: x }`, `{ any: [x, y] }` or `{ exists: true }`.
    pub claims: BTreeMap<String, ClaimRule>,
    /// A CEL expression; false or an error refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How recent and how strong the sign-in must be; a browser is sent to sign in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_up: Option<StepUp>,
    /// Nobody passes, without identity.
    pub optional: bool,
}

/// What an access token must satisfy; everything that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bearer {
    /// Whose tokens are taken.
    #[schemars(required)]
    pub issuers: Vec<String>,
    /// Scopes that are all needed.
    pub scopes: Vec<String>,
    /// Scopes of which one is needed.
    pub any_scope: Vec<String>,
    /// Claims: a value to be equal to, `{ contains: x }`, `{ any: [x, y] }` or `{ exists: true }`.
    pub claims: BTreeMap<String, ClaimRule>,
    /// A CEL expression; false or an error refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How recent and how strong the caller's sign-in must be (RFC 9470).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_up: Option<StepUp>,
    /// `when_bound`: a token with `cnf` passes only with its proof.
    pub sender_constraint: SenderConstraint,
    /// No credential passes without identity; a bad one is still refused.
    pub optional: bool,
}

/// A name and a password (RFC 7617) that the issuer exchanges for a token, and what the token must satisfy.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Basic {
    /// The name of a client that may use the grant.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// By which grant: `password`, or `client_credentials` for machines that show their own id and secret.
    pub grant: BasicGrant,
    /// Scopes that are all needed, and asked for unless `request_scopes` says otherwise.
    pub scopes: Vec<String>,
    /// What the issuer is asked for instead of `scopes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_scopes: Option<Vec<String>>,
    /// Whom the token is for, by name (`audience`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, by address (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Scopes of which one is needed.
    pub any_scope: Vec<String>,
    /// Claims: a value to be equal to, `{ contains: x }`, `{ any: [x, y] }` or `{ exists: true }`.
    pub claims: BTreeMap<String, ClaimRule>,
    /// A CEL expression; false or an error refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// No credential passes without identity; a bad one is still refused.
    pub optional: bool,
    /// A password that the issuer has confirmed so long ago is put to it anew.
    pub ttl: Period,
    /// Wrong passwords for one name in a minute; beyond it 429. 0: no limit.
    pub failures_per_user: u32,
    /// Wrong passwords from one client address in a minute; beyond it 429. 0: no limit.
    pub failures_per_client: u32,
}

/// How long a confirmed password serves unless `ttl` says otherwise.
pub const BASIC_TTL: Period = Period::minutes(15);
pub const BASIC_FAILURES_PER_USER: u32 = 10;
pub const BASIC_FAILURES_PER_CLIENT: u32 = 60;

impl Default for Basic {
    fn default() -> Self {
        Self {
            client: None,
            grant: BasicGrant::default(),
            scopes: Vec::new(),
            request_scopes: None,
            audience: None,
            resource: None,
            any_scope: Vec::new(),
            claims: BTreeMap::new(),
            policy: None,
            optional: false,
            ttl: BASIC_TTL,
            failures_per_user: BASIC_FAILURES_PER_USER,
            failures_per_client: BASIC_FAILURES_PER_CLIENT,
        }
    }
}

words! {
    /// By which grant a name and a password are exchanged (RFC 6749 sections 4.3 and 4.4).
    BasicGrant { #[default] Password = "password", ClientCredentials = "client_credentials" }
}

/// How recent and how strong the caller's sign-in must be (RFC 9470).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepUp {
    /// Authentication contexts of which the token's `acr` must be one.
    pub acr: Vec<String>,
    /// The longest time since `auth_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
}

/// What one claim must be.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimRule {
    Equal(serde_json::Value),
    Contains(serde_json::Value),
    Any(Vec<serde_json::Value>),
    Exists(bool),
}

impl ClaimRule {
    /// Why the rule can't be kept by any claim, if so. Only scalars are compared: two objects are equal in too many ways.
    pub fn problem(&self) -> Option<&'static str> {
        let scalar = |value: &serde_json::Value| value.is_string() || value.is_number() || value.is_boolean();
        match self {
            Self::Equal(value) | Self::Contains(value) if !scalar(value) => {
                Some("`contains` takes text, a number, `true` or `false`")
            }
            Self::Any(values) if values.is_empty() || !values.iter().all(scalar) => {
                Some("`any` takes a list of texts, numbers, `true` or `false`, with at least one in it")
            }
            _ => None,
        }
    }
}

struct ClaimRuleVisitor;

impl<'de> Visitor<'de> for ClaimRuleVisitor {
    type Value = ClaimRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, `{ contains: x }`, `{ any: [x, y] }` or `{ exists: true }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Equal(text.into()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Equal(flag.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Equal(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Equal(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Equal(number.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<ClaimRule, A::Error> {
        Err(A::Error::custom(
            "a list is ambiguous here: write `{ any: [x, y] }` for one of them, `{ contains: x }` for a member",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimRule, A::Error> {
        let mut rule = None;
        while let Some(key) = map.next_key::<String>()? {
            let next = match key.as_str() {
                "contains" => ClaimRule::Contains(map.next_value()?),
                "any" => ClaimRule::Any(map.next_value()?),
                "exists" => ClaimRule::Exists(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&key, &["any", "contains", "exists"])),
            };
            if rule.replace(next).is_some() {
                return Err(A::Error::custom("a claim has one rule: `contains`, `any` or `exists`"));
            }
        }
        rule.ok_or_else(|| A::Error::custom("a claim needs a rule: `contains`, `any` or `exists`"))
    }
}

impl<'de> Deserialize<'de> for ClaimRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClaimRuleVisitor)
    }
}

impl Serialize for ClaimRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |key: &str, value: serde_json::Value| serde_json::json!({ key: value });
        let rule = match self {
            Self::Equal(value) => value.clone(),
            Self::Contains(value) => one("contains", value.clone()),
            Self::Any(values) => one("any", values.clone().into()),
            Self::Exists(flag) => one("exists", (*flag).into()),
        };
        rule.serialize(serializer)
    }
}

impl JsonSchema for ClaimRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClaimRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value to be equal to, or a rule.",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                {
                    "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
                    "properties": {
                        "contains": { "description": "The claim is a list that has this member." },
                        "any": { "type": "array", "description": "The claim is, or contains, one of these." },
                        "exists": { "type": "boolean", "description": "Whether the claim is there." },
                    },
                },
            ],
        })
    }
}

struct AccessVisitor;

impl<'de> Visitor<'de> for AccessVisitor {
    type Value = Access;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`public`, or a map with `bearer`, `session` or `basic`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Access, E> {
        match text {
            "public" => Ok(Access::Public),
            "bearer" => Err(E::custom("`bearer` needs its issuers: `access: { bearer: { issuers: [NAME] } }`")),
            "session" => Err(E::custom("`session` needs its site: `access: { session: { site: NAME } }`")),
            "basic" => Err(E::custom("`basic` needs its client: `access: { basic: { client: NAME } }`")),
            _ => Err(E::unknown_variant(text, &["public"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Access, A::Error> {
        Ways::deserialize(MapAccessDeserializer::new(map)).map(|ways| Access::Ways(Box::new(ways)))
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AccessVisitor)
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Public => serializer.serialize_str("public"),
            Self::Ways(ways) => ways.serialize(serializer),
        }
    }
}

impl JsonSchema for Access {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let ways = generator.subschema_for::<Ways>();
        json_schema!({
            "description": "Who may pass: `public`, or what must be shown.",
            "anyOf": [{ "type": "string", "enum": ["public"] }, ways],
        })
    }
}
