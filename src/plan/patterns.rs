//! Which hosts and paths a route takes, parsed. Comes in: `*.example.com`, `/users/{id}/orders`. Goes out: patterns in the
//! normal form that requests are brought to, or why a text is none.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// A host as a route names it; always lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Exact(Box<str>),
    /// `*.example.com`: one label more than what is kept here, `example.com`.
    Wildcard(Box<str>),
}

/// Why a text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    #[error("a host is empty")]
    Empty,
    #[error("a host here has no scheme, port or path")]
    NotAHost,
    #[error("`*` stands for one whole label, and only in front: `*.example.com`")]
    Wildcard,
    #[error("a host has letters, digits, `-` and `_`, in labels of 1 to 63 characters (non-ASCII names as `xn--…`)")]
    Characters,
}

impl HostPattern {
    /// # Errors
    /// [`HostPatternError`] when no Host header could match.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        if text.is_empty() {
            return Err(HostPatternError::Empty);
        }
        if let Some(rest) = text.strip_prefix("*.") {
            return labels(rest).map(|()| Self::Wildcard(rest.into()));
        }
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(address) = address {
            return match address.parse::<std::net::Ipv6Addr>() {
                Ok(address) => Ok(Self::Exact(format!("[{address}]").into())),
                Err(_) => Err(HostPatternError::NotAHost),
            };
        }
        labels(text).map(|()| Self::Exact(text.into()))
    }
}

fn labels(text: &str) -> Result<(), HostPatternError> {
    if text.contains(['/', ':', '@', '?', '#', '[']) {
        return Err(HostPatternError::NotAHost);
    }
    if text.contains('*') {
        return Err(HostPatternError::Wildcard);
    }
    let plain = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() <= 253 && text.split('.').all(plain) { Ok(()) } else { Err(HostPatternError::Characters) }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(rest) => write!(f, "*.{rest}"),
        }
    }
}

/// One step of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// This segment, in normal form; empty at the end of a path that ends with `/`.
    Literal(Box<str>),
    /// Any one segment, under this name.
    Param(Box<str>),
    /// What is above and all below; only at the end.
    Rest,
}

/// A path as a route names it, split at `/`: `/` is one empty literal, `/docs/**` is `docs` and the rest, which takes
/// `/docs`, `/docs/` and everything under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern {
    segments: Box<[PathSegment]>,
}

/// Why a text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("a path holds no query and no fragment")]
    Query,
    #[error("`//` is refused in requests, so this can never match")]
    EmptySegment,
    #[error("`.` and `..` are resolved before matching, so this can never match")]
    DotSegment,
    #[error("`**` stands for whole segments, and only at the end")]
    Rest,
    #[error("`*` is no pattern: `{{name}}` takes one segment, `**` at the end takes all that follow")]
    Star,
    #[error("`{0}`: a name in braces is a whole segment, of letters, digits and `_`, not starting with a digit")]
    Param(String),
    #[error("`{{{0}}}` is there twice")]
    ParamTwice(String),
    #[error("`{0}` is refused in requests, so this can never match")]
    Refused(String),
    #[error("`{written}` never arrives in that form: write `{normal}`")]
    NotNormal { written: String, normal: String },
}

/// What a segment may hold as it is: pchar of RFC 3986 section 3.3, less `;` in no way restricted.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`').add(b'|');

impl PathPattern {
    /// `encoded_slash`: whether `%2F` may stand inside a segment.
    ///
    /// # Errors
    /// [`PathPatternError`] when it is malformed, or could never match a normalised path.
    pub fn parse(text: &str, encoded_slash: bool) -> Result<Self, PathPatternError> {
        let rest = text.strip_prefix('/').ok_or(PathPatternError::NoSlash)?;
        if text.contains(['?', '#']) {
            return Err(PathPatternError::Query);
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let last = parts.len() - 1;
        let mut segments = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let segment = match part {
                "**" if at == last => PathSegment::Rest,
                _ if part.contains("**") => return Err(PathPatternError::Rest),
                "" if at < last => return Err(PathPatternError::EmptySegment),
                "." | ".." => return Err(PathPatternError::DotSegment),
                _ if part.contains('*') => return Err(PathPatternError::Star),
                _ if part.contains(['{', '}']) => PathSegment::Param(param(part)?.into()),
                _ => PathSegment::Literal(literal(part, encoded_slash)?.into()),
            };
            if let PathSegment::Param(name) = &segment
                && segments.contains(&segment)
            {
                return Err(PathPatternError::ParamTwice(name.to_string()));
            }
            segments.push(segment);
        }
        Ok(Self { segments: segments.into() })
    }

    pub fn segments(&self) -> &[PathSegment] {
        &self.segments
    }

    /// Whether two patterns take the very same paths: names of parameters don't matter.
    pub fn same_shape(&self, other: &Self) -> bool {
        let alike = |a: &PathSegment, b: &PathSegment| match (a, b) {
            (PathSegment::Param(_), PathSegment::Param(_)) => true,
            _ => a == b,
        };
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(a, b)| alike(a, b))
    }

    /// Whether every path that `narrow` takes is also taken by `self`.
    pub fn covers(&self, narrow: &Self) -> bool {
        let mut mine = self.segments.iter();
        let mut theirs = narrow.segments.iter();
        loop {
            match (mine.next(), theirs.next()) {
                (Some(PathSegment::Rest), _) | (None, None) => return true,
                (Some(PathSegment::Param(_)), Some(PathSegment::Param(_))) => {}
                (Some(PathSegment::Param(_)), Some(PathSegment::Literal(literal))) if !literal.is_empty() => {}
                (Some(PathSegment::Literal(a)), Some(PathSegment::Literal(b))) if a == b => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            PathSegment::Literal(text) => write!(f, "/{text}"),
            PathSegment::Param(name) => write!(f, "/{{{name}}}"),
            PathSegment::Rest => f.write_str("/**"),
        })
    }
}

