//! Bodies that are passed on as they come, in both directions, and connections that become something else.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::check::timed;
use super::super::client::{self, Line, TalkError};
use super::super::websocket;
use super::{Ask, Check, rows};
use crate::seal::random;

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(check: &mut Check) {
    let going = timed(check, upload(check)).await;
    check.row("a POST body arrives while it is sent", "200, half seen before the end", going);
    let going = timed(check, events(check)).await;
    check.row("events arrive one by one", "hello, then order", going);
    let going = timed(check, echoed(check)).await;
    check.row("a WebSocket echoes", "101, echoed", going);
    let without_token = opening("dGhlIHNhbXBsZSBub25jZQ==");
    let ignored =
        Ask::get("/public/status").with("Connection", "close, Upgrade, HTTP2-Settings").with("Upgrade", "h2c");
    let cases = vec![
        ("a WebSocket without a token", "401 credential.missing", without_token),
        ("an upgrade to h2c is ignored", "200", ignored.with("HTTP2-Settings", "AAMAAABkAAQAAP__")),
    ];
    rows(check, cases).await;
}

/// The API must have seen the first half before the second is sent.
async fn upload(check: &Check) -> Result<String, TalkError> {
    let mut imported = check.demo.orders.imported();
    let before = *imported.borrow();
    let token = check.machine("orders:write");
    let half = "x".repeat(20_000);
    let ask = Ask::new("POST", "/orders/import").bearer(&token).with("Content-Length", (2 * half.len()).to_string());
    let mut line = Line::begin(check.gateway(), &ask).await?;
    line.send(half.as_bytes()).await?;
    let wanted = before + half.len() as u64;
    let seen = tokio::time::timeout(PATIENCE, imported.wait_for(|bytes| *bytes >= wanted)).await;
    // What is seen must not be held on to: the API could not count on.
    if !seen.is_ok_and(|seen| seen.is_ok()) {
        return Ok("held back".to_owned());
    }
    line.send(half.as_bytes()).await?;
    let head = line.until("\r\n\r\n").await?;
    let body = line.until("}").await?;
    let whole = body.contains(&format!("\"bytes\": {}", 2 * half.len()));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{status}, {}", if whole { "half seen before the end" } else { "and not whole" }))
}

/// The greeting must come before there is a second event, and the second while the stream is open.
async fn events(check: &Check) -> Result<String, TalkError> {
    let (reader, writer) = (check.machine("orders:read"), check.machine("orders:write"));
    let mut line = Line::begin(check.gateway(), &Ask::get("/orders/events").bearer(&reader)).await?;
    line.until("event: hello").await?;
    let item = "pocket-watch";
    client::ask(check.gateway(), &Ask::new("POST", "/orders").bearer(&writer).json(&json!({ "item": item }))).await?;
    line.until("event: order").await?;
    line.until(item).await?;
    Ok("hello, then order".to_owned())
}

/// RFC 6455, with the token in the opening handshake.
async fn echoed(check: &Check) -> Result<String, TalkError> {
    let token = check.machine("orders:read");
    let key = STANDARD.encode(random::bytes::<16>());
    let mut line = Line::begin(check.gateway(), &opening(&key).bearer(&token)).await?;
    let head = line.until("\r\n\r\n").await?.to_ascii_lowercase();
    let accepted = head.contains(&format!("sec-websocket-accept: {}", websocket::accept(&key).to_ascii_lowercase()));
    for text in ["down", "the", "rabbit", "hole"] {
        line.send(&websocket::message(text, random::bytes())).await?;
        line.until(text).await?;
    }
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{status}, {}", if accepted { "echoed" } else { "not accepted" }))
}

fn opening(key: &str) -> Ask {
    let ask = Ask::get("/orders/echo").with("Connection", "Upgrade").with("Upgrade", "websocket");
    ask.with("Sec-WebSocket-Version", "13").with("Sec-WebSocket-Key", key)
}
