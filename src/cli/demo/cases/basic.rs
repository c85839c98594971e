//! Callers who know nothing better than a name and a password: exchanged for a token, judged by it, and limited when they
//! guess.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Ask, Check};

pub async fn run(check: &mut Check) {
    let asks = [
        ("a name and a password", "200", "/check/basic/headers", "alice:wonderland"),
        ("a wrong password", "401 basic.refused", "/check/basic/headers", "bob:wonderland"),
        ("another wrong password", "401 basic.refused", "/check/basic/headers", "bob:looking-glass"),
        ("one more", "401 basic.refused", "/check/basic/headers", "bob:jabberwock"),
        ("and too many", "429 basic.limited", "/check/basic/headers", "bob:hatter"),
        ("alice, meanwhile", "200", "/check/basic/headers", "alice:wonderland"),
        ("a name without a password", "400 credential.malformed", "/check/basic/headers", "alice"),
        ("a machine's id and secret", "200", "/check/basic-machines/headers", "batch:batch-secret"),
        ("a machine's wrong secret", "401 basic.refused", "/check/basic-machines/headers", "batch:wrong"),
        (
            "alice, where machines are asked for",
            "401 basic.refused",
            "/check/basic-machines/headers",
            "alice:wonderland",
        ),
        (
            "a machine that may not use the grant",
            "401 basic.refused",
            "/check/basic-machines/headers",
            "legacy:legacy-secret",
        ),
    ];
    for (case, expected, path, pair) in asks {
        let ask = Ask::get(path).with("Authorization", format!("Basic {}", STANDARD.encode(pair)));
        let going = check.ask(ask).await.map(|told| {
            let leaked = told.upstream_fields().iter().any(|(name, _)| name == "authorization");
            told.unless(!leaked, "the password went up")
        });
        check.row(case, expected, going);
    }
    let going = check.ask(Ask::get("/check/basic/headers")).await.map(|told| {
        let challenge = told.answer.field("www-authenticate").unwrap_or_default().to_owned();
        told.unless(challenge.starts_with("Basic realm="), "another challenge")
    });
    check.row("no password", "401 credential.missing", going);
}
