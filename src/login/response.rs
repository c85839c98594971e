//! What a provider may answer, as data: flow (what is asked for) by mode (how it comes back). Comes in: a site's flow and
//! mode, and the request at the callback. Goes out: [`Returned`], one answer with one reading. The callback itself does not
//! know flows apart: an answer of one holds all that it promises, and nothing else.

use http::Method;

use crate::idp::front_token::{FrontToken, FrontTokenError};
use crate::idp::signed_answer::{self, SignedAnswerError};
use crate::seal::Secret;
use crate::wire::form::Form;

/// What is asked for at the authorization endpoint (OAuth 2.0 Multiple Response Types section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// `response_type`.
    pub name: &'static str,
    /// What an answer of this flow holds, all of it.
    pub code: bool,
    pub id_token: bool,
    pub access_token: bool,
}

/// There is none with an access token alone: nobody could say for whom it was issued (RFC 9700 section 2.1.2).
impl Flow {
    pub const CODE: Self = Self { name: "code", code: true, id_token: false, access_token: false };
    pub const CODE_ID_TOKEN: Self = Self { name: "code id_token", id_token: true, ..Self::CODE };
    pub const CODE_TOKEN: Self = Self { name: "code token", access_token: true, ..Self::CODE };
    pub const CODE_ID_TOKEN_TOKEN: Self =
        Self { name: "code id_token token", code: true, id_token: true, access_token: true };
    pub const ID_TOKEN: Self = Self { name: "id_token", code: false, id_token: true, access_token: false };
    pub const ID_TOKEN_TOKEN: Self = Self { name: "id_token token", access_token: true, ..Self::ID_TOKEN };

    /// Whether tokens come through the browser: in a query they would be in logs and histories.
    pub const fn brings_tokens(self) -> bool {
        self.id_token || self.access_token
    }
}

/// Which part of a request holds the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The query of a GET.
    Query,
    /// A form that the provider's page posts (OAuth 2.0 Form Post Response Mode).
    FormPost,
    /// The fragment of an address, which stays in the browser: a page of ours posts it.
    Fragment,
}

/// How the answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub carrier: Carrier,
    /// As one signed `response` (JARM).
    pub is_signed: bool,
}

/// What a request at the callback is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It brings the answer in its query.
    Query,
    /// It brings the answer as a form, which may come from wherever the provider's page is.
    Form,
    /// The same, from our own page alone.
    OwnForm,
    /// The answer is in the browser, and our page has to fetch it.
    Page,
}

impl Mode {
    pub const QUERY: Self = Self { carrier: Carrier::Query, is_signed: false };
    pub const FORM_POST: Self = Self { carrier: Carrier::FormPost, is_signed: false };
    pub const FRAGMENT: Self = Self { carrier: Carrier::Fragment, is_signed: false };

    /// The same as one signed parameter.
    #[must_use]
    pub const fn signed(self) -> Self {
        Self { is_signed: true, ..self }
    }

    /// `response_mode`; `None` where it is the flow's own and need not be asked for.
    pub const fn name(self, flow: Flow) -> Option<&'static str> {
        match (self.carrier, self.is_signed) {
            (Carrier::Query, false) if !flow.brings_tokens() => None,
            (Carrier::Query, false) => Some("query"),
            (Carrier::FormPost, false) => Some("form_post"),
            (Carrier::Fragment, false) => Some("fragment"),
            (Carrier::Query, true) => Some("query.jwt"),
            (Carrier::FormPost, true) => Some("form_post.jwt"),
            (Carrier::Fragment, true) => Some("fragment.jwt"),
        }
    }

    /// What a request at the callback is there for; `None` for what this mode has no use for.
    pub fn call(self, method: &Method, query: &str) -> Option<Call> {
        match (self.carrier, method.as_str(), query.is_empty()) {
            (Carrier::Query, "GET", _) => Some(Call::Query),
            (Carrier::FormPost, "POST", true) => Some(Call::Form),
            (Carrier::Fragment, "POST", true) => Some(Call::OwnForm),
            (Carrier::Fragment, "GET", true) => Some(Call::Page),
            _ => None,
        }
    }

    /// Whether the browser brings the answer by a request that another site's page makes: only a cookie that is
    /// `SameSite=None` comes along then.
    pub const fn is_cross_site_post(self) -> bool {
        matches!(self.carrier, Carrier::FormPost)
    }
}

/// An answer as it came, with one reading and nothing of it believed.
#[derive(Debug)]
pub struct Returned {
    /// As it came; it is looked for among this browser's attempts.
    pub state: Box<str>,
    /// `iss` (RFC 9207).
    pub issuer: Option<Box<str>>,
    pub answer: Answer,
    /// The token that states all this, where the mode is a signed one: to be checked as soon as it is known whose it has
    /// to be.
    pub signed: Option<Secret>,
}

