//! One attempt to sign in, from the redirect to the provider until its answer. Comes in: what was asked for. Goes out: the
//! same, to the browser that asked and to nobody else, once.
//!
//! Each attempt has a short-lived cookie of its own, sealed, so that several tabs can sign in at once. There are at most
//! [`MOST_ATTEMPTS`], and no more than a few kilobytes; a new one pushes the oldest out, so that abandoned attempts never pile up to a request that is
//! too large.

use std::time::Duration;

use super::{codec, digest_of};
use crate::clock::Time;
use crate::seal::{KeyRing, MasterKeys, Secret, random};
use crate::wire::cookies::{CookieChanges, CookieScope, OwnCookies};

/// How long a person may take at the provider.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Attempts of one browser at one site.
pub const MOST_ATTEMPTS: usize = 8;

/// Bytes of the attempts of one browser, the new one included: names and values. Beside a session in cookies and the
/// app's own they have to fit into what servers take for a header.
const MOST_BYTES: usize = 4096;

/// A longer return address is not kept: eight of them have to fit into a request. Bytes.
pub const LONGEST_RETURN: usize = 1024;

/// Stands between a cookie's name and the attempt's slot.
const INFIX: &str = ".tx.";

/// 256 random bits that tell one attempt from every other (RFC 6749 section 10.12). Never printed.
#[derive(Clone)]
pub struct State(Secret);

impl State {
    const LENGTH: usize = 43;

    pub fn random() -> Self {
        Self(Secret::new(random::token()))
    }

    /// What could be a state of ours: 43 characters of base64url.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (text.len() == Self::LENGTH && plain).then(|| Self(Secret::new(text.to_owned())))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The part of the cookie's name that belongs to this attempt. Says nothing of the state.
    fn slot(&self) -> String {
        let digest = digest_of(&[b"slot", self.expose().as_bytes()]);
        digest.get(..8).unwrap_or_default().to_owned()
    }

    /// Under which it is remembered that this state was used.
    pub fn digest(&self) -> String {
        digest_of(&[b"state", self.expose().as_bytes()])
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What was asked of the provider beyond a sign-in, and has to be in its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Of these, the ID token's `acr` must be one; empty = any.
    pub acr: Box<[Box<str>]>,
    /// Seconds; `auth_time` must be there and no older (OIDC Core section 3.1.2.1).
    pub max_age: Option<u64>,
}

/// An attempt to sign in.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub state: State,
    /// Must be in the ID token (OIDC Core section 15.5.2).
    pub nonce: Box<str>,
    /// PKCE's `code_verifier` (RFC 7636 section 4.1).
    pub verifier: Secret,
    /// The site's name in the configuration.
    pub site: Box<str>,
    /// The name of the entry in `clients` that was chosen; the answer has to come from its issuer. Empty while it is still to
    /// be chosen: nobody was asked yet, and no answer belongs to such an attempt.
    pub client: Box<str>,
    /// Where to go afterwards: already judged, path and query of the site or an allowed address.
    pub return_to: Box<str>,
    pub started_at: Time,
    pub asked: Asked,
    /// A form of the site's own page is what began it: afterwards it is sent again, or the person is told that it is lost.
    pub has_form: bool,
}

impl Transaction {
    /// What an attempt keeps of a return address: one longer than [`LONGEST_RETURN`] becomes `/`.
    pub fn kept_return(return_to: &str) -> &str {
        if return_to.len() > LONGEST_RETURN { "/" } else { return_to }
    }

    /// A fresh attempt. Of `return_to` it keeps [`Self::kept_return`].
    pub fn new(site: &str, client: &str, return_to: &str, asked: Asked, now: Time) -> Self {
        let return_to = Self::kept_return(return_to);
        Self {
            state: State::random(),
            nonce: random::token().into(),
            verifier: Secret::new(random::token()),
            site: site.into(),
            client: client.into(),
            return_to: return_to.into(),
            started_at: now,
            asked,
            has_form: false,
        }
    }

    fn is_over(&self, now: Time) -> bool {
        // A start in the future is a clock that stepped back: the cookie's own lifetime still bounds it.
        now.since(self.started_at) >= LIFETIME
    }
}

/// Why an answer belongs to no attempt of this browser. The person sees the same page for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// No state of ours, or no cookie for it: another browser's, or forged, or long ago.
    #[error("no attempt to sign in has this state")]
    Unknown,
    #[error("the attempt took too long")]
    Expired,
    /// The cookie was not sealed by us for this site.
    #[error("the attempt's cookie was not sealed here")]
    Foreign,
}

