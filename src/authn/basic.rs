//! The Basic way (RFC 7617), for callers who know nothing better. Comes in: name and password. Goes out: the caller of the
//! token that they are exchanged for, judged as every token of that issuer is; never the credentials themselves, which go to
//! the issuer and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::AuthnError;
use super::passwords::Passwords;
use crate::caller::Known;
use crate::clock::Time;
use crate::seal::Secret;

/// The longest name and the longest password. Bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_PASSWORD: usize = 1024;

/// A route's Basic credentials: where they are exchanged.
#[derive(Debug)]
pub struct BasicWay {
    passwords: Arc<Passwords>,
}

/// A name and a password, one reading.
pub(super) struct Pair {
    whole: Zeroizing<Vec<u8>>,
    colon: usize,
}

impl BasicWay {
    pub const fn new(passwords: Arc<Passwords>) -> Self {
        Self { passwords }
    }

    pub(super) async fn judge(&self, shown: &str, now: Time, client: Option<IpAddr>) -> Result<Known, AuthnError> {
        let pair = Pair::parse(shown).ok_or(AuthnError::Malformed)?;
        self.passwords.caller(&pair, now, client).await.map(Known::Caller)
    }
}

impl Pair {
    /// `user-id ":" password` in UTF-8 (RFC 7617 sections 2 and 2.1), base64 as RFC 4648 section 4 writes it and no
    /// otherwise; without control characters, which section 2 forbids.
    pub(super) fn parse(token68: &str) -> Option<Self> {
        if token68.len() > (LONGEST_NAME + LONGEST_PASSWORD + 1).div_ceil(3) * 4 {
            return None;
        }
        let whole = Zeroizing::new(STANDARD.decode(token68).ok()?);
        let text = std::str::from_utf8(&whole).ok()?;
        let colon = text.find(':')?;
        let is_fit = (1..=LONGEST_NAME).contains(&colon)
            && text.len() - colon - 1 <= LONGEST_PASSWORD
            && !text.chars().any(char::is_control);
        is_fit.then_some(Self { colon, whole })
    }

    /// Both, as they stand: names hold no colon, so this has one reading.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    pub(super) fn name(&self) -> &str {
        // It was read as UTF-8, and a colon is a boundary.
        std::str::from_utf8(self.whole.get(..self.colon).unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn password(&self) -> Secret {
        let bytes = self.whole.get(self.colon + 1..).unwrap_or_default();
        Secret::new(std::str::from_utf8(bytes).unwrap_or_default().to_owned())
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<(String, String)> {
        let pair = Pair::parse(&STANDARD.encode(text))?;
        Some((pair.name().to_owned(), pair.password().expose().to_owned()))
    }

    #[test]
    fn a_pair_has_one_reading() {
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(b"alice:won:der"), pair("alice", "won:der"));
        assert_eq!(read("zoë:pä ss".as_bytes()), pair("zoë", "pä ss"));
        assert_eq!(read(b"alice:"), pair("alice", ""));
        for text in [&b"alice"[..], b":secret", b"al\0ice:x", b"alice:x\n", b"alice:\xff", b"a\x7f:b", b""] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read(format!("{}:x", "a".repeat(256)).as_bytes()), None);
        assert_eq!(read(format!("a:{}", "x".repeat(1025)).as_bytes()), None);
        assert!(read(format!("{}:{}", "a".repeat(255), "x".repeat(1024)).as_bytes()).is_some());
        // Not padded, of another alphabet, with bits left over: others might read them otherwise.
        for token68 in ["YTpi=", "YTpiYw", "YT-iYw==", "YTpiYx==", "YTpi\nYw=="] {
            assert!(Pair::parse(token68).is_none(), "{token68:?}");
        }
    }
}
