//! What a request says. Comes in: a hyper request. Goes out: [`Asked`], with its body taken whole (at most 64 KiB) and
//! its parameters parsed; a parameter that comes twice is refused (RFC 6749 sections 3.1 and 3.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::wire::body::{CappedError, capped};

/// No form of this protocol comes near it.
const BODY_LIMIT: usize = 64 * 1024;
/// More parameters than any request of this protocol has.
const PARAMETER_LIMIT: usize = 100;
/// The two parameters that may repeat (RFC 8693 section 2.1, RFC 8707 section 2).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// Why a request could not be read; each is a 400, but for the size.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body broke off")]
    Broken,
    #[error("the parameter `{0}` comes more than once")]
    Repeated(String),
    #[error("there are too many parameters")]
    TooMany,
    #[error("the body is not valid UTF-8")]
    NotText,
    #[error("the body must be application/x-www-form-urlencoded")]
    ContentType,
    #[error("the body is not a JSON object")]
    Json,
}

/// Parameters by name, in the order in which they came.
#[derive(Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn parse(text: &str) -> Result<Self, FormError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if pairs.len() == PARAMETER_LIMIT {
                return Err(FormError::TooMany);
            }
            if !REPEATABLE.contains(&&*name) && pairs.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated(name.chars().take(40).collect()));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// A JSON object as parameters: strings as they are, everything else as JSON text.
    pub fn from_json(object: Map<String, Value>) -> Self {
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self(object.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    /// The value of `name`; one without a value counts as absent (RFC 6749 section 3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The space-separated words of `name`.
    pub fn words(&self, name: &str) -> Vec<String> {
        self.get(name)
            .map(|text| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A request, read.
pub struct Asked {
    pub method: Method,
    /// Below the issuer's own path.
    pub path: String,
    pub query: Form,
    /// Empty unless the request had a form (or, for the operator's endpoints, a JSON object) as body.
    pub form: Form,
    pub headers: HeaderMap,
}

impl Asked {
    pub async fn read(request: hyper::Request<Incoming>, path: String) -> Result<Self, FormError> {
        let (head, body) = request.into_parts();
        let query = Form::parse(head.uri.query().unwrap_or_default())?;
        let body = capped(body, BODY_LIMIT).await.map_err(|error| match error {
            CappedError::TooLarge(_) => FormError::TooLarge,
            CappedError::Broken(_) => FormError::Broken,
        })?;
        let form = parse_body(&head.headers, &body, path.starts_with("/dev/"))?;
        Ok(Self { method: head.method, path, query, form, headers: head.headers })
    }

    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Query for GET, form for POST: endpoints that take both take one at a time.
    pub fn parameters(&self) -> &Form {
        if self.method == Method::POST { &self.form } else { &self.query }
    }

    /// The token behind `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.credentials("bearer")
    }

    /// User name and password behind `Authorization: Basic`, still form-encoded (RFC 6749 section 2.3.1).
    pub fn basic(&self) -> Option<(String, String)> {
        let decoded = STANDARD.decode(self.credentials("basic")?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    fn credentials(&self, scheme: &str) -> Option<&str> {
        let (named, rest) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        named.eq_ignore_ascii_case(scheme).then(|| rest.trim())
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        let fields = self.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

fn parse_body(headers: &HeaderMap, body: &[u8], json_allowed: bool) -> Result<Form, FormError> {
    if body.is_empty() {
        return Ok(Form::default());
    }
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Form::parse(std::str::from_utf8(body).map_err(|_| FormError::NotText)?);
    }
    if json_allowed && essence.eq_ignore_ascii_case("application/json") {
        return serde_json::from_slice(body).map(Form::from_json).map_err(|_| FormError::Json);
    }
    Err(FormError::ContentType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_comes_twice_is_refused_and_one_without_value_is_absent() {
        assert!(matches!(Form::parse("a=1&b=2&a=1"), Err(FormError::Repeated(name)) if name == "a"));
        let form = Form::parse("scope=a+b%20c&state=&resource=x&resource=y").unwrap();
        assert_eq!(form.words("scope"), ["a", "b", "c"]);
        assert_eq!(form.get("state"), None);
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }
}
