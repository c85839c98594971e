//! Whether traffic may come. Comes in: how issuers and endpoints stand, whether the wait is over, whether we drain.
//! Goes out: yes or no, with what is missing and what is degraded.
//!
//! Not ready until every issuer has loaded once or the wait is over: a gateway whose issuer is down for long still
//! serves its other routes. What fails later never takes a gateway out of rotation, since all of them would go at once.

use serde_json::{Value, json};

use super::status::{EndpointView, IssuerStanding, IssuerView, StoreStanding, StoreView};

/// The answer to `/readyz`.
#[derive(Clone, Debug, PartialEq)]
pub struct Readiness {
    /// Why not, if not.
    missing: Vec<Value>,
    degraded: Vec<Value>,
}

impl Readiness {
    pub(super) fn judge(
        issuers: &[IssuerView],
        endpoints: &[EndpointView],
        stores: &[StoreView],
        waited: bool,
        draining: bool,
    ) -> Self {
        let mut missing = Vec::new();
        let mut degraded = Vec::new();
        if draining {
            missing.push(json!({ "what": "gateway", "why": "draining" }));
        }
        for IssuerView { name, standing, introspection, .. } in issuers {
            if let Some(view) = introspection.as_ref().filter(|view| view.left_alone) {
                let why = view.last_error.as_deref().unwrap_or("it has failed several times in a row");
                degraded.push(json!({ "what": "introspection", "name": name, "why": why }));
            }
            match standing {
                IssuerStanding::Ready { .. } => {}
                IssuerStanding::Waiting { error } => {
                    let why = error.as_deref().unwrap_or("not loaded yet");
                    let told = json!({ "what": "issuer", "name": name, "why": why });
                    if waited { degraded.push(told) } else { missing.push(told) }
                }
                IssuerStanding::Degraded { error, .. } => {
                    degraded.push(json!({ "what": "issuer", "name": name, "why": error }));
                }
            }
        }
        for endpoint in endpoints.iter().filter(|endpoint| !endpoint.healthy) {
            let EndpointView { upstream, address, .. } = endpoint;
            degraded.push(json!({ "what": "upstream", "name": upstream, "endpoint": address, "why": "unhealthy" }));
        }
        for StoreView { name, standing } in stores {
            if let StoreStanding::Down { error } = standing {
                degraded.push(json!({ "what": "store", "name": name, "why": error }));
            }
        }
        Self { missing, degraded }
    }

    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }

    pub(super) fn word(&self) -> &'static str {
        match (self.missing.is_empty(), self.degraded.is_empty()) {
            (false, _) => "not ready",
            (true, false) => "degraded",
            (true, true) => "ready",
        }
    }

    pub fn to_json(&self) -> Value {
        json!({ "status": self.word(), "missing": self.missing, "degraded": self.degraded })
    }
}
