//! T1 to T3: the path that is decided on is the path that is forwarded, however it is spelled.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use serde::Deserialize;

use crate::support::corpus::{Failures, bytes, expand, groups};
use crate::support::raw::{self, Connection, Ending, Until};
use crate::support::standard::{HOST, Layout, Standard, authorization};
use crate::support::tokens;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    promise: String,
    tag: String,
    #[serde(default)]
    targets: Vec<String>,
    /// Targets with what the upstream must see of them.
    #[serde(default)]
    pairs: Vec<(String, String)>,
    #[serde(default)]
    with: BTreeMap<String, Vec<String>>,
    without_token: Vec<u16>,
    with_read: Vec<u16>,
    /// The head cannot be parsed: a close without an answer is as good as a 400.
    #[serde(default)]
    or_close: bool,
}

#[derive(Debug)]
struct Case {
    number: usize,
    name: String,
    target: String,
    forwarded: Option<String>,
    authorization: String,
    expected: Vec<u16>,
    or_close: bool,
}

fn cases() -> Vec<Case> {
    let read = authorization("read");
    let mut cases: Vec<Case> = Vec::new();
    for group in groups::<Group>(include_str!("../corpus/paths.json")) {
        let plain = expand(&group.targets, &group.with).into_iter().map(|target| (target, None));
        let pairs = group.pairs.iter().map(|(target, forwarded)| (target.clone(), Some(forwarded.clone())));
        for (target, forwarded) in plain.chain(pairs) {
            for (authorization, expected) in [("", &group.without_token), (&*read, &group.with_read)] {
                cases.push(Case {
                    number: cases.len(),
                    name: format!("{} ({}), {target:?}, {}", group.promise, group.tag, shown(authorization)),
                    target: target.clone(),
                    forwarded: forwarded.clone(),
                    authorization: authorization.to_owned(),
                    expected: expected.clone(),
                    or_close: group.or_close,
                });
            }
        }
    }
    cases
}

fn shown(authorization: &str) -> &'static str {
    if authorization.is_empty() { "without a token" } else { "scope read" }
}

/// Every path that a back end might take this target for: decoded up to twice, backslashes as slashes, parameters cut
/// off, empty segments dropped, lower case.
fn readings(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap_or("");
    let once = decoded(path);
    let twice = decoded(&once);
    let mut readings = Vec::new();
    for path in [path, &once, &twice] {
        for slashed in [path.to_owned(), path.replace('\\', "/")] {
            for parameters in [true, false] {
                let segments =
                    slashed.split('/').map(|s| if parameters { s } else { s.split(';').next().unwrap_or("") });
                readings.push(resolved(segments));
            }
        }
    }
    readings
}

fn decoded(path: &str) -> String {
    let raw: Vec<u8> = bytes(path);
    percent_encoding::percent_decode(&raw).map(char::from).collect::<String>()
}

fn resolved<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in segments {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/")).to_lowercase()
}

fn is_admin(target: &str) -> bool {
    readings(target).iter().any(|path| path == "/admin" || path.starts_with("/admin/"))
}

