//! What becomes of requests when issuers and upstreams fail, and when keys change. Nothing is let through for it, and
//! nothing that can be checked is refused.

use std::time::Duration;

use super::super::check::{Outcome, timed};
use super::super::client::TalkError;
use super::{Ask, Check};
use crate::devidp::{Endpoint, Fault, Mint, MintKey, Withdraw};

/// The demo's cooldown between fetches for unknown keys, and a little more.
const COOLDOWN: Duration = Duration::from_millis(1100);

pub async fn run(check: &mut Check) {
    upstreams(check).await;
    absent_issuer(check).await;
    issuer_down(check).await;
    rotation(check).await;
}

async fn upstreams(check: &mut Check) {
    let going = check.verdict(Ask::get("/check/down")).await;
    check.row("upstream down", "502 upstream.unreachable", going);
    let going = check.verdict(Ask::get("/check/slow")).await;
    check.row("upstream too slow", "504 upstream.timeout", going);
}

/// An issuer that was never there holds up nobody else.
async fn absent_issuer(check: &mut Check) {
    let foreign = check.mint(&Mint::machine("batch").scope("orders:read").claim("iss", absent(check)));
    let going = async {
        let told = check.ask(Ask::get("/check/absent-issuer/headers").bearer(&foreign)).await?;
        let later = told.answer.field("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
        Ok(told.unless(later.is_some_and(|seconds| seconds > 0), "no Retry-After"))
    }
    .await;
    check.row("an issuer that was never up: Retry-After", "503 issuer.unreachable", going);
    let going = check.verdict(Ask::get("/check/absent-issuer/headers")).await;
    check.row("the same without a token", "401 credential.missing", going);
    let going = check.verdict(Ask::get("/check/absent-issuer/headers").bearer(&check.machine("orders:read"))).await;
    check.row("the same with another issuer's token", "401 token.issuer", going);
}

fn absent(check: &Check) -> String {
    let absent = check.demo.issuers.iter().find(|issuer| &*issuer.settings().name == "absent");
    absent.map(|issuer| issuer.settings().issuer.to_string()).unwrap_or_default()
}

async fn issuer_down(check: &mut Check) {
    let known = check.machine("orders:read");
    let unknown = check.mint(&Mint::machine("batch").scope("orders:read").key(MintKey::Unknown));
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
        check.demo.provider.set_fault(endpoint, Fault::Drop);
    }
    let going = check.verdict(Ask::get("/orders").bearer(&known)).await;
    check.row("issuer down, known key", "200", going);
    check.demo.clock.sleep(COOLDOWN).await;
    let going = check.verdict(Ask::get("/orders").bearer(&unknown)).await;
    check.row("issuer down, unknown key", "503 issuer.unreachable", going);
    check.demo.provider.clear_faults();
    check.demo.clock.sleep(COOLDOWN).await;
    let going = check.verdict(Ask::get("/orders").bearer(&unknown)).await;
    check.row("issuer up again, unknown key", "401 token.key", going);
}

/// New keys are found by one fetch; keys that are gone are refused, whatever was remembered.
async fn rotation(check: &mut Check) {
    let old = check.machine("orders:read");
    let going = check.verdict(Ask::get("/orders").bearer(&old)).await;
    check.row("before a rotation", "200", going);
    check.demo.clock.sleep(COOLDOWN).await;
    let going = timed(check, rotate(check)).await;
    check.row("rotation: new key, fetched once", "200 200, 1 fetch", going);
    let going: Result<Outcome, TalkError> = check.verdict(Ask::get("/orders").bearer(&old)).await;
    check.row("rotation: the withdrawn key", "401 token.key", going);
}

async fn rotate(check: &Check) -> Result<String, TalkError> {
    let provider = &check.demo.provider;
    provider.rotate_keys(Withdraw::AtOnce).map_err(|error| TalkError::Unusable(error.to_string()))?;
    let before = provider.count(Endpoint::Jwks);
    let (one, other) = (check.machine("orders:read"), check.machine("orders:read"));
    let (one, other) =
        tokio::join!(check.ask(Ask::get("/orders").bearer(&one)), check.ask(Ask::get("/orders").bearer(&other)));
    let fetches = provider.count(Endpoint::Jwks) - before;
    let plural = if fetches == 1 { "" } else { "es" };
    Ok(format!("{} {}, {fetches} fetch{plural}", one?.verdict().got, other?.verdict().got))
}
