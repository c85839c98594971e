//! How Postern shows an issuer who it is, by assertions that it signs. The gateway runs in this process, before the
//! development provider, which takes each assertion once, while it is fresh, and only if it is for this provider.

use std::net::SocketAddr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern::clock::{ManualClock, Time};
use postern::devidp::{Authentication, ClientEntry, GrantType, Mint, Provider, Settings};
use postern::jose::SigningKey;

use crate::support::Folder;
use crate::support::inside::Inside;
use crate::support::raw::{self, Answer};
use crate::support::upstream::Upstream;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
/// Of 32 bytes, as HS256 wants it.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A new P-256 key: its PEM, and the public half as the provider has it.
fn key() -> (String, serde_json::Value) {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    let public = SigningKey::from_any_pem(None, pem.as_bytes()).expect("that key").public_jwk().clone();
    (pem, public)
}

struct World {
    _folder: Folder,
    provider: Provider,
    upstream: Upstream,
    gateway: Inside,
}

impl World {
    /// A gateway whose client is configured by `client`, where `KEY` is the file of the key that the provider knows and
    /// `OTHER` that of one that it does not.
    async fn start(authentication: Authentication, client: &str) -> Self {
        let hands = ManualClock::at(Time::from_seconds(START));
        let (folder, (pem, public)) = (Folder::new(), key());
        let (known, other) = (folder.write("client.pem", pem), folder.write("other.pem", key().0));
        let ours = ClientEntry {
            authentication,
            jwks: vec![public],
            may_introspect: true,
            ..ClientEntry::confidential("ours", SECRET).scopes("read").audience("orders")
        };
        let opaque = ClientEntry::confidential("opaque", SECRET).scopes("read").audience("orders").opaque();
        let settings =
            Settings { clients: vec![ours.grants(&[GrantType::ClientCredentials]), opaque], ..Settings::demo() };
        let provider = Provider::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings, hands.clock());
        let (provider, upstream) = (provider.await.expect("a free port"), Upstream::echo().await);
        let client = client.replace("KEY", &known.display().to_string()).replace("OTHER", &other.display().to_string());
        let route = |name: &str, more: &str| {
            format!(
                "  - {{ name: {name}, match: {{ path: /{name} }}, upstream: echo, access: {{ bearer: {{ issuers: [corp] }} }}{more} }}\n"
            )
        };
        let text = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 2 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             issuers: {{ corp: {{ issuer: \"{issuer}\", audiences: [orders], tokens: opaque, introspection: {{ client: ours }} }} }}\n\
             clients: {{ ours: {{ issuer: corp, client_id: ours, allowed_grant_types: client_credentials, {client} }} }}\n\
             upstreams: {{ echo: {{ servers: [\"http://{to}\"] }} }}\nroutes:\n{plain}{own}",
            issuer = provider.issuer(),
            to = upstream.address,
            plain = route("plain", ""),
            own = route("own", ", forward: { authorization: { client_credentials: { client: ours } } }"),
        );
        let gateway = Inside::start(&text, &hands, None).await;
        Self { _folder: folder, provider, upstream, gateway }
    }

    async fn get(&self, target: &str, subject: &str) -> Answer {
        let token = self.provider.mint(&Mint::user("opaque", subject).audience("orders").scope("read").lifetime(3600));
        let head = format!("GET {target} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n");
        raw::request(self.gateway.address(), &format!("{head}Authorization: Bearer {token}\r\n\r\n")).await
    }
}

#[tokio::test]
async fn an_assertion_gets_a_client_through_at_every_endpoint_each_time() {
    let key = "authentication: private_key_jwt, private_key: { file: \"KEY\" }";
    let secret = format!("authentication: client_secret_jwt, client_secret: \"{SECRET}\"");
    for (authentication, client) in [
        (Authentication::PrivateKeyJwt, key.to_owned()),
        (Authentication::PrivateKeyJwt, format!("{key}, assertion_audience: token_endpoint")),
        (Authentication::SecretJwt, secret.clone()),
        (Authentication::SecretJwt, format!("{secret}, assertion_audience: token_endpoint")),
    ] {
        let world = World::start(authentication, &client).await;
        // The provider takes no assertion twice: three questions about tokens and one for a token of our own are four.
        for (target, subject) in [("/plain", "alice"), ("/plain", "bob"), ("/own", "carol")] {
            assert_eq!(world.get(target, subject).await.status, 200, "{client}: {target} {subject}");
        }
        assert_eq!(world.upstream.take().len(), 3, "{client}");
    }
}

#[tokio::test]
async fn a_client_whom_the_issuer_does_not_believe_lets_nobody_pass() {
    for (authentication, client) in [
        (Authentication::PrivateKeyJwt, "authentication: private_key_jwt, private_key: { file: \"OTHER\" }"),
        (
            Authentication::SecretJwt,
            "authentication: client_secret_jwt, client_secret: \"another secret of thirty-two bytes\"",
        ),
        (Authentication::PrivateKeyJwt, &format!("authentication: client_secret_jwt, client_secret: \"{SECRET}\"")),
    ] {
        let world = World::start(authentication, client).await;
        for target in ["/plain", "/own"] {
            let answer = world.get(target, "alice").await;
            assert_eq!(answer.status, 503, "{client}: {target}");
            assert!(answer.value("retry-after").is_some());
        }
        assert!(world.upstream.take().is_empty(), "{client}");
    }
}
