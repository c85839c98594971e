//! Claim rules without a language: equal, contains, any, exists. Comes in: the claims of a caller. Goes out: yes or no.
//! A missing claim, or one of another type, is a no; nothing is converted to make two values equal.

use serde_json::{Map, Value};

use crate::caller::Claims;

/// One rule about one claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRule {
    path: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equal(Value),
    /// The claim is a list that has this member.
    Contains(Value),
    /// The claim, or a member of it, is one of these.
    Any(Box<[Value]>),
    Exists(bool),
}

/// What is wrong with a rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRuleError {
    #[error("a claim name is empty")]
    EmptyName,
    #[error("expected a string, number, boolean, or one of {{ contains: … }}, {{ any: […] }}, {{ exists: true }}")]
    Shape,
    #[error("`{0}` is no test for a claim: expected `contains`, `any` or `exists`")]
    UnknownTest(String),
    #[error("`contains` takes one string, number or boolean")]
    Contains,
    #[error("`any` takes a list of strings, numbers or booleans, with at least one in it")]
    Any,
    #[error("`exists` takes true or false")]
    Exists,
}

impl ClaimRule {
    /// From a rule as it is written: `tenant: acme`, `groups: { contains: staff }`. The name may be a dotted path into
    /// nested objects.
    ///
    /// # Errors
    /// [`ClaimRuleError`] when the rule has none of the known shapes.
    pub fn parse(path: &str, written: &Value) -> Result<Self, ClaimRuleError> {
        if path.is_empty() {
            return Err(ClaimRuleError::EmptyName);
        }
        let test = match written {
            scalar if is_scalar(scalar) => Test::Equal(scalar.clone()),
            Value::Object(tests) => Test::parse(tests)?,
            _ => return Err(ClaimRuleError::Shape),
        };
        Ok(Self { path: path.into(), test })
    }

    pub fn holds(&self, claims: &Claims) -> bool {
        let found = find(claims, &self.path);
        match &self.test {
            Test::Equal(wanted) => found.is_some_and(|value| same(value, wanted)),
            Test::Contains(wanted) => {
                found.and_then(Value::as_array).is_some_and(|members| members.iter().any(|member| same(member, wanted)))
            }
            Test::Any(wanted) => match found {
                Some(Value::Array(members)) => members.iter().any(|member| wanted.iter().any(|one| same(member, one))),
                Some(value) => wanted.iter().any(|one| same(value, one)),
                None => false,
            },
            Test::Exists(wanted) => found.is_some_and(|value| !value.is_null()) == *wanted,
        }
    }
}

impl Test {
    fn parse(tests: &Map<String, Value>) -> Result<Self, ClaimRuleError> {
        let mut tests = tests.iter();
        let (Some((name, operand)), None) = (tests.next(), tests.next()) else { return Err(ClaimRuleError::Shape) };
        match name.as_str() {
            "contains" if is_scalar(operand) => Ok(Self::Contains(operand.clone())),
            "contains" => Err(ClaimRuleError::Contains),
            "any" => match operand.as_array() {
                Some(values) if !values.is_empty() && values.iter().all(is_scalar) => {
                    Ok(Self::Any(values.clone().into()))
                }
                _ => Err(ClaimRuleError::Any),
            },
            "exists" => operand.as_bool().map(Self::Exists).ok_or(ClaimRuleError::Exists),
            other => Err(ClaimRuleError::UnknownTest(other.to_owned())),
        }
    }
}

impl std::fmt::Display for ClaimRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.path;
        match &self.test {
            Test::Equal(value) => write!(f, "claim {path} equal to {value}"),
            Test::Contains(value) => write!(f, "claim {path} containing {value}"),
            Test::Any(values) => {
                write!(f, "claim {path} with any of")?;
                values.iter().try_for_each(|value| write!(f, " {value}"))
            }
            Test::Exists(true) => write!(f, "claim {path} present"),
            Test::Exists(false) => write!(f, "claim {path} absent"),
        }
    }
}

/// Finds a claim by its name or by a dotted path into nested objects. A name that holds dots itself, as
/// `https://example.com/role` does, wins over a path, at every level.
pub fn find<'c>(claims: &'c Claims, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.match_indices('.').rev().find_map(|(dot, _)| {
        let (head, tail) = path.split_at(dot);
        find(claims.get(head)?.as_object()?, tail.get(1..)?)
    })
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// Equal without conversion, except that `1` and `1.0` are one number: which of them JSON writers choose is chance.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}
