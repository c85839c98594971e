//! The other side of the demo's sockets: a client that sends any bytes and reads whatever comes back. Comes in: a
//! request, written well or as raw bytes. Goes out: the answers, whole. Each talk has its own connection and a bound.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing on loopback takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("broken: {0}")]
    Broken(#[from] io::Error),
    #[error("silence")]
    Silent,
    #[error("closed without an answer")]
    Nothing,
    #[error("too long an answer")]
    TooLong,
    /// The talk went well and said something unusable.
    #[error("{0}")]
    Unusable(String),
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Ask {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), fields: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.with("Content-Type", "application/json")
    }

    #[must_use]
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        self.body = encode(pairs).into_bytes();
        self.with("Content-Type", "application/x-www-form-urlencoded")
    }

    /// The bytes on the wire, for a server that answers once and closes.
    fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
            head.push_str("Connection: close\r\n");
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// `name=value&…`, encoded.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A final answer whose end does not depend on the connection's.
    fn is_whole(&self) -> bool {
        let framed = self.field("content-length").is_some() || self.field("transfer-encoding").is_some();
        self.status >= 200 && (framed || matches!(self.status, 204 | 304))
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Asks and takes the answer.
///
/// # Errors
/// [`TalkError`] when none comes.
pub async fn ask(address: SocketAddr, ask: &Ask) -> Result<Answer, TalkError> {
    let mut line = Line::open(address).await?;
    line.send(&ask.bytes(address)).await?;
    let without_body = ask.method == "HEAD";
    while !line.answers(without_body).iter().any(Answer::is_whole) {
        if !line.more().await? {
            break;
        }
    }
    line.answers(without_body).into_iter().find(|answer| answer.status >= 200).ok_or(TalkError::Nothing)
}

/// Sends these bytes and takes all answers until the other side closes.
///
/// # Errors
/// [`TalkError`] when the other side neither answers nor closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<Vec<Answer>, TalkError> {
    let mut line = Line::open(address).await?;
    // Who refuses may well close before everything is sent.
    let _ = line.send(bytes).await;
    line.drain().await?;
    Ok(line.answers(false))
}

/// A connection, and what has come on it.
pub struct Line {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Line {
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self, TalkError> {
        let connecting = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| TalkError::Silent)?;
        let stream = connecting.map_err(TalkError::Connect)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Opens a connection and sends the head of `ask` with these fields instead of a body.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`send`](Self::send).
    pub async fn begin(address: SocketAddr, ask: &Ask) -> Result<Self, TalkError> {
        let mut line = Self::open(address).await?;
        line.send(&ask.bytes(address)).await?;
        Ok(line)
    }

    /// # Errors
    /// When the other side does not take them.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), TalkError> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.map_err(|_| TalkError::Silent)?.map_err(TalkError::Broken)
    }

    /// Reads until this text has come; what is behind it stays for the next look.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn until(&mut self, wanted: &str) -> Result<String, TalkError> {
        loop {
            let found = self.received.windows(wanted.len()).position(|window| window == wanted.as_bytes());
            if let Some(at) = found {
                let rest = self.received.split_off(at + wanted.len());
                let taken = std::mem::replace(&mut self.received, rest);
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            if !self.more().await? {
                return Err(TalkError::Unusable(format!("no {wanted:?}: {}", String::from_utf8_lossy(&self.received))));
            }
        }
    }

    /// Reads once; false at the end.
    async fn more(&mut self) -> Result<bool, TalkError> {
        let mut buffer = [0; 16 * 1024];
        let length = match timeout(PATIENCE, self.stream.read(&mut buffer)).await {
            Err(_) => return Err(TalkError::Silent),
            Ok(Ok(length)) => length,
            // Who refuses a request half-read resets; what came before counts.
            Ok(Err(_)) if !self.received.is_empty() => 0,
            Ok(Err(error)) => return Err(error.into()),
        };
        self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if self.received.len() > ANSWER_LIMIT { Err(TalkError::TooLong) } else { Ok(length > 0) }
    }

    async fn drain(&mut self) -> Result<(), TalkError> {
        while self.more().await? {}
        Ok(())
    }

    /// What came, as answers.
    fn answers(&self, without_bodies: bool) -> Vec<Answer> {
        let (mut rest, mut answers) = (self.received.as_slice(), Vec::new());
        while let Some((answer, behind)) = parse(rest, without_bodies) {
            answers.push(answer);
            rest = behind;
        }
        answers
    }
}

fn parse(bytes: &[u8], without_body: bool) -> Option<(Answer, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = bytes.split_at_checked(end + 4)?;
    let head = String::from_utf8_lossy(head.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let fields = pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut answer = Answer { status, fields, body: Vec::new() };
    if without_body || status < 200 || matches!(status, 204 | 304) {
        return Some((answer, rest));
    }
    let rest = match (answer.field("transfer-encoding"), answer.field("content-length").map(str::parse::<usize>)) {
        (Some(_), _) => {
            let (body, rest) = unchunked(rest)?;
            answer.body = body;
            rest
        }
        (None, Some(length)) => {
            let (body, rest) = rest.split_at_checked(length.ok()?)?;
            answer.body = body.to_vec();
            rest
        }
        (None, None) => {
            answer.body = rest.to_vec();
            &[]
        }
    };
    Some((answer, rest))
}

/// The chunked coding (RFC 9112 section 7.1), to its end; trailers are passed over.
fn unchunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..at)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(at + 2..)?;
        if size == 0 {
            let end = if rest.starts_with(b"\r\n") { 2 } else { rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4 };
            return Some((body, rest.get(end..)?));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_framing() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
                      HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n\
                      HTTP/1.1 400 Bad\r\n\r\nrest";
        let (mut rest, mut read) = (bytes.as_slice(), Vec::new());
        while let Some((answer, behind)) = parse(rest, false) {
            read.push((answer.status, answer.text()));
            rest = behind;
        }
        let wanted = [(100, ""), (200, "ok"), (200, "abc"), (400, "rest")];
        assert_eq!(read, wanted.map(|(status, text)| (status, text.to_owned())));
    }

    #[test]
    fn an_answer_that_was_cut_is_none() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", false).is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", false).is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true).is_some());
    }
}
