//! The documentation says what is true: every reason has a row.

use std::collections::BTreeSet;

use postern::reason::Reason;

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
