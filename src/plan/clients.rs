//! `clients`, checked: an issuer that is there, credentials that fit the method, and grant types as a plain list.

use std::sync::Arc;

use super::findings::Findings;
use super::settings::{ClientCredentials, ClientSettings, IssuerSettings};
use super::{access, grants, issuers};
use crate::config::client::{Authentication, Client, Pkce};
use crate::config::{self, ValuePath};
use crate::idp::AssertionAudience;
use crate::jose::SigningKey;
use crate::seal::Secret;

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
    let credentials = credentials(findings, at, written);
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

/// What the method needs, and nothing that it has no use for: an unused secret is one that nobody changes.
fn credentials(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<ClientCredentials> {
    let method = written.authentication;
    let shows_secret =
        matches!(method, Authentication::SecretBasic | Authentication::SecretPost | Authentication::SecretJwt);
    let signs_itself = method == Authentication::PrivateKeyJwt;
    let asserts = signs_itself || method == Authentication::SecretJwt;
    let unused = [
        ("client_secret", written.client_secret.is_some() && !shows_secret, "a secret"),
        ("private_key", written.private_key.is_some() && !signs_itself, "a private key"),
        ("key_id", written.key_id.is_some() && !signs_itself, "a key's name"),
        ("assertion_audience", written.assertion_audience.is_some() && !asserts, "an audience"),
    ];
    let mut fits = true;
    for (key, _, what) in unused.into_iter().filter(|(_, unused, _)| *unused) {
        let message = format!("{what} is of no use to `authentication: {}`", method.word());
        findings.error_with(&at.key(key), message, "leave one of the two out");
        fits = false;
    }
    let audience = match written.assertion_audience.unwrap_or_default() {
        config::client::AssertionAudience::Issuer => AssertionAudience::Issuer,
        config::client::AssertionAudience::TokenEndpoint => AssertionAudience::TokenEndpoint,
    };
    let credentials = match method {
        Authentication::None => Some(ClientCredentials::None),
        Authentication::SecretBasic => client_secret(findings, at, written).map(ClientCredentials::SecretBasic),
        Authentication::SecretPost => client_secret(findings, at, written).map(ClientCredentials::SecretPost),
        Authentication::SecretJwt => {
            signing_secret(findings, at, written).map(|secret| ClientCredentials::SecretJwt(secret, audience))
        }
        Authentication::PrivateKeyJwt => {
            private_key(findings, at, written).map(|key| ClientCredentials::PrivateKeyJwt(Arc::new(key), audience))
        }
    };
    credentials.filter(|_| fits)
}

fn client_secret(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<Secret> {
    let Some(secret) = &written.client_secret else {
        let method = written.authentication.word();
        let does = if written.authentication == Authentication::SecretJwt { "signs with" } else { "shows" };
        let expected = format!("`{{ env: NAME }}` or `{{ file: PATH }}`: `authentication: {method}` {does} it");
        findings.missing(at, "client_secret", expected);
        return None;
    };
    issuers::secret(findings, &at.key("client_secret"), secret)
}

/// RFC 7518 section 3.2: a key for HS256 is no shorter than its digest. Who sees one assertion can guess at a short one.
fn signing_secret(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<Secret> {
    const BYTES: usize = 32;
    let secret = client_secret(findings, at, written)?;
    if secret.expose().len() < BYTES {
        let message =
            format!("a secret that signs has {BYTES} bytes or more: from an assertion a short one can be guessed");
        findings.warning(&at.key("client_secret"), message, "a longer secret, or `private_key_jwt`");
    }
    Some(secret)
}

fn private_key(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<SigningKey> {
    let Some(written_key) = &written.private_key else {
        findings.missing(at, "private_key", "`{ file: client.pem }`: `authentication: private_key_jwt` signs with it");
        return None;
    };
    if written.key_id.as_deref().is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
        findings.error(&at.key("key_id"), "a key's name is one line of text");
        return None;
    }
    let place = at.key("private_key");
    let pem = issuers::secret(findings, &place, written_key)?;
    match SigningKey::from_any_pem(written.key_id.as_deref(), pem.expose().as_bytes()) {
        Ok(key) => Some(key),
        Err(error) => {
            findings.error(&place, error.to_string());
            None
        }
    }
}
