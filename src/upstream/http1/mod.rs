//! HTTP/1.1 towards a server. There is no task beside the request's own: whoever waits for an answer writes the
//! request and reads the answer's head ([`Exchange`]), and whoever reads the answer's body reads the socket
//! ([`Download`]). Between two requests nobody holds the connection but its pool.
//!
//! The message that goes out is written anew from parsed values ([`sending`]); what comes back is read by RFC 9112
//! and refused where its end could be in doubt ([`answer`], [`decoder`]).

mod answer;
mod decoder;
mod download;
mod sending;
mod tunnel;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) use answer::Framing;
pub(super) use download::Download;
pub use tunnel::Tunnel;

use self::sending::{Sending, SendingFault};
use super::head::Said;
use super::limit::Place;
use super::request_body::RequestBody;
use super::stream::{Socket, Stream};
use crate::deadline::Slot;
use crate::wire::BoxError;

/// Room for one read, to begin with. Bytes.
const ROOM: usize = 16 * 1024;
/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 4 * 1024;
/// Bounds the head of an answer, and what is read ahead of a slow client for one answer.
const MOST_ROOM: usize = 128 * 1024;
/// What may come before the final head is complete, interim answers included: an endless row of 1xx ends here.
const MOST_BEFORE_HEAD: usize = 1024 * 1024;

/// One open connection: one request at a time.
#[derive(Debug)]
pub(super) struct Http1 {
    socket: Socket,
    /// What was read and belongs to nobody yet.
    buffer: BytesMut,
    /// Where request heads are written; kept for its memory.
    head: Vec<u8>,
    names: answer::Names,
    /// The endpoint's generation when this was opened.
    pub generation: u32,
    /// The pool's coarse time when this was last put back.
    pub since: u64,
    pub reused: bool,
    /// Where the wait for an answer's head is bounded; without one a timer of the runtime serves.
    pub slot: Option<Slot>,
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not a byte of the request was written.
    Unsent(io::Error),
    /// It was written, and not a byte of an answer came.
    Silent(io::Error),
    /// The connection ended inside the answer's head.
    Broken(io::Error),
    /// What came is no answer that could be passed on safely.
    Malformed(BoxError),
    /// The client's body failed; the error waits in its watch.
    RequestBody,
}

/// The final head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub head: Response<()>,
    pub framing: Framing,
    /// The server will take another request on this connection.
    pub persistent: bool,
    /// What is left of the request, when the answer came before its end.
    pub unsent: Option<Box<Sending>>,
}

impl Http1 {
    pub fn new(stream: Stream, place: Place, generation: u32) -> Self {
        Self {
            socket: Socket::new(stream, place),
            buffer: BytesMut::new(),
            head: Vec::new(),
            names: answer::Names::default(),
            generation,
            since: 0,
            reused: false,
            slot: None,
        }
    }

    /// Whether this idle connection can carry a request: a server that closed it, or said something that nobody asked
    /// for, can't. Costs no system call unless something happened on the socket.
    pub fn is_quiet(&mut self) -> bool {
        self.buffer.is_empty() && self.socket.is_quiet()
    }

    /// Whether nothing came behind the answer that is over: surplus bytes must never become the next answer.
    pub fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Sends `request`, which was fitted for HTTP/1.1, and waits for the final head of its answer.
    pub fn exchange<'a>(&'a mut self, request: &'a mut Request<RequestBody>, upgrade: bool) -> Exchange<'a> {
        let sending = Sending::new(request, std::mem::take(&mut self.head));
        Exchange { http1: self, request, sending, upgrade, write_error: None, scanned: 0, came: 0 }
    }

    pub fn into_tunnel(self) -> Tunnel {
        Tunnel::new(self.socket, self.buffer)
    }
}

