//! Sockets for the workers: each worker has its own listening socket by SO_REUSEPORT, so that the kernel spreads
//! connections and no accept queue is shared. A Unix socket has one queue, which all workers take from.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{address} is in use by another process")]
    InUse { address: Address },
    #[error("cannot listen on {address}: {source}")]
    Io { address: Address, source: io::Error },
}

/// One listener's sockets, one for each worker.
#[derive(Debug)]
pub enum Sockets {
    Tcp(Vec<std::net::TcpListener>),
    Unix(Vec<std::os::unix::net::UnixListener>),
}

const BACKLOG: i32 = 4096;
/// A client that vanished is noticed after about two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Opens `workers` sockets for `address`. Goes out with the address that was bound (port 0 is settled).
///
/// # Errors
/// [`BindError::InUse`] when another process listens there, unless `takeover` skips that look.
pub fn bind(address: &Address, workers: usize, takeover: bool) -> Result<(Sockets, Address), BindError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: address.clone() },
        _ => BindError::Io { address: address.clone(), source },
    };
    match address {
        Address::Tcp(wanted) => {
            if !takeover && wanted.port() != 0 {
                // SO_REUSEPORT would silently share the port with whoever else set it.
                tcp(*wanted, false).map_err(failed)?;
            }
            let first = tcp(*wanted, true).map_err(failed)?;
            let bound = first.local_addr().map_err(failed)?;
            let mut sockets = vec![first];
            for _ in 1..workers {
                sockets.push(tcp(bound, true).map_err(failed)?);
            }
            Ok((Sockets::Tcp(sockets), Address::Tcp(bound)))
        }
        Address::Unix(path) => {
            remove_stale(path).map_err(failed)?;
            let first = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
            first.set_nonblocking(true).map_err(failed)?;
            let mut sockets = Vec::with_capacity(workers);
            for _ in 1..workers {
                sockets.push(first.try_clone().map_err(failed)?);
            }
            sockets.push(first);
            Ok((Sockets::Unix(sockets), address.clone()))
        }
    }
}

/// Opens the one socket of a listener that changes the gateway. A Unix socket is the owner's alone (mode 0600), before
/// anybody can connect to it.
///
/// # Errors
/// As [`bind`].
pub fn private(address: &Address, takeover: bool) -> Result<(Sockets, Address), BindError> {
    let Address::Unix(path) = address else { return bind(address, 1, takeover) };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: address.clone() },
        _ => BindError::Io { address: address.clone(), source },
    };
    remove_stale(path).map_err(failed)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    // Until now every attempt to connect was refused.
    socket.listen(BACKLOG).map_err(failed)?;
    Ok((Sockets::Unix(vec![socket.into()]), address.clone()))
}

fn tcp(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // Each connection has it from its listener: a client that vanished without a word is noticed, tunnels included.
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket file that nobody answers on is left over from a process that was killed.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => std::fs::remove_file(path),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_noticed_although_workers_share_theirs() {
        let (sockets, address) = bind(&Address::Tcp("127.0.0.1:0".parse().unwrap()), 2, false).unwrap();
        assert!(matches!(&sockets, Sockets::Tcp(sockets) if sockets.len() == 2));
        assert!(matches!(bind(&address, 1, false), Err(BindError::InUse { .. })));
        assert!(bind(&address, 1, true).is_ok());
    }
}
