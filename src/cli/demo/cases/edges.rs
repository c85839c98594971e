//! Requests that two readers could read in two ways (configuration contract, sections 3 and 7): refused, not guessed at.

use super::{Ask, Check, rows};

pub async fn run(check: &mut Check) {
    paths(check).await;
    framing(check).await;
    limits(check).await;
}

async fn paths(check: &mut Check) {
    let token = check.machine("orders:read");
    let get = |path: &str| Ask::get(path).bearer(&token);
    let cases = vec![
        ("/public/../orders is /orders", "401 credential.missing", Ask::get("/public/../orders")),
        ("/public/%2e%2e/orders is /orders", "401 credential.missing", Ask::get("/public/%2e%2e/orders")),
        ("/%6frders is /orders", "401 credential.missing", Ask::get("/%6frders")),
        ("above the root", "400 request.target", Ask::get("/public/../../orders")),
        ("/public/%252e%252e/orders", "400 request.target", Ask::get("/public/%252e%252e/orders")),
        ("/public//status", "400 request.target", Ask::get("/public//status")),
        ("/public\\..\\orders", "400 request.target", Ask::get("/public\\..\\orders")),
        ("/public/..;/orders", "400 request.target", Ask::get("/public/..;/orders")),
        ("/public/%00", "400 request.target", Ask::get("/public/%00")),
        ("/public/%c0%ae%c0%ae/orders, overlong", "400 request.target", Ask::get("/public/%c0%ae%c0%ae/orders")),
        ("encoded slash", "400 request.target", get("/orders/1%2fheaders")),
        ("encoded slash, on a route that keeps it", "200", Ask::get("/check/names/a%2fb/headers")),
        ("a longer name is no prefix", "404 route.none", get("/ordersx")),
        ("/ORDERS is not /orders", "404 route.none", get("/ORDERS")),
    ];
    rows(check, cases).await;
}

async fn framing(check: &mut Check) {
    let host = check.gateway();
    let smuggled = format!("GET /public/status HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let post = |fields: &str, body: &str| {
        format!("POST /public/status HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{body}{smuggled}").into_bytes()
    };
    let get = |line: &str, fields: &str| format!("{line}\r\n{fields}Connection: close\r\n\r\n").into_bytes();
    let hosted = format!("Host: {host}\r\n");
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("no Host", "400", get("GET /public/status HTTP/1.1", "")),
        ("two Hosts", "400", get("GET /public/status HTTP/1.1", &format!("{hosted}Host: other.example\r\n"))),
        ("Host with a path in it", "400", get("GET /public/status HTTP/1.1", "Host: a/b\r\n")),
        (
            "Content-Length beside Transfer-Encoding",
            "400",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        ("two Content-Lengths that differ", "400", post("Content-Length: 0\r\nContent-Length: 5\r\n", "")),
        ("two Content-Lengths that agree", "400", post("Content-Length: 0\r\nContent-Length: 0\r\n", "")),
        ("Content-Length: +5", "400", post("Content-Length: +5\r\n", "hello")),
        ("Transfer-Encoding: xchunked", "400", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        ("bare line feeds", "400", format!("GET /public/status HTTP/1.1\nHost: {host}\n\n").into_bytes()),
        ("space before the colon", "400", get("GET /public/status HTTP/1.1", &format!("{hosted}X-A : b\r\n"))),
        ("folded field", "400", get("GET /public/status HTTP/1.1", &format!("{hosted}X-A: b\r\n c\r\n"))),
        ("TRACE", "405", get("TRACE /public/status HTTP/1.1", &hosted)),
        ("CONNECT", "405", get("CONNECT example.com:443 HTTP/1.1", "Host: example.com:443\r\n")),
    ];
    for (case, expected, bytes) in cases {
        let going = check.raw(&bytes).await;
        check.row(case, expected, going);
    }
}

async fn limits(check: &mut Check) {
    let cases = vec![
        ("target of 9 KiB", "414", Ask::get(format!("/public/{}", "a".repeat(9 * 1024)))),
        ("field of 17 KiB", "431", Ask::get("/public/status").with("X-Long", "a".repeat(17 * 1024))),
        (
            "101 fields",
            "431",
            (0..100).fold(Ask::get("/public/status"), |ask, number| ask.with(&format!("X-{number}"), "a")),
        ),
    ];
    for (case, expected, ask) in cases {
        let going = check.ask(ask).await.map(|told| {
            let mut outcome = told.verdict();
            // Whether the head could be parsed, and so has a reason in the log, is no promise here.
            outcome.got.truncate(3);
            outcome
        });
        check.row(case, expected, going);
    }
}
