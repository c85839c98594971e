//! T15 to T24 and R1 to R16: which bearer tokens pass, and that nothing else does. The list is data; each token on it is
//! wrong in one way, or right.

mod forge;
mod memory;

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use self::forge::{Signer, filled, segments};
use crate::support::corpus::{Failures, bytes, groups};
use crate::support::keys::{ring, weak};
use crate::support::raw::{self, Answer, Talk, Until};
use crate::support::standard::{HOST, Standard, get};
use crate::support::tokens::{claims, compact, good, merged, now};
use crate::support::upstream::Upstream;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    promise: String,
    tag: String,
    status: Vec<u16>,
    /// The `error` of the challenge; empty when it must have none.
    error: Option<String>,
    #[serde(default = "api")]
    path: String,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default = "rsa")]
    sign: Vec<String>,
    #[serde(default = "right")]
    signatures: Vec<String>,
    #[serde(default = "right")]
    encodings: Vec<String>,
    #[serde(default)]
    headers: Vec<Value>,
    #[serde(default)]
    header_texts: Vec<String>,
    #[serde(default)]
    payloads: Vec<Value>,
    #[serde(default)]
    payload_texts: Vec<String>,
    #[serde(default)]
    payload_latin1: Vec<String>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default = "one_line")]
    lines: Vec<String>,
}

fn api() -> String {
    "/api/x".to_owned()
}

fn rsa() -> Vec<String> {
    vec!["rsa:RS256".to_owned()]
}

fn right() -> Vec<String> {
    vec!["right".to_owned()]
}

const ONE_LINE: &str = "Authorization: Bearer {token}";

fn one_line() -> Vec<String> {
    vec![ONE_LINE.to_owned()]
}

#[derive(Debug)]
struct Case {
    number: usize,
    name: String,
    request: Vec<u8>,
    token: String,
    status: Vec<u16>,
    error: Option<String>,
}

/// How a segment of the list is told in a failure.
type Written = (String, Vec<u8>);

/// The JSON of a segment: the base with changes, or a text as it stands.
fn written(base: &Value, changes: &[Value], texts: &[String], latin1: &[String], trap: u16) -> Vec<Written> {
    let now = now();
    let time = |text: &String| text.replace("{now+300}", &(now + 300).to_string());
    let mut all: Vec<Written> = Vec::new();
    for change in changes {
        // A member that is null is removed; one that shall be null says so.
        let value = merged_then_filled(base, change, now, trap);
        all.push((change.to_string(), value.to_string().into_bytes()));
    }
    all.extend(texts.iter().map(|text| (text.clone(), time(text).into_bytes())));
    all.extend(latin1.iter().map(|text| (text.clone(), bytes(&time(text)))));
    if all.is_empty() {
        all.push(("as usual".to_owned(), base.to_string().into_bytes()));
    }
    all
}

fn merged_then_filled(base: &Value, change: &Value, now: i64, trap: u16) -> Value {
    filled(&merged(base, change), now, trap)
}

/// Every token of a group, with how it came about.
fn tokens_of(group: &Group, trap: u16) -> Vec<(String, String)> {
    let mut tokens = Vec::new();
    for sign in &group.sign {
        let signer = Signer::named(sign);
        let header = json!({ "alg": signer.algorithm, "typ": "at+jwt", "kid": signer.kid });
        for (header_name, header) in written(&header, &group.headers, &group.header_texts, &[], trap) {
            let payloads = written(&claims("read"), &group.payloads, &group.payload_texts, &group.payload_latin1, trap);
            for (payload_name, payload) in payloads {
                for encoding in &group.encodings {
                    let (h, p) = segments(encoding, &header, &payload);
                    for signature in &group.signatures {
                        let s = signer.segment(signature, format!("{h}.{p}").as_bytes());
                        let name = format!(
                            "{sign}, header {header_name}, payload {payload_name}, {encoding}, signature {signature}"
                        );
                        if group.tokens.is_empty() {
                            tokens.push((name, format!("{h}.{p}.{s}")));
                            continue;
                        }
                        for form in &group.tokens {
                            let token = form.replace("{h}", &h).replace("{p}", &p).replace("{s}", &s);
                            tokens.push((format!("{form}, {name}"), token));
                        }
                    }
                }
            }
        }
    }
    tokens
}

