//! TLS towards providers. Comes in: which files, if any. Goes out: a configuration, made once and anew when a file has
//! changed, so that a rotated certificate is used and a question costs no more than a look at its files.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{DOCUMENT_LIMIT, FetchError, read};

/// TLS towards an issuer, where the system's own roots and no certificate of ours won't do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchTls {
    /// Trusted instead of the system's roots.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// The configurations in use: one for each issuer that has files of its own, and the system's.
#[derive(Default)]
pub(super) struct TlsConfigs {
    roots: OnceLock<Arc<RootCertStore>>,
    system: OnceLock<Arc<ClientConfig>>,
    of_files: Mutex<HashMap<FetchTls, Made>>,
}

struct Made {
    config: Arc<ClientConfig>,
    /// What the files were when it was made.
    stamps: Vec<Stamp>,
}

/// Tells one state of a file from the next: written in place, or put in place of the other.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl TlsConfigs {
    /// The configuration for an issuer.
    ///
    /// # Errors
    /// [`FetchError`] when a file can't be used.
    pub(super) async fn of(&self, tls: Option<&FetchTls>) -> Result<Arc<ClientConfig>, FetchError> {
        let Some(tls) = tls else { return self.system() };
        // Looked at before they are read: what changes in between is read again the next time.
        let stamps = stamps(tls).await?;
        if let Some(made) = self.lock().get(tls).filter(|made| made.stamps == stamps) {
            return Ok(Arc::clone(&made.config));
        }
        let config = Arc::new(self.make(tls).await?);
        self.lock().insert(tls.clone(), Made { config: Arc::clone(&config), stamps });
        Ok(config)
    }

    fn system(&self) -> Result<Arc<ClientConfig>, FetchError> {
        if let Some(config) = self.system.get() {
            return Ok(Arc::clone(config));
        }
        let config = builder()?.with_root_certificates(self.system_roots()).with_no_client_auth();
        Ok(Arc::clone(self.system.get_or_init(|| Arc::new(config))))
    }

    fn system_roots(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            // Systems carry certificates that rustls refuses; the others still count, and with none every handshake fails.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        Arc::clone(self.roots.get_or_init(load))
    }

    async fn make(&self, tls: &FetchTls) -> Result<ClientConfig, FetchError> {
        let roots = match &tls.ca {
            None => self.system_roots(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path).await? {
                    roots.add(certificate)?;
                }
                Arc::new(roots)
            }
        };
        let builder = builder()?.with_root_certificates(roots);
        let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
            return Ok(builder.with_no_client_auth());
        };
        let pem = read(key, DOCUMENT_LIMIT).await?;
        let private = PrivateKeyDer::from_pem_slice(&pem);
        let private = private.map_err(|error| FetchError::File { path: key.clone(), problem: error.to_string() })?;
        Ok(builder.with_client_auth_cert(certificates(certificate).await?, private)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FetchTls, Made>> {
        self.of_files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, FetchError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

async fn stamps(tls: &FetchTls) -> Result<Vec<Stamp>, FetchError> {
    let mut stamps = Vec::with_capacity(3);
    for path in [&tls.ca, &tls.certificate, &tls.key].into_iter().flatten() {
        let problem = |error: std::io::Error| FetchError::File { path: path.clone(), problem: error.to_string() };
        let is = tokio::fs::metadata(path).await.map_err(problem)?;
        stamps.push(Stamp { inode: is.ino(), length: is.len(), modified: (is.mtime(), is.mtime_nsec()) });
    }
    Ok(stamps)
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let problem = |problem: String| FetchError::File { path: path.to_owned(), problem };
    let pem = read(path, DOCUMENT_LIMIT).await?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| problem(error.to_string()))?;
    if all.is_empty() { Err(problem("it holds no certificate".to_owned())) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_configuration_is_made_once_and_anew_when_a_file_has_changed() {
        let folder = std::env::temp_dir().join(format!("postern-{}", crate::seal::random::token()));
        std::fs::create_dir(&folder).unwrap();
        let (ca, next) = (folder.join("ca.pem"), folder.join("next.pem"));
        let authority = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
        std::fs::write(&ca, authority()).unwrap();
        let tls = FetchTls { ca: Some(ca.clone()), ..FetchTls::default() };
        let configs = TlsConfigs::default();
        let first = configs.of(Some(&tls)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &configs.of(Some(&tls)).await.unwrap()));
        std::fs::write(&next, authority()).unwrap();
        std::fs::rename(&next, &ca).unwrap();
        let second = configs.of(Some(&tls)).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(&next, "no certificate").unwrap();
        std::fs::rename(&next, &ca).unwrap();
        assert!(configs.of(Some(&tls)).await.is_err(), "an old one does not live on");
        let system = configs.of(None).await.unwrap();
        assert!(Arc::ptr_eq(&system, &configs.of(None).await.unwrap()) && !Arc::ptr_eq(&system, &first));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
