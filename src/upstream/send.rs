//! One request and its answer: which server, which connection, how often. A request is tried again only when it is
//! certain that nothing of it was sent, or when it may be sent twice without harm and not a byte of an answer came.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::balance::Tried;
use super::body::{Flight, Lease, Upload, UpstreamBody};
use super::endpoint::Protocol;
use super::error::{Failed, SendError, TimeoutKind};
use super::head;
use super::http1::{Answer, Download, Fault, Http1};
use super::http2::{Http2, StreamSlot};
use super::open::within;
use super::pool::{Pool, Taken};
use super::request_body::{RequestBody, Watch};
use crate::deadline::Slot;
use crate::wire::Body;

/// After so many pooled connections that turned out dead, a new one is opened.
const MOST_DEAD: u32 = 8;

/// What differs from request to request.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// Instead of the upstream's own `response_header` timeout; zero = off.
    pub response_header: Option<Duration>,
    /// The request asks for an upgrade: only HTTP/1.1 can carry it, and 101 is an answer.
    pub upgrade: bool,
}

/// The head of an answer came.
#[derive(Debug)]
pub struct Sent {
    pub response: Response<UpstreamBody>,
    /// The server that answered.
    pub endpoint: Arc<str>,
    pub attempts: u32,
}

/// One request on its way. It stays where it is over all attempts, and steps that do not wait are no futures: a
/// request is some 300 bytes, and every future it were handed through would copy it more than once.
struct Errand {
    /// There unless hyper has it, for HTTP/2.
    request: Option<Request<RequestBody>>,
    upload: Upload,
    upgrade: bool,
    /// It may be sent twice, and its head is all there is to send.
    repeatable: bool,
    limit: Duration,
    tried: Tried,
    /// Only a new connection will do.
    fresh: bool,
    attempts: u32,
    last: Option<usize>,
}

/// An attempt without an answer; if another one may be made, the request is back in the errand.
struct Miss {
    error: SendError,
    again: Option<Again>,
}

/// Where another attempt may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The server can't be reached: another one.
    Elsewhere,
    /// The connection broke: a new one.
    Afresh,
}

impl From<SendError> for Miss {
    fn from(error: SendError) -> Self {
        Self { error, again: None }
    }
}

impl Errand {
    fn new(request: Request<Body>, options: SendOptions, response_header_timeout: Duration) -> Self {
        let (parts, body) = request.into_parts();
        let (body, watch) = RequestBody::new(body);
        Self {
            upload: Upload(watch),
            upgrade: options.upgrade,
            repeatable: body.is_end_stream() && head::is_idempotent(&parts.method) && !options.upgrade,
            limit: options.response_header.unwrap_or(response_header_timeout),
            request: Some(Request::from_parts(parts, body)),
            tried: Tried::default(),
            fresh: false,
            attempts: 0,
            last: None,
        }
    }
}

impl Pool {
    /// Sends a request in origin form and waits for the head of its answer.
    pub(super) fn send(
        self: Arc<Self>,
        request: Request<Body>,
        options: SendOptions,
    ) -> impl Future<Output = Result<Sent, Failed>> + Send + use<> {
        let mut errand = Errand::new(request, options, self.shared.settings.response_header_timeout);
        async move { self.run(&mut errand).await }
    }

    async fn run(self: &Arc<Self>, errand: &mut Errand) -> Result<Sent, Failed> {
        let mut missed = SendError::Unhealthy;
        loop {
            let Some(index) = self.balancer.pick(&self.shared.endpoints, errand.tried, &self.clock) else {
                return Err(self.failed(missed, errand));
            };
            errand.attempts += 1;
            errand.last = Some(index);
            let miss = match self.attempt(index, errand).await {
                Ok(response) => {
                    let endpoint = Arc::clone(&self.shelves[index].label);
                    return Ok(Sent { response, endpoint, attempts: errand.attempts });
                }
                Err(miss) => miss,
            };
            match miss.again {
                Some(again) if errand.attempts <= self.shared.settings.retries => {
                    match again {
                        Again::Elsewhere => errand.tried.add(index),
                        Again::Afresh => errand.fresh = true,
                    }
                    missed = miss.error;
                }
                _ => return Err(self.failed(miss.error, errand)),
            }
        }
    }

