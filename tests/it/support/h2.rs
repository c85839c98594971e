//! HTTP/2 twice: an ordinary client on hyper, and frames made by hand for what no library would send (RFC 9113; HPACK
//! literals without indexing, RFC 7541 section 6.2.2).

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::raw::{Ending, PATIENCE};

/// A whole answer over HTTP/2.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection by prior knowledge.
pub async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (send, connection) = handshake.await.expect("an HTTP/2 connection");
    tokio::spawn(connection);
    send
}

/// An ordinary request to the standard host on a connection.
pub async fn ask(send: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Answer {
    let response = send.send_request(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("a whole body");
    Answer { status: parts.status, headers: parts.headers, body: collected.to_bytes() }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;

    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    /// The bytes of a frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// Fields as HPACK literals, whatever their bytes are: nothing is indexed, nothing Huffman-coded.
pub fn field_block(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            string_length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// An integer with a seven-bit prefix (RFC 7541 section 5.1).
fn string_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push((left % 128) as u8 | 128);
        left /= 128;
    }
    block.push(left as u8);
}

/// What the other side made of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    StreamError(u32),
    ConnectionError(u32),
    Ended(Ending),
}

#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawConnection {
    /// Preface and empty settings sent.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the gateway takes connections");
        let mut connection = Self { stream, received: Vec::new() };
        connection.send(&[PREFACE, &frame::new(frame::SETTINGS, 0, 0, &[])].concat()).await;
        connection
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout_at(Instant::now() + PATIENCE, self.stream.write_all(bytes)).await.expect("the gateway reads");
    }

    /// HEADERS with these fields, and DATA if there is any.
    pub async fn send_request(&mut self, stream: u32, fields: &[(Vec<u8>, Vec<u8>)], data: Option<&[u8]>) {
        let end = if data.is_none() { frame::END_STREAM } else { 0 };
        let mut bytes = frame::new(frame::HEADERS, frame::END_HEADERS | end, stream, &field_block(fields));
        if let Some(data) = data {
            bytes.extend(frame::new(frame::DATA, frame::END_STREAM, stream, data));
        }
        self.send(&bytes).await;
    }

    /// Reads frames until the stream has an outcome; settings and pings are acknowledged on the way.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            let Some((kind, flags, on, payload)) = self.frame().await else {
                return Outcome::Ended(Ending::Closed);
            };
            let code =
                |at: usize| payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()));
            match kind {
                frame::HEADERS if on == stream => return Outcome::Answered(status(&payload)),
                frame::RST_STREAM if on == stream => return Outcome::StreamError(code(0)),
                // Code 0 announces a close in order; the stream may still be answered.
                frame::GOAWAY if code(4) != 0 => return Outcome::ConnectionError(code(4)),
                frame::SETTINGS if flags & 1 == 0 => self.send(&frame::new(frame::SETTINGS, 1, 0, &[])).await,
                frame::PING if flags & 1 == 0 => self.send(&frame::new(frame::PING, 1, 0, &payload)).await,
                _ => {}
            }
        }
    }

    /// Reads on without acknowledging anything, until the connection is over or patience is.
    pub async fn is_closed_without_a_word(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            match timeout_at(end, self.stream.read(&mut buffer)).await {
                Err(_) => return false,
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// The next frame; `None` when the connection is over.
    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.take(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.take(length).await?;
        Some((head[3], head[4], stream, payload))
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let end = Instant::now() + PATIENCE;
        while self.received.len() < length {
            let mut buffer = [0; 4096];
            let read = timeout_at(end, self.stream.read(&mut buffer)).await.expect("the gateway goes on");
            match read {
                Ok(length @ 1..) => self.received.extend_from_slice(&buffer[..length]),
                Ok(0) | Err(_) => return None,
            }
        }
        Some(self.received.drain(..length).collect())
    }
}

/// The status at the front of a field block, on a connection whose dynamic table is still empty.
fn status(block: &[u8]) -> u16 {
    // A size update of the dynamic table may come first.
    let block = if block.first().is_some_and(|first| first & 0xe0 == 0x20) { &block[1..] } else { block };
    match block {
        // The static table has seven statuses (RFC 7541, appendix A).
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // A literal for the name `:status` (index 8), its three digits plain or Huffman-coded.
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => {
            digits[..3].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
        }
        [0x48 | 0x08 | 0x18, length, coded @ ..] if length & 0x80 != 0 => {
            huffman_digits(&coded[..usize::from(length & 0x7f)])
        }
        _ => panic!("no status in {block:02x?}"),
    }
}

/// 0 to 2 have five bits (00000 to 00010), 3 to 9 have six (011001 to 011111).
fn huffman_digits(coded: &[u8]) -> u16 {
    let bits: Vec<u16> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let number = |from: usize, count: usize| bits[from..from + count].iter().fold(0, |number, bit| number * 2 + bit);
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(at, 5);
        let (digit, length) = if short <= 2 { (short, 5) } else { (number(at, 6) - 0b011_001 + 3, 6) };
        (status, at) = (status * 10 + digit, at + length);
    }
    status
}
