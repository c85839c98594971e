//! What a client sees, line by line of the contract's table (section 6): the answer for programs, for browsers and for
//! gRPC, what the upstream saw, and the reason in the log.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::keys::ring;
use crate::support::raw::{self, Answer, Connection, Ending, Until};
use crate::support::standard::{HOST, Layout, Standard, authorization};
use crate::support::tokens::{claims, good, merged, now, signed};
use crate::support::upstream::{Reply, Step};
use crate::support::{eventually, h2};

const BROWSER: &str =
    "Accept: text/html,application/xhtml+xml;q=0.9\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
const NO_FURTHER: &str = "";

/// Routes that refuse in every way there is.
fn layout() -> Layout {
    let route = |name: &str, access: &str, more: &str| {
        format!(
            "  - {{ name: {name}, match: {{ hosts: [{HOST}], path: /{name}/** {more} }}, upstream: echo, access: {access} }}\n"
        )
    };
    let bearer = |rule: &str| format!("{{ bearer: {{ issuers: [corp], {rule} }} }}");
    Layout {
        routes: route("claims", &bearer("claims: { tenant: acme, groups: { contains: staff } }"), "")
            + &route("policy", &bearer("policy: 'claims.tenant == request.headers[\"x-tenant\"]'"), "")
            + &route("step-up", &bearer("step_up: { acr: [gold], max_age: 10m }"), "")
            + &route("any", &bearer("any_scope: [one, two]"), "")
            + &route("all", &bearer("scopes: [one, two]"), "")
            + &route("optional", &bearer("scopes: [read], optional: true"), "")
            + &route("method", "public", ", methods: [GET, POST]")
            + &route("limits", "public", ""),
        ..Layout::default()
    }
}

/// A refusal as the table has it.
struct Refusal<'a> {
    method: &'a str,
    target: &'a str,
    lines: String,
    status: u16,
    /// The gRPC status that goes with it.
    code: &'a str,
    reason: &'a str,
}

fn refusals() -> Vec<Refusal<'static>> {
    let refusal =
        |method, target, lines: String, status, code, reason| Refusal { method, target, lines, status, code, reason };
    let token = |changes: Value| {
        format!("Authorization: Bearer {}\r\n", signed(&ring().rsa, merged(&claims("read"), &changes)))
    };
    let read = authorization("read");
    let expired = token(json!({ "exp": now() - 3600 }));
    vec![
        refusal("GET", "/api/x", String::new(), 401, "16", "credential.missing"),
        refusal("GET", "/api/x?access_token=a.b.c", String::new(), 401, "16", "credential.missing"),
        refusal("GET", "/api/x", "Authorization: Basic Zm9vOmJhcg==\r\n".to_owned(), 401, "16", "credential.missing"),
        refusal("GET", "/api/x", "Authorization: Bearer garbage\r\n".to_owned(), 401, "16", "token.malformed"),
        refusal("GET", "/api/x", expired, 401, "16", "token.expired"),
        refusal("GET", "/api/x", token(json!({ "nbf": now() + 3600 })), 401, "16", "token.not_yet_valid"),
        refusal("GET", "/api/x", token(json!({ "iss": "https://evil.test" })), 401, "16", "token.issuer"),
        refusal("GET", "/api/x", token(json!({ "aud": "other" })), 401, "16", "token.audience"),
        refusal("GET", "/api/x", token(json!({ "exp": null })), 401, "16", "token.claims"),
        refusal("GET", "/api/x", token(json!({ "at_hash": "x" })), 401, "16", "token.not_access"),
        refusal("GET", "/api/x", token(json!({ "cnf": { "jkt": "x" } })), 401, "16", "token.bound"),
        refusal("GET", "/api/x", "Authorization: Bearer\r\n".to_owned(), 400, "3", "credential.malformed"),
        refusal("GET", "/api/x", format!("{read}{read}"), 400, "3", "credential.repeated"),
        refusal("GET", "/api/x?access_token=x", read.clone(), 400, "3", "credential.repeated"),
        refusal("GET", "/admin/x", read.clone(), 403, "7", "scope.missing"),
        refusal("POST", "/any/x", read.clone(), 403, "7", "scope.missing"),
        refusal(
            "GET",
            "/claims/x",
            token(json!({ "tenant": "other", "groups": ["staff"] })),
            403,
            "7",
            "claims.mismatch",
        ),
        refusal(
            "GET",
            "/claims/x",
            token(json!({ "tenant": "acme", "groups": ["guests"] })),
            403,
            "7",
            "claims.mismatch",
        ),
        refusal("GET", "/claims/x", read.clone(), 403, "7", "claims.mismatch"),
        refusal(
            "GET",
            "/policy/x",
            token(json!({ "tenant": "acme" })) + "X-Tenant: other\r\n",
            403,
            "7",
            "policy.denied",
        ),
        refusal("GET", "/policy/x", token(json!({ "tenant": "acme" })), 403, "7", "policy.error"),
        refusal("GET", "/step-up/x", token(json!({ "acr": "silver", "auth_time": now() })), 401, "16", "step_up.acr"),
        refusal(
            "GET",
            "/step-up/x",
            token(json!({ "acr": "gold", "auth_time": now() - 3600 })),
            401,
            "16",
            "step_up.age",
        ),
        refusal("GET", "/optional/x", "Authorization: Bearer garbage\r\n".to_owned(), 401, "16", "token.malformed"),
        refusal("GET", "/nowhere", String::new(), 404, "12", "route.none"),
        refusal("GET", "/", read.clone(), 404, "12", "route.none"),
        refusal("DELETE", "/method/x", read, 405, "12", "route.method"),
    ]
}

