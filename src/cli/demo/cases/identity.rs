//! Who the API believes is calling (configuration contract, section 5): what the gateway says, never what a client says.

use super::super::check::{Outcome, Told};
use super::super::client::TalkError;
use super::{Ask, Check};

pub async fn run(check: &mut Check) {
    forged(check).await;
    let alice = check.alice("orders:read");
    told(check, "the API sees who calls", "/orders/headers", &alice, |fields| {
        values(fields, "x-forwarded-user") == ["alice"]
    })
    .await;
    told(check, "the token stays at the gateway", "/orders/headers", &alice, |fields| {
        values(fields, "authorization").is_empty()
    })
    .await;
    told(check, "unless the route passes it on", "/check/kept/headers", &alice, |fields| {
        values(fields, "authorization").len() == 1
    })
    .await;
    told(check, "the API sees the client's address", "/orders/headers", &alice, |fields| {
        values(fields, "x-forwarded-for") == ["127.0.0.1"] && values(fields, "x-forwarded-proto") == ["http"]
    })
    .await;
    let moved = async {
        let told = check.ask(Ask::get("/check/moved/headers?page=2").bearer(&alice)).await?;
        let target = told.answer.json()["target"].as_str().map(str::to_owned);
        Ok(told.unless(target.as_deref() == Some("/orders/headers?page=2"), "another target"))
    }
    .await;
    check.row("prefix taken off and put on", "200", moved);
}

/// Spellings that one back end or another folds into the name that it trusts.
async fn forged(check: &mut Check) {
    let spellings = [
        "X-Forwarded-User",
        "x_forwarded_user",
        "X-Forwarded.User",
        "X-Forwarded-Email",
        "X-Auth-Request-User",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-For",
        "Forwarded",
        "X-Postern-Identity",
    ];
    for spelling in spellings {
        let going = async {
            let told = check.ask(Ask::get("/public/headers").with(spelling, "forged")).await?;
            let fields = told.upstream_fields();
            let through = fields.is_empty() || fields.iter().any(|(_, value)| value.contains("forged"));
            Ok(told.unless(!through, "came through"))
        }
        .await;
        check.row(&format!("forged {spelling}"), "200", going);
    }
    let alice = check.alice("orders:read");
    let going = async {
        let ask = Ask::get("/orders/headers").bearer(&alice).with("X-Forwarded-User", "root");
        let told = check.ask(ask.with("Connection", "close, X-Forwarded-User, Authorization")).await?;
        let fields = told.upstream_fields();
        Ok(told.unless(values(&fields, "x-forwarded-user") == ["alice"], "another user"))
    }
    .await;
    check.row("forged, and Connection names the real one away", "200", going);
}

async fn told(check: &mut Check, case: &str, path: &str, token: &str, holds: impl FnOnce(&[(String, String)]) -> bool) {
    let verdict = |told: Told| -> Outcome {
        let fields = told.upstream_fields();
        told.unless(!fields.is_empty() && holds(&fields), "not so")
    };
    let going: Result<Outcome, TalkError> = check.ask(Ask::get(path).bearer(token)).await.map(verdict);
    check.row(case, "200", going);
}

fn values<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}
