//! Answers that replicas share: a second level behind the answers of this process. Asked on Control, once for each token
//! that nothing is known of here, before the issuer is. What lies there is kept under keys and seals of its own; this is
//! only the shape that it is asked in.

use std::pin::Pin;
use std::time::Duration;

use super::forget::Forget;
use crate::caller::Claims;
use crate::clock::Time;
use crate::seal::Secret;

/// Whose answer: the same for all replicas. A key made of it must be keyed and must hold all of it, for what an endpoint
/// answered says nothing of what another would have answered, nor of what it would have signed.
#[derive(Clone, Copy, Debug)]
pub struct SharedToken<'a> {
    /// The issuer identifier.
    pub issuer: &'a str,
    /// Who asks: issuers may answer each client differently.
    pub client_id: &'a str,
    /// Which endpoint is asked.
    pub endpoint: &'a str,
    /// Only signed answers count (RFC 9701).
    pub signed: bool,
    pub token: &'a Secret,
}

/// A positive answer: its members without any judgement, and until when it may be relied on.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedAnswer {
    pub members: Claims,
    /// What the token says of itself, where it is a JWT: it can be forgotten by that, too.
    pub own: Claims,
    /// By the wall clock, which replicas share.
    pub until: Time,
}

/// The second level can't be asked; the process goes on with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shared answers can't be asked")]
pub struct SharedUnavailable;

/// What a second level does, boxed because it is asked once a token and never on the way of a request that is remembered.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, SharedUnavailable>> + Send + 'a>>;

/// A second level. Each of its waits is bounded by itself.
pub trait SharedAnswers: Send + Sync + std::fmt::Debug {
    fn get<'a>(&'a self, of: SharedToken<'a>) -> Doing<'a, Option<SharedAnswer>>;

    /// Keeps an answer for at most `life`.
    fn put<'a>(&'a self, of: SharedToken<'a>, answer: &'a SharedAnswer, life: Duration) -> Doing<'a, ()>;

    /// Forgets the answers about the tokens of `issuer` that are meant, whoever asked whatever endpoint.
    fn forget<'a>(&'a self, issuer: &'a str, forget: &'a Forget) -> Doing<'a, ()>;
}
