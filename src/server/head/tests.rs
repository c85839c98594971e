use super::*;

const LIMITS: HeadLimits = HeadLimits { target: 8192, header: 65536, field: 16384, fields: 100 };

fn judged(text: &str) -> Result<Scan, Violation> {
    scan(text.as_bytes(), &LIMITS)
}

fn complete(text: &str) -> Head {
    let judged = judged(text);
    let Ok(Scan::Complete(head)) = judged else { unreachable!("{text:?} gave {judged:?}") };
    head
}

#[test]
fn good_heads_pass_and_tell_their_framing() {
    for (head, framing) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ("GET / HTTP/1.0\r\n\r\n", Framing::None),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
        ("POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t 0 \r\n\r\n", Framing::None),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Framing::None),
    ] {
        let judged = complete(head);
        assert_eq!((judged.framing, judged.length), (framing, head.len()), "{head:?}");
    }
}

#[test]
fn every_cut_of_a_good_head_is_partial() {
    let head = "\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nTransfer-Encoding: chunked\r\n\r\n";
    for end in 0..head.len() {
        assert_eq!(judged(&head[..end]), Ok(Scan::Partial), "{end}");
    }
}

#[test]
fn faults_that_two_hops_could_read_differently_are_refused() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer.Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert!(judged(head).is_err(), "{head:?} gave {:?}", judged(head));
    }
}

#[test]
fn limits_end_a_head_even_before_its_end_is_there() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    assert_eq!(judged(&long), Err(Violation::TargetTooLong));
    assert_eq!(judged(&long[..8400]), Err(Violation::TargetTooLong));
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(17_000));
    assert_eq!(judged(&field), Err(Violation::HeaderTooLarge));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(100));
    assert_eq!(judged(&many), Err(Violation::HeaderTooLarge));
    let total = format!("GET / HTTP/1.1\r\nHost: a\r\n{}", format!("X: {}\r\n", "a".repeat(10_000)).repeat(7));
    assert_eq!(judged(&total), Err(Violation::HeaderTooLarge));
}

#[test]
fn only_a_plain_websocket_get_is_an_upgrade() {
    let fields = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    assert!(complete(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).upgrade);
    assert!(!complete(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).upgrade);
    assert!(!complete(&format!("GET / HTTP/1.1\r\n{fields}Content-Length: 4\r\n\r\n")).upgrade);
    assert!(!complete("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade);
}

#[test]
fn what_is_as_large_as_it_may_be_passes_and_a_byte_more_does_not() {
    let with = |field: String| judged(&format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
    // All cookies are one field, bounded with the others together: `Host: a` and what stands around the value count too.
    for (name, room) in [("X", 16_384 - 1), ("Authorization", 7 + 16_384), ("cOOkie", 65_536 - 9 - 10)] {
        assert!(with(format!("{name}: {}", "a".repeat(room))).is_ok(), "{name}");
        assert_eq!(with(format!("{name}: {}", "a".repeat(room + 1))), Err(Violation::HeaderTooLarge), "{name}");
    }
    let target = |length: usize| judged(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length - 1)));
    assert!(target(8192).is_ok());
    assert_eq!(target(8193), Err(Violation::TargetTooLong));
    let count = |count: usize| judged(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count)));
    assert!(count(99).is_ok());
    assert_eq!(count(100), Err(Violation::HeaderTooLarge));
}

#[test]
fn every_byte_of_a_value_is_judged_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        for at in [0, 31, 32, 40, 63, 64, 69] {
            let mut value = [b'a'; 70];
            value[at] = byte;
            assert_eq!(is_field_value(&value), is(byte, FIELD), "{byte:#04x} at {at}");
        }
    }
}
