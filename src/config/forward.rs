//! `forward` of a route: what the upstream sees.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::values::words;

/// The claim that becomes `X-Forwarded-User` unless `forward.headers` says otherwise.
pub const USER_HEADER: (&str, &str) = ("X-Forwarded-User", "sub");

/// What the upstream sees.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forward {
    /// What goes up as `Authorization`: nothing (`strip`), the caller's own (`keep`), a token of Postern's own
    /// (`client_credentials`), or what the caller's token is exchanged for (`exchange`).
    pub authorization: Authorization,
    /// Header fields and the claims that fill them.
    pub headers: BTreeMap<String, String>,
    /// The access token of a session, for an app that calls APIs itself: `header` sends it as `X-Forwarded-Access-Token`,
    /// `bearer` as `Authorization: Bearer`.
    pub access_token: AccessToken,
    /// A prefix to take off the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// A prefix to put before the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_prefix: Option<String>,
    /// Whether request trailers go to an HTTP/2 upstream.
    pub request_trailers: bool,
    /// A signed statement of who the caller is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<IdentityToken>,
}

impl Default for Forward {
    fn default() -> Self {
        let (name, claim) = USER_HEADER;
        Self {
            authorization: Authorization::Strip,
            headers: BTreeMap::from([(name.to_owned(), claim.to_owned())]),
            access_token: AccessToken::Off,
            strip_prefix: None,
            add_prefix: None,
            request_trailers: true,
            identity_token: None,
        }
    }
}

/// A signed statement of who the caller is (a JWT); apps check it with the keys at `/oauth2/jwks`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityToken {
    /// The header field that holds it.
    pub header: String,
    /// `aud`: who it is for.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Where the statement is unless `header` says otherwise.
pub const IDENTITY_HEADER: &str = "X-Postern-Identity";

impl Default for IdentityToken {
    fn default() -> Self {
        Self { header: IDENTITY_HEADER.to_owned(), audience: None }
    }
}

words! {
    /// Whether, and where, an app gets the access token of a session.
    AccessToken { #[default] Off = "off", Header = "header", Bearer = "bearer" }
}

/// What goes up as `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    #[default]
    Strip,
    Keep,
    ClientCredentials(ClientCredentials),
    Exchange(Exchange),
}

/// A token of Postern's own (RFC 6749 section 4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCredentials {
    /// The name of a client that may use `client_credentials`.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What is asked for; none leaves it to the issuer.
    pub scopes: Vec<String>,
    /// Whom the token is for, by name (`audience`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, by address (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// The caller's access token becomes one for the upstream (RFC 8693).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exchange {
    /// The name of a client that may use token exchange.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What is asked for; none leaves it to the issuer.
    pub scopes: Vec<String>,
    /// Whom the token is for, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, by address (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whose own token says who acts for the caller: the name of a client that may use `client_credentials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

const KINDS: &[&str] = &["client_credentials", "exchange"];

struct AuthorizationVisitor;

impl<'de> Visitor<'de> for AuthorizationVisitor {
    type Value = Authorization;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`strip`, `keep`, `{ client_credentials: … }` or `{ exchange: … }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Authorization, E> {
        match text {
            "strip" => Ok(Authorization::Strip),
            "keep" => Ok(Authorization::Keep),
            "client_credentials" | "exchange" => {
                Err(E::custom(format!("`{text}` needs its client: `authorization: {{ {text}: {{ client: NAME }} }}`")))
            }
            _ => Err(E::unknown_variant(text, &["strip", "keep"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Authorization, A::Error> {
        let mut kind = None;
        while let Some(key) = map.next_key::<String>()? {
            let next = match key.as_str() {
                "client_credentials" => Authorization::ClientCredentials(map.next_value()?),
                "exchange" => Authorization::Exchange(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&key, KINDS)),
            };
            if kind.replace(next).is_some() {
                return Err(A::Error::custom("one token goes up: `client_credentials` or `exchange`"));
            }
        }
        kind.ok_or_else(|| A::Error::custom("which token goes up is missing: `client_credentials` or `exchange`"))
    }
}

impl<'de> Deserialize<'de> for Authorization {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AuthorizationVisitor)
    }
}

impl Serialize for Authorization {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Strip => serializer.serialize_str("strip"),
            Self::Keep => serializer.serialize_str("keep"),
            Self::ClientCredentials(written) => BTreeMap::from([("client_credentials", written)]).serialize(serializer),
            Self::Exchange(written) => BTreeMap::from([("exchange", written)]).serialize(serializer),
        }
    }
}

impl JsonSchema for Authorization {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Authorization".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (own, exchange) = (generator.subschema_for::<ClientCredentials>(), generator.subschema_for::<Exchange>());
        let one = |name: &str, schema: Schema| {
            json_schema!({
                "type": "object", "additionalProperties": false, "required": [name], "properties": { name: schema },
            })
        };
        let (own, exchange) = (one("client_credentials", own), one("exchange", exchange));
        json_schema!({
            "description": "What goes up as `Authorization`.",
            "anyOf": [{ "type": "string", "enum": ["strip", "keep"] }, own, exchange],
        })
    }
}
