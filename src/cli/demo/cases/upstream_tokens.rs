//! Whose token goes up: Postern's own, or what the caller's is exchanged for; and what becomes of a request for which there
//! is none.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::super::check::Told;
use super::{Ask, Check};

pub async fn run(check: &mut Check) {
    let alice = check.alice("orders:read");
    for (case, path, is_right) in [
        (
            "a token of Postern's own goes up",
            "/check/own/headers",
            (|said| said["sub"] == "batch" && said["scope"] == "orders:read") as fn(&Value) -> bool,
        ),
        ("alice's token, exchanged for one of the upstream", "/check/exchanged/headers", |said| {
            said["sub"] == "alice" && said["act"]["sub"] == "batch" && names(&said["aud"], "inventory")
        }),
    ] {
        let going = check.ask(Ask::get(path).bearer(&alice)).await;
        let going = going.map(|told| {
            let said = said(&told);
            told.unless(said.as_ref().is_some_and(is_right), "another token")
        });
        check.row(case, "200", going);
    }
    for (case, expected, path) in [
        ("no token of Postern's own: the issuer refuses", "503 upstream_token.refused", "/check/stranger/headers"),
        (
            "alice's token, for an audience that she gets none for",
            "403 exchange.refused",
            "/check/not-exchanged/headers",
        ),
    ] {
        let going = check.verdict(Ask::get(path).bearer(&alice)).await;
        check.row(case, expected, going);
    }
}

/// What the token that reached the API says.
fn said(told: &Told) -> Option<Value> {
    let fields = told.upstream_fields();
    let mut shown = fields.iter().filter(|(name, _)| name == "authorization");
    let (_, field) = shown.next().filter(|_| shown.next().is_none())?;
    let payload = URL_SAFE_NO_PAD.decode(field.strip_prefix("Bearer ")?.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn names(audience: &Value, name: &str) -> bool {
    audience == name || audience.as_array().is_some_and(|all| all.iter().any(|one| one == name))
}
