//! The one HTTP client for identity providers. Comes in: an https address (http only where that was allowed), and a form
//! where something is asked. Goes out: at most so many bytes of an answer, or why there are none. One connection a
//! request, nothing kept unless [`kept`] says so, redirects never followed, every wait under one deadline: a provider may
//! be hostile or half dead. Runs on Control; a worker never opens one of these sockets.

pub mod kept;
mod tls;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::clock::Clock;
use crate::seal::Secret;
use crate::wire::Body;
use crate::wire::body::{CappedError, capped};
use crate::wire::form::{self, Form};
pub use tls::FetchTls;
use tls::TlsConfigs;

/// Key sets and metadata are a few KiB; this much is read.
pub const DOCUMENT_LIMIT: usize = 1024 * 1024;
/// Answers of the token, introspection and other endpoints; this much is read.
pub const ANSWER_LIMIT: usize = 256 * 1024;

/// One exchange with an issuer takes no longer, from the name to the last byte.
pub const DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const MAX_ADDRESSES: usize = 4;
const MAX_HEAD: usize = 64 * 1024;

/// Fetches documents of providers. Cheap to clone; all clones share what TLS needs.
#[derive(Clone)]
pub struct Fetch {
    clock: Clock,
    deadline: Duration,
    tls: Arc<TlsConfigs>,
}

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub url: &'a Url,
    pub bearer: Option<&'a Secret>,
    pub tls: Option<&'a FetchTls>,
    pub allow_http: bool,
    pub limit: usize,
}

/// What to ask an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub url: &'a Url,
    pub form: &'a Form,
    /// What goes along, such as the credentials of a client.
    pub headers: &'a HeaderMap,
    /// Media types that are understood.
    pub accept: &'static str,
    pub tls: Option<&'a FetchTls>,
    pub allow_http: bool,
    pub limit: usize,
}

/// What an endpoint answered, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The media type without its parameters, as it was written.
    pub fn media_type(&self) -> Option<&str> {
        let text = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        text.split(';').next().map(str::trim)
    }

    /// Whether the body says of itself that it is of this media type (compared without case, RFC 9110 section 8.3.1).
    pub fn is(&self, media_type: &str) -> bool {
        self.media_type().is_some_and(|is| is.eq_ignore_ascii_case(media_type))
    }
}

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0} is neither https nor http on a loopback address")]
    NotSecure(Url),
    #[error("{0} names no host")]
    NoHost(Url),
    #[error("{0} is not a name that a certificate can be for")]
    ServerName(String),
    #[error("{path} can't be used: {problem}")]
    File { path: PathBuf, problem: String },
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{host} can't be reached: {source}")]
    Connect { host: String, source: io::Error },
    #[error("{url} broke off: {source}")]
    Http { url: Url, source: hyper::Error },
    #[error("{url} can't be asked for: {source}")]
    Request { url: Url, source: http::Error },
    #[error("{url} answered {status}")]
    Status { url: Url, status: StatusCode },
    #[error("{url}: {source}")]
    Body { url: Url, source: CappedError },
    #[error("{url} did not answer within {within:?}")]
    Deadline { url: Url, within: Duration },
}

impl FetchError {
    /// The provider is there and has no such document.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Status { status, .. } if status.is_client_error() || status.is_redirection())
    }

    /// The connection stood and broke off. What was asked may have been done. What can't be read as HTTP has not broken
    /// off: it would be no better the second time.
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::Http { source, .. } => !source.is_parse(),
            Self::Body { source: CappedError::Broken(_), .. } => true,
            _ => false,
        }
    }

    /// There was an answer, of more bytes than are read.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::Body { source: CappedError::TooLarge(_), .. })
    }
}

impl Fetch {
    pub fn new(clock: Clock) -> Self {
        Self { clock, deadline: DEADLINE, tls: Arc::default() }
    }

    /// The same with another deadline for a whole request.
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Gets a document.
    ///
    /// # Errors
    /// [`FetchError`] for everything but a 200 whose body ends within limit and deadline.
    pub async fn get(&self, wanted: Wanted<'_>) -> Result<Bytes, FetchError> {
        let Wanted { url, bearer, tls, allow_http, limit } = wanted;
        let is_https = is_https(url, allow_http)?;
        let sent = Sent { url, request: get(url, bearer)?, tls, is_https, limit, only_ok: true };
        self.in_time(url, self.send(sent)).await.map(|reply| reply.body)
    }

    /// Posts a form to an endpoint. Never sends it twice.
    ///
    /// # Errors
    /// [`FetchError`] when there is no whole answer within limit and deadline. An answer of any status is none.
    pub async fn post(&self, asked: Asked<'_>) -> Result<Reply, FetchError> {
        let Asked { url, form: _, headers: _, accept: _, tls, allow_http, limit } = asked;
        let is_https = is_https(url, allow_http)?;
        let sent = Sent { url, request: post(&asked)?, tls, is_https, limit, only_ok: false };
        self.in_time(url, self.send(sent)).await
    }

    async fn in_time<T>(&self, url: &Url, work: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
        tokio::select! {
            answer = work => answer,
            () = self.clock.sleep(self.deadline) => {
                Err(FetchError::Deadline { url: url.clone(), within: self.deadline })
            }
        }
    }

    async fn send(&self, sent: Sent<'_>) -> Result<Reply, FetchError> {
        exchange(self.open(sent.url, sent.tls, sent.is_https).await?, sent).await
    }

