//! What is linked in: licences and banned crates of `deny.toml`, asked of cargo itself. Needs no network and no tool
//! beside cargo.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::Value;

fn cargo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs")
}

fn deny() -> toml::Table {
    include_str!("../../deny.toml").parse().expect("deny.toml is TOML")
}

fn strings(list: &toml::Value) -> BTreeSet<&str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string")).collect()
}

fn host() -> String {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let version = String::from_utf8(version).expect("text");
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// Whether a licence expression (SPDX, or the older form with slashes) can be satisfied with the allowed ones.
fn satisfied(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let words: Vec<_> = spaced.split_whitespace().map(|word| word.replace("+WITH+", " WITH ")).collect();
    let mut at = 0;
    let verdict = any_of(&words, &mut at, allowed);
    verdict && at == words.len()
}

fn any_of(words: &[String], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = all_of(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "OR") {
        *at += 1;
        verdict |= all_of(words, at, allowed);
    }
    verdict
}

fn all_of(words: &[String], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = one(words, at, allowed);
    while words.get(*at).is_some_and(|word| word == "AND") {
        *at += 1;
        verdict &= one(words, at, allowed);
    }
    verdict
}

fn one(words: &[String], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let word = words.get(*at).map_or("", String::as_str);
    *at += 1;
    if word != "(" {
        return allowed.contains(word);
    }
    let verdict = any_of(words, at, allowed);
    *at += 1;
    verdict
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let deny = deny();
    let allowed = strings(&deny["licenses"]["allow"]);
    let answer = cargo(&["metadata", "--format-version", "1", "--filter-platform", &host()]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let metadata: Value = serde_json::from_slice(&answer.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "cargo metadata named {} packages only", packages.len());
    let refused: Vec<_> = packages
        .iter()
        .map(|package| (&package["name"], package["license"].as_str().unwrap_or("none")))
        .filter(|(_, licence)| !satisfied(licence, &allowed))
        .collect();
    assert!(refused.is_empty(), "licences that deny.toml does not allow: {refused:?}");
}

#[test]
fn no_banned_crate_is_built() {
    for ban in deny()["bans"]["deny"].as_array().expect("a list") {
        let name = ban["crate"].as_str().expect("a crate name");
        // Listed in Cargo.lock as an optional edge is fine; `--invert` prints something only for what is built. A name
        // that is not in the lock file at all is an error to cargo, and just as good.
        let answer = cargo(&["tree", "--invert", name]);
        let tree = String::from_utf8_lossy(&answer.stdout);
        let error = String::from_utf8_lossy(&answer.stderr);
        assert!(tree.trim().is_empty(), "{name} is banned ({}) but built:\n{tree}", ban["reason"]);
        assert!(
            error.contains("nothing to print") || error.contains("did not match any packages"),
            "cargo tree could not answer for {name}: {error}"
        );
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"]);
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "Apache-2.0 WITH LLVM-exception OR X", "MIT AND (X OR ISC)"] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["none", "", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (X OR Y)", "Apache-2.0", "MIT AND", "MIT ISC"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
