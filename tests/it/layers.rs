//! One crate does not stay in layers by itself: this test is the cheap stand-in for crate walls. It reads `src/`, maps
//! the first path segment of each file and of each `crate::…` to a level, and prints every line that does not go down.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Imports go from a higher number to a lower one only. `lib.rs` and `main.rs` see everything.
const LEVELS: &[(&str, u8)] = &[
    ("cli", 10),
    ("app", 9),
    ("devidp", 9),
    ("server", 8),
    ("admin", 7),
    ("gateway", 6),
    ("plan", 5),
    ("authn", 4),
    ("login", 4),
    ("outbound", 4),
    ("policy", 3),
    ("session", 3),
    ("idp", 2),
    ("kv", 2),
    ("upstream", 2),
    ("wire", 1),
    ("flight", 1),
    ("jose", 1),
    ("telemetry", 1),
    ("flight", 1),
    ("config", 1),
    ("clock", 0),
    ("reason", 0),
    ("seal", 0),
    ("caller", 0),
    ("control", 0),
    ("deadline", 0),
];

/// The ground has steps of its own: a later one may use an earlier one.
const GROUND: &[&[&str]] = &[&["clock", "reason"], &["seal"], &["caller", "control", "deadline"]];

/// A room gets settings of parsed types; only these know what the operator wrote.
const KNOW_CONFIG: &[&str] = &["plan", "app", "admin", "cli"];

fn level(module: &str) -> Option<u8> {
    LEVELS.iter().find(|(name, _)| *name == module).map(|(_, level)| *level)
}

/// Why `from` may not import `to`, if it may not.
fn objection(from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    let Some(target) = level(to) else {
        return Some(format!("`{to}` has no level; give it one in tests/it/layers.rs"));
    };
    let Some(own) = level(from) else {
        return Some(format!("`{from}` has no level; give it one in tests/it/layers.rs"));
    };
    if own == 0 && target == 0 {
        let step = |module| GROUND.iter().position(|step| step.contains(&module));
        return (step(from) <= step(to)).then(|| format!("on the ground, `{to}` is not below `{from}`"));
    }
    if target >= own {
        return Some(format!("`{from}` is on level {own}, `{to}` on level {target}"));
    }
    if to == "config" && !KNOW_CONFIG.contains(&from) {
        return Some(format!("`{from}` may not know the configuration; plan fills its settings"));
    }
    // The development provider is used by the demo and by tests; it must not lean on the gateway it is to test.
    if from == "devidp" && target > 1 {
        return Some(format!("`devidp` sees the ground and the tools only, `{to}` is on level {target}"));
    }
    None
}

/// The code of a line: without comments, and without what stands in string literals.
fn code(line: &str) -> String {
    let mut kept = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => drop(characters.next()),
            // The character literal of a quotation mark opens no string.
            '\'' if !quoted && characters.clone().take(2).eq(['"', '\'']) => drop(characters.nth(1)),
            '"' => quoted = !quoted,
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => kept.push(character),
        }
    }
    kept
}

/// The modules that a line of code names behind `crate::`, `crate::{a, b::c}` included. Also `postern::` in the program's
/// own files, where the library is a crate of its own.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, root) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(identifier(rest)),
        }
    }
    found
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first segment of each member of a `{…}` group, nested groups skipped over.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_u32;
    let mut expect_head = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expect_head = true,
            c if expect_head && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                heads.extend(identifier(&group[at..]));
                expect_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Statements with their first line's number: a `use` that spans lines is judged as a whole.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let code = code(line);
        let (start, mut gathered) = open.take().unwrap_or((number + 1, String::new()));
        gathered.push_str(&code);
        let unfinished = gathered.trim_start().starts_with("use ") || gathered.contains(" use ");
        if unfinished && !gathered.contains(';') {
            open = Some((start, gathered));
        } else {
            statements.push((start, gathered));
        }
    }
    statements.extend(open);
    statements
}

#[test]
fn imports_go_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    files(&root, &mut sources);
    assert!(sources.len() > 20, "src/ was not read");
    let mut objections = String::new();
    for source in sources {
        let relative = source.strip_prefix(&root).expect("below src");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let text = fs::read_to_string(&source).expect("readable");
        for (number, statement) in statements(&text) {
            for target in imports(&statement) {
                if let Some(why) = objection(module, &target) {
                    let _ = writeln!(objections, "src/{}:{number}: {why}: {}", relative.display(), statement.trim());
                }
            }
        }
    }
    assert!(objections.is_empty(), "imports that do not go down:\n{objections}");
}

#[test]
fn the_judge_of_imports_can_say_no() {
    for (from, to) in [
        ("wire", "gateway"),
        ("wire", "jose"),
        ("authn", "outbound"),
        ("idp", "config"),
        ("devidp", "policy"),
        ("clock", "seal"),
        ("clock", "reason"),
        ("seal", "caller"),
        ("policy", "unheard_of"),
    ] {
        assert!(objection(from, to).is_some(), "{from} may not import {to}");
    }
    for (from, to) in [("cli", "app"), ("cli", "devidp"), ("caller", "clock"), ("plan", "config"), ("devidp", "jose")] {
        assert_eq!(objection(from, to), None, "{from} may import {to}");
    }
}

#[test]
fn imports_are_found_in_every_form() {
    assert_eq!(imports("use crate::wire::Body;"), ["wire"]);
    assert_eq!(imports("use crate::{clock::{Clock, Time}, reason::Reason, seal};"), ["clock", "reason", "seal"]);
    assert_eq!(imports("fn a(b: crate::caller::Known) -> crate::policy::Permit {"), ["caller", "policy"]);
    assert_eq!(imports("pub(crate) fn a() {} // crate"), [] as [&str; 0]);
    assert_eq!(imports(&code("let a = \"crate::plan\"; // crate::app")), [] as [&str; 0]);
    assert_eq!(code("text.find('\"'); // the end"), "text.find(); ");
    let spread = statements("use crate::{\n    app,\n    wire,\n};\nfn main() {}");
    assert_eq!(imports(&spread[0].1), ["app", "wire"]);
}
