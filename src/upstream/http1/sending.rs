//! A request on its way out: its head written anew from parsed values, its body piece by piece, with as few writes as
//! the pieces allow.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Request;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::upstream::request_body::RequestBody;

/// Memory for a head that is kept from request to request. Bytes.
const KEPT_HEAD: usize = 16 * 1024;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const END_AND_LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// `ffffffffffffffff` and its CRLF.
const SIZE_LINE: usize = 18;

/// How the body is framed (RFC 9112 section 6). The head says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Empty,
    /// Bytes still owed.
    Length(u64),
    Chunked,
}

/// What is still to be written, in this order: head, size line, data, tail.
#[derive(Debug, Default)]
pub struct Sending {
    head: Vec<u8>,
    head_written: usize,
    line: SizeLine,
    data: Bytes,
    tail: &'static [u8],
    coding: Coding,
    /// Nothing more will be asked of the body.
    body_over: bool,
    begun: bool,
    /// Bytes may lie between the last write and the kernel.
    unflushed: bool,
}

#[derive(Debug)]
pub enum SendingFault {
    Socket(io::Error),
    /// The body failed, or is not as long as the head says.
    Body,
}

#[derive(Debug, Default)]
struct SizeLine {
    text: [u8; SIZE_LINE],
    from: usize,
    to: usize,
}

impl SizeLine {
    fn of(size: usize) -> Self {
        let mut line = Self::default();
        let mut free = &mut line.text[..];
        // 16 hexadecimal digits and CRLF always fit.
        let _ = write!(free, "{size:x}\r\n");
        let left = free.len();
        line.to = SIZE_LINE - left;
        line
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.from..self.to).unwrap_or_default()
    }
}

impl Sending {
    /// `memory` is that of an earlier head.
    pub fn new(request: &Request<RequestBody>, memory: Vec<u8>) -> Self {
        let coding = Coding::of(request);
        let head = write_head(request, coding, memory);
        Self { head, coding, body_over: coding == Coding::Empty, ..Self::default() }
    }

    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Everything was written.
    pub fn is_over(&self) -> bool {
        self.body_over && self.left() == 0 && !self.unflushed
    }

    /// The piece of the body that was to be written next.
    pub fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }

    /// The head's memory, once the head was written.
    pub fn take_head(&mut self) -> Vec<u8> {
        if self.head_written < self.head.len() || self.head.capacity() > KEPT_HEAD {
            return Vec::new();
        }
        self.head_written = 0;
        std::mem::take(&mut self.head)
    }

    /// Writes what can be written now. Ready when all was.
    pub fn poll(
        &mut self,
        body: &mut RequestBody,
        socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendingFault>> {
        loop {
            // The first piece of a body that is at hand goes out with the head, in one write.
            let starved = !self.body_over
                && self.data.is_empty()
                && self.tail.is_empty()
                && match self.poll_body(body, cx) {
                    Poll::Ready(Ok(())) => false,
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                    Poll::Pending => true,
                };
            ready!(self.poll_write(socket, cx)).map_err(SendingFault::Socket)?;
            if self.body_over {
                return Poll::Ready(Ok(()));
            }
            if starved {
                return Poll::Pending;
            }
        }
    }

    fn poll_body(&mut self, body: &mut RequestBody, cx: &mut Context<'_>) -> Poll<Result<(), SendingFault>> {
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().ok(),
            Some(Err(_)) => return Poll::Ready(Err(SendingFault::Body)),
            None => None,
        };
        Poll::Ready(match data {
            Some(data) => self.take(data, body.is_end_stream()),
            // Trailers end a body here: an HTTP/1.1 server gets none (contract, section 7).
            None => self.end(),
        })
    }

    fn take(&mut self, data: Bytes, is_last: bool) -> Result<(), SendingFault> {
        match &mut self.coding {
            Coding::Empty => {}
            Coding::Length(owed) => {
                *owed = owed.checked_sub(data.len() as u64).ok_or(SendingFault::Body)?;
                self.body_over = *owed == 0;
                self.data = data;
            }
            // An empty chunk would be the last one.
            Coding::Chunked if data.is_empty() => {}
            Coding::Chunked => {
                self.line = SizeLine::of(data.len());
                self.data = data;
                self.tail = if is_last { END_AND_LAST_CHUNK } else { b"\r\n" };
                self.body_over = is_last;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SendingFault> {
        match self.coding {
            Coding::Length(owed) if owed > 0 => return Err(SendingFault::Body),
            Coding::Chunked => self.tail = LAST_CHUNK,
            Coding::Empty | Coding::Length(_) => {}
        }
        self.body_over = true;
        Ok(())
    }

    fn left(&self) -> usize {
        self.head.len() - self.head_written + self.line.rest().len() + self.data.len() + self.tail.len()
    }

    fn poll_write(&mut self, socket: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            let head = self.head.get(self.head_written..).unwrap_or_default();
            let socket = Pin::new(&mut *socket);
            let written = if head.len() == self.left() {
                ready!(socket.poll_write(cx, head))?
            } else {
                let pieces = [head, self.line.rest(), &self.data, self.tail].map(IoSlice::new);
                ready!(socket.poll_write_vectored(cx, &pieces))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.begun, self.unflushed) = (true, true);
            self.advance(written);
        }
        ready!(Pin::new(socket).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let mut part = |length: usize| {
            let taken = written.min(length);
            written -= taken;
            taken
        };
        self.head_written += part(self.head.len() - self.head_written);
        self.line.from += part(self.line.rest().len());
        let data = part(self.data.len());
        self.data.advance(data);
        self.tail = self.tail.get(part(self.tail.len())..).unwrap_or_default();
    }
}

impl Coding {
    /// A body whose length was announced has that length; any other is sent in chunks.
    fn of(request: &Request<RequestBody>) -> Self {
        if request.body().is_end_stream() {
            return Self::Empty;
        }
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        announced.or_else(|| request.body().size_hint().exact()).map_or(Self::Chunked, Self::Length)
    }
}

fn write_head(request: &Request<RequestBody>, coding: Coding, memory: Vec<u8>) -> Vec<u8> {
    let mut head = memory;
    head.clear();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    head.reserve(256 + target.len());
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let mut says_length = false;
    for (name, value) in request.headers() {
        // The one opinion on the body's length is that by which it is written.
        if *name == CONTENT_LENGTH {
            says_length = true;
        } else if *name != TRANSFER_ENCODING {
            write_field(&mut head, name.as_str(), value.as_bytes());
        }
    }
    match coding {
        // Said where the client said it: some servers want it with each POST.
        Coding::Empty if !says_length => {}
        Coding::Empty => write_field(&mut head, CONTENT_LENGTH.as_str(), b"0"),
        Coding::Length(length) => write_field(&mut head, CONTENT_LENGTH.as_str(), length.to_string().as_bytes()),
        Coding::Chunked => write_field(&mut head, TRANSFER_ENCODING.as_str(), b"chunked"),
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn write_field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
