//! The raw head of an HTTP/1.1 request, judged by RFC 9112 to the letter before hyper sees it. Comes in: bytes. Goes
//! out: where the head ends and how the body is framed, or why it is refused. hyper repairs or hides some faults (bare
//! LF, Content-Length beside Transfer-Encoding, equal repeats, a missing Host); what it repairs, another hop may read
//! otherwise, so it is refused here.

use memchr::memchr;

use crate::wire::watch::Violation;

/// Bounds on a head, in bytes and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub target: usize,
    /// All fields.
    pub header: usize,
    /// One field.
    pub field: usize,
    pub fields: usize,
}

/// How the body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// A complete, well-formed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes up to and including the empty line.
    pub length: usize,
    pub framing: Framing,
    /// The client asks to switch to WebSocket: nothing after the head may be read before that is settled.
    pub upgrade: bool,
    /// CONNECT: nothing after the head is ever a request.
    pub connect: bool,
}

/// What a scan found at the start of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// No end of head yet; nothing wrong so far.
    Partial,
    Complete(Head),
}

/// Scans one head at the start of `bytes`.
///
/// # Errors
/// [`Violation`] as soon as the bytes cannot become a good head.
pub fn scan(bytes: &[u8], limits: &HeadLimits) -> Result<Scan, Violation> {
    // One empty line before the request line is ignored (RFC 9112 section 2.2).
    let skipped = match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return Ok(Scan::Partial),
        _ => 0,
    };
    let Some(line) =
        line(bytes, skipped, limits.target + 64).map_err(|error| error.unwrap_or(Violation::TargetTooLong))?
    else {
        return Ok(Scan::Partial);
    };
    let request = request_line(line.content, limits)?;
    let mut fields = Fields::default();
    let mut at = line.next;
    let start = at;
    loop {
        let limit = line_limit(bytes.get(at..).unwrap_or_default(), limits);
        let Some(field) = self::line(bytes, at, limit).map_err(|error| error.unwrap_or(Violation::HeaderTooLarge))?
        else {
            // Only whole lines are counted here; an unfinished one is bounded by the field limit.
            return if bytes.len() - start > limits.header + limit {
                Err(Violation::HeaderTooLarge)
            } else {
                Ok(Scan::Partial)
            };
        };
        at = field.next;
        if field.content.is_empty() {
            return fields.judge(at, &request).map(Scan::Complete);
        }
        fields.count += 1;
        if at - start > limits.header || fields.count > limits.fields {
            return Err(Violation::HeaderTooLarge);
        }
        fields.take(field.content)?;
    }
}

/// How long the line of a field may be: the limit is for name and value, so `: ` and the CR come on top. So does what
/// stands before the token in `Authorization`, for a token may be as long as a field. A browser puts all its cookies into
/// one field, ours and those of the app: that one is bounded with all others together.
fn line_limit(line: &[u8], limits: &HeadLimits) -> usize {
    let is = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let limit = match () {
        () if is(b"authorization:") => limits.field + BEFORE_TOKEN,
        () if is(b"cookie:") => limits.header.max(limits.field),
        () => limits.field,
    };
    limit + 3
}

/// The length of `Authorization` and of `Bearer` with a space.
const BEFORE_TOKEN: usize = 20;

struct Line<'a> {
    content: &'a [u8],
    next: usize,
}

/// The line that starts at `from`, without its CRLF. `Err(None)` when it is longer than `limit`.
fn line(bytes: &[u8], from: usize, limit: usize) -> Result<Option<Line<'_>>, Option<Violation>> {
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(end) = memchr(b'\n', rest) else {
        return if rest.len() > limit { Err(None) } else { Ok(None) };
    };
    if end > limit {
        return Err(None);
    }
    match rest.get(..end) {
        // A bare LF ends no line (RFC 9112 section 2.2 lets a recipient accept it; two hops then may not agree).
        Some([content @ .., b'\r']) => Ok(Some(Line { content, next: from + end + 1 })),
        _ => Err(Some(Violation::Malformed)),
    }
}

struct RequestLine {
    http_1_0: bool,
    connect: bool,
    get: bool,
}

fn request_line(line: &[u8], limits: &HeadLimits) -> Result<RequestLine, Violation> {
    let method_end = memchr(b' ', line).ok_or(Violation::Malformed)?;
    let (method, rest) = line.split_at(method_end);
    let rest = rest.get(1..).unwrap_or_default();
    let target_end = memchr(b' ', rest).ok_or(Violation::Malformed)?;
    let (target, version) = rest.split_at(target_end);
    if method.is_empty() || method.len() > 32 || !method.iter().all(|byte| is(*byte, TOKEN)) {
        return Err(Violation::Malformed);
    }
    if target.is_empty() || !target.iter().all(|byte| is(*byte, VISIBLE)) {
        return Err(Violation::Malformed);
    }
    if target.len() > limits.target {
        return Err(Violation::TargetTooLong);
    }
    // The fragment is never sent (RFC 9112 section 3.2); a hop that cuts it off reads another target.
    if memchr(b'#', target).is_some() {
        return Err(Violation::Malformed);
    }
    let http_1_0 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        _ => return Err(Violation::Malformed),
    };
    Ok(RequestLine { http_1_0, connect: method == b"CONNECT", get: method == b"GET" })
}

