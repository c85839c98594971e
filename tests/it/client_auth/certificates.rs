//! Certificates of clients (RFC 8705): the connection shows who asks, at the doors that the issuer has for it.

use std::sync::{Arc, Mutex, OnceLock};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;

struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    fn new(name: &str) -> Self {
        Self(rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate"))
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.0.cert.der().clone()
    }

    /// As a client's configuration names it.
    fn line(&self, folder: &Folder) -> String {
        let certificate = folder.write("client.crt", self.0.cert.pem());
        let key = folder.write("client.key", self.0.signing_key.serialize_pem());
        format!("tls: {{ certificate: '{}', private_key: '{}' }}", certificate.display(), key.display())
    }
}

/// What came over connections that showed a certificate: who showed it, and the request.
type Came = Arc<Mutex<Vec<(CertificateDer<'static>, String)>>>;

/// An endpoint that only `client` gets through to. Gives its address.
async fn door(server: &Identity, client: &Identity, came: Came) -> SocketAddr {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(client.certificate()).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server.0.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![server.certificate()], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned();
            let mut request = Vec::new();
            // The form is short and has no line end.
            while String::from_utf8_lossy(&request).split_once("\r\n\r\n").is_none_or(|(_, body)| body.is_empty()) {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let body = if request.starts_with("POST /token") {
                json!({ "access_token": "t0ken", "token_type": "Bearer", "expires_in": 60 })
            } else {
                json!({ "active": true, "sub": "alice", "aud": "orders", "scope": "read", "client_id": "shop" })
            };
            came.lock().expect("a lock").push((shown, request));
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

struct Certified {
    came: Came,
    plain: Upstream,
    upstream: Upstream,
    gateway: Inside,
    /// Read when a connection is made.
    _folder: Folder,
}

impl Certified {
    /// `method` with the certificate `shown`, at an issuer that lets `known` in.
    async fn start(method: &str, shown: &Identity, known: &Identity) -> Self {
        let (folder, server, came) = (Folder::new(), Identity::new("127.0.0.1"), Came::default());
        let door = door(&server, known, Arc::clone(&came)).await;
        let at: Arc<OnceLock<String>> = Arc::default();
        let own = Arc::clone(&at);
        let plain = Upstream::start(move |_| {
            let issuer = own.get().expect("an address");
            let metadata = json!({
                "issuer": issuer,
                "token_endpoint": format!("{issuer}/token"),
                "introspection_endpoint": format!("{issuer}/introspect"),
                "mtls_endpoint_aliases": {
                    "token_endpoint": format!("https://{door}/token"),
                    "introspection_endpoint": format!("https://{door}/introspect"),
                },
            });
            answer(200, "application/json", metadata.to_string())
        })
        .await;
        let issuer = format!("http://{}", plain.address);
        at.set(issuer.clone()).expect("set once");
        let upstream = Upstream::echo().await;
        let ca = folder.write("ca.crt", server.0.cert.pem());
        let text = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers: {{ corp: {{ issuer: '{issuer}', audiences: [orders], tokens: opaque, tls: {{ ca: '{ca}' }}, introspection: {{ client: gateway, cache: {{ ttl: 0s }} }} }} }}\n\
             clients: {{ gateway: {{ issuer: corp, client_id: gateway, allowed_grant_types: client_credentials, authentication: {method}, {tls} }} }}\n\
             upstreams: {{ echo: {{ servers: ['http://{echo}'] }} }}\nroutes:\n\
             \x20 - {{ match: {{ path: /own/** }}, upstream: echo, access: public, forward: {{ authorization: {{ client_credentials: {{ client: gateway }} }} }} }}\n\
             \x20 - {{ match: {{ path: /api/** }}, upstream: echo, access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}\n",
            ca = ca.display(),
            tls = shown.line(&folder),
            echo = upstream.address,
        );
        let hands = ManualClock::at(Time::from_seconds(START));
        let gateway = Inside::start(&text, &hands, None).await;
        Self { came, plain, upstream, gateway, _folder: folder }
    }

    async fn status(&self, path: &str) -> u16 {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: Bearer opaque\r\n\r\n");
        raw::request(self.gateway.address(), &request).await.status
    }
}

#[tokio::test]
async fn the_certificate_is_shown_where_the_issuer_looks_for_it() {
    for method in ["tls_client_auth", "self_signed_tls_client_auth"] {
        let ours = Identity::new("gateway");
        let world = Certified::start(method, &ours, &ours).await;
        assert_eq!((world.status("/own/x").await, world.status("/api/x").await), (200, 200), "{method}");
        let came = world.came.lock().expect("a lock").clone();
        let lines: Vec<_> = came.iter().filter_map(|(_, request)| request.lines().next()).collect();
        assert_eq!(lines, ["POST /token HTTP/1.1", "POST /introspect HTTP/1.1"]);
        for (shown, request) in &came {
            assert_eq!(*shown, ours.certificate());
            let (head, form) = request.split_once("\r\n\r\n").expect("a body");
            assert!(form.contains("client_id=gateway") && !form.contains("client_secret"), "{form}");
            assert!(!head.to_ascii_lowercase().contains("authorization:"), "{head}");
        }
        assert!(world.plain.seen().iter().all(|seen| seen.method == "GET"), "nothing is asked at everybody's door");
    }
}

#[tokio::test]
async fn a_certificate_that_the_issuer_does_not_know_gets_nothing() {
    let world = Certified::start("tls_client_auth", &Identity::new("gateway"), &Identity::new("other")).await;
    assert_eq!((world.status("/own/x").await, world.status("/api/x").await), (503, 503));
    assert!(world.came.lock().expect("a lock").is_empty() && world.upstream.take().is_empty());
}
