//! Text to tree. Comes in: the text of a YAML or TOML file. Goes out: a [`Node`] with the place of every key and value,
//! or the one place where the text stops being YAML or TOML.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml_edit::{Document, Item};

use super::place::Spot;
use super::tree::{Node, Value};

/// The two languages a file may be written in, told apart by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Toml,
}

/// The text is not in the language that it claims.
#[derive(Debug)]
pub struct SyntaxError {
    pub spot: Option<Spot>,
    pub message: String,
}

impl Format {
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    pub fn parse(self, text: &str) -> Result<Node, SyntaxError> {
        match self {
            Self::Yaml => yaml(text),
            Self::Toml => toml(text),
        }
    }
}

/// Reads YAML. Aliases, depth and size are bounded by serde-saphyr's budget; `no`, `010` and `1_000` stay text.
pub fn yaml(text: &str) -> Result<Node, SyntaxError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node::new(Value::Map(Vec::new()), Spot::default()));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let mut node =
        serde_saphyr::from_str_with_options::<Written>(text, options).map(|written| written.0).map_err(|error| {
            let spot = error.location().map(|at| spot_of(&at));
            SyntaxError { spot, message: first_line(&error.without_snippet().to_string()) }
        })?;
    keep_raw(&mut node, &text.lines().collect::<Vec<_>>());
    Ok(node)
}

fn spot_of(at: &serde_saphyr::Location) -> Spot {
    let number = |value: u64| usize::try_from(value).unwrap_or(0);
    Spot { origin: 0, line: number(at.line()), column: number(at.column()), length: number(at.span().len()) }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// Remembers how numbers and booleans were spelt.
fn keep_raw(node: &mut Node, lines: &[&str]) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| keep_raw(item, lines)),
        Value::Map(members) => members.iter_mut().for_each(|(_, node)| keep_raw(node, lines)),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
            let Spot { line, column, length, .. } = node.spot;
            let raw = lines.get(line.wrapping_sub(1)).map(|line| {
                line.chars().skip(column.saturating_sub(1)).take(length).collect::<String>().trim_end().to_owned()
            });
            node.raw = raw.filter(|raw| !raw.is_empty());
        }
        Value::Null | Value::Text(_) => {}
    }
}

/// A YAML node with its place.
struct Written(Node);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: Bare(value), referenced, .. } = Spanned::<Bare>::deserialize(deserializer)?;
        Ok(Self(Node::new(value, spot_of(&referenced))))
    }
}

struct Bare(Value);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything).map(Self)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Written(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let Written(mut node) = map.next_value()?;
            node.key = Some(spot_of(&key.referenced));
            members.push((key.value, node));
        }
        Ok(Value::Map(members))
    }
}

/// Reads TOML.
pub fn toml(text: &str) -> Result<Node, SyntaxError> {
    let lines = LineIndex::new(text);
    let document = Document::parse(text.to_owned()).map_err(|error| SyntaxError {
        spot: error.span().map(|span| lines.spot(&span)),
        message: first_line(error.message()),
    })?;
    Ok(item(document.as_item(), &lines))
}

fn item(item: &Item, lines: &LineIndex<'_>) -> Node {
    let spot = item.span().map(|span| lines.spot(&span)).unwrap_or_default();
    match item {
        Item::None => Node::new(Value::Null, spot),
        Item::Value(written) => value(written, lines),
        Item::Table(table) => Node::new(members(table, lines), spot),
        Item::ArrayOfTables(tables) => {
            let each = |table: &toml_edit::Table| {
                let spot = table.span().map_or(spot, |span| lines.spot(&span));
                Node::new(members(table, lines), spot)
            };
            Node::new(Value::List(tables.iter().map(each).collect()), spot)
        }
    }
}

fn value(written: &toml_edit::Value, lines: &LineIndex<'_>) -> Node {
    use toml_edit::Value as Toml;
    let spot = written.span().map(|span| lines.spot(&span)).unwrap_or_default();
    let value = match written {
        Toml::String(text) => Value::Text(text.value().clone()),
        Toml::Integer(number) => Value::Integer((*number.value()).into()),
        Toml::Float(number) => Value::Float(*number.value()),
        Toml::Boolean(flag) => Value::Bool(*flag.value()),
        Toml::Datetime(time) => Value::Text(time.value().to_string()),
        Toml::Array(array) => Value::List(array.iter().map(|item| self::value(item, lines)).collect()),
        Toml::InlineTable(table) => members(table, lines),
    };
    Node::new(value, spot)
}

fn members(table: &dyn toml_edit::TableLike, lines: &LineIndex<'_>) -> Value {
    let member = |(name, value): (&str, &Item)| {
        let mut node = item(value, lines);
        node.key = table.key(name).and_then(toml_edit::Key::span).map(|span| lines.spot(&span));
        (name.to_owned(), node)
    };
    Value::Map(table.iter().map(member).collect())
}

/// Byte offsets to lines and columns.
struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn spot(&self, span: &std::ops::Range<usize>) -> Spot {
        let line = self.starts.partition_point(|start| *start <= span.start);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let characters = |from, to| self.text.get(from..to).map_or(0, |part: &str| part.chars().count());
        Spot {
            origin: 0,
            line,
            column: characters(start, span.start) + 1,
            length: characters(span.start, span.end).max(1),
        }
    }
}
