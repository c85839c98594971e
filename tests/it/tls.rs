//! TLS on both sides: certificates by name, HTTP/1.1 and HTTP/2 by ALPN, upstreams that are who they should be, and
//! handshakes that never end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::Folder;
use crate::support::raw::{self, PATIENCE};
use crate::support::standard::{HOST, Layout, Standard, authorization};

/// A self-signed certificate for some names.
struct Identity {
    certified: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Identity {
    fn new(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Self { certified: rcgen::generate_simple_self_signed(names).expect("a certificate") }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.certified.cert.der().clone()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.certified.signing_key.serialize_der()))
    }

    /// Writes both as PEM and gives their paths in YAML flow.
    fn files(&self, folder: &Folder, name: &str) -> String {
        let certificate = folder.write(&format!("{name}.crt"), self.certified.cert.pem());
        let key = folder.write(&format!("{name}.key"), self.certified.signing_key.serialize_pem());
        format!("{{ certificate: {}, private_key: {} }}", certificate.display(), key.display())
    }
}

fn provider() -> Arc<tokio_rustls::rustls::crypto::CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider())
}

/// Connects as a client that trusts these and offers these protocols.
async fn connect(
    address: SocketAddr,
    name: &str,
    trusted: &[&Identity],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.certificate()).expect("a certificate");
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

async fn ask(mut stream: TlsStream<TcpStream>, host: &str, target: &str, lines: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn listener(certificates: &[String]) -> Layout {
    let certificates = certificates.join(", ");
    Layout {
        server: format!("  listeners:\n    - {{ bind: 127.0.0.1:0, tls: {{ certificates: [{certificates}] }} }}\n"),
        ..Layout::default()
    }
}

#[tokio::test]
async fn clients_are_served_over_tls_by_the_protocol_they_choose() {
    let (folder, identity) = (Folder::new(), Identity::new(&[HOST]));
    let standard = Standard::start_with(listener(&[identity.files(&folder, "gw")])).await;
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(standard.address(), HOST, &[&identity], protocols).await.expect("a handshake");
        let answer = ask(stream, HOST, "/api/x", &authorization("read")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{protocols:?}: {answer}");
        let seen = standard.seen();
        assert_eq!(seen[0].values("x-forwarded-proto"), ["https"]);
        assert_eq!(seen[0].values("x-forwarded-user"), ["alice"]);
    }
    let stream = connect(standard.address(), HOST, &[&identity], &["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut send, connection) = handshake.await.expect("an HTTP/2 connection");
    tokio::spawn(connection);
    for (target, status) in [("public", 200), ("api", 401), ("nowhere", 404)] {
        let request =
            Request::get(format!("https://{HOST}/{target}/x")).body(Full::<Bytes>::default()).expect("a request");
        let answer = send.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{target}");
        answer.into_body().collect().await.expect("a whole body");
    }
    assert_eq!(standard.seen()[0].values("x-forwarded-proto"), ["https"]);
}

/// A permanent redirect would be kept by browsers and caches beyond what is configured.
#[tokio::test]
async fn who_speaks_http_is_sent_to_https_and_nobody_keeps_that() {
    let (folder, identity) = (Folder::new(), Identity::new(&[HOST]));
    let server = format!(
        "  listeners:\n    - {{ bind: 127.0.0.1:0, redirect_to_https: true }}\n    \
         - {{ bind: 127.0.0.1:0, tls: {{ certificates: [{}] }} }}\n",
        identity.files(&folder, "gw")
    );
    let standard = Standard::start_with(Layout { server, ..Layout::default() }).await;
    let answer = raw::get(standard.gateway.addresses[0], HOST, "/api/x?a=b").await;
    let location = format!("https://{HOST}/api/x?a=b");
    assert_eq!((answer.status, answer.value("location")), (308, Some(location.as_str())));
    assert_eq!(answer.values("cache-control"), ["no-store"]);
    assert!(standard.saw_nothing());
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_the_first_is_the_default() {
    let folder = Folder::new();
    let (first, second) = (Identity::new(&[HOST]), Identity::new(&["second.test"]));
    let standard =
        Standard::start_with(listener(&[first.files(&folder, "first"), second.files(&folder, "second")])).await;
    for (name, identity) in [(HOST, &first), ("second.test", &second)] {
        let stream = connect(standard.address(), name, &[identity], &[]).await.expect("its own certificate");
        let peer = stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone();
        assert_eq!(peer, identity.certificate(), "{name}");
    }
    // A name of nobody gets the default, and turns it down.
    assert!(connect(standard.address(), "third.test", &[&first, &second], &[]).await.is_err());
}

/// Bytes that are no TLS, and handshakes that never go on, cost a place for a while and nobody else anything.
#[tokio::test]
async fn a_stalled_handshake_holds_up_nobody() {
    let (folder, identity) = (Folder::new(), Identity::new(&[HOST]));
    let standard = Standard::start_with(listener(&[identity.files(&folder, "gw")])).await;
    let mut stalled = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(standard.address()).await.expect("the gateway takes connections");
        if number % 2 == 0 {
            // The first bytes of a ClientHello.
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await.expect("it reads");
        }
        stalled.push(stream);
    }
    let started = Instant::now();
    let stream = connect(standard.address(), HOST, &[&identity], &[]).await.expect("a handshake");
    assert!(ask(stream, HOST, "/public/x", "").await.starts_with("HTTP/1.1 200"));
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    let end = tokio::time::Instant::now() + PATIENCE;
    for mut stream in stalled {
        // Closed, reset, or told off: over in any case.
        let _ = tokio::time::timeout_at(end, stream.read(&mut [0; 64])).await.expect("given up in time");
    }
    let mut plain = TcpStream::connect(standard.address()).await.expect("the gateway takes connections");
    plain.write_all(b"GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n").await.expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "cleartext on a TLS listener");
}

/// An https server that answers everything with its own name.
async fn secure_upstream(identity: &Identity) -> (SocketAddr, JoinHandle<()>) {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate()], identity.key())
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecure").await;
            let _ = stream.shutdown().await;
        }
    });
    (address, serving)
}

