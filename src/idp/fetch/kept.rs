//! Connections to an endpoint that is asked all the time, kept for the next question: a handshake costs more than the
//! question. Bounded in number and in idle time; one in doubt is never used again.
//!
//! Whoever asks must be able to ask again: a provider may close a kept connection at the moment when it is used.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::{Asked, Fetch, FetchError, MAX_HEAD, Reply, is_https, post};
use crate::clock::{Clock, Tick};
use crate::control::Control;
use crate::wire::Body;
use crate::wire::body::capped;

/// So many are kept; more may be in use.
const MOST: usize = 32;
/// One that was not used for this long is closed: shorter than what servers and balancers usually allow.
const IDLE: Duration = Duration::from_secs(20);

/// Connections to one endpoint.
#[derive(Debug)]
pub struct Kept {
    control: Control,
    clock: Clock,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    since: Tick,
}

/// A connection; it ends with this.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Body>,
    _held: oneshot::Sender<()>,
}

impl Kept {
    pub fn new(control: Control, clock: Clock) -> Self {
        Self { control, clock, idle: Mutex::default() }
    }

    /// The one that was used last and is done with that. What has ended, or was idle for too long, is let go.
    fn take(&self) -> Option<Line> {
        let now = self.clock.tick();
        let mut idle = self.lock();
        idle.retain(|idle| now.since(idle.since) < IDLE && !idle.line.sender.is_closed());
        let ready = idle.iter().rposition(|idle| idle.line.sender.is_ready())?;
        Some(idle.remove(ready).line)
    }

    fn put(&self, line: Line) {
        let since = self.clock.tick();
        let mut idle = self.lock();
        if idle.len() < MOST {
            idle.push(Idle { line, since });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch {
    /// Posts a form to an endpoint over a kept connection, or, if `fresh`, over a new one, which is kept then. Never sends
    /// it twice.
    ///
    /// # Errors
    /// As [`Fetch::post`].
    pub async fn post_kept(&self, asked: Asked<'_>, kept: &Kept, fresh: bool) -> Result<Reply, FetchError> {
        self.in_time(asked.url, self.ask_kept(asked, kept, fresh)).await
    }

    async fn ask_kept(&self, asked: Asked<'_>, kept: &Kept, fresh: bool) -> Result<Reply, FetchError> {
        let url = asked.url;
        let is_https = is_https(url, asked.allow_http)?;
        let mut request = post(&asked)?;
        request.headers_mut().remove(http::header::CONNECTION);
        let mut line = match kept.take().filter(|_| !fresh) {
            Some(line) => line,
            None => self.line(&asked, is_https, &kept.control).await?,
        };
        let broke = |source| FetchError::Http { url: url.clone(), source };
        let (head, body) = line.sender.send_request(request).await.map_err(broke)?.into_parts();
        let body = capped(body, asked.limit).await.map_err(|source| FetchError::Body { url: url.clone(), source })?;
        // Only after a whole answer: what broke off or was too long ends with its connection.
        kept.put(line);
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    async fn line(&self, asked: &Asked<'_>, is_https: bool, control: &Control) -> Result<Line, FetchError> {
        let stream = self.open(asked.url, asked.tls, is_https).await?;
        let handshake = Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|source| FetchError::Http { url: asked.url.clone(), source })?;
        let (held, dropped) = oneshot::channel();
        control.start(async move {
            tokio::select! {
                // What went wrong reaches whoever waits for an answer.
                _ = connection => {}
                _ = dropped => {}
            }
        });
        Ok(Line { sender, _held: held })
    }
}
