//! Where a value was written. Comes in: the path of a value, such as `routes[1].upstream`. Goes out: the file, line and
//! column, the variable or the flag that it came from, with the line itself for the report.

use std::fmt;
use std::path::PathBuf;

/// One step into a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    Key(String),
    Index(usize),
}

/// The path of a value from the root of the configuration; prints as `routes[1].match.path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValuePath(Vec<Segment>);

impl ValuePath {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    pub fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl From<Vec<Segment>> for ValuePath {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

impl fmt::Display for ValuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
                    let dot = if at == 0 { "" } else { "." };
                    if plain { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

/// What a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File {
        path: PathBuf,
        text: String,
    },
    Variable(String),
    Flag(&'static str),
    /// The skeleton that zero-file mode fills.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::BuiltIn => f.write_str("zero-file mode"),
        }
    }
}

/// A stretch of characters on one line of an origin. Line and column count from 1; line 0 means the origin as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub origin: usize,
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// A spot in words, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub spot: Spot,
    /// `postern.yaml:31:15`, `environment variable POSTERN__ADMIN__BIND`, `flag --issuer`.
    pub label: String,
    /// The line, with secrets masked.
    pub excerpt: Option<String>,
}
