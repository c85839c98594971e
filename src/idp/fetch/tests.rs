use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::idp::testing::{Answer, KEYS, Provider, clock};

fn wanted(url: &Url) -> Wanted<'_> {
    Wanted { url, bearer: None, tls: None, allow_http: false, limit: DOCUMENT_LIMIT }
}

#[tokio::test]
async fn a_document_is_fetched_with_the_bearer_token_it_needs() {
    let provider = Provider::start(&[]).await;
    provider.answers("/keys?v=1", Answer::Status(200, b"{}".to_vec()));
    let mut url = provider.keys_url();
    url.set_query(Some("v=1"));
    let bearer = Secret::new("s3cret".to_owned());
    let fetch = Fetch::new(clock().clock());
    let body = fetch.get(Wanted { bearer: Some(&bearer), ..wanted(&url) }).await.unwrap();
    assert_eq!(&body[..], b"{}");
    let [head] = provider.heads().try_into().unwrap();
    let head = head.to_lowercase();
    assert!(head.contains("authorization: bearer s3cret\r\n") && head.contains("connection: close\r\n"), "{head}");
}

#[tokio::test]
async fn anything_but_a_whole_200_within_the_limit_is_an_error() {
    let provider = Provider::start(&[]).await;
    let url = provider.keys_url();
    let fetch = Fetch::new(clock().clock());
    for status in [201, 204, 301, 302, 304, 400, 404, 500, 503] {
        provider.answers(KEYS, Answer::Status(status, Vec::new()));
        let error = fetch.get(wanted(&url)).await.unwrap_err();
        assert!(matches!(&error, FetchError::Status { status: told, .. } if told.as_u16() == status), "{error}");
        assert_eq!(error.is_absent(), (300..500).contains(&status));
    }
    assert!(!provider.heads().iter().any(|head| head.contains("/elsewhere")), "redirects are not followed");
    provider.answers(KEYS, Answer::Status(200, vec![b' '; DOCUMENT_LIMIT + 1]));
    assert!(matches!(fetch.get(wanted(&url)).await, Err(FetchError::Body { source: CappedError::TooLarge(_), .. })));
    provider.answers(KEYS, Answer::Status(200, vec![b' '; DOCUMENT_LIMIT]));
    assert_eq!(fetch.get(wanted(&url)).await.unwrap().len(), DOCUMENT_LIMIT);
    provider.answers(KEYS, Answer::Endless);
    assert!(matches!(fetch.get(wanted(&url)).await, Err(FetchError::Body { source: CappedError::TooLarge(_), .. })));
    provider.answers(KEYS, Answer::Torn);
    assert!(matches!(fetch.get(wanted(&url)).await, Err(FetchError::Body { source: CappedError::Broken(_), .. })));
}

fn asked<'a>(url: &'a Url, form: &'a Form, headers: &'a HeaderMap) -> Asked<'a> {
    Asked { url, form, headers, accept: "application/json", tls: None, allow_http: false, limit: ANSWER_LIMIT }
}

#[tokio::test]
async fn a_form_is_posted_once_and_every_answer_is_one() {
    let provider = Provider::start(&[]).await;
    let url: Url = format!("{}/token?x=1", provider.issuer).parse().unwrap();
    let form = Form::default().with("grant_type", "a b").with("code", "c&d");
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic Zm9v"));
    let fetch = Fetch::new(clock().clock());
    for status in [200, 400, 401, 302, 500] {
        provider.answers("/token?x=1", Answer::Status(status, b"{}".to_vec()));
        let reply = fetch.post(asked(&url, &form, &headers)).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (status, &b"{}"[..]));
        assert!(reply.is("APPLICATION/json") && !reply.is("text/html"));
    }
    let heads = provider.heads();
    assert_eq!(heads.len(), 5);
    let (head, body) = heads[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "grant_type=a+b&code=c%26d");
    let head = head.to_lowercase();
    for line in ["post /token?x=1 http/1.1", "authorization: basic zm9v", "accept: application/json"] {
        assert!(head.lines().any(|has| has == line), "{line}: {head}");
    }
    assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_told_from_one_that_never_stood() {
    let provider = Provider::start(&[]).await;
    let (form, headers) = (Form::default().with("token", "t"), HeaderMap::new());
    let url: Url = format!("{}/introspect", provider.issuer).parse().unwrap();
    let fetch = Fetch::new(clock().clock());
    for broken in [Answer::Closed, Answer::Torn] {
        provider.answers("/introspect", broken);
        assert!(fetch.post(asked(&url, &form, &headers)).await.unwrap_err().is_broken_off());
    }
    provider.answers("/introspect", Answer::Endless);
    assert!(!fetch.post(asked(&url, &form, &headers)).await.unwrap_err().is_broken_off());
    provider.answers("/introspect", Answer::Raw(b"SSH-2.0-nothing of HTTP\r\n\r\n"));
    assert!(!fetch.post(asked(&url, &form, &headers)).await.unwrap_err().is_broken_off(), "it would say so again");
    let nobody: Url = "http://127.0.0.1:1/introspect".parse().unwrap();
    assert!(!fetch.post(asked(&nobody, &form, &headers)).await.unwrap_err().is_broken_off());
}

