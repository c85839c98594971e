//! Sign-ins whose tokens come through the browser: hybrid and implicit answers, posted by the provider's page; and for each
//! the mistakes that it must not forgive.

use serde_json::{Map, Value, json};

use super::super::check::{Check, Outcome, timed};
use super::super::client::{Ask, TalkError, encode};
use super::site::seen;
use super::visitor::Visitor;
use crate::devidp::{Endpoint, Fault, Lie};

type Going = Result<Outcome, TalkError>;

pub async fn run(check: &mut Check) {
    let port = check.gateway().port();
    let (hybrid, implicit) = (format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}"));
    let mut alice = Visitor::default();
    let going = signed_in(check, &mut alice, &hybrid, "Welcome back, alice").await;
    check.row("sign in by a hybrid answer, code id_token token", "200", going);
    answered_again(check, &alice, &hybrid).await;
    let going = signed_in(check, &mut Visitor::default(), &implicit, "Welcome back, alice").await;
    check.row("sign in by an implicit answer, id_token", "200", going);
    for (case, host, fault) in [
        ("hybrid, c_hash of another code", &hybrid, Fault::Lie(Lie::WrongCodeHash)),
        ("hybrid, without c_hash", &hybrid, Fault::Lie(Lie::MissingCodeHash)),
        ("hybrid, at_hash of another token", &hybrid, Fault::Lie(Lie::WrongAccessTokenHash)),
        ("hybrid, without at_hash", &hybrid, Fault::Lie(Lie::MissingAccessTokenHash)),
        ("hybrid, two ID tokens about two people", &hybrid, Fault::Lie(Lie::WrongSubject)),
        ("hybrid, the ID token of another issuer", &hybrid, Fault::Lie(Lie::WrongIssuer)),
        ("hybrid, an ID token that has expired", &hybrid, Fault::Lie(Lie::Expired)),
        ("hybrid, without the ID token", &hybrid, change(json!({ "id_token": null }))),
        ("implicit, the nonce of another sign-in", &implicit, Fault::Lie(Lie::WrongNonce)),
        ("implicit, without a nonce", &implicit, Fault::Lie(Lie::MissingNonce)),
        ("implicit, a token that nobody asked for", &implicit, change(json!({ "access_token": "a" }))),
        ("implicit, an error of the provider", &implicit, Fault::OAuthError("access_denied".to_owned())),
    ] {
        check.demo.provider.set_fault(Endpoint::Authorize, fault);
        let going = signed_in(check, &mut Visitor::default(), host, "That did not work").await;
        check.demo.provider.clear_faults();
        check.row(case, "400", going);
    }
}

fn change(members: Value) -> Fault {
    Fault::Change(if let Value::Object(members) = members { members } else { Map::new() })
}

async fn signed_in(check: &Check, visitor: &mut Visitor, host: &str, wanted: &str) -> Going {
    timed(check, async { seen(visitor.sign_in(check, &format!("http://{host}/shop")).await?, wanted) }).await
}

/// The answer that was taken, in ways in which it must not be taken.
async fn answered_again(check: &mut Check, visitor: &Visitor, host: &str) {
    let mut fields: Vec<_> = visitor.posted.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let callback = "/oauth2/callback";
    let once_more = Ask::new("POST", callback).form(&fields);
    let in_the_query = Ask::get(format!("{callback}?{}", encode(&fields)));
    fields.extend_from_within(..1);
    let twice = Ask::new("POST", callback).form(&fields);
    for (case, expected, ask) in [
        ("hybrid, an answer that was posted before", "400 login.state", once_more),
        ("hybrid, the answer in a query", "400 login.answer", in_the_query),
        ("hybrid, a parameter twice", "400 login.answer", twice),
    ] {
        let ask = ask.with("Accept", "text/html").with("Host", host).with("Cookie", visitor.cookies());
        let going = check.verdict(ask).await;
        check.row(case, expected, going);
    }
}
