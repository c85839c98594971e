//! One open socket to a server, and a [`Tap`] on it. hyper alone can't tell whether a broken exchange had brought
//! any byte of an answer, and it keeps no copy of a head that it has written; the tap knows the first and keeps the
//! second, in a buffer that is filled anew for each request, so that a request lost on a connection that the server
//! was just closing can be sent again without cloning every request beforehand.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Heads up to this size can be sent again.
const LONGEST_KEPT_HEAD: usize = 16 * 1024;
/// What may come before the final head is complete, interim answers included: an endless row of 1xx ends here.
const MOST_BEFORE_HEAD: usize = 1024 * 1024;

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the owner of a connection and its tap tell each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    phase: AtomicU8,
    /// Bytes that came since the request went out.
    came: AtomicUsize,
    lost: Mutex<Option<Vec<u8>>>,
}

/// Nothing is watched: a body is under way, or HTTP/2 is spoken.
const QUIET: u8 = 0;
/// The next bytes written are a head that shall be kept.
const KEEP: u8 = 1;
/// The head was kept and the final head of the answer has not come yet.
const KEPT: u8 = 2;
/// The same, but nothing was kept.
const WAITING: u8 = 3;
/// The exchange was broken off: nothing is read or written any more.
const CUT: u8 = 4;

impl Line {
    /// A request is about to be sent; `keep` its head.
    pub fn begin(&self, keep: bool) {
        self.came.store(0, Ordering::Relaxed);
        self.phase.store(if keep { KEEP } else { WAITING }, Ordering::Release);
    }

    /// The final head has come.
    pub fn head_came(&self) {
        self.phase.store(QUIET, Ordering::Release);
    }

    /// The exchange is broken off; the socket's owner learns of it the next time it is woken.
    pub fn cut(&self) {
        self.phase.store(CUT, Ordering::Release);
    }

    /// The head of a request that was lost before any byte of an answer came.
    pub fn take_lost_head(&self) -> Option<Vec<u8>> {
        if self.came.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream with an ear on it. `T` lives as long as the socket does: it counts open connections.
pub(super) struct Tap<T> {
    stream: Stream,
    line: Arc<Line>,
    head: Vec<u8>,
    /// Something was given to the socket and not flushed since: hyper flushes only when its buffer is empty.
    unflushed: bool,
    _held: T,
}

impl<T> Tap<T> {
    pub fn new(stream: Stream, line: Arc<Line>, held: T) -> Self {
        Self { stream, line, head: Vec::new(), unflushed: false, _held: held }
    }

    fn heed_write<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> io::Result<()> {
        let clean = !std::mem::replace(&mut self.unflushed, true);
        match self.line.phase.load(Ordering::Relaxed) {
            KEEP => {}
            CUT => return Err(io::ErrorKind::ConnectionAborted.into()),
            _ => return Ok(()),
        }
        // Bytes of an earlier message may stand before the head in the same buffer: then nothing is kept.
        let keep = clean && parts.clone().map(<[u8]>::len).sum::<usize>() <= LONGEST_KEPT_HEAD;
        if keep {
            self.head.clear();
            parts.for_each(|part| self.head.extend_from_slice(part));
        }
        self.line.phase.store(if keep { KEPT } else { WAITING }, Ordering::Relaxed);
        Ok(())
    }

    fn heed_read(&mut self, count: usize) -> io::Result<()> {
        if self.line.phase.load(Ordering::Relaxed) == QUIET {
            return Ok(());
        }
        if count == 0 {
            self.lose();
            return Ok(());
        }
        // One task alone writes this number: no atomic addition is needed.
        let came = self.line.came.load(Ordering::Relaxed).saturating_add(count);
        self.line.came.store(came, Ordering::Release);
        if came > MOST_BEFORE_HEAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too much came before the head of the answer"));
        }
        Ok(())
    }

    /// The connection is gone: whoever waits may have the head back.
    #[cold]
    fn lose(&mut self) {
        if self.line.phase.load(Ordering::Relaxed) == KEPT {
            *self.line.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::take(&mut self.head));
        }
    }

    fn heed_failure(&mut self, written: &io::Result<usize>) {
        if written.is_err() {
            self.lose();
        }
    }
}

impl<T: Unpin> AsyncRead for Tap<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.line.phase.load(Ordering::Relaxed) == CUT {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let read = match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match ready!(read) {
            Ok(()) => Poll::Ready(this.heed_read(buf.filled().len() - before)),
            Err(error) => {
                this.lose();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<T: Unpin> AsyncWrite for Tap<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.heed_write(std::iter::once(bytes))?;
        let written = ready!(match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        });
        this.heed_failure(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = parts {
            // A head without a body: sending one piece is less work than a list of one.
            return self.poll_write(cx, only);
        }
        let this = self.get_mut();
        this.heed_write(parts.iter().map(|part| &**part))?;
        let written = ready!(match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        });
        this.heed_failure(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(match &mut this.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        });
        this.unflushed = false;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn tapped() -> (Tap<()>, Arc<Line>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let line = Arc::<Line>::default();
        (Tap::new(Stream::Unix(near), Arc::clone(&line), ()), line, far)
    }

    #[tokio::test]
    async fn a_head_that_nobody_answered_can_be_had_back_once() {
        let (mut tap, line, far) = tapped();
        line.begin(true);
        tap.write_all(HEAD).await.unwrap();
        tap.flush().await.unwrap();
        drop(far);
        let _ = tap.read(&mut [0; 8]).await;
        assert_eq!(line.take_lost_head().as_deref(), Some(HEAD));
        assert_eq!(line.take_lost_head(), None);
    }

    #[tokio::test]
    async fn nothing_is_had_back_after_a_byte_of_an_answer() {
        let (mut tap, line, mut far) = tapped();
        line.begin(true);
        tap.write_all(HEAD).await.unwrap();
        far.write_all(b"H").await.unwrap();
        drop(far);
        while tap.read(&mut [0; 8]).await.is_ok_and(|count| count > 0) {}
        assert_eq!(line.take_lost_head(), None);
    }

    #[tokio::test]
    async fn the_end_of_an_earlier_message_is_never_taken_for_a_head() {
        let (mut tap, line, far) = tapped();
        tap.write_all(b"GET /other HTTP/1.1\r\nx: ").await.unwrap();
        line.begin(true);
        tap.write_all(HEAD).await.unwrap();
        drop(far);
        let _ = tap.read(&mut [0; 8]).await;
        assert_eq!(line.take_lost_head(), None);
    }

    #[tokio::test]
    async fn an_earlier_head_is_never_taken_for_the_lost_one() {
        let (mut tap, line, far) = tapped();
        for keep in [true, false] {
            line.begin(keep);
            tap.write_all(HEAD).await.unwrap();
            tap.flush().await.unwrap();
        }
        drop(far);
        let _ = tap.read(&mut [0; 8]).await;
        assert_eq!(line.take_lost_head(), None);
    }

    #[tokio::test]
    async fn a_line_that_is_cut_reads_and_writes_nothing() {
        let (mut tap, line, mut far) = tapped();
        far.write_all(b"late").await.unwrap();
        line.cut();
        assert!(tap.read(&mut [0; 8]).await.is_err());
        assert!(tap.write(HEAD).await.is_err());
    }
}
