//! Attack lists as data: groups of cases, each group a promise. A string stands for the bytes of its Latin-1 characters.
//! `{name}` in a template is replaced by each value that the group's `with` has for it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

#[derive(Debug, serde::Deserialize)]
struct List<G> {
    groups: Vec<G>,
}

/// The groups of a list.
pub fn groups<G: DeserializeOwned>(text: &str) -> Vec<G> {
    let list: List<G> = serde_json::from_str(text).expect("a corpus file has its form");
    assert!(!list.groups.is_empty());
    list.groups
}

/// Each template with each combination of the values for the names that it uses.
pub fn expand(templates: &[String], with: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut expanded = templates.to_vec();
    for (name, values) in with {
        let name = format!("{{{name}}}");
        let each = |template: &String| -> Vec<String> {
            if template.contains(&name) {
                values.iter().map(|value| template.replace(&name, value)).collect()
            } else {
                vec![template.clone()]
            }
        };
        expanded = expanded.iter().flat_map(each).collect();
    }
    expanded
}

/// The bytes that a string of the list stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("corpus strings are Latin-1")).collect()
}

/// The failures of a list, together: one run shows all of them.
#[derive(Debug, Default)]
pub struct Failures(Vec<String>);

impl Failures {
    pub fn note(&mut self, failure: String) {
        self.0.push(failure);
    }

    pub fn check(&mut self, held: bool, failure: impl FnOnce() -> String) {
        if !held {
            self.0.push(failure());
        }
    }

    /// Stops the test if there is one. `ran` is the number of cases, which must not have shrunk unnoticed.
    pub fn report(self, ran: usize, at_least: usize) {
        assert!(ran >= at_least, "only {ran} of at least {at_least} cases ran");
        let shown: Vec<_> = self.0.iter().take(40).cloned().collect();
        assert!(self.0.is_empty(), "{} failures in {ran} cases:\n{}", self.0.len(), shown.join("\n"));
        println!("{ran} cases as expected");
    }
}
