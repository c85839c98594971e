//! Tokens that are right, and tokens that are wrong in one way (RFC 7519, 8725, 9068). The answer to all that are wrong is
//! the same; the log tells them apart.

use serde_json::json;

use super::super::check::Told;
use super::{Ask, Check, rows};
use crate::devidp::{Algorithm, Mint, MintKey};

pub async fn run(check: &mut Check) {
    good(check).await;
    bad(check).await;
    same_answer(check).await;
}

fn reader() -> Mint {
    Mint::machine("batch").scope("orders:read")
}

async fn good(check: &mut Check) {
    let minted: [(&str, Mint); 6] = [
        ("signed by ES256", reader().algorithm(Algorithm::Es256)),
        ("signed by EdDSA", reader().algorithm(Algorithm::EdDsa)),
        ("signed by PS256", reader().algorithm(Algorithm::Ps256)),
        ("one audience of several", reader().claim("aud", json!(["stock", "orders"]))),
        ("scope as a list, scp", reader().claim("scope", json!(null)).claim("scp", json!(["orders:read"]))),
        ("expired within the clock skew", reader().lifetime(-5)),
    ];
    let cases = minted.map(|(case, mint)| (case, "200", Ask::get("/orders").bearer(&check.mint(&mint))));
    rows(check, cases.into()).await;
}

async fn bad(check: &mut Check) {
    let now = check.demo.clock.now().seconds();
    let minted: Vec<(&str, &str, Mint)> = vec![
        ("expired", "401 token.expired", reader().lifetime(-3600)),
        ("not yet valid", "401 token.not_yet_valid", reader().claim("nbf", now + 600)),
        ("without an end", "401 token.claims", reader().claim("exp", json!(null))),
        ("for another audience", "401 token.audience", reader().audience("stock")),
        ("of another issuer", "401 token.issuer", reader().claim("iss", "https://login.example.com")),
        ("bad signature", "401 token.signature", reader().key(MintKey::Spoiled)),
        ("signed by a foreign key under a known kid", "401 token.signature", reader().key(MintKey::Foreign)),
        ("signed by an unknown key", "401 token.key", reader().key(MintKey::Unknown)),
        ("alg none", "401 token.algorithm", reader().key(MintKey::Nothing)),
        ("HS256 with the public key as secret", "401 token.algorithm", reader().key(MintKey::PublicKeyAsSecret)),
        (
            "crit names what nobody knows",
            "401 token.critical",
            reader().header("crit", json!(["wonder"])).header("wonder", 1),
        ),
        ("typ of a client assertion", "401 token.type", reader().header("typ", "client-authentication+jwt")),
        (
            "logout token as access token",
            "401 token.not_access",
            reader().claim("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ),
        ("ID token, by its at_hash", "401 token.not_access", reader().claim("at_hash", "MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("bound to a key that is not shown", "401 token.bound", reader().claim("cnf", json!({ "jkt": "x" }))),
    ];
    let cases = minted.into_iter().map(|(case, wanted, mint)| {
        let ask = Ask::get("/orders").bearer(&check.mint(&mint));
        (case, wanted, ask)
    });
    let mut cases: Vec<_> = cases.collect();
    let opaque = check.demo.provider.mint_opaque(&reader());
    cases.push(("opaque token where JWTs are taken", "401 token.malformed", Ask::get("/orders").bearer(&opaque)));
    rows(check, cases).await;
}

/// A client that tries tokens must not learn why one fails.
async fn same_answer(check: &mut Check) {
    let expired = check.mint(&reader().lifetime(-3600));
    let foreign = check.mint(&reader().key(MintKey::Foreign));
    let going = async {
        let one = check.ask(Ask::get("/orders").bearer(&expired)).await?;
        let other = check.ask(Ask::get("/orders").bearer(&foreign)).await?;
        let challenge = |told: &Told| told.answer.field("www-authenticate").map(str::to_owned);
        let body = |told: &Told| {
            let mut json = told.answer.json();
            json["request_id"].take();
            json
        };
        let same = challenge(&one) == challenge(&other) && body(&one) == body(&other);
        Ok(other.unless(same, "the answers differ"))
    }
    .await;
    check.row("expired and forged get the same answer", "401 token.signature", going);
}
