//! The upstream as the tests see it: a raw TCP peer that records every byte of a request before it reads it strictly,
//! echoes what it saw, and misbehaves on demand. Not hyper: hyper would repair what the gateway got wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// A head longer than this is a flaw of the gateway.
const HEAD_LIMIT: usize = 1024 * 1024;
/// Of a body this much is kept; the rest is counted.
const BODY_KEPT: usize = 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// The bytes up to and with the empty line.
    pub head: Vec<u8>,
    pub method: String,
    pub target: String,
    /// Names as they were written, values as bytes read as Latin-1.
    pub fields: Vec<(String, String)>,
    /// The first bytes of the body, its framing removed.
    pub body: Vec<u8>,
    pub body_bytes: u64,
    pub trailers: Vec<(String, String)>,
    /// The body came to its end.
    pub whole: bool,
    /// What is not as RFC 9112 has it: always a fault of the gateway.
    pub flaw: Option<String>,
}

impl Seen {
    /// The values of a field, whatever the case of its name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// The names under which a CGI-like back end would know the fields: upper case, everything else an underscore.
    pub fn folded(&self, name: &str) -> Vec<&str> {
        let fold = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
        };
        let wanted = fold(name);
        let all = self.fields.iter().chain(&self.trailers);
        all.filter(|(field, _)| fold(field) == wanted).map(|(_, value)| value.as_str()).collect()
    }

    fn chunked(&self) -> bool {
        !self.values("transfer-encoding").is_empty()
    }

    fn length(&self) -> u64 {
        self.value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }
}

/// What to do with a request once its head is there.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Read the body, answer 200 with what was seen, as JSON.
    Echo,
    Script(Vec<Step>),
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Read the request's body to its end.
    Body,
    Send(Vec<u8>),
    /// Send the bytes this many times.
    Repeat(Vec<u8>, u64),
    /// Go on when the test adds a permit.
    Await(Arc<Semaphore>),
    /// Wait this long: for peers whose fault is to be slow.
    Delay(Duration),
    Close,
    Reset,
    /// Keep the connection and do nothing more, until the other side ends it.
    Hang,
}

impl Step {
    pub fn send(text: impl AsRef<[u8]>) -> Self {
        Self::Send(text.as_ref().to_vec())
    }
}

/// A whole answer with a body.
pub fn answer(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head =
        format!("HTTP/1.1 {status} Scripted\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    Reply::Script(vec![Step::Body, Step::Send([head.as_bytes(), body].concat())])
}

type Choose = dyn Fn(&Seen) -> Reply + Send + Sync;

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// Body bytes that all connections together have read or written; moves while a transfer is under way.
    moved: AtomicUsize,
}

pub struct Upstream {
    pub address: SocketAddr,
    record: Arc<Record>,
    choose: Arc<Choose>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    pub async fn echo() -> Self {
        Self::start(|_| Reply::Echo).await
    }

    pub async fn start(choose: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut upstream = Self { address, record: Arc::default(), choose: Arc::new(choose), accepting: None };
        upstream.accept(listener);
        upstream
    }

