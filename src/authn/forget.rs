//! Taking back what is remembered of tokens: revocation reaches the caches. Comes in: one thing that is known of the
//! tokens. Goes out: how many are forgotten. What is under way meanwhile can't fill in again what was forgotten.

use std::collections::HashSet;
use std::sync::Arc;

use super::cache::TokenMemory;
use super::opaque::Introspection;
use super::shared::SharedUnavailable;
use crate::caller::{Caller, Claims};
use crate::seal::Secret;

/// Which tokens to forget.
#[derive(Clone, Debug)]
pub struct Forget {
    pub tokens: Tokens,
    /// Of this issuer only, by its identifier or by its name in the configuration.
    pub issuer: Option<Box<str>>,
}

/// By what they are known.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// The token itself.
    Token(Secret),
    /// All whose `sub` this is.
    Subject(Box<str>),
    /// All that were issued to this client.
    ClientId(Box<str>),
    /// The one with this `jti`.
    Id(Box<str>),
}

/// The claims by which a token can be forgotten, and as what. Issuers write the client into the one or the other; where
/// both are there, each counts.
const NAMES: [(&str, &str); 4] = [("sub", "sub"), ("client_id", "client_id"), ("azp", "client_id"), ("jti", "jti")];

/// As what a token with these claims can be forgotten: pairs of `sub`, `client_id` or `jti`, and its value.
pub(super) fn named_by(claims: &Claims) -> impl Iterator<Item = (&'static str, &str)> {
    NAMES.iter().filter_map(|(name, kind)| Some((*kind, claims.get(*name)?.as_str()?)))
}

/// Those claims alone.
pub(super) fn names_of(claims: &Claims) -> Claims {
    let named = NAMES.iter().filter_map(|(name, _)| claims.get_key_value(*name));
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Tokens {
    /// By what a token is known, and the value; a token itself is known by its digest.
    pub(super) fn name(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Token(_) => None,
            Self::Subject(wanted) => Some(("sub", wanted)),
            Self::ClientId(wanted) => Some(("client_id", wanted)),
            Self::Id(wanted) => Some(("jti", wanted)),
        }
    }
}

impl Forget {
    pub(super) fn is_of_issuer(&self, name: &str, iss: &str) -> bool {
        self.issuer.as_deref().is_none_or(|wanted| wanted == name || wanted == iss)
    }

    /// Whether a remembered caller is meant, unless by its token.
    pub(super) fn means(&self, caller: &Caller) -> bool {
        let is_named = |wanted| named_by(&caller.claims).any(|named| named == wanted);
        self.is_of_issuer(&caller.issuer, &caller.iss) && self.tokens.name().is_some_and(is_named)
    }
}

/// Everything that remembers tokens.
#[derive(Clone, Debug)]
pub struct Memories {
    tokens: Arc<TokenMemory>,
    introspections: Vec<Arc<Introspection>>,
}

impl Memories {
    pub fn new(tokens: Arc<TokenMemory>, introspections: Vec<Arc<Introspection>>) -> Self {
        Self { tokens, introspections }
    }

    /// Forgets in what replicas share and here; says how many tokens were remembered here.
    ///
    /// What is shared comes first: the other way round, a request in between would read it back into what has just
    /// forgotten. Here it is forgotten in any case.
    ///
    /// # Errors
    /// [`SharedUnavailable`] when the replicas' answers are as they were: the revocation has not reached all of them.
    pub async fn forget(&self, forget: &Forget) -> Result<usize, SharedUnavailable> {
        let mut shared = Ok(());
        for introspection in &self.introspections {
            shared = shared.and(introspection.forget_shared(forget).await);
        }
        let forgotten = self.forget_here(forget);
        shared.map(|()| forgotten)
    }

    /// Forgets in this process.
    ///
    /// The memory of tokens is filled from the answers, so it comes last: what a request has read of an answer before it
    /// went, it can't write into a memory that has forgotten since.
    pub fn forget_here(&self, forget: &Forget) -> usize {
        let mut forgotten = HashSet::new();
        for introspection in &self.introspections {
            introspection.forget(forget, &mut forgotten);
        }
        self.tokens.forget_all(forget, &mut forgotten);
        forgotten.len()
    }
}
