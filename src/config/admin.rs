//! `admin`: the read-only listener for health, metrics and status, and the one that acts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::SecretRef;
use super::values::Period;

pub const BIND: &str = "127.0.0.1:9090";
pub const READY_AFTER: Period = Period::seconds(30);

/// The read-only listener for `/livez`, `/readyz`, `/metrics` and `/status`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `host:port`, or `unix:/path` for a Unix socket.
    pub bind: String,
    /// How long readiness waits for issuers that have not answered once.
    pub ready_after: Period,
    /// What changes the state of the gateway; off unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
}

/// The listener for what changes the state of the gateway, such as forgetting tokens.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Actions {
    /// A socket of its own: `unix:/path`, or `host:port`.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<String>,
    /// Who sends this as bearer token may act.
    #[schemars(with = "SecretRef")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { bind: BIND.to_owned(), ready_after: READY_AFTER, actions: None }
    }
}
