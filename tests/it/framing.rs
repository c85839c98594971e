//! T10 to T13: a message has one reading or is refused, and nothing that a client sends behind or inside a request
//! becomes a request of its own without being judged.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::support::corpus::{Failures, bytes, expand, groups};
use crate::support::raw::{self, Connection, Ending, Talk, Until};
use crate::support::standard::{HOST, Layout, Standard, authorization, get};
use crate::support::upstream::{Reply, Seen, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    /// One 400 and the end of the connection; the upstream sees nothing.
    Refused,
    /// The head was good, the body is not: the upstream never gets a whole request, the client never a success.
    Aborted,
    /// As many answers as there are requests, each request upstream once and whole.
    Passes,
    /// One reading or a refusal: nothing is smuggled, nothing malformed goes upstream.
    Either,
    /// The first answer has one of these statuses; the upstream sees nothing.
    Answers,
    /// Refused before its body was read: what stands in the body is not a request.
    RefusedBody,
    /// Refused or answered, not switched; what follows is judged for itself.
    Upgrade,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    promise: String,
    tag: String,
    expect: Expect,
    templates: Vec<String>,
    #[serde(default)]
    with: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    statuses: Vec<u16>,
    /// The head cannot be parsed: a close without an answer is as good as a 400.
    #[serde(default)]
    or_close: bool,
    #[serde(default)]
    or_refused: bool,
    /// The client sends nothing more, and says so.
    #[serde(default)]
    half_close: bool,
    #[serde(default)]
    finals: usize,
    /// What the upstream must see as the body of the last request.
    #[serde(default)]
    body: Option<String>,
}

#[derive(Debug)]
struct Case {
    id: String,
    group: Group,
    message: Vec<u8>,
    /// Requests that stand behind the first one in the open, not in its body.
    behind: usize,
}

impl Case {
    fn name(&self) -> String {
        let shown: String = self.message.escape_ascii().to_string().chars().take(300).collect();
        format!("{} ({}): {shown}", self.group.promise, self.group.tag)
    }
}

const SMUGGLED: &str = "GET /admin/{id} HTTP/1.1\r\nHost: gw.test\r\n\r\n";

fn cases(keep: impl Fn(&Group) -> bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for group in groups::<Group>(include_str!("../corpus/framing.json")).into_iter().filter(|group| keep(group)) {
        for template in expand(&group.templates, &group.with) {
            let id = format!("{:06}", cases.len());
            let behind = template.matches("{smuggled}").count();
            let message = bytes(&template.replace("{smuggled}", SMUGGLED).replace("{id}", &id));
            cases.push(Case { id, group: group.clone(), message, behind });
        }
    }
    cases
}

/// Short timeouts, so that a message without end is given up within the test.
fn layout() -> Layout {
    Layout {
        server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  limits: { header_timeout: 2s, body_timeout: 2s, idle_timeout: 2s }\n".to_owned(),
        ..Layout::default()
    }
}

async fn exchange(standard: &Standard, case: &Case, byte_by_byte: bool) -> Talk {
    let mut connection = Connection::open(standard.address()).await;
    if case.message.starts_with(b"HEAD ") {
        connection = connection.expect_no_bodies();
    }
    if byte_by_byte {
        connection.send_byte_by_byte(&case.message).await;
    } else {
        connection.send(&case.message).await;
    }
    if case.group.half_close {
        connection.finish_sending().await;
    }
    if case.group.expect != Expect::Passes {
        return connection.read(Until::End).await;
    }
    let mut talk = connection.read(Until::Answers(case.group.finals)).await;
    if talk.statuses().contains(&400) {
        talk.ending = connection.read(Until::End).await.ending;
    }
    talk
}