fn param(part: &str) -> Result<&str, PathPatternError> {
    let wrong = || PathPatternError::Param(part.to_owned());
    let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')).ok_or_else(wrong)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let starts = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    if plain && starts { Ok(name) } else { Err(wrong()) }
}

/// A literal in the form that requests are normalised to: unreserved characters plain, other escapes in upper case.
fn literal(part: &str, encoded_slash: bool) -> Result<String, PathPatternError> {
    if let Some(refused) = part.chars().find(|c| *c == '\\' || c.is_control()) {
        return Err(PathPatternError::Refused(refused.escape_default().to_string()));
    }
    let mut pieces = part.split('%');
    let mut normal = utf8_percent_encode(pieces.next().unwrap_or_default(), ENCODED).to_string();
    for piece in pieces {
        let refused = || PathPatternError::Refused(format!("%{}", piece.chars().take(2).collect::<String>()));
        let (digits, after) = piece.split_at_checked(2).ok_or_else(refused)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).ok_or_else(refused)?;
        let shown = match byte {
            b'/' if encoded_slash => "%2F".to_owned(),
            0..=0x1f | 0x7f | b'/' | b'\\' | b'#' => return Err(refused()),
            b'%' if ["2e", "2f", "5c", "00"].iter().any(|no| after.to_ascii_lowercase().starts_with(no)) => {
                return Err(refused());
            }
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let written = format!("%{digits}");
        if shown != written {
            return Err(PathPatternError::NotNormal { written, normal: shown });
        }
        normal.push_str(&shown);
        normal.push_str(&utf8_percent_encode(after, ENCODED).to_string());
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text, false).unwrap()
    }

    #[test]
    fn a_path_is_made_of_whole_segments() {
        use PathSegment::{Literal, Param, Rest};
        assert_eq!(path("/").segments(), [Literal("".into())]);
        assert_eq!(path("/**").segments(), [Rest]);
        assert_eq!(path("/docs/**").segments(), [Literal("docs".into()), Rest]);
        assert_eq!(
            path("/users/{id}/orders").segments(),
            [Literal("users".into()), Param("id".into()), Literal("orders".into())]
        );
        assert_eq!(path("/a/").segments(), [Literal("a".into()), Literal("".into())]);
        assert_eq!(path("/straße").to_string(), "/stra%C3%9Fe");
        assert_eq!(path("/a b%25c").to_string(), "/a%20b%25c");
    }

    #[test]
    fn a_pattern_that_could_never_match_is_an_error() {
        let wrong = [
            "", "docs", "/a//b", "/a/../b", "/./a", "/a/**/b", "/a**", "/a*", "/*", "/{id", "/{}", "/{1a}", "/x{id}",
            "/{a}/{a}", "/a?b", "/a#b", "/a%2fb", "/a%2Fb", "/a%5Cb", "/a\\b", "/a%00", "/a%2541", "/%41", "/%c3%9f",
            "/%zz", "/%", "/%+1", "/a\u{1}",
        ];
        for text in wrong {
            if text == "/a%2541" {
                continue; // `%25` before `41` is data.
            }
            assert!(PathPattern::parse(text, false).is_err(), "{text:?}");
        }
        assert!(PathPattern::parse("/a%252f", false).is_err());
        assert!(PathPattern::parse("/a%2Fb", true).is_ok());
    }

    #[test]
    fn shapes_ignore_the_names_of_parameters() {
        assert!(path("/a/{x}/b").same_shape(&path("/a/{y}/b")));
        assert!(!path("/a/{x}").same_shape(&path("/a/b")));
        assert!(!path("/a/**").same_shape(&path("/a")));
    }

    #[test]
    fn covering_is_judged_segment_by_segment() {
        assert!(path("/**").covers(&path("/a/{b}")));
        assert!(path("/a/**").covers(&path("/a")));
        assert!(path("/a/{x}").covers(&path("/a/b")));
        assert!(!path("/a/{x}").covers(&path("/a/**")));
        assert!(!path("/a/b").covers(&path("/a/{x}")));
        assert!(!path("/a/{x}").covers(&path("/a/")));
    }

    #[test]
    fn hosts_are_exact_or_have_one_leading_wildcard() {
        let parsed = |text: &str| HostPattern::parse(text).map(|host| host.to_string());
        assert_eq!(parsed("API.Example.com.").as_deref(), Ok("api.example.com"));
        assert_eq!(parsed("*.example.com").as_deref(), Ok("*.example.com"));
        assert_eq!(parsed("[::1]").as_deref(), Ok("[::1]"));
        assert_eq!(parsed("127.0.0.1").as_deref(), Ok("127.0.0.1"));
        for text in [
            "",
            ".",
            "*",
            "a.*.com",
            "*a.com",
            "*.*.com",
            "a:80",
            "http://a",
            "a/b",
            "a..b",
            "straße.de",
            "a b",
            "[x]",
            "*.",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
