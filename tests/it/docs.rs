//! The documentation says what is true: every reason has a row, every example is valid, every link leads somewhere.

use std::collections::BTreeSet;
use std::path::Path;

use postern::reason::Reason;

use crate::support::{Folder, gateway};

const REASONS: &str = include_str!("../../docs/reasons.md");

/// The first cell of each row of the table, without its back-ticks.
fn documented() -> Vec<&'static str> {
    REASONS.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(code, _)| code).collect()
}

#[test]
fn every_reason_has_one_row_and_every_row_a_reason() {
    let rows = documented();
    let unique: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(rows.len(), unique.len(), "a reason is documented twice in docs/reasons.md");
    let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let missing: Vec<_> = codes.difference(&unique).collect();
    let stale: Vec<_> = unique.difference(&codes).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/reasons.md: no row for {missing:?}; no such reason {stale:?}"
    );
}

#[test]
fn every_row_says_all_four_things() {
    for line in REASONS.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "docs/reasons.md: {line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "docs/reasons.md: {line}");
    }
}

/// The code blocks of a Markdown file in this language.
fn blocks<'t>(markdown: &'t str, language: &str) -> Vec<&'t str> {
    let opening = format!("```{language}\n");
    markdown.split(&*opening).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// What the README shows is a configuration that the program takes.
#[test]
fn the_configurations_of_the_readme_are_valid() {
    let folder = Folder::new();
    let examples = blocks(include_str!("../../README.md"), "yaml");
    assert!(!examples.is_empty());
    for example in examples {
        let output = gateway::check(&folder.write("readme.yaml", example));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}\n{told}{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Every file that the documentation links to is there.
#[test]
fn no_link_of_the_documentation_leads_nowhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root.join(file)).expect("it is there");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.contains("://") && !link.is_empty()) {
            assert!(root.join(link).exists(), "{file} links to {link}");
        }
    }
}