/// What the client must see.
fn objection(case: &Case, talk: &Talk) -> Option<String> {
    let group = &case.group;
    let statuses = talk.statuses();
    let first = statuses.first().copied();
    let ended = talk.ending != Ending::Open;
    let wanted = |default: &[u16]| {
        let wanted = if group.statuses.is_empty() { default } else { &group.statuses };
        first.is_some_and(|first| wanted.contains(&first))
    };
    let right = match group.expect {
        Expect::Refused => {
            ended && ((statuses.len() == 1 && wanted(&[400])) || (statuses.is_empty() && group.or_close))
        }
        Expect::Aborted => ended && statuses.iter().all(|status| matches!(status, 400 | 408 | 413)),
        Expect::Passes if group.statuses.is_empty() => {
            statuses == vec![200; group.finals] || (group.or_refused && statuses == [400])
        }
        Expect::Passes => statuses == group.statuses,
        // Either the connection is over, or what followed was taken for a request of its own, and refused as one.
        Expect::Either => ended || statuses.iter().skip(1).all(|status| matches!(status, 400..=499)),
        Expect::Answers => wanted(&[]),
        Expect::RefusedBody => ended && wanted(&[]) && statuses.len() <= 1 + case.behind,
        Expect::Upgrade => {
            let rest = statuses.iter().skip(1);
            wanted(&[200, 400, 426, 501]) && rest.into_iter().all(|status| matches!(status, 400 | 401))
        }
    };
    let whole = talk.finals().iter().all(|answer| answer.whole);
    (!right || !whole || !talk.rest.is_empty())
        .then(|| format!("{statuses:?}, {:?}, {} bytes left over: {}", talk.ending, talk.rest.len(), case.name()))
}

/// What the upstream must have seen of it.
fn upstream_objection(case: &Case, seen: &[&Seen]) -> Option<String> {
    if let Some(bad) = seen.iter().find(|request| request.target.contains("/admin")) {
        return Some(format!("the upstream saw {} {}", bad.method, bad.target));
    }
    if let Some(flawed) = seen.iter().find(|request| request.flaw.is_some()) {
        return Some(format!("the upstream saw {:?}", flawed.flaw));
    }
    if let Some(told) = seen.iter().find(|request| !request.trailers.is_empty()) {
        return Some(format!("the upstream saw trailers {:?}", told.trailers));
    }
    let group = &case.group;
    match group.expect {
        Expect::Refused | Expect::Answers | Expect::RefusedBody if !seen.is_empty() => {
            Some(format!("the upstream saw {} requests", seen.len()))
        }
        Expect::Aborted if seen.iter().any(|request| request.whole) => {
            Some("the upstream saw a whole request".to_owned())
        }
        Expect::Passes => {
            let passed = if group.statuses.is_empty() { group.finals } else { 1 };
            let right = seen.len() == passed && seen.iter().all(|request| request.whole);
            let refused = group.or_refused && seen.iter().all(|request| !request.whole);
            if !right && !refused {
                return Some(format!("the upstream saw {} requests", seen.len()));
            }
            let body = group.body.as_ref().map(|body| bytes(body));
            let last = seen.last().filter(|request| request.whole).map(|request| &request.body);
            let differs = body.is_some() && last.is_some() && body.as_ref() != last;
            differs.then(|| format!("the upstream saw the body {:?}", last.map(|body| body.escape_ascii().to_string())))
        }
        _ => None,
    }
}

async fn run(standard: &Standard, cases: &[Case], byte_by_byte: bool) -> Failures {
    let mut failures = Failures::default();
    let each = |case| async move { (case, exchange(standard, case, byte_by_byte).await) };
    let mut talks = futures_util::stream::iter(cases).map(each).buffer_unordered(32);
    while let Some((case, talk)) = talks.next().await {
        objection(case, &talk).into_iter().for_each(|failure| failures.note(failure));
    }
    drop(talks);
    let all = standard.seen();
    for case in cases {
        let seen: Vec<_> = all.iter().filter(|request| request.target.contains(&case.id)).collect();
        if let Some(failure) = upstream_objection(case, &seen) {
            failures.note(format!("{failure}: {}", case.name()));
        }
    }
    for request in &all {
        let known =
            cases.iter().any(|case| request.target.contains(&case.id)) || request.target.starts_with("/public/own-");
        failures.check(known, || format!("the upstream saw {:?}", request.head.escape_ascii().to_string()));
    }
    failures
}

