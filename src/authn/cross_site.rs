//! Did another site cause this? A browser sends the session cookie along with whatever page asks it to, so a request that
//! changes something, or opens a connection that can, has to come from the site itself. Comes in: a request that rides on
//! a session. Goes out: yes or no.
//!
//! `Sec-Fetch-Site` is the browser's own word and comes first; `Origin` is what older browsers say. A sibling host
//! (`same-site`) is another site here: who may write cookies or pages there is not the site's business. Who says neither
//! is no browser of these days, and nobody else can be made to send somebody's cookie.

use http::header::{HeaderName, ORIGIN};
use http::{HeaderMap, Method};

use crate::wire::Arrival;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a site refuses of what others cause.
#[derive(Clone, Debug, Default)]
pub struct CrossSite {
    /// The site's own origin, as browsers write it.
    pub origin: Box<str>,
    /// False: everything passes.
    pub refuses: bool,
    /// Where such requests pass all the same.
    pub allowed: Box<[AllowedPath]>,
}

/// A path pattern, segment by segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPath {
    /// `None` takes any one segment.
    pub segments: Box<[Option<Box<str>>]>,
    /// And all below.
    pub below: bool,
}

impl AllowedPath {
    fn takes(&self, path: &str) -> bool {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let begins = self.segments.iter().all(|segment| match (segment, parts.next()) {
            (Some(wanted), Some(part)) => **wanted == *part,
            (None, Some(part)) => !part.is_empty(),
            (_, None) => false,
        });
        begins && (self.below || parts.next().is_none())
    }
}

impl CrossSite {
    pub(super) fn is_refused(&self, arrival: &Arrival) -> bool {
        let changes = !is_safe(&arrival.method) || arrival.upgrade.is_some();
        self.refuses
            && changes
            && is_foreign(&arrival.headers, |origin| origin == self.origin.as_bytes())
            && !self.allowed.iter().any(|allowed| allowed.takes(arrival.path.as_str()))
    }
}

/// The same for a request that rides on what a browser remembers by host: a name and a password.
pub(super) fn is_forged(arrival: &Arrival) -> bool {
    let host = arrival.host.as_ref().and_then(|host| host.written.to_str().ok()).unwrap_or_default();
    let is_own = |origin: &[u8]| {
        let authority =
            std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    let changes = !is_safe(&arrival.method) || arrival.upgrade.is_some();
    changes && is_foreign(&arrival.headers, is_own)
}

/// Whether a page of another origin caused it. `is_own` is asked about what older browsers say.
fn is_foreign(headers: &HeaderMap, is_own: impl Fn(&[u8]) -> bool) -> bool {
    let mut said = headers.get_all(SEC_FETCH_SITE).iter();
    match (said.next(), said.next()) {
        (Some(site), None) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        (Some(_), Some(_)) => true,
        // Every one of them: a field that came twice says nothing in favour of the request.
        (None, _) => headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes())),
    }
}

/// RFC 9110 section 9.2.1. TRACE is refused anyway.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::policy::tests::arrival;

    fn rule() -> CrossSite {
        let allowed = AllowedPath { segments: [Some("saml".into()), Some("acs".into())].into(), below: false };
        CrossSite { origin: "https://shop.example.com".into(), refuses: true, allowed: [allowed].into() }
    }

    fn refused(method: Method, target: &str, fields: &[(&str, &str)]) -> bool {
        rule().is_refused(&Arrival { method, ..arrival(target, fields) })
    }

    #[test]
    fn what_another_site_caused_is_refused_where_it_could_change_something() {
        let cross = [("sec-fetch-site", "cross-site")];
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::from_bytes(b"PURGE").unwrap()]
        {
            assert!(refused(method, "/a", &cross));
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(!refused(method, "/a", &cross));
        }
        let upgrade = Arrival { upgrade: Some(HeaderValue::from_static("websocket")), ..arrival("/ws", &cross) };
        assert!(rule().is_refused(&upgrade));
    }

    #[test]
    fn the_browsers_own_word_comes_first_and_origin_is_second() {
        let own = ("origin", "https://shop.example.com");
        for (fields, wanted) in [
            (&[("sec-fetch-site", "same-origin")][..], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "Same-Origin")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site"), own], true),
            (&[own], false),
            (&[("origin", "null")], true),
            (&[("origin", "https://shop.example.com.evil.example")], true),
            (&[("origin", "http://shop.example.com")], true),
            (&[("origin", "https://shop.example.com:444")], true),
            (&[], false),
        ] {
            assert_eq!(refused(Method::POST, "/a", fields), wanted, "{fields:?}");
        }
        let mut twice = Arrival { method: Method::POST, ..arrival("/a", &[own]) };
        twice.headers.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(rule().is_refused(&twice));
    }

    #[test]
    fn only_the_very_path_that_was_allowed_passes() {
        let cross = [("origin", "https://idp.example")];
        assert!(!refused(Method::POST, "/saml/acs", &cross));
        for path in ["/saml/acs/", "/saml/acs/x", "/saml", "/saml/acsx", "/x/saml/acs"] {
            assert!(refused(Method::POST, path, &cross), "{path}");
        }
        let below = AllowedPath { segments: [None, Some("hooks".into())].into(), below: true };
        for (path, takes) in [("/a/hooks", true), ("/a/hooks/x/y", true), ("//hooks", false), ("/a/hook", false)] {
            assert_eq!(below.takes(path), takes, "{path}");
        }
        assert!(
            !CrossSite { refuses: false, ..rule() }
                .is_refused(&Arrival { method: Method::POST, ..arrival("/a", &cross) })
        );
    }
}
