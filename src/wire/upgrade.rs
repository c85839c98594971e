//! The two-way pipe of a connection that has switched protocols.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Carries bytes both ways until both sides have ended, or one has failed. Goes out: bytes from the client, bytes to it.
pub async fn pipe(client: OnUpgrade, mut upstream: impl AsyncRead + AsyncWrite + Unpin) -> (u64, u64) {
    let Ok(client) = client.await else { return (0, 0) };
    let mut client = TokioIo::new(client);
    tokio::io::copy_bidirectional(&mut client, &mut upstream).await.unwrap_or((0, 0))
}
