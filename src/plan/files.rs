//! PEM files, looked at while the configuration is checked: a missing or empty file is a mistake with a place, not a
//! surprise at the first connection. The rooms read them again when they are built, so a renewed file is taken then.

use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::findings::Findings;
use super::settings::CertificateFiles;
use crate::config::ValuePath;

/// A chain and its key; both must be given.
pub(super) fn certificate(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: (Option<&Path>, Option<&Path>),
) -> Option<CertificateFiles> {
    let chain = present(findings, at, "certificate", written.0)
        .and_then(|file| certificates(findings, &at.key("certificate"), file));
    let key = present(findings, at, "private_key", written.1)
        .and_then(|file| private_key(findings, &at.key("private_key"), file));
    Some(CertificateFiles { certificate: chain?, private_key: key? })
}

/// A chain and its key, where both may be left out together.
pub(super) fn identity(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: (Option<&Path>, Option<&Path>),
) -> Option<CertificateFiles> {
    match written {
        (None, None) => None,
        both => certificate(findings, at, both),
    }
}

fn present<'w>(findings: &mut Findings<'_>, at: &ValuePath, key: &str, written: Option<&'w Path>) -> Option<&'w Path> {
    if written.is_none() {
        findings.missing(at, key, "certificate and private_key go together");
    }
    written
}

/// A PEM file with at least one certificate.
pub(super) fn certificates(findings: &mut Findings<'_>, at: &ValuePath, written: &Path) -> Option<PathBuf> {
    let file = findings.file(written);
    let found =
        CertificateDer::pem_file_iter(&file).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    match found {
        Ok(certificates) if !certificates.is_empty() => return Some(file),
        Ok(_) => findings.error(at, format!("{} holds no certificate", file.display())),
        Err(error) => findings.error(at, unreadable(&file, &error)),
    }
    None
}

fn private_key(findings: &mut Findings<'_>, at: &ValuePath, written: &Path) -> Option<PathBuf> {
    let file = findings.file(written);
    match PrivateKeyDer::from_pem_file(&file) {
        Ok(_) => return Some(file),
        Err(error) => findings.error(at, unreadable(&file, &error)),
    }
    None
}

fn unreadable(file: &Path, error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::Io(error) => format!("cannot read {}: {error}", file.display()),
        Error::NoItemsFound => format!("{} holds nothing of that kind in PEM form", file.display()),
        _ => format!("{} is not well-formed PEM", file.display()),
    }
}
