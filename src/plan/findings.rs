//! What the checks find. Comes in: value paths and messages. Goes out: a report with places, without findings that only
//! follow from something that reading has already reported.

use std::path::PathBuf;

use crate::config::diagnostic::{self, Diagnostic, Report, Severity};
use crate::config::{Loaded, Segment, ValuePath};

/// Collects findings for one configuration.
pub(super) struct Findings<'a> {
    pub loaded: &'a Loaded,
    pub report: Report,
}

impl<'a> Findings<'a> {
    pub fn new(loaded: &'a Loaded) -> Self {
        Self { loaded, report: loaded.findings.clone() }
    }

    pub fn error(&mut self, path: &ValuePath, message: impl Into<String>) {
        self.push(Severity::Error, path, message.into(), None);
    }

    pub fn error_with(&mut self, path: &ValuePath, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Error, path, message.into(), Some(hint.into()));
    }

    pub fn warning(&mut self, path: &ValuePath, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, path, message.into(), Some(hint.into()));
    }

    /// A key that must be there and is not, unless reading has struck it out, or what was meant to be it.
    pub fn missing(&mut self, inside: &ValuePath, key: &str, hint: impl Into<String>) {
        let misspelt = |struck: &ValuePath| match struck.segments().last() {
            Some(Segment::Key(written)) => diagnostic::nearest(written, [key]).is_some(),
            _ => false,
        };
        let excused = self.loaded.is_gone(inside)
            || self.loaded.is_struck(&inside.key(key))
            || self.loaded.struck_in(inside).any(misspelt);
        if !excused {
            self.put(Severity::Error, inside, format!("`{key}` is missing"), Some(hint.into()));
        }
    }

    /// No entry of a section has the name that is written at `path`.
    pub fn unknown_name<'n>(
        &mut self,
        path: &ValuePath,
        what: (&str, &str),
        written: &str,
        known: impl IntoIterator<Item = &'n str> + Clone,
    ) {
        let (kind, section) = what;
        if self.loaded.is_gone(&ValuePath::root().key(section).key(written)) {
            return;
        }
        // The entry may be there under a section that reading has struck out.
        if self.loaded.is_gone(&ValuePath::root().key(section)) {
            return;
        }
        let hint =
            diagnostic::suggestion(written, known).unwrap_or_else(|| format!("there is nothing under `{section}`"));
        self.error_with(path, format!("no {kind} is called `{written}`"), hint);
    }

    fn push(&mut self, severity: Severity, path: &ValuePath, message: String, hint: Option<String>) {
        if !self.loaded.is_struck(path) {
            self.put(severity, path, message, hint);
        }
    }

    fn put(&mut self, severity: Severity, path: &ValuePath, message: String, hint: Option<String>) {
        let place = self.loaded.places.locate(path);
        self.report.push(Diagnostic { severity, path: path.clone(), message, hint, place });
    }

    /// A file that the configuration names, relative to the configuration's folder.
    pub fn file(&self, written: &std::path::Path) -> PathBuf {
        self.loaded.folder.join(written)
    }
}
