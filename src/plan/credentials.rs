//! How a client shows who it is, checked: each method has what it needs, and nothing lies about that it does not use, for
//! a secret that is never shown is taken for one that protects something.

use std::path::PathBuf;
use std::sync::Arc;

use super::findings::Findings;
use super::settings::{CertificateFiles, ClientCredentials, IssuerSettings};
use super::{files, issuers};
use crate::config::ValuePath;
use crate::config::client::{Authentication, Client, RequestObject};
use crate::jose::{Algorithm, SigningKey};
use crate::seal::Secret;

/// HS256 wants a key as long as its digest (RFC 7518 section 3.2). Bytes.
const SHORTEST_SECRET: usize = 32;

/// A projected token and the like. Bytes.
pub(super) const LARGEST_ASSERTION: usize = 64 * 1024;

const KINDS: &str = "PKCS#8 in PEM: RSA of 2048 bits or more, P-256, P-384 or Ed25519";

/// The credentials. `key` is what [`key`] found, `issuer` where the client is registered.
pub(super) fn credentials(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Client,
    (key, issuer): (Option<&Arc<SigningKey>>, Option<&IssuerSettings>),
) -> Option<ClientCredentials> {
    let audience = written.assertion_audience.unwrap_or_default();
    let of_no_use = unused(findings, at, written);
    let found = match written.authentication {
        Authentication::None => Some(ClientCredentials::None),
        Authentication::SecretBasic => secret(findings, at, written).map(ClientCredentials::SecretBasic),
        Authentication::SecretPost => secret(findings, at, written).map(ClientCredentials::SecretPost),
        Authentication::SecretJwt => {
            let secret = secret(findings, at, written)?;
            if secret.expose().len() < SHORTEST_SECRET {
                let message = "is short: whoever sees one assertion can try secrets until one fits";
                findings.warning(&at.key("client_secret"), message, "32 random bytes or more (RFC 7518 section 3.2)");
            }
            Some(ClientCredentials::SecretJwt(secret, audience))
        }
        Authentication::PrivateKeyJwt => match (&written.private_key, &written.assertion) {
            (Some(_), None) => key.map(|key| ClientCredentials::PrivateKeyJwt(Arc::clone(key), audience)),
            (None, Some(_)) => assertion(findings, at, written).map(ClientCredentials::AssertionFile),
            (Some(_), Some(_)) if written.request_object == RequestObject::Signed => {
                assertion(findings, at, written).map(ClientCredentials::AssertionFile)
            }
            (Some(_), Some(_)) => {
                let message = "assertions are signed with `private_key` or come from a file, not both";
                findings.error_with(&at.key("assertion"), message, "leave one of the two out");
                None
            }
            (None, None) => {
                let hint =
                    "`{ file: client.pem }`, or `assertion: { file: … }`: `authentication: private_key_jwt` shows it";
                findings.missing(at, "private_key", hint);
                None
            }
        },
        Authentication::Tls | Authentication::SelfSignedTls => certificate(findings, at, written, issuer),
    };
    found.filter(|_| !of_no_use)
}

