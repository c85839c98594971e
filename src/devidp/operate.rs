//! For who rehearses an outage by hand: a page with buttons, and the calls behind it. `POST /dev/faults`,
//! `POST /dev/rotate` and `POST /dev/logout` take a form or a JSON object.

use std::sync::Arc;

use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{Answer, OAuthError};
use super::backchannel::LogoutCall;
use super::faults::{Endpoint, Fault, span};
use super::form::Asked;
use super::keys::{SigningKeys, Withdraw};
use super::realm::Realm;
use super::{logout, pages};

pub async fn answer(realm: &Arc<Realm>, asked: &Asked) -> Answer {
    if asked.path == "/dev" && asked.method == Method::GET {
        return pages::operate(realm);
    }
    if asked.method != Method::POST {
        return Answer::method_not_allowed("POST");
    }
    if from_elsewhere(realm, asked) {
        return Answer::empty(StatusCode::FORBIDDEN);
    }
    let outcome = match asked.path.as_str() {
        "/dev/faults" => set_fault(realm, asked),
        "/dev/rotate" => rotate(realm, asked).await,
        "/dev/logout" => Ok(log_out(realm, asked).await),
        _ => return Answer::empty(StatusCode::NOT_FOUND),
    };
    match outcome {
        // The page's own buttons come back to the page.
        Ok(_) if asked.header(header::ACCEPT).is_some_and(|accept| accept.contains("text/html")) => {
            Answer::see_other(&format!("{}/dev", realm.path))
        }
        Ok(value) => Answer::json(value),
        Err(refused) => refused.into(),
    }
}

/// A page of another site must not switch anything, though it can post to loopback.
fn from_elsewhere(realm: &Realm, asked: &Asked) -> bool {
    let fetched = asked.headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let host = asked.header(header::HOST).unwrap_or_default();
    let own =
        |origin: &str| origin == format!("http://{host}") || realm.issuer.strip_suffix(&realm.path) == Some(origin);
    fetched || asked.header(header::ORIGIN).is_some_and(|origin| !own(origin))
}

fn set_fault(realm: &Realm, asked: &Asked) -> Result<Value, OAuthError> {
    let endpoint = match asked.form.get("endpoint") {
        Some(name) => Some(Endpoint::parse(name).ok_or(OAuthError::invalid_request("no endpoint has this name"))?),
        None => None,
    };
    let name = asked.form.get("fault").ok_or(OAuthError::invalid_request("fault is missing"))?;
    if name == "none" {
        realm.faults().clear(endpoint);
        return Ok(json!({ "cleared": endpoint.map_or("all", Endpoint::name) }));
    }
    let endpoint = endpoint.ok_or(OAuthError::invalid_request("endpoint is missing"))?;
    let fault = Fault::parse(name, asked.form.get("value"));
    let fault = fault.ok_or(OAuthError::invalid_request("no fault has this name and value"))?;
    let calls = asked.form.get("calls").map(str::parse).transpose();
    let calls = calls.map_err(|_| OAuthError::invalid_request("calls is not a number"))?;
    realm.faults().set(endpoint, fault, calls);
    Ok(json!({ "endpoint": endpoint.name(), "fault": name, "calls": calls }))
}

async fn rotate(realm: &Realm, asked: &Asked) -> Result<Value, OAuthError> {
    let withdraw = match asked.form.get("withdraw") {
        None | Some("at_once") => Withdraw::AtOnce,
        Some(text) => {
            Withdraw::After(span(text).ok_or(OAuthError::invalid_request("withdraw is at_once or a duration"))?)
        }
    };
    let broken = OAuthError::new("server_error", "no key could be made");
    let fresh = tokio::task::spawn_blocking(SigningKeys::generate).await.map_err(|_| broken)??;
    let now = realm.now();
    realm.ring().rotate(fresh, withdraw, now);
    Ok(json!({ "rotated": true }))
}

async fn log_out(realm: &Realm, asked: &Asked) -> Value {
    let calls = logout::log_out(realm, asked.form.get("user")).await;
    let told = |call: LogoutCall| json!({ "client_id": call.client_id, "status": call.status });
    json!({ "told": calls.into_iter().map(told).collect::<Vec<_>>() })
}
