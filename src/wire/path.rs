//! Path normalisation and refusal of ambiguous forms (configuration contract, section 3). Comes in: the path and query
//! of a request target. Goes out: a [`NormalPath`] with exactly one reading, which is matched, logged and forwarded.
//!
//! Anything that a back end could read in two ways is refused rather than repaired: an encoded slash or backslash, an
//! escape of an escape, a dot segment with parameters, an overlong encoding.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// A path with one reading, and the query it came with (untouched).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath {
    target: PathAndQuery,
    encoded_slash: bool,
}

/// Why a target has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("an empty path segment")]
    EmptySegment,
    #[error("a dot segment leads above the root")]
    AboveRoot,
    #[error("a dot segment with parameters")]
    DotParameters,
    #[error("an encoded slash")]
    EncodedSlash,
    #[error("a backslash")]
    Backslash,
    #[error("a control byte, NUL, '#', or a byte that RFC 3986 does not allow in a path")]
    Byte,
    #[error("a malformed escape, or escapes that are not UTF-8")]
    Escape,
    #[error("an escape of an escape")]
    DoubleEscape,
}

impl NormalPath {
    /// Normalises the path of `target`. The common case (nothing to change) shares the target's memory.
    ///
    /// # Errors
    /// [`PathError`] when the target has more than one plausible reading.
    pub fn of(target: &PathAndQuery) -> Result<Self, PathError> {
        let (path, query) = split(target.as_str());
        check_query(query)?;
        if is_plain(path) {
            return Ok(Self { target: target.clone(), encoded_slash: false });
        }
        let (normal, encoded_slash) = normalise(path)?;
        let target = match query {
            None if normal == path => return Ok(Self { target: target.clone(), encoded_slash }),
            None => PathAndQuery::try_from(normal),
            Some(query) => PathAndQuery::try_from(format!("{normal}?{query}")),
        };
        Ok(Self { target: target.map_err(|_| PathError::Byte)?, encoded_slash })
    }

    /// From text, as [`NormalPath::of`]; for paths that were rewritten by configuration.
    ///
    /// # Errors
    /// [`PathError`] as above.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        if !target.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        Self::of(&PathAndQuery::try_from(target).map_err(|_| PathError::Byte)?)
    }

    pub fn as_str(&self) -> &str {
        self.target.path()
    }

    /// Without the `?`; `None` when the target has none.
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Path and query, ready to be sent.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// Whether the path holds `%2F`, which only a route with `encoded_slash: keep` accepts.
    pub fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// The same query under another path, normalised and checked again.
    ///
    /// # Errors
    /// [`PathError`] when the new path is ambiguous.
    pub fn with_path(&self, path: &str) -> Result<Self, PathError> {
        match self.query() {
            None => Self::parse(path),
            Some(query) => Self::parse(&format!("{path}?{query}")),
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', text.as_bytes()).and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))) {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// The query is passed on as it is, so it may hold only what cannot end or split a request line.
fn check_query(query: Option<&str>) -> Result<(), PathError> {
    match query {
        Some(query) if query.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#') => Err(PathError::Byte),
        _ => Ok(()),
    }
}

const PLAIN: u8 = 1;
const UNRESERVED: u8 = 2;

/// Per byte: may stand in a path segment as it is (RFC 3986 `pchar` without `%`), and is unreserved.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        if c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~') {
            table[byte] = PLAIN | UNRESERVED;
        } else if matches!(c, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
        {
            table[byte] = PLAIN;
        }
        byte += 1;
    }
    table
};

fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

/// True when nothing needs a closer look: only plain bytes, and no segment that is empty or begins with a dot.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let Some((b'/', rest)) = bytes.split_first() else { return false };
    let mut after_slash = true;
    for &byte in rest {
        if byte == b'/' {
            if after_slash {
                return false;
            }
            after_slash = true;
        } else if class(byte) & PLAIN == 0 || (after_slash && byte == b'.') {
            return false;
        } else {
            after_slash = false;
        }
    }
    true
}

fn normalise(path: &str) -> Result<(String, bool), PathError> {
    let Some(rest) = path.strip_prefix('/') else { return Err(PathError::NotAbsolute) };
    let mut kept: Vec<Cow<'_, str>> = Vec::new();
    let mut encoded_slash = false;
    let mut segments = rest.split('/').peekable();
    while let Some(written) = segments.next() {
        let last = segments.peek().is_none();
        let segment = decode(written)?;
        encoded_slash |= check_segment(&segment)?;
        match &*segment {
            "" if last => kept.push(segment),
            "" => return Err(PathError::EmptySegment),
            "." | ".." => {
                if segment == ".." && kept.pop().is_none() {
                    return Err(PathError::AboveRoot);
                }
                if last {
                    kept.push(Cow::Borrowed(""));
                }
            }
            _ => kept.push(segment),
        }
    }
    Ok((format!("/{}", kept.join("/")), encoded_slash))
}

