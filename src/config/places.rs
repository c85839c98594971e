//! Every source and what stands where in it. Comes in: the trees of file, variables and flags. Goes out: the place of a
//! value path, drawn with the line it is on, and without the secrets on that line.

use super::place::{Origin, Place, Spot, ValuePath};
use super::tree::{Node, Value};

/// Keys whose text is a secret: it is masked wherever a line is shown.
pub(super) const SECRET_KEYS: &[&str] = &["token", "client_secret", "password", "assertion", "keys", "secret"];

/// Every source, so that a value path can be found again.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub(super) origins: Vec<Origin>,
    /// From the lowest to the highest.
    pub(super) layers: Vec<Node>,
    masked: Vec<Spot>,
}

impl Places {
    /// Where the value at `path` was written, or the nearest thing around it that was.
    pub fn locate(&self, path: &ValuePath) -> Option<Place> {
        if path.is_root() {
            return None;
        }
        let deepest = self.layers.iter().rev().map(|layer| layer.deepest(path)).reduce(|best, next| {
            // The highest layer wins for a value; for what only surrounds it, the lowest, which is the file.
            if next.0 > best.0 || (next.0 == best.0 && next.1.is_collection()) { next } else { best }
        })?;
        (deepest.0 > 0).then(|| self.place(deepest.1.pointed()))
    }

    pub fn is_written(&self, path: &ValuePath) -> bool {
        self.written(path).is_some()
    }

    pub(super) fn written(&self, path: &ValuePath) -> Option<&Node> {
        self.layers.iter().rev().find_map(|layer| layer.find(path))
    }

    pub(super) fn key_place(&self, path: &ValuePath) -> Option<Place> {
        let node = self.written(path)?;
        Some(self.place(node.key.unwrap_or(node.spot)))
    }

    pub(super) fn place(&self, spot: Spot) -> Place {
        let origin = self.origins.get(spot.origin);
        let name = origin.map(Origin::to_string).unwrap_or_default();
        let label = if spot.line == 0 { name } else { format!("{name}:{}:{}", spot.line, spot.column) };
        let line = match origin {
            Some(Origin::File { text, .. }) if spot.line > 0 => text.lines().nth(spot.line - 1),
            _ => None,
        };
        Place { spot, label, excerpt: line.map(|line| self.without_secrets(line, spot)) }
    }

    fn without_secrets(&self, line: &str, spot: Spot) -> String {
        let hides = |column: usize| {
            let covers = |mask: &Spot| (mask.column..mask.column + mask.length).contains(&column);
            self.masked.iter().any(|mask| mask.origin == spot.origin && mask.line == spot.line && covers(mask))
        };
        // Before a file could be parsed nothing is known about its values: everything behind a telling key is hidden.
        let unparsed = if self.layers.is_empty() { behind_secret_key(line) } else { None };
        let hidden = |column: usize| hides(column) || unparsed.is_some_and(|from| column >= from);
        line.chars().enumerate().map(|(at, c)| if hidden(at + 1) && !c.is_whitespace() { '•' } else { c }).collect()
    }

    pub(super) fn mask_secrets(&mut self) {
        let mut masked = Vec::new();
        for layer in &self.layers {
            layer.walk(&mut |node| {
                let Value::Map(members) = &node.value else { return };
                for (_, secret) in members.iter().filter(|(key, _)| SECRET_KEYS.contains(&key.as_str())) {
                    match &secret.value {
                        Value::Map(_) => {}
                        Value::List(items) => {
                            masked.extend(items.iter().filter(|item| !item.is_collection()).map(|item| item.spot))
                        }
                        _ => masked.push(secret.spot),
                    }
                }
            });
        }
        self.masked = masked;
    }

    /// Hides what stands under an unknown key: it may be a misspelt secret.
    pub(super) fn mask_all(&mut self, path: &ValuePath) {
        let mut masked = Vec::new();
        if let Some(node) = self.written(path) {
            node.walk(&mut |node| {
                if !node.is_collection() {
                    masked.push(node.spot);
                }
            });
        }
        self.masked.extend(masked);
    }
}

fn behind_secret_key(line: &str) -> Option<usize> {
    let (key, _) = line.split_once([':', '='])?;
    let telling = SECRET_KEYS.iter().any(|secret| key.contains(secret));
    telling.then(|| key.chars().count() + 2)
}
