//! The body of an answer as it is read off its connection.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use atomic_waker::AtomicWaker;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::ReadHalf;
use tokio::task::AbortHandle;

use super::decoder::{Decoder, Piece};
use super::sending::{Sending, SendingFault};
use super::{Framing, Http1, MOST_ROOM, ROOM, poll_fill};
use crate::upstream::pool::drive;
use crate::upstream::request_body::RequestBody;
use crate::upstream::stream::Socket;
use crate::wire::BoxError;

/// See the module.
#[derive(Debug)]
pub struct Download {
    link: Link,
    decoder: Decoder,
    /// Room for the next read: it grows with a stream that fills it.
    room: usize,
}

/// Where the body comes from.
#[derive(Debug)]
enum Link {
    Whole(Box<Http1>),
    /// The rest of the request is still being written, by a task of its own.
    Half {
        socket: ReadHalf<Socket>,
        buffer: BytesMut,
        rest: Rest,
    },
}

/// What writes the rest of a request. It ends with the answer: then nobody wants that rest.
#[derive(Debug)]
struct Rest {
    task: AbortHandle,
    broken: Arc<Broken>,
}

/// Whether the request's body failed: its server waits for the rest, and must not be waited for.
#[derive(Debug, Default)]
struct Broken {
    is: AtomicBool,
    reader: AtomicWaker,
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rest {
    fn is_broken(&self, cx: &Context<'_>) -> bool {
        self.broken.reader.register(cx.waker());
        self.broken.is.load(Ordering::Acquire)
    }
}

impl Download {
    pub fn new(http1: Box<Http1>, framing: Framing) -> Self {
        Self { link: Link::Whole(http1), decoder: Decoder::new(framing), room: ROOM }
    }

    /// The same while the request is not over. The rest of it is written by a task of its own: a server that answers
    /// early may still want all of it, and a client that takes its time over the answer must not hold it up.
    pub fn beside(http1: Http1, framing: Framing, mut sending: Box<Sending>, mut body: RequestBody) -> Self {
        let Http1 { socket, buffer, .. } = http1;
        let (socket, mut write) = tokio::io::split(socket);
        let broken = Arc::<Broken>::default();
        let told = Arc::clone(&broken);
        let task = drive(async move {
            let sent = poll_fn(|cx| sending.poll(&mut body, &mut write, cx)).await;
            // A server that does not read on may still have an answer.
            if let Err(SendingFault::Body) = sent {
                told.is.store(true, Ordering::Release);
                told.reader.wake();
            }
        });
        let rest = Rest { task, broken };
        Self { link: Link::Half { socket, buffer, rest }, decoder: Decoder::new(framing), room: ROOM }
    }

    /// The whole body, if it was read with its head: then the connection is free at once.
    pub fn at_once(&mut self) -> Result<Option<Bytes>, BoxError> {
        let (Some(left), Link::Whole(http1)) = (self.decoder.remaining(), &mut self.link) else { return Ok(None) };
        if left > http1.buffer.len() as u64 {
            return Ok(None);
        }
        match self.decoder.next(&mut http1.buffer)? {
            Piece::Data(data) => Ok(Some(data)),
            Piece::Trailers(_) | Piece::Starved | Piece::Over => Ok(Some(Bytes::new())),
        }
    }

    pub fn is_over(&self) -> bool {
        self.decoder.is_over()
    }

    /// The connection, if it is in one piece.
    pub fn into_connection(self) -> Option<Box<Http1>> {
        match self.link {
            Link::Whole(http1) => Some(http1),
            Link::Half { .. } => None,
        }
    }

    pub fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Link::Half { rest, .. } = &self.link
            && rest.is_broken(cx)
        {
            return Poll::Ready(Some(Err("the request broke off beside its answer".into())));
        }
        loop {
            let buffer = self.link.buffer();
            match self.decoder.next(buffer) {
                Ok(Piece::Data(data)) => {
                    self.decoder.settle(buffer);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Piece::Trailers(fields)) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Ok(Piece::Over) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Piece::Starved) => {}
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if self.decoder.end() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.decoder.remaining().and_then(|left| usize::try_from(left).ok()).unwrap_or(MOST_ROOM);
        let room = self.room.min(left.max(ROOM));
        let read = ready!(match &mut self.link {
            Link::Whole(http1) => poll_fill(&mut http1.socket, &mut http1.buffer, room, cx),
            Link::Half { socket, buffer, .. } => poll_fill(socket, buffer, room, cx),
        });
        let buffer = self.link.buffer();
        if buffer.len() == buffer.capacity() {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(read)
    }
}

impl Link {
    fn buffer(&mut self) -> &mut BytesMut {
        match self {
            Self::Whole(http1) => &mut http1.buffer,
            Self::Half { buffer, .. } => buffer,
        }
    }
}
