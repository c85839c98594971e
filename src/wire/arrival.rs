//! From what hyper read to an [`Arrival`]: a request that is well-formed and normalised; nothing more is claimed.
//! Serves HTTP/1.1 and HTTP/2 alike; what only the raw bytes of HTTP/1.1 can show was refused below hyper.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::body::Body;
use super::headers::clean_request;
use super::owned::OwnedNames;
use super::path::{NormalPath, PathError};

/// A request as the rooms see it. What is matched here is what is forwarded: there is no other copy of the path.
pub struct Arrival {
    pub method: Method,
    pub path: NormalPath,
    /// `None` where the client named none (HTTP/1.0).
    pub host: Option<Host>,
    /// Hop-by-hop fields and owned names (identity, forwarding) are already gone from here.
    pub headers: HeaderMap,
    pub version: Version,
    /// The protocol that the client asks to switch to; `websocket` or nothing.
    pub upgrade: Option<HeaderValue>,
    pub body: Body,
}

/// Shows neither fields nor query: tokens and cookies travel there.
impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival")
            .field("method", &self.method)
            .field("path", &self.path.as_str())
            .finish_non_exhaustive()
    }
}

impl Arrival {
    /// Without the `?`; `None` when the target has none.
    pub fn query(&self) -> Option<&str> {
        self.path.query()
    }
}

/// The host a request is for: the name by which it is routed, and the field value as it was written.
#[derive(Clone, Debug)]
pub struct Host {
    /// As sent, port included; what `host: preserve` forwards.
    pub written: HeaderValue,
    /// How much of `written` is the name, without port and trailing dot.
    length: usize,
    /// The name in lower case, where it is not written so.
    lower: Option<Box<str>>,
}

impl Host {
    /// Lower-case, without port and trailing dot.
    pub fn name(&self) -> &str {
        match &self.lower {
            Some(name) => name,
            None => {
                let written = self.written.as_bytes().get(..self.length).unwrap_or_default();
                std::str::from_utf8(written).unwrap_or_default()
            }
        }
    }

    /// Parses `uri-host [":" port]` (RFC 9110 section 7.2) more strictly than RFC 3986: letters, digits, `-`, `_`,
    /// `.`, or an IPv6 address in brackets.
    pub fn parse(written: &HeaderValue) -> Option<Self> {
        let text = std::str::from_utf8(written.as_bytes()).ok()?;
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']')?;
                inside.parse::<std::net::Ipv6Addr>().ok()?;
                (text.get(..inside.len() + 2)?, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
            }
            None => match text.bytes().position(|byte| byte == b':') {
                Some(colon) => (text.get(..colon)?, text.get(colon + 1..)?),
                None => (text, ""),
            },
        };
        if port.len() > 5
            || !port.bytes().all(|byte| byte.is_ascii_digit())
            || port.parse::<u16>().is_err() && !port.is_empty()
        {
            return None;
        }
        if !name.starts_with('[') && !is_reg_name(name) {
            return None;
        }
        let bare = name.strip_suffix('.').unwrap_or(name);
        let lower = bare.bytes().any(|byte| byte.is_ascii_uppercase()).then(|| bare.to_ascii_lowercase().into());
        Some(Self { written: written.clone(), length: bare.len(), lower })
    }
}

fn is_reg_name(name: &str) -> bool {
    // A name that begins with a dot, or has two in a row, has an empty label.
    let mut after_dot = true;
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| {
            let good = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !after_dot);
            after_dot = byte == b'.';
            good
        })
}

/// Bounds that apply to every request, whatever its route. Bytes, counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Path and query.
    pub target: usize,
    /// All field names and values together.
    pub header: usize,
    /// One field, name and value.
    pub field: usize,
    pub fields: usize,
    /// Zero = no limit.
    pub body: u64,
    /// Silence inside a body; zero = no limit.
    pub body_silence: std::time::Duration,
}

