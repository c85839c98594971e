//! Loading a program: parse, bound, and list what it reads. Comes in: source text. Goes out: an expression that names
//! only what exists, whose comprehensions nest at most twice, and whose patterns are compiled.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use ::cel::common::types::{CelBool, CelString, STRING_TYPE, Type};
use ::cel::common::value::{CowVal, StaticVal, Val};
use ::cel::{Context, Env, ExecutionError, IdedExpr, Value};
use regex::{Regex, RegexBuilder};

/// Longer programs belong into several rules, or behind the gateway.
const MAX_LENGTH: usize = 8 * 1024;
/// Three nested loops over 60 elements run for a third of a second.
const MAX_NESTING: usize = 2;
/// Of a compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

const CALLER_FIELDS: &[&str] = &["kind", "subject", "client_id", "issuer", "method"];
const REQUEST_FIELDS: &[&str] = &["method", "path", "host", "query", "headers", "params", "client_address"];
const TYPES: &[&str] = &["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];

/// Why a program is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("the policy is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the policy is not valid CEL: {0}")]
    Syntax(String),
    #[error("there is no variable `{0}`: a policy sees `claims`, `scopes`, `caller` and `request`")]
    UnknownVariable(String),
    #[error("`{of}` has no field `{field}`, only {}", known.join(", "))]
    UnknownField { of: &'static str, field: String, known: &'static [&'static str] },
    #[error("there is no function `{0}`")]
    UnknownFunction(String),
    #[error("header names are lower-case in a policy: write `{0}`")]
    HeaderCase(String),
    #[error("comprehensions (all, exists, exists_one, map, filter) nest more than {MAX_NESTING} deep")]
    TooNested,
    #[error("the pattern of `matches` must be a literal string, so that it can be compiled when the policy is loaded")]
    PatternNotLiteral,
    #[error("the pattern `{pattern}` does not compile: {error}")]
    Pattern { pattern: String, error: String },
    #[error("message types are not available in a policy")]
    MessageType,
    #[error("the policy is a constant that is neither true nor false")]
    NotBoolean,
}

/// Which members of a map a program reads, so that nothing else is converted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Members {
    #[default]
    None,
    These(BTreeSet<Box<str>>),
    All,
}

impl Members {
    fn add(&mut self, name: &str) {
        match self {
            Self::All => {}
            Self::These(names) => drop(names.insert(name.into())),
            Self::None => *self = Self::These(BTreeSet::from([name.into()])),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::These(names) => names.contains(name),
            Self::All => true,
        }
    }

    pub(super) fn any(&self) -> bool {
        *self != Self::None
    }
}

/// What a program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) claims: Members,
    pub(super) scopes: bool,
    pub(super) caller: Members,
    pub(super) request: Members,
    pub(super) headers: Members,
    pub(super) params: Members,
}

pub(super) struct Loaded {
    pub(super) expression: IdedExpr,
    pub(super) reads: Reads,
    pub(super) patterns: Box<[Pattern]>,
    pub(super) env: Arc<Env>,
}

pub(super) fn load(source: &str) -> Result<Loaded, ProgramError> {
    if source.len() > MAX_LENGTH {
        return Err(ProgramError::TooLong);
    }
    let env = environment()?;
    let program = env.compile(source).map_err(|errors| ProgramError::Syntax(errors.to_string()))?;
    let mut expression = program.expression().clone();
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => {}
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => return Err(ProgramError::NotBoolean),
        _ => {}
    }
    let mut patterns = Vec::new();
    lift_patterns(&mut expression, &mut patterns)?;
    let env = Arc::new(env);
    let mut survey = Survey { reads: Reads::default(), locals: Vec::new(), env: Arc::clone(&env) };
    survey.visit(&expression, 0)?;
    Ok(Loaded { expression, reads: survey.reads, patterns: patterns.into(), env })
}