async fn before(address: SocketAddr, tls: &str) -> Standard {
    let layout = Layout {
        upstreams: format!("  secure: {{ servers: [\"https://{address}\"], retries: 0{tls} }}\n"),
        routes: format!(
            "  - {{ name: secure, match: {{ hosts: [{HOST}], path: /secure/** }}, upstream: secure, access: public }}\n"
        ),
        ..Layout::default()
    };
    Standard::start_with(layout).await
}

#[tokio::test]
async fn an_upstream_must_be_who_it_should_be() {
    let folder = Folder::new();
    let (right, wrong) = (Identity::new(&["up.test"]), Identity::new(&["up.test"]));
    let ca = folder.write("ca.crt", right.certified.cert.pem());
    let trusted = |name: &str| format!(", tls: {{ ca: {}, server_name: {name} }}", ca.display());
    for (about, identity, tls, status) in [
        ("the right one", &right, trusted("up.test"), 200),
        ("the right one under another name", &right, trusted("other.test"), 502),
        ("another one under its name", &wrong, trusted("up.test"), 502),
        ("one that nobody vouches for", &right, ", tls: { server_name: up.test }".to_owned(), 502),
    ] {
        let (address, serving) = secure_upstream(identity).await;
        let standard = before(address, &tls).await;
        let answer = standard.get("/secure/x", None).await;
        assert_eq!(answer.status, status, "{about}");
        if status == 200 {
            assert_eq!(answer.text(), "secure");
        }
        serving.abort();
    }
}

/// T36: what is said in the clear before the handshake is not an answer.
#[tokio::test]
async fn plain_bytes_before_the_handshake_are_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let standard = before(address, "").await;
    let answer = standard.get("/secure/x", None).await;
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("poison"));
    serving.abort();
}
