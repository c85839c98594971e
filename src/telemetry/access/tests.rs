use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;

fn id() -> &'static str {
    "id-1"
}

fn record<'a>(request_id: &'a &'static str) -> AccessRecord<'a> {
    AccessRecord {
        time: Time::from_millis(1_787_234_599_042),
        request_id,
        route: Some("orders-read"),
        method: "GET",
        path: "/orders/7",
        host: None,
        version: Version::HTTP_11,
        status: 200,
        reason: None,
        subject: Some("batch"),
        client_id: Some("batch"),
        issuer: Some("corp"),
        kind: Some("machine"),
        client_address: Some([192, 0, 2, 7].into()),
        upstream: Some("http://10.0.0.1:9001"),
        attempts: 1,
        bytes_in: 0,
        bytes_out: 512,
        total_micros: 400,
        upstream_micros: Some(300),
        user_agent: None,
        traceparent: None,
    }
}

fn json(record: &AccessRecord<'_>) -> Value {
    let mut line = Vec::new();
    record.json(&mut line);
    assert_eq!(line.iter().filter(|byte| **byte < 0x20).count(), 1, "one line feed, and no other control byte");
    assert!(line.ends_with(b"\n"));
    serde_json::from_slice(&line).unwrap()
}

fn text(record: &AccessRecord<'_>) -> String {
    let mut line = Vec::new();
    record.text(&mut line);
    assert_eq!(line.iter().filter(|byte| **byte < 0x20).count(), 1, "one line feed, and no other control byte");
    String::from_utf8(line).unwrap()
}

#[test]
fn a_json_line_tells_all_that_is_known() {
    let agent = HeaderValue::from_static("curl/8");
    let host = HeaderValue::from_static("api.example.com");
    let trace = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let id = id();
    let full = AccessRecord { user_agent: Some(&agent), host: Some(&host), traceparent: Some(&trace), ..record(&id) };
    let wanted = json!({
        "time": "2026-08-20T14:03:19.042Z", "request_id": "id-1", "route": "orders-read", "method": "GET",
        "path": "/orders/7", "host": "api.example.com", "protocol": "HTTP/1.1", "status": 200, "subject": "batch",
        "client_id": "batch", "issuer": "corp", "kind": "machine", "client_address": "192.0.2.7",
        "upstream": "http://10.0.0.1:9001", "attempts": 1, "bytes_in": 0, "bytes_out": 512, "total_ms": 0.4,
        "upstream_ms": 0.3, "user_agent": "curl/8", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    assert_eq!(json(&full), wanted);
}

#[test]
fn a_refusal_tells_its_reason() {
    let id = id();
    let refused = AccessRecord {
        status: 401,
        reason: Some(Reason::CredentialMissing),
        subject: None,
        client_id: None,
        kind: None,
        upstream_micros: None,
        ..record(&id)
    };
    assert_eq!(json(&refused)["reason"], "credential.missing");
    assert_eq!(text(&refused), "14:03:19  -               GET   /orders/7         401  credential.missing  0.400 ms\n");
}

#[test]
fn a_text_line_is_for_people() {
    let line = "14:03:19  machine:batch   GET   /orders/7         200  orders-read  0.400 ms (upstream 0.300)\n";
    assert_eq!(text(&record(&id())), line);
}

#[test]
fn a_query_never_stands_in_a_line() {
    let id = id();
    let asked = AccessRecord { path: "/orders?access_token=eyJhbGciOi", ..record(&id) };
    assert_eq!(json(&asked)["path"], "/orders");
    assert!(!text(&asked).contains("eyJhbGciOi"));
}

#[test]
fn bytes_that_a_client_chose_are_escaped() {
    let agent = HeaderValue::from_bytes(b"a\tb\xff\x80\"\\").unwrap();
    let id = id();
    let spoofed = AccessRecord {
        subject: Some("bob\n{\"status\":200}\u{1b}[2J\u{85}\u{202e}\u{7f}"),
        user_agent: Some(&agent),
        method: "G\0T",
        ..record(&id)
    };
    let read = json(&spoofed);
    assert_eq!(read["subject"], "bob\n{\"status\":200}\u{1b}[2J\u{85}\u{202e}\u{7f}");
    assert_eq!(read["user_agent"], "a\tb\u{fffd}\u{fffd}\"\\");
    let line = text(&spoofed);
    assert!(line.contains(r#"machine:"bob\u000a{\"status\":200}\u001b[2J\u0085\u202e\u007f""#), "{line}");
}

#[test]
fn long_values_are_cut_at_a_character() {
    let agent = HeaderValue::from_bytes(format!("a{}", "ë".repeat(5000)).as_bytes()).unwrap();
    let id = id();
    let read = json(&AccessRecord { user_agent: Some(&agent), ..record(&id) });
    assert_eq!(read["user_agent"].as_str().unwrap().len(), 511);
}

#[test]
fn only_a_valid_trace_is_told() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (written, valid) in [
        (good.to_owned(), true),
        (good.replacen("00", "cc", 1) + "-more", true),
        (good.to_owned() + "-more", false),
        (good.replacen("00", "ff", 1), false),
        (good.to_uppercase(), false),
        (good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
        (good.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
        (good.replace("4bf9", "4bf"), false),
        (String::new(), false),
    ] {
        let value = HeaderValue::from_str(&written).unwrap();
        assert_eq!(trace_id(&value).is_some(), valid, "{written}");
    }
}

#[test]
fn dates_are_right_at_their_edges() {
    let date = |seconds| {
        let mut out = Vec::new();
        write_date(&mut out, Time::from_seconds(seconds));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(951_782_399), "2000-02-28");
    assert_eq!(date(951_782_400), "2000-02-29");
    assert_eq!(date(951_868_800), "2000-03-01");
    assert_eq!(date(1_767_225_599), "2025-12-31");
    assert_eq!(date(4_107_542_400), "2100-03-01");
}

#[test]
fn a_log_writes_one_line_a_record() {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let log = AccessLog::new(AccessFormat::Json, LineWriter::start("test", sink.clone()).unwrap());
    let id = id();
    log.write(&record(&id));
    log.write(&record(&id));
    assert!(log.flush(Duration::from_secs(20)));
    let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(written.lines().count(), 2);
    assert_eq!(log.dropped(), 0);
}