/// What the provider says.
#[derive(Debug)]
pub enum Answer {
    Granted(Front),
    /// RFC 6749 section 4.1.2.1.
    Refused(ProviderError),
}

/// What came through the browser: all that the flow promises.
#[derive(Debug, Default)]
pub struct Front {
    pub code: Option<Secret>,
    pub id_token: Option<Secret>,
    pub access_token: Option<FrontToken>,
}

/// An error that the provider answered; shown in the log, cut to what a line can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    pub error: Box<str>,
    pub description: Option<Box<str>>,
}

impl std::fmt::Display for ProviderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.description {
            None => write!(f, "{}", self.error),
            Some(description) => write!(f, "{} ({description})", self.error),
        }
    }
}

/// Why a request at the callback is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("`state` is missing, or is none of ours")]
    State,
    #[error("it holds both an error and a success, or neither")]
    Neither,
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` was not asked for")]
    Unwanted(&'static str),
    #[error("`{0}` is longer than any provider makes it")]
    TooLong(&'static str),
    #[error("beside the signed answer there is another parameter")]
    Beside,
    #[error("the signed answer can't be read: {0}")]
    Signed(SignedAnswerError),
    #[error("the access token is of no use: {0}")]
    Token(#[from] FrontTokenError),
}

/// The longest code, in bytes; a token may be as long as a form.
const LONGEST_CODE: usize = 8 * 1024;
const LONGEST_STATE: usize = 256;
const LONGEST_SHOWN: usize = 200;

impl Returned {
    /// Reads the parameters of an answer to `flow` by `mode`.
    ///
    /// # Errors
    /// [`ResponseError`] when they are no answer to it.
    pub fn read(parameters: &Form, flow: Flow, mode: Mode) -> Result<Self, ResponseError> {
        if !mode.is_signed {
            return Self::plain(parameters, flow);
        }
        let response = parameters.get("response").ok_or(ResponseError::Missing("response"))?;
        // What stands beside it nobody signed; nobody shall read it by mistake.
        if parameters.names().count() > 1 {
            return Err(ResponseError::Beside);
        }
        let stated = signed_answer::stated(response).map_err(ResponseError::Signed)?;
        Ok(Self { signed: Some(Secret::new(response.to_owned())), ..Self::plain(&stated, flow)? })
    }

    fn plain(parameters: &Form, flow: Flow) -> Result<Self, ResponseError> {
        let state = parameters.get("state").filter(|state| state.len() <= LONGEST_STATE);
        let state = state.ok_or(ResponseError::State)?.into();
        let issuer = parameters.get("iss").map(Box::from);
        let answer = answer(parameters, flow)?;
        Ok(Self { state, issuer, answer, signed: None })
    }
}

fn answer(parameters: &Form, flow: Flow) -> Result<Answer, ResponseError> {
    let parts = [
        ("code", flow.code, LONGEST_CODE),
        ("id_token", flow.id_token, usize::MAX),
        ("access_token", flow.access_token, usize::MAX),
    ];
    if let Some(error) = parameters.get("error") {
        // RFC 6749 section 4.1.2.1: an error comes in place of what was asked for.
        if parts.iter().any(|(name, ..)| parameters.get(name).is_some()) {
            return Err(ResponseError::Neither);
        }
        let description = parameters.get("error_description").map(shown);
        return Ok(Answer::Refused(ProviderError { error: shown(error), description }));
    }
    for (name, wanted, longest) in parts {
        match parameters.get(name) {
            None if wanted => return Err(ResponseError::Missing(name)),
            Some(_) if !wanted => return Err(ResponseError::Unwanted(name)),
            Some(value) if value.len() > longest => return Err(ResponseError::TooLong(name)),
            _ => {}
        }
    }
    // An answer in plain never comes in one that was to be signed, nor the other way round.
    if parameters.get("response").is_some() {
        return Err(ResponseError::Unwanted("response"));
    }
    let taken = |name| parameters.get(name).map(|value| Secret::new(value.to_owned()));
    let access_token = FrontToken::read(parameters)?;
    Ok(Answer::Granted(Front { code: taken("code"), id_token: taken("id_token"), access_token }))
}

/// What a provider wrote, fit for a log line: visible ASCII (RFC 6749 section 4.1.2.1 allows no more), cut.
fn shown(text: &str) -> Box<str> {
    let seen = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(LONGEST_SHOWN).map(seen).collect::<String>().into()
}

#[cfg(test)]
mod tests;
