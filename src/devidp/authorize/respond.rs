//! The way back to the client: in the query, in the fragment, or by a form that posts itself; each with `iss`
//! (RFC 9207) and the client's `state`; signed as one piece where JARM was asked for.

use serde_json::{Map, Value, json};

use super::request::{Back, Carrier};
use crate::devidp::answer::{Answer, OAuthError};
use crate::devidp::faults::Fault;
use crate::devidp::issue::sign_draft;
use crate::devidp::pages;
use crate::devidp::realm::Realm;

/// JARM section 2.1 advises at most ten minutes.
const SIGNED_LIFETIME: u64 = 300;

/// Sends an error to the client.
pub fn refuse(realm: &Realm, back: &Back, refused: &OAuthError) -> Answer {
    let fault = realm.faults().answering();
    let code = match &fault {
        Some(Fault::OAuthError(code)) => code.clone(),
        _ => refused.error.to_owned(),
    };
    send(realm, back, vec![("error", code), ("error_description", refused.description.to_owned())], fault.as_ref())
}

/// Sends what was granted, or, under a fault, an error in its place.
pub fn deliver(realm: &Realm, back: &Back, members: Vec<(&'static str, String)>, fault: Option<&Fault>) -> Answer {
    match fault {
        Some(Fault::OAuthError(code)) => {
            let members = vec![("error", code.clone()), ("error_description", "a fault is switched on".to_owned())];
            send(realm, back, members, fault)
        }
        _ => send(realm, back, members, fault),
    }
}

fn send(realm: &Realm, back: &Back, members: Vec<(&'static str, String)>, fault: Option<&Fault>) -> Answer {
    let mut members: Vec<(String, String)> =
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut add = |name: &str, value: String| members.push((name.to_owned(), value));
    match (fault, &back.state) {
        (Some(Fault::MissingState), _) => {}
        (Some(Fault::WrongState), _) => add("state", "c29tZXRoaW5nIGVsc2U".to_owned()),
        (_, Some(state)) => add("state", state.clone()),
        (_, None) => {}
    }
    match fault {
        Some(Fault::MissingIssuer) => {}
        Some(Fault::WrongIssuer) => add("iss", "https://other.example".to_owned()),
        _ => add("iss", realm.issuer.clone()),
    }
    if let Some(Fault::Change(changes)) = fault {
        change(&mut members, changes);
    }
    if back.signed {
        match sign(realm, back, &members, fault) {
            Ok(token) => members = vec![("response".to_owned(), token)],
            Err(refused) => return pages::error(refused.description),
        }
    }
    carry(back, &members)
}

/// Sets parameters; null removes one.
fn change(members: &mut Vec<(String, String)>, changes: &Map<String, Value>) {
    for (name, value) in changes {
        members.retain(|(known, _)| known != name);
        match value {
            Value::Null => {}
            Value::String(text) => members.push((name.clone(), text.clone())),
            other => members.push((name.clone(), other.to_string())),
        }
    }
}

fn sign(realm: &Realm, back: &Back, members: &[(String, String)], fault: Option<&Fault>) -> Result<String, OAuthError> {
    let mut claims: Map<_, _> = members.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    claims.insert("aud".to_owned(), json!(back.client.client_id));
    claims.insert("exp".to_owned(), json!(realm.now().seconds() + SIGNED_LIFETIME));
    sign_draft(realm, &back.client, Map::new(), claims, fault)
}

fn carry(back: &Back, members: &[(String, String)]) -> Answer {
    let encoded = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
    let answer = match back.carrier {
        Carrier::Query => {
            let joint = if back.redirect_uri.contains('?') { '&' } else { '?' };
            Answer::see_other(&format!("{}{joint}{encoded}", back.redirect_uri))
        }
        Carrier::Fragment => Answer::see_other(&format!("{}#{encoded}", back.redirect_uri)),
        Carrier::FormPost => pages::form_post(&back.redirect_uri, members),
    };
    answer.with(http::header::REFERRER_POLICY, "no-referrer")
}
