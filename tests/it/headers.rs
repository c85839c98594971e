//! T5, T6, T8, T9: header fields that belong to the gateway are its own on every route, in every spelling, and cannot be
//! named away; hop-by-hop fields stay on their hop.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

use crate::support::corpus::{Failures, groups};
use crate::support::keys::ring;
use crate::support::raw::{self, Answer};
use crate::support::standard::{HOST, Layout, Standard, authorization};
use crate::support::tokens::{claims, good, merged, signed};
use crate::support::upstream::{Reply, Seen, Step};

/// What a client writes into a field that is not its own.
const SPOOF: &str = "spoofed-root";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    family: String,
    names: Vec<String>,
}

/// A route with more identity than the default, whose names are owned everywhere.
fn layout() -> Layout {
    Layout {
        routes: format!(
            "  - name: named\n    match: {{ hosts: [{HOST}], path: /named/** }}\n    upstream: echo\n\
             \x20   access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }}\n\
             \x20   forward: {{ headers: {{ Remote-User: sub, X-Forwarded-Email: email, X-Forwarded-Groups: groups, Tenant: tenant }} }}\n"
        ),
        ..Layout::default()
    }
}

/// The spellings of a name that a back end may fold to the same variable.
fn spellings(name: &str) -> BTreeSet<String> {
    let mut spellings = BTreeSet::from([name.to_owned(), name.to_lowercase(), name.to_uppercase()]);
    for separator in ["_", ".", "-"] {
        spellings.insert(name.replace('-', separator));
        spellings.insert(name.to_lowercase().replace('-', separator));
        spellings.insert(name.to_uppercase().replace('-', separator));
        // Only the first, only the last.
        spellings.insert(name.replacen('-', separator, 1));
        if let Some((before, after)) = name.rsplit_once('-') {
            spellings.insert(format!("{before}{separator}{after}"));
        }
    }
    spellings.insert(name.replacen('-', "_", 1).replacen('-', ".", 1));
    spellings
}

/// Whether the upstream could take anything that the client wrote for the gateway's word.
fn objection(seen: &Seen, name: &str) -> Option<String> {
    let values = seen.folded(name);
    if values.iter().any(|value| value.contains(SPOOF)) {
        return Some(format!("the upstream saw the client's {name}: {values:?}"));
    }
    (values.len() > 1).then(|| format!("the upstream saw {name} more than once: {values:?}"))
}

#[tokio::test]
async fn owned_fields_are_the_gateways_own_on_every_route() {
    let standard = Standard::start_with(layout()).await;
    let token =
        signed(&ring().rsa, merged(&claims("read"), &json!({ "email": "alice@example.com", "tenant": "acme" })));
    let token = format!("Authorization: Bearer {token}\r\n");
    let mut cases = Vec::new();
    for group in groups::<Group>(include_str!("../corpus/headers.json")) {
        for name in &group.names {
            for spelling in spellings(name) {
                for (target, authorization) in
                    [("/public/x", ""), ("/public/x", &*token), ("/api/x", &token), ("/named/x", &token)]
                {
                    let once = format!("{spelling}: {SPOOF}\r\n");
                    let case = cases.len();
                    // The even ones once, the odd ones twice and with the honest spelling beside it.
                    let lines = if case % 2 == 0 { once } else { format!("{once}{name}: {SPOOF}\r\n{once}") };
                    let lines = format!("X-Case: {case}\r\n{lines}{authorization}");
                    let about = format!("{} as {spelling:?} on {target}", group.family);
                    cases.push((name.clone(), target, lines, about, !authorization.is_empty()));
                }
            }
        }
    }
    let mut failures = Failures::default();
    let send = |case: &(String, &'static str, String, String, bool)| {
        let (_, target, lines, about, _) = case.clone();
        let standard = &standard;
        async move { (standard.send("GET", target, &lines).await.status, about) }
    };
    let mut answers = futures_util::stream::iter(&cases).map(send).buffer_unordered(16);
    while let Some((status, about)) = answers.next().await {
        failures.check(status == 200, || format!("{about}: {status}"));
    }
    drop(answers);
    let seen = standard.seen();
    failures.check(seen.len() == cases.len(), || format!("{} of {} came through", seen.len(), cases.len()));
    for request in &seen {
        let case = request.value("x-case").and_then(|number| cases.get(number.parse::<usize>().ok()?));
        let (name, target, _, about, known) = case.expect("a case number");
        if let Some(why) = objection(request, name).or_else(|| request.flaw.clone()) {
            failures.note(format!("{about}: {why}"));
        }
        let user = if *target == "/named/x" { "remote-user" } else { "x-forwarded-user" };
        let expected: &[&str] = if *known && *target != "/public/x" { &["alice"] } else { &[] };
        let public = *target == "/public/x";
        let values = request.values(user);
        // On an open route nobody is identified; whether a token there is looked at is not this test's business.
        let right = values == expected || (public && values.is_empty());
        failures.check(right, || format!("{about}: {user} is {values:?}"));
    }
    failures.report(cases.len(), 1500);
}