async fn run(standard: &Standard, case: &Case) -> Result<(), String> {
    let mut request = b"GET ".to_vec();
    request.extend(bytes(&case.target));
    let rest = format!(" HTTP/1.1\r\nHost: {HOST}\r\nX-Case: {}\r\n{}\r\n", case.number, case.authorization);
    request.extend(rest.as_bytes());
    let mut connection = Connection::open(standard.address()).await;
    connection.send(&request).await;
    let talk = connection.read(Until::Answers(1)).await;
    let statuses = talk.statuses();
    if statuses.is_empty() && case.or_close && talk.ending != Ending::Open {
        return Ok(());
    }
    if statuses.len() != 1 || !case.expected.contains(&statuses[0]) {
        return Err(format!("{}: {statuses:?} instead of {:?}", case.name, case.expected));
    }
    if statuses[0] == 400 && talk.ending == Ending::Open {
        let ending = connection.read(Until::End).await.ending;
        if ending == Ending::Open {
            return Err(format!("{}: 400, but the connection stays open", case.name));
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_its_route() {
    let standard = Standard::start().await;
    let cases = cases();
    let mut failures = Failures::default();
    let mut running = futures_util::stream::iter(&cases).map(|case| run(&standard, case)).buffer_unordered(16);
    while let Some(result) = running.next().await {
        result.err().into_iter().for_each(|failure| failures.note(failure));
    }
    drop(running);
    let seen = standard.seen();
    for request in &seen {
        let name = request.value("x-case").and_then(|number| cases.get(number.parse::<usize>().ok()?));
        let name = name.map_or("?", |case| case.name.as_str());
        failures.check(request.flaw.is_none(), || format!("{name}: the upstream saw {:?}", request.flaw));
        failures.check(!is_admin(&request.target), || format!("{name}: the upstream saw {:?}", request.target));
    }
    for case in cases.iter().filter(|case| case.expected == [200]) {
        let number = case.number.to_string();
        let came: Vec<_> = seen.iter().filter(|request| request.value("x-case") == Some(&number)).collect();
        let wanted = case.forwarded.as_deref().unwrap_or(&case.target);
        failures.check(came.len() == 1 && came[0].target == wanted, || {
            format!("{}: forwarded as {:?}", case.name, came.iter().map(|seen| &seen.target).collect::<Vec<_>>())
        });
    }
    failures.report(cases.len(), 1300);
}

/// T3: what is stripped from the front of a path leaves a path that is normal again, and never another host's or none.
#[tokio::test]
async fn a_stripped_path_is_a_path_again() {
    let layout = Layout {
        routes: format!(
            "  - {{ name: open, match: {{ hosts: [{HOST}], path: /open/** }}, upstream: echo, access: public, forward: {{ strip_prefix: /open }} }}\n\
             \x20 - {{ name: added, match: {{ hosts: [{HOST}], path: /added/** }}, upstream: echo, access: public, forward: {{ strip_prefix: /added, add_prefix: /v2 }} }}\n"
        ),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    for (target, forwarded) in [
        ("/open/x", "/x"),
        ("/open/x?y=/open/z", "/x?y=/open/z"),
        ("/open", "/"),
        ("/open/", "/"),
        ("/open/open/x", "/open/x"),
        ("/open/a/../x", "/x"),
        ("/added/x", "/v2/x"),
        ("/added/%7ex?a", "/v2/~x?a"),
    ] {
        assert_eq!(standard.get(target, None).await.status, 200, "{target}");
        let seen = standard.seen();
        assert_eq!(seen.len(), 1, "{target}");
        assert_eq!(seen[0].target, forwarded, "{target}");
    }
    for (target, status) in [
        ("/open/../admin/x", 401),
        ("/open/%2e%2e/admin/x", 401),
        ("/added/../admin/x", 401),
        ("/openadmin/x", 404),
        ("/open-/x", 404),
        ("/open//admin/x", 400),
        ("/open//gw.test/x", 400),
        ("/open/..%2fadmin/x", 400),
        ("/open/..;/admin/x", 400),
        ("/open/%2fadmin/x", 400),
    ] {
        assert_eq!(standard.get(target, None).await.status, status, "{target}");
        assert!(standard.saw_nothing(), "{target}");
    }
}

/// Routing believes Host only, without case, port and trailing dot.
#[tokio::test]
async fn a_host_is_found_by_its_name_alone() {
    let standard = Standard::start().await;
    let ask = async |lines: &str, target: &str| {
        raw::request(standard.address(), &format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n"))
            .await
            .status
    };
    for host in ["gw.test", "GW.TEST", "gW.tEsT", "gw.test:80", "gw.test:8443", "gw.test.", "gw.test.:80"] {
        assert_eq!(ask(&format!("Host: {host}\r\n"), "/public/x").await, 200, "{host}");
        assert_eq!(ask(&format!("Host: {host}\r\n"), "/admin/x").await, 401, "{host}");
    }
    standard.seen();
    for host in
        ["other.test", "a.gw.test", "gw.test.evil.test", "gw", "test", "127.0.0.1", "[::1]", "localhost", "gw.tes"]
    {
        let spoofed =
            format!("Host: {host}\r\nX-Forwarded-Host: gw.test\r\nForwarded: host=gw.test\r\nX-Host: gw.test\r\n");
        assert!(matches!(ask(&spoofed, "/public/x").await, 404 | 421), "{host}");
    }
    assert!(standard.saw_nothing());
}

/// No route is no forwarding, whatever the caller may do elsewhere.
#[tokio::test]
async fn what_no_route_names_is_refused_for_everyone() {
    let standard = Standard::start().await;
    let all = tokens::good("read admin");
    for target in ["/", "/other", "/adminx", "/.well-known/x", "/metrics", "/livez", "/readyz", "/status", "/debug"] {
        assert_eq!(standard.get(target, Some(&all)).await.status, 404, "{target}");
    }
    assert!(standard.saw_nothing());
}
