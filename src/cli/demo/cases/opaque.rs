//! Opaque tokens: the issuer is asked about each (RFC 7662), its answer is remembered, and every route judges it anew.

use std::time::Duration;

use super::super::check::{Outcome, timed};
use super::super::client::TalkError;
use super::super::tokens::access_token;
use super::{Ask, Check};
use crate::devidp::{Endpoint, Fault, Mint};

/// How long an answer lives on the route where that is brief, and a little more.
const LIFE: Duration = Duration::from_millis(1100);

pub async fn run(check: &mut Check) {
    let form = [("grant_type", "client_credentials"), ("scope", "orders:read")];
    let going = async {
        let token = access_token(&check.asker().token("opaque", true, &form).await?)?;
        shown(check, "read", &token).await
    }
    .await;
    check.row("opaque token, by client_credentials", "200", going);
    let going = timed(check, asked_once(check)).await;
    check.row("opaque token, ten at once: one question", "200, 1 question", going);
    let token = opaque(check, Mint::user("shop", "alice").scope("orders:read"));
    for (case, expected, route) in [
        ("opaque token, active", "200", "read"),
        ("the same cached token, a route it has no scope for", "403 scope.missing", "write"),
        ("the same cached token, its own route again", "200", "read"),
    ] {
        let going = shown(check, route, &token).await;
        check.row(case, expected, going);
    }
    let token = opaque(check, Mint::user("shop", "alice").scope("orders:read"));
    let going = shown(check, "briefly", &token).await;
    check.row("opaque token, before it is revoked", "200", going);
    check.demo.provider.revoke(&token);
    check.demo.clock.sleep(LIFE).await;
    let going = shown(check, "briefly", &token).await;
    check.row("revoked: refused once the answer's life has ended", "401 token.inactive", going);
    let revoked = opaque(check, Mint::machine("batch").scope("orders:read"));
    check.demo.provider.revoke(&revoked);
    let expired = opaque(check, Mint::machine("batch").scope("orders:read").lifetime(-60));
    let elsewhere = opaque(check, Mint::machine("batch").scope("orders:read").audience("inventory"));
    for (case, expected, token) in [
        ("opaque token, revoked before its first use", "401 token.inactive", &*revoked),
        ("opaque token, expired", "401 token.inactive", &expired),
        ("opaque token, for another audience", "401 token.audience", &elsewhere),
        ("opaque token, junk", "401 token.inactive", "junk"),
    ] {
        let going = shown(check, "read", token).await;
        check.row(case, expected, going);
    }
    down(check).await;
}

fn opaque(check: &Check, mint: Mint) -> String {
    check.demo.provider.mint_opaque(&mint)
}

/// What the gateway says of an opaque token on the route that needs this scope.
async fn shown(check: &Check, scope: &str, token: &str) -> Result<Outcome, TalkError> {
    check.verdict(Ask::get(format!("/check/opaque/{scope}/headers")).bearer(token)).await
}

async fn asked_once(check: &Check) -> Result<String, TalkError> {
    let token = opaque(check, Mint::machine("batch").scope("orders:read"));
    let before = check.demo.provider.count(Endpoint::Introspect);
    let all = (0..10).map(|_| shown(check, "read", &token));
    let mut statuses = Vec::new();
    for going in futures(all).await {
        statuses.push(going?.got);
    }
    statuses.sort();
    statuses.dedup();
    let questions = check.demo.provider.count(Endpoint::Introspect) - before;
    Ok(format!("{}, {questions} question", statuses.join(" ")))
}

/// Drives all at the same time.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(move |cx| {
        for (one, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = one.as_mut().poll(cx) {
                *done = Some(output);
            }
        }
        if waiting.iter().any(|(_, done)| done.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(waiting.drain(..).filter_map(|(_, done)| done).collect())
    })
    .await
}

/// What is known goes on; what is not, nobody can say.
async fn down(check: &mut Check) {
    let known = opaque(check, Mint::machine("batch").scope("orders:read"));
    let going = shown(check, "read", &known).await;
    check.row("opaque token, before an outage", "200", going);
    check.demo.provider.set_fault(Endpoint::Introspect, Fault::Drop);
    let going = shown(check, "read", &known).await;
    check.row("introspection down, a cached token", "200", going);
    let unknown = opaque(check, Mint::machine("batch").scope("orders:read"));
    let going = async {
        let told = check.ask(Ask::get("/check/opaque/read/headers").bearer(&unknown)).await?;
        let later = told.answer.field("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        Ok(told.unless(later.is_some_and(|seconds| seconds > 0), "no Retry-After"))
    }
    .await;
    check.row("introspection down, a new token: Retry-After", "503 introspection.unreachable", going);
    check.demo.provider.clear_faults();
    let going = shown(check, "read", &unknown).await;
    check.row("introspection up again, the same token", "200", going);
}
