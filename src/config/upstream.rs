//! `upstreams`: where requests go.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::values::{Period, words};

pub const RETRIES: u32 = 1;
pub const QUEUE: u32 = 1000;
pub const CONNECT: Period = Period::seconds(2);
pub const RESPONSE_HEADER: Period = Period::seconds(30);
pub const POOLED_IDLE: Period = Period::seconds(90);
pub const HEALTH_INTERVAL: Period = Period::seconds(5);
/// The word that keeps the client's Host.
pub const PRESERVE: &str = "preserve";
/// The word that sends the server's own name as Host.
pub const UPSTREAM: &str = "upstream";

/// A pool of servers that requests are forwarded to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http://`, `https://`, `h2c://` (HTTP/2 by prior knowledge) with host and port, or `unix:/path`; never a path.
    #[schemars(required)]
    pub servers: Vec<Server>,
    /// The Host that servers see: `preserve` (the client's), `upstream` (the server's) or a name.
    pub host: String,
    /// How a server is chosen.
    pub balance: Balance,
    /// Asks each server whether it is well; off unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// How long each step may take; 0s is off.
    pub timeouts: Timeouts,
    /// How often a request that did not reach a server may be tried again.
    pub retries: u32,
    /// Connections to one server at once; 0 is no limit.
    pub connections: u32,
    /// Requests that may wait for a connection; beyond it 503.
    pub queue: u32,
    /// TLS towards https servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            host: PRESERVE.to_owned(),
            balance: Balance::LeastRequests,
            health_check: None,
            timeouts: Timeouts::default(),
            retries: RETRIES,
            connections: 0,
            queue: QUEUE,
            tls: None,
        }
    }
}

words! {
    /// How a server is chosen.
    Balance { #[default] LeastRequests = "least_requests", RoundRobin = "round_robin" }
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// The path that is asked for; a status of 200 to 399 is well.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often.
    pub interval: Period,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: None, interval: HEALTH_INTERVAL }
    }
}

/// How long each step towards a server may take; 0s is off.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Period,
    /// From the last byte of the request to the response's head.
    pub response_header: Period,
    /// How long an unused connection is kept.
    pub pooled_idle: Period,
    /// Silence inside a response or an upgraded connection.
    pub stream_idle: Period,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT, response_header: RESPONSE_HEADER, pooled_idle: POOLED_IDLE, stream_idle: Period::ZERO }
    }
}

/// TLS towards https servers; PEM files, relative to the configuration file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// Certificates that are trusted instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate chain that Postern shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
    /// The name that the server's certificate must have, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// One server: its URL, or `{ url, weight }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub url: String,
    pub weight: u32,
}

/// The long form of a server.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Weighted {
    /// The server's URL.
    #[serde(default)]
    #[schemars(required)]
    url: String,
    /// Its share of requests, in proportion to the others'.
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

struct ServerVisitor;

impl<'de> Visitor<'de> for ServerVisitor {
    type Value = Server;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a URL, or `{ url, weight }`")
    }

    fn visit_str<E: Error>(self, url: &str) -> Result<Server, E> {
        Ok(Server { url: url.to_owned(), weight: one() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Server, A::Error> {
        let Weighted { url, weight } = Weighted::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Server { url, weight })
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServerVisitor)
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.weight == one() {
            return serializer.serialize_str(&self.url);
        }
        Weighted { url: self.url.clone(), weight: self.weight }.serialize(serializer)
    }
}

impl JsonSchema for Server {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UpstreamServer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let weighted = generator.subschema_for::<Weighted>();
        json_schema!({ "anyOf": [{ "type": "string" }, weighted] })
    }
}
