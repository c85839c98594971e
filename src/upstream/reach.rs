//! Whether the servers of an upstream can be reached: for `postern check --online`, once, without a pool.

use std::time::Duration;

use super::connect::connect;
use super::health;
use super::open::within;
use super::{Shared, Upstream};
use crate::clock::Clock;
use crate::upstream::endpoint::Endpoint;
use crate::wire::BoxError;

/// Where `timeouts.connect` is off, so long all the same: somebody waits for the verdict.
const LONGEST: Duration = Duration::from_secs(10);

/// One server, and what came of the attempt.
#[derive(Debug)]
pub struct Reached {
    pub server: String,
    pub outcome: Result<(), String>,
}

impl Upstream {
    /// Connects to every server in turn, TLS included, and asks for the health check's path where there is one.
    pub async fn reach(&self, clock: &Clock) -> Vec<Reached> {
        let shared = &self.shared;
        let connect = shared.settings.connect_timeout;
        let connect = if connect.is_zero() { LONGEST } else { connect.min(LONGEST) };
        let limit = shared.settings.health_check.as_ref().map_or(connect, |check| check.timeout.max(connect));
        let mut reached = Vec::with_capacity(shared.endpoints.len());
        for endpoint in &shared.endpoints {
            let outcome = within(limit, reach(shared, endpoint, clock)).await;
            let outcome = outcome.unwrap_or_else(|| Err(format!("no answer within {limit:?}").into()));
            reached.push(Reached {
                server: endpoint.label.to_string(),
                outcome: outcome.map_err(|error| error.to_string()),
            });
        }
        reached
    }
}

async fn reach(shared: &Shared, endpoint: &Endpoint, clock: &Clock) -> Result<(), BoxError> {
    match &shared.settings.health_check {
        Some(check) => health::ask(shared, endpoint, &check.path, clock).await,
        None => connect(endpoint, shared.tls.as_ref(), false, shared.settings.connect_timeout, clock).await.map(drop),
    }
}
