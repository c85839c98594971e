//! One route, from settings in which every name is resolved to what requests are judged and dressed by.

use std::sync::Arc;

use super::compile::{CompileError, Wiring, words};
use super::identity::IdentityKeys;
use super::login;
use super::passwords::AllPasswords;
use super::running::Route;
use super::settings::{AccessSettings, Checked, RouteSettings, RulesSettings};
use super::upstream_tokens::UpstreamTokens;
use crate::authn::{BasicWay, BearerWay, SessionWay, Trusted, Ways};
use crate::config::forward::AccessToken;
use crate::config::route::{ClaimRule, EncodedSlash, Preflight};
use crate::config::site::LongLived;
use crate::login::Site;
use crate::outbound::{self, Dress, DressSettings};
use crate::policy::{self, Program, Requirement, RequirementSettings, StepUp};
use crate::upstream::Upstream;

/// What was built before the routes that name it.
pub(super) struct Parts<'a> {
    pub checked: &'a Checked,
    pub trusted: &'a [Trusted],
    pub upstreams: &'a [Arc<Upstream>],
    pub sites: &'a [Arc<Site>],
    /// There whenever a route asks for identity tokens.
    pub identity: Option<&'a IdentityKeys>,
}

pub(super) fn route(
    written: &RouteSettings,
    parts: &Parts<'_>,
    (tokens, passwords): (&mut UpstreamTokens<'_>, &mut AllPasswords<'_>),
    wiring: &Wiring,
) -> Result<Route, CompileError> {
    let dangling = || CompileError::Dangling { index: written.index };
    let (ways, requirement) = ways(written, parts, passwords, wiring)?;
    let forward = &written.forward;
    let authorization = tokens.of(&forward.authorization).ok_or_else(dangling)?;
    let dress = dress(written, parts, authorization)?;
    Ok(Route {
        name: Arc::clone(&written.name),
        matches: words(written).into(),
        ways,
        site: written.access.session().map(|session| session.site),
        requirement,
        dress,
        upstream: parts.upstreams.get(written.upstream).cloned().ok_or_else(dangling)?,
        keeps_encoded_slash: written.matching.encoded_slash == EncodedSlash::Keep,
        forwards_preflight: written.preflight == Preflight::Forward,
        response_header_timeout: written.response_header,
        request_trailers: forward.request_trailers,
        meters: wiring.metrics.route(&written.name),
    })
}

/// Who may come in which way, and what they must keep to.
fn ways(
    written: &RouteSettings,
    parts: &Parts<'_>,
    passwords: &mut AllPasswords<'_>,
    wiring: &Wiring,
) -> Result<(Ways, Requirement), CompileError> {
    let index = written.index;
    let dangling = || CompileError::Dangling { index };
    let AccessSettings::Ways(access) = &written.access else { return Ok((Ways::default(), Requirement::public())) };
    let bearer = access.bearer.as_ref().map(|bearer| {
        let trusted = bearer.issuers.iter().map(|at| parts.trusted.get(*at).cloned().ok_or_else(dangling));
        let trusted = trusted.collect::<Result<_, _>>()?;
        Ok(BearerWay::new(trusted, Arc::clone(&wiring.memory)).limited(parts.checked.server.limits.token_bytes))
    });
    let rules = |way, rules: &RulesSettings| self::rules(index, way, rules);
    let requirement = Requirement::of(policy::WaysSettings {
        bearer: access.bearer.as_ref().map(|bearer| rules("bearer", &bearer.rules)).transpose()?,
        session: access.session.as_ref().map(|session| rules("session", &session.rules)).transpose()?,
        basic: access.basic.as_ref().map(|basic| rules("basic", &basic.rules)).transpose()?,
    });
    let basic = match &access.basic {
        None => None,
        Some(basic) => Some(BasicWay::new(passwords.of(basic).ok_or_else(dangling)?)),
    };
    let session = access.session.as_ref().map(|session| {
        let written = parts.checked.sites.get(session.site).ok_or_else(dangling)?;
        let site = parts.sites.get(session.site).ok_or_else(dangling)?;
        Ok(SessionWay::new(
            Arc::clone(site.sessions()),
            login::cross_site(written),
            written.long_lived == LongLived::End,
        ))
    });
    Ok((Ways { bearer: bearer.transpose()?, session: session.transpose()?, basic }, requirement))
}

fn dress(
    written: &RouteSettings,
    parts: &Parts<'_>,
    authorization: outbound::Authorization,
) -> Result<Dress, CompileError> {
    let forward = &written.forward;
    Dress::new(DressSettings {
        authorization,
        headers: forward.headers.clone(),
        relay: match forward.access_token {
            AccessToken::Off => None,
            AccessToken::Header => Some(outbound::Relay::Header),
            AccessToken::Bearer => Some(outbound::Relay::Bearer),
        },
        identity_token: forward
            .identity_token
            .as_ref()
            .zip(parts.identity)
            .map(|(written, keys)| keys.settings(written)),
        strip_prefix: forward.strip_prefix.clone(),
        add_prefix: forward.add_prefix.clone(),
    })
    .map_err(|error| CompileError::Dress { index: written.index, error })
}

fn rules(index: usize, way: &'static str, written: &RulesSettings) -> Result<RequirementSettings, CompileError> {
    let program =
        |source: &String| Program::compile(source).map_err(|error| CompileError::Policy { index, way, error });
    let claim = |(path, rule): &(String, ClaimRule)| {
        let rule = match rule {
            ClaimRule::Equal(value) => value.clone(),
            ClaimRule::Contains(value) => serde_json::json!({ "contains": value }),
            ClaimRule::Any(values) => serde_json::json!({ "any": values }),
            ClaimRule::Exists(wanted) => serde_json::json!({ "exists": wanted }),
        };
        policy::ClaimRule::parse(path, &rule).map_err(|error| CompileError::Claims { index, way, error })
    };
    Ok(RequirementSettings {
        scopes: written.scopes.clone(),
        any_scope: written.any_scope.clone(),
        claims: written.claims.iter().map(claim).collect::<Result<_, _>>()?,
        policy: written.policy.as_ref().map(program).transpose()?,
        step_up: written.step_up.as_ref().map(|step_up| StepUp::new(&step_up.acr, step_up.max_age)),
        optional: written.optional,
    })
}
