//! May they? Comes in: who a request turned out to come from ([`Known`]) and the request itself. Goes out: a
//! [`Permit`], the only thing from which a request to an upstream can be made, or a [`Denial`].
//!
//! Everything here is pure and synchronous: no clock but the one in [`Facts`], no network, no memory between calls.
//! A decision is taken for each request anew and is never kept with a token.

pub mod cel;
pub mod claim;
mod scope;
mod step_up;

use std::sync::Arc;

use crate::caller::{Caller, How, Known};
use crate::reason::Reason;
use crate::wire::{Arrival, Facts};

pub use cel::{Program, ProgramError};
pub use claim::{ClaimRule, ClaimRuleError};
use scope::ScopeRule;
pub use step_up::StepUp;

/// What a route demands of whoever calls it.
#[derive(Debug)]
pub enum Requirement {
    /// Nothing is asked; whatever is known is passed on as it was found.
    Public,
    /// A caller that keeps every rule of the way by which it came.
    Ways(Box<ByWay>),
}

/// The rules for each way in which callers of a route show who they are; a way without rules lets nobody pass.
#[derive(Debug, Default)]
pub struct ByWay {
    bearer: Option<Rules>,
    session: Option<Rules>,
    basic: Option<Rules>,
}

/// The rules of each way, already parsed.
#[derive(Debug, Default)]
pub struct WaysSettings {
    pub bearer: Option<RequirementSettings>,
    pub session: Option<RequirementSettings>,
    pub basic: Option<RequirementSettings>,
}

/// The rules of a requirement; all of them must hold.
#[derive(Debug)]
pub struct Rules {
    optional: bool,
    scopes: ScopeRule,
    claims: Box<[ClaimRule]>,
    policy: Option<Program>,
    step_up: Option<StepUp>,
}

/// What a [`Requirement`] is made of, already parsed.
#[derive(Debug, Default)]
pub struct RequirementSettings {
    /// All of these are needed.
    pub scopes: Vec<String>,
    /// At least one of these is needed, unless the list is empty.
    pub any_scope: Vec<String>,
    pub claims: Vec<ClaimRule>,
    pub policy: Option<Program>,
    pub step_up: Option<StepUp>,
    /// Nobody passes, without identity. A caller must keep the rules all the same.
    pub optional: bool,
}

/// Proof that a requirement was met. Only [`Requirement::admit`] makes one.
#[derive(Debug)]
pub struct Permit {
    known: Known,
    _only_here: (),
}

impl Permit {
    fn of(known: Known) -> Self {
        Self { known, _only_here: () }
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    pub fn into_known(self) -> Known {
        self.known
    }
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("a credential is needed")]
    Unauthenticated,
    /// RFC 6750 section 3.1: `insufficient_scope`, with the scopes that would do.
    #[error("the token lacks a scope of: {scopes}")]
    InsufficientScope { scopes: Arc<str> },
    #[error("the route's rules say no ({0})")]
    Forbidden(Reason),
    /// RFC 9470: the caller should authenticate again, better or more recently.
    #[error("a stronger or more recent authentication is needed ({reason})")]
    StepUp { reason: Reason, acr_values: Option<Arc<str>>, max_age: Option<u64> },
}

impl Denial {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unauthenticated => Reason::CredentialMissing,
            Self::InsufficientScope { .. } => Reason::ScopeMissing,
            Self::Forbidden(reason) | Self::StepUp { reason, .. } => *reason,
        }
    }
}

/// Parameters of the route's pattern, by name, as they stand in the normalised path.
pub type Params = [(Box<str>, Box<str>)];

impl Requirement {
    pub fn public() -> Self {
        Self::Public
    }

    /// For callers with an access token.
    pub fn new(settings: RequirementSettings) -> Self {
        Self::of(WaysSettings { bearer: Some(settings), ..WaysSettings::default() })
    }

