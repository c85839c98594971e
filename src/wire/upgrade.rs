//! The two-way pipe of a connection that has switched protocols.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Carries bytes both ways until both sides have ended, one has failed, or neither has said anything for as long as
/// `idle` (zero = no limit).
pub async fn pipe(client: OnUpgrade, upstream: impl AsyncRead + AsyncWrite + Unpin, idle: Duration) {
    let Ok(client) = client.await else { return };
    let heard = Arc::<AtomicU64>::default();
    let mut client = Heard { side: TokioIo::new(client), count: Arc::clone(&heard) };
    let mut upstream = Heard { side: upstream, count: Arc::clone(&heard) };
    let mut piping = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
    if idle.is_zero() {
        let _ = piping.await;
        return;
    }
    loop {
        let before = heard.load(Ordering::Relaxed);
        tokio::select! {
            _ = &mut piping => return,
            () = tokio::time::sleep(idle) => {}
        }
        if heard.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// One side, and how often anything came from either.
struct Heard<T> {
    side: T,
    count: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.side).poll_read(cx, buf);
        if polled.is_ready() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.side).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}