/// The last line of the access log about a request.
async fn access_line(standard: &Standard, request_id: &str) -> Value {
    eventually("a line in the access log", raw::PATIENCE, || {
        standard.gateway.access().into_iter().find(|line| line["request_id"] == request_id)
    })
    .await
}

fn id(answer: &Answer) -> &str {
    answer.value("x-request-id").expect("a request id on every answer")
}

#[tokio::test]
async fn a_program_gets_a_problem_and_the_log_the_reason() {
    let standard = Standard::start_with(layout()).await;
    for Refusal { method, target, lines, status, reason, .. } in refusals() {
        let answer = standard.send(method, target, &lines).await;
        let about = format!("{method} {target} {reason}");
        assert_eq!(answer.status, status, "{about}");
        assert_eq!(answer.value("content-type"), Some("application/problem+json"), "{about}");
        assert_eq!(answer.values("cache-control"), ["no-store"], "{about}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{about}");
        assert_eq!(problem["request_id"], id(&answer), "{about}");
        assert!(problem["title"].is_string() && problem["type"].is_string(), "{about}");
        assert!(!answer.text().contains(reason), "{about}: the reason is for the log");
        let line = access_line(&standard, id(&answer)).await;
        assert_eq!((&line["reason"], &line["status"]), (&json!(reason), &json!(status)), "{about}");
        assert!(line["upstream"].is_null(), "{about}");
        assert!(standard.saw_nothing(), "{about}");
    }
}

