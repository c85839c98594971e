//! The head of an answer: where it ends, what it says, and how its body is framed (RFC 9112 sections 4 to 6, 9).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::BytesMut;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};
use http::{Response, StatusCode, Version};
use httparse::Status;
use memchr::memchr_iter;
use smallvec::SmallVec;

use crate::upstream::head::Said;
use crate::wire::BoxError;

/// Fields of one head.
const MOST_FIELDS: usize = 100;
/// Longer names are not kept. Bytes.
const USUAL_NAME: usize = 64;

/// How long the body of an answer is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// Only the end of the connection tells.
    UntilClose,
}

impl Framing {
    /// Of an answer that was judged.
    pub fn of(head: &Response<()>, said: &Said, answers_head: bool) -> Result<Self, BoxError> {
        if said.is_chunked() && head.version() != Version::HTTP_11 {
            // Who speaks HTTP/1.0 can't mean it (RFC 9112 section 6.1).
            return Err("transfer-encoding in HTTP/1.0".into());
        }
        if is_bodiless(head.status(), answers_head) {
            return Ok(Self::Length(0));
        }
        if said.is_chunked() {
            return Ok(Self::Chunked);
        }
        Ok(said.length().map_or(Self::UntilClose, Self::Length))
    }
}

fn is_bodiless(status: StatusCode, answers_head: bool) -> bool {
    answers_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether an empty line, which ends a head, stands behind `from`.
pub fn may_end(bytes: &[u8], from: usize) -> bool {
    let unseen = bytes.get(from..).unwrap_or_default();
    memchr_iter(b'\n', unseen).any(|at| matches!(unseen.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

/// A head, and what its fields say of the body.
pub type Head = (Response<()>, Said);

/// Takes a head out of `buffer`; `None` if its end is not there. The fields' values share the buffer's memory.
pub fn take(buffer: &mut BytesMut, names: &mut Names) -> Result<Option<Head>, BoxError> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let Status::Complete(length) = parser.parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields)? else {
        return Ok(None);
    };
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default())?;
    *head.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let (mut said, mut placed) = (Said::default(), Placed::new());
    names.rewind();
    for field in parsed.headers {
        let name = names.next(field.name)?;
        said.hear(&name, field.value);
        // It was about this connection and is heard; whatever else it may name, `clean_response` sees to.
        if name == CONNECTION && names_nothing(field.value) {
            continue;
        }
        // Where it lies is all that outlives the borrow of the buffer.
        let from = field.value.as_ptr() as usize - buffer.as_ptr() as usize;
        placed.push((name, from..from + field.value.len()));
    }
    let bytes = buffer.split_to(length).freeze();
    let headers = head.headers_mut();
    // Room for what the gateway adds, so that the map need not grow.
    headers.reserve(placed.len() + 2);
    for (name, place) in placed {
        headers.append(name, HeaderValue::from_maybe_shared(bytes.slice(place))?);
    }
    Ok(Some((head, said)))
}

type Placed = SmallVec<[(HeaderName, Range<usize>); 16]>;

/// A `Connection` field without the name of another field.
fn names_nothing(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
}

/// The names of the last answer's fields, in their order and as they were written: a server mostly writes the same again,
/// and to compare a name costs a fraction of reading it.
#[derive(Debug, Default)]
pub struct Names {
    known: Vec<(Box<str>, HeaderName)>,
    at: usize,
}

impl Names {
    fn rewind(&mut self) {
        self.at = 0;
    }

    fn next(&mut self, text: &str) -> Result<HeaderName, InvalidHeaderName> {
        let at = self.at;
        self.at += 1;
        if let Some((written, name)) = self.known.get(at)
            && **written == *text
        {
            return Ok(name.clone());
        }
        let name = HeaderName::from_bytes(text.as_bytes())?;
        // Names of a usual length only: what is kept for a connection stays small.
        if text.len() <= USUAL_NAME && at <= self.known.len() {
            self.known.truncate(at);
            self.known.push((text.into(), name.clone()));
        }
        Ok(name)
    }
}

/// The fields of a trailer section that ends with its empty line.
pub fn trailers(bytes: &[u8]) -> Result<HeaderMap, BoxError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let fields = match httparse::parse_headers(bytes, &mut fields)? {
        Status::Complete((length, fields)) if length == bytes.len() => fields,
        _ => return Err("the trailers do not end where they seem to".into()),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        trailers.append(HeaderName::from_bytes(field.name.as_bytes())?, HeaderValue::from_bytes(field.value)?);
    }
    Ok(trailers)
}