/// Ordinary clients, while the others do their worst: each gets its own answer.
async fn ordinary_clients(standard: &Standard, rounds: usize) {
    for round in 0..rounds {
        let target = format!("/public/own-{round}");
        let answer = standard.get(&target, None).await;
        assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some(&*target)), "somebody else's answer");
    }
}

#[tokio::test]
async fn a_message_has_one_reading_or_is_refused() {
    let standard = Standard::start_with(layout()).await;
    let cases = cases(|_| true);
    let (failures, ()) = tokio::join!(run(&standard, &cases, false), ordinary_clients(&standard, 200));
    failures.report(cases.len(), 1100);
    ordinary_clients(&standard, 3).await;
}

/// The same, however the bytes are cut into packets.
#[tokio::test]
async fn a_message_means_the_same_in_single_bytes() {
    let standard = Standard::start_with(layout()).await;
    let cases = cases(|group| matches!(group.tag.as_str(), "valid" | "T11" | "contract 7"));
    let failures = run(&standard, &cases, true).await;
    failures.report(cases.len(), 150);
}

/// A connection is kept for honest requests: hundreds on one, in any order of kinds.
#[tokio::test]
async fn one_connection_serves_many_requests() {
    let standard = Standard::start().await;
    let mut connection = Connection::open(standard.address()).await;
    let read = authorization("read");
    for round in 0..100 {
        let kinds: [(String, u16); 5] = [
            (format!("GET /public/{round} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 200),
            (format!("POST /public/{round} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"), 200),
            (format!("GET /api/{round} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 401),
            (format!("GET /api/{round} HTTP/1.1\r\nHost: {HOST}\r\n{read}\r\n"), 200),
            (
                format!(
                    "POST /public/{round} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                ),
                200,
            ),
        ];
        for (request, status) in kinds {
            connection.send(request.as_bytes()).await;
            let answer = connection.answer().await;
            assert_eq!(answer.status, status, "round {round}: {request}");
        }
    }
    assert_eq!(connection.ending(), Ending::Open);
}

/// T11 at size: megabytes that nobody will read, with requests all through them.
#[tokio::test]
async fn a_large_unread_body_is_never_requests() {
    let standard = Standard::start_with(layout()).await;
    let inner = format!("GET /admin/inner HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(20_000);
    for (target, status) in [("/api/x", 401), ("/nowhere", 404), ("/public//x", 400)] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", inner.len());
        let mut connection = Connection::open(standard.address()).await;
        connection.send(head.as_bytes()).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, status, "{target}");
        // Whether it drains or closes is its business.
        connection.send(inner.as_bytes()).await;
        let talk = connection.read(Until::End).await;
        assert_eq!(talk.statuses(), [] as [u16; 0], "{target}: what stands in a body was answered");
    }
    assert!(standard.saw_nothing());
}

/// T12: bytes behind an `Upgrade` wait for the upstream's 101; when it comes they are the tunnel's.
#[tokio::test]
async fn early_bytes_of_an_upgrade_wait_for_the_101() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let script = Reply::Script(vec![Step::Await(gate.clone()), Step::send(switch), Step::Hang]);
    let standard = Standard::start_before(layout(), move |_| script.clone()).await;
    let mut connection = Connection::open(standard.address()).await;
    let upgrade = format!(
        "GET /public/ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /admin/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    );
    connection.send(upgrade.as_bytes()).await;
    crate::support::eventually("the upgrade is upstream", raw::PATIENCE, || {
        (!standard.upstream.seen().is_empty()).then_some(())
    })
    .await;
    ordinary_refusal(&standard).await;
    gate.add_permits(1);
    connection.until_received(b"101 Switching").await;
    let seen = standard.seen();
    assert_eq!(seen.iter().filter(|request| request.target == "/admin/x").count(), 0);
    assert_eq!(seen[0].values("upgrade"), ["websocket"]);
}

async fn ordinary_refusal(standard: &Standard) {
    assert_eq!(raw::request(standard.address(), &get("/admin/x", None)).await.status, 401);
}
