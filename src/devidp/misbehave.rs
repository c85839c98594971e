//! What a fault does to a request or an answer on its way. Comes in: the answer as it should be. Goes out: the answer
//! as the fault wants it, or a connection cut in the middle.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::channel::{Channel, Sender};

use super::answer::{Answer, Content};
use super::faults::Fault;
use super::lies::change;
use super::realm::Realm;
use super::serve::Cut;
use crate::clock::Clock;
use crate::wire::body::{Body, BoxError, capped};

/// White space is sent in pieces of this size.
const PIECE: &[u8] = &[b' '; 16 * 1024];
/// No answer of ours is larger.
const WHOLE_LIMIT: usize = 256 * 1024 * 1024;

/// Faults that come before any work is done.
pub async fn before(realm: &Realm, fault: Option<&Fault>) -> Result<(), Cut> {
    match fault {
        Some(Fault::Slow(span)) => realm.clock.sleep(*span).await,
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Drop) => return Err(Cut),
        _ => {}
    }
    Ok(())
}

/// Faults that change the answer or the way it is sent.
pub async fn after(realm: &Realm, fault: Option<Fault>, answer: Answer) -> Result<Response<Body>, Cut> {
    let Some(fault) = fault else { return Ok(answer.into_response()) };
    Ok(match fault {
        Fault::HangAfter => std::future::pending().await,
        Fault::DropAfter => return Err(Cut),
        Fault::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::empty(status).into_response()
        }
        Fault::Garbage => with_body(json_head(), "{\"keys\": [\u{fffd}\u{1}\u{2} not json"),
        Fault::Html => with_body(
            head("text/html; charset=utf-8"),
            "<!doctype html><title>Welcome</title><p>Please accept our terms.",
        ),
        Fault::Redirect(to) => Answer::empty(StatusCode::FOUND).with(header::LOCATION, &to).into_response(),
        Fault::Nested(depth) => with_body(json_head(), "[".repeat(depth) + &"]".repeat(depth)),
        Fault::Change(members) => changed(answer, &members).into_response(),
        Fault::OAuthError(code) => renamed_error(answer, &code).into_response(),
        Fault::WrongContentType => {
            let mut response = answer.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
            response
        }
        Fault::Truncated => truncated(answer).await,
        Fault::Oversized(bytes) => streamed(answer, move |sender, whole| padded(sender, whole, Some(bytes))).await,
        Fault::Endless => streamed(answer, |sender, whole| padded(sender, whole, None)).await,
        Fault::Drip => {
            let clock = realm.clock.clone();
            streamed(answer, move |sender, whole| drip(sender, whole, clock)).await
        }
        _ => answer.into_response(),
    })
}

fn head(content_type: &'static str) -> Response<Body> {
    Answer::empty(StatusCode::OK).with(header::CONTENT_TYPE, content_type).into_response()
}

fn json_head() -> Response<Body> {
    head("application/json")
}

fn with_body(response: Response<Body>, text: impl Into<Bytes>) -> Response<Body> {
    response.map(|_| Body::Full(text.into()))
}

fn changed(mut answer: Answer, members: &serde_json::Map<String, serde_json::Value>) -> Answer {
    if let Content::Json(serde_json::Value::Object(object)) = &mut answer.content {
        change(object, members);
    }
    answer
}

fn renamed_error(mut answer: Answer, code: &str) -> Answer {
    if let Content::Json(serde_json::Value::Object(object)) = &mut answer.content
        && object.contains_key("error")
    {
        object.insert("error".to_owned(), code.into());
    }
    answer
}

async fn taken_apart(answer: Answer) -> (http::response::Parts, Bytes) {
    let (head, body) = answer.into_response().into_parts();
    (head, capped(body, WHOLE_LIMIT).await.unwrap_or_default())
}

/// Announces everything, sends half of it, then breaks off.
async fn truncated(answer: Answer) -> Response<Body> {
    let (mut head, whole) = taken_apart(answer).await;
    head.headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(whole.len()));
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let half = whole.slice(..whole.len() / 2);
    start(async move {
        let _ = sender.send_data(half).await;
        // Hyper writes what it has before it takes the next piece.
        tokio::task::yield_now().await;
        sender.abort(Cut.into());
    });
    Response::from_parts(head, Body::boxed(body))
}

/// Sends the answer as `write` likes.
async fn streamed<W, F>(answer: Answer, write: W) -> Response<Body>
where
    W: FnOnce(Sender<Bytes, BoxError>, Bytes) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (head, whole) = taken_apart(answer).await;
    let (sender, body) = Channel::<Bytes, BoxError>::new(1);
    start(write(sender, whole));
    Response::from_parts(head, Body::boxed(body))
}

/// White space, `bytes` of it or without end, then the answer. A full channel holds the writer back, and a reader that
/// leaves ends it: nothing piles up.
async fn padded(mut sender: Sender<Bytes, BoxError>, whole: Bytes, bytes: Option<u64>) {
    let mut left = bytes.unwrap_or(u64::MAX);
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        if sender.send_data(Bytes::from_static(PIECE).slice(..size)).await.is_err() {
            return;
        }
        if bytes.is_some() {
            left -= size as u64;
        }
    }
    let _ = sender.send_data(whole).await;
}

async fn drip(mut sender: Sender<Bytes, BoxError>, whole: Bytes, clock: Clock) {
    for at in 0..whole.len() {
        if sender.send_data(whole.slice(at..=at)).await.is_err() {
            return;
        }
        clock.sleep(Duration::from_secs(1)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the development provider is a home of spawning")]
fn start(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
