//! How an upstream with `https` is met. Comes in: [`UpstreamTls`]; goes out: two client configurations that differ
//! in ALPN alone, since an upgrade needs HTTP/1.1 while anything else takes what the server prefers.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::error::SetUpError;
use super::settings::UpstreamTls;

/// ALPN protocol identifier of HTTP/2 over TLS (RFC 9113 section 3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

#[derive(Clone, Debug)]
pub(super) struct TlsConfigs {
    pub either: Arc<ClientConfig>,
    pub http1: Arc<ClientConfig>,
}

impl TlsConfigs {
    pub fn new(settings: &UpstreamTls) -> Result<Self, SetUpError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(settings.ca.as_deref())?);
        let mut http1 = match (&settings.certificate, &settings.private_key) {
            (Some(chain), Some(key)) => builder.with_client_auth_cert(certificates(chain)?, private_key(key)?)?,
            (None, None) => builder.with_no_client_auth(),
            _ => return Err(SetUpError::HalfIdentity),
        };
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        let mut either = http1.clone();
        either.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self { either: Arc::new(either), http1: Arc::new(http1) })
    }
}

/// The name that the server's certificate must carry.
pub(super) fn server_name(settings: &UpstreamTls, host: &str) -> Result<ServerName<'static>, SetUpError> {
    let name = settings.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| SetUpError::ServerName(name.into()))
}

/// A given authority stands alone: who pins one does not mean "and everybody else".
fn roots(ca: Option<&Path>) -> Result<RootCertStore, SetUpError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            store.add(certificate)?;
        }
    } else {
        // Single files that can't be read are of no interest as long as some can.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if store.is_empty() { Err(SetUpError::NoRoots) } else { Ok(store) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetUpError> {
    let broken = |error| SetUpError::File { path: path.to_owned(), error };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
    if chain.is_empty() { Err(SetUpError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SetUpError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| SetUpError::File { path: path.to_owned(), error })
}
