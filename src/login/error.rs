//! Why a visit at a door came to nothing. Each step has its own error; here they are one, with the code for the log and
//! what the person is told: never the reason, always how to go on.

use std::time::Duration;

use super::response::{ProviderError, ResponseError};
use crate::idp::authorize::AuthorizeError;
use crate::idp::id_token::IdTokenError;
use crate::idp::logout_token::LogoutTokenError;
use crate::idp::signed_answer::SignedAnswerError;
use crate::idp::token::TokenError;
use crate::idp::userinfo::UserinfoError;
use crate::kv::KvError;
use crate::reason::Reason;
use crate::session::{FindError, StoreError, TransactionError};
use crate::wire::body::CappedError;
use crate::wire::form::FormError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("the answer came by the wrong method, in the wrong form, or in two places")]
    Carrier,
    #[error("the form can't be read: {0}")]
    Body(#[from] CappedError),
    #[error("the parameters can't be read: {0}")]
    Form(#[from] FormError),
    #[error("it is no answer to the question: {0}")]
    Response(#[from] ResponseError),
    #[error("it belongs to no attempt of this browser: {0}")]
    Transaction(#[from] TransactionError),
    #[error("its state was used before")]
    Replayed,
    #[error("its signature, or what it says of itself, is not good: {0}")]
    SignedAnswer(#[from] SignedAnswerError),
    #[error("it is not, or not surely, the answer of the provider that was asked")]
    OtherIssuer,
    #[error("the provider refused: {0}")]
    Provider(ProviderError),
    #[error("the provider can't be sent to: {0}")]
    Authorize(#[from] AuthorizeError),
    #[error("the code was not exchanged: {0}")]
    Token(#[from] TokenError),
    #[error("there is no ID token")]
    NoIdToken,
    #[error("the ID token is not good: {0}")]
    IdToken(#[from] IdTokenError),
    #[error("the ID token of the token endpoint is about another subject than the one that came through the browser")]
    Disagree,
    #[error("userinfo is to be asked, and there is no access token")]
    NoAccessToken,
    #[error("{0}")]
    Userinfo(#[from] UserinfoError),
    #[error("the logout token is not good: {0}")]
    LogoutToken(#[from] LogoutTokenError),
    #[error("the logout token was used before, or names nobody of this site")]
    LogoutReplayed,
    #[error("there is no session")]
    NoSession,
    #[error("the session can't be looked for, or not be kept: {0}")]
    Find(#[from] FindError),
    #[error("sessions could not be ended: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// What is told of a [`LoginError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 400: a sign-in that came to nothing; begin again.
    Attempt,
    /// 400 to a program (a provider that tells of a logout).
    Told,
    /// 401.
    NoSession,
    /// 503.
    Outage { retry_after: Duration },
    /// The session is larger than the store can hold: 500, for only the operator can help.
    TooLarge,
}

const SOON: Duration = Duration::from_secs(1);

impl LoginError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::SignedAnswer(SignedAnswerError::Keys(_)) => Reason::IssuerUnreachable,
            Self::Carrier | Self::Body(_) | Self::Form(_) | Self::Response(_) | Self::SignedAnswer(_) => {
                Reason::LoginAnswer
            }
            Self::Transaction(_) => Reason::LoginState,
            Self::Replayed => Reason::LoginReplayed,
            Self::OtherIssuer => Reason::LoginIssuer,
            Self::Provider(_) => Reason::LoginProvider,
            Self::Authorize(AuthorizeError::Unanswered(_)) => Reason::IssuerUnreachable,
            Self::Authorize(AuthorizeError::NotTaken(_)) => Reason::LoginProvider,
            Self::Token(TokenError::Unreachable(_)) | Self::Userinfo(UserinfoError::Unreachable(_)) => {
                Reason::IssuerUnreachable
            }
            Self::Token(_) => Reason::LoginCode,
            Self::IdToken(IdTokenError::Keys(_)) | Self::LogoutToken(LogoutTokenError::Keys(_)) => {
                Reason::IssuerUnreachable
            }
            Self::NoIdToken | Self::IdToken(_) | Self::Disagree => Reason::LoginIdToken,
            Self::Userinfo(_) | Self::NoAccessToken => Reason::LoginUserinfo,
            Self::LogoutToken(_) | Self::LogoutReplayed => Reason::LogoutToken,
            Self::NoSession => Reason::CredentialMissing,
            Self::Find(FindError::Repeated) => Reason::CredentialRepeated,
            Self::Find(FindError::Issuer { .. }) => Reason::SessionIssuer,
            Self::Find(FindError::Store(error)) | Self::Store(error) => error.reason(),
            Self::Kv(_) => Reason::SessionStore,
        }
    }

    pub fn failure(&self) -> Failure {
        let outage = |retry_after| Failure::Outage { retry_after };
        match self {
            Self::Authorize(AuthorizeError::Unanswered(_))
            | Self::Token(TokenError::Unreachable(_))
            | Self::Userinfo(UserinfoError::Unreachable(_)) => outage(SOON),
            Self::IdToken(IdTokenError::Keys(keys))
            | Self::SignedAnswer(SignedAnswerError::Keys(keys))
            | Self::LogoutToken(LogoutTokenError::Keys(keys)) => outage(keys.retry_after),
            Self::Find(FindError::Issuer { retry_after }) => outage(*retry_after),
            Self::Find(FindError::Store(error)) | Self::Store(error) => match error.retry_after() {
                Some(retry_after) => outage(retry_after),
                None => Failure::TooLarge,
            },
            Self::Kv(error) => outage(error.retry_after()),
            Self::LogoutToken(_) | Self::LogoutReplayed => Failure::Told,
            Self::NoSession => Failure::NoSession,
            _ => Failure::Attempt,
        }
    }

    /// What a person is told: how it looks from their side, never the reason.
    pub const fn text(&self) -> &'static str {
        match self {
            Self::Transaction(_) | Self::Replayed => {
                "This sign-in has expired, was already completed, or was begun in another browser."
            }
            Self::Find(FindError::Repeated) => {
                "Your browser sent the cookie of this site twice. Please remove this site's cookies and try again."
            }
            Self::Provider(_) => "The provider did not sign you in.",
            Self::Authorize(_)
            | Self::Kv(_)
            | Self::Find(_)
            | Self::Store(_)
            | Self::Token(TokenError::Unreachable(_))
            | Self::Userinfo(UserinfoError::Unreachable(_))
            | Self::IdToken(IdTokenError::Keys(_))
            | Self::SignedAnswer(SignedAnswerError::Keys(_)) => {
                "Signing in is not possible right now. Please try again in a moment."
            }
            _ => "The answer of the provider could not be used.",
        }
    }
}
