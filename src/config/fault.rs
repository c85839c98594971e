//! One mistake of form in words. Comes in: what serde says through figment. Goes out: a message and a hint in the
//! operator's terms, without Rust's type names and without secrets.

use figment::error::{Actual, Kind};

use super::diagnostic;

/// A message and perhaps a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub hint: Option<String>,
}

/// Puts `kind` into words. `secret` hides the value that was found.
pub fn describe(kind: &Kind, secret: bool) -> Fault {
    let plain = |message: String| Fault { message, hint: None };
    match kind {
        Kind::Message(message) => plain(message.clone()),
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            plain(format!("expected {}, found {}", expectation(expected), found_words(found, secret)))
        }
        Kind::InvalidLength(length, expected) => {
            plain(format!("expected {}, found {length} items", expectation(expected)))
        }
        Kind::UnknownVariant(word, known) => Fault {
            message: if secret { "unknown value".to_owned() } else { format!("unknown value `{word}`") },
            hint: diagnostic::suggestion(word, known.iter().copied()),
        },
        Kind::UnknownField(key, known) => {
            Fault { message: format!("unknown key `{key}`"), hint: diagnostic::suggestion(key, known.iter().copied()) }
        }
        Kind::MissingField(key) => plain(format!("`{key}` is missing")),
        Kind::DuplicateField(key) => plain(format!("`{key}` is given twice")),
        Kind::ISizeOutOfRange(number) => plain(format!("{number} is out of range")),
        Kind::USizeOutOfRange(number) => plain(format!("{number} is out of range")),
        Kind::Unsupported(found) | Kind::UnsupportedKey(found, _) => {
            plain(format!("{} can't stand here", found_words(found, secret)))
        }
    }
}

fn expectation(expected: &str) -> String {
    match expected {
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        _ if expected.starts_with("struct ") => "a map of keys".to_owned(),
        _ => expected.to_owned(),
    }
}

fn found_words(found: &Actual, secret: bool) -> String {
    match found {
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a map".to_owned(),
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        _ if secret => "another kind of value".to_owned(),
        Actual::Bool(flag) => format!("`{flag}`"),
        Actual::Unsigned(number) => format!("the number {number}"),
        Actual::Signed(number) => format!("the number {number}"),
        Actual::Float(number) => format!("the number {number}"),
        Actual::Str(text) => format!("the text `{text}`"),
        Actual::Char(c) => format!("the text `{c}`"),
        other => other.to_string(),
    }
}
