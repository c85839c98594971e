//! What a caller may do: scopes, claims, CEL, step-up (configuration contract, section 4).

use serde_json::json;

use super::{Ask, Check, rows};
use crate::devidp::Mint;

pub async fn run(check: &mut Check) {
    let reader = check.machine("orders:read");
    let writer = check.machine("orders:write");
    let alice = check.alice("orders:read");
    let bob = check.mint(&Mint::user("shop", "bob").scope("orders:read"));
    let person = check.alice("groups orders:read");
    let elsewhere = check.mint(&Mint::user("shop", "alice").claim("tenant", "other").claim("groups", json!(["staff"])));
    let home = check.mint(&Mint::user("shop", "alice").claim("tenant", "acme").claim("groups", json!(["staff"])));
    let gold = check.mint(&Mint::user("shop", "alice").scope("orders:read").claim("acr", "gold"));
    let get = |path: &str, token: &str| Ask::get(path).bearer(token);
    let post = |token: &str| Ask::new("POST", "/orders").json(&json!({ "item": "tea" })).bearer(token);
    let namesake = check.mint(&Mint::user("batch", "batch").scope("orders:read").claim("sid", json!("s")));
    let longer = check.machine("orders:readonly");
    let cases = vec![
        ("scope of another method", "403 scope.missing", post(&reader)),
        ("scope of this method", "201", post(&writer)),
        ("the other way round", "403 scope.missing", get("/orders", &writer)),
        ("a scope that only begins like it", "403 scope.missing", get("/orders", &longer)),
        ("one of several scopes", "200", get("/check/any-scope/headers", &reader)),
        ("none of several scopes", "403 scope.missing", get("/check/any-scope/headers", &writer)),
        ("policy says yes", "200", get("/orders/admin/totals", &person)),
        ("policy says no", "403 policy.denied", get("/orders/admin/totals", &with_groups(check, &["customers"]))),
        ("policy fails: the claim is missing", "403 policy.error", get("/orders/admin/totals", &reader)),
        ("claims match", "200", get("/check/claims/headers", &home)),
        ("a claim differs", "403 claims.mismatch", get("/check/claims/headers", &elsewhere)),
        ("a machine, where machines alone may", "200", get("/check/machines/headers", &reader)),
        ("a person, where machines alone may", "403 policy.denied", get("/check/machines/headers", &alice)),
        ("a person with a client's name", "403 policy.denied", get("/check/machines/headers", &namesake)),
        ("a person, where people alone may", "200", get("/check/people/headers", &alice)),
        ("a machine, where people alone may", "403 policy.denied", get("/check/people/headers", &reader)),
        ("sign-in strong enough", "200", get("/check/step-up/headers", &gold)),
    ];
    rows(check, cases).await;
    challenges(check, &reader, &alice).await;
    let going = check.verdict(get("/orders", &bob)).await;
    check.row("another user, same scope", "200", going);
}

fn with_groups(check: &Check, groups: &[&str]) -> String {
    check.mint(&Mint::user("shop", "bob").scope("orders:read").claim("groups", json!(groups)))
}

async fn challenges(check: &mut Check, reader: &str, alice: &str) {
    let going = async {
        let told = check.ask(Ask::new("POST", "/orders").bearer(reader)).await?;
        let challenge = told.answer.field("www-authenticate").unwrap_or_default();
        let named = challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"orders:write\"");
        Ok(told.unless(named, "scope not named"))
    }
    .await;
    check.row("the challenge names the scope", "403 scope.missing", going);
    let going = async {
        let told = check.ask(Ask::get("/check/step-up/headers").bearer(alice)).await?;
        let challenge = told.answer.field("www-authenticate").unwrap_or_default();
        let named = challenge.contains("insufficient_user_authentication") && challenge.contains("acr_values=\"gold\"");
        Ok(told.unless(named, "acr not named"))
    }
    .await;
    check.row("sign-in too weak: step-up asked for", "401 step_up.acr", going);
}
