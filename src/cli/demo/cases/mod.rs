//! The cases of `postern demo --check`, one file for each concern. A row says what is done, what must come of it, and
//! does it; rows run one after the other.

mod answers;
mod basic;
mod configurations;
mod credentials;
mod edges;
mod front;
mod grants;
mod identity;
mod opaque;
mod outages;
mod rules;
mod site;
mod streams;
mod tokens;
mod upstream_tokens;
mod visitor;

use super::check::Check;
use super::client::Ask;

/// Runs them all. Outages come last: they leave the provider's keys changed.
pub async fn all(check: &mut Check) {
    credentials::run(check).await;
    tokens::run(check).await;
    rules::run(check).await;
    identity::run(check).await;
    edges::run(check).await;
    answers::run(check).await;
    streams::run(check).await;
    grants::run(check).await;
    site::run(check).await;
    front::run(check).await;
    upstream_tokens::run(check).await;
    basic::run(check).await;
    configurations::run(check);
    opaque::run(check).await;
    outages::run(check).await;
}

/// A row about one request: case, what is expected, the request.
type Row = (&'static str, &'static str, Ask);

async fn rows(check: &mut Check, rows: Vec<Row>) {
    for (case, expected, ask) in rows {
        let going = check.verdict(ask).await;
        check.row(case, expected, going);
    }
}
