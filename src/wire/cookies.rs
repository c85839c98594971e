//! Cookies of our own. Comes in: the `Cookie` fields of a request. Goes out: our cookies, taken out so that nothing
//! behind this can pass them on, and `Set-Cookie` fields for whatever answer goes out (RFC 6265bis).

use std::ops::Range;
use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use smallvec::SmallVec;

/// Names that are ours: each base name, and whatever follows it behind a dot (`shop`, `shop.1`, `shop.tx.Ab3`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnCookieNames(Box<[Box<str>]>);

impl OwnCookieNames {
    pub fn new<'a>(bases: impl IntoIterator<Item = &'a str>) -> Self {
        Self(bases.into_iter().map(Box::from).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a cookie of this name is ours. Case is not told apart: browsers do not tell `__host-` from `__Host-`
    /// everywhere, and nobody else has a use for such a name.
    pub fn owns(&self, name: &[u8]) -> bool {
        self.0.iter().any(|base| {
            let base = base.as_bytes();
            name.split_at_checked(base.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(base) && matches!(rest.first(), None | Some(b'.'))
            })
        })
    }

    /// Drops from an answer's `Set-Cookie` fields those that would set one of ours. Goes out: how many there were.
    pub fn strip_answer(&self, headers: &mut HeaderMap) -> usize {
        if self.is_empty() || !headers.contains_key(SET_COOKIE) {
            return 0;
        }
        let all = headers.get_all(SET_COOKIE).iter().count();
        let kept: Vec<HeaderValue> =
            headers.get_all(SET_COOKIE).iter().filter(|field| !self.owns(set_name(field))).cloned().collect();
        let dropped = all - kept.len();
        if dropped > 0 {
            headers.remove(SET_COOKIE);
            for field in kept {
                headers.append(SET_COOKIE, field);
            }
        }
        dropped
    }
}

/// The name by which a cookie comes back that a `Set-Cookie` field sets. One without a name comes back as its value alone
/// (RFC 6265bis section 5.8.3), which then reads as a name up to its own `=`.
fn set_name(field: &HeaderValue) -> &[u8] {
    let pair = field.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let mut names = pair.split(|byte| *byte == b'=').map(<[u8]>::trim_ascii);
    names.find(|name| !name.is_empty()).unwrap_or_default()
}

/// A cookie that may be there once only came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cookie of ours came twice")]
pub struct Repeated;

/// Our cookies of one request. Never printed.
#[derive(Clone, Default)]
pub struct OwnCookies {
    fields: Vec<HeaderValue>,
    found: Vec<Found>,
}

#[derive(Clone)]
struct Found {
    field: usize,
    name: Range<usize>,
    value: Range<usize>,
}

impl std::fmt::Debug for OwnCookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl OwnCookies {
    /// Takes our cookies out of the `Cookie` fields; what is left there may go on.
    pub fn take(headers: &mut HeaderMap, names: &OwnCookieNames) -> Self {
        let mut own = Self::default();
        if names.is_empty() || !headers.contains_key(COOKIE) {
            return own;
        }
        let mut left: SmallVec<[HeaderValue; 1]> = SmallVec::new();
        for field in headers.get_all(COOKIE) {
            let before = own.found.len();
            let mut rest: Vec<u8> = Vec::new();
            for pair in pairs(field.as_bytes()) {
                if names.owns(field.as_bytes().get(pair.name.clone()).unwrap_or_default()) {
                    own.found.push(Found { field: own.fields.len(), name: pair.name, value: pair.value });
                } else if let Some(pair) = field.as_bytes().get(pair.whole) {
                    if !rest.is_empty() {
                        rest.extend_from_slice(b"; ");
                    }
                    rest.extend_from_slice(pair);
                }
            }
            if own.found.len() == before {
                left.push(field.clone());
                continue;
            }
            own.fields.push(field.clone());
            if !rest.is_empty() {
                left.extend(HeaderValue::from_bytes(&rest));
            }
        }
        if !own.is_empty() {
            headers.remove(COOKIE);
            for field in left {
                headers.append(COOKIE, field);
            }
        }
        own
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Names and values, in the order in which they came. A value that is no ASCII text is empty.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.found.iter().map(|found| {
            let field = self.fields.get(found.field).map(HeaderValue::as_bytes).unwrap_or_default();
            let text = |range: &Range<usize>| {
                let bytes = field.get(range.clone()).unwrap_or_default();
                std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).unwrap_or_default()
            };
            (text(&found.name), text(&found.value))
        })
    }

    /// The value of a cookie.
    ///
    /// # Errors
    /// [`Repeated`] when it is there twice: which of them is meant would be chance, or somebody's choice.
    pub fn find(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.iter().filter(|(found, _)| *found == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }
}

struct Pair {
    whole: Range<usize>,
    name: Range<usize>,
    value: Range<usize>,
}

/// `cookie-pair`s as servers read them: separated by `;`, white space around them ignored, the name up to the first `=`.
fn pairs(field: &[u8]) -> impl Iterator<Item = Pair> {
    let mut next = 0;
    field.split(|byte| *byte == b';').filter_map(move |piece| {
        let start = next;
        next = start + piece.len() + 1;
        let lead = piece.len() - piece.trim_ascii_start().len();
        let whole = start + lead..start + lead + piece.trim_ascii().len();
        let text = field.get(whole.clone())?;
        if text.is_empty() {
            return None;
        }
        let equals = text.iter().position(|byte| *byte == b'=');
        let name_end = text.get(..equals.unwrap_or(text.len()))?.trim_ascii_end().len();
        let value = equals.map_or(whole.end..whole.end, |equals| {
            let raw = text.get(equals + 1..).unwrap_or_default();
            let lead = raw.len() - raw.trim_ascii_start().len();
            whole.start + equals + 1 + lead..whole.end
        });
        Some(Pair { name: whole.start..whole.start + name_end, value, whole })
    })
}

