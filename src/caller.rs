//! Who a request turned out to come from. Plain data, so that `policy` and `outbound` need not know `authn`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::clock::Time;
use crate::seal::Secret;

/// The claims of a token, as the issuer signed (or answered) them.
pub type Claims = Map<String, Value>;

/// Scopes of a token: exact strings, split at single spaces (RFC 6749 section 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(Box<[Box<str>]>);

impl ScopeSet {
    /// From the `scope` string: scope-tokens separated by single spaces. Other white space does not separate.
    pub fn parse(text: &str) -> Self {
        text.split(' ').filter(|scope| !scope.is_empty()).collect()
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|have| **have == *scope)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Box::from).collect())
    }
}

/// A person, or a machine that acts for itself (RFC 9068 section 2.2: `sub` equals `client_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Machine,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Machine => "machine",
        }
    }
}

/// How we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Jwt,
    Introspection,
    Session,
    Basic,
}

impl How {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::Session => "session",
            Self::Basic => "basic",
        }
    }
}

/// A caller whose credential was checked in full. Shared by the token memory; what a route demands of it is judged
/// for each request anew.
#[derive(Debug)]
pub struct Caller {
    /// The issuer's name in the configuration.
    pub issuer: Arc<str>,
    /// The issuer identifier, byte for byte.
    pub iss: Arc<str>,
    pub subject: Option<Box<str>>,
    pub client_id: Option<Box<str>>,
    pub kind: Kind,
    pub how: How,
    pub scopes: ScopeSet,
    pub claims: Claims,
    pub expires_at: Time,
    /// The access token of a session, and until when it is good; for apps that are to get it.
    relay: Option<(Secret, Option<Time>)>,
    /// The identity token that was signed last for some route; see [`Caller::signed`].
    signed: Mutex<Option<Signed>>,
    /// The header fields that the first route to ask made of these claims, kept beside them so that a repeated
    /// request costs no formatting. See [`Caller::dressed`].
    dressed: OnceLock<Dressed>,
}

/// A signed statement about a caller, and until when it may be shown.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Which statement of those that routes ask for.
    pub by: u64,
    pub until: Time,
    pub value: HeaderValue,
}

#[derive(Debug)]
struct Dressed {
    by: u64,
    fields: Box<[(HeaderName, HeaderValue)]>,
}

/// What [`Caller::new`] needs; a struct because nine arguments are none.
#[derive(Debug)]
pub struct Identity {
    pub issuer: Arc<str>,
    pub iss: Arc<str>,
    pub subject: Option<Box<str>>,
    pub client_id: Option<Box<str>>,
    pub kind: Kind,
    pub how: How,
    pub scopes: ScopeSet,
    pub claims: Claims,
    pub expires_at: Time,
}

impl Caller {
    pub fn new(identity: Identity) -> Self {
        let Identity { issuer, iss, subject, client_id, kind, how, scopes, claims, expires_at } = identity;
        Self {
            issuer,
            iss,
            subject,
            client_id,
            kind,
            how,
            scopes,
            claims,
            expires_at,
            relay: None,
            signed: Mutex::default(),
            dressed: OnceLock::new(),
        }
    }

    /// The statement number `by` about this caller: the one that was made last while it holds, else by `make`.
    pub fn signed(&self, by: u64, now: Time, make: impl FnOnce(&Self) -> Option<Signed>) -> Option<HeaderValue> {
        let mut kept = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = kept.as_ref().filter(|signed| signed.by == by && now < signed.until) {
            return Some(signed.value.clone());
        }
        *kept = make(self);
        kept.as_ref().map(|signed| signed.value.clone())
    }

    /// The same caller with an access token that may be passed on.
    #[must_use]
    pub fn with_token(self, token: Secret, good_until: Option<Time>) -> Self {
        Self { relay: Some((token, good_until)), ..self }
    }

    /// The access token to pass on, while it is good.
    pub fn token_to_relay(&self, now: Time) -> Option<&Secret> {
        let (token, good_until) = self.relay.as_ref()?;
        good_until.is_none_or(|until| now < until).then_some(token)
    }

    /// The identity fields that dress number `by` makes of this caller; made once and remembered for the first dress
    /// that asks, made anew for any other.
    pub fn dressed<R>(
        &self,
        by: u64,
        make: impl Fn(&Self) -> Box<[(HeaderName, HeaderValue)]>,
        with: impl FnOnce(&[(HeaderName, HeaderValue)]) -> R,
    ) -> R {
        let kept = self.dressed.get_or_init(|| Dressed { by, fields: make(self) });
        if kept.by == by { with(&kept.fields) } else { with(&make(self)) }
    }
}

/// What `authn` found out. Nobody is a fact, not a failure: a public or optional route may accept it.
#[derive(Clone, Debug)]
pub enum Known {
    Nobody,
    Caller(Arc<Caller>),
}
