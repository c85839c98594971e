//! `clients`, checked: an issuer that is there, credentials that fit the method, and grant types as a plain list.

use super::findings::Findings;
use super::settings::{ClientSettings, IssuerSettings};
use super::{access, credentials, grants};
use crate::config::ValuePath;
use crate::config::client::{Client, Pkce};

/// Checks all; the entries that are in order come out by name.
pub(super) fn clients(findings: &mut Findings<'_>, known: &[IssuerSettings]) -> Vec<ClientSettings> {
    let at = ValuePath::root().key("clients");
    let loaded = findings.loaded;
    loaded
        .config
        .clients
        .iter()
        .filter_map(|(name, client)| one(findings, &at.key(name), known, (name, client)))
        .collect()
}

fn one(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[IssuerSettings],
    (name, written): (&str, &Client),
) -> Option<ClientSettings> {
    super::name(findings, at, "a client", name);
    let issuer = issuer(findings, at, known, written.issuer.as_deref());
    let client_id = client_id(findings, at, written.client_id.as_deref());
    let key = credentials::key(findings, at, written);
    let of_issuer = issuer.and_then(|at| known.get(at));
    let credentials = credentials::credentials(findings, at, written, (key.as_ref(), of_issuer));
    credentials::signed_requests(findings, at, written);
    access::scopes(findings, &at.key("scopes"), &written.scopes);
    if written.pkce == Pkce::Off {
        let message = "a code that leaks can be redeemed by whoever finds it";
        findings.warning(&at.key("pkce"), message, "leave it out unless the issuer refuses PKCE");
    }
    grants::combination(findings, at, written);
    let mut grant_types = Vec::new();
    for grant_type in written.allowed_grant_types.as_slice() {
        if !grant_types.contains(grant_type) {
            grant_types.push(*grant_type);
        }
    }
    Some(ClientSettings {
        name: name.into(),
        issuer: issuer?,
        client_id: client_id?,
        credentials: credentials?,
        grant_types,
        allow_access_tokens_via_browser: written.allow_access_tokens_via_browser,
        scopes: written.scopes.clone(),
        pkce: written.pkce,
        par: written.par,
        key,
        request_object: written.request_object,
    })
}

fn issuer(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[IssuerSettings],
    written: Option<&str>,
) -> Option<usize> {
    let Some(name) = written else {
        findings.missing(at, "issuer", "the name of an entry under `issuers`");
        return None;
    };
    let found = known.iter().position(|issuer| &*issuer.name == name);
    let configured = &findings.loaded.config.issuers;
    if found.is_none() && !configured.contains_key(name) {
        let names = configured.keys().map(String::as_str);
        findings.unknown_name(&at.key("issuer"), ("issuer", "issuers"), name, names);
    }
    found
}

/// RFC 6749 appendix A.1: visible ASCII characters.
fn client_id(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&str>) -> Option<Box<str>> {
    let Some(client_id) = written else {
        findings.missing(at, "client_id", "the identifier that the issuer gave this registration");
        return None;
    };
    if client_id.is_empty() || client_id.chars().any(char::is_control) {
        findings.error(&at.key("client_id"), "a client's identifier is one line of text");
        return None;
    }
    Some(client_id.into())
}
