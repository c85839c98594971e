//! What goes up as `Authorization`. Comes in: a route's rule, and a caller who may pass. Goes out: a [`Ready`] dress, which
//! holds whatever the rule asks for: without it nothing can be dressed, so nothing goes up without its token.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::own_token::OwnToken;
use super::token_exchange::TokenExchange;
use super::{Dress, OutboundError};
use crate::caller::{Caller, How, Known};
use crate::clock::Time;
use crate::policy::Permit;

/// What goes up as `Authorization`.
#[derive(Clone, Debug, Default)]
pub enum Authorization {
    /// Nothing.
    #[default]
    Strip,
    /// The caller's own.
    Keep,
    /// A token of Postern's.
    Own(Arc<OwnToken>),
    /// What the caller's token is exchanged for; nothing for nobody.
    Exchanged(Arc<TokenExchange>),
}

/// A dress with all that one request needs of it. Only a [`Dress`] makes one.
#[derive(Debug)]
pub struct Ready<'d> {
    pub(super) dress: &'d Dress,
    pub(super) shown: Shown,
}

/// What this request shows.
#[derive(Debug)]
pub(super) enum Shown {
    Strip,
    Keep,
    Token(HeaderValue),
    Own { field: HeaderValue, renewal: Renewal },
}

/// By what a token of Postern's own that an upstream refused is renewed.
#[derive(Clone, Debug)]
pub struct Renewal {
    token: Arc<OwnToken>,
    number: u64,
}

impl Renewal {
    /// Another token, if one may be had: see [`OwnToken`].
    pub async fn renewed(&self, now: Time) -> Option<HeaderValue> {
        self.token.instead_of(self.number, now).await
    }

    /// The same, for the requests to come.
    pub fn behind(self, now: Time) {
        self.token.instead_behind(self.number, now);
    }
}

impl Dress {
    fn ready(&self, shown: Shown) -> Ready<'_> {
        Ready { dress: self, shown }
    }

    /// For what goes up without identity.
    pub fn bare(&self) -> Ready<'_> {
        self.ready(Shown::Strip)
    }

    /// What is needed, if it is at hand: never waits.
    pub fn at_hand(&self, permit: &Permit, headers: &HeaderMap, now: Time) -> Option<Result<Ready<'_>, OutboundError>> {
        let shown = match &self.authorization {
            Authorization::Strip => Shown::Strip,
            Authorization::Keep => Shown::Keep,
            Authorization::Own(token) => {
                let (field, number) = token.at_hand(now)?;
                Shown::Own { field, renewal: Renewal { token: Arc::clone(token), number } }
            }
            Authorization::Exchanged(exchange) => {
                let Known::Caller(caller) = permit.known() else { return Some(Ok(self.bare())) };
                let Some(subject) = subject(caller, headers, now) else { return Some(Err(OutboundError::TokenOver)) };
                match exchange.recall(subject, now).1? {
                    Ok(field) => Shown::Token(field),
                    Err(error) => return Some(Err(error.into())),
                }
            }
        };
        Some(Ok(self.ready(shown)))
    }

    /// The same, fetched where it is not at hand.
    ///
    /// # Errors
    /// [`OutboundError`] when it can't be had, or the caller gets none.
    pub async fn obtain(&self, permit: &Permit, headers: &HeaderMap, now: Time) -> Result<Ready<'_>, OutboundError> {
        if let Some(ready) = self.at_hand(permit, headers, now) {
            return ready;
        }
        let shown = match (&self.authorization, permit.known()) {
            (Authorization::Own(token), _) => {
                let held = token.obtain(now).await?;
                let renewal = Renewal { token: Arc::clone(token), number: held.number };
                Shown::Own { field: held.field.clone(), renewal }
            }
            (Authorization::Exchanged(exchange), Known::Caller(caller)) => {
                let subject = subject(caller, headers, now).ok_or(OutboundError::TokenOver)?;
                let (digest, _) = exchange.recall(subject, now);
                Shown::Token(exchange.exchange(digest, subject, caller).await?)
            }
            (Authorization::Keep, _) => Shown::Keep,
            (Authorization::Strip | Authorization::Exchanged(_), _) => Shown::Strip,
        };
        Ok(self.ready(shown))
    }
}

/// The access token that a caller is known by: the one of the request, or the one that is kept for it; `None` when that one
/// is over.
fn subject<'c>(caller: &'c Caller, headers: &'c HeaderMap, now: Time) -> Option<&'c [u8]> {
    let shown = match caller.how {
        How::Jwt | How::Introspection => headers.get(AUTHORIZATION).and_then(|field| {
            // It was checked: a scheme, spaces, a token (RFC 9110 section 11.4).
            field.as_bytes().rsplit(|byte| *byte == b' ').next()
        }),
        How::Session | How::Basic => caller.token_to_relay(now).map(|token| token.expose().as_bytes()),
    };
    shown.filter(|token| !token.is_empty())
}
