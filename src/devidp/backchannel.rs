//! Back-channel logout (OIDC Back-Channel Logout 1.0): a signed logout token is posted to each client that took part in
//! a session. Calls go to http on loopback only, each with five seconds, their answers capped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Map, json};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::answer::OAuthError;
use super::faults::{Endpoint, Fault};
use super::issue::sign_draft;
use super::model::Session;
use super::realm::Realm;
use super::settings::ClientEntry;
use crate::seal::random;

const DEADLINE: Duration = Duration::from_secs(5);
/// Section 2.4 advises at most two minutes.
const LIFETIME: u64 = 120;

/// How a client answered to being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutCall {
    pub client_id: String,
    /// `None` when it could not be reached in time.
    pub status: Option<u16>,
}

/// Tells every client of these sessions, one after the other.
pub async fn tell(realm: &Realm, sessions: &[Session]) -> Vec<LogoutCall> {
    let mut calls = Vec::new();
    for session in sessions {
        for client in session.clients.iter().filter_map(|id| realm.client(id)) {
            let Some(uri) = &client.backchannel_logout_uri else { continue };
            let fault = realm.arrive(Endpoint::BackchannelLogout);
            let subject = realm.user(&session.user).map(|user| user.subject().to_owned());
            let token = logout_token(realm, &client, subject.as_deref(), Some(&session.id), fault.as_ref());
            let sent = async { post(uri, &token.ok()?).await };
            let status = tokio::time::timeout(DEADLINE, sent).await.ok().flatten();
            calls.push(LogoutCall { client_id: client.client_id.clone(), status });
        }
    }
    calls
}

/// Section 2.4.
pub fn logout_token(
    realm: &Realm,
    client: &ClientEntry,
    subject: Option<&str>,
    session: Option<&str>,
    fault: Option<&Fault>,
) -> Result<String, OAuthError> {
    let now = realm.now().seconds();
    let mut claims = Map::from_iter([
        ("iss".to_owned(), json!(realm.issuer)),
        ("aud".to_owned(), json!(client.client_id)),
        ("iat".to_owned(), json!(now)),
        ("exp".to_owned(), json!(now + LIFETIME)),
        ("jti".to_owned(), json!(random::token())),
        ("events".to_owned(), json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
    ]);
    for (name, value) in [("sub", subject), ("sid", session)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    sign_draft(realm, client, Map::from_iter([("typ".to_owned(), json!("logout+jwt"))]), claims, fault)
}

/// Where to connect for `uri`, if that is http on this machine.
pub fn loopback(uri: &str) -> Option<(SocketAddr, Url)> {
    let url = Url::parse(uri).ok().filter(|url| url.scheme() == "http")?;
    let address = match url.host()? {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Host::Domain(_) => return None,
    };
    let port = url.port_or_known_default()?;
    address.is_loopback().then(|| (SocketAddr::new(address, port), url))
}

async fn post(uri: &str, token: &str) -> Option<u16> {
    let (addr, url) = loopback(uri)?;
    let stream = TcpStream::connect(addr).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", token).finish();
    let authority = url.authority();
    let request = Request::post(url.path())
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    // The connection is driven here and dropped with the answer: its head is all we want.
    let status = async { sender.send_request(request).await.ok().map(|answer| answer.status().as_u16()) };
    let (mut status, mut connection) = (std::pin::pin!(status), std::pin::pin!(connection));
    tokio::select! {
        status = &mut status => status,
        // When the connection ends first, what it read is still to be taken.
        _ = &mut connection => status.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logout_calls_stay_on_this_machine() {
        for good in ["http://127.0.0.1:8080/x", "http://[::1]:80/x", "http://localhost/x", "http://127.9.9.9/x"] {
            assert!(loopback(good).is_some(), "{good}");
        }
        for bad in [
            "https://127.0.0.1/x",
            "http://192.0.2.1/x",
            "http://127.0.0.1.example/x",
            "http://localhost.example/",
            "x",
        ] {
            assert!(loopback(bad).is_none(), "{bad}");
        }
    }
}
