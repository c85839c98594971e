//! Heads in both directions: what must be set on a request for the protocol that its connection speaks, and which
//! answers are refused though they can be parsed.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
};
use http::uri::{Authority, Parts};
use http::{Method, Request, StatusCode, Uri, Version};
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
            // Request trailers end here (contract, section 7).
            if !request.body().is_end_stream() {
                request.headers_mut().remove(TRAILER);
            }
            Ok(())
        }
        Protocol::Http2 => to_http2(request, endpoint),
    }
}

/// `:scheme` and `:authority` instead of `Host` (RFC 9113 section 8.3.1).
fn to_http2(request: &mut Request<RequestBody>, endpoint: &Endpoint) -> Result<(), SendError> {
    // A length without a body would make the server wait for it.
    if request.body().is_end_stream() && request.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    request.headers_mut().remove(TRANSFER_ENCODING);
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

/// What the fields of an answer say about its length and its connection, heard one after the other.
#[derive(Debug, Default)]
pub(super) struct Said {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    contradiction: Option<&'static str>,
}

impl Said {
    pub fn by(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        headers.iter().for_each(|(name, value)| said.hear(name, value.as_bytes()));
        said
    }

    pub fn hear(&mut self, name: &HeaderName, value: &[u8]) {
        if *name == CONTENT_LENGTH {
            let length = decimal(value);
            if self.length.is_some() || length.is_none() {
                self.contradiction = Some("content-length is repeated or no number");
            }
            self.length = length;
        } else if *name == TRANSFER_ENCODING {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                self.contradiction = Some("transfer-encoding is not just `chunked`");
            }
            self.chunked = true;
        } else if *name == CONNECTION {
            self.closes |=
                value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
    }

    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    pub const fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// `Connection: close` (RFC 9112 section 9.6).
    pub const fn closes(&self) -> bool {
        self.closes
    }

    /// Refuses an answer whose end, or whose right to the connection, is in doubt (RFC 9112 section 6.3).
    pub fn judge(&self, status: StatusCode, upgrade: bool) -> Result<(), BoxError> {
        if status.is_informational() && !(upgrade && status == StatusCode::SWITCHING_PROTOCOLS) {
            return Err("an interim answer in place of a final one".into());
        }
        match self.contradiction {
            Some(contradiction) => Err(contradiction.into()),
            None if self.chunked && self.length.is_some() => Err("both content-length and transfer-encoding".into()),
            None => Ok(()),
        }
    }
}

/// At most 19 digits, which always fit.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(fields: &[(&'static str, &'static str)]) -> Result<(), BoxError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Said::by(&headers).judge(StatusCode::OK, false)
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
            assert!(judge(fields).is_err(), "{fields:?}");
        }
        assert!(judge(&[("content-length", "5")]).is_ok());
        assert!(judge(&[("transfer-encoding", "Chunked")]).is_ok());
        assert!(judge(&[]).is_ok());
    }

    #[test]
    fn switching_protocols_answers_an_upgrade_only() {
        assert!(Said::default().judge(StatusCode::SWITCHING_PROTOCOLS, false).is_err());
        assert!(Said::default().judge(StatusCode::SWITCHING_PROTOCOLS, true).is_ok());
        assert!(Said::default().judge(StatusCode::EARLY_HINTS, true).is_err());
    }
}
