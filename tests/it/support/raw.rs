//! A client that sends any bytes, in any pieces, and reads whatever comes back: answers parsed leniently, in order, with
//! how the connection ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as its framing promised.
    pub whole: bool,
}

impl Answer {
    /// The values of a field, in order, whatever the case of its name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The other side closed, in order.
    Closed,
    /// The other side reset the connection.
    Reset,
    /// Still open when we stopped looking.
    Open,
}

/// What came back on one connection.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Final answers and interim ones, in the order they came.
    pub answers: Vec<Answer>,
    /// Bytes behind the last answer that could be read.
    pub rest: Vec<u8>,
    pub ending: Ending,
}

impl Talk {
    pub fn finals(&self) -> Vec<&Answer> {
        self.answers.iter().filter(|answer| answer.status >= 200).collect()
    }

    pub fn statuses(&self) -> Vec<u16> {
        self.finals().iter().map(|answer| answer.status).collect()
    }
}

/// When to stop reading.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This many final answers are whole, or the connection ended.
    Answers(usize),
    /// The connection ended, or nothing came for this long.
    Quiet(Duration),
    /// The connection ended.
    End,
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    ending: Ending,
    /// Answers to HEAD have no body, whatever their fields say.
    head: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the gateway takes connections"))
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        Self { stream, received: Vec::new(), ending: Ending::Open, head: false }
    }

    /// From here on, answers are those to HEAD requests.
    pub fn expect_no_bodies(mut self) -> Self {
        self.head = true;
        self
    }

    /// Sends what it can: a gateway that refuses may well close before it has read everything.
    pub async fn send(&mut self, bytes: &[u8]) {
        if timeout_at(Instant::now() + PATIENCE, self.stream.write_all(bytes)).await.is_err() {
            panic!("the gateway does not read");
        }
    }

    /// Sends byte for byte, each in a segment of its own as far as the system allows.
    pub async fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(std::slice::from_ref(byte)).await;
            tokio::task::yield_now().await;
        }
    }

    pub async fn finish_sending(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Everything that came so far and has not been taken as an answer.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Reads until `until`, or for as long as patience lasts; gives what came as answers.
    pub async fn read(&mut self, until: Until) -> Talk {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Until::Answers(wanted) = until {
                let (answers, _) = parse(&self.received, self.ending != Ending::Open, self.head);
                if answers.iter().filter(|answer| answer.status >= 200 && answer.whole).count() >= wanted {
                    break;
                }
            }
            let limit = match until {
                Until::Quiet(quiet) => end.min(Instant::now() + quiet),
                Until::Answers(_) | Until::End => end,
            };
            if self.ending != Ending::Open || !self.more(limit).await {
                break;
            }
        }
        let (answers, used) = parse(&self.received, self.ending != Ending::Open, self.head);
        let rest = self.received[used..].to_vec();
        self.received.clear();
        Talk { answers, rest, ending: self.ending }
    }

    /// The next final answer; interim ones before it are left out.
    pub async fn answer(&mut self) -> Answer {
        let talk = self.read(Until::Answers(1)).await;
        self.received = talk.rest.clone();
        let found = talk.answers.into_iter().find(|answer| answer.status >= 200);
        found.unwrap_or_else(|| panic!("no answer; {:?}, {:?}", talk.ending, String::from_utf8_lossy(&talk.rest)))
    }

    /// Reads once. False when nothing came before the limit.
    pub async fn more(&mut self, limit: Instant) -> bool {
        let mut buffer = [0; 16 * 1024];
        match timeout_at(limit, self.stream.read(&mut buffer)).await {
            Err(_) => return false,
            Ok(Ok(0)) => self.ending = Ending::Closed,
            Ok(Ok(length)) => self.received.extend_from_slice(&buffer[..length]),
            Ok(Err(_)) => self.ending = Ending::Reset,
        }
        true
    }

    /// Reads until these bytes have come.
    pub async fn until_received(&mut self, wanted: &[u8]) {
        let end = Instant::now() + PATIENCE;
        while !self.received.windows(wanted.len()).any(|window| window == wanted) {
            let came = self.ending == Ending::Open && self.more(end).await;
            assert!(
                came,
                "{:?} did not come, but {:?}",
                String::from_utf8_lossy(wanted),
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    pub fn ending(&self) -> Ending {
        self.ending
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// Sends the bytes on a fresh connection and reads.
pub async fn talk(address: SocketAddr, bytes: &[u8], until: Until) -> Talk {
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    connection.read(until).await
}

/// An ordinary GET on a fresh connection.
pub async fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    request(address, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

/// An ordinary request on a fresh connection; it must get an answer.
pub async fn request(address: SocketAddr, bytes: &str) -> Answer {
    let mut connection = Connection::open(address).await;
    connection.head = bytes.starts_with("HEAD ");
    connection.send(bytes.as_bytes()).await;
    connection.answer().await
}

/// Reads answers from the front of `bytes`; gives them and how many bytes they took. An answer that is not whole is given
/// when the connection is over, so that a cut message can be seen.
fn parse(bytes: &[u8], over: bool, head: bool) -> (Vec<Answer>, usize) {
    let mut answers = Vec::new();
    let mut at = 0;
    while let Some((answer, length)) = parse_one(&bytes[at..], over, head) {
        at += length;
        let stop = !answer.whole || answer.status == 101;
        answers.push(answer);
        if stop {
            break;
        }
    }
    (answers, at)
}

fn parse_one(bytes: &[u8], over: bool, head: bool) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut answer = Answer { status, fields, body: Vec::new(), whole: true };
    if status < 200 || status == 204 || status == 304 || head {
        return Some((answer, end));
    }
    let rest = &bytes[end..];
    let used = if answer.values("transfer-encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        let (body, used, whole) = unchunk(rest);
        (answer.body, answer.whole) = (body, whole);
        used
    } else if let Some(length) = answer.value("content-length").and_then(|length| length.parse::<usize>().ok()) {
        answer.whole = rest.len() >= length;
        answer.body = rest[..rest.len().min(length)].to_vec();
        answer.body.len()
    } else {
        answer.whole = over;
        answer.body = rest.to_vec();
        rest.len()
    };
    (answer.whole || over).then_some((answer, end + used))
}

/// The data of a chunked body, the bytes it took, and whether it came to its end.
fn unchunk(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let mut data = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return (data, bytes.len(), false);
        };
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let Ok(size) = usize::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16) else {
            return (data, at, false);
        };
        at += line + 2;
        if size == 0 {
            // Trailer fields, up to the empty line.
            loop {
                let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
                    return (data, bytes.len(), false);
                };
                at += line + 2;
                if line == 0 {
                    return (data, at, true);
                }
            }
        }
        if bytes.len() < at + size + 2 {
            data.extend_from_slice(&bytes[at.min(bytes.len())..bytes.len().min(at + size)]);
            return (data, bytes.len(), false);
        }
        data.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
    }
}
