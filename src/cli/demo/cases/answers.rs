//! What a client sees of a refusal, and of what the gateway answers itself (configuration contract, section 6).

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::super::check::{Told, timed};
use super::super::client::TalkError;
use super::{Ask, Check, rows};

pub async fn run(check: &mut Check) {
    let reader = check.machine("orders:read");
    let writer = check.machine("orders:write");
    let preflight = |path: &str| {
        let ask = Ask::new("OPTIONS", path).with("Origin", "https://app.example.com");
        ask.with("Access-Control-Request-Method", "POST")
    };
    let cases = vec![
        ("no route", "404 route.none", Ask::get("/nowhere")),
        ("HEAD is a GET without a body", "200", Ask::new("HEAD", "/orders").bearer(&reader)),
        ("CORS preflight, refused unless forwarded", "405 route.method", preflight("/orders")),
        ("CORS preflight, forwarded", "204", preflight("/check/preflight")),
        ("CORS preflight with a token is still one", "204", preflight("/check/preflight").bearer(&writer)),
    ];
    rows(check, cases).await;
    refusals(check, &reader).await;
    metadata(check).await;
    grpc(check).await;
}

/// Case, what is expected, the request, and what must hold of the answer.
type Seen = (&'static str, &'static str, Ask, fn(&Told) -> bool);

async fn refusals(check: &mut Check, reader: &str) {
    let html = |ask: Ask| ask.with("Accept", "text/html,*/*;q=0.8");
    let cases: Vec<Seen> = vec![
        ("no method of this path: Allow", "405 route.method", Ask::new("DELETE", "/orders").bearer(reader), |told| {
            told.answer.field("allow").is_some_and(|allow| allow.contains("GET") && allow.contains("POST"))
        }),
        ("an API gets problem+json", "401 credential.missing", Ask::get("/orders"), |told| {
            told.answer.field("content-type") == Some("application/problem+json") && told.answer.json()["status"] == 401
        }),
        ("a browser gets a page", "401 credential.missing", html(Ask::get("/orders")), |told| {
            told.answer.field("content-type").is_some_and(|kind| kind.starts_with("text/html"))
        }),
        ("a refusal is not stored", "401 credential.missing", Ask::get("/orders"), |told| {
            told.answer.field("cache-control") == Some("no-store")
        }),
        ("no reason in the answer", "401 token.malformed", Ask::get("/orders").bearer("garbage"), |told| {
            !told.answer.text().contains("malformed")
        }),
        ("the request id is in answer and body", "401 credential.missing", Ask::get("/orders"), |told| {
            told.answer.field("x-request-id").is_some_and(|id| told.answer.json()["request_id"] == id)
        }),
        (
            "a request id that nobody vouches for is replaced",
            "200",
            Ask::get("/public/headers").with("X-Request-Id", "mine"),
            |told| {
                let ours = told.answer.field("x-request-id").unwrap_or_default();
                ours != "mine" && told.upstream_fields().iter().any(|(name, id)| name == "x-request-id" && id == ours)
            },
        ),
        ("the demo's page", "200", html(Ask::get("/")), |told| told.answer.text().contains("Postern demo")),
        ("the page answers local names only", "421", html(Ask::get("/")).with("Host", "other.example"), |_| true),
    ];
    for (case, expected, ask, holds) in cases {
        let going = check.ask(ask).await.map(|told| told.unless(holds(&told), "not so"));
        check.row(case, expected, going);
    }
}

/// RFC 9728: the challenge leads to a document, and the document to the issuer.
async fn metadata(check: &mut Check) {
    let going = async {
        let refused = check.ask(Ask::get("/orders")).await?;
        let challenge = refused.answer.field("www-authenticate").unwrap_or_default().to_owned();
        let wanted = format!("http://{}/.well-known/oauth-protected-resource", check.gateway());
        let named = challenge.contains(&format!("resource_metadata=\"{wanted}\""));
        Ok(refused.unless(named && !challenge.contains("error="), "another challenge"))
    }
    .await;
    check.row("the challenge leads to the metadata", "401 credential.missing", going);
    let going = async {
        let told = check.ask(Ask::get("/.well-known/oauth-protected-resource")).await?;
        let json = told.answer.json();
        let servers = json["authorization_servers"].as_array().cloned().unwrap_or_default();
        let issuer = check.demo.provider.issuer();
        let right = servers.iter().any(|server| server == issuer)
            && json["resource"] == format!("http://{}", check.gateway())
            && json["scopes_supported"].to_string().contains("orders:read");
        Ok(told.unless(right, "another document"))
    }
    .await;
    check.row("the metadata name the issuer and the scopes", "200", going);
}

/// Over HTTP/2 by prior knowledge, as gRPC clients come.
async fn grpc(check: &mut Check) {
    let going = timed(check, async {
        let unusable = |error: hyper::Error| TalkError::Unusable(error.to_string());
        let stream = tokio::net::TcpStream::connect(check.gateway()).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(unusable)?;
        check.demo.control.start(async {
            // Ends with its last request.
            let _ = connection.await;
        });
        let request = http::Request::post(format!("http://{}/orders", check.gateway()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Empty::<Bytes>::new())
            .map_err(|error| TalkError::Unusable(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(unusable)?;
        let code = answer.headers().get("grpc-status").and_then(|code| code.to_str().ok()).unwrap_or("none");
        Ok(format!("{} grpc-status {code}", answer.status().as_u16()))
    })
    .await;
    check.row("gRPC without a token: trailers only, h2c", "200 grpc-status 16", going);
}
