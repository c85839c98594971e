//! What is wrong with a configuration, all of it at once. Comes in: findings with a value path, a message and perhaps a
//! hint. Goes out: a report that points at the character, because "invalid configuration" costs an operator an hour.

use std::fmt;

use super::place::{Place, ValuePath};

/// Errors keep the gateway from starting; warnings do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub path: ValuePath,
    pub message: String,
    pub hint: Option<String>,
    pub place: Option<Place>,
}

/// Every finding of one attempt, in the order of the file once [`Report::sort`] has run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

/// The longest excerpt that is shown of one line.
const EXCERPT_CHARACTERS: usize = 160;

impl Report {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub fn extend(&mut self, other: Self) {
        for diagnostic in other.diagnostics {
            self.push(diagnostic);
        }
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == severity).count()
    }

    /// Draws every place anew: what must be masked on a line may be known only after all of it was read.
    pub(super) fn redraw(&mut self, draw: impl Fn(super::place::Spot) -> Place) {
        for place in self.diagnostics.iter_mut().filter_map(|found| found.place.as_mut()) {
            *place = draw(place.spot);
        }
    }

    /// By place, so that the report reads as the file does; what has no place comes first.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by(|a, b| {
            let spot = |found: &Diagnostic| found.place.as_ref().map(|place| place.spot);
            spot(a).cmp(&spot(b)).then_with(|| a.path.cmp(&b.path)).then_with(|| a.severity.cmp(&b.severity))
        });
    }

    /// `2 errors, 1 warning`.
    pub fn counts(&self) -> String {
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (errors, 0) => plural(errors, "error"),
            (0, warnings) => plural(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if self.path.is_root() {
            writeln!(f, "{word}: {}", Plain(&self.message))?;
        } else {
            writeln!(f, "{word}: {}: {}", Plain(&self.path.to_string()), Plain(&self.message))?;
        }
        let hint = self.hint.as_deref().unwrap_or_default();
        let Some(place) = &self.place else {
            return if hint.is_empty() { Ok(()) } else { writeln!(f, "   = {}", Plain(hint)) };
        };
        let number = if place.spot.line == 0 { String::new() } else { place.spot.line.to_string() };
        let gutter = " ".repeat(number.len().max(1));
        writeln!(f, "{gutter}--> {}", Plain(&place.label))?;
        let Some(excerpt) = &place.excerpt else {
            return if hint.is_empty() { Ok(()) } else { writeln!(f, "{gutter} = {}", Plain(hint)) };
        };
        let (line, column, length) = window(excerpt, place.spot.column, place.spot.length);
        writeln!(f, "{gutter} |\n{number} | {}", Plain(&line))?;
        let carets = format!("{}{} {}", " ".repeat(column.saturating_sub(1)), "^".repeat(length), Plain(hint));
        writeln!(f, "{gutter} | {}", carets.trim_end())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.diagnostics.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        Ok(())
    }
}

/// The part of a line around a column, the column within it, and how many carets fit.
fn window(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    let total = line.chars().count();
    let skipped =
        if column > EXCERPT_CHARACTERS / 2 && total > EXCERPT_CHARACTERS { column - EXCERPT_CHARACTERS / 2 } else { 0 };
    let shown: String = line.chars().skip(skipped).take(EXCERPT_CHARACTERS).collect();
    let column = column.saturating_sub(skipped).max(1);
    let room = shown.chars().count().saturating_sub(column - 1).max(1);
    (shown, column, length.clamp(1, room))
}

/// Text without control characters: a configuration file must not be able to drive the terminal. A tab becomes one
/// space, so that carets stay under what they point at.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
    }
}

/// The known name that a misspelt one was probably meant to be.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.75;
    let written = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&written, &name.to_lowercase()).max(folded(&written, name)), name))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Jaro-Winkler misses swapped words and short names; edits in proportion to the length catch these.
fn folded(written: &str, name: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(written, &name.to_lowercase())
}

/// "did you mean `orders`?", or the known names when there are few of them and none is near.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    const FEW: usize = 14;
    if let Some(name) = nearest(written, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty() && names.len() <= FEW).then(|| format!("known here: {}", names.join(", ")))
}