/// When a browser sends a cookie along with what another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

/// To whom a browser shows a cookie. Always `HttpOnly`, always for the whole origin. A deletion has to name the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieScope {
    pub same_site: SameSite,
    pub secure: bool,
    /// `None`: this host only.
    pub domain: Option<Box<str>>,
}

impl CookieScope {
    /// The `Set-Cookie` field that sets a cookie for so long. `name` and `value` are ours: tokens and base64url.
    pub fn set(&self, name: &str, value: &str, max_age: Duration) -> HeaderValue {
        self.field(name, value, max_age.as_secs())
    }

    /// The `Set-Cookie` field that removes a cookie.
    pub fn clear(&self, name: &str) -> HeaderValue {
        self.field(name, "", 0)
    }

    fn field(&self, name: &str, value: &str, max_age: u64) -> HeaderValue {
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let mut text = format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={same_site}");
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(domain) = &self.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        let mut field = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        field.set_sensitive(true);
        field
    }
}

/// What is to become of our cookies at the browser: goes out with whatever answer goes out.
#[derive(Clone, Debug, Default)]
pub struct CookieChanges(Vec<HeaderValue>);

impl CookieChanges {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, field: HeaderValue) {
        self.0.push(field);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The fields as they will stand in the answer.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter()
    }

    /// Adds them to an answer, which then may not be stored by anybody (RFC 9111 section 5.2.2.5).
    pub fn apply(self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for field in self.0 {
            headers.append(SET_COOKIE, field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> OwnCookieNames {
        OwnCookieNames::new(["__Host-postern-shop"])
    }

    fn taken(fields: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        let own = OwnCookies::take(&mut headers, &names());
        let left = headers.get_all(COOKIE).iter().map(|field| String::from_utf8_lossy(field.as_bytes()).into_owned());
        let own = own.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        (own.collect(), left.collect())
    }

    #[test]
    fn our_cookies_are_taken_out_and_the_others_stay_as_they_were() {
        let (own, left) = taken(&[
            "a=1; __Host-postern-shop=x=y; theme=d\u{e9}; __Host-postern-shop.1=z;  b = 2 ;c; __Host-postern-shopping=3",
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(own, [pair("__Host-postern-shop", "x=y"), pair("__Host-postern-shop.1", "z")]);
        assert_eq!(left, ["a=1; theme=d\u{e9}; b = 2; c; __Host-postern-shopping=3"]);
    }

    #[test]
    fn a_field_with_nothing_but_ours_goes_away_and_one_without_ours_is_untouched() {
        let (own, left) = taken(&["__Host-postern-shop=a", "x=1;y=2"]);
        assert_eq!(own.len(), 1);
        assert_eq!(left, ["x=1;y=2"]);
        assert_eq!(taken(&["__host-POSTERN-shop.tx.1=a"]).1, [""; 0]);
        assert_eq!(taken(&["__Host-postern-shop"]).1, [""; 0], "a name without a value is ours too");
    }

    #[test]
    fn a_cookie_of_ours_that_comes_twice_is_told() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("__Host-postern-shop=a; __Host-postern-shop=b"));
        let own = OwnCookies::take(&mut headers, &names());
        assert_eq!(own.find("__Host-postern-shop"), Err(Repeated));
        assert_eq!(own.find("__Host-postern-shop.1"), Ok(None));
    }

    #[test]
    fn an_answer_of_an_upstream_sets_no_cookie_of_ours() {
        let mut headers = HeaderMap::new();
        for field in
            ["a=1", "__Host-postern-shop=evil; Path=/", " __host-postern-shop.1 =x", "__Host-postern-shop", "b=2"]
        {
            headers.append(SET_COOKIE, HeaderValue::from_static(field));
        }
        assert_eq!(names().strip_answer(&mut headers), 3);
        assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    #[test]
    fn a_cookie_without_a_name_does_not_come_back_as_one_of_ours() {
        let own = OwnCookieNames::new(["postern-shop"]);
        let mut headers = HeaderMap::new();
        for field in ["=postern-shop=evil", " = postern-shop.1=x; Path=/", "==postern-shop=x", "=a=1", "=", ""] {
            headers.append(SET_COOKIE, HeaderValue::from_static(field));
        }
        assert_eq!(own.strip_answer(&mut headers), 3);
        assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["=a=1", "=", ""]);
    }

    #[test]
    fn a_deletion_names_the_same_scope_as_the_cookie() {
        let scope = CookieScope { same_site: SameSite::Lax, secure: true, domain: None };
        assert_eq!(
            scope.set("__Host-a", "v", Duration::from_secs(60)),
            "__Host-a=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(scope.clear("__Host-a"), "__Host-a=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure");
        let wide = CookieScope { same_site: SameSite::None, secure: true, domain: Some("example.com".into()) };
        assert_eq!(wide.clear("a"), "a=; Path=/; Max-Age=0; HttpOnly; SameSite=None; Secure; Domain=example.com");
    }

    #[test]
    fn an_answer_with_our_cookie_is_not_stored() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        CookieChanges::default().apply(&mut headers);
        assert_eq!(headers[CACHE_CONTROL], "public, max-age=60");
        let mut changes = CookieChanges::default();
        changes.push(HeaderValue::from_static("a=b"));
        changes.apply(&mut headers);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert_eq!(headers[SET_COOKIE], "a=b");
    }
}