    /// For callers of several ways.
    pub fn of(settings: WaysSettings) -> Self {
        let WaysSettings { bearer, session, basic } = settings;
        let [bearer, session, basic] = [bearer, session, basic].map(|rules| rules.map(Rules::new));
        Self::Ways(Box::new(ByWay { bearer, session, basic }))
    }

    /// Judges who is known against the rules.
    ///
    /// # Errors
    /// [`Denial`] when the request may not pass.
    pub fn admit(&self, known: Known, facts: &Facts, arrival: &Arrival, params: &Params) -> Result<Permit, Denial> {
        match (self, &known) {
            (Self::Public, _) => {}
            (Self::Ways(ways), Known::Nobody) if ways.are_optional() => {}
            (Self::Ways(_), Known::Nobody) => return Err(Denial::Unauthenticated),
            (Self::Ways(ways), Known::Caller(caller)) => {
                ways.rules_for(caller.how).ok_or(Denial::Unauthenticated)?.judge(caller, facts, arrival, params)?;
            }
        }
        Ok(Permit::of(known))
    }

    /// The rules in words, one a line: for `postern check` and the status view.
    pub fn describe(&self) -> Vec<String> {
        match self {
            Self::Public => vec!["anyone".to_owned()],
            Self::Ways(ways) => ways.describe(),
        }
    }

    /// The scopes that the rules name, for protected-resource metadata (RFC 9728 section 2, `scopes_supported`).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let rules = match self {
            Self::Public => None,
            Self::Ways(ways) => ways.bearer.as_ref().map(|rules| rules.scopes.names()),
        };
        rules.into_iter().flatten()
    }
}

impl ByWay {
    fn are_optional(&self) -> bool {
        [&self.bearer, &self.session, &self.basic].into_iter().flatten().any(|rules| rules.optional)
    }

    fn rules_for(&self, how: How) -> Option<&Rules> {
        match how {
            How::Jwt | How::Introspection => self.bearer.as_ref(),
            How::Session => self.session.as_ref(),
            How::Basic => self.basic.as_ref(),
        }
    }

    fn describe(&self) -> Vec<String> {
        let ways = [
            (&self.session, "signed in at the site"),
            (&self.bearer, "with an access token"),
            (&self.basic, "with a name and a password"),
        ];
        ways.into_iter().filter_map(|(rules, shown)| Some(rules.as_ref()?.describe(shown))).flatten().collect()
    }
}

impl Rules {
    fn new(settings: RequirementSettings) -> Self {
        let RequirementSettings { scopes, any_scope, claims, policy, step_up, optional } = settings;
        Self { optional, scopes: ScopeRule::new(&scopes, &any_scope), claims: claims.into(), policy, step_up }
    }

    /// Cheapest first; step-up last, because nobody should sign in again only to be refused for another rule.
    fn judge(&self, caller: &Caller, facts: &Facts, arrival: &Arrival, params: &Params) -> Result<(), Denial> {
        self.scopes.check(&caller.scopes)?;
        if !self.claims.iter().all(|rule| rule.holds(&caller.claims)) {
            return Err(Denial::Forbidden(Reason::ClaimsMismatch));
        }
        if let Some(program) = &self.policy {
            program.judge(&cel::Subject { caller, facts, arrival, params })?;
        }
        match &self.step_up {
            Some(step_up) => step_up.check(&caller.claims, facts.now),
            None => Ok(()),
        }
    }

    fn describe(&self, shown: &str) -> Vec<String> {
        let who = if self.optional { "nobody, or a caller" } else { "a caller" };
        let mut lines = vec![format!("{who} {shown}")];
        lines.extend(self.scopes.describe());
        lines.extend(self.claims.iter().map(ToString::to_string));
        lines.extend(self.policy.as_ref().map(|program| format!("policy {}", program.source())));
        lines.extend(self.step_up.as_ref().map(ToString::to_string));
        lines
    }
}

#[cfg(test)]
pub(crate) mod tests;