/// Why a request is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrivalError {
    #[error("CONNECT and TRACE are not proxied")]
    Method,
    #[error("the request target: {0}")]
    Path(#[from] PathError),
    #[error("the request target is of no form that is served")]
    Target,
    #[error("the request target is longer than {0} bytes")]
    TargetTooLong(usize),
    #[error("no host, or one that cannot be read")]
    Host,
    #[error("Host and the target's authority differ")]
    HostMismatch,
    #[error("header fields above the limit")]
    HeaderTooLarge,
    #[error("a field's name is no token, or its value begins or ends with white space")]
    Field,
    #[error("a field that must be single came twice")]
    Repeated,
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
}

/// Checks a request and takes out what must not pass.
///
/// # Errors
/// [`ArrivalError`] for whatever is malformed, ambiguous or above a limit.
pub fn check(parts: Parts, body: Body, owned: &OwnedNames, limits: &Limits) -> Result<Arrival, ArrivalError> {
    let Parts { method, uri, version, mut headers, .. } = parts;
    // In any case: a back end may take no notice of it.
    if ["CONNECT", "TRACE"].iter().any(|refused| method.as_str().eq_ignore_ascii_case(refused)) {
        return Err(ArrivalError::Method);
    }
    let host = host(&uri, &headers, version)?;
    let path = target(&uri, limits)?;
    if version == Version::HTTP_2 {
        // Over HTTP/1.1 the raw head was judged and measured below hyper.
        check_fields(&headers, limits)?;
        join_cookies(&mut headers);
    }
    check_body(&mut headers, limits)?;
    let cleaned = clean_request(&mut headers, owned);
    let upgrade = cleaned.upgrade.filter(|protocol| {
        version == Version::HTTP_11
            && method == Method::GET
            && matches!(body, Body::Empty)
            && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
    });
    Ok(Arrival { method, path, host, headers, version, upgrade, body })
}

fn target(uri: &Uri, limits: &Limits) -> Result<NormalPath, ArrivalError> {
    let target = uri.path_and_query().ok_or(ArrivalError::Target)?;
    if target.as_str().len() > limits.target {
        return Err(ArrivalError::TargetTooLong(limits.target));
    }
    if !target.as_str().starts_with('/') {
        // `*` (OPTIONS for the server as a whole) and the authority form have no path to route by.
        return Err(ArrivalError::Target);
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(ArrivalError::Target);
    }
    Ok(NormalPath::of(target)?)
}

/// The host by `Host` and `:authority` or absolute target, which must agree (RFC 9113 section 8.3.1, RFC 9112
/// section 3.2.2).
fn host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Option<Host>, ArrivalError> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(ArrivalError::Repeated);
    }
    let Some(authority) = uri.authority() else {
        return match field {
            Some(field) => Host::parse(field).map(Some).ok_or(ArrivalError::Host),
            None if version == Version::HTTP_10 => Ok(None),
            None => Err(ArrivalError::Host),
        };
    };
    if authority.as_str().contains('@') {
        return Err(ArrivalError::Host);
    }
    if let Some(field) = field
        && !field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
    {
        return Err(ArrivalError::HostMismatch);
    }
    let written = HeaderValue::from_str(authority.as_str()).map_err(|_| ArrivalError::Host)?;
    Host::parse(&written).map(Some).ok_or(ArrivalError::Host)
}

