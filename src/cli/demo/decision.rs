//! A decision, told step by step: route → credential → check → policy → upstream. Comes in: what the log knows of a
//! request. Goes out: each step with how it went. For the demo's page only: a real client never learns the reason.

use serde_json::{Value, json};

use super::journal::Entry;

const STEPS: [&str; 5] = ["route", "credential", "check", "policy", "upstream"];

/// The step at which a request with this reason was stopped.
fn stopped_at(reason: &str) -> usize {
    match reason.split('.').next().unwrap_or_default() {
        "request" | "route" => 0,
        "credential" => 1,
        "token" | "issuer" | "introspection" | "basic" | "login" | "logout" | "session" => 2,
        "scope" | "claims" | "policy" | "step_up" => 3,
        _ => 4,
    }
}

/// The steps of a request on a route that demands `demand`.
pub fn explain(entry: &Entry, demand: &str) -> Value {
    let stop = entry.reason.as_deref().map(stopped_at);
    let steps: Vec<Value> = STEPS
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let (outcome, text) = match stop {
                Some(stop) if number > stop => ("skipped", "not reached".to_owned()),
                Some(stop) if number == stop => ("stopped", stopped(entry, demand)),
                _ => ("passed", passed(number, entry, demand)),
            };
            json!({ "step": name, "outcome": outcome, "text": text })
        })
        .collect();
    json!({ "status": entry.status, "steps": steps, "total_ms": entry.total_ms, "upstream_ms": entry.upstream_ms })
}

fn stopped(entry: &Entry, demand: &str) -> String {
    let reason = entry.reason.as_deref().unwrap_or_default();
    match reason.split('.').next().unwrap_or_default() {
        "credential" if demand.is_empty() => reason.to_owned(),
        "credential" | "scope" | "claims" | "policy" | "step_up" => format!("{reason}: the route wants {demand}"),
        _ => reason.to_owned(),
    }
}

fn passed(step: usize, entry: &Entry, demand: &str) -> String {
    let caller = entry.subject.as_ref().or(entry.client_id.as_ref());
    let who = || match (&entry.kind, caller) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        _ => "nobody".to_owned(),
    };
    match step {
        0 => entry.route.clone().unwrap_or_default(),
        1 if demand == "public" => "not looked at: the route is public".to_owned(),
        1 if entry.kind.is_none() && entry.reason.is_none() => "none, and none is needed".to_owned(),
        1 if demand.contains("a sign-in") => "a session, or a bearer token".to_owned(),
        1 => "a bearer token".to_owned(),
        2 if entry.kind.is_none() => "nothing to check".to_owned(),
        2 if demand.contains("a sign-in") => format!("it was made by the issuer, and is not over: {}", who()),
        2 => format!("signature, issuer, audience and times hold: {}", who()),
        3 => format!("{demand}: yes"),
        _ => {
            let place = entry.upstream.as_deref().unwrap_or("the gateway itself");
            format!("{place} answered {}", entry.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(reason: Option<&str>) -> Vec<String> {
        let entry = Entry { reason: reason.map(str::to_owned), ..Entry::default() };
        let steps = explain(&entry, "scope orders:read")["steps"].clone();
        steps.as_array().unwrap().iter().map(|step| step["outcome"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_refusal_stops_at_its_step() {
        assert_eq!(outcomes(None), ["passed"; 5]);
        assert_eq!(outcomes(Some("route.none")), ["stopped", "skipped", "skipped", "skipped", "skipped"]);
        assert_eq!(outcomes(Some("token.expired")), ["passed", "passed", "stopped", "skipped", "skipped"]);
        assert_eq!(outcomes(Some("scope.missing")), ["passed", "passed", "passed", "stopped", "skipped"]);
        assert_eq!(outcomes(Some("upstream.timeout")), ["passed", "passed", "passed", "passed", "stopped"]);
    }

    #[test]
    fn every_reason_of_the_gateway_belongs_to_a_step() {
        let last = ["upstream", "upstream_token", "exchange", "gateway"];
        for reason in crate::reason::Reason::ALL {
            let kind = reason.code().split('.').next().unwrap_or_default();
            assert_eq!(stopped_at(reason.code()) == 4, last.contains(&kind), "{reason} has no step of its own");
        }
    }
}