fn cases(trap: u16) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for group in groups::<Group>(include_str!("../corpus/tokens.json")) {
        let usual = group.lines == [ONE_LINE];
        let paths = if group.paths.is_empty() { std::slice::from_ref(&group.path) } else { &group.paths };
        for (name, token) in tokens_of(&group, trap) {
            for path in paths {
                for line in &group.lines {
                    let number = cases.len();
                    let path = path.replace("{token}", &token);
                    let head =
                        format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nX-Case: {number}\r\n");
                    let mut request = head.into_bytes();
                    if !line.is_empty() {
                        request.extend(bytes(&format!("{line}\r\n").replace("{token}", &token)));
                    }
                    request.extend(b"\r\n");
                    let how = if usual { &name } else { line };
                    let shown: String = how.chars().take(400).collect();
                    cases.push(Case {
                        number,
                        name: format!("{} ({}): {shown}", group.promise, group.tag),
                        request,
                        token: token.clone(),
                        status: group.status.clone(),
                        error: group.error.clone(),
                    });
                }
            }
        }
    }
    cases
}

/// What the answer must say besides its status (RFC 6750 section 3; contract, section 6).
fn objection(case: &Case, answer: &Answer) -> Option<String> {
    let status = answer.status;
    if !case.status.contains(&status) {
        return Some(format!("{status} instead of {:?}", case.status));
    }
    if status == 200 {
        return None;
    }
    let challenge = answer.values("www-authenticate").join(", ");
    let expected = match (&case.error, status) {
        (Some(error), _) => error.as_str(),
        (None, 401) => "invalid_token",
        (None, 403) => "insufficient_scope",
        (None, _) => "invalid_request",
    };
    let told = challenge.contains("error=\"");
    // Where the list allows a refusal for either reason, the challenge may be of either kind.
    let open = case.error.is_none() && case.status.contains(&400) && case.status.contains(&401);
    if !open && (told == expected.is_empty() || !challenge.contains(expected)) {
        return Some(format!("{status} with the challenge {challenge:?} instead of {expected:?}"));
    }
    if status == 401 && !(challenge.starts_with("Bearer ") && challenge.contains("resource_metadata=")) {
        return Some(format!("a challenge that does not lead on: {challenge:?}"));
    }
    if status == 403 && !challenge.contains("scope=\"") {
        return Some(format!("a challenge without the scope: {challenge:?}"));
    }
    if answer.value("cache-control") != Some("no-store") {
        return Some("an answer that a cache may keep".to_owned());
    }
    if answer.value("x-request-id").is_none() {
        return Some("an answer without a request id".to_owned());
    }
    if answer.value("content-type") != Some("application/problem+json") {
        return Some(format!("an answer of type {:?}", answer.value("content-type")));
    }
    let signature = case.token.rsplit('.').next().unwrap_or("");
    (signature.len() > 20 && answer.text().contains(signature)).then(|| "the answer repeats the token".to_owned())
}

/// The body of a refusal without what differs from request to request.
fn impersonal(answer: &Answer) -> Value {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    body
}

#[tokio::test]
async fn a_token_passes_only_if_everything_about_it_is_right() {
    let trap = Upstream::echo().await;
    let standard = Standard::start().await;
    let cases = cases(trap.address.port());
    let mut failures = Failures::default();
    let mut same_for_all: Option<Value> = None;
    let mut talks = futures_util::stream::iter(&cases).map(|case| ask(&standard, case)).buffer_unordered(16);
    let mut passed = Vec::new();
    while let Some((case, talk)) = talks.next().await {
        let finals = talk.finals();
        let Some(answer) = finals.first() else {
            failures.note(format!("no answer, {:?}: {}", talk.ending, case.name));
            continue;
        };
        if let Some(why) = objection(case, answer) {
            failures.note(format!("{why}: {}", case.name));
        }
        if answer.status == 200 {
            passed.push(case);
        }
        if answer.status == 401 && answer.value("www-authenticate").is_some_and(|told| told.contains("invalid_token")) {
            let body = impersonal(answer);
            let first = same_for_all.get_or_insert_with(|| body.clone());
            failures.check(body == *first, || format!("a body of its own, {body}: {}", case.name));
        }
    }
    drop(talks);
    let seen = standard.seen();
    for case in &cases {
        let number = case.number.to_string();
        let came: Vec<_> = seen.iter().filter(|request| request.value("x-case") == Some(&number)).collect();
        let expected = usize::from(passed.iter().any(|passed| passed.number == case.number));
        failures.check(came.len() == expected, || format!("{} times upstream: {}", came.len(), case.name));
        for request in came {
            failures.check(request.flaw.is_none(), || format!("{:?} upstream: {}", request.flaw, case.name));
            failures.check(request.values("authorization").is_empty(), || format!("the token went on: {}", case.name));
            let users = request.folded("x-forwarded-user");
            let plain = !case.name.contains("\"sub\"");
            failures.check(!plain || users == ["alice"], || format!("{users:?} upstream: {}", case.name));
        }
    }
    assert_eq!(trap.connections(), 0, "a token made the gateway call an address");
    no_token_in(&standard, cases.iter().map(|case| case.token.as_str()));
    failures.report(cases.len(), 1150);
}