/// The standard functions, and `matches` over a pattern that is compiled already: the standard one compiles its
/// pattern at every call, which takes longer than all the rest of a request.
fn environment() -> Result<Env, ProgramError> {
    let mut env = Env::stdlib();
    let arguments = || vec![STRING_TYPE, PATTERN_TYPE];
    let added = env
        .add_member_overload("matches", "string_matches_pattern", STRING_TYPE, vec![PATTERN_TYPE], matches_pattern)
        .and_then(|()| env.add_overload("matches", "matches_string_pattern", arguments(), matches_pattern));
    added.map_err(|error| ProgramError::Syntax(error.to_string()))?;
    Ok(env)
}

const PATTERN_TYPE: Type = Type::new_unspecified_type("postern.pattern");
static PATTERN: Type = PATTERN_TYPE;

/// A pattern that was compiled at load, as a CEL value that no program can name.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) name: Box<str>,
    regex: Arc<Regex>,
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

fn matches_pattern<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = arguments.as_slice() else { return Err(ExecutionError::missing_argument_or_target()) };
    match (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<Pattern>()) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(text.inner())))),
        _ => Err(ExecutionError::missing_argument_or_target()),
    }
}

/// Replaces the literal pattern of every `matches` by the name of a compiled one. `@` can't begin a name in CEL.
fn lift_patterns(expression: &mut IdedExpr, patterns: &mut Vec<Pattern>) -> Result<(), ProgramError> {
    if let Expr::Call(call) = &mut expression.expr
        && call.func_name == "matches"
        && let Some(pattern) = call.args.last_mut()
    {
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return Err(ProgramError::PatternNotLiteral);
        };
        let failed =
            |error: regex::Error| ProgramError::Pattern { pattern: text.inner().to_owned(), error: error.to_string() };
        let regex = RegexBuilder::new(text.inner()).size_limit(MAX_PATTERN).build().map_err(failed)?;
        let name: Box<str> = format!("@pattern{}", patterns.len()).into();
        patterns.push(Pattern { name: name.clone(), regex: Arc::new(regex) });
        pattern.expr = Expr::Ident(name.into());
    }
    children_mut(expression).into_iter().try_for_each(|child| lift_patterns(child, patterns))
}

fn children_mut(expression: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(loops) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = &mut **loops;
            vec![iter_range, accu_init, loop_cond, loop_step, result]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Map(map) => map.entries.iter_mut().flat_map(|entry| entry_children_mut(&mut entry.expr)).collect(),
        Expr::Struct(message) => {
            message.entries.iter_mut().flat_map(|entry| entry_children_mut(&mut entry.expr)).collect()
        }
    }
}

fn entry_children_mut(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}

/// Walks a program once: refuses what it may not do, notes what it reads.
struct Survey {
    reads: Reads,
    locals: Vec<String>,
    env: Arc<Env>,
}

