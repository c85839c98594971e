//! `sessions.redis`: the Redis that replicas share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issuer::ClientTls;
use super::secret::SecretRef;
use super::values::{Period, words};

pub const PREFIX: &str = "postern:";
pub const TIMEOUT: Period = Period::millis(500);

/// The Redis that replicas share: one server, a set that Sentinel watches, or a cluster.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://host:port` or `rediss://host:port` (TLS); of sentinels with `mode: sentinel`, of some nodes with
    /// `mode: cluster`.
    #[schemars(required)]
    pub urls: Vec<String>,
    /// How the servers stand together.
    pub mode: Mode,
    /// What the sentinels call the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_name: Option<String>,
    /// The ACL user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// The ACL user at the sentinels, where they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password at the sentinels, where they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password: Option<SecretRef>,
    /// TLS towards the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// What the name of every record begins with.
    pub prefix: String,
    /// How long a command may take.
    pub timeout: Period,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            mode: Mode::default(),
            master_name: None,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            tls: None,
            prefix: PREFIX.to_owned(),
            timeout: TIMEOUT,
        }
    }
}

words! {
    /// How the servers stand together.
    Mode { #[default] Single = "single", Sentinel = "sentinel", Cluster = "cluster" }
}