#[tokio::test]
async fn a_browser_gets_a_page_that_says_as_little() {
    let standard = Standard::start_with(layout()).await;
    for Refusal { method, target, lines, status, reason, .. } in refusals() {
        if method == "DELETE" {
            continue;
        }
        let answer = standard.send(method, target, &format!("{BROWSER}{lines}")).await;
        let about = format!("{method} {target} {reason}");
        assert_eq!(answer.status, status, "{about}: never a redirect on a bearer route");
        assert!(answer.value("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{about}");
        assert_eq!(answer.values("cache-control"), ["no-store"], "{about}");
        let page = answer.text();
        assert!(page.contains(id(&answer)) && !page.contains(reason), "{about}: {page}");
        assert!(!page.contains("<script src") && !page.contains("http://"), "{about}: a page needs nothing else");
        assert!(standard.saw_nothing(), "{about}");
    }
}

#[tokio::test]
async fn a_grpc_client_gets_its_own_status() {
    let standard = Standard::start_with(layout()).await;
    let mut connection = h2::connect(standard.address()).await;
    for Refusal { method, target, lines, code, reason, .. } in refusals() {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{HOST}{target}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for line in lines.lines() {
            let (name, value) = line.split_once(':').expect("a field");
            request = request.header(name, value.trim());
        }
        let answer = h2::ask(&mut connection, request.body(Full::<Bytes>::default()).unwrap()).await;
        let about = format!("{method} {target} {reason}");
        assert_eq!(answer.status, 200, "{about}");
        assert_eq!(answer.value("content-type"), Some("application/grpc"), "{about}");
        assert_eq!(answer.value("grpc-status"), Some(code), "{about}: trailers-only");
        assert!(answer.body.is_empty() && answer.value("x-request-id").is_some(), "{about}");
        assert!(standard.saw_nothing(), "{about}");
    }
}

#[tokio::test]
async fn challenges_tell_a_client_what_to_do() {
    let standard = Standard::start_with(layout()).await;
    let challenge = async |target: &str, lines: &str| {
        let answer = standard.send("GET", target, lines).await;
        answer.values("www-authenticate").join("|")
    };
    let missing = challenge("/api/x", NO_FURTHER).await;
    assert!(missing.starts_with("Bearer realm=\"") && missing.contains("resource_metadata=\"http"), "{missing}");
    assert!(!missing.contains("error"), "{missing}");
    let read = authorization("read");
    let scope = challenge("/all/x", &authorization("one")).await;
    assert!(scope.contains("error=\"insufficient_scope\"") && scope.contains("scope=\"one two\""), "{scope}");
    let stale = format!(
        "Authorization: Bearer {}\r\n",
        signed(&ring().rsa, merged(&claims("read"), &json!({ "acr": "gold", "auth_time": now() - 3600 })))
    );
    let age = challenge("/step-up/x", &stale).await;
    assert!(age.contains("error=\"insufficient_user_authentication\"") && age.contains("max_age="), "{age}");
    let acr = challenge("/step-up/x", &read).await;
    assert!(acr.contains("insufficient_user_authentication") && acr.contains("acr_values=\"gold\""), "{acr}");
    let policy = challenge("/policy/x", &read).await;
    assert!(!policy.contains("insufficient_scope"), "a policy is no scope: {policy}");
}

/// RFC 9728: where the challenge points, the client learns which issuers and scopes there are.
#[tokio::test]
async fn the_metadata_that_a_challenge_points_to_is_there() {
    let standard = Standard::start_with(layout()).await;
    let answer = standard.get("/api/x", None).await;
    let challenge = answer.value("www-authenticate").expect("a challenge").to_owned();
    let address =
        challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    let path = address.splitn(4, '/').nth(3).map(|path| format!("/{path}")).expect("a path");
    assert!(path.starts_with("/.well-known/oauth-protected-resource"), "{address}");
    let metadata = standard.get(&path, None).await;
    assert_eq!((metadata.status, metadata.value("content-type")), (200, Some("application/json")));
    let document = metadata.json();
    assert_eq!(document["authorization_servers"], json!(["https://issuer.test"]));
    let scopes = document["scopes_supported"].as_array().expect("scopes");
    assert!(scopes.contains(&json!("read")) && scopes.contains(&json!("admin")), "{document}");
    assert_eq!(document["bearer_methods_supported"], json!(["header"]));
    assert!(standard.saw_nothing());
}

#[tokio::test]
async fn what_may_pass_passes_with_its_identity() {
    let standard = Standard::start_with(layout()).await;
    let token = |changes: Value| {
        format!("Authorization: Bearer {}\r\n", signed(&ring().rsa, merged(&claims("read"), &changes)))
    };
    for (method, target, lines, user) in [
        ("GET", "/public/x", String::new(), None),
        ("GET", "/api/x", authorization("read"), Some("alice")),
        ("GET", "/admin/x", authorization("admin"), Some("alice")),
        ("GET", "/any/x", authorization("two"), Some("alice")),
        ("GET", "/any/x", authorization("one three"), Some("alice")),
        ("GET", "/all/x", authorization("two one"), Some("alice")),
        ("GET", "/claims/x", token(json!({ "tenant": "acme", "groups": ["a", "staff"] })), Some("alice")),
        ("GET", "/policy/x", token(json!({ "tenant": "acme" })) + "X-Tenant: acme\r\n", Some("alice")),
        ("GET", "/step-up/x", token(json!({ "acr": "gold", "auth_time": now() - 60 })), Some("alice")),
        ("GET", "/optional/x", String::new(), None),
        ("GET", "/optional/x", authorization("read"), Some("alice")),
        ("GET", "/method/x", String::new(), None),
        ("HEAD", "/method/x", String::new(), None),
        ("POST", "/method/x", String::new(), None),
    ] {
        let answer = standard.send(method, target, &lines).await;
        assert_eq!((answer.status, answer.value("x-upstream")), (200, Some("echo")), "{method} {target}");
        let seen = standard.seen();
        assert_eq!(seen.len(), 1, "{method} {target}");
        assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), (method, target));
        assert_eq!(seen[0].value("x-forwarded-user"), user, "{method} {target}");
        assert_eq!(seen[0].value("authorization"), None, "{method} {target}");
        assert_eq!(seen[0].flaw, None, "{method} {target}");
    }
}