/// One request on its way and the wait for the head of its answer. Reads while it still writes, since a server may
/// answer early.
pub(super) struct Exchange<'a> {
    http1: &'a mut Http1,
    request: &'a mut Request<RequestBody>,
    sending: Sending,
    upgrade: bool,
    /// Writing failed; an answer may have come before that.
    write_error: Option<io::Error>,
    /// How far the end of a head was looked for.
    scanned: usize,
    /// Bytes of interim answers.
    came: usize,
}

impl Future for Exchange<'_> {
    type Output = Result<Answer, Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.write_error.is_none() && !this.sending.is_over() {
            match this.sending.poll(this.request.body_mut(), &mut this.http1.socket, cx) {
                Poll::Ready(Err(SendingFault::Body)) => return Poll::Ready(Err(Fault::RequestBody)),
                // Under TLS a part may have been written before the error.
                Poll::Ready(Err(SendingFault::Socket(error)))
                    if !this.sending.has_begun() && !this.http1.socket.is_tls() =>
                {
                    this.request.body_mut().give_back(this.sending.take_data());
                    return Poll::Ready(Err(Fault::Unsent(error)));
                }
                Poll::Ready(Err(SendingFault::Socket(error))) => this.write_error = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if let Some(answered) = this.look() {
                return Poll::Ready(answered);
            }
            let room = ROOM.max(this.http1.buffer.len().min(MOST_ROOM));
            match ready!(poll_fill(&mut this.http1.socket, &mut this.http1.buffer, room, cx)) {
                Ok(0) => return Poll::Ready(Err(this.ended(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(this.ended(error))),
            }
        }
    }
}

impl Exchange<'_> {
    /// The final head, if the buffer holds it. One that comes in pieces is parsed anew only when its end may be there.
    fn look(&mut self) -> Option<Result<Answer, Fault>> {
        loop {
            let buffer = &mut self.http1.buffer;
            let before = buffer.len();
            let taken = match self.scanned {
                0 if before == 0 => Ok(None),
                from if from > 0 && !answer::may_end(buffer, from) => Ok(None),
                _ => answer::take(buffer, &mut self.http1.names),
            };
            match taken {
                Err(error) => return Some(Err(Fault::Malformed(error))),
                Ok(None) => {
                    self.scanned = before.saturating_sub(2);
                    let too_much = before > MOST_ROOM || self.came > MOST_BEFORE_HEAD;
                    return too_much.then(|| Err(Fault::Malformed("the head of the answer is too large".into())));
                }
                Ok(Some((head, said))) => {
                    self.scanned = 0;
                    self.came += before - buffer.len();
                    let status = head.status();
                    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                        return Some(self.accept(head, &said));
                    }
                }
            }
        }
    }

    fn accept(&mut self, head: Response<()>, said: &Said) -> Result<Answer, Fault> {
        said.judge(head.status(), self.upgrade).map_err(Fault::Malformed)?;
        let framing = Framing::of(&head, said, *self.request.method() == Method::HEAD).map_err(Fault::Malformed)?;
        // A server that speaks HTTP/1.0 closes, whatever it says; after an upgrade that was refused it may still not
        // expect a request (RFC 9112 section 9.3).
        let persistent =
            head.version() == Version::HTTP_11 && framing != Framing::UntilClose && !said.closes() && !self.upgrade;
        self.http1.head = self.sending.take_head();
        let whole = self.sending.is_over();
        let goes_on = !whole && self.write_error.is_none();
        let unsent = goes_on.then(|| Box::new(std::mem::take(&mut self.sending)));
        Ok(Answer { head, framing, persistent: persistent && whole, unsent })
    }

    #[cold]
    fn ended(&mut self, error: io::Error) -> Fault {
        let error = self.write_error.take().unwrap_or(error);
        if self.came == 0 && self.http1.buffer.is_empty() { Fault::Silent(error) } else { Fault::Broken(error) }
    }
}

/// Reads once, into room for `room` bytes if little is left. 0 is the end.
fn poll_fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if buffer.capacity() - buffer.len() < LEAST_ROOM {
        buffer.reserve(room);
    }
    pin!(stream.read_buf(buffer)).poll(cx)
}