/// Decodes escapes of unreserved characters, upper-cases the others, and refuses what has two readings.
fn decode(segment: &str) -> Result<Cow<'_, str>, PathError> {
    if segment.bytes().all(|byte| class(byte) & PLAIN != 0) {
        return Ok(Cow::Borrowed(segment));
    }
    let mut out = String::with_capacity(segment.len());
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            return Err(PathError::Backslash);
        }
        if byte != b'%' {
            if class(byte) & PLAIN == 0 {
                return Err(PathError::Byte);
            }
            out.push(byte as char);
            decoded.push(byte);
            continue;
        }
        let value = match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(PathError::Escape),
        };
        decoded.push(value);
        match value {
            b'\\' => return Err(PathError::Backslash),
            0..=0x1f | 0x7f => return Err(PathError::Byte),
            _ if class(value) & UNRESERVED != 0 => out.push(value as char),
            _ => out.push_str(&format!("%{value:02X}")),
        }
    }
    // Overlong forms are not UTF-8, whatever a lenient decoder makes of them.
    std::str::from_utf8(&decoded).map_err(|_| PathError::Escape)?;
    Ok(Cow::Owned(out))
}

/// Refuses dot segments in disguise in a segment that was decoded; tells whether it holds `%2F`.
fn check_segment(segment: &str) -> Result<bool, PathError> {
    for (at, _) in segment.match_indices("%25") {
        let next = segment.get(at + 3..at + 5).unwrap_or_default();
        if ["2e", "2f", "5c", "00"].iter().any(|form| next.eq_ignore_ascii_case(form)) {
            return Err(PathError::DoubleEscape);
        }
    }
    let mut slashes = 0;
    for part in segment.split("%2F") {
        slashes += 1;
        let name = part.split(';').next().unwrap_or_default();
        let name = name.split("%3B").next().unwrap_or_default();
        if name.len() != part.len() && (name == "." || name == "..") {
            return Err(PathError::DotParameters);
        }
    }
    if slashes > 1 {
        // Kept encoded slashes must not hide what plain ones may not show.
        if segment.split("%2F").any(|part| matches!(part, "" | "." | "..")) {
            return Err(PathError::EncodedSlash);
        }
        return Ok(true);
    }
    Ok(false)
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        NormalPath::parse(path).map(|path| path.target().as_str().to_owned())
    }

    #[test]
    fn plain_paths_stay_as_they_are() {
        for path in ["/", "/a", "/a/b.c", "/a/", "/a;b/c=d", "/a?x=//../#".trim_end_matches('#'), "/a/b.?%2f"] {
            assert_eq!(normal(path).as_deref(), Ok(path));
        }
    }

    #[test]
    fn dot_segments_are_resolved_however_they_are_written() {
        for (path, want) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b?q", "/b?q"),
            ("/a/.%2e/b", "/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/.", "/"),
            ("/%41%7e", "/A~"),
            ("/a%3fb%2a", "/a%3Fb%2A"),
            ("/%e2%82%ac", "/%E2%82%AC"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        for (path, error) in [
            ("/..", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("//a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a/..//b", PathError::EmptySegment),
            ("/a%5cb", PathError::Backslash),
            ("/a%00", PathError::Byte),
            ("/a%0d%0a", PathError::Byte),
            ("/a%7f", PathError::Byte),
            ("/a%zz", PathError::Escape),
            ("/a%2", PathError::Escape),
            ("/a%c0%af", PathError::Escape),
            ("/a%c0%ae%c0%ae/b", PathError::Escape),
            ("/a/..;/b", PathError::DotParameters),
            ("/a/..;x=1/b", PathError::DotParameters),
            ("/a/%2e%2e%3b/b", PathError::DotParameters),
            ("/a/.;/b", PathError::DotParameters),
            ("/a%252e%252e/b", PathError::DoubleEscape),
            ("/a%25%32%65/b", PathError::DoubleEscape),
            ("/a%252Fb", PathError::DoubleEscape),
            ("/a%255cb", PathError::DoubleEscape),
            ("/a%2500", PathError::DoubleEscape),
            ("/..%2fadmin", PathError::EncodedSlash),
            ("/a%2f..%2fb", PathError::EncodedSlash),
            ("a", PathError::NotAbsolute),
        ] {
            assert_eq!(normal(path), Err(error), "{path}");
        }
        assert!(normal("/a\\b").is_err());
        assert!(normal("/a b").is_err());
    }

    #[test]
    fn an_encoded_slash_is_told_of() {
        assert!(NormalPath::parse("/a%2fb").unwrap().has_encoded_slash());
        assert_eq!(normal("/a%2fb").as_deref(), Ok("/a%2Fb"));
    }
}
