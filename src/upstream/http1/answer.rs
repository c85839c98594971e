//! The head of an answer: where it ends, what it says, and how its body is framed (RFC 9112 sections 4 to 6, 9).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Response, StatusCode, Version};
use memchr::memchr_iter;

use crate::wire::BoxError;

/// Fields of one head.
const MOST_FIELDS: usize = 100;

/// How long the body of an answer is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// Only the end of the connection tells.
    UntilClose,
}

impl Framing {
    /// Of a head that was judged: at most one of the two fields, and well-formed.
    pub fn of(head: &Response<()>, answers_head: bool) -> Result<Self, BoxError> {
        let headers = head.headers();
        if headers.contains_key(TRANSFER_ENCODING) {
            // Who speaks HTTP/1.0 can't mean it (RFC 9112 section 6.1).
            if head.version() != Version::HTTP_11 {
                return Err("transfer-encoding in HTTP/1.0".into());
            }
            if !is_bodiless(head.status(), answers_head) {
                return Ok(Self::Chunked);
            }
        }
        if is_bodiless(head.status(), answers_head) {
            return Ok(Self::Length(0));
        }
        match headers.get(CONTENT_LENGTH) {
            None => Ok(Self::UntilClose),
            Some(length) => {
                let length = length.to_str().ok().and_then(|length| length.parse().ok());
                length.map(Self::Length).ok_or_else(|| "content-length is no number".into())
            }
        }
    }
}

fn is_bodiless(status: StatusCode, answers_head: bool) -> bool {
    answers_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the connection stays open for another request (RFC 9112 section 9.3). One to a server that speaks HTTP/1.0
/// does not, whatever it says.
pub fn is_persistent(head: &Response<()>) -> bool {
    let closes = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    head.version() == Version::HTTP_11 && !head.headers().get_all(CONNECTION).iter().any(closes)
}

/// Where the first head in `bytes` ends: behind its empty line. `from` is where to begin to look.
pub fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let unseen = bytes.get(from..)?;
    memchr_iter(b'\n', unseen).find_map(|at| {
        let next = from + at + 1;
        match bytes.get(next..)? {
            [b'\r', b'\n', ..] => Some(next + 2),
            [b'\n', ..] => Some(next + 1),
            _ => None,
        }
    })
}

/// Reads a whole head. The fields' values share its memory.
pub fn parse(bytes: Bytes) -> Result<Response<()>, BoxError> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    if parser.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut fields)?.is_partial() {
        return Err("the head of the answer is incomplete".into());
    }
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default())?;
    *head.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    *head.headers_mut() = fields_of(parsed.headers, &bytes)?;
    Ok(head)
}

/// The fields of a trailer section that ends with its empty line.
pub fn parse_trailers(bytes: Bytes) -> Result<HeaderMap, BoxError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    match httparse::parse_headers(&bytes, &mut fields)? {
        httparse::Status::Complete((_, fields)) => fields_of(fields, &bytes),
        httparse::Status::Partial => Err("the trailers are incomplete".into()),
    }
}

fn fields_of(fields: &[httparse::Header<'_>], bytes: &Bytes) -> Result<HeaderMap, BoxError> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))?;
        headers.append(name, value);
    }
    Ok(headers)
}
