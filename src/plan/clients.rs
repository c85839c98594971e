//! `clients`, checked: an issuer that is there, credentials that fit the method, and grant types as a plain list.

use std::path::PathBuf;
use std::sync::Arc;

use super::findings::Findings;
use super::settings::{ClientCredentials, ClientSettings, IssuerSettings, TlsFiles};
use super::{access, files, grants, issuers};
use crate::config::client::{Authentication, Client, Pkce, RequestObject};
use crate::config::secret::SecretRef;
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
    let issuer_tls = issuer.and_then(|index| known.get(index)).and_then(|issuer| issuer.tls.as_ref());
    let credentials = credentials(findings, at, written, issuer_tls);
    let request_key = request_key(findings, at, written);
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
        request_key: request_key?,
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
fn credentials(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Client,
    issuer_tls: Option<&TlsFiles>,
) -> Option<ClientCredentials> {
    let method = written.authentication;
    let shows_secret =
        matches!(method, Authentication::SecretBasic | Authentication::SecretPost | Authentication::SecretJwt);
    let by_certificate = matches!(method, Authentication::TlsClientAuth | Authentication::SelfSignedTlsClientAuth);
    let is_asserted = method == Authentication::PrivateKeyJwt && written.assertion.is_some();
    let signs_itself = method == Authentication::PrivateKeyJwt && !is_asserted;
    let signs = signs_itself || written.request_object == RequestObject::Signed;
    let asserts = signs_itself || method == Authentication::SecretJwt;
    let unused = [
        ("client_secret", written.client_secret.is_some() && !shows_secret, "a secret"),
        ("private_key", written.private_key.is_some() && !signs, "a private key"),
        ("key_id", written.key_id.is_some() && !signs, "a key's name"),
        ("assertion", written.assertion.is_some() && method != Authentication::PrivateKeyJwt, "an assertion"),
        ("tls", written.tls.is_some() && !by_certificate, "a certificate"),
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
        Authentication::TlsClientAuth | Authentication::SelfSignedTlsClientAuth => {
            certificate(findings, at, written, issuer_tls).map(ClientCredentials::Certificate)
        }
        Authentication::PrivateKeyJwt if is_asserted => {
            assertion(findings, at, written).map(ClientCredentials::Assertion)
        }
        Authentication::PrivateKeyJwt => {
            private_key(findings, at, written).map(|key| ClientCredentials::PrivateKeyJwt(Arc::new(key), audience))
        }
    };
    credentials.filter(|_| fits)
}

/// An assertion that somebody else makes and keeps fresh; it is looked at now, and read anew for every request.
fn assertion(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<PathBuf> {
    let place = at.key("assertion");
    let Some(file) = written.assertion.as_ref().and_then(|assertion| assertion.file.as_ref()) else {
        findings.missing(&place, "file", "the file that holds the assertion");
        return None;
    };
    issuers::secret(findings, &place.key("file"), &SecretRef::File(file.clone()))?;
    Some(findings.file(file))
}

/// The client's own certificate, or the one that connections to the issuer show anyway.
fn certificate(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Client,
    issuer_tls: Option<&TlsFiles>,
) -> Option<TlsFiles> {
    let ca = issuer_tls.and_then(|tls| tls.ca.clone());
    let identity = match &written.tls {
        Some(own) => {
            files::identity(findings, &at.key("tls"), (own.certificate.as_deref(), own.private_key.as_deref()))
        }
        None => issuer_tls.and_then(|tls| tls.identity.clone()),
    };
    if identity.is_none()
        && (written.tls.is_none() || written.tls.as_ref().is_some_and(|tls| tls.certificate.is_none()))
    {
        let method = written.authentication.word();
        let hint = format!("`{{ certificate: FILE, private_key: FILE }}`: `authentication: {method}` shows it");
        findings.missing(at, "tls", hint);
    }
    Some(TlsFiles { ca, identity: Some(identity?), server_name: None })
}

/// The key that signs authorization requests, where they are signed; `None` for one that is missing.
fn request_key(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<Option<Arc<SigningKey>>> {
    if written.request_object == RequestObject::Off {
        return Some(None);
    }
    private_key(findings, at, written).map(|key| Some(Arc::new(key)))
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
        let what = if written.request_object == RequestObject::Signed {
            "request_object: signed"
        } else {
            "authentication: private_key_jwt"
        };
        findings.missing(at, "private_key", format!("`{{ file: client.pem }}`: `{what}` signs with it"));
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
