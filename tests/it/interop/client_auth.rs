//! How Postern shows npm `oidc-provider` who it is: assertions that a secret or a key signs, certificates, and requests that
//! are signed as one. What matters is that the provider took it: it answers nothing to whom it does not know.

use postern::jose::{Algorithm, SigningKey};
use serde_json::{Value, json};

use super::browser::{Setup, World};
use crate::support::Folder;
use crate::support::foreign::{Foreign, client};
use crate::support::gateway::{Gateway, Start};
use crate::support::raw;
use crate::support::redis::{TlsFiles, certificates};
use crate::support::standard::{HOST, get};
use crate::support::upstream::Upstream;

const SECRET: &str = "a secret of thirty-two bytes or more";

/// A key in PEM, and its public half.
fn key() -> (String, Value) {
    let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let jwk =
        SigningKey::named_by_thumbprint(Algorithm::Es256, pem.as_bytes()).expect("a P-256 key").public_jwk().clone();
    (pem, jwk)
}

/// A gateway whose own token goes up, got by a client with this configuration; the status of a request through it.
async fn goes_through(provider: &Foreign, issuer: &str, client: &str) -> u16 {
    let upstream = Upstream::echo().await;
    let config = format!(
        "server:\n  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 1\nadmin: {{ bind: 127.0.0.1:0 }}\n\
         issuers: {{ corp: {{ issuer: \"{}\", audiences: [api]{issuer} }} }}\n\
         clients: {{ batch: {{ issuer: corp, client_id: batch, allowed_grant_types: client_credentials, {client} }} }}\n\
         upstreams: {{ echo: {{ servers: [\"http://{}\"] }} }}\n\
         routes: [{{ match: {{ hosts: [{HOST}], path: /** }}, upstream: echo, access: public, \
         forward: {{ authorization: {{ client_credentials: {{ client: batch, scopes: [read] }} }} }} }}]\n",
        provider.issuer, upstream.address
    );
    let environment = [("SECRET", SECRET)];
    let gateway = Gateway::start_as(Start { config: &config, environment: &environment, ..Start::default() }).await;
    let answer = raw::request(gateway.address(), &get("/x", None)).await;
    let seen = upstream.take();
    assert_eq!(seen.len(), usize::from(answer.status == 200), "nothing goes up without its token");
    assert!(seen.iter().all(|seen| seen.value("authorization").is_some_and(|field| field.starts_with("Bearer "))));
    answer.status
}

async fn provider(more: Value) -> Foreign {
    Foreign::node(json!({ "clients": [client("batch", &["client_credentials"], &more)] })).await
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_secret_or_by_a_key() {
    let folder = Folder::new();
    let taken = provider(json!({ "client_secret": SECRET, "token_endpoint_auth_method": "client_secret_jwt" })).await;
    let secret = "client_secret: { env: SECRET }, authentication: client_secret_jwt";
    assert_eq!(goes_through(&taken, "", secret).await, 200);
    assert_eq!(goes_through(&taken, "", &format!("{secret}, assertion_audience: token_endpoint")).await, 200);

    let ((pem, jwk), (other, _)) = (key(), key());
    let method = json!({ "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": { "keys": [jwk] } });
    let taken = provider(method).await;
    let with = |name: &str, pem: &str| {
        let file = folder.write(name, pem);
        format!("authentication: private_key_jwt, private_key: {{ file: {} }}", file.display())
    };
    assert_eq!(goes_through(&taken, "", &with("client.pem", &pem)).await, 200);
    assert_eq!(goes_through(&taken, "", &with("other.pem", &other)).await, 503, "another's key");
}

#[tokio::test]
async fn an_assertion_that_lies_in_a_file_is_shown_as_it_lies_there() {
    let folder = Folder::new();
    let (pem, jwk) = key();
    let taken = provider(json!({
        "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": { "keys": [jwk] },
    }))
    .await;
    let signing = SigningKey::named_by_thumbprint(Algorithm::Es256, pem.as_bytes()).expect("a key");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let assertion = |id: &str| {
        let claims =
            json!({ "iss": "batch", "sub": "batch", "aud": taken.issuer, "jti": id, "iat": now, "exp": now + 300 });
        signing.sign(Some("JWT"), &claims).expect("signed")
    };
    let file = folder.write("token", format!("{}\n", assertion("one")));
    let client = format!("authentication: private_key_jwt, assertion: {{ file: {} }}", file.display());
    assert_eq!(goes_through(&taken, "", &client).await, 200);
    assert_eq!(goes_through(&taken, "", &client).await, 503, "it was shown before: whoever keeps it fresh is late");
    folder.write("token", assertion("two"));
    assert_eq!(goes_through(&taken, "", &client).await, 200);
}

#[tokio::test]
async fn a_certificate_of_the_connection_says_who_asks() {
    let folder = Folder::new();
    let (server, batch, other) =
        (certificates(&folder, "server"), certificates(&folder, "batch"), certificates(&folder, "other"));
    let text = |path: &std::path::Path| std::fs::read_to_string(path).expect("a file");
    // What the provider knows of a client that signs its own certificate is the key in it.
    let x5c = text(&batch.certificate).lines().filter(|line| !line.starts_with("-----")).collect::<String>();
    let jwk = SigningKey::named_by_thumbprint(Algorithm::Es256, text(&batch.key).as_bytes())
        .expect("a key")
        .public_jwk()
        .clone();
    let mut jwk = jwk.as_object().expect("an object").clone();
    jwk.insert("x5c".to_owned(), json!([x5c]));
    let registered = [
        json!({ "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": { "keys": [jwk] } }),
        // By a certificate that an authority signed, and the name in it.
        json!({
            "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_subject_dn": "CN=rcgen self signed cert",
        }),
    ];
    for registered in registered {
        let method = registered["token_endpoint_auth_method"].as_str().expect("a method").to_owned();
        let taken = Foreign::node(json!({
            "tls": { "key": text(&server.key), "cert": text(&server.certificate), "ca": text(&batch.ca) },
            "clients": [client("batch", &["client_credentials"], &registered)],
        }))
        .await;
        let trusted = format!(", tls: {{ ca: {} }}", server.ca.display());
        let with = |files: &TlsFiles| {
            let (certificate, key) = (files.certificate.display(), files.key.display());
            format!("authentication: {method}, tls: {{ certificate: {certificate}, private_key: {key} }}")
        };
        assert_eq!(goes_through(&taken, &trusted, &with(&batch)).await, 200, "{method}");
        assert_eq!(goes_through(&taken, &trusted, &with(&other)).await, 503, "{method}: another's certificate");
    }
}

#[tokio::test]
async fn requests_are_signed_as_one_pushed_or_not() {
    let folder = Folder::new();
    let (pem, jwk) = key();
    let file = folder.write("client.pem", &pem);
    for par in ["off", "required"] {
        let client = format!(", request_object: signed, private_key: {{ file: {} }}, par: {par}", file.display());
        let setup = Setup {
            registered: json!({
                "request_object_signing_alg": "ES256", "require_signed_request_object": true, "jwks": { "keys": [jwk] },
            }),
            provider: json!({ "features": { "requestObjects": { "enabled": true } } }),
            client: Box::leak(client.into_boxed_str()),
            ..Setup::default()
        };
        let world = World::start(setup).await;
        let page = world.sign_in(&mut world.browser(), "/orders").await;
        let seen = world.upstream.take();
        assert_eq!(
            seen.last().expect("the app was asked").value("x-forwarded-user"),
            Some("alice"),
            "{:#?}",
            page.trail()
        );
    }
}