/// Finds what the method does not use. Whether there is any.
fn unused(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> bool {
    use Authentication::{None, PrivateKeyJwt, SecretBasic, SecretJwt, SecretPost, SelfSignedTls, Tls};
    let method = written.authentication;
    let signs_requests = written.request_object != RequestObject::Off && method != None;
    let has_key = written.private_key.is_some();
    let parts = [
        (
            "client_secret",
            "a secret",
            written.client_secret.is_some(),
            matches!(method, SecretBasic | SecretPost | SecretJwt),
        ),
        ("private_key", "a key", has_key, method == PrivateKeyJwt || signs_requests),
        ("assertion", "an assertion", written.assertion.is_some(), method == PrivateKeyJwt),
        ("tls", "a certificate", written.tls.is_some(), matches!(method, Tls | SelfSignedTls)),
        (
            "assertion_audience",
            "an audience",
            written.assertion_audience.is_some(),
            method == SecretJwt || (method == PrivateKeyJwt && written.assertion.is_none()),
        ),
    ];
    let mut any = false;
    for (key, what, _, _) in parts.into_iter().filter(|(_, _, is_there, is_used)| *is_there && !is_used) {
        let message = format!("{what} is of no use to `authentication: {}`", method.word());
        findings.error_with(&at.key(key), message, "leave one of the two out");
        any = true;
    }
    let of_key = [("key_id", written.key_id.is_some()), ("signing_algorithm", written.signing_algorithm.is_some())];
    for (key, _) in of_key.into_iter().filter(|(_, is_there)| *is_there && !has_key) {
        findings.error_with(
            &at.key(key),
            "there is no `private_key` that it is about",
            "leave it out, or name the key",
        );
        any = true;
    }
    any
}

fn secret(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<Secret> {
    let Some(secret) = &written.client_secret else {
        let method = written.authentication.word();
        let hint = format!("`{{ env: NAME }}` or `{{ file: PATH }}`: `authentication: {method}` shows it");
        findings.missing(at, "client_secret", hint);
        return None;
    };
    issuers::secret(findings, &at.key("client_secret"), secret)
}

/// The private key, read now. One that is renewed is taken with the next configuration.
pub(super) fn key(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<Arc<SigningKey>> {
    let here = at.key("private_key");
    let pem = issuers::secret(findings, &here, written.private_key.as_ref()?)?;
    let pem = pem.expose().as_bytes();
    let wanted = written.signing_algorithm.map(|algorithm| Algorithm::parse(algorithm.word()));
    let found = match wanted {
        Some(wanted) => wanted.and_then(|algorithm| read(algorithm, written, pem)),
        // What a key is for follows from its kind; with RSA it is a habit.
        None => [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256]
            .into_iter()
            .find_map(|algorithm| read(algorithm, written, pem)),
    };
    match (&found, written.signing_algorithm) {
        (None, Some(algorithm)) => {
            let message = format!("this is no private key to sign {} with", algorithm.word());
            findings.error_with(&here, message, KINDS);
        }
        (None, None) => findings.error_with(&here, "this is no private key that can be used here", KINDS),
        (Some(_), _) => {}
    }
    if let Some(name) = &written.key_id
        && (name.is_empty() || name.chars().any(char::is_control))
    {
        findings.error(&at.key("key_id"), "a key's name is one line of text");
        return None;
    }
    found.map(Arc::new)
}

fn read(algorithm: Algorithm, written: &Client, pem: &[u8]) -> Option<SigningKey> {
    let read = match &written.key_id {
        Some(name) => SigningKey::from_pem(algorithm, name, pem),
        None => SigningKey::named_by_thumbprint(algorithm, pem),
    };
    // What can't sign now can't later: a key of another curve is found out here.
    read.ok().filter(|key| key.sign(None, &serde_json::Value::Null).is_ok())
}

/// Looked at now, so that a missing file has a place; read again for each request.
fn assertion(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) -> Option<PathBuf> {
    let at = at.key("assertion");
    let Some(file) = written.assertion.as_ref().and_then(|assertion| assertion.file.as_ref()) else {
        findings.missing(&at, "file", "where the token is, such as `/var/run/secrets/tokens/issuer`");
        return None;
    };
    let (at, file) = (at.key("file"), findings.file(file));
    match std::fs::read(&file) {
        Err(error) => findings.error(&at, format!("cannot read {}: {error}", file.display())),
        Ok(text) if text.trim_ascii().is_empty() => findings.error(&at, format!("{} is empty", file.display())),
        Ok(text) if text.len() > LARGEST_ASSERTION => {
            findings.error(&at, format!("{} is larger than a token may be (64KiB)", file.display()));
        }
        Ok(_) => return Some(file),
    }
    None
}

/// RFC 8705 section 2: the client's own certificate, or the one that is shown to the issuer anyway.
fn certificate(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Client,
    issuer: Option<&IssuerSettings>,
) -> Option<ClientCredentials> {
    if let Some(tls) = &written.tls {
        let pair: Option<CertificateFiles> =
            files::certificate(findings, &at.key("tls"), (tls.certificate.as_deref(), tls.private_key.as_deref()));
        return pair.map(|pair| ClientCredentials::Tls(Some(pair)));
    }
    let has_its_own = issuer?.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    if !has_its_own {
        let hint = format!(
            "`{{ certificate: client.crt, private_key: client.key }}`: `authentication: {}` shows it",
            written.authentication.word()
        );
        findings.missing(at, "tls", hint);
        return None;
    }
    Some(ClientCredentials::Tls(None))
}

/// RFC 9101: who signs requests has a key.
pub(super) fn signed_requests(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) {
    if written.request_object == RequestObject::Signed && written.private_key.is_none() {
        findings.missing(at, "private_key", "`{ file: client.pem }`: `request_object: signed` needs it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_follows_from_its_kind_and_no_other_kind_passes_for_it() {
        use crate::config::issuer::Algorithm as Word;
        use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
        let all = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256, Algorithm::Ps256];
        for (kind, fits) in [
            (&PKCS_ECDSA_P256_SHA256, &[Algorithm::Es256][..]),
            (&PKCS_ECDSA_P384_SHA384, &[Algorithm::Es384]),
            (&PKCS_RSA_SHA256, &[Algorithm::Rs256, Algorithm::Ps256]),
        ] {
            let pem = KeyPair::generate_for(kind).unwrap().serialize_pem();
            for algorithm in all {
                let found = read(algorithm, &Client::default(), pem.as_bytes());
                assert_eq!(found.is_some(), fits.contains(&algorithm), "{kind:?} as {algorithm}");
                if let Some(key) = found {
                    assert_eq!(key.kid().len(), 43, "a thumbprint");
                }
            }
        }
        let named =
            Client { key_id: Some("shop-2026".to_owned()), signing_algorithm: Some(Word::Es256), ..Client::default() };
        let pem = KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(read(Algorithm::Es256, &named, pem.as_bytes()).unwrap().kid(), "shop-2026");
    }
}
