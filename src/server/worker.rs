//! One worker: its accept loops on its own sockets, on its own thread and current-thread runtime.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::conn::{self, ConnectionRules};
use crate::gateway::View;

/// Connections of the whole process, and how many there may be.
#[derive(Debug)]
pub struct ConnectionCount {
    open: AtomicUsize,
    limit: usize,
}

impl ConnectionCount {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), limit })
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.open() >= self.limit
    }
}

/// One open connection; counted until it is dropped. The guard holds it, and so does a tunnel, which outlives hyper's
/// part of the connection.
#[derive(Debug)]
pub(super) struct Counted(Arc<ConnectionCount>);

impl Counted {
    fn new(count: &Arc<ConnectionCount>) -> Self {
        count.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A socket that this worker accepts on.
pub enum Listener {
    Tcp { socket: std::net::TcpListener, tls: Option<Arc<rustls::ServerConfig>>, redirect_to_https: bool },
    Unix(std::os::unix::net::UnixListener),
}

/// Everything one worker needs to run.
pub struct Worker {
    pub view: Arc<View>,
    pub listeners: Vec<Listener>,
    pub rules: ConnectionRules,
    pub count: Arc<ConnectionCount>,
    /// Turns true when no further connection is to be accepted.
    pub stop: watch::Receiver<bool>,
}

/// How long accepting pauses when the process may hold no further connection, or no further file.
const PAUSE: Duration = Duration::from_millis(50);

impl Worker {
    /// Accepts and serves until told to stop, and then until the last connection has ended.
    ///
    /// # Errors
    /// When a socket cannot be registered with the runtime.
    #[expect(clippy::disallowed_methods, reason = "a worker is one of the homes of spawning")]
    pub async fn run(self) -> io::Result<()> {
        let Self { view, listeners, rules, count, mut stop } = self;
        tokio::spawn(view.sweeper.clone().run());
        let tended = Arc::clone(&view);
        tokio::spawn(async move { tended.pools.tend().await });
        for listener in listeners {
            let accepting = Accepting { view: Arc::clone(&view), rules, count: Arc::clone(&count), stop: stop.clone() };
            match listener {
                Listener::Tcp { socket, tls, redirect_to_https } => {
                    let listener = TcpListener::from_std(socket)?;
                    let tls = tls.map(TlsAcceptor::from);
                    tokio::spawn(accepting.tcp(listener, tls, redirect_to_https));
                }
                Listener::Unix(socket) => {
                    let listener = UnixListener::from_std(socket)?;
                    tokio::spawn(accepting.unix(listener));
                }
            }
        }
        let _ = stop.wait_for(|stop| *stop).await;
        view.sweeper.drain();
        while count.open() > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

struct Accepting {
    view: Arc<View>,
    rules: ConnectionRules,
    count: Arc<ConnectionCount>,
    stop: watch::Receiver<bool>,
}

impl Accepting {
    #[expect(clippy::disallowed_methods, reason = "one task for each connection")]
    async fn tcp(mut self, listener: TcpListener, tls: Option<TlsAcceptor>, redirect: bool) {
        while let Some((stream, peer)) = self.next(|| listener.accept()).await {
            let (view, rules, tls) = (Arc::clone(&self.view), self.rules, tls.clone());
            let counted = Counted::new(&self.count);
            tokio::spawn(async move {
                conn::serve_tcp(stream, peer, tls, redirect, view, rules, counted).await;
            });
        }
    }

    #[expect(clippy::disallowed_methods, reason = "one task for each connection")]
    async fn unix(mut self, listener: UnixListener) {
        while let Some((stream, _)) = self.next(|| listener.accept()).await {
            let (view, rules) = (Arc::clone(&self.view), self.rules);
            let counted = Counted::new(&self.count);
            tokio::spawn(async move {
                conn::serve_unix(stream, view, rules, counted).await;
            });
        }
    }

    /// The next connection; `None` when accepting is over. Pauses at the connection limit and when the process is out
    /// of files: the kernel's queue holds who comes meanwhile.
    async fn next<T, F>(&mut self, accept: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            if self.count.is_full() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => return None,
            };
            match accepted {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    // ECONNABORTED concerns one client only; EMFILE and its like concern us all for a while.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "accepting paused");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }
}
