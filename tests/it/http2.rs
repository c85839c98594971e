//! T14: HTTP/2 by hand. What the frames carry is judged like anything else, and what HTTP/1.1 could not carry is never
//! rewritten into it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::h2::{self, Outcome, RawConnection, field_block, frame};
use crate::support::raw;
use crate::support::standard::{HOST, Layout, Standard, authorization};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn fields(list: &[(&str, &str)]) -> Fields {
    let bytes = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
    list.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", HOST);
const PATH: (&str, &str) = (":path", "/public/x");

/// An ordinary request with more fields behind it.
fn with(more: &[(&str, &str)]) -> Fields {
    fields(&[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat())
}

/// Requests that are no HTTP/2 (RFC 9113 section 8), or have two readings.
fn malformed() -> Vec<(&'static str, Fields)> {
    let pseudo = |list: &[(&str, &str)]| fields(list);
    let mut cases = vec![
        ("a method that is missing", pseudo(&[SCHEME, AUTHORITY, PATH])),
        ("a path that is missing", pseudo(&[METHOD, SCHEME, AUTHORITY])),
        ("a scheme that is missing", pseudo(&[METHOD, AUTHORITY, PATH])),
        ("no host at all", pseudo(&[METHOD, SCHEME, PATH])),
        ("two paths", pseudo(&[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/admin/x")])),
        ("two paths, the same", pseudo(&[METHOD, SCHEME, AUTHORITY, PATH, PATH])),
        ("two methods", pseudo(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH])),
        ("two authorities", pseudo(&[METHOD, SCHEME, AUTHORITY, (":authority", "other.test"), PATH])),
        ("two schemes", pseudo(&[METHOD, SCHEME, SCHEME, AUTHORITY, PATH])),
        ("a path behind the fields", pseudo(&[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH])),
        ("an unknown pseudo-field", pseudo(&[METHOD, SCHEME, AUTHORITY, PATH, (":x", "y")])),
        ("a status in a request", pseudo(&[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")])),
        ("an empty path", pseudo(&[METHOD, SCHEME, AUTHORITY, (":path", "")])),
        ("a host that is not the authority", with(&[("host", "other.test")])),
        ("two hosts", with(&[("host", HOST), ("host", "other.test")])),
        (
            "an extended CONNECT",
            pseudo(&[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, (":path", "/admin/x")]),
        ),
        ("a protocol without CONNECT", pseudo(&[METHOD, (":protocol", "websocket"), SCHEME, AUTHORITY, PATH])),
        ("CONNECT", pseudo(&[(":method", "CONNECT"), (":authority", "gw.test:80")])),
        ("CONNECT with a path", pseudo(&[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH])),
        ("TRACE", pseudo(&[(":method", "TRACE"), SCHEME, AUTHORITY, PATH])),
    ];
    for path in [
        "admin/x",
        "public/x",
        "*",
        "?/admin",
        "http://gw.test/admin/x",
        "//gw.test/admin/x",
        "/public/../../x",
        "/public/..%2fadmin/x",
        "/public/x y",
        "/public/x HTTP/1.1\r\nX: y",
        "/public\\x",
        "/public/%00",
        "/public/\0",
        "/public/\t",
        "/public/\u{7f}",
        "/public/%zz",
        "/public//x",
    ] {
        cases.push(("a path with two readings, or none", pseudo(&[METHOD, SCHEME, AUTHORITY, (":path", path)])));
    }
    for authority in [
        "",
        "gw.test/admin",
        "user@gw.test",
        "gw.test other",
        "gw.test\r\nX: y",
        "gw.test:port",
        "gw.test#x",
        "gw.test\0",
        "http://gw.test",
    ] {
        cases.push(("an authority that is no host", pseudo(&[METHOD, SCHEME, (":authority", authority), PATH])));
    }
    for method in ["", "GE T", "GET /admin/x HTTP/1.1\r\nX:", "GET\r\n", "G\0T", "GE(T"] {
        cases.push(("a method that is no token", pseudo(&[(":method", method), SCHEME, AUTHORITY, PATH])));
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close"),
        ("connection", "keep-alive, x-forwarded-user"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        cases.push(("a field of the HTTP/1.1 connection", with(&[(name, value)])));
    }
    for name in [
        "X-Upper", "Host", "xY", "x y", "x:y", "", " x", "x ", "x\r\ny", "x\ny", "x\0", "x\u{7f}", "x(", "x\u{e9}",
        "\"x\"", ":", ":path",
    ] {
        cases.push(("a name that is no lower-case token", with(&[(name, "y")])));
    }
    for value in [
        "a\r\nb",
        "a\nb",
        "a\rb",
        "a\0b",
        "\r\nX-Forwarded-User: root",
        "a\r\n\r\nGET /admin/x HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        "\u{1}",
        "a\u{7f}",
    ] {
        cases.push(("a value with control bytes", with(&[("x", value)])));
    }
    cases
}

fn refused(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered(status) => (400..500).contains(&status),
        Outcome::StreamError(_) | Outcome::ConnectionError(_) | Outcome::Ended(_) => true,
    }
}

#[tokio::test]
async fn what_is_no_http2_is_a_stream_error_or_a_refusal() {
    let standard = Standard::start().await;
    let cases = malformed();
    for (about, fields) in &cases {
        let shown = || {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join(" ")
        };
        let mut connection = RawConnection::open(standard.address()).await;
        connection.send_request(1, fields, None).await;
        let outcome = connection.outcome(1).await;
        assert!(refused(outcome), "{about}: {outcome:?}: {}", shown());
        assert!(standard.saw_nothing(), "{about}: the upstream saw it: {}", shown());
    }
    assert!(cases.len() > 80);
    assert_eq!(standard.get("/public/next", None).await.status, 200);
}

/// The HTTP/2 stack cuts a fragment off before anyone sees it: what is matched is what is left, and so is what goes on.
#[tokio::test]
async fn a_fragment_is_cut_off_before_the_route_is_chosen() {
    let standard = Standard::start().await;
    for (path, goes_on) in [("/public/x#/admin", true), ("/admin/x#/public/", false)] {
        let mut connection = RawConnection::open(standard.address()).await;
        connection.send_request(1, &fields(&[METHOD, SCHEME, AUTHORITY, (":path", path)]), None).await;
        let outcome = connection.outcome(1).await;
        assert!(refused(outcome) != goes_on, "{path}: {outcome:?}");
    }
    let seen = standard.seen();
    assert_eq!(seen.iter().map(|seen| seen.target.as_str()).collect::<Vec<_>>(), ["/public/x"]);
}

#[tokio::test]
async fn a_length_that_is_not_that_of_the_data_is_an_error() {
    let standard = Standard::start().await;
    for (about, lengths, data) in [
        ("too short", &["3"][..], "hello"),
        ("too long", &["10"], "hello"),
        ("nothing announced", &["0"], "hello"),
        ("twice, differing", &["5", "6"], "hello"),
        ("no number", &["5x"], "hello"),
        ("negative", &["-5"], "hello"),
        ("a list", &["5, 5"], "hello"),
    ] {
        let mut list = vec![(":method", "POST"), SCHEME, AUTHORITY, PATH];
        list.extend(lengths.iter().map(|length| ("content-length", *length)));
        let mut connection = RawConnection::open(standard.address()).await;
        connection.send_request(1, &fields(&list), Some(data.as_bytes())).await;
        let outcome = connection.outcome(1).await;
        assert!(refused(outcome) || outcome == Outcome::Answered(502), "{about}: {outcome:?}");
        assert!(standard.seen().iter().all(|seen| !seen.whole && seen.flaw.is_none()), "{about}: it went on as whole");
    }
}

/// What these tests would have the gateway refuse, it takes when it is right.
#[tokio::test]
async fn honest_frames_are_served() {
    let standard = Standard::start().await;
    let read = authorization("read");
    let token = read.trim_start_matches("Authorization: ").trim_end();
    let long = "a".repeat(300);
    for (target, more, data, status) in [
        ("/public/x", vec![], None, 200),
        ("/public/x", vec![("x", "y"), ("x", "z"), ("te", "trailers")], None, 200),
        ("/public/x", vec![("x", &*long)], None, 200),
        ("/public/x", vec![("host", HOST)], None, 200),
        ("/public/x", vec![("content-length", "5")], Some("hello"), 200),
        ("/public/x", vec![], Some("hello"), 200),
        ("/api/x", vec![], None, 401),
        ("/api/x", vec![("authorization", token)], None, 200),
        ("/admin/x", vec![("authorization", token)], None, 403),
        ("/nowhere", vec![], None, 404),
        ("/public/%2e%2e/admin/x", vec![], None, 401),
    ] {
        let list: Vec<_> = [vec![METHOD, SCHEME, AUTHORITY, (":path", target)], more].concat();
        let mut connection = RawConnection::open(standard.address()).await;
        connection.send_request(1, &fields(&list), data.map(str::as_bytes)).await;
        assert_eq!(connection.outcome(1).await, Outcome::Answered(status), "{target}");
        let seen = standard.seen();
        assert_eq!(seen.len(), usize::from(status == 200), "{target}");
        if let Some(seen) = seen.first() {
            assert_eq!((seen.flaw.as_deref(), seen.values("host")), (None, vec![HOST]), "{target}");
            assert_eq!(seen.body, data.unwrap_or_default().as_bytes(), "{target}");
        }
    }
}

/// The HTTP/2 library cuts a fragment off before anybody sees it; so does the gateway, and nothing else is forwarded.
#[tokio::test]
async fn a_fragment_changes_nothing() {
    let standard = Standard::start().await;
    for (path, outcome) in
        [("/public/x#/admin/x", Outcome::Answered(200)), ("/admin/x#/public/x", Outcome::Answered(401))]
    {
        let mut connection = RawConnection::open(standard.address()).await;
        connection.send_request(1, &fields(&[METHOD, SCHEME, AUTHORITY, (":path", path)]), None).await;
        let got = connection.outcome(1).await;
        assert!(got == outcome || got == Outcome::Answered(400), "{path}: {got:?}");
    }
    assert!(standard.seen().iter().all(|seen| seen.target == "/public/x"));
}

/// Several cookie fields are one cookie (RFC 9113 section 8.2.3).
#[tokio::test]
async fn crumbs_of_a_cookie_are_put_together() {
    let standard = Standard::start().await;
    let mut connection = RawConnection::open(standard.address()).await;
    connection.send_request(1, &with(&[("cookie", "a=b"), ("cookie", "c=d")]), None).await;
    assert_eq!(connection.outcome(1).await, Outcome::Answered(200));
    assert_eq!(standard.seen()[0].values("cookie"), ["a=b; c=d"]);
}

/// F27 and F30 over HTTP/2: a head without end is cut off.
#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let standard = Standard::start().await;
    let resident = standard.gateway.resident();
    let big = field_block(&fields(&[("x", &"a".repeat(8000))]));
    let mut connection = RawConnection::open(standard.address()).await;
    let open = frame::new(frame::HEADERS, frame::END_STREAM, 1, &field_block(&with(&[])));
    connection.send(&open).await;
    for _ in 0..2000 {
        connection.send(&frame::new(frame::CONTINUATION, 0, 1, &big)).await;
    }
    let outcome = connection.outcome(1).await;
    assert!(refused(outcome), "{outcome:?}");
    assert!(standard.saw_nothing());
    assert!(standard.gateway.resident() < resident + (32 << 20));
    let mut list = vec![METHOD, SCHEME, AUTHORITY, PATH];
    let value = "a".repeat(15_000);
    list.extend(std::iter::repeat_n(("x", &*value), 5));
    let mut connection = RawConnection::open(standard.address()).await;
    let block = field_block(&fields(&list));
    let (first, rest) = block.split_at(16_000);
    connection.send(&frame::new(frame::HEADERS, frame::END_STREAM, 1, first)).await;
    let pieces: Vec<_> = rest.chunks(16_000).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let end = if number + 1 == pieces.len() { frame::END_HEADERS } else { 0 };
        connection.send(&frame::new(frame::CONTINUATION, end, 1, piece)).await;
    }
    let outcome = connection.outcome(1).await;
    assert!(refused(outcome), "75 kB of fields: {outcome:?}");
    assert!(standard.saw_nothing());
}

/// `Upgrade: h2c` is ignored; a tunnel's worth of frames behind it is nobody's.
#[tokio::test]
async fn an_upgrade_to_h2c_is_ignored() {
    let standard = Standard::start().await;
    let request = format!(
        "GET /public/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    );
    let answer = raw::request(standard.address(), &request).await;
    assert_eq!(answer.status, 200);
    let seen = standard.seen();
    assert_eq!(seen[0].values("upgrade"), [] as [&str; 0]);
    assert_eq!(seen[0].values("http2-settings"), [] as [&str; 0]);
}

/// One connection, many streams, mixed verdicts: each stream gets its own.
#[tokio::test]
async fn streams_of_one_connection_are_judged_for_themselves() {
    let standard = Standard::start_with(Layout::default()).await;
    let send = h2::connect(standard.address()).await;
    let read = authorization("read");
    let token = read.trim_start_matches("Authorization: ").trim_end().to_owned();
    let ask = |number: usize| {
        let mut send = send.clone();
        let (target, shown, status) = match number % 4 {
            0 => ("public", false, 200),
            1 => ("api", false, 401),
            2 => ("api", true, 200),
            _ => ("admin", true, 403),
        };
        let mut request = Request::get(format!("http://{HOST}/{target}/{number}"));
        if shown {
            request = request.header("authorization", &token);
        }
        async move {
            let answer = h2::ask(&mut send, request.body(Full::<Bytes>::default()).expect("a request")).await;
            assert_eq!(answer.status, status, "{number}");
            if status == 200 {
                let echo: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                assert_eq!(echo["target"], format!("/{target}/{number}"), "somebody else's answer");
            }
        }
    };
    futures_util::future::join_all((0..200).map(ask)).await;
    let seen = standard.seen();
    assert_eq!(seen.len(), 100);
    for request in seen {
        let user: &[&str] = if request.target.starts_with("/api/") { &["alice"] } else { &[] };
        assert_eq!(request.values("x-forwarded-user"), user, "{}", request.target);
    }
}

/// F25 in small: streams that are opened and reset do not pile up, and the upstream is not flooded.
#[tokio::test]
async fn rapid_resets_are_stopped() {
    let standard = Standard::start().await;
    let resident = standard.gateway.resident();
    let mut connection = RawConnection::open(standard.address()).await;
    let block = field_block(&with(&[]));
    let mut batch = Vec::new();
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        batch.extend(frame::new(frame::HEADERS, frame::END_STREAM | frame::END_HEADERS, stream, &block));
        batch.extend(frame::new(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if batch.len() > 1 << 16 {
            connection.send(&std::mem::take(&mut batch)).await;
        }
    }
    let outcome = connection.outcome(40_001).await;
    assert!(matches!(outcome, Outcome::ConnectionError(_) | Outcome::Ended(_)), "{outcome:?}");
    assert!(standard.upstream.seen().len() < 5_000, "{} went upstream", standard.upstream.seen().len());
    assert!(standard.gateway.resident() < resident + (32 << 20));
    assert_eq!(standard.get("/public/next", None).await.status, 200);
}

/// A client that opens a connection and is silent holds it no longer than one of HTTP/1.1 would.
#[tokio::test]
async fn silent_connections_are_closed_when_they_idle() {
    let layout = Layout {
        server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  limits: { idle_timeout: 1s }\n".to_owned(),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let mut connection = RawConnection::open(standard.address()).await;
    connection.send_request(1, &with(&[]), None).await;
    assert!(matches!(connection.outcome(1).await, Outcome::Answered(_)));
    // Nothing is acknowledged any more, no farewell either.
    assert!(connection.is_closed_without_a_word().await);
    let mut connection = RawConnection::open(standard.address()).await;
    assert!(connection.is_closed_without_a_word().await);
}

/// A stream whose client falls silent inside its body ends like a body of HTTP/1.1 would.
#[tokio::test]
async fn a_body_that_falls_silent_is_given_up() {
    let layout = Layout {
        server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  limits: { body_timeout: 1s }\n".to_owned(),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let mut connection = RawConnection::open(standard.address()).await;
    let block = field_block(&with(&[]));
    connection.send(&frame::new(frame::HEADERS, frame::END_HEADERS, 1, &block)).await;
    connection.send(&frame::new(frame::DATA, 0, 1, b"half")).await;
    let outcome = connection.outcome(1).await;
    assert_eq!(outcome, Outcome::Answered(408));
    assert!(standard.seen().iter().all(|seen| !seen.whole));
}

/// A stream that its client resets without an error code is not taken for a whole request.
#[tokio::test]
async fn a_request_that_is_reset_never_looks_complete() {
    let standard = Standard::start().await;
    let mut connection = RawConnection::open(standard.address()).await;
    let block = field_block(&with(&[]));
    let bytes = [
        frame::new(frame::HEADERS, frame::END_HEADERS, 1, &block),
        frame::new(frame::DATA, 0, 1, b"half"),
        frame::new(frame::RST_STREAM, 0, 1, &0_u32.to_be_bytes()),
    ];
    connection.send(&bytes.concat()).await;
    // A request on another stream shows that the gateway has gone on.
    connection.send_request(3, &with(&[]), None).await;
    assert!(matches!(connection.outcome(3).await, Outcome::Answered(_)));
    assert!(standard.seen().iter().filter(|seen| !seen.body.is_empty()).all(|seen| !seen.whole));
}
