//! What a provider may answer, as data: flow (what is asked for) by mode (how it comes back). Comes in: a site's flow and
//! mode, and the request at the callback. Goes out: [`Returned`], one answer with one reading. Other flows and modes are
//! further rows here; the callback itself does not know them apart.

use http::Method;

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

impl Flow {
    pub const CODE: Self = Self { name: "code", code: true, id_token: false, access_token: false };
}

/// How the answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the query of a GET.
    Query,
    /// As a form that the provider's page posts (OAuth 2.0 Form Post Response Mode).
    FormPost,
}

impl Mode {
    /// `response_mode`; `None` where it is the flow's own and need not be asked for.
    pub const fn name(self, flow: Flow) -> Option<&'static str> {
        match self {
            Self::Query if flow.code && !flow.id_token && !flow.access_token => None,
            Self::Query => Some("query"),
            Self::FormPost => Some("form_post"),
        }
    }

    /// The one method by which an answer comes.
    pub const fn method(self) -> Method {
        match self {
            Self::Query => Method::GET,
            Self::FormPost => Method::POST,
        }
    }

    /// Whether the browser brings the answer by a request that another site's page makes: only a cookie that is
    /// `SameSite=None` comes along then.
    pub const fn is_cross_site_post(self) -> bool {
        matches!(self, Self::FormPost)
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
}

/// What the provider says.
#[derive(Debug)]
pub enum Answer {
    Granted(Front),
    /// RFC 6749 section 4.1.2.1.
    Refused(ProviderError),
}

/// What came through the browser.
#[derive(Debug, Default)]
pub struct Front {
    pub code: Option<Secret>,
    pub id_token: Option<Secret>,
    pub access_token: Option<Secret>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

/// The longest code, in bytes; a token may be as long as a form.
const LONGEST_CODE: usize = 8 * 1024;
const LONGEST_STATE: usize = 256;
const LONGEST_SHOWN: usize = 200;

impl Returned {
    /// Reads the parameters of an answer to `flow`.
    ///
    /// # Errors
    /// [`ResponseError`] when they are no answer to it.
    pub fn read(parameters: &Form, flow: Flow) -> Result<Self, ResponseError> {
        let state = parameters.get("state").filter(|state| state.len() <= LONGEST_STATE);
        let state = state.ok_or(ResponseError::State)?.into();
        let issuer = parameters.get("iss").map(Box::from);
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
            let answer = Answer::Refused(ProviderError { error: shown(error), description });
            return Ok(Self { state, issuer, answer });
        }
        for (name, wanted, longest) in parts {
            match parameters.get(name) {
                None if wanted => return Err(ResponseError::Missing(name)),
                Some(_) if !wanted => return Err(ResponseError::Unwanted(name)),
                Some(value) if value.len() > longest => return Err(ResponseError::TooLong(name)),
                _ => {}
            }
        }
        let taken = |name| parameters.get(name).map(|value| Secret::new(value.to_owned()));
        let front = Front { code: taken("code"), id_token: taken("id_token"), access_token: taken("access_token") };
        Ok(Self { state, issuer, answer: Answer::Granted(front) })
    }
}

/// What a provider wrote, fit for a log line: visible ASCII (RFC 6749 section 4.1.2.1 allows no more), cut.
fn shown(text: &str) -> Box<str> {
    let seen = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(LONGEST_SHOWN).map(seen).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Returned, ResponseError> {
        Returned::read(&Form::parse(query.as_bytes()).unwrap(), Flow::CODE)
    }

    #[test]
    fn a_code_is_read_with_its_state_and_issuer() {
        let returned = read("state=s&code=c&iss=https%3A%2F%2Fid.example&session_state=x").unwrap();
        assert_eq!((&*returned.state, returned.issuer.as_deref()), ("s", Some("https://id.example")));
        let Answer::Granted(front) = returned.answer else { unreachable!() };
        assert!(front.code.unwrap().equals(b"c") && front.id_token.is_none());
    }

    #[test]
    fn an_error_is_read_and_made_fit_for_a_log() {
        let returned = read("state=s&error=access_denied&error_description=no%0d%0a%1b[31mway%C3%A9").unwrap();
        let Answer::Refused(error) = returned.answer else { unreachable!() };
        assert_eq!(error.to_string(), "access_denied (no???[31mway?)");
        let long = read(&format!("state=s&error={}", "x".repeat(5000))).unwrap();
        let Answer::Refused(error) = long.answer else { unreachable!() };
        assert_eq!(error.error.len(), LONGEST_SHOWN);
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_refused() {
        for (query, error) in [
            ("", ResponseError::State),
            ("code=c", ResponseError::State),
            ("state=&code=c", ResponseError::State),
            (&format!("code=c&state={}", "s".repeat(65_536)), ResponseError::State),
            ("state=s", ResponseError::Missing("code")),
            ("state=s&code=", ResponseError::Missing("code")),
            ("state=s&code=c&error=x", ResponseError::Neither),
            ("state=s&code=c&id_token=t", ResponseError::Unwanted("id_token")),
            ("state=s&code=c&access_token=t", ResponseError::Unwanted("access_token")),
            (&format!("state=s&code={}", "c".repeat(LONGEST_CODE + 1)), ResponseError::TooLong("code")),
        ] {
            assert_eq!(read(query).err(), Some(error), "{query:.60}");
        }
    }

    #[test]
    fn the_code_flow_needs_no_mode_but_a_form() {
        assert_eq!(Mode::Query.name(Flow::CODE), None);
        assert_eq!(Mode::FormPost.name(Flow::CODE), Some("form_post"));
        assert_eq!((Mode::Query.method(), Mode::FormPost.method()), (Method::GET, Method::POST));
    }
}
