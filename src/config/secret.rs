//! Where a secret is kept. Comes in: `{ env: NAME }`, `{ file: PATH }` or a literal. Goes out: a [`Secret`]. The reference
//! prints and serializes; a literal does not.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::environment::Environment;
use crate::seal::Secret;

/// A secret as it was written.
#[derive(Clone, Debug)]
pub enum SecretRef {
    Env(String),
    File(PathBuf),
    Literal(Secret),
}

/// Why a secret can't be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is larger than a secret may be (64KiB)", .0.display())]
    TooLarge(PathBuf),
    #[error("the secret is empty")]
    Empty,
}

const MAX_SECRET_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// Reads the secret now. A relative path starts at `folder`; one trailing newline is dropped.
    ///
    /// # Errors
    /// [`SecretError`] when there is nothing to read.
    pub fn read(&self, folder: &Path, environment: &Environment) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Env(name) => {
                let text = environment.get(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                Secret::new(without_newline(text).to_owned())
            }
            Self::File(path) => read_file(folder.join(path))?,
            Self::Literal(secret) => secret.clone(),
        };
        if secret.is_empty() { Err(SecretError::Empty) } else { Ok(secret) }
    }
}

fn read_file(path: PathBuf) -> Result<Secret, SecretError> {
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(source) => Err(SecretError::Unreadable { path, source }),
        Ok(bytes) if bytes as u64 > MAX_SECRET_BYTES => Err(SecretError::TooLarge(path)),
        Ok(_) => Ok(Secret::new(without_newline(&text).to_owned())),
    }
}

fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

struct Reference;

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ env: NAME }`, `{ file: PATH }` or a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretRef, E> {
        Ok(SecretRef::Literal(Secret::new(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            let next = match key.as_str() {
                "env" => SecretRef::Env(map.next_value()?),
                "file" => SecretRef::File(map.next_value()?),
                _ => return Err(A::Error::unknown_field(&key, &["env", "file"])),
            };
            if found.replace(next).is_some() {
                return Err(A::Error::custom("a secret comes from `env` or from `file`, not from both"));
            }
        }
        found.ok_or_else(|| A::Error::custom("a secret needs `env: NAME` or `file: PATH`"))
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Env(name) => ("env", name.clone()),
            Self::File(path) => ("file", path.display().to_string()),
            Self::Literal(_) => return serializer.serialize_str("[redacted]"),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |key: &str, what: &str| {
            json_schema!({
                "type": "object", "additionalProperties": false, "required": [key],
                "properties": { key: { "type": "string", "description": what } },
            })
        };
        json_schema!({
            "description": "A secret: `{ env: NAME }`, `{ file: PATH }`, or a literal (which `postern check` warns of).",
            "anyOf": [
                one("env", "The environment variable that holds the secret."),
                one("file", "The file that holds the secret; relative to the configuration file."),
                { "type": "string" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_dropped_and_no_more() {
        let folder = std::env::temp_dir().join(format!("postern-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("s"), "two\n\n").unwrap();
        let secret = SecretRef::File("s".into()).read(&folder, &Environment::default()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(secret.expose(), "two\n");
    }

    #[test]
    fn a_literal_neither_prints_nor_serializes() {
        let literal = SecretRef::Literal(Secret::new("hunter2".to_owned()));
        assert!(!format!("{literal:?}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&literal).unwrap(), "\"[redacted]\"");
    }

    #[test]
    fn an_unset_or_empty_variable_is_an_error_that_names_it() {
        let environment = Environment::from_iter([("EMPTY", "\n")]);
        let read =
            |name: &str| SecretRef::Env(name.to_owned()).read(Path::new("."), &environment).unwrap_err().to_string();
        assert_eq!(read("NOWHERE"), "the environment variable `NOWHERE` is not set");
        assert_eq!(read("EMPTY"), "the secret is empty");
    }
}
