//! The session cookie: one value over as many cookies as it needs. Comes in: sealed text. Goes out: `Set-Cookie` fields, or
//! the text again from what a browser sent.
//!
//! The first cookie begins with the number of all, so that one which is missing, or left over from a longer session, is
//! noticed; that they belong together shows when the whole is opened. Nothing is compressed: what a person can influence
//! would show in the length of what is secret (contract, section 8).

use std::time::Duration;

use super::store::StoreError;
use crate::wire::cookies::{CookieChanges, CookieScope, OwnCookies, Repeated};

/// Cookies of one session (contract, section 8).
const MOST_COOKIES: usize = 3;

/// Browsers keep 4096 bytes of name and value together; a few are left to their way of counting.
const COOKIE_BYTES: usize = 4000;

/// The session cookie of a site.
#[derive(Clone, Debug)]
pub struct SessionCookie {
    names: [Box<str>; MOST_COOKIES],
    scope: CookieScope,
}

/// Why the cookies of a browser are no session cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// One came twice: the request contradicts itself.
    Repeated,
    /// One is missing, or the number is none: a session that is no more.
    Incomplete,
}

impl From<Repeated> for Unreadable {
    fn from(_: Repeated) -> Self {
        Self::Repeated
    }
}

impl SessionCookie {
    pub fn new(name: &str, scope: CookieScope) -> Self {
        let names = std::array::from_fn(|index| match index {
            0 => name.into(),
            index => format!("{name}.{index}").into(),
        });
        Self { names, scope }
    }

    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// The text that the cookies hold; `None` when there are none.
    ///
    /// # Errors
    /// [`Unreadable`] when they hold no text of ours.
    pub fn read(&self, cookies: &OwnCookies) -> Result<Option<String>, Unreadable> {
        let [first, others @ ..] = &self.names;
        let Some(value) = cookies.find(first)? else { return Ok(None) };
        // Looked at in any case: a cookie that came twice is refused even where it is not needed.
        let others = others.each_ref().map(|name| cookies.find(name));
        let count = value.get(..1).and_then(|count| count.parse::<usize>().ok());
        let Some(count) = count.filter(|count| (1..=MOST_COOKIES).contains(count)) else {
            return Err(Unreadable::Incomplete);
        };
        let mut text = value.get(1..).unwrap_or_default().to_owned();
        for (index, other) in others.into_iter().enumerate() {
            match other? {
                Some(part) if index + 1 < count => text.push_str(part),
                None if index + 1 < count => return Err(Unreadable::Incomplete),
                // Left over from a longer session.
                _ => {}
            }
        }
        Ok(Some(text))
    }

    /// Hands the text to the browser, and takes away what is left of a longer one in `cookies`.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when it does not fit.
    pub fn set(&self, text: &str, max_age: Duration, cookies: &OwnCookies) -> Result<CookieChanges, StoreError> {
        let parts = self.parts(text).ok_or(StoreError::TooLarge { bytes: text.len() })?;
        let mut changes = CookieChanges::default();
        for (index, name) in self.names.iter().enumerate() {
            match parts.get(index) {
                Some(part) => changes.push(self.scope.set(name, part, max_age)),
                None if is_there(cookies, name) => changes.push(self.scope.clear(name)),
                None => {}
            }
        }
        Ok(changes)
    }

    /// Takes away what is there.
    pub fn clear(&self, cookies: &OwnCookies) -> CookieChanges {
        let mut changes = CookieChanges::default();
        for name in self.names.iter().filter(|name| is_there(cookies, name)) {
            changes.push(self.scope.clear(name));
        }
        changes
    }

    fn parts(&self, text: &str) -> Option<Vec<String>> {
        let mut rest = text;
        let mut parts = Vec::new();
        for name in &self.names {
            let room = COOKIE_BYTES - name.len() - usize::from(parts.is_empty());
            let (part, after) = rest.split_at_checked(room.min(rest.len()))?;
            parts.push(part.to_owned());
            rest = after;
            if rest.is_empty() {
                let count = parts.len();
                parts.first_mut()?.insert_str(0, &count.to_string());
                return Some(parts);
            }
        }
        None
    }
}

fn is_there(cookies: &OwnCookies, name: &str) -> bool {
    cookies.iter().any(|(found, _)| found == name)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Jar;
    use super::*;
    use crate::wire::cookies::SameSite;

    const DAY: Duration = Duration::from_secs(86_400);

    fn cookie() -> SessionCookie {
        SessionCookie::new(Jar::NAME, CookieScope { same_site: SameSite::Lax, secure: true, domain: None })
    }

    #[test]
    fn a_text_comes_back_from_as_many_cookies_as_it_needs() {
        let cookie = cookie();
        for (length, cookies) in [(0, 1), (1, 1), (3_900, 1), (4_000, 2), (7_900, 2), (8_000, 3), (11_900, 3)] {
            let text: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            let mut jar = Jar::default();
            jar.take(&cookie.set(&text, DAY, &jar.cookies()).unwrap());
            assert_eq!(jar.0.len(), cookies, "{length}");
            assert!(jar.0.iter().all(|(name, value)| name.len() + value.len() <= 4096));
            assert_eq!(cookie.read(&jar.cookies()).unwrap().unwrap(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_says_what_to_do() {
        let error = cookie().set(&"a".repeat(12_000), DAY, &OwnCookies::default()).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("memory") && shown.contains("redis"), "{shown}");
    }

    #[test]
    fn a_shorter_session_leaves_nothing_of_the_longer_one() {
        let cookie = cookie();
        let mut jar = Jar::default();
        jar.take(&cookie.set(&"a".repeat(9_000), DAY, &jar.cookies()).unwrap());
        jar.take(&cookie.set("b", DAY, &jar.cookies()).unwrap());
        assert_eq!(jar.0.len(), 1);
        jar.take(&cookie.clear(&jar.cookies()));
        assert!(jar.0.is_empty());
        assert!(cookie.clear(&jar.cookies()).is_empty());
    }

    #[test]
    fn missing_miscounted_or_repeated_cookies_are_no_session() {
        let cookie = cookie();
        let mut jar = Jar::default();
        jar.take(&cookie.set(&"a".repeat(9_000), DAY, &jar.cookies()).unwrap());
        let part = jar.0.remove(1);
        assert_eq!(cookie.read(&jar.cookies()), Err(Unreadable::Incomplete));
        jar.0.push(part.clone());
        assert_eq!(cookie.read(&jar.cookies()).unwrap().unwrap().len(), 9_000);
        jar.0.push(part);
        assert_eq!(cookie.read(&jar.cookies()), Err(Unreadable::Repeated));
        for odd in ["", "0", "4abc", "99999999", "-1a", "é", "x"] {
            let jar = Jar(vec![(Jar::NAME.to_owned(), odd.to_owned())]);
            assert_eq!(cookie.read(&jar.cookies()), Err(Unreadable::Incomplete), "{odd}");
        }
        assert_eq!(cookie.read(&Jar::default().cookies()), Ok(None));
    }
}