    fn failed(&self, error: SendError, errand: &Errand) -> Failed {
        let endpoint = errand.last.map(|index| Arc::clone(&self.shelves[index].label));
        Failed { error, endpoint, attempts: errand.attempts }
    }

    /// One attempt at one server. Pooled connections that died unnoticed cost nothing but the look at them.
    async fn attempt(self: &Arc<Self>, index: usize, errand: &mut Errand) -> Result<Response<UpstreamBody>, Miss> {
        let flight = Flight::begin(self, index);
        let mut dead = 0;
        loop {
            let pooled = if errand.fresh || dead >= MOST_DEAD { None } else { self.take(index, errand.upgrade) };
            let was_pooled = pooled.is_some();
            let taken = match pooled {
                Some(taken) => taken,
                // Boxed, since it is rare and large.
                None => match Box::pin(self.open(index, errand.upgrade)).await {
                    Ok(taken) => taken,
                    Err(error @ (SendError::Connect(_) | SendError::Timeout(_))) => {
                        return Err(Miss { error, again: Some(Again::Elsewhere) });
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            let protocol = if matches!(taken, Taken::Http1(_)) { Protocol::Http1 } else { Protocol::Http2 };
            let Some(request) = &mut errand.request else { return Err(SendError::Unhealthy.into()) };
            head::fit(request, &self.shared.endpoints[index], protocol, &self.shared.settings.host)?;
            let exchanged = match taken {
                Taken::Http1(http1) => exchange_http1(http1, errand).await,
                Taken::Http2(http2, slot) => Box::pin(exchange_http2(http2, slot, errand)).await,
            };
            match exchanged {
                Ok(answered) => return Ok(self.deliver(answered, flight, errand)?),
                Err(Missed::Unsent(_)) if was_pooled => dead += 1,
                Err(Missed::Unsent(error) | Missed::Lost(error)) => {
                    return Err(Miss { error, again: Some(Again::Afresh) });
                }
                Err(Missed::Failed(error)) => return Err(error.into()),
            }
        }
    }

    fn deliver(
        &self,
        answered: Answered,
        flight: Flight,
        errand: &mut Errand,
    ) -> Result<Response<UpstreamBody>, SendError> {
        let lease = Lease { upload: Upload(errand.upload.0.take()), flight };
        let silence = self.shared.settings.stream_idle;
        let (head, body) = match answered {
            Answered::Http1(http1, Answer { head, framing, persistent, unsent }) => {
                if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return Ok(head.map(|()| UpstreamBody::switched(http1)));
                }
                let download = match (unsent, &mut errand.request) {
                    (Some(unsent), Some(request)) => {
                        let body = std::mem::replace(request.body_mut(), RequestBody::empty());
                        Download::beside(*http1, framing, unsent, body)
                    }
                    _ => Download::new(http1, framing),
                };
                (head, UpstreamBody::http1(download, persistent, lease, silence).map_err(SendError::Protocol)?)
            }
            Answered::Http2(response, slot) => {
                return Ok(response.map(|incoming| UpstreamBody::http2(incoming, slot, lease, silence)));
            }
        };
        Ok(head.map(|()| body))
    }
}

/// The head of an answer and what its body comes from.
enum Answered {
    Http1(Box<Http1>, Answer),
    Http2(Response<Incoming>, StreamSlot),
}

/// What came of a connection. Except after the last one, the request is in the errand.
enum Missed {
    /// Not a byte of it was written.
    Unsent(SendError),
    /// It was written, no byte came back, and sending it again does no harm.
    Lost(SendError),
    Failed(SendError),
}

async fn exchange_http1(mut http1: Box<Http1>, errand: &mut Errand) -> Result<Answered, Missed> {
    let Some(request) = &mut errand.request else { return Err(Missed::Failed(SendError::Unhealthy)) };
    let slot = http1.slot.take();
    let watch = errand.upload.0.as_deref();
    let answer = pin!(http1.exchange(request, errand.upgrade));
    let answered = in_time(errand.limit, watch, slot.as_ref(), answer).await;
    http1.slot = slot;
    match answered {
        Some(Ok(answer)) => Ok(Answered::Http1(http1, answer)),
        // Only a connection that had been idle may have been closed without fault just now.
        Some(Err(fault)) => Err(missed(fault, errand.repeatable && http1.reused, watch)),
        None => Err(Missed::Failed(SendError::Timeout(TimeoutKind::ResponseHeader))),
    }
}

#[cold]
fn missed(fault: Fault, repeatable: bool, watch: Option<&Watch>) -> Missed {
    match fault {
        Fault::Unsent(error) => Missed::Unsent(SendError::Reset(error.into())),
        Fault::Silent(error) if repeatable => Missed::Lost(SendError::Reset(error.into())),
        Fault::Silent(error) | Fault::Broken(error) => Missed::Failed(SendError::Reset(error.into())),
        Fault::Malformed(error) => Missed::Failed(SendError::Protocol(error)),
        Fault::RequestBody => Missed::Failed(match watch.and_then(Watch::take_failure) {
            Some(failure) => SendError::RequestBody(failure),
            None => SendError::RequestBody("the request's body is not as long as was announced".into()),
        }),
    }
}

async fn exchange_http2(mut http2: Http2, slot: StreamSlot, errand: &mut Errand) -> Result<Answered, Missed> {
    let Some(request) = errand.request.take() else { return Err(Missed::Failed(SendError::Unhealthy)) };
    let copy = errand.repeatable.then(|| copy_of(&request));
    let answer = pin!(http2.sender.try_send_request(request));
    match in_time(errand.limit, errand.upload.0.as_deref(), None, answer).await {
        Some(Ok(response)) => {
            let judged = head::Said::by(response.headers()).judge(response.status(), false);
            judged.map_err(|error| Missed::Failed(SendError::Protocol(error)))?;
            Ok(Answered::Http2(response, slot))
        }
        Some(Err(mut error)) => {
            if let Some(request) = error.take_message() {
                errand.request = Some(request);
                return Err(Missed::Unsent(broken(error.into_error())));
            }
            let error = blame(error.into_error(), errand);
            match copy {
                Some(request) if matches!(error, SendError::Reset(_)) => {
                    errand.request = Some(request);
                    Err(Missed::Lost(error))
                }
                _ => Err(Missed::Failed(error)),
            }
        }
        None => Err(Missed::Failed(SendError::Timeout(TimeoutKind::ResponseHeader))),
    }
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Waits for the head of an answer. The limit runs from the end of the request: a client that takes its time over a
/// large body is not the upstream's slowness, but an upstream that stops reading it is.
/// `None` when the limit has passed.
async fn in_time<F: Future>(
    limit: Duration,
    watch: Option<&Watch>,
    slot: Option<&Slot>,
    mut answer: Pin<&mut F>,
) -> Option<F::Output> {
    loop {
        let before = watch.map(|watch| (watch.is_complete(), watch.frames()));
        let answered = match slot {
            Some(slot) => slot.within(limit, answer.as_mut()).await.ok(),
            None => within(limit, answer.as_mut()).await,
        };
        if answered.is_some() {
            return answered;
        }
        let moving = |watch: &Watch, (complete, frames): (bool, u64)| {
            !complete && (watch.waits_for_client() || watch.frames() != frames)
        };
        if !watch.zip(before).is_some_and(|(watch, before)| moving(watch, before)) {
            return None;
        }
    }
}

/// Whose fault it is that no answer came.
fn blame(error: hyper::Error, errand: &Errand) -> SendError {
    match errand.upload.0.as_ref().and_then(|watch| watch.take_failure()) {
        Some(failure) => SendError::RequestBody(failure),
        None => broken(error),
    }
}

fn broken(error: hyper::Error) -> SendError {
    if error.is_parse() { SendError::Protocol(error.into()) } else { SendError::Reset(error.into()) }
}
