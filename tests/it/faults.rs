//! Faults, injected: a protected request never reaches the upstream without a decision, waits are bounded, and the
//! gateway recovers by itself.

mod clients;
mod issuers;
mod processes;
mod upstreams;

use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::keys::Key;
use crate::support::standard::Layout;
use crate::support::tokens::{claims, compact};
use serde_json::json;

/// Memory may grow by this while a fault lasts, whatever a peer sends.
const FLAT: u64 = 48 * 1024 * 1024;

/// A token for scope `read` of this issuer, signed by this key under this `kid`.
fn token_of(issuer: &str, key: &Key, kid: &str) -> String {
    let header = json!({ "alg": key.algorithm(), "typ": "at+jwt", "kid": kid }).to_string();
    let mut payload = claims("read");
    payload["iss"] = json!(issuer);
    compact(header, payload.to_string(), |input| key.sign(key.algorithm(), input))
}

/// Waits until the memory is back within reach of what it was.
fn assert_flat(gateway: &Gateway, before: u64, about: &str) {
    let after = gateway.resident();
    assert!(after < before + FLAT, "{about}: resident {} MiB before, {} MiB now", before >> 20, after >> 20);
}

/// Short timeouts on the client's side.
fn impatient() -> Layout {
    Layout {
        server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 2\n  limits: { header_timeout: 1s, body_timeout: 1s, idle_timeout: 2s }\n".to_owned(),
        ..Layout::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);