    /// A connection to whom an address names, encrypted where it says so.
    async fn open(&self, url: &Url, tls: Option<&FetchTls>, is_https: bool) -> Result<Box<dyn Stream>, FetchError> {
        let host = url.host_str().ok_or_else(|| FetchError::NoHost(url.clone()))?;
        let tcp = self.connect(url, host).await?;
        if !is_https {
            return Ok(Box::new(tcp));
        }
        let config = self.tls.of(tls).await?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|_| FetchError::ServerName(host.to_owned()))?;
        let failed = |source| FetchError::Connect { host: host.to_owned(), source };
        Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?))
    }

    async fn connect(&self, url: &Url, host: &str) -> Result<TcpStream, FetchError> {
        let failed = |source| FetchError::Connect { host: host.to_owned(), source };
        let addresses = addresses(url, host).await.map_err(failed)?;
        self.first_of(&addresses, TcpStream::connect::<SocketAddr>).await.map_err(failed)
    }

    /// The first address that answers. One that is silent leaves the next ones, and the request itself, their share of
    /// the deadline.
    async fn first_of<T, F>(&self, addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
        let share = CONNECT_DEADLINE.min(self.deadline / shares);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (number, address) in addresses.iter().enumerate() {
            let is_last = number + 1 == addresses.len();
            let attempt = tokio::select! {
                tcp = connect(*address) => tcp,
                () = self.clock.sleep(if is_last { CONNECT_DEADLINE } else { share }) => Err(io::ErrorKind::TimedOut.into()),
            };
            match attempt {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetch(within {:?})", self.deadline)
    }
}

/// The first few addresses of a host. Names of this machine are not asked for anywhere: nobody else is to say where they
/// lead (RFC 6761 section 6.3).
async fn addresses(url: &Url, host: &str) -> io::Result<Vec<SocketAddr>> {
    let port = url.port_or_known_default().unwrap_or(443);
    if matches!(url.host(), Some(Host::Domain(name)) if is_localhost(name)) {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?;
    Ok(found.take(MAX_ADDRESSES).collect())
}

/// `localhost`, or a name below it. The names of a [`Url`] are in lower case.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address leads to this very machine: a loopback address, `localhost`, or a name below it.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => is_localhost(name),
        None => false,
    }
}

fn is_https(url: &Url, allow_http: bool) -> Result<bool, FetchError> {
    match url.scheme() {
        "https" => Ok(true),
        "http" if allow_http || is_loopback(url) => Ok(false),
        _ => Err(FetchError::NotSecure(url.clone())),
    }
}

/// Cleartext or not; boxed, for a provider is asked rarely beside what it costs to ask.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A request, written, and what holds for its answer.
struct Sent<'a> {
    url: &'a Url,
    request: Request<Body>,
    tls: Option<&'a FetchTls>,
    is_https: bool,
    limit: usize,
    /// The body of anything but a 200 is not worth reading.
    only_ok: bool,
}

/// What every request says.
fn head(url: &Url, method: Method, accept: &'static str) -> Result<http::request::Builder, FetchError> {
    let host = url.host_str().ok_or_else(|| FetchError::NoHost(url.clone()))?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let head = Request::builder().method(method).uri(target).header(HOST, authority).header(ACCEPT, accept);
    Ok(head.header(USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION"))).header(CONNECTION, "close"))
}

fn get(url: &Url, bearer: Option<&Secret>) -> Result<Request<Body>, FetchError> {
    let failed = |source| FetchError::Request { url: url.clone(), source };
    let mut request = head(url, Method::GET, "application/json, application/jwk-set+json")?;
    if let Some(bearer) = bearer {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", bearer.expose())).map_err(|error| failed(error.into()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Body::Empty).map_err(failed)
}

fn post(asked: &Asked<'_>) -> Result<Request<Body>, FetchError> {
    let failed = |source| FetchError::Request { url: asked.url.clone(), source };
    let head = head(asked.url, Method::POST, asked.accept)?.header(CONTENT_TYPE, form::MEDIA_TYPE);
    let mut request = head.body(Body::from(asked.form.to_body())).map_err(failed)?;
    request.headers_mut().extend(asked.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(request)
}

/// Sends the request and reads the answer, driving the connection from the same task so that both end together.
async fn exchange(stream: Box<dyn Stream>, sent: Sent<'_>) -> Result<Reply, FetchError> {
    let Sent { url, request, limit, only_ok, .. } = sent;
    let broke = |source| FetchError::Http { url: url.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broke)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(broke)?.into_parts();
        if only_ok && head.status != StatusCode::OK {
            return Err(FetchError::Status { url: url.clone(), status: head.status });
        }
        let body = capped(body, limit).await.map_err(|source| FetchError::Body { url: url.clone(), source })?;
        Ok(Reply { status: head.status, headers: head.headers, body })
    };
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        done = &mut answer => done,
        // When the connection ends first, what it read is still to be taken; its own error reaches the body.
        _ = &mut connection => answer.await,
    }
}

/// Reads a file whole, up to `limit` bytes.
///
/// # Errors
/// [`FetchError::File`] when it can't be read or is larger.
pub async fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FetchError> {
    let problem = |problem: String| FetchError::File { path: path.to_owned(), problem };
    let file = tokio::fs::File::open(path).await.map_err(|error| problem(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).await.map_err(|error| problem(error.to_string()))?;
    if bytes.len() > limit { Err(problem(format!("it is larger than {limit} bytes"))) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