/// RFC 9113 section 8.2.1 asks for what section 5 of RFC 9110 says of fields; the HTTP/2 stack lets some of it pass.
fn check_fields(headers: &HeaderMap, limits: &Limits) -> Result<(), ArrivalError> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut total = 0;
    for (name, value) in headers {
        if !name.as_str().bytes().all(is_token) || blank(value.as_bytes().first()) || blank(value.as_bytes().last()) {
            return Err(ArrivalError::Field);
        }
        let size = name.as_str().len() + value.len();
        let limit = match () {
            // A token may be as long as a field: what stands before it is not counted.
            () if name == AUTHORIZATION => limits.field + "authorizationBearer ".len(),
            // All cookies of a browser are one field, ours and those of the app.
            () if name == COOKIE => limits.header,
            () => limits.field,
        };
        if size > limit {
            return Err(ArrivalError::HeaderTooLarge);
        }
        total += size + 4;
    }
    if total > limits.header || headers.len() > limits.fields {
        return Err(ArrivalError::HeaderTooLarge);
    }
    Ok(())
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// HTTP/2 may split the cookie field into crumbs; whoever reads HTTP/1.1 expects it whole (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let joined =
            [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn check_body(headers: &mut HeaderMap, limits: &Limits) -> Result<(), ArrivalError> {
    let Some(written) = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes) else { return Ok(()) };
    let length = std::str::from_utf8(written).ok().and_then(|text| text.parse::<u64>().ok());
    if limits.body > 0 && length.is_none_or(|length| length > limits.body) {
        return Err(ArrivalError::BodyTooLarge(limits.body));
    }
    // A back end that reads numbers with a leading zero as octal would see another end of the body.
    if let (Some(length), [b'0', _, ..]) = (length, written) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        Host::parse(&HeaderValue::from_str(text).unwrap()).map(|host| host.name().to_owned())
    }

    #[test]
    fn hosts_lose_case_port_and_trailing_dot() {
        for (written, name) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("example.com:", "example.com"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:443", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(written).as_deref(), Some(name), "{written}");
        }
    }

    #[test]
    fn a_length_goes_up_in_its_shortest_form() {
        let limits =
            Limits { target: 0, header: 0, field: 0, fields: 0, body: 0, body_silence: std::time::Duration::ZERO };
        for (written, passed) in [("0", "0"), ("00", "0"), ("010", "10"), ("10", "10"), ("000000000000000001", "1")] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(written));
            check_body(&mut headers, &limits).unwrap();
            assert_eq!(headers[CONTENT_LENGTH], passed);
        }
    }

    #[test]
    fn a_printed_arrival_shows_no_token_and_no_query() {
        let request =
            http::Request::get("/a?access_token=hidden").header("host", "h").header("authorization", "Bearer hidden");
        let parts = request.body(()).unwrap().into_parts().0;
        let limits = Limits {
            target: 100,
            header: 1000,
            field: 100,
            fields: 10,
            body: 0,
            body_silence: std::time::Duration::ZERO,
        };
        let arrival = check(parts, Body::Empty, &OwnedNames::new(&[]), &limits).unwrap();
        let shown = format!("{arrival:?}");
        assert!(shown.contains("/a") && !shown.contains("hidden"), "{shown}");
    }

    #[test]
    fn cookies_are_bounded_with_all_fields_and_each_other_one_by_itself() {
        let body_silence = std::time::Duration::ZERO;
        let limits = Limits { target: 100, header: 1000, field: 100, fields: 10, body: 0, body_silence };
        let judged = |name: http::HeaderName, length: usize| {
            let value = HeaderValue::try_from("a".repeat(length)).unwrap();
            check_fields(&HeaderMap::from_iter([(name, value)]), &limits)
        };
        assert_eq!(judged(COOKIE, 900), Ok(()));
        assert_eq!(judged(COOKIE, 1000), Err(ArrivalError::HeaderTooLarge));
        assert_eq!(judged(http::header::ACCEPT, 100), Err(ArrivalError::HeaderTooLarge));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for written in [
            "", ":80", "a b", "a/b", "a@b", "a,b", "a:x", "a:99999", "a:1:2", "[::1", "[x]", "[::1]x", "a..b", ".",
            "a%41", "é",
        ] {
            let value = HeaderValue::from_bytes(written.as_bytes()).unwrap();
            assert!(Host::parse(&value).is_none(), "{written}");
        }
    }
}
