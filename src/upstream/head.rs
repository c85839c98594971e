//! Heads in both directions: what must be set on a request for the protocol that its connection speaks, and which
//! answers are refused though they can be parsed.

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TE, TRAILER, TRANSFER_ENCODING};
use http::uri::{Authority, Parts};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::endpoint::{Endpoint, Protocol};
use super::error::SendError;
use super::request_body::RequestBody;
use super::settings::HostRule;
use crate::wire::BoxError;

/// RFC 9110 section 9.2.2: sending such a request twice does no more than sending it once.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE)
}

/// Makes `request` fit for `endpoint` and `protocol`. It may have been fitted for another one before.
pub(super) fn fit(
    request: &mut Request<RequestBody>,
    endpoint: &Endpoint,
    protocol: Protocol,
    rule: &HostRule,
) -> Result<(), SendError> {
    *request.version_mut() = Version::HTTP_11;
    if request.body().is_end_stream() {
        // A length without a body would make the server wait for the next request's bytes.
        if request.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
    } else {
        request.headers_mut().remove(TRANSFER_ENCODING);
    }
    if request.uri().authority().is_some() {
        to_origin_form(request)?;
    }
    match rule {
        HostRule::Preserve if request.headers().contains_key(HOST) => {}
        HostRule::Preserve | HostRule::Upstream => {
            request.headers_mut().insert(HOST, endpoint.authority.clone());
        }
        HostRule::Named(name) => {
            request.headers_mut().insert(HOST, name.clone());
        }
    }
    match protocol {
        Protocol::Http1 => {
            if !request.body().is_end_stream() {
                // Request trailers end here (contract, section 7).
                request.headers_mut().remove(TRAILER);
                if !request.headers().contains_key(CONTENT_LENGTH) {
                    let (name, value) = match request.body().size_hint().exact() {
                        Some(length) => (CONTENT_LENGTH, HeaderValue::from(length)),
                        None => (TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
                    };
                    request.headers_mut().insert(name, value);
                }
            }
            Ok(())
        }
        Protocol::Http2 => to_http2(request, endpoint),
    }
}

/// `:scheme` and `:authority` instead of `Host` (RFC 9113 section 8.3.1).
fn to_http2(request: &mut Request<RequestBody>, endpoint: &Endpoint) -> Result<(), SendError> {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = Parts::default();
    parts.scheme = Some(endpoint.scheme());
    parts.authority = Some(authority.ok_or_else(|| SendError::protocol("the host can't be sent over HTTP/2"))?);
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| SendError::Protocol(error.into()))?;
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    Ok(())
}

fn to_origin_form(request: &mut Request<RequestBody>) -> Result<(), SendError> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let authority = parts.authority.take();
    parts.scheme = None;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| SendError::Protocol(error.into()))?;
    let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    request.headers_mut().remove(TE);
    Ok(())
}

/// Refuses an answer whose end, or whose right to the connection, is in doubt (RFC 9112 section 6.3).
pub(super) fn judge<B>(response: &Response<B>, upgrade: bool) -> Result<(), BoxError> {
    if response.status().is_informational() && !(upgrade && response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        return Err("an interim answer in place of a final one".into());
    }
    let headers = response.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() || !is_decimal(length.as_bytes()) {
            return Err("content-length is repeated or no number".into());
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err("both content-length and transfer-encoding".into());
        }
    } else {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(coding) = codings.next()
            && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        {
            return Err("transfer-encoding is not just `chunked`".into());
        }
    }
    Ok(())
}

fn is_decimal(text: &[u8]) -> bool {
    (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[(&'static str, &'static str)]) -> Response<()> {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn an_answer_with_two_opinions_on_its_length_is_refused() {
        for fields in [
            &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert!(judge(&answer(fields), false).is_err(), "{fields:?}");
        }
        assert!(judge(&answer(&[("content-length", "5")]), false).is_ok());
        assert!(judge(&answer(&[("transfer-encoding", "Chunked")]), false).is_ok());
        assert!(judge(&answer(&[]), false).is_ok());
    }

    #[test]
    fn switching_protocols_answers_an_upgrade_only() {
        let mut switching = Response::new(());
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        assert!(judge(&switching, false).is_err());
        assert!(judge(&switching, true).is_ok());
    }
}
