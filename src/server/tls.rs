//! TLS towards clients: certificates chosen by SNI (the first is the default), ALPN, TLS 1.2 and 1.3.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// A certificate chain and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("the private key {} does not belong to the certificate {}", private_key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, private_key: PathBuf },
    #[error("TLS: {0}")]
    Settings(#[from] rustls::Error),
    #[error("no certificate is given")]
    Empty,
}

/// Server settings for the given certificates.
///
/// # Errors
/// [`TlsError`] when a file cannot be read, holds no certificate or key, or the two do not match.
pub fn server_config(files: &[CertificateFiles]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let keys = files.iter().map(|files| load(files, &provider).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(TlsError::Empty);
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(BySni(keys)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let failed = |path: &Path, message: String| TlsError::File { path: path.to_owned(), message };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(failed(&files.certificate, "no certificate in this file".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| failed(&files.private_key, error.to_string()))?;
    let key = provider.key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(_) => {
            Err(TlsError::Mismatch { certificate: files.certificate.clone(), private_key: files.private_key.clone() })
        }
    }
}

/// Picks the first certificate that is valid for the name in SNI; the first of all when none is, or no name is sent.
#[derive(Debug)]
struct BySni(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| named.as_ref().is_some_and(|name| is_valid_for(key, name));
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    key.end_entity_cert()
        .ok()
        .and_then(|certificate| rustls::server::ParsedCertificate::try_from(certificate).ok())
        .is_some_and(|certificate| rustls::client::verify_server_name(&certificate, name).is_ok())
}
