//! A name and a password as HTTP Basic shows them (RFC 7617 section 2). Comes in: the header fields. Goes out: both, with
//! one reading, or that they are malformed. Nothing is believed here, and nothing is printed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap};
use zeroize::Zeroizing;

use super::AuthnError;
use super::presented::is_repeated;
use crate::seal::Secret;

/// Longer than any name or password that people have. Bytes.
const LONGEST_NAME: usize = 256;
const LONGEST_PASSWORD: usize = 1024;

/// A name, a colon, a password; the name has no colon in it. Wiped when dropped.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    whole: Secret,
    colon: usize,
}

/// Whether a request shows its credential in this way.
pub(super) fn is_shown(headers: &HeaderMap) -> bool {
    let field = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
    field.and_then(scheme).is_some()
}

/// What follows the scheme.
fn scheme(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(b"Basic".len())?;
    let ends = !rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (scheme.eq_ignore_ascii_case(b"Basic") && ends).then_some(rest)
}

impl Pair {
    /// Reads the one `Authorization` field.
    ///
    /// # Errors
    /// [`AuthnError::Repeated`] when there are several, [`AuthnError::Malformed`] when it has no reading.
    pub(super) fn find(headers: &HeaderMap) -> Result<Self, AuthnError> {
        if is_repeated(headers) {
            return Err(AuthnError::Repeated);
        }
        let field = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        field.and_then(scheme).and_then(Self::parse).ok_or(AuthnError::Malformed)
    }

    /// One space, then the base64 of UTF-8 without control characters (RFC 7617 section 2), in its only spelling.
    fn parse(rest: &[u8]) -> Option<Self> {
        let token = rest.strip_prefix(b" ")?;
        if token.len() > (LONGEST_NAME + 1 + LONGEST_PASSWORD).div_ceil(3) * 4 {
            return None;
        }
        let text = match String::from_utf8(STANDARD.decode(token).ok()?) {
            Ok(text) => Secret::new(text),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                return None;
            }
        };
        let colon = text.expose().find(':')?;
        let fits = colon <= LONGEST_NAME && text.expose().len() - colon - 1 <= LONGEST_PASSWORD;
        (fits && !text.expose().chars().any(char::is_control)).then_some(Self { whole: text, colon })
    }

    /// Both, as they are told apart: a name has no colon, so two pairs never read the same.
    pub(super) fn whole(&self) -> &[u8] {
        self.whole.expose().as_bytes()
    }

    pub(super) fn name(&self) -> &str {
        self.whole.expose().get(..self.colon).unwrap_or_default()
    }

    pub(super) fn password(&self) -> Secret {
        Secret::new(self.whole.expose().get(self.colon + 1..).unwrap_or_default().to_owned())
    }

    /// Directories take an empty password for nobody in particular, and let it in (RFC 4513 section 5.1.2).
    pub(super) fn is_half_empty(&self) -> bool {
        self.colon == 0 || self.colon + 1 == self.whole.expose().len()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(field: &str) -> Result<(String, String), AuthnError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        Pair::find(&headers).map(|pair| (pair.name().to_owned(), pair.password().expose().to_owned()))
    }

    fn encoded(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn a_name_ends_at_the_first_colon() {
        for (text, name, password) in [
            ("alice:wonderland", "alice", "wonderland"),
            ("alice:a:b", "alice", "a:b"),
            ("jürgen:pä€ß", "jürgen", "pä€ß"),
            ("a b: c ", "a b", " c "),
            (":x", "", "x"),
            ("x:", "x", ""),
        ] {
            assert_eq!(found(&encoded(text)), Ok((name.to_owned(), password.to_owned())));
            assert_eq!(found(&encoded(text).replace("Basic", "bAsIc")), Ok((name.to_owned(), password.to_owned())));
        }
        // RFC 7617 section 2 and 2.1.
        assert_eq!(found("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Ok(("Aladdin".into(), "open sesame".into())));
        assert_eq!(found("Basic dGVzdDoxMjPCow=="), Ok(("test".into(), "123£".into())));
    }

    #[test]
    fn what_has_no_single_reading_is_malformed() {
        for field in [
            "Basic",
            "Basic ",
            "Basic  YTpi",
            "Basic\tYTpi",
            "Basic YTpi x",
            "Basic YTpi,",
            "Basic YTp",
            "Basic YTpiYg",
            "Basic YTpiYh==",
            "Basic YTpi====",
            "Basic YT-i",
            "Basic YTpi\t",
            "Basic realm=x",
            // No colon; Latin-1; NUL, line feed, DEL, C1.
            "Basic YWJj",
            "Basic YTr8",
            "Basic YToA",
            "Basic YTpiCg==",
            "Basic YTp/",
            "Basic YTrChQ==",
        ] {
            assert_eq!(found(field), Err(AuthnError::Malformed), "{field}");
        }
        assert!(found(&encoded(&format!("{}:{}", "a".repeat(256), "b".repeat(1024)))).is_ok());
        assert!(found(&encoded(&format!("{}:b", "a".repeat(257)))).is_err());
        assert!(found(&encoded(&format!("a:{}", "b".repeat(1025)))).is_err());
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let pair = Pair::parse(b" YWxpY2U6d29uZGVybGFuZA==").unwrap();
        assert!(!format!("{pair:?}").contains("wonderland"));
        assert!(!pair.is_half_empty());
        for half in [&b" Ong="[..], b" eDo=", b" Og=="] {
            assert!(Pair::parse(half).unwrap().is_half_empty());
        }
    }
}