    fn accept(&mut self, listener: TcpListener) {
        let (record, choose) = (Arc::clone(&self.record), Arc::clone(&self.choose));
        self.accepting = Some(tokio::spawn(async move {
            // Ends with the task that owns it, so that no connection outlives its upstream.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = record.connections.fetch_add(1, Ordering::SeqCst);
                let (record, choose) = (Arc::clone(&record), Arc::clone(&choose));
                connections.spawn(async move {
                    record.open.fetch_add(1, Ordering::SeqCst);
                    let _ = Peer { stream, buffer: Vec::new(), number, record: &record }.serve(&*choose).await;
                    record.open.fetch_sub(1, Ordering::SeqCst);
                });
                while connections.try_join_next().is_some() {}
            }
        }));
    }

    /// Refuses connections from now on, and ends those that are open.
    pub async fn go_down(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
            self.record.open.store(0, Ordering::SeqCst);
        }
    }

    /// Listens again, at the same address.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        self.accept(listener);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen.lock().unwrap().clone()
    }

    /// What was seen since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.record.seen.lock().unwrap())
    }

    pub fn count(&self, target: &str) -> usize {
        self.record.seen.lock().unwrap().iter().filter(|seen| seen.target == target).count()
    }

    pub fn connections(&self) -> usize {
        self.record.connections.load(Ordering::SeqCst)
    }

    pub fn open_connections(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }

    /// Nothing that the gateway sent so far was against RFC 9112.
    pub fn flawless(&self) -> bool {
        self.record.seen.lock().unwrap().iter().all(|seen| seen.flaw.is_none())
    }

    pub fn moved(&self) -> usize {
        self.record.moved.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// One connection. Any error of the socket ends it.
struct Peer<'a> {
    stream: TcpStream,
    buffer: Vec<u8>,
    number: usize,
    record: &'a Record,
}

