//! Browser sign-ins that are being kept. A sign-in gives a [`Session`]; the browser holds a cookie for it, and what that
//! cookie is depends on the store: the whole session, sealed, or an id and the key to what is kept elsewhere.
//!
//! A session is bound to its site, to the registration by which the person signed in, and to the issuer: moved
//! anywhere else it is none.

pub mod codec;
mod cookie;
pub mod index;
mod opened;
mod refresh;
mod sessions;
pub mod store;
pub mod transaction;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use index::Ended;
pub use opened::Live;
pub use refresh::{Renewal, RenewalTally};
pub use sessions::{FindError, Found, Sessions, SessionsSettings};
pub use store::{Kept, SessionStore, StoreError};
pub use transaction::{Asked, State, Transaction, TransactionError, Transactions};

use crate::caller::Claims;
use crate::clock::Time;
use crate::idp::TokenSet;
use crate::idp::front_token::FrontToken;
use crate::seal::{Secret, random};

/// What a session is known by: 256 random bits, new at each sign-in (OWASP: no fixation). Never printed; names under
/// which something is kept are made of its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    pub fn random() -> Self {
        Self(random::bytes())
    }

    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// For names in stores and in logs: who reads one learns nothing that a cookie could be made of.
    pub fn digest(&self) -> String {
        digest_of(&[b"session", &self.0])
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[session]")
    }
}

/// SHA-256 over parts, each with its length before it, as base64url.
fn digest_of(parts: &[&[u8]]) -> String {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes))
}

/// A browser's sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    /// The site's name in the configuration.
    pub site: Box<str>,
    /// The name of the entry in `clients` by which the person signed in.
    pub client: Box<str>,
    /// The issuer identifier, byte for byte.
    pub issuer: Box<str>,
    /// `sub` of the ID token.
    pub subject: Box<str>,
    /// `sid` of the ID token (OIDC Back-Channel Logout section 2.1), by which the issuer may end the session.
    pub sid: Option<Box<str>>,
    /// The absolute timeout counts from here.
    pub signed_in_at: Time,
    /// The idle timeout counts from here.
    pub seen_at: Time,
    /// When it is over in any case, because nothing that came with it can be renewed: a sign-in without a code.
    pub ends_at: Option<Time>,
    /// How often the tokens were renewed: of two copies, the one that was renewed more often is true.
    pub generation: u32,
    pub tokens: Tokens,
    /// The ID token's payload, merged with userinfo where the site asks for it.
    pub claims: Claims,
}

impl Session {
    /// When it is over at the latest, where sessions last `absolute` from the sign-in.
    pub fn over_at(&self, absolute: Duration) -> Time {
        let timeout = self.signed_in_at.plus(absolute);
        self.ends_at.map_or(timeout, |ends_at| ends_at.min(timeout))
    }

    /// How long it may still be kept.
    fn time_left(&self, absolute: Duration, now: Time) -> Duration {
        // A clock that stepped back makes no session longer.
        self.over_at(absolute).since(now).min(absolute)
    }
}

/// What the issuer handed out for the person. Stays on this side: a browser never sees any of it in clear.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    pub access: Option<Secret>,
    /// From `expires_in`; `None` when the issuer did not say, and then it is not renewed for age.
    pub access_expires_at: Option<Time>,
    /// From then on the tokens are renewed.
    pub renew_at: Option<Time>,
    pub refresh: Option<Secret>,
    /// The ID token as it came: the `id_token_hint` of a sign-out.
    pub id: Option<Secret>,
    /// The granted scopes, space-separated (RFC 6749 section 5.1).
    pub scope: Option<Box<str>>,
}

/// Tokens are renewed when a quarter of their life is left, and not earlier than this before its end.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);