async fn ask<'a>(standard: &Standard, case: &'a Case) -> (&'a Case, Talk) {
    (case, raw::talk(standard.address(), &case.request, Until::Answers(1)).await)
}

/// T38: nothing that could be used again stands in a log.
fn no_token_in<'a>(standard: &Standard, tokens: impl Iterator<Item = &'a str>) {
    let access: String = standard.gateway.access().iter().map(Value::to_string).collect();
    let log = standard.gateway.log();
    for token in tokens {
        let signature = token.rsplit('.').next().unwrap_or("");
        // Short strings of the list stand in the log for other reasons.
        if signature.len() > 20 {
            assert!(!log.contains(signature) && !access.contains(signature), "a token is in the log: {token}");
        }
    }
}

/// RSA keys of less than 2048 bits verify nothing (RFC 7518 section 3.3), although this signature is right.
#[tokio::test]
async fn a_weak_key_verifies_nothing() {
    let standard = Standard::start().await;
    let token = weak()["token"].as_str().expect("a token");
    assert_eq!(standard.get("/api/x", Some(token)).await.status, 401);
    assert!(standard.saw_nothing());
}

/// T21: monsters are refused quickly, and the next request is served.
#[tokio::test]
async fn monstrous_tokens_are_refused_at_once() {
    let standard = Standard::start().await;
    let sign = |header: String, payload: String| compact(header, payload, |input| ring().rsa.sign("RS256", input));
    let header = r#"{"alg":"RS256","kid":"rsa"}"#.to_owned();
    let payload = claims("read").to_string();
    let member = |value: String| format!("{},\"x\":{value}}}", payload.trim_end_matches('}'));
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let monsters = [
        ("a megabyte", "a".repeat(1 << 20)),
        ("a megabyte of JWT", sign(header.clone(), member(format!("\"{}\"", "a".repeat(700_000))))),
        ("just over the limit", sign(header.clone(), member(format!("\"{}\"", "a".repeat(13_000))))),
        ("5000 dots", ".".repeat(5000)),
        ("5000 segments", ["e30"; 5000].join(".")),
        ("nested arrays", sign(header.clone(), member(nested("[", "]", 5000)))),
        ("nested objects", sign(header.clone(), member(format!("{}1{}", r#"{"a":"#.repeat(1500), "}".repeat(1500))))),
        (
            "nested header",
            sign(format!(r#"{{"alg":"RS256","kid":"rsa","x":{}}}"#, nested("[", "]", 5000)), payload.clone()),
        ),
        ("open brackets", sign("[".repeat(8000), payload.clone())),
        ("a number of 6000 digits", sign(header.clone(), member("9".repeat(6000)))),
        (
            "an exp of 6000 digits",
            sign(header.clone(), payload.replace("\"exp\":", &format!("\"exp\":{}", "9".repeat(6000)))),
        ),
        ("a fraction of 6000 digits", sign(header.clone(), member(format!("0.{}", "1".repeat(6000))))),
        ("an exponent of 6000 digits", sign(header.clone(), member(format!("1e{}", "9".repeat(6000))))),
        (
            "many members",
            sign(
                header.clone(),
                member(format!("{{{}}}", (0..900).map(|n| format!("\"{n}\":1")).collect::<Vec<_>>().join(","))),
            ),
        ),
        ("many equal members", sign(header.clone(), member(format!("{{{}}}", vec!["\"a\":1"; 1500].join(","))))),
        ("escapes", sign(header, member(format!("\"{}\"", "\\u0041".repeat(1500))))),
    ];
    for (name, token) in monsters {
        let started = Instant::now();
        let talk = raw::talk(standard.address(), get("/api/x", Some(&token)).as_bytes(), Until::Answers(1)).await;
        let took = started.elapsed();
        // Within the limits and well-formed is no monster; what counts is that it is judged quickly.
        let harmless =
            matches!(name, "many members" | "escapes" | "a fraction of 6000 digits") && talk.statuses() == [200];
        let refused = matches!(talk.statuses()[..], [400 | 401 | 413 | 431] | []);
        assert!(refused || harmless, "{name}: {:?}", talk.statuses());
        assert!(took < Duration::from_secs(1), "{name} took {took:?}");
        assert_eq!(standard.get("/api/next", Some(&good("read"))).await.status, 200, "after {name}");
    }
    let targets: Vec<_> =
        standard.seen().into_iter().map(|seen| seen.target).filter(|target| target == "/api/x").collect();
    assert!(targets.len() <= 3, "{targets:?}");
}