impl Peer<'_> {
    async fn serve(&mut self, choose: &Choose) -> std::io::Result<()> {
        loop {
            let Some(head) = self.head().await? else { return Ok(()) };
            let mut seen = read_head(&head);
            seen.connection = self.number;
            let at = {
                let mut all = self.record.seen.lock().unwrap();
                all.push(seen.clone());
                all.len() - 1
            };
            if seen.flaw.is_some() {
                self.stream.write_all(b"HTTP/1.1 400 Flawed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
                return Ok(());
            }
            match choose(&seen) {
                Reply::Echo => {
                    self.body(&mut seen, at).await?;
                    self.echo(&seen).await?;
                }
                Reply::Script(steps) => {
                    if !self.perform(&steps, &mut seen, at).await? {
                        return Ok(());
                    }
                }
            }
            if seen.value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                return Ok(());
            }
        }
    }

    async fn echo(&mut self, seen: &Seen) -> std::io::Result<()> {
        let body = json!({
            "method": seen.method,
            "target": seen.target,
            "fields": seen.fields,
            "trailers": seen.trailers,
            "body_bytes": seen.body_bytes,
        })
        .to_string();
        let mut head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        head.push_str("X-Upstream: echo\r\n\r\n");
        let body = if seen.method == "HEAD" { "" } else { &body };
        self.stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await
    }

    /// False when the script ended the connection.
    async fn perform(&mut self, steps: &[Step], seen: &mut Seen, at: usize) -> std::io::Result<bool> {
        for step in steps {
            match step {
                Step::Body => self.body(seen, at).await?,
                Step::Send(bytes) => self.stream.write_all(bytes).await?,
                Step::Repeat(bytes, times) => {
                    for _ in 0..*times {
                        self.stream.write_all(bytes).await?;
                        self.record.moved.fetch_add(bytes.len(), Ordering::SeqCst);
                    }
                }
                Step::Await(permits) => permits.acquire().await.expect("never closed").forget(),
                Step::Delay(time) => tokio::time::sleep(*time).await,
                Step::Close => return Ok(false),
                Step::Reset => {
                    // With a linger time of nothing, closing is a reset.
                    socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(false);
                }
                Step::Hang => while self.fill().await? > 0 {},
            }
        }
        Ok(true)
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let length = self.stream.read(&mut chunk).await?;
        self.buffer.extend_from_slice(&chunk[..length]);
        Ok(length)
    }

    async fn head(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..end + 4).collect()));
            }
            if self.buffer.len() > HEAD_LIMIT || self.fill().await? == 0 {
                if !self.buffer.is_empty() {
                    let head = std::mem::take(&mut self.buffer);
                    let flaw = Some("a head without end".to_owned());
                    let seen = Seen { head, flaw, connection: self.number, ..Seen::default() };
                    self.record.seen.lock().unwrap().push(seen);
                }
                return Ok(None);
            }
        }
    }

    async fn body(&mut self, seen: &mut Seen, at: usize) -> std::io::Result<()> {
        if seen.whole {
            return Ok(());
        }
        if seen.value("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let read = if seen.chunked() { self.chunks(seen).await } else { self.exactly(seen.length(), seen).await };
        seen.whole = matches!(read, Ok(true));
        if let Some(kept) = self.record.seen.lock().unwrap().get_mut(at)
            && kept.head == seen.head
        {
            *kept = seen.clone();
        }
        match read {
            Ok(true) => Ok(()),
            Ok(false) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        }
    }

    /// False when the connection ended first.
    async fn exactly(&mut self, length: u64, seen: &mut Seen) -> std::io::Result<bool> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Ok(false);
            }
            let take = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = BODY_KEPT.saturating_sub(seen.body.len()).min(take);
            seen.body.extend_from_slice(&self.buffer[..room]);
            self.buffer.drain(..take);
            seen.body_bytes += take as u64;
            self.record.moved.fetch_add(take, Ordering::SeqCst);
            left -= take as u64;
        }
        Ok(true)
    }

    async fn chunks(&mut self, seen: &mut Seen) -> std::io::Result<bool> {
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            let Ok(size) = u64::from_str_radix(&line, 16) else {
                seen.flaw = Some(format!("chunk size {line:?}"));
                return Ok(false);
            };
            if size == 0 {
                break;
            }
            if !self.exactly(size, seen).await? || self.line().await?.as_deref() != Some("") {
                return Ok(false);
            }
        }
        loop {
            match self.line().await?.as_deref() {
                None => return Ok(false),
                Some("") => return Ok(true),
                Some(field) => {
                    let (name, value) = field.split_once(':').unwrap_or((field, ""));
                    seen.trailers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    async fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(Some(latin1(&line[..end])));
            }
            if self.buffer.len() > HEAD_LIMIT || self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads a head as RFC 9112 has it, and notes the first thing that is not.
fn read_head(head: &[u8]) -> Seen {
    let text = latin1(&head[..head.len() - 4]);
    let mut seen = Seen { head: head.to_vec(), ..Seen::default() };
    let mut lines = text.split("\r\n");
    let request_line = lines.next().unwrap_or("");
    let words: Vec<_> = request_line.split(' ').collect();
    let [method, target, version] = words[..] else {
        seen.flaw = Some(format!("request line {request_line:?}"));
        return seen;
    };
    (seen.method, seen.target) = (method.to_owned(), target.to_owned());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or(("", line));
        seen.fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    seen.flaw = flaw(&text, version, &seen);
    seen.whole = !seen.chunked() && seen.length() == 0;
    seen
}

fn flaw(text: &str, version: &str, seen: &Seen) -> Option<String> {
    let token = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let asterisk = seen.target == "*" && seen.method == "OPTIONS";
    let (lengths, codings) = (seen.values("content-length"), seen.values("transfer-encoding"));
    if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        Some("a bare CR, LF or NUL".to_owned())
    } else if version != "HTTP/1.1" {
        Some(format!("version {version:?}"))
    } else if !token(&seen.method) {
        Some(format!("method {:?}", seen.method))
    } else if !seen.target.starts_with('/') && !asterisk {
        Some(format!("target {:?}", seen.target))
    } else if let Some((name, _)) = seen.fields.iter().find(|(name, _)| !token(name)) {
        Some(format!("field name {name:?}"))
    } else if seen.values("host").len() != 1 {
        Some(format!("{} Host fields", seen.values("host").len()))
    } else if lengths.len() + codings.len() > 1 {
        Some("more than one framing field".to_owned())
    } else if lengths.iter().any(|length| length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(format!("Content-Length {lengths:?}"))
    } else if codings.iter().any(|coding| *coding != "chunked") {
        Some(format!("Transfer-Encoding {codings:?}"))
    } else {
        None
    }
}
