//! Forms (`application/x-www-form-urlencoded`), as OAuth sends and takes them. Written: parameters in order, wiped when
//! dropped, for they hold codes and secrets. Read: a bounded number of parameters, none of them twice, since two readers
//! of a repeated parameter would take different ones (RFC 6749 sections 3.1 and 3.2).

use bytes::Bytes;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The media type of a form.
pub const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// More parameters than any request of OAuth has.
const MAX_PARAMETERS: usize = 100;

/// Parameters in their order. Never printed.
#[derive(Clone, Default)]
pub struct Form(Vec<(String, Zeroizing<String>)>);

/// Why text is no form with one reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("a parameter comes more than once")]
    Repeated,
    #[error("there are more than {MAX_PARAMETERS} parameters")]
    TooMany,
    #[error("the form is not UTF-8")]
    Encoding,
}

impl Form {
    /// Reads a body or a query.
    ///
    /// # Errors
    /// [`FormError`] when a parameter repeats, when there are too many, or when what they hold is no text.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if !decodes_to_utf8(bytes) {
            return Err(FormError::Encoding);
        }
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            if form.0.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            if form.0.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated);
            }
            form.0.push((name.into_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(form)
    }

    pub fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), Zeroizing::new(value.to_owned())));
    }

    /// The same, with one parameter more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    /// The value of a parameter; one without a value counts as absent (RFC 6749 section 3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// As it goes over the wire, in a body or behind the `?` of an address.
    pub fn encode(&self) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            text.append_pair(name, value);
        }
        text.finish()
    }

    pub fn to_body(&self) -> Bytes {
        self.encode().into()
    }
}

/// Whether every escape and every byte is part of UTF-8: what is not would be read as U+FFFD, and two different values
/// would become one.
fn decodes_to_utf8(bytes: &[u8]) -> bool {
    percent_encoding::percent_decode(bytes).decode_utf8().is_ok()
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let form = Form::default().with("token", "a+b/c=&d").with("näme", "ü €").with("empty", "");
        let read = Form::parse(&form.to_body()).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), ["token", "näme", "empty"]);
        assert_eq!((read.get("token"), read.get("näme"), read.get("empty")), (Some("a+b/c=&d"), Some("ü €"), None));
        assert_eq!(form.encode(), "token=a%2Bb%2Fc%3D%26d&n%C3%A4me=%C3%BC+%E2%82%AC&empty=");
    }

    #[test]
    fn a_form_with_two_readings_is_refused() {
        let of = |text: &[u8]| Form::parse(text).map(|_| ());
        assert_eq!(of(b"state=a&code=b&state=a"), Err(FormError::Repeated));
        assert_eq!(of(b"state=a&st%61te=b"), Err(FormError::Repeated));
        assert_eq!(of(b"state=%ff"), Err(FormError::Encoding));
        assert_eq!(of(b"state=\xff"), Err(FormError::Encoding));
        let many: String = (0..=MAX_PARAMETERS).map(|number| format!("p{number}=1&")).collect();
        assert_eq!(of(many.as_bytes()), Err(FormError::TooMany));
        assert_eq!(of(b""), Ok(()));
    }

    #[test]
    fn no_value_is_printed() {
        let form = Form::default().with("client_secret", "hunter2");
        assert_eq!(format!("{form:?}"), r#"["client_secret"]"#);
    }
}
