//! An access token that comes through the browser (RFC 6749 section 4.2.2). Comes in: the parameters of an answer. Goes out:
//! the token, or what is wrong with what stands beside it. Whether it may be used, `at_hash` of an ID token has to say.

use std::time::Duration;

use super::token::LONGEST_LIFE;
use crate::seal::Secret;
use crate::wire::form::Form;

/// See the module.
#[derive(Clone, Debug)]
pub struct FrontToken {
    pub token: Secret,
    /// `None` when the issuer does not say.
    pub expires_in: Option<Duration>,
    /// Space-separated; `None` when it is what was asked for.
    pub scope: Option<Box<str>>,
}

/// What stands beside a token is not what RFC 6749 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontTokenError {
    #[error("`token_type` is not Bearer")]
    Type,
    #[error("`expires_in` is no number of seconds")]
    Lifetime,
    #[error("`access_token` or `scope` is no plain text")]
    Text,
}

impl FrontToken {
    /// The access token of an answer, if there is one.
    ///
    /// # Errors
    /// [`FrontTokenError`] when it is of a type that is not understood (RFC 6749 section 7.1), or can't be read.
    pub fn read(parameters: &Form) -> Result<Option<Self>, FrontTokenError> {
        let Some(token) = parameters.get("access_token") else { return Ok(None) };
        if !parameters.get("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Err(FrontTokenError::Type);
        }
        let scope = parameters.get("scope");
        // It goes into header fields.
        let is_plain = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !is_plain(token) || !scope.is_none_or(is_plain) {
            return Err(FrontTokenError::Text);
        }
        let seconds = parameters.get("expires_in").map(whole).transpose()?;
        Ok(Some(Self {
            token: Secret::new(token.to_owned()),
            expires_in: seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST_LIFE))),
            scope: scope.map(Box::from),
        }))
    }
}

/// Digits alone: `+5` would be a number too.
fn whole(text: &str) -> Result<u64, FrontTokenError> {
    let is_number = text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or(FrontTokenError::Lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Option<FrontToken>, FrontTokenError> {
        FrontToken::read(&Form::parse(query.as_bytes()).unwrap())
    }

    #[test]
    fn a_token_is_read_with_its_life_and_scope() {
        let token = read("access_token=at&token_type=bearer&expires_in=300&scope=a+b").unwrap().unwrap();
        assert!(token.token.equals(b"at"));
        assert_eq!((token.expires_in, token.scope.as_deref()), (Some(Duration::from_secs(300)), Some("a b")));
        assert!(read("access_token=at&token_type=Bearer").unwrap().unwrap().expires_in.is_none());
        assert!(read("token_type=Bearer&expires_in=x").unwrap().is_none());
    }

    #[test]
    fn what_is_not_understood_is_not_used() {
        for (query, error) in [
            ("access_token=at", FrontTokenError::Type),
            ("access_token=at&token_type=DPoP", FrontTokenError::Type),
            ("access_token=a%0ab&token_type=Bearer", FrontTokenError::Text),
            ("access_token=at&token_type=Bearer&scope=%c3%a9", FrontTokenError::Text),
            ("access_token=at&token_type=Bearer&expires_in=-1", FrontTokenError::Lifetime),
            ("access_token=at&token_type=Bearer&expires_in=%2B5", FrontTokenError::Lifetime),
            ("access_token=at&token_type=Bearer&expires_in=99999999999999999999", FrontTokenError::Lifetime),
        ] {
            assert_eq!(read(query).err(), Some(error), "{query}");
        }
    }
}
