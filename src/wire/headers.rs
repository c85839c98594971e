//! What a proxy must take out of a message before passing it on (RFC 9110 section 7.6.1), in one pass that touches the
//! map only where something is.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRAILER, UPGRADE};
use smallvec::SmallVec;

use super::owned::OwnedNames;

/// What was learnt while cleaning a request.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The `Upgrade` field of a request whose `Connection` asked for it.
    pub upgrade: Option<HeaderValue>,
}

/// Fields that `Connection` cannot name away: they carry identity or framing, or route the request.
const PROTECTED: [&str; 10] = [
    "content-range",
    "authorization",
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "cookie",
    "expect",
    "date",
    "set-cookie",
];

/// Removes hop-by-hop fields, those that `Connection` names, owned names in any spelling, and look-alikes of framing
/// fields, from a request.
pub fn clean_request(headers: &mut HeaderMap, owned: &OwnedNames) -> Cleaned {
    let mut gone: SmallVec<[HeaderName; 4]> = SmallVec::new();
    let mut connection = false;
    for name in headers.keys() {
        let text = name.as_str();
        if is_hop_by_hop(text) || is_expect(text) || owned.owns(text) || resembles_framing(text) {
            connection |= name == CONNECTION;
            gone.push(name.clone());
        }
    }
    let mut cleaned = Cleaned::default();
    if connection {
        let (named, upgrade) = named_by_connection(headers);
        if upgrade {
            cleaned.upgrade = headers.get(UPGRADE).cloned();
        }
        gone.extend(named);
    }
    for name in &gone {
        headers.remove(name);
    }
    cleaned
}

/// Removes from request trailers what may stand in a head only (RFC 9110 section 6.5.1): framing, routing,
/// credentials, content and hop-by-hop fields, and owned names.
pub fn clean_trailers(trailers: &mut HeaderMap, owned: &OwnedNames) {
    clean_request(trailers, owned);
    for name in PROTECTED {
        trailers.remove(name);
    }
}

/// Removes hop-by-hop fields and those that `Connection` names from a response. `Trailer` stays: it announces what
/// comes at the end of the body, and that is passed on.
pub fn clean_response(headers: &mut HeaderMap) {
    let mut gone: SmallVec<[HeaderName; 4]> = SmallVec::new();
    let mut connection = false;
    for name in headers.keys() {
        if is_hop_by_hop(name.as_str()) && name != TRAILER {
            connection |= name == CONNECTION;
            gone.push(name.clone());
        }
    }
    if connection {
        gone.extend(named_by_connection(headers).0);
    }
    for name in &gone {
        headers.remove(name);
    }
}

/// Hop-by-hop by RFC 9110 section 7.6.1 and custom.
fn is_hop_by_hop(name: &str) -> bool {
    match name.len() {
        2 => name == "te",
        7 => name == "upgrade" || name == "trailer",
        10 => name == "connection" || name == "keep-alive",
        14 => name == "http2-settings",
        16 => name == "proxy-connection",
        17 => name == "transfer-encoding",
        18 => name == "proxy-authenticate",
        19 => name == "proxy-authorization",
        _ => false,
    }
}

/// `Expect: 100-continue` is answered here, when the upstream takes the body.
fn is_expect(name: &str) -> bool {
    name.len() == 6 && name == "expect"
}

/// `content_length` and its like: a back end that folds `_` and `.` into `-` would read them as framing.
fn resembles_framing(name: &str) -> bool {
    const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "proxy-authorization", "content-type"];
    if !name.bytes().any(|byte| byte == b'_' || byte == b'.') {
        return false;
    }
    FRAMING.iter().any(|framing| {
        framing.len() == name.len()
            && framing
                .bytes()
                .zip(name.bytes())
                .all(|(want, byte)| want == byte || (want == b'-' && matches!(byte, b'_' | b'.')))
    })
}

fn named_by_connection(headers: &HeaderMap) -> (SmallVec<[HeaderName; 4]>, bool) {
    let mut named = SmallVec::new();
    let mut upgrade = false;
    for value in headers.get_all(CONNECTION) {
        // What nearly all of them say.
        if value == "keep-alive" || value == "close" {
            continue;
        }
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"upgrade") {
                upgrade = true;
            } else if !token.eq_ignore_ascii_case(b"close")
                && !token.eq_ignore_ascii_case(b"keep-alive")
                && let Ok(name) = HeaderName::from_bytes(token)
                && !PROTECTED.contains(&name.as_str())
            {
                named.push(name);
            }
        }
    }
    (named, upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn connection_names_fields_away_but_not_those_that_matter() {
        let mut headers = map(&[
            ("connection", "close, x-trace, Authorization , Host"),
            ("x-trace", "1"),
            ("authorization", "Bearer x"),
            ("host", "h"),
            ("te", "trailers"),
            ("accept", "*/*"),
            ("content_length", "5"),
        ]);
        let cleaned = clean_request(&mut headers, &OwnedNames::new(&[]));
        assert!(cleaned.upgrade.is_none());
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "host"]);
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_asks_for_it() {
        let owned = OwnedNames::new(&[]);
        let mut without = map(&[("upgrade", "websocket")]);
        assert!(clean_request(&mut without, &owned).upgrade.is_none());
        let mut with = map(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]);
        assert_eq!(clean_request(&mut with, &owned).upgrade.unwrap(), "websocket");
        assert!(with.is_empty());
    }
}
