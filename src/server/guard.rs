//! The watch between the socket and hyper. Comes in: bytes as they arrive. Goes out: the same bytes, but only whole
//! heads that [`head::scan`] found good, and bodies whose framing holds. A violation ends the stream of requests: hyper
//! is given one synthetic request in place of the rest, which the gateway answers with the refusal, so that every
//! refusal takes the one path (answer, log, metric). Also the home of the header, body and idle timeouts.
//!
//! After a head that asks for an upgrade nothing more is read until that is settled, so no early byte can reach an
//! upstream before its 101, nor become a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunked::Chunked;
use super::head::{self, Framing, HeadLimits, Scan};
use crate::deadline::Slot;
use crate::wire::watch::{Settled, Violation, Watch};

/// Stands in for whatever broke the grammar; its fate is decided by [`Watch::violation_of`].
const SYNTHETIC: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// What the client sent that is thrown away, at most, before a connection that ends in refusal is closed.
const LINGER_BYTES: usize = 512 * 1024;
const LINGER: Duration = Duration::from_secs(2);

/// A client that ends its side may still read: requests that came whole are answered if that takes no longer. Beyond it
/// the client is taken for gone, so that what it asked for is given up upstream too.
const HALF_CLOSED: Duration = Duration::from_millis(300);
/// So many bytes are put together rather than handed to the kernel in pieces: that costs it more than copying them.
const GATHERED: usize = 4096;

/// Time limits of the read side; zero = none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTimeouts {
    pub head: Duration,
    pub body: Duration,
    pub idle: Duration,
}

/// A stream that lets only well-framed HTTP/1.1 through.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    watch: Arc<Watch>,
    slot: Arc<Slot>,
    limits: HeadLimits,
    timeouts: ReadTimeouts,
    state: State,
    /// Bytes read but not yet judged or not yet handed over: `held[handed..]` are to come.
    held: Vec<u8>,
    /// How many bytes of `held` were judged good.
    good: usize,
    handed: usize,
    /// The synthetic request was handed over.
    spoken: bool,
    lingered: usize,
    wait: Wait,
}

/// What the slot's limit is for. It is set when such a wait begins, and not again while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Nothing,
    Idle,
    /// Runs from a head's first byte, however slowly the others come.
    Head,
    Body,
    HalfClosed,
    Linger,
}

#[derive(Debug)]
enum State {
    Head,
    Body(u64),
    Chunked(Box<Chunked>),
    /// An upgrade is asked for and not settled.
    Waiting,
    Tunnel,
    /// Nothing more is read: a violation or a CONNECT. Not the end for hyper while an answer is under way.
    Over,
    /// The client has ended its side while answers are due.
    HalfClosed,
    /// The client has ended the stream, or was idle too long.
    Ended,
    /// The body broke: hyper is told by an error.
    Broken,
}

impl<S> Guard<S> {
    /// Guards a connection of which `first` has been read already.
    pub fn new(stream: S, first: Vec<u8>, rules: (HeadLimits, ReadTimeouts), slot: Arc<Slot>) -> Self {
        let (limits, timeouts) = rules;
        let watch = Arc::default();
        Self {
            stream,
            watch,
            slot,
            limits,
            timeouts,
            state: State::Head,
            held: first,
            good: 0,
            handed: 0,
            spoken: false,
            lingered: 0,
            wait: Wait::Nothing,
        }
    }