impl Tokens {
    /// What the issuer handed out just now. What it does not say after a refresh stays as it was `before` (RFC 6749
    /// section 6, OIDC Core section 12.2).
    pub fn received(set: &TokenSet, now: Time, before: Option<&Self>) -> Self {
        let life = set.expires_in.filter(|life| !life.is_zero());
        let margin = life.map(|life| (life / 4).min(RENEWAL_MARGIN));
        let before = before.cloned().unwrap_or_default();
        Self {
            access: Some(set.access_token.clone()),
            access_expires_at: life.map(|life| now.plus(life)),
            renew_at: life.zip(margin).map(|(life, margin)| now.plus(life - margin)),
            refresh: set.refresh_token.clone().or(before.refresh),
            id: set.id_token.clone().or(before.id),
            scope: set.scope.clone().or(before.scope),
        }
    }

    /// What came through the browser, of which nothing is ever renewed.
    pub fn of_front(id: Option<Secret>, access: Option<FrontToken>, now: Time) -> Self {
        let Some(FrontToken { token, expires_in, scope }) = access else { return Self { id, ..Self::default() } };
        let access_expires_at = expires_in.map(|life| now.plus(life));
        Self { access: Some(token), access_expires_at, id, scope, ..Self::default() }
    }

    fn id_is_new(&self, before: &Self) -> bool {
        match (&self.id, &before.id) {
            (Some(id), Some(before)) => !id.equals(before.expose().as_bytes()),
            (id, _) => id.is_some(),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use http::header::{COOKIE, HeaderMap, HeaderValue};

    use super::*;
    use crate::wire::cookies::{CookieChanges, OwnCookieNames, OwnCookies};

    /// A browser's jar, as far as this needs one.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Jar(pub(crate) Vec<(String, String)>);

    impl Jar {
        pub(crate) const NAME: &'static str = "__Host-postern-shop";

        pub(crate) fn take(&mut self, changes: &CookieChanges) {
            for field in changes.iter() {
                let text = field.to_str().unwrap();
                let (pair, rest) = text.split_once(';').unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.0.retain(|(known, _)| known != name);
                if !rest.contains("Max-Age=0;") {
                    self.0.push((name.to_owned(), value.to_owned()));
                }
            }
        }

        pub(crate) fn cookies(&self) -> OwnCookies {
            let field = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::try_from(field).unwrap());
            OwnCookies::take(&mut headers, &OwnCookieNames::new([Self::NAME]))
        }
    }

    pub(crate) fn session() -> Session {
        let payload = serde_json::json!({
            "iss": "https://login.example.com", "sub": "alice", "aud": "shop", "exp": 2_000_000_000, "iat": 1_900_000_000,
            "sid": "s-1", "groups": ["staff"],
        });
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let id = format!(
            "{}.{}.{}",
            text(br#"{"alg":"ES256","kid":"1"}"#),
            text(payload.to_string().as_bytes()),
            text(&[7; 64])
        );
        Session {
            id: SessionId::from_bytes([1; 32]),
            site: "shop".into(),
            client: "shop-web".into(),
            issuer: "https://login.example.com".into(),
            subject: "alice".into(),
            sid: Some("s-1".into()),
            signed_in_at: Time::from_seconds(1_900_000_000),
            seen_at: Time::from_millis(1_900_000_060_500),
            ends_at: None,
            generation: 3,
            tokens: Tokens {
                access: Some(Secret::new("access".to_owned())),
                access_expires_at: Some(Time::from_seconds(1_900_000_300)),
                renew_at: Some(Time::from_seconds(1_900_000_240)),
                refresh: Some(Secret::new("refresh".to_owned())),
                id: Some(Secret::new(id)),
                scope: Some("openid profile".into()),
            },
            claims: payload.as_object().cloned().unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// R43 of the security requirements: an id can neither be met again nor be guessed.
    #[test]
    fn ten_thousand_ids_repeat_nothing_and_lean_nowhere() {
        let ids: HashSet<[u8; 32]> = (0..10_000).map(|_| *SessionId::random().as_bytes()).collect();
        assert_eq!(ids.len(), 10_000);
        let mut counts = [0_u32; 256];
        for byte in ids.iter().flatten() {
            counts[usize::from(*byte)] += 1;
        }
        // 1,250 of each are expected, with a deviation of 35: seven of them are met once in 10^9 runs.
        assert!(counts.iter().all(|count| (1_000..=1_500).contains(count)), "{counts:?}");
    }
}
