//! The smallest WebSocket (RFC 6455) that shows one passing through the gateway: an echo for the orders API, and the
//! client's half for `--check`. Short frames only, at most 125 bytes; anything else ends the connection.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::service::field;
use crate::wire::Body;

/// Section 1.3: joined to the client's key, so that only who knows the protocol answers right.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LONGEST: u8 = 125;
const MASKED: u8 = 0x80;
const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What `Sec-WebSocket-Accept` must be for this key.
pub fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// The answer to an opening handshake; `None` when it is none.
pub fn switch(headers: &HeaderMap) -> Option<Response<Body>> {
    let key = field(headers, "sec-websocket-key")?;
    let wanted = field(headers, header::UPGRADE.as_str())?.eq_ignore_ascii_case("websocket");
    let accepted = HeaderValue::from_str(&accept(key)).ok().filter(|_| wanted)?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    Some(response)
}

/// Sends every message back, until the client closes.
pub async fn echo(upgrading: OnUpgrade) {
    if let Ok(upgraded) = upgrading.await {
        // A connection that breaks is as good as closed.
        let _ = echo_frames(&mut TokioIo::new(upgraded)).await;
    }
}

async fn echo_frames(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    loop {
        let (mut head, mut mask) = ([0; 2], [0; 4]);
        stream.read_exact(&mut head).await?;
        let [first, second] = head;
        let (kind, length) = (first & !FINAL, second & !MASKED);
        // Clients must mask (section 5.1).
        if second & MASKED == 0 || length > LONGEST || first & FINAL == 0 {
            return Ok(());
        }
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::from(length)];
        stream.read_exact(&mut payload).await?;
        apply(mask, &mut payload);
        let answer = if kind == PING { PONG } else { kind };
        stream.write_all(&[FINAL | answer, length]).await?;
        stream.write_all(&payload).await?;
        stream.flush().await?;
        if kind == CLOSE {
            return Ok(());
        }
    }
}

/// A text message as a client sends it; what is longer than a short frame is cut off.
pub fn message(text: &str, mask: [u8; 4]) -> Vec<u8> {
    let mut payload: Vec<u8> = text.bytes().take(LONGEST.into()).collect();
    let length = u8::try_from(payload.len()).unwrap_or(LONGEST);
    apply(mask, &mut payload);
    [&[FINAL | TEXT, MASKED | length][..], &mask, &payload].concat()
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_the_rfc_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn a_message_comes_back_unmasked() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let serving = async move { echo_frames(&mut server).await };
        let talking = async move {
            client.write_all(&message("Hello", [1, 2, 3, 4])).await.unwrap();
            let mut answer = [0; 7];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"\x81\x05Hello");
        };
        let _ = tokio::join!(serving, talking);
    }
}