/// The attempts at one site.
#[derive(Debug)]
pub struct Transactions {
    site: Box<str>,
    /// The name of the session cookie, from which the attempts' names are made.
    cookie: Box<str>,
    scope: CookieScope,
    ring: KeyRing,
}

impl Transactions {
    /// `scope` is `SameSite=None; Secure` where the provider answers by a cross-site POST (form_post), else `Lax`.
    pub fn new(site: &str, cookie: &str, scope: CookieScope, keys: &MasterKeys) -> Self {
        Self { site: site.into(), cookie: cookie.into(), scope, ring: keys.ring("sign-in attempt") }
    }

    /// Hands an attempt to the browser. What it holds of older attempts is cleared where it is over, unreadable, or one
    /// too many or too large.
    pub fn begin(&self, transaction: &Transaction, cookies: &OwnCookies, now: Time) -> CookieChanges {
        let mut changes = CookieChanges::default();
        let name = self.name(&transaction.state);
        let sealed = self.ring.seal_text(&name, &codec::encode_transaction(transaction));
        let mut living: Vec<(Time, &str, usize)> = Vec::new();
        for (name, value) in self.attempts(cookies) {
            match self.open(name, value) {
                Some(older) if !older.is_over(now) => living.push((older.started_at, name, name.len() + value.len())),
                _ => changes.push(self.scope.clear(name)),
            }
        }
        // The youngest first: they stay for as long as there is room.
        living.sort_unstable_by_key(|(started, ..)| std::cmp::Reverse(*started));
        let mut bytes = name.len() + sealed.len();
        let mut is_full = false;
        for (index, (_, name, size)) in living.into_iter().enumerate() {
            bytes += size;
            is_full |= index + 1 >= MOST_ATTEMPTS || bytes > MOST_BYTES;
            if is_full {
                changes.push(self.scope.clear(name));
            }
        }
        changes.push(self.scope.set(&name, &sealed, LIFETIME));
        changes
    }

    /// The attempt that an answer's `state` belongs to, if this browser began it. Its cookie goes away, whatever comes of
    /// the answer. That a state is used once, also by who kept a copy of the cookie, is for the caller to see to: see
    /// [`State::digest`].
    ///
    /// # Errors
    /// [`TransactionError`] when there is none.
    pub fn find(
        &self,
        state: &str,
        cookies: &OwnCookies,
        now: Time,
    ) -> Result<(Transaction, CookieChanges), TransactionError> {
        let state = State::parse(state).ok_or(TransactionError::Unknown)?;
        let name = self.name(&state);
        let value = cookies.find(&name).ok().flatten().ok_or(TransactionError::Unknown)?;
        let transaction = self.open(&name, value).ok_or(TransactionError::Foreign)?;
        if !transaction.state.0.equals(state.expose().as_bytes()) {
            return Err(TransactionError::Unknown);
        }
        if transaction.is_over(now) {
            return Err(TransactionError::Expired);
        }
        let mut changes = CookieChanges::default();
        changes.push(self.scope.clear(&name));
        Ok((transaction, changes))
    }

