//! Makes one socket to a server: name, address, TCP, TLS, in this order, with an error that says which of them it
//! was. The caller bounds the time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, Protocol, Reach};
use super::stream::Stream;
use super::tls::{ALPN_H2, TlsConfigs};
use crate::clock::Clock;
use crate::wire::BoxError;

/// A peer that vanished without a word is noticed on an idle connection after about half a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Connects to `endpoint` and says what is spoken there. With `http1_only` nothing else is offered.
pub(super) async fn connect(
    endpoint: &Endpoint,
    configs: Option<&TlsConfigs>,
    http1_only: bool,
    limit: Duration,
    clock: &Clock,
) -> Result<(Stream, Protocol), BoxError> {
    let plain = match endpoint.protocol() {
        Some(Protocol::Http2) if !http1_only => Protocol::Http2,
        _ => Protocol::Http1,
    };
    match &endpoint.reach {
        Reach::Unix(path) => Ok((Stream::Unix(UnixStream::connect(path).await?), plain)),
        Reach::Tcp { resolver, tls } => {
            let addresses = resolver.addresses(clock).await?;
            let socket = first_that_answers(&addresses, limit).await?;
            match (tls, configs) {
                (Some(name), Some(configs)) => handshake(socket, name, configs, http1_only).await,
                _ => Ok((Stream::Tcp(socket), plain)),
            }
        }
    }
}

/// Tries the addresses in turn; each but the last gets an even share of the time.
async fn first_that_answers(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let share = if limit.is_zero() { Duration::from_secs(2) } else { limit };
    let share = share / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for (index, address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect(address);
        let attempt = if index + 1 == addresses.len() {
            attempt.await
        } else {
            tokio::time::timeout(share, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match attempt {
            Ok(socket) => return prepare(socket),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn prepare(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_PROBES);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    Ok(socket)
}

async fn handshake(
    socket: TcpStream,
    name: &ServerName<'static>,
    configs: &TlsConfigs,
    http1_only: bool,
) -> Result<(Stream, Protocol), BoxError> {
    let config = if http1_only { &configs.http1 } else { &configs.either };
    let stream = TlsConnector::from(config.clone()).connect(name.clone(), socket).await?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(protocol) if protocol == ALPN_H2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok((Stream::Tls(Box::new(stream)), protocol))
}