#[tokio::test]
async fn a_method_that_no_route_takes_is_told_which_do() {
    let standard = Standard::start_with(layout()).await;
    for method in ["DELETE", "PUT", "PATCH", "OPTIONS", "FOO"] {
        let answer = standard.send(method, "/method/x", NO_FURTHER).await;
        assert_eq!(answer.status, 405, "{method}");
        let mut allowed: Vec<_> = answer.value("allow").unwrap_or_default().split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "POST"], "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = standard.send(method, "/public/x", NO_FURTHER).await;
        assert!(matches!(answer.status, 400 | 405), "{method}: {}", answer.status);
    }
    assert!(standard.saw_nothing());
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whoever_gives_it() {
    let standard = Standard::start_with(layout()).await;
    for (target, status) in [("/public/x", 200), ("/api/x", 401), ("/nowhere", 404)] {
        let head = format!("HEAD {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let mut connection = Connection::open(standard.address()).await.expect_no_bodies();
        connection.send(head.as_bytes()).await;
        let talk = connection.read(Until::End).await;
        assert_eq!((talk.statuses(), talk.rest.len()), (vec![status], 0), "{target}");
    }
}

/// Limits, each with its own status; what is just within passes.
#[tokio::test]
async fn every_limit_has_its_status() {
    let mut layout = layout();
    layout.server.push_str("  limits: { header_timeout: 1s, body_timeout: 1s, request_body: 10KiB }\n");
    let standard = Standard::start_with(layout).await;
    let long = |length: usize| "a".repeat(length);
    for (about, target, lines, status) in [
        ("a target within 8 KiB", format!("/limits/{}", long(8000)), String::new(), 200),
        ("a target over 8 KiB", format!("/limits/{}", long(8200)), String::new(), 414),
        ("a query over 8 KiB", format!("/limits/x?{}", long(8200)), String::new(), 414),
        ("a target of 64 KiB", format!("/limits/{}", long(65_536)), String::new(), 414),
        ("a field within 16 KiB", "/limits/x".to_owned(), format!("X: {}\r\n", long(16_000)), 200),
        ("a field over 16 KiB", "/limits/x".to_owned(), format!("X: {}\r\n", long(17_000)), 431),
        ("fields over 64 KiB together", "/limits/x".to_owned(), format!("X: {}\r\n", long(14_000)).repeat(5), 431),
        ("90 fields", "/limits/x".to_owned(), "X: y\r\n".repeat(90), 200),
        ("120 fields", "/limits/x".to_owned(), "X: y\r\n".repeat(120), 431),
        ("20,000 fields", "/limits/x".to_owned(), "X: y\r\n".repeat(20_000), 431),
        ("a field of 1 MiB", "/limits/x".to_owned(), format!("X: {}\r\n", long(1 << 20)), 431),
        ("a field name of 20 KiB", "/limits/x".to_owned(), format!("{}: y\r\n", long(20_000)), 431),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        let mut connection = Connection::open(standard.address()).await;
        connection.send(request.as_bytes()).await;
        let talk = connection.read(Until::Answers(1)).await;
        // A gateway that stops reading may have its last words lost by a reset; that is no pass.
        let cut = status != 200 && talk.statuses().is_empty() && talk.ending == Ending::Reset;
        assert!(talk.statuses() == [status] || cut, "{about}: {:?}, {:?}", talk.statuses(), talk.ending);
        assert_eq!(standard.seen().len(), usize::from(status == 200), "{about}");
    }
}

#[tokio::test]
async fn a_body_over_its_limit_never_arrives_whole() {
    let mut layout = layout();
    layout.server.push_str("  limits: { request_body: 10KiB }\n");
    let standard = Standard::start_with(layout).await;
    let body = "a".repeat(10_241);
    let head = format!("POST /limits/x HTTP/1.1\r\nHost: {HOST}\r\n");
    let announced = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(raw::talk(standard.address(), announced.as_bytes(), Until::End).await.statuses(), [413]);
    assert!(standard.saw_nothing(), "an announced length is judged before anything is sent on");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let talk = raw::talk(standard.address(), chunked.as_bytes(), Until::End).await;
    assert!(matches!(talk.statuses()[..], [413] | []), "{:?}", talk.statuses());
    assert!(standard.seen().iter().all(|seen| !seen.whole));
    let fits = format!("{head}Connection: close\r\nContent-Length: 10240\r\n\r\n{}", "a".repeat(10_240));
    assert_eq!(raw::talk(standard.address(), fits.as_bytes(), Until::End).await.statuses(), [200]);
}

#[tokio::test]
async fn slow_clients_are_given_up() {
    let mut layout = layout();
    layout.server.push_str("  limits: { header_timeout: 1s, body_timeout: 1s, idle_timeout: 1s }\n");
    let standard = Standard::start_with(layout).await;
    let head = format!("POST /limits/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\n");
    for (about, sent, statuses) in [
        ("no byte at all", "", &[][..]),
        ("half a request line", "GET /limits", &[408]),
        ("half a head", "GET /limits/x HTTP/1.1\r\nHost: gw.test\r\nX:", &[408]),
        ("half a body", &format!("{head}hello"), &[408, 400]),
    ] {
        let talk = raw::talk(standard.address(), sent.as_bytes(), Until::End).await;
        assert_ne!(talk.ending, Ending::Open, "{about}");
        let told = talk.statuses();
        assert!(told.is_empty() || statuses.contains(&told[0]), "{about}: {told:?}");
    }
    assert!(standard.seen().iter().all(|seen| !seen.whole));
}

/// The upstream fails: 502 and 504, and the connection to the client lives on.
#[tokio::test]
async fn a_failing_upstream_is_a_bad_gateway() {
    let mut layout = layout();
    layout.upstream = ", timeouts: { connect: 1s, response_header: 1s }, retries: 0".to_owned();
    let standard = Standard::start_before(layout, |seen| match seen.target.as_str() {
        "/public/closes" => Reply::Script(vec![Step::Close]),
        "/public/resets" => Reply::Script(vec![Step::Reset]),
        "/public/nonsense" => Reply::Script(vec![Step::send("SSH-2.0-OpenSSH_9.9\r\n\r\n"), Step::Close]),
        "/public/half-head" => Reply::Script(vec![Step::send("HTTP/1.1 200 OK\r\nContent-Le"), Step::Close]),
        "/public/hangs" => Reply::Script(vec![Step::Hang]),
        _ => Reply::Echo,
    })
    .await;
    let mut connection = Connection::open(standard.address()).await;
    for (target, status, reason) in [
        ("/public/closes", 502, "upstream.reset"),
        ("/public/resets", 502, "upstream.reset"),
        ("/public/nonsense", 502, "upstream.protocol"),
        ("/public/half-head", 502, "upstream.reset"),
        ("/public/hangs", 504, "upstream.timeout"),
        ("/public/fine", 200, ""),
    ] {
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{target}");
        let line = access_line(&standard, id(&answer)).await;
        assert_eq!(line["reason"].as_str().unwrap_or(""), reason, "{target}");
    }
    assert_eq!(connection.ending(), Ending::Open);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_bad_gateway() {
    let mut standard = Standard::start_with(layout()).await;
    standard.upstream.go_down().await;
    let answer = standard.get("/public/x", None).await;
    assert_eq!(answer.status, 502);
    assert_eq!(access_line(&standard, id(&answer)).await["reason"], "upstream.unreachable");
    assert_eq!(standard.get("/api/x", None).await.status, 401, "who may not pass learns nothing of the upstream");
    standard.upstream.come_back().await;
    assert_eq!(standard.get("/public/x", None).await.status, 200);
}

/// A full queue is a 503 that says when to come back.
#[tokio::test]
async fn a_full_queue_is_unavailable() {
    let mut layout = layout();
    layout.server = "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 1\n".to_owned();
    layout.upstream = ", connections: 1, queue: 1".to_owned();
    let gate = Arc::new(Semaphore::new(0));
    let script =
        Reply::Script(vec![Step::Await(gate.clone()), Step::send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
    let standard = Standard::start_before(layout, move |_| script.clone()).await;
    let ask = || raw::request(standard.address(), "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n");
    let (mut statuses, waiting) = (Vec::new(), async { futures_util::future::join_all((0..5).map(|_| ask())).await });
    let release = async {
        eventually("one request is upstream", raw::PATIENCE, || (!standard.upstream.seen().is_empty()).then_some(()))
            .await;
        // The refused ones do not wait for this.
        eventually("three are refused", raw::PATIENCE, || {
            (standard.gateway.access().iter().filter(|line| line["reason"] == "upstream.queue_full").count() >= 3)
                .then_some(())
        })
        .await;
        gate.add_permits(5);
    };
    let (answers, ()) = tokio::join!(waiting, release);
    for answer in &answers {
        statuses.push(answer.status);
        assert!(answer.status == 200 || answer.value("retry-after").is_some());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503]);
}

/// Refusals are counted by reason and route.
#[tokio::test]
async fn refusals_are_counted() {
    let standard = Standard::start_with(layout()).await;
    for _ in 0..3 {
        standard.get("/api/x", None).await;
    }
    standard.get("/api/x", Some(&good("read"))).await;
    let metrics = raw::get(standard.gateway.admin, "localhost", "/metrics").await.text();
    let refused: Vec<_> =
        metrics.lines().filter(|line| line.contains("credential.missing") && line.contains("api")).collect();
    assert!(refused.iter().any(|line| line.ends_with(" 3")), "{refused:?}");
    assert!(
        metrics.lines().any(|line| line.contains("\"api\"") && line.contains("200") && line.ends_with(" 1")),
        "{metrics}"
    );
}
