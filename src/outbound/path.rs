//! Changing the front of a path. Comes in: a normal path. Goes out: another one, checked as strictly as the first:
//! what is forwarded has one reading, whatever was cut off or put on.

use super::DressError;
use crate::wire::path::{NormalPath, PathError};

#[derive(Debug)]
pub(super) struct PathRule {
    /// Without a slash at the end; `None` when nothing is stripped.
    strip: Option<Box<str>>,
    add: Option<Box<str>>,
}

impl PathRule {
    pub(super) fn new(strip: Option<&str>, add: Option<&str>) -> Result<Self, DressError> {
        Ok(Self { strip: prefix(strip)?, add: prefix(add)? })
    }

    /// A path that does not lie under the prefix keeps it: the route decided what it matches.
    pub(super) fn apply(&self, path: NormalPath) -> Result<NormalPath, PathError> {
        if self.strip.is_none() && self.add.is_none() {
            return Ok(path);
        }
        let whole = path.as_str();
        let rest = self.strip.as_deref().and_then(|prefix| below(whole, prefix)).unwrap_or(whole);
        let rest = if rest.is_empty() { "/" } else { rest };
        match &self.add {
            None => path.with_path(rest),
            Some(prefix) => path.with_path(&format!("{prefix}{rest}")),
        }
    }

    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        let strip = self.strip.as_ref().map(|prefix| format!("{prefix} is cut off the path"));
        let add = self.add.as_ref().map(|prefix| format!("{prefix} is put in front of the path"));
        strip.into_iter().chain(add)
    }
}

/// What follows `prefix`, if that ends where a segment ends.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The prefix in the spelling that normal paths have, without its last slash.
fn prefix(written: Option<&str>) -> Result<Option<Box<str>>, DressError> {
    let Some(written) = written else { return Ok(None) };
    let refused = |error| DressError::Prefix(written.to_owned(), error);
    let path = NormalPath::parse(written).map_err(refused)?;
    if path.query().is_some() || path.has_encoded_slash() {
        return Err(refused(PathError::Byte));
    }
    let prefix = path.as_str().trim_end_matches('/');
    Ok((!prefix.is_empty()).then(|| prefix.into()))
}
