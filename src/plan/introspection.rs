//! `issuers.*.introspection`, checked: whoever asks is a client of that very issuer, and every bound is one.

use std::net::SocketAddr;

use super::findings::Findings;
use super::settings::{ClientCredentials, ClientSettings, IntrospectionSettings, IssuerSettings};
use crate::config::ValuePath;
use crate::config::issuer::{Introspection, Issuer, SharedAnswers, Tokens};
use crate::config::values::Period;

/// One a millisecond: the clock that budgets are counted by knows nothing shorter.
const MOST_FAILURES: u32 = 60_000;

/// Fills in how issuers are asked, where they are.
pub(super) fn fill_in(findings: &mut Findings<'_>, issuers: &mut [IssuerSettings], clients: &[ClientSettings]) {
    let at = ValuePath::root().key("issuers");
    let loaded = findings.loaded;
    for (index, issuer) in issuers.iter_mut().enumerate() {
        let Some(written) = loaded.config.issuers.get(&*issuer.name) else { continue };
        issuer.introspection = one(findings, &at.key(&issuer.name), written, (index, clients));
    }
    clients_can_be_told_apart(findings, issuers);
}

fn one(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    issuer: &Issuer,
    known: (usize, &[ClientSettings]),
) -> Option<IntrospectionSettings> {
    let is_asked = issuer.tokens != Tokens::Jwt || issuer.introspect_jwts;
    if issuer.tokens == Tokens::Opaque && issuer.introspect_jwts {
        let message = "has no effect: with `tokens: opaque` every token is asked about";
        findings.warning(&at.key("introspect_jwts"), message, "leave it out, or write `tokens: any`");
    }
    let Some(written) = &issuer.introspection else {
        if is_asked {
            findings.missing(at, "introspection", "`introspection: { client: NAME }` says as whom the issuer is asked");
        }
        return None;
    };
    let at = at.key("introspection");
    if !is_asked {
        let message = "nothing is asked: `tokens: jwt` are checked by their signature alone";
        findings.warning(&at, message, "`tokens: any`, `tokens: opaque`, or `introspect_jwts: true`");
    }
    let client = client(findings, &at, written, known);
    bounds(findings, &at, written);
    let cache = &written.cache;
    let shared = shared(findings, &at.key("cache").key("shared"), cache.shared);
    Some(IntrospectionSettings {
        client: client?,
        ttl: cache.ttl.0,
        negative_ttl: cache.negative_ttl.0,
        max_entries: cache.max_entries as usize,
        max_bytes: cache.max_bytes.as_usize(),
        obey_no_store: cache.obey_no_store,
        shared,
        missing_audience: written.missing_audience,
        signed: written.signed,
        stale_if_error: written.stale_if_error.0,
        timeout: written.timeout.0,
        concurrency: written.concurrency as usize,
        failures_per_client: written.failures_per_client,
    })
    .filter(|_| is_asked)
}

fn client(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Introspection,
    (issuer, clients): (usize, &[ClientSettings]),
) -> Option<usize> {
    let Some(name) = written.client.as_deref() else {
        findings.missing(at, "client", "the name of an entry under `clients`: as whom the issuer is asked");
        return None;
    };
    let at = at.key("client");
    let Some(found) = clients.iter().position(|client| &*client.name == name) else {
        let configured = &findings.loaded.config.clients;
        if !configured.contains_key(name) {
            findings.unknown_name(&at, ("client", "clients"), name, configured.keys().map(String::as_str));
        }
        return None;
    };
    let client = clients.get(found)?;
    if client.issuer != issuer {
        let message = format!("`{name}` is registered with another issuer, which would be shown its secret");
        findings.error_with(&at, message, "an entry under `clients` with this issuer");
        return None;
    }
    if matches!(client.credentials, ClientCredentials::None) {
        let message = format!("`{name}` shows no credentials: an endpoint that answers everybody answers an attacker");
        findings.warning(&at, message, "a client with a secret (RFC 7662 section 2.1)");
    }
    Some(found)
}

/// Shared answers lie in the Redis of the sessions, sealed with keys that come from theirs.
fn shared(findings: &mut Findings<'_>, at: &ValuePath, written: SharedAnswers) -> bool {
    let sessions = &findings.loaded.config.sessions;
    let (has_redis, has_keys) = (sessions.redis.is_some(), !sessions.keys.is_empty());
    if written == SharedAnswers::Off {
        return false;
    }
    if !has_redis {
        findings.error_with(at, "there is no Redis", "`sessions: { redis: { urls: [rediss://redis:6379] } }`");
    }
    if !has_keys {
        let hint =
            "`sessions: { keys: [{ env: POSTERN_SESSION_KEY }] }`, of 32 random bytes, the same for all replicas";
        findings.error_with(at, "there is no key to seal the answers with", hint);
    }
    true
}

/// Behind a proxy that is not trusted all clients have its address, and one who shows junk shows it for all of them.
fn clients_can_be_told_apart(findings: &mut Findings<'_>, issuers: &[IssuerSettings]) {
    let server = &findings.loaded.config.server;
    let is_near = |bind: &str| match bind.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => bind.starts_with("unix:"),
    };
    let is_far = |bind: Option<&str>| bind.is_some_and(|bind| !is_near(bind));
    let is_reached = server.listeners.iter().any(|listener| is_far(listener.bind.as_deref()));
    let has_budget = |issuer: &IssuerSettings| issuer.introspection.is_some_and(|asked| asked.failures_per_client > 0);
    if is_reached && server.trusted_proxies.is_empty() && issuers.iter().any(has_budget) {
        let at = ValuePath::root().key("server").key("trusted_proxies");
        let message = "is empty: clients behind a proxy share its address, and its budget of junk tokens";
        let hint =
            "name the proxies in front, if there are any; `issuers.*.introspection.failures_per_client` is the budget";
        findings.warning(&at, message, hint);
    }
}

fn bounds(findings: &mut Findings<'_>, at: &ValuePath, written: &Introspection) {
    if written.timeout == Period::ZERO {
        findings.error(&at.key("timeout"), "must be longer than 0s");
    }
    if written.concurrency == 0 {
        findings.error(&at.key("concurrency"), "must be at least 1");
    }
    if written.failures_per_client > MOST_FAILURES {
        let message = format!("{} a minute are more than are counted", written.failures_per_client);
        findings.error_with(&at.key("failures_per_client"), message, format!("at most {MOST_FAILURES}; 0 is no limit"));
    }
    let cache = at.key("cache");
    if written.cache.max_entries == 0 {
        findings.error_with(&cache.key("max_entries"), "must be at least 1", "`ttl: 0s` keeps no answers");
    }
    if written.cache.max_bytes.0 == 0 {
        findings.error_with(&cache.key("max_bytes"), "must be more than 0", "`ttl: 0s` keeps no answers");
    }
}
