//! A source of configuration as a tree whose every value knows its place. Comes in: parsed YAML or TOML, variables and
//! flags. Goes out: values for figment to merge, and the spot of any value path.

use figment::value::{Dict, Empty, Num, Tag, Value as Merged};

use super::place::{Segment, Spot, ValuePath};

/// One written value.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub spot: Spot,
    /// Where its key stands, for members of maps.
    pub key: Option<Spot>,
    /// The characters of an unquoted scalar: `010` may have been meant as text.
    pub raw: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub fn new(value: Value, spot: Spot) -> Self {
        Self { value, spot, key: None, raw: None }
    }

    pub fn text(text: &str, spot: Spot) -> Self {
        Self::new(Value::Text(text.to_owned()), spot)
    }

    /// A map with one member for each step of `keys`, around `self`.
    pub fn nested(self, keys: &[String]) -> Self {
        keys.iter().rev().fold(self, |node, key| {
            let spot = node.spot;
            Self::new(Value::Map(vec![(key.clone(), node)]), spot)
        })
    }

    pub fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.value, segment) {
            (Value::Map(members), Segment::Key(key)) => {
                members.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Value::List(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    pub fn find(&self, path: &ValuePath) -> Option<&Self> {
        path.segments().iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// The node of the longest part of `path` that was written.
    pub fn deepest(&self, path: &ValuePath) -> (usize, &Self) {
        let mut node = self;
        for (depth, segment) in path.segments().iter().enumerate() {
            match node.child(segment) {
                Some(child) => node = child,
                None => return (depth, node),
            }
        }
        (path.segments().len(), node)
    }

    pub fn is_collection(&self) -> bool {
        matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// What a caret should point at: a scalar itself, else the key that introduces the collection.
    pub fn pointed(&self) -> Spot {
        match self.key {
            Some(key) if self.is_collection() => key,
            _ => match &self.value {
                Value::Map(members) if self.key.is_none() => {
                    members.first().and_then(|(_, node)| node.key).unwrap_or(self.spot)
                }
                _ => self.spot,
            },
        }
    }

    /// Calls `seen` for this node and all below it.
    pub fn walk<'a>(&'a self, seen: &mut dyn FnMut(&'a Self)) {
        seen(self);
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.walk(seen)),
            Value::Map(members) => members.iter().for_each(|(_, node)| node.walk(seen)),
            _ => {}
        }
    }

    /// Names the origin that every spot in this tree belongs to.
    pub fn stamp(&mut self, origin: usize) {
        self.spot.origin = origin;
        if let Some(key) = &mut self.key {
            key.origin = origin;
        }
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.stamp(origin)),
            Value::Map(members) => members.iter_mut().for_each(|(_, node)| node.stamp(origin)),
            _ => {}
        }
    }

    pub fn merged(&self) -> Merged {
        match &self.value {
            Value::Null => Merged::Empty(Tag::Default, Empty::Unit),
            Value::Bool(flag) => Merged::Bool(Tag::Default, *flag),
            Value::Integer(number) => Merged::Num(Tag::Default, number_of(*number)),
            Value::Float(number) => Merged::Num(Tag::Default, Num::F64(*number)),
            Value::Text(text) => Merged::String(Tag::Default, text.clone()),
            Value::List(items) => Merged::Array(Tag::Default, items.iter().map(Self::merged).collect()),
            Value::Map(_) => Merged::Dict(Tag::Default, self.members()),
        }
    }

    /// The members of a map; none for anything else.
    pub fn members(&self) -> Dict {
        match &self.value {
            Value::Map(members) => members.iter().map(|(key, node)| (key.clone(), node.merged())).collect(),
            _ => Dict::new(),
        }
    }
}

fn number_of(number: i128) -> Num {
    if let Ok(number) = u64::try_from(number) {
        Num::U64(number)
    } else if let Ok(number) = i64::try_from(number) {
        Num::I64(number)
    } else {
        Num::I128(number)
    }
}