#[derive(Default)]
struct Fields {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
    connection_upgrade: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Violation> {
        let colon = memchr(b':', line).ok_or(Violation::Malformed)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        // An obsolete fold starts with white space, which no token does; so does a space before the colon end one.
        if name.is_empty() || !name.iter().all(|byte| is(*byte, TOKEN)) {
            return Err(Violation::Malformed);
        }
        if !is_field_value(value) {
            return Err(Violation::Malformed);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if trim(value).is_empty() {
                    return Err(Violation::Host);
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value))?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // Exactly `chunked`, once: any other coding or list is one that some hop reads differently.
                if self.chunked || !trim(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::Framing);
                }
                self.chunked = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |=
                    value.split(|byte| *byte == b',').any(|part| trim(part).eq_ignore_ascii_case(b"websocket"));
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection_upgrade |=
                    value.split(|byte| *byte == b',').any(|part| trim(part).eq_ignore_ascii_case(b"upgrade"));
            }
            14 | 17 if resembles(name, b"content-length") || resembles(name, b"transfer-encoding") => {
                // A back end that folds `_` and `.` into `-` would read another length than we do.
                return Err(Violation::Framing);
            }
            _ => {}
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        if self.length.is_some() || !digits {
            return Err(Violation::Framing);
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn judge(&self, length: usize, request: &RequestLine) -> Result<Head, Violation> {
        if self.hosts > 1 || (self.hosts == 0 && !request.http_1_0) {
            return Err(Violation::Host);
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Violation::Framing),
            // Transfer-Encoding in HTTP/1.0 is a sign of a hop that did not understand it (RFC 9112 section 6.1).
            (true, None) if request.http_1_0 => return Err(Violation::Framing),
            (true, None) => Framing::Chunked,
            (false, None | Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        let upgrade = self.websocket && self.connection_upgrade && request.get && framing == Framing::None;
        Ok(Head { length, framing, upgrade: upgrade && !request.http_1_0, connect: request.connect })
    }
}

/// Whether a name becomes `framing` once `_` and `.` are folded into `-`.
fn resembles(name: &[u8], framing: &[u8]) -> bool {
    let fold = |byte: &u8| if matches!(byte, b'_' | b'.') { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == framing.len() && name.iter().map(fold).eq(framing.iter().copied())
}

/// Without optional white space (RFC 9110 section 5.6.3) at both ends.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

const TOKEN: u8 = 1;
const VISIBLE: u8 = 2;
const FIELD: u8 = 4;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        let mut class = 0;
        if c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            class |= TOKEN;
        }
        if c > b' ' && c < 0x7f {
            class |= VISIBLE;
        }
        if c == b'\t' || (c >= b' ' && c != 0x7f) {
            class |= FIELD;
        }
        table[byte] = class;
        byte += 1;
    }
    table
};

pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// Whether all bytes are of the class [`FIELD`]. Values are the bulk of a head, so they are judged many bytes at once.
fn is_field_value(value: &[u8]) -> bool {
    let mut blocks = value.chunks_exact(32);
    let unfit = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    blocks.all(|block| !block.iter().fold(false, |any, byte| any | unfit(*byte)))
        && blocks.remainder().iter().all(|byte| is(*byte, FIELD))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// What a quoted string in a chunk extension may hold: nothing that ends a line.
pub(super) fn is_extension_byte(byte: u8) -> bool {
    is(byte, FIELD) && byte < 0x80
}

/// A field line of a trailer section is held to the same grammar.
///
/// # Errors
/// [`Violation::Framing`] for anything that is no field line, or names a field that frames or routes a message.
pub(super) fn trailer_line(line: &[u8]) -> Result<(), Violation> {
    let colon = memchr(b':', line).ok_or(Violation::Framing)?;
    let (name, value) = line.split_at(colon);
    let good =
        !name.is_empty() && name.iter().all(|byte| is(*byte, TOKEN)) && value.iter().all(|byte| is(*byte, FIELD));
    // RFC 9110 section 6.5.1: fields that frame, route or authenticate do not belong into trailers.
    const FORBIDDEN: [&[u8]; 6] =
        [b"content-length", b"transfer-encoding", b"host", b"authorization", b"trailer", b"connection"];
    if !good || FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
        return Err(Violation::Framing);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
