//! `access.basic` of a route: names and passwords of callers who know nothing better.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::route::ClaimRule;
use super::values::{ByteSize, Period, words};

const TTL: Period = Period::minutes(15);
const NEGATIVE_TTL: Period = Period::seconds(10);
const BYTES: ByteSize = ByteSize::kib(64 * 1024);
const FAILURES_PER_USER: u32 = 10;
const FAILURES_PER_CLIENT: u32 = 60;

/// HTTP Basic (RFC 7617), exchanged for a token at the issuer. Legacy: Postern sees the passwords (RFC 9700 section 2.4).
/// Everything that is demanded of the token must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Basic {
    /// The name of a client that may use the grant: at its issuer names and passwords are known. With
    /// `grant: client_credentials` its own credentials are not shown.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How they become a token: as a person's (`password`), or as a machine's id and secret (`client_credentials`).
    pub grant: BasicGrant,
    /// Scopes that the token must all have; they are what is asked for, unless `request_scopes` says otherwise.
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
    /// How long passwords are believed, under keyed digests.
    pub cache: BasicCache,
    /// Wrong passwords for one name in a minute; beyond it 429. 0 is no limit.
    pub failures_per_user: u32,
    /// Wrong passwords from one client address in a minute; beyond it 429. 0 is no limit.
    pub failures_per_client: u32,
    /// What another site makes a browser send with the password that it remembers: unsafe methods and upgrades.
    pub cross_site: BasicCrossSite,
}

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
            cache: BasicCache::default(),
            failures_per_user: FAILURES_PER_USER,
            failures_per_client: FAILURES_PER_CLIENT,
            cross_site: BasicCrossSite::default(),
        }
    }
}

words! {
    /// How a name and a password become a token.
    BasicGrant { #[default] Password = "password", ClientCredentials = "client_credentials" }
}
words! {
    /// What becomes of unsafe requests and upgrades that another site caused.
    BasicCrossSite { #[default] Refuse = "refuse", Pass = "pass" }
}

/// How long passwords are believed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicCache {
    /// The longest time until the issuer is shown a password again: one that was changed passes for at most so long.
    pub ttl: Period,
    /// How long a wrong password is known to be wrong.
    pub negative_ttl: Period,
    /// Bytes of tokens that were got.
    pub max_bytes: ByteSize,
}

impl Default for BasicCache {
    fn default() -> Self {
        Self { ttl: TTL, negative_ttl: NEGATIVE_TTL, max_bytes: BYTES }
    }
}
