//! Without a file: a sidecar is one command line, or its environment.

use crate::support::gateway::{Gateway, Start, run};
use crate::support::keys::ring;
use crate::support::provider::Provider;
use crate::support::raw;
use crate::support::standard::{HOST, Layout, get};
use crate::support::tokens::{AUDIENCE, ISSUER, claims, signed};
use crate::support::upstream::Upstream;

/// What a sidecar must do, however it was told.
async fn guards(gateway: &Gateway, provider: &Provider, upstream: &Upstream) {
    let token = |scopes: &str| {
        let mut payload = claims(scopes);
        payload["iss"] = provider.issuer().into();
        signed(&ring().rsa, payload)
    };
    for (scopes, status) in [(None, 401), (Some("orders:read"), 403), (Some("orders:read orders:list"), 200)] {
        let token = scopes.map(token);
        let answer = raw::request(gateway.address(), &get("/any/path?x", token.as_deref())).await;
        assert_eq!(answer.status, status, "{scopes:?}");
    }
    let seen = upstream.take();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].target.as_str(), seen[0].values("host")), ("/any/path?x", vec![HOST]));
    assert_eq!(seen[0].values("x-forwarded-user"), ["alice"]);
    assert_eq!(seen[0].values("authorization"), [] as [&str; 0]);
}

#[tokio::test]
async fn one_command_line_guards_an_api() {
    let (provider, upstream) = (Provider::start(&ring().set()).await, Upstream::echo().await);
    let (issuer, up) = (provider.issuer(), format!("http://{}", upstream.address));
    let common = [
        "--issuer",
        &issuer,
        "--audience",
        AUDIENCE,
        "--upstream",
        &up,
        "--bind",
        "127.0.0.1:0",
        "--admin-bind",
        "127.0.0.1:0",
    ];
    for scopes in [&["--scope", "orders:read", "--scope", "orders:list"][..], &["--scope", "orders:read orders:list"]] {
        let arguments = [&common[..], scopes].concat();
        let gateway = Gateway::start_as(Start { arguments: &arguments, ..Start::default() }).await;
        guards(&gateway, &provider, &upstream).await;
    }
}

#[tokio::test]
async fn the_environment_alone_guards_an_api() {
    let (provider, upstream) = (Provider::start(&ring().set()).await, Upstream::echo().await);
    let (issuer, up) = (provider.issuer(), format!("http://{}", upstream.address));
    let environment = [
        ("POSTERN_ISSUER", &*issuer),
        ("POSTERN_AUDIENCE", AUDIENCE),
        ("POSTERN_UPSTREAM", &up),
        ("POSTERN_SCOPE", "orders:read orders:list"),
        ("POSTERN_BIND", "127.0.0.1:0"),
        ("POSTERN_ADMIN_BIND", "127.0.0.1:0"),
        // What Kubernetes sets beside a Service called `postern`.
        ("POSTERN_PORT", "tcp://10.0.0.1:8080"),
        ("POSTERN_SERVICE_HOST", "10.0.0.1"),
        ("POSTERN_SERVICE_PORT", "8080"),
    ];
    let gateway = Gateway::start_as(Start { environment: &environment, ..Start::default() }).await;
    guards(&gateway, &provider, &upstream).await;
}

/// The environment wins over the file, and its names are checked.
#[tokio::test]
async fn the_environment_overrides_a_file() {
    let upstream = Upstream::echo().await;
    let folder = crate::support::Folder::new();
    let keys = folder.write("keys.json", ring().set().to_string());
    let layout = Layout { issuer: format!("    jwks: {{ file: {} }}\n", keys.display()), ..Layout::default() };
    let config = layout.config(ISSUER, upstream.address);
    let environment = [("POSTERN__SERVER__LIMITS__REQUEST_BODY", "4")];
    let gateway = Gateway::start_as(Start { config: &config, environment: &environment, ..Start::default() }).await;
    let post =
        format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(raw::request(gateway.address(), &post).await.status, 413);
}

#[test]
fn half_a_sidecar_is_a_mistake_that_is_told() {
    for arguments in [&["serve"][..], &["serve", "--issuer", "https://login.example.com"], &["serve", "--no-such-flag"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stderr.is_empty());
    }
}
