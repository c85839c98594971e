//! Scope rules: all of some, at least one of others. Scopes are opaque, case-sensitive strings (RFC 6749 section 3.3);
//! `orders` is neither `orders:read` nor `Orders`.

use std::sync::Arc;

use super::Denial;
use crate::caller::ScopeSet;

#[derive(Debug)]
pub(super) struct ScopeRule {
    all: Box<[Box<str>]>,
    any: Box<[Box<str>]>,
    /// Both lists as a challenge shows them; made once because refusals come in floods.
    all_text: Arc<str>,
    any_text: Arc<str>,
}

impl ScopeRule {
    pub(super) fn new(all: &[String], any: &[String]) -> Self {
        let boxed = |scopes: &[String]| scopes.iter().map(|scope| scope.as_str().into()).collect();
        let with_any = all.iter().chain(any.iter().filter(|scope| !all.contains(scope))).map(String::as_str);
        let any_text = with_any.collect::<Vec<_>>().join(" ").into();
        Self { all: boxed(all), any: boxed(any), all_text: all.join(" ").into(), any_text }
    }

    pub(super) fn check(&self, scopes: &ScopeSet) -> Result<(), Denial> {
        if !self.all.iter().all(|scope| scopes.contains(scope)) {
            return Err(Denial::InsufficientScope { scopes: Arc::clone(&self.all_text) });
        }
        if !self.any.is_empty() && !self.any.iter().any(|scope| scopes.contains(scope)) {
            return Err(Denial::InsufficientScope { scopes: Arc::clone(&self.any_text) });
        }
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().chain(&self.any).map(|scope| &**scope)
    }

    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        let all = (!self.all.is_empty()).then(|| format!("scope {}", self.all.join(" and ")));
        let any = (!self.any.is_empty()).then(|| format!("scope {}", self.any.join(" or ")));
        all.into_iter().chain(any)
    }
}
