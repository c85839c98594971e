//! The only place that sends user traffic. Comes in: an [`Outgoing`], which only a permit can make. Goes out: the
//! upstream's answer, less what belongs to its connection.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::answer::Content;
use super::exchange::Exchange;
use super::lasting::Lasting;
use super::refusal::{Kind, Refusal};
use super::request_body::{RequestBody, RequestBodyError, Silence};
use super::{Connection, View};
use crate::outbound::{Outgoing, Renewal};
use crate::plan::running::Route;
use crate::reason::Reason;
use crate::upstream::{Failed, SendError, SendOptions, UpstreamBody};
use crate::wire::headers::clean_response;
use crate::wire::watch::Violation;
use crate::wire::{Body, upgrade};

/// A switch of protocols that the client asks for: to what, and its side of the connection when it comes.
pub type Switch = (HeaderValue, OnUpgrade);

/// What may go on beyond the request.
pub struct Beyond {
    pub switch: Option<Switch>,
    /// The session that it goes on for, where it ends with it.
    pub lasting: Option<Lasting>,
}

/// Sends the request up and gives the answer back.
///
/// # Errors
/// [`Refusal`] when no answer came that can be passed on.
pub async fn send(
    connection: &Connection,
    route: &Route,
    exchange: &mut Exchange,
    outgoing: Outgoing,
    beyond: Beyond,
) -> Result<Response<Content>, Refusal> {
    let view = &connection.view;
    let renewal = outgoing.renewal().cloned();
    let spare = if beyond.switch.is_none() { outgoing.spare() } else { None };
    let mut request = outgoing.into_request();
    if let Some((protocol, _)) = &beyond.switch {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, protocol.clone());
    }
    if !matches!(request.body(), Body::Empty) {
        let body = std::mem::replace(request.body_mut(), Body::Empty);
        *request.body_mut() = watched(connection, route, exchange, view, body);
    }
    let options = SendOptions { response_header: route.response_header_timeout, upgrade: beyond.switch.is_some() };
    exchange.on_upstream_begin();
    let mut outcome = view.pools.send(&route.upstream, request, options).await;
    if let (Ok(sent), Some(renewal)) = (&outcome, renewal)
        && sent.response.status() == StatusCode::UNAUTHORIZED
        // Boxed, so that the walk's own future stays small.
        && let Some(again) = Box::pin(renewed(spare, renewal, view)).await
    {
        outcome = view.pools.send(&route.upstream, again, options).await;
    }
    match outcome {
        Ok(sent) => {
            exchange.on_upstream_end(Some(sent.endpoint), sent.attempts);
            Ok(pass_back(sent.response, beyond, connection, route))
        }
        Err(failed) => {
            exchange.on_upstream_end(failed.endpoint.clone(), failed.attempts);
            Err(refused(&failed, route))
        }
    }
}

/// The request with another token, after an upstream refused Postern's own: one that was refused was not acted upon, so it
/// may be sent once more whatever its method. What can't be sent twice leaves the new token to those who come after it.
async fn renewed(spare: Option<http::Request<Body>>, renewal: Renewal, view: &View) -> Option<http::Request<Body>> {
    let now = view.shared.clock.now();
    let Some(mut again) = spare else {
        renewal.behind(now);
        return None;
    };
    again.headers_mut().insert(AUTHORIZATION, renewal.renewed(now).await?);
    Some(again)
}

fn watched(connection: &Connection, route: &Route, exchange: &mut Exchange, view: &View, body: Body) -> Body {
    Body::boxed(RequestBody {
        inner: body,
        limit: view.plan.limits.body,
        passed: exchange.received(),
        watch: connection.watch.clone(),
        silence: if connection.watch.is_none() { Silence::new(view.plan.limits.body_silence) } else { None },
        trailers: route.request_trailers.then(|| Arc::clone(&view.plan.owned)),
    })
}

#[expect(clippy::disallowed_methods, reason = "a tunnel outlives the exchange that opened it")]
fn pass_back(
    mut response: Response<UpstreamBody>,
    beyond: Beyond,
    connection: &Connection,
    route: &Route,
) -> Response<Content> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some((_, client)) = beyond.switch
    {
        let (head, body) = response.into_parts();
        if let Some(upstream) = body.into_tunnel() {
            let kept = Arc::clone(&connection.kept);
            let idle = route.upstream.settings().stream_idle;
            let over = beyond.lasting.map(|lasting| lasting.over(connection.view.shared.clock.clone()));
            tokio::spawn(async move {
                let piped = upgrade::pipe(client, upstream, idle);
                match over {
                    // Dropped, both sides are closed.
                    Some(over) => tokio::select! { () = piped => {}, () = over => {} },
                    None => piped.await,
                }
                drop(kept);
            });
        }
        let mut response = Response::from_parts(head, Content::Ours(Body::Empty));
        let protocol = response.headers().get(UPGRADE).cloned();
        clean_response(response.headers_mut());
        connection.view.plan.own_cookies.strip_answer(response.headers_mut());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            response.headers_mut().insert(UPGRADE, protocol);
        }
        return response;
    }
    clean_response(response.headers_mut());
    let dropped = connection.view.plan.own_cookies.strip_answer(response.headers_mut());
    if dropped > 0 {
        tracing::warn!(dropped, "an upstream tried to set a cookie of ours");
    }
    // The version of the upstream's connection says nothing about the client's.
    *response.version_mut() = Version::HTTP_11;
    let clock = &connection.view.shared.clock;
    response.map(|body| match beyond.lasting {
        // What says how long it is, is an answer and no stream.
        Some(lasting) if body.size_hint().exact().is_none() => Content::Ours(Body::boxed(lasting.guard(body, clock))),
        _ => Content::Upstream(body),
    })
}

fn refused(failed: &Failed, route: &Route) -> Refusal {
    if let SendError::RequestBody(error) = &failed.error {
        return match error.downcast_ref::<RequestBodyError>() {
            Some(RequestBodyError::TooLarge) => {
                Refusal::new(Reason::BodyTooLarge, Kind::Malformed { status: 413, close: true })
            }
            Some(RequestBodyError::Violation(violation)) => Refusal::from(*violation),
            Some(RequestBodyError::Gone(_)) | None => {
                Refusal { reason: Reason::ClientGone, ..Refusal::from(Violation::Framing) }
            }
        };
    }
    tracing::warn!(
        route = &*route.name,
        upstream = &*route.upstream.settings().name,
        endpoint = failed.endpoint.as_deref(),
        attempts = failed.attempts,
        reason = failed.error.reason().code(),
        error = %failed.error,
        "no answer from the upstream"
    );
    Refusal::from(&failed.error)
}