/// Some back ends fold every byte that is not a letter or a digit, not only the three that are seen in the wild.
#[tokio::test]
async fn odd_separators_fold_to_nothing() {
    let standard = Standard::start().await;
    for separator in ["~", "!", "+", "|", "^", "*", "'", "&", "#", "$", "%", "`", "__", "--", "-_", "._"] {
        let name = format!("X{separator}Forwarded{separator}User");
        for lines in [format!("{name}: {SPOOF}\r\n"), format!("{name}: {SPOOF}\r\n{}", authorization("read"))] {
            standard.send("GET", "/public/x", &lines).await;
            for seen in standard.seen() {
                // A doubled separator is another name to every back end; the single ones are not.
                if separator.len() == 1 {
                    assert_eq!(objection(&seen, "X-Forwarded-User"), None, "{name}");
                }
            }
        }
    }
}

/// T6: `Connection` takes away what belongs to the hop, and nothing else.
#[tokio::test]
async fn connection_cannot_name_away_what_matters() {
    let standard = Standard::start_with(layout()).await;
    for options in [
        "keep-alive, x-forwarded-user, Authorization, Host, Content-Length",
        "close, X-Forwarded-User",
        "X-FORWARDED-USER",
        "x-forwarded-for, x-forwarded-proto, x-forwarded-host, forwarded, x-request-id",
        "authorization",
        "Authorization, authorization",
        "host",
        "content-length",
        "transfer-encoding",
        "content-length, transfer-encoding, host, authorization, x-forwarded-user, remote-user, cookie",
        "connection",
        "x_forwarded_user",
        ",,, x-forwarded-user,,",
        "x-forwarded-user\r\nConnection: authorization\r\nConnection: host",
    ] {
        let lines = format!("Connection: {options}\r\n{}Content-Length: 5\r\n", authorization("read"));
        let request = format!("POST /api/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\nhello");
        let answer = raw::request(standard.address(), &request).await;
        assert_eq!(answer.status, 200, "{options:?}: {}", answer.text());
        let seen = standard.seen();
        let [seen] = &seen[..] else { panic!("{options:?}: {} requests", seen.len()) };
        assert_eq!(seen.flaw, None, "{options:?}");
        assert_eq!(seen.values("x-forwarded-user"), ["alice"], "{options:?}");
        assert_eq!(seen.values("host"), [HOST], "{options:?}");
        assert_eq!(seen.body, b"hello", "{options:?}");
        assert_eq!(seen.values("x-forwarded-for").len(), 1, "{options:?}");
        assert_eq!(seen.values("x-forwarded-proto"), ["http"], "{options:?}");
        assert_eq!(seen.values("x-request-id").len(), 1, "{options:?}");
        assert_eq!(seen.values("authorization"), [] as [&str; 0], "the token stays here: {options:?}");
    }
}