    /// A stream of HTTP/2, whose framing h2 judges: bytes pass as they are.
    pub fn transparent(stream: S, first: Vec<u8>, slot: Arc<Slot>) -> Self {
        let limits = HeadLimits { target: 0, header: 0, field: 0, fields: 0 };
        let timeouts = ReadTimeouts { head: Duration::ZERO, body: Duration::ZERO, idle: Duration::ZERO };
        let mut guard = Self::new(stream, first, (limits, timeouts), slot);
        guard.state = State::Tunnel;
        guard.good = guard.held.len();
        guard
    }

    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Judges `bytes` from the current state on. Goes out: how many may pass now. What is left is the start of a head
    /// that is not complete, or comes after a violation, an upgrade or a CONNECT.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            match &mut self.state {
                State::Head => match head::scan(rest, &self.limits) {
                    Ok(Scan::Partial) => break,
                    Ok(Scan::Complete(head)) => {
                        passed += head.length;
                        self.watch.head_passed();
                        self.state = self.after(head);
                    }
                    Err(violation) => {
                        self.watch.violate(violation);
                        self.state = State::Over;
                        break;
                    }
                },
                State::Body(left) => {
                    let take = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    passed += take;
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunked(chunked) => match chunked.pass(rest) {
                    Ok((good, ended)) => {
                        passed += good;
                        if ended {
                            self.state = State::Head;
                        }
                    }
                    Err((good, violation)) => {
                        passed += good;
                        self.watch.violate_body(violation);
                        self.state = State::Broken;
                    }
                },
                State::Tunnel => passed = bytes.len(),
                State::Waiting | State::Over | State::HalfClosed | State::Ended | State::Broken => break,
            }
        }
        passed
    }

    fn after(&self, head: head::Head) -> State {
        if head.connect {
            return State::Over;
        }
        if head.upgrade {
            self.watch.ask_upgrade();
            return State::Waiting;
        }
        match head.framing {
            Framing::None => State::Head,
            Framing::Length(length) => State::Body(length),
            Framing::Chunked => State::Chunked(Box::default()),
        }
    }

    /// Sets the limit for the wait that is about to begin.
    fn arm(&mut self) {
        let (wait, limit) = match &self.state {
            State::Head if self.held.len() > self.handed => (Wait::Head, self.timeouts.head),
            // A client that waits for its answer is not idle.
            State::Head if self.watch.in_flight() => (Wait::Nothing, Duration::ZERO),
            State::Head => (Wait::Idle, self.timeouts.idle),
            State::Body(_) | State::Chunked(_) => (Wait::Body, self.timeouts.body),
            _ => (Wait::Nothing, Duration::ZERO),
        };
        self.await_for(wait, limit);
    }

    fn await_for(&mut self, wait: Wait, limit: Duration) {
        if self.wait != wait {
            self.slot.arm(limit);
            self.wait = wait;
        }
    }

    fn disarm(&mut self) {
        self.wait = Wait::Nothing;
        self.slot.disarm();
    }

    /// A limit has passed. Goes out: whether the connection ends without a word (it was idle).
    fn expire(&mut self) -> bool {
        match self.state {
            State::Head if self.held.len() > self.handed => {
                self.watch.violate(Violation::HeadTimeout);
                self.state = State::Over;
                self.held.clear();
                self.handed = 0;
                self.good = 0;
                false
            }
            State::Body(_) | State::Chunked(_) => {
                self.watch.violate_body(Violation::BodyTimeout);
                self.state = State::Broken;
                false
            }
            _ => {
                self.state = State::Ended;
                true
            }
        }
    }

    /// Hands over judged bytes that are held; true when there were any.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let ready = self.held.get(self.handed..self.good).unwrap_or_default();
        let take = ready.len().min(buf.remaining());
        if take == 0 {
            return false;
        }
        buf.put_slice(ready.get(..take).unwrap_or_default());
        self.handed += take;
        if self.handed == self.held.len() {
            self.held = Vec::new();
            self.handed = 0;
            self.good = 0;
        }
        true
    }

    fn judge_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.good += self.judge(held.get(self.good..).unwrap_or_default());
        self.held = held;
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// What to do before the socket is read: hand over what is held, settle an upgrade, or end.
    fn before_read(&mut self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Option<Poll<io::Result<()>>> {
        loop {
            if self.hand_over(buf) {
                // What was waited for has come; a limit left standing would end a later wait before its time.
                self.disarm();
                return Some(Poll::Ready(Ok(())));
            }
            match &self.state {
                State::Waiting => {
                    self.watch.register(cx.waker());
                    match self.watch.settled() {
                        Settled::Upgraded => self.state = State::Tunnel,
                        Settled::Refused => self.state = State::Head,
                        Settled::Open => return Some(Poll::Pending),
                    }
                    self.judge_held();
                }
                State::Over => return Some(self.finish(cx, buf)),
                State::HalfClosed => {
                    self.watch.register(cx.waker());
                    if self.watch.in_flight() && !self.slot.is_expired() {
                        self.await_for(Wait::HalfClosed, HALF_CLOSED);
                        return Some(Poll::Pending);
                    }
                    self.disarm();
                    self.state = State::Ended;
                }
                State::Ended => return Some(Poll::Ready(Ok(()))),
                State::Broken => return Some(Poll::Ready(Err(io::ErrorKind::InvalidData.into()))),
                State::Head | State::Body(_) | State::Chunked(_) if self.good < self.held.len() => {
                    let before = (self.good, std::mem::discriminant(&self.state));
                    self.judge_held();
                    if before == (self.good, std::mem::discriminant(&self.state)) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    /// The stream of requests is over: the synthetic request if there was a violation, then the end, but not before
    /// everything is answered (hyper takes an end in the middle of an answer for a client that went away).
    fn finish(&mut self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_violated() && !self.spoken {
            if buf.remaining() < SYNTHETIC.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            buf.put_slice(SYNTHETIC);
            self.spoken = true;
            return Poll::Ready(Ok(()));
        }
        self.watch.register(cx.waker());
        if self.watch.in_flight() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn read_into_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; 4096];
        let mut piece = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        // A client that sends ahead may never end a piece where a request ends: what was handed over must not pile up.
        self.held.drain(..self.handed);
        self.good -= self.handed;
        self.handed = 0;
        self.held.extend_from_slice(piece.filled());
        let read = piece.filled().len();
        self.judge_held();
        Poll::Ready(Ok(read))
    }

    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let read = fresh.len();
        let passed = self.judge(fresh);
        if passed < read {
            if matches!(self.state, State::Head | State::Waiting) {
                self.held = fresh.get(passed..).unwrap_or_default().to_vec();
            }
            buf.set_filled(before + passed);
        }
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.state, State::Tunnel) && this.held.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        loop {
            if let Some(done) = this.before_read(cx, buf) {
                return done;
            }
            let before = buf.filled().len();
            let read = if this.held.is_empty() { this.read_through(cx, buf) } else { this.read_into_held(cx) };
            match read {
                Poll::Ready(Ok(0)) => {
                    // Half a head is no request: the end is the end.
                    this.held.clear();
                    (this.good, this.handed) = (0, 0);
                    this.disarm();
                    if !matches!(this.state, State::Head) {
                        this.state = State::Ended;
                        return Poll::Ready(Ok(()));
                    }
                    this.watch.close();
                    this.state = State::HalfClosed;
                }
                Poll::Ready(Ok(_)) if buf.filled().len() > before => {
                    this.disarm();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if this.slot.is_expired() {
                        this.disarm();
                        if this.expire() {
                            return Poll::Ready(Ok(()));
                        }
                        continue;
                    }
                    this.arm();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Reads and throws away what a refused client is still sending, so that closing does not reset the connection
    /// before the client has read its answer (RFC 9112 section 9.6).
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut chunk = [0; 4096];
        loop {
            let mut piece = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() && self.lingered < LINGER_BYTES => {
                    self.lingered += piece.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.slot.is_expired() => return Poll::Ready(()),
                Poll::Pending => {
                    self.await_for(Wait::Linger, LINGER);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > GATHERED {
            return stream.poll_write_vectored(cx, slices);
        }
        let mut gathered: SmallVec<[u8; GATHERED]> = SmallVec::new();
        for slice in slices {
            gathered.extend_from_slice(slice);
        }
        stream.poll_write(cx, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        // Between two requests nothing is under way; in a tunnel the other side decides.
        let quiet = matches!(this.state, State::Tunnel | State::Ended)
            || (matches!(this.state, State::Head) && this.held.is_empty());
        if !quiet {
            if this.lingered == 0 {
                this.disarm();
                this.lingered = 1;
            }
            ready!(this.linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
