//! Policies in CEL. Comes in: a program as it was written, and for each request a [`Subject`]. Goes out: nothing, or a
//! denial; an error, and a result that is no boolean, are a no.
//!
//! `cel` has no budget for execution, so a program is bounded when it is loaded ([`load`]): its length, the nesting of
//! its comprehensions, its patterns. Only what a program reads is turned into CEL values ([`values`]), and built-in
//! functions are set up once per program, since both cost more than running it.

mod load;
mod values;

use std::sync::Arc;

use ::cel::common::types::CelBool;
use ::cel::{Context, Env, IdedExpr, Value};

use self::load::{Pattern, Reads};
use super::{Denial, Params};
use crate::caller::Caller;
use crate::reason::Reason;
use crate::wire::{Arrival, Facts};

pub use load::ProgramError;

/// A compiled policy.
pub struct Program {
    source: Box<str>,
    expression: IdedExpr,
    reads: Reads,
    patterns: Box<[Pattern]>,
    env: Arc<Env>,
}

/// What a policy may look at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub caller: &'a Caller,
    pub facts: &'a Facts,
    pub arrival: &'a Arrival,
    pub params: &'a Params,
}

impl Program {
    /// Parses and bounds a program.
    ///
    /// # Errors
    /// [`ProgramError`] when it does not parse, names what is not there, or could run for too long.
    pub fn compile(source: &str) -> Result<Self, ProgramError> {
        let load::Loaded { expression, reads, patterns, env } = load::load(source)?;
        Ok(Self { source: source.into(), expression, reads, patterns, env })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn judge(&self, subject: &Subject<'_>) -> Result<(), Denial> {
        match self.run(subject) {
            Some(true) => Ok(()),
            Some(false) => Err(Denial::Forbidden(Reason::PolicyDenied)),
            None => Err(Denial::Forbidden(Reason::PolicyError)),
        }
    }

    /// `None` for an error or a result that is no boolean. What went wrong is not told further: it may quote claims.
    fn run(&self, subject: &Subject<'_>) -> Option<bool> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, value) in values::of(&self.reads, subject) {
            context.add_variable_as_val(name, value);
        }
        for pattern in &self.patterns {
            context.add_variable_as_val(&*pattern.name, Box::new(pattern.clone()));
        }
        let result = Value::resolve_val(&self.expression, &context).ok()?;
        result.downcast_ref::<CelBool>().map(|answer| *answer.inner())
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.source).finish()
    }
}
