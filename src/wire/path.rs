//! Path normalisation and refusal of ambiguous forms (configuration contract, section 3).

/// A path with one reading: dot segments resolved, unreserved characters decoded, other escapes upper-cased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath(Box<str>);

impl NormalPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