#[tokio::test]
async fn a_silent_provider_is_left_at_the_deadline() {
    let provider = Provider::start(&[]).await;
    provider.answers(KEYS, Answer::Silence);
    let (hands, url) = (clock(), provider.keys_url());
    let fetch = Fetch::new(hands.clock());
    let (answer, ()) = tokio::join!(fetch.get(wanted(&url)), async {
        provider.was_asked(1).await;
        hands.advance(fetch.deadline());
    });
    assert!(matches!(answer, Err(FetchError::Deadline { .. })));
}

#[tokio::test]
async fn a_silent_address_leaves_the_next_one_its_share_of_the_deadline() {
    let hands = clock();
    let fetch = Fetch::new(hands.clock()).within(Duration::from_secs(2));
    let (silent, there) = (SocketAddr::from(([192, 0, 2, 1], 443)), SocketAddr::from(([192, 0, 2, 2], 443)));
    let (asked, was_asked) = tokio::sync::watch::channel(0);
    let connect = |address: SocketAddr| {
        asked.send_modify(|times| *times += 1);
        async move { if address == silent { std::future::pending().await } else { Ok(address) } }
    };
    let addresses = [silent, silent, there];
    let (found, ()) = tokio::join!(fetch.first_of(&addresses, connect), async {
        let mut was_asked = was_asked;
        for times in 1..=2 {
            was_asked.wait_for(|asked| *asked >= times).await.unwrap();
            hands.advance(Duration::from_millis(500));
        }
    });
    assert_eq!(found.unwrap(), there);
    assert_eq!(hands.clock().tick().millis(), 1000, "half of the deadline is left for the request");
}

/// RFC 6761: no resolver is asked where a name of this machine leads.
#[tokio::test]
async fn a_name_below_localhost_leads_to_this_machine() {
    let provider = Provider::start(&[]).await;
    let url: Url = provider.keys_url().as_str().replace("127.0.0.1", "id.localhost").parse().unwrap();
    assert!(Fetch::new(clock().clock()).get(wanted(&url)).await.is_ok());
}

#[tokio::test]
async fn plain_http_stays_on_this_machine_unless_allowed() {
    let fetch = Fetch::new(clock().clock());
    for address in ["http://id.example/keys", "http://10.0.0.1/keys", "ftp://127.0.0.1/keys", "file:///etc/passwd"] {
        let url = Url::parse(address).unwrap();
        assert!(matches!(fetch.get(wanted(&url)).await, Err(FetchError::NotSecure(_))), "{address}");
    }
    for address in [
        "http://127.0.0.1/",
        "http://127.8.9.1/",
        "http://[::1]/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://id.Localhost/",
    ] {
        assert!(is_loopback(&Url::parse(address).unwrap()), "{address}");
    }
    for address in [
        "http://localhost.example/",
        "http://notlocalhost/",
        "http://127.0.0.1.example/",
        "http://128.0.0.1/",
        "http://[::2]/",
    ] {
        assert!(!is_loopback(&Url::parse(address).unwrap()), "{address}");
    }
}

#[tokio::test]
async fn tls_is_checked_against_the_configured_authority() {
    let directory = tempfile();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/keys", listener.local_addr().unwrap())).unwrap();
    crate::control::Control::current().start(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let mut head = [0; 1024];
                let _ = tls.read(&mut head).await;
                let _ =
                    tokio::io::AsyncWriteExt::write_all(&mut tls, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                        .await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut tls).await;
            }
        }
    });
    let fetch = Fetch::new(clock().clock());
    let trusting = FetchTls { ca: Some(ca), ..FetchTls::default() };
    assert_eq!(&fetch.get(Wanted { tls: Some(&trusting), ..wanted(&url) }).await.unwrap()[..], b"{}");
    assert!(matches!(fetch.get(wanted(&url)).await, Err(FetchError::Connect { .. })), "the system does not know it");
    let missing = FetchTls { ca: Some(directory.join("none.pem")), ..FetchTls::default() };
    assert!(matches!(fetch.get(Wanted { tls: Some(&missing), ..wanted(&url) }).await, Err(FetchError::File { .. })));
    std::fs::remove_dir_all(directory).unwrap();
}

fn tempfile() -> PathBuf {
    let path = std::env::temp_dir().join(format!("postern-{}", crate::seal::random::token()));
    std::fs::create_dir(&path).unwrap();
    path
}
