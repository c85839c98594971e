use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// A certificate for `localhost` and 127.0.0.1, and the file that holds it.
struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    folder: PathBuf,
}

impl Certificate {
    fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = std::env::temp_dir().join(format!("postern-upstream-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Self { chain: vec![made.cert.der().clone()], key, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn acceptor(certificate: &Certificate, alpn: &[&[u8]]) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificate.chain.clone(), certificate.key.clone_key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

/// Serves HTTP/1.1 or HTTP/2 over TLS, as ALPN settles it, and tells which.
async fn tls_server(certificate: &Certificate, alpn: &[&[u8]]) -> Server {
    let acceptor = acceptor(certificate, alpn);
    Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async move {
                    let body = http_body_util::Full::new(Bytes::from(format!("h2 {}", request.uri())));
                    Ok::<_, std::convert::Infallible>(http::Response::new(body))
                });
                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = http2.serve_connection(TokioIo::new(stream), service).await;
            } else {
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhttp1").await.unwrap();
                }
            }
        }
    })
    .await
}

fn https(server: &Server, tls: UpstreamTls) -> UpstreamSettings {
    UpstreamSettings { tls: Some(tls), ..settings(&[server.address], ServerScheme::Https) }
}

#[tokio::test]
async fn the_server_chooses_the_protocol_and_an_upgrade_gets_http_1() {
    let certificate = Certificate::new(&["127.0.0.1"]);
    let tls = UpstreamTls { ca: Some(certificate.file()), ..UpstreamTls::default() };

    let server = tls_server(&certificate, &[b"h2", b"http/1.1"]).await;
    let (pools, upstream) = (pools(), Upstream::new(https(&server, tls.clone())).unwrap());
    for _ in 0..2 {
        let answer = text(send(&pools, &upstream, get("/a")).await.unwrap()).await.unwrap();
        assert_eq!(answer, "h2 https://api.example.com/a");
    }
    assert_eq!(server.accepted(), 1);
    let options = SendOptions { upgrade: true, ..SendOptions::default() };
    let sent = pools.send(&upstream, get("/a"), options).await.unwrap();
    assert_eq!(text(sent).await.unwrap(), "http1");
    assert_eq!(text(send(&pools, &upstream, get("/b")).await.unwrap()).await.unwrap(), "h2 https://api.example.com/b");

    let server = tls_server(&certificate, &[]).await;
    let upstream = Upstream::new(https(&server, tls)).unwrap();
    for _ in 0..2 {
        assert_eq!(text(send(&pools, &upstream, get("/a")).await.unwrap()).await.unwrap(), "http1");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_no_connection() {
    let certificate = Certificate::new(&["orders.internal"]);
    let other = Certificate::new(&["127.0.0.1"]);
    let server = tls_server(&certificate, &[b"http/1.1"]).await;
    let pools = pools();
    let trusting = |ca: &Certificate, server_name: Option<&str>| UpstreamTls {
        ca: Some(ca.file()),
        server_name: server_name.map(Box::from),
        ..UpstreamTls::default()
    };
    for tls in [trusting(&certificate, None), trusting(&other, Some("orders.internal"))] {
        let upstream = Upstream::new(https(&server, tls)).unwrap();
        let failed = send(&pools, &upstream, get("/")).await.unwrap_err();
        assert!(matches!(failed.error, SendError::Connect(_)), "{failed}");
        assert_eq!(failed.error.status(), 502);
    }
    let upstream = Upstream::new(https(&server, trusting(&certificate, Some("orders.internal")))).unwrap();
    assert_eq!(text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap(), "http1");
}

#[tokio::test]
async fn plain_text_before_the_handshake_is_never_an_answer() {
    let certificate = Certificate::new(&["127.0.0.1"]);
    let server = Server::start(|_, mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let tls = UpstreamTls { ca: Some(certificate.file()), ..UpstreamTls::default() };
    let failed = send(&pools(), &Upstream::new(https(&server, tls)).unwrap(), get("/")).await.unwrap_err();
    assert!(matches!(failed.error, SendError::Connect(_)), "{failed}");
    assert_eq!(failed.error.status(), 502);
}

#[tokio::test]
async fn unusable_files_are_refused_at_once() {
    let certificate = Certificate::new(&["127.0.0.1"]);
    let server = Server::answering("").await;
    let missing = UpstreamTls { ca: Some(certificate.folder.join("none.pem")), ..UpstreamTls::default() };
    assert!(matches!(Upstream::new(https(&server, missing)), Err(SetUpError::File { .. })));
    let empty = UpstreamTls { ca: Some(certificate.folder.join("key.pem")), ..UpstreamTls::default() };
    assert!(matches!(Upstream::new(https(&server, empty)), Err(SetUpError::NoCertificate(_))));
    let half =
        UpstreamTls { ca: Some(certificate.file()), certificate: Some(certificate.file()), ..UpstreamTls::default() };
    assert!(matches!(Upstream::new(https(&server, half)), Err(SetUpError::HalfIdentity)));
}

/// Whatever lies between the last write and the kernel when the server stops reading. How much fits in between is the
/// kernel's to say, so there are uploads of many lengths: some end just there.
#[tokio::test]
async fn the_end_of_an_upload_is_sent_though_the_server_read_late() {
    let certificate = Certificate::new(&["127.0.0.1"]);
    let acceptor = acceptor(&certificate, &[]);
    let server = Server::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while let Some(head) = read_head(&mut stream).await {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                let mut left: usize = length.parse().unwrap();
                let mut buffer = vec![0; 1 << 16];
                while left > 0 {
                    let most = left.min(buffer.len());
                    left -= stream.read(&mut buffer[..most]).await.unwrap();
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await;
    let tls = UpstreamTls { ca: Some(certificate.file()), ..UpstreamTls::default() };
    let upstream = Upstream::new(https(&server, tls)).unwrap();
    let pools = pools();
    for number in 1..120 {
        let upload = request(Method::POST, "/", Body::from(vec![b'x'; number * 48 * 1024]));
        assert_eq!(text(send(&pools, &upstream, upload).await.unwrap()).await.unwrap(), "ok", "{number}");
    }
}