/// `Connection: Authorization` must not turn a request with a token into one without, where the token is to be forwarded.
#[tokio::test]
async fn a_kept_authorization_stays_whatever_connection_says() {
    let layout = Layout {
        routes: format!(
            "  - name: kept\n    match: {{ hosts: [{HOST}], path: /kept/** }}\n    upstream: echo\n\
             \x20   access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }}\n    forward: {{ authorization: keep }}\n"
        ),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let token = good("read");
    let lines = format!("Connection: authorization, x-forwarded-user\r\nAuthorization: Bearer {token}\r\n");
    let request = format!("GET /kept/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    assert_eq!(raw::request(standard.address(), &request).await.status, 200);
    let seen = standard.seen();
    assert_eq!(seen[0].values("authorization"), [format!("Bearer {token}")]);
    assert_eq!(seen[0].values("x-forwarded-user"), ["alice"]);
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let standard = Standard::start().await;
    let lines = "Connection: X-Mine, x-yours\r\nX-Mine: a\r\nX-Yours: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                 TE: trailers, gzip\r\nProxy-Authorization: Basic Zm9v\r\nUpgrade: foo\r\nX-Kept: c\r\nCookie: d=e\r\nAccept: f\r\n";
    let request = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    assert_eq!(raw::request(standard.address(), &request).await.status, 200);
    let seen = standard.seen();
    for gone in ["x-mine", "x-yours", "keep-alive", "proxy-connection", "te", "proxy-authorization", "upgrade"] {
        assert_eq!(seen[0].values(gone), [] as [&str; 0], "{gone}");
    }
    for (kept, value) in [("x-kept", "c"), ("cookie", "d=e"), ("accept", "f")] {
        assert_eq!(seen[0].values(kept), [value], "{kept}");
    }
}

/// The same on the way back.
#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_stay_on_their_hop() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: a\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
                  Upgrade: foo\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Kept: e\r\nX-Kept: f\r\nContent-Length: 2\r\n\r\nok";
    let script = Reply::Script(vec![Step::send(answer)]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let answer = standard.get("/public/x", None).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for gone in ["x-mine", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.values(gone), [] as [&str; 0], "{gone}");
    }
    assert_eq!(answer.values("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.values("x-kept"), ["e", "f"]);
}

/// T8: a claim that the token does not have is no header, not the client's header.
#[tokio::test]
async fn a_missing_claim_is_a_missing_header() {
    let standard = Standard::start_with(layout()).await;
    for (changes, field) in [
        (json!({}), "X-Forwarded-Email"),
        (json!({}), "Tenant"),
        (json!({ "email": null }), "x-forwarded-email"),
        (json!({ "sub": null }), "Remote-User"),
        (json!({ "sub": null }), "remote_user"),
    ] {
        let token = signed(&ring().rsa, merged(&claims("read"), &changes));
        let lines = format!("{field}: {SPOOF}\r\nAuthorization: Bearer {token}\r\n");
        let status = standard.send("GET", "/named/x", &lines).await.status;
        let seen = standard.seen();
        // A token without `sub` may be refused as a whole; that is no pass either.
        assert!(status == 200 || (status == 401 && changes["sub"].is_null()), "{field}: {status}");
        for request in seen {
            assert_eq!(request.folded(field), [] as [&str; 0], "{field} with {changes}");
        }
    }
}

/// Claims become values as the contract says: lists joined, objects compact, non-ASCII escaped, no line breaks.
#[tokio::test]
async fn claims_become_header_values_without_surprise() {
    let standard = Standard::start_with(layout()).await;
    for (claim, value, expected) in [
        ("email", json!("a@example.com"), Some("a@example.com")),
        ("groups", json!(["staff", "shop"]), Some("staff,shop")),
        ("groups", json!([]), None),
        ("tenant", json!({ "id": 7, "name": "acme" }), Some(r#"{"id":7,"name":"acme"}"#)),
        ("tenant", json!(7), Some("7")),
        ("tenant", json!(true), Some("true")),
        ("tenant", json!(null), None),
        ("email", json!("j\u{fc}rgen"), Some("j%C3%BCrgen")),
    ] {
        let mut payload = claims("read");
        payload[claim] = value.clone();
        let token = signed(&ring().rsa, payload);
        let answer = standard.send("GET", "/named/x", &format!("Authorization: Bearer {token}\r\n")).await;
        assert_eq!(answer.status, 200, "{claim}: {value}");
        let field = match claim {
            "email" => "x-forwarded-email",
            "groups" => "x-forwarded-groups",
            _ => "tenant",
        };
        let seen = standard.seen();
        let got = seen[0].value(field).filter(|value| !value.is_empty());
        assert_eq!(got, expected, "{claim}: {value}");
    }
    for hostile in ["a\r\nX-Forwarded-User: root", "a\nb", "a\rb", "a\0b", "\r\n\r\nGET /admin/x HTTP/1.1\r\n\r\n"] {
        let mut payload = claims("read");
        payload["email"] = json!(hostile);
        let token = signed(&ring().rsa, payload);
        standard.send("GET", "/named/x", &format!("Authorization: Bearer {token}\r\n")).await;
        for seen in standard.seen() {
            assert_eq!(seen.flaw, None, "{hostile:?}");
            assert_eq!(seen.values("remote-user"), ["alice"], "{hostile:?}");
            assert_eq!(seen.values("x-forwarded-user"), [] as [&str; 0], "{hostile:?}");
            assert!(seen.values("x-forwarded-email").len() <= 1, "{hostile:?}");
        }
    }
}

/// T9: a preflight, a path without route and an error answer carry nothing of the client's into a back end.
#[tokio::test]
async fn refused_requests_and_preflights_carry_nothing_upstream() {
    let layout = Layout {
        routes: format!(
            "  - name: cors\n    match: {{ hosts: [{HOST}], path: /cors/** }}\n    upstream: echo\n\
             \x20   access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }}\n    preflight: forward\n"
        ),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let preflight = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n";
    let spoofed = format!("X-Forwarded-User: {SPOOF}\r\nX_Forwarded_User: {SPOOF}\r\n");

    let refused = standard.send("OPTIONS", "/api/x", &format!("{preflight}{spoofed}")).await;
    assert!(matches!(refused.status, 401 | 403 | 405), "a preflight is refused unless the route says otherwise");
    assert_eq!(standard.send("GET", "/nowhere", &spoofed).await.status, 404);
    assert_eq!(standard.send("GET", "/api/x", &spoofed).await.status, 401);
    // What only looks like a preflight needs a token like anything else.
    for lines in ["Origin: https://a.example.com\r\n", "Access-Control-Request-Method: PUT\r\n", ""] {
        assert_eq!(standard.send("OPTIONS", "/cors/x", lines).await.status, 401, "{lines:?}");
    }
    assert_eq!(standard.send("GET", "/cors/x", preflight).await.status, 401);
    assert!(standard.saw_nothing());

    assert_eq!(standard.send("OPTIONS", "/cors/x", &format!("{preflight}{spoofed}")).await.status, 200);
    let seen = standard.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].folded("x-forwarded-user"), [] as [&str; 0]);
    assert_eq!(seen[0].values("authorization"), [] as [&str; 0]);
}

/// Trusted proxies are nobody by default; where one is named, what it says is believed, and still never its identity.
#[tokio::test]
async fn forwarding_fields_are_believed_from_trusted_proxies_only() {
    let claims = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: given-by-proxy\r\nX-Forwarded-User: spoofed-root\r\n";
    let standard = Standard::start().await;
    let answer = standard.send("GET", "/public/x", claims).await;
    let seen = standard.seen();
    assert_eq!(seen[0].values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen[0].values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen[0].values("x-forwarded-host"), [HOST]);
    assert_eq!(seen[0].values("forwarded").len(), 1);
    assert_ne!(seen[0].values("x-request-id"), ["given-by-proxy"]);
    assert_eq!(seen[0].value("x-request-id"), answer.value("x-request-id"), "one id for both sides");

    let layout = Layout {
        server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  trusted_proxies: [127.0.0.0/8]\n".to_owned(),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let answer = standard.send("GET", "/public/x", claims).await;
    let seen = standard.seen();
    let chain = seen[0].values("x-forwarded-for");
    assert!(chain.len() == 1 && chain[0].starts_with("203.0.113.7"), "{chain:?}");
    assert_eq!(seen[0].values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen[0].values("x-request-id"), ["given-by-proxy"]);
    assert_eq!(answer.values("x-request-id"), ["given-by-proxy"]);
    assert_eq!(seen[0].folded("x-forwarded-user"), [] as [&str; 0]);
}

/// `traceparent` passes; every request has one id of its own.
#[tokio::test]
async fn a_trace_goes_on_and_every_request_has_its_own_id() {
    let standard = Standard::start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut ids = BTreeSet::new();
    for _ in 0..5 {
        let answer: Answer = standard.send("GET", "/public/x", &format!("traceparent: {trace}\r\n")).await;
        ids.extend(answer.value("x-request-id").map(str::to_owned));
        assert_eq!(standard.seen()[0].values("traceparent"), [trace]);
    }
    assert_eq!(ids.len(), 5);
}
