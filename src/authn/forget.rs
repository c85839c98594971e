//! Taking back what is remembered of tokens: revocation reaches the caches. Comes in: one thing that is known of the
//! tokens. Goes out: how many are forgotten. What is under way meanwhile can't fill in again what was forgotten.

use std::collections::HashSet;
use std::sync::Arc;

use super::cache::TokenMemory;
use super::opaque::Introspection;
use crate::caller::Caller;
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

impl Forget {
    pub(super) fn is_of_issuer(&self, name: &str, iss: &str) -> bool {
        self.issuer.as_deref().is_none_or(|wanted| wanted == name || wanted == iss)
    }

    /// Whether a remembered caller is meant, unless by its token.
    pub(super) fn means(&self, caller: &Caller) -> bool {
        let is = |have: Option<&str>, wanted: &str| have == Some(wanted);
        self.is_of_issuer(&caller.issuer, &caller.iss)
            && match &self.tokens {
                Tokens::Token(_) => false,
                Tokens::Subject(wanted) => is(caller.subject.as_deref(), wanted),
                Tokens::ClientId(wanted) => is(caller.client_id.as_deref(), wanted),
                Tokens::Id(wanted) => is(caller.claims.get("jti").and_then(|jti| jti.as_str()), wanted),
            }
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

    /// Forgets here and in what replicas share; says how many tokens were remembered here.
    pub async fn forget(&self, forget: &Forget) -> usize {
        let forgotten = self.forget_here(forget);
        for introspection in &self.introspections {
            introspection.forget_shared(forget).await;
        }
        forgotten
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
