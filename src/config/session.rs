//! `sessions`: where sign-ins are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redis::Redis;
use super::secret::SecretRef;
use super::values::words;

/// Where sign-ins are kept, and the keys that seal what browsers hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// `cookie` keeps all of a session at the browser, sealed; `memory` keeps it in this process, `redis` in Redis.
    pub store: Store,
    /// 32 bytes each, as base64; the first seals, all open. Needed as soon as a route asks for a session.
    pub keys: Vec<SecretRef>,
    /// What replicas share. May stand beside `store: cookie`: locks, replay memory and logouts are shared then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
}

words! {
    /// Where sessions are kept.
    Store { #[default] Cookie = "cookie", Memory = "memory", Redis = "redis" }
}