    fn attempts<'c>(&self, cookies: &'c OwnCookies) -> impl Iterator<Item = (&'c str, &'c str)> {
        cookies.iter().filter(|(name, _)| self.slot_of(name).is_some())
    }

    fn slot_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&*self.cookie)?.strip_prefix(INFIX)
    }

    fn name(&self, state: &State) -> String {
        format!("{}{INFIX}{}", self.cookie, state.slot())
    }

    fn open(&self, name: &str, value: &str) -> Option<Transaction> {
        let opened = self.ring.open_text(name, value).ok()?;
        codec::decode_transaction(&opened.plain).filter(|transaction| transaction.site == self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Jar;
    use super::*;
    use crate::seal::MasterKey;
    use crate::wire::cookies::SameSite;

    const NOW: Time = Time::from_seconds(1_900_000_000);

    fn keys() -> MasterKeys {
        MasterKeys::new([MasterKey::from_bytes([7; 32])]).unwrap()
    }

    fn transactions(site: &str) -> Transactions {
        let scope = CookieScope { same_site: SameSite::Lax, secure: true, domain: None };
        Transactions::new(site, Jar::NAME, scope, &keys())
    }

    fn attempt(now: Time) -> Transaction {
        Transaction::new("shop", "shop-web", "/orders?page=2", Asked::default(), now)
    }

    #[test]
    fn an_answer_finds_the_attempt_of_its_own_browser_only() {
        let site = transactions("shop");
        let (mut alice, mut mallory) = (Jar::default(), Jar::default());
        let (hers, his) = (attempt(NOW), attempt(NOW));
        alice.take(&site.begin(&hers, &alice.cookies(), NOW));
        mallory.take(&site.begin(&his, &mallory.cookies(), NOW));
        let (found, changes) = site.find(hers.state.expose(), &alice.cookies(), NOW).unwrap();
        assert_eq!(found.nonce, hers.nonce);
        assert_eq!(&*found.return_to, "/orders?page=2");
        assert_eq!(site.find(his.state.expose(), &alice.cookies(), NOW).unwrap_err(), TransactionError::Unknown);
        alice.take(&changes);
        assert!(alice.0.is_empty());
        for odd in ["", "x", &"a".repeat(64 * 1024), "\u{e9}"] {
            assert_eq!(site.find(odd, &mallory.cookies(), NOW).unwrap_err(), TransactionError::Unknown);
        }
    }

    #[test]
    fn several_tabs_sign_in_at_once_and_the_ninth_pushes_the_oldest_out() {
        let site = transactions("shop");
        let mut jar = Jar::default();
        let attempts: Vec<_> = (0..50).map(|second| attempt(NOW.plus(Duration::from_secs(second)))).collect();
        let mut at_once = 0;
        for attempt in &attempts {
            jar.take(&site.begin(attempt, &jar.cookies(), attempt.started_at));
            at_once = at_once.max(jar.0.len());
        }
        assert_eq!(at_once, MOST_ATTEMPTS);
        let later = NOW.plus(Duration::from_secs(60));
        let found: Vec<_> =
            attempts.iter().map(|attempt| site.find(attempt.state.expose(), &jar.cookies(), later).is_ok()).collect();
        assert_eq!(found.iter().filter(|found| **found).count(), MOST_ATTEMPTS);
        assert!(found[50 - MOST_ATTEMPTS..].iter().all(|found| *found), "the youngest are the ones that are kept");
    }

    #[test]
    fn attempts_with_the_longest_return_address_fit_beside_a_session() {
        let site = transactions("shop");
        let mut jar = Jar::default();
        for second in 0..8 {
            let now = NOW.plus(Duration::from_secs(second));
            let transaction = Transaction { return_to: "/".repeat(LONGEST_RETURN).into(), ..attempt(now) };
            jar.take(&site.begin(&transaction, &jar.cookies(), now));
            let bytes: usize = jar.0.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(bytes <= MOST_BYTES, "{bytes}");
            assert!(site.find(transaction.state.expose(), &jar.cookies(), now).is_ok(), "the new one is there");
        }
        assert!(jar.0.len() > 1, "a few of them have room");
        let long = Transaction::new("shop", "shop-web", &"/".repeat(LONGEST_RETURN + 1), Asked::default(), NOW);
        assert_eq!(&*long.return_to, "/");
    }

    #[test]
    fn an_attempt_ends_after_its_time_and_is_cleared_by_the_next() {
        let site = transactions("shop");
        let mut jar = Jar::default();
        let old = attempt(NOW);
        jar.take(&site.begin(&old, &jar.cookies(), NOW));
        let later = NOW.plus(LIFETIME);
        assert_eq!(site.find(old.state.expose(), &jar.cookies(), later).unwrap_err(), TransactionError::Expired);
        jar.take(&site.begin(&attempt(later), &jar.cookies(), later));
        assert_eq!(jar.0.len(), 1);
    }

    #[test]
    fn a_cookie_that_was_changed_moved_or_made_for_another_site_is_foreign() {
        let site = transactions("shop");
        let mut jar = Jar::default();
        let (one, two) = (attempt(NOW), attempt(NOW));
        jar.take(&site.begin(&one, &jar.cookies(), NOW));
        jar.take(&site.begin(&two, &jar.cookies(), NOW));
        let foreign = Err(TransactionError::Foreign);
        let find = |site: &Transactions, jar: &Jar, tx: &Transaction| {
            site.find(tx.state.expose(), &jar.cookies(), NOW).map(|_| ())
        };
        assert_eq!(find(&transactions("other"), &jar, &one), foreign);
        let (first, second) = (jar.0[0].1.clone(), jar.0[1].1.clone());
        jar.0[0].1 = second;
        assert_eq!(find(&site, &jar, &one), foreign);
        for at in 0..first.len() {
            let mut changed = first.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            jar.0[0].1 = String::from_utf8(changed).unwrap();
            assert_eq!(find(&site, &jar, &one), foreign, "{at}");
        }
    }
}
