//! The provider on its socket: accepts, reads, finds the endpoint, and lets a fault get in the way. One task for each
//! connection, at most 512 at once; all of them end when the provider is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::answer::{Answer, OAuthError};
use super::faults::{Endpoint, Fault};
use super::form::{Asked, FormError};
use super::realm::Realm;
use super::{authorize, discovery, introspect, logout, misbehave, operate, par, revoke, token, userinfo};
use crate::wire::body::Body;

const CONNECTION_LIMIT: usize = 512;
/// A head that has not come by then never will.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection is to be closed without an answer: hyper does so when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
pub struct Cut;

/// Accepts until `stop` turns true; then connections are cut too.
pub async fn accept(listener: TcpListener, realm: Arc<Realm>, addr: SocketAddr, stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut stopping = stop.clone();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = tokio::select! {
            () = stopped(&mut stopping) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, or a peer that left: the next one may do better.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let (realm, stop) = (Arc::clone(&realm), stop.clone());
        let work = async move {
            connection(stream, realm, addr, stop).await;
            drop(permit);
        };
        #[expect(clippy::disallowed_methods, reason = "the development provider is a home of spawning")]
        tokio::spawn(work);
    }
}

/// Until the provider is stopped, or dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, realm: Arc<Realm>, addr: SocketAddr, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let realm = Arc::clone(&realm);
        async move { respond(&realm, addr, request).await }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    tokio::select! {
        () = stopped(&mut stop) => {}
        // A broken connection concerns nobody but its peer.
        _ = http.serve_connection(TokioIo::new(stream), service) => {}
    }
}

async fn respond(
    realm: &Arc<Realm>,
    addr: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    if !names_this_provider(realm, addr, &request) {
        return Ok(Answer::empty(StatusCode::MISDIRECTED_REQUEST).into_response());
    }
    let Some(path) = local_path(&realm.path, request.uri().path()) else {
        return Ok(Answer::empty(StatusCode::NOT_FOUND).into_response());
    };
    let endpoint = endpoint_at(&path);
    let asked = match Asked::read(request, path).await {
        Ok(asked) => asked,
        Err(error) => return Ok(unreadable(&error).into_response()),
    };
    let fault = endpoint.and_then(|endpoint| realm.arrive(endpoint));
    misbehave::before(realm, fault.as_ref()).await?;
    let answer = route(realm, endpoint, &asked, fault.as_ref()).await;
    misbehave::after(realm, fault, answer).await
}

/// A page of another site whose name leads here (DNS rebinding) must not get at the provider.
fn names_this_provider(realm: &Realm, addr: SocketAddr, request: &hyper::Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let authority = realm.issuer.split("://").nth(1).and_then(|rest| rest.split('/').next());
    let local = [addr.to_string(), format!("localhost:{}", addr.port()), format!("127.0.0.1:{}", addr.port())];
    authority == Some(host) || local.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// The path below the issuer's; RFC 8414 section 3 puts the well-known part before it, OpenID Discovery after it.
fn local_path(issuer_path: &str, path: &str) -> Option<String> {
    const INSERTED: &str = "/.well-known/oauth-authorization-server";
    if let Some(rest) = path.strip_prefix(INSERTED) {
        return (rest == issuer_path || rest.is_empty()).then(|| INSERTED.to_owned());
    }
    path.strip_prefix(issuer_path).filter(|rest| rest.starts_with('/')).map(str::to_owned)
}

fn endpoint_at(path: &str) -> Option<Endpoint> {
    Some(match path {
        "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => Endpoint::Discovery,
        "/jwks" => Endpoint::Jwks,
        "/authorize" => Endpoint::Authorize,
        "/par" => Endpoint::Par,
        "/token" => Endpoint::Token,
        "/introspect" => Endpoint::Introspect,
        "/revoke" => Endpoint::Revoke,
        "/userinfo" => Endpoint::Userinfo,
        "/end_session" => Endpoint::EndSession,
        _ => return None,
    })
}

async fn route(realm: &Arc<Realm>, endpoint: Option<Endpoint>, asked: &Asked, fault: Option<&Fault>) -> Answer {
    if let (Some(Fault::OAuthError(_)), Some(endpoint)) = (fault, endpoint)
        && endpoint != Endpoint::Authorize
    {
        return OAuthError::new("temporarily_unavailable", "a fault is switched on here").into();
    }
    match endpoint {
        Some(Endpoint::Discovery) => discovery::metadata(realm, fault),
        Some(Endpoint::Jwks) => discovery::jwks(realm, fault),
        Some(Endpoint::Token) => token::answer(realm, asked, fault),
        Some(Endpoint::Introspect) => introspect::answer(realm, asked),
        Some(Endpoint::Revoke) => revoke::answer(realm, asked),
        Some(Endpoint::Authorize) => authorize::answer(realm, asked),
        Some(Endpoint::Par) => par::answer(realm, asked),
        Some(Endpoint::Userinfo) => userinfo::answer(realm, asked),
        Some(Endpoint::EndSession) => logout::answer(realm, asked).await,
        _ if asked.path == "/authorize/sign_in" => authorize::answer(realm, asked),
        _ if asked.path == "/dev" || asked.path.starts_with("/dev/") => operate::answer(realm, asked).await,
        _ => Answer::empty(StatusCode::NOT_FOUND),
    }
}

fn unreadable(error: &FormError) -> Answer {
    match error {
        FormError::TooLarge => Answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
        FormError::Repeated(_) => OAuthError::invalid_request("a parameter comes more than once").into(),
        FormError::ContentType => {
            OAuthError::invalid_request("the body must be application/x-www-form-urlencoded").into()
        }
        FormError::Broken | FormError::TooMany | FormError::NotText | FormError::Json => {
            OAuthError::invalid_request("the request could not be read").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_found_in_both_places_when_the_issuer_has_a_path() {
        let at = |path| local_path("/realms/demo", path);
        assert_eq!(
            at("/realms/demo/.well-known/openid-configuration").as_deref(),
            Some("/.well-known/openid-configuration")
        );
        assert_eq!(
            at("/.well-known/oauth-authorization-server/realms/demo").as_deref(),
            Some("/.well-known/oauth-authorization-server")
        );
        assert_eq!(at("/realms/demo/token").as_deref(), Some("/token"));
        assert_eq!(at("/realms/demolition/token"), None);
        assert_eq!(at("/token"), None);
    }
}