impl Survey {
    fn visit(&mut self, expression: &IdedExpr, depth: usize) -> Result<(), ProgramError> {
        if let Some(path) = constant_path(expression) {
            return self.note(&path);
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
            Expr::Call(call) => self.visit_call(call, depth),
            Expr::Comprehension(loops) => self.visit_comprehension(loops, depth),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, depth)),
            Expr::Select(select) => self.visit(&select.operand, depth),
            Expr::Struct(_) => Err(ProgramError::MessageType),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::StructField(_) => Err(ProgramError::MessageType),
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth)?;
                    self.visit(&entry.value, depth)
                }
            }),
        }
    }

    fn visit_call(&mut self, call: &CallExpr, depth: usize) -> Result<(), ProgramError> {
        self.check_function(&call.func_name)?;
        call.target.iter().try_for_each(|target| self.visit(target, depth))?;
        call.args.iter().try_for_each(|argument| self.visit(argument, depth))
    }

    /// What is looped over is evaluated once and counts as outside; the rest runs for each element.
    fn visit_comprehension(&mut self, loops: &ComprehensionExpr, depth: usize) -> Result<(), ProgramError> {
        self.visit(&loops.iter_range, depth)?;
        if depth == MAX_NESTING {
            return Err(ProgramError::TooNested);
        }
        let outside = self.locals.len();
        self.locals.push(loops.iter_var.clone());
        self.locals.extend(loops.iter_var2.clone());
        self.locals.push(loops.accu_var.clone());
        for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
            self.visit(part, depth + 1)?;
        }
        self.locals.truncate(outside);
        Ok(())
    }

    /// Asks the interpreter itself: only a name that it does not know is an undeclared reference.
    fn check_function(&self, name: &str) -> Result<(), ProgramError> {
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Ok(());
        }
        let context = Context::with_env(Arc::clone(&self.env));
        let unknown = |target: Option<Box<IdedExpr>>| {
            let call = CallExpr { func_name: name.to_owned(), target, args: Vec::new() };
            let call = IdedExpr { id: 0, expr: Expr::Call(call) };
            matches!(Value::resolve_val(&call, &context), Err(ExecutionError::UndeclaredReference(_)))
        };
        let literal = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
        match unknown(None) && unknown(Some(Box::new(literal))) {
            true => Err(ProgramError::UnknownFunction(name.to_owned())),
            false => Ok(()),
        }
    }

    fn note(&mut self, path: &[&str]) -> Result<(), ProgramError> {
        let Some((root, rest)) = path.split_first() else { return Ok(()) };
        let root = root.trim_start_matches('.');
        if root.starts_with('@') || self.locals.iter().any(|local| local == root) {
            return Ok(());
        }
        match (root, rest) {
            ("claims", []) => self.reads.claims = Members::All,
            ("claims", [claim, ..]) => self.reads.claims.add(claim),
            ("scopes", _) => self.reads.scopes = true,
            ("caller", []) => self.reads.caller = Members::All,
            ("caller", [field, ..]) => {
                known_field("caller", field, CALLER_FIELDS)?;
                self.reads.caller.add(field);
            }
            ("request", _) => return self.note_request(rest),
            (name, []) if TYPES.contains(&name) => {}
            (name, _) => return Err(ProgramError::UnknownVariable(name.to_owned())),
        }
        Ok(())
    }

    fn note_request(&mut self, rest: &[&str]) -> Result<(), ProgramError> {
        match rest {
            [] => {
                self.reads.request = Members::All;
                self.reads.headers = Members::All;
                self.reads.params = Members::All;
            }
            [field, members @ ..] => {
                known_field("request", field, REQUEST_FIELDS)?;
                self.reads.request.add(field);
                match (*field, members) {
                    ("headers", []) => self.reads.headers = Members::All,
                    ("headers", [name, ..]) => {
                        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                            return Err(ProgramError::HeaderCase(name.to_ascii_lowercase()));
                        }
                        self.reads.headers.add(name);
                    }
                    ("params", []) => self.reads.params = Members::All,
                    ("params", [name, ..]) => self.reads.params.add(name),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn known_field(of: &'static str, field: &str, known: &'static [&'static str]) -> Result<(), ProgramError> {
    match known.contains(&field) {
        true => Ok(()),
        false => Err(ProgramError::UnknownField { of, field: field.to_owned(), known }),
    }
}

/// `claims.address.city`, `request.headers["x-tenant"]`, `"x-tenant" in request.headers`: the names from the root on,
/// if all are constants.
fn constant_path(expression: &IdedExpr) -> Option<Vec<&str>> {
    match &expression.expr {
        Expr::Ident(name) => Some(vec![name]),
        Expr::Select(select) => {
            let mut path = constant_path(&select.operand)?;
            path.push(&select.field);
            Some(path)
        }
        Expr::Call(call) if call.target.is_none() => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::INDEX, [map, key]) | (operators::IN, [key, map]) => {
                let mut path = constant_path(map)?;
                // A list has no members by name: `"a" in claims.groups` reads all of `claims.groups`, and so does this.
                path.push(literal(key)?);
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

fn literal(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
