//! `access` of a route, checked: which ways in it has, whose tokens and sessions it takes, and what they must keep to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::findings::Findings;
use super::grants;
use super::patterns::HostPattern;
use super::routes::Known;
use super::settings::{
    AccessSettings, BasicSettings, BearerSettings, IssuerSettings, MatchSettings, RulesSettings, SessionSettings,
    SiteSettings, StepUpSettings, WaysSettings,
};
use crate::authn::{PairGrant, PasswordSettings};
use crate::config::ValuePath;
use crate::config::client::GrantType;
use crate::config::issuer::Tokens;
use crate::config::route::{Access, Basic, BasicGrant, Bearer, ClaimRule, Session, StepUp, Ways};
use crate::config::server::Listener;
use crate::config::values::Period;
use crate::policy::Program;

pub(super) fn access(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    written: Option<&Access>,
) -> Option<AccessSettings> {
    let needed = "nothing is public unless it says so: `access: public`, `access: { bearer: { issuers: [NAME] } }`, or \
                  `access: { session: { site: NAME } }`";
    match written {
        None => {
            findings.missing(at, "access", needed);
            None
        }
        Some(Access::Public) => Some(AccessSettings::Public),
        Some(Access::Ways(ways)) => self::ways(findings, &at.key("access"), known, ways, needed),
    }
}

fn ways(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    written: &Ways,
    needed: &str,
) -> Option<AccessSettings> {
    if written.bearer.is_none() && written.session.is_none() && written.basic.is_none() {
        findings.error_with(at, "nothing says who may pass", needed);
        return None;
    }
    let bearer = written.bearer.as_ref().map(|bearer| self::bearer(findings, &at.key("bearer"), known, bearer));
    let session = written.session.as_ref().map(|session| self::session(findings, &at.key("session"), known, session));
    let basic = written.basic.as_ref().map(|basic| self::basic(findings, &at.key("basic"), known, basic));
    // All were looked at before any is given up.
    Some(AccessSettings::Ways(Box::new(WaysSettings {
        bearer: bearer.map_or(Some(None), |bearer| bearer.map(Some))?,
        session: session.map_or(Some(None), |session| session.map(Some))?,
        basic: basic.map_or(Some(None), |basic| basic.map(Some))?,
    })))
}

fn bearer(findings: &mut Findings<'_>, at: &ValuePath, known: &Known<'_>, written: &Bearer) -> Option<BearerSettings> {
    let issuers = issuers(findings, at, known.issuers, &written.issuers);
    shown_to_several(findings, &at.key("issuers"), known.issuers, issuers.as_deref().unwrap_or_default());
    let rules = rules(
        findings,
        at,
        WrittenRules {
            scopes: &written.scopes,
            any_scope: &written.any_scope,
            claims: &written.claims,
            policy: written.policy.as_ref(),
            step_up: written.step_up.as_ref(),
            optional: written.optional,
        },
    );
    Some(BearerSettings { issuers: issuers?, rules: rules? })
}

fn session(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    written: &Session,
) -> Option<SessionSettings> {
    let site = site(findings, at, known.sites, written.site.as_deref());
    let rules = rules(
        findings,
        at,
        WrittenRules {
            scopes: &written.scopes,
            any_scope: &written.any_scope,
            claims: &written.claims,
            policy: written.policy.as_ref(),
            step_up: written.step_up.as_ref(),
            optional: written.optional,
        },
    );
    Some(SessionSettings { site: site?, rules: rules? })
}

/// Off unless it is written, and never without a word: the caller's password passes through here (RFC 9700 section 2.4).
fn basic(findings: &mut Findings<'_>, at: &ValuePath, known: &Known<'_>, written: &Basic) -> Option<BasicSettings> {
    let (grant, grant_type, instead) = match written.grant {
        BasicGrant::Password => (
            PairGrant::Password,
            GrantType::Password,
            "sign people in by code (`access.session`), or take tokens (`bearer`)",
        ),
        BasicGrant::ClientCredentials => (
            PairGrant::ClientCredentials,
            GrantType::ClientCredentials,
            "let machines get tokens themselves (`bearer`)",
        ),
    };
    let message = "legacy: callers hand their password to every API that they call (RFC 9700 section 2.4)";
    findings.warning(at, message, instead);
    in_clear(findings, at);
    let client = match written.client.as_deref() {
        Some(name) => grants::client(findings, &at.key("client"), known.clients, name, grant_type),
        None => {
            let hint = format!("the name of an entry under `clients` that may use `{}`", grant_type.word());
            findings.missing(at, "client", hint);
            None
        }
    };
    if let Some(asked) = &written.request_scopes {
        scopes(findings, &at.key("request_scopes"), asked);
    }
    for (key, text) in [("audience", &written.audience), ("resource", &written.resource)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.chars().any(char::is_control)) {
            findings.error(&at.key(key), "whom a token is for is one line of text");
        }
    }
    if written.ttl == Period::ZERO {
        findings.error_with(&at.key("ttl"), "every request would be a question to the issuer", "`15m`");
    }
    for (key, failures) in
        [("failures_per_user", written.failures_per_user), ("failures_per_client", written.failures_per_client)]
    {
        if failures > MOST_FAILURES {
            let message = format!("{failures} a minute are more than are counted");
            findings.error_with(&at.key(key), message, format!("at most {MOST_FAILURES}; 0 is no limit"));
        }
        if failures == 0 {
            findings.warning(&at.key(key), "anybody may try passwords without end", "leave it out, or a number");
        }
    }
    let rules = rules(
        findings,
        at,
        WrittenRules {
            scopes: &written.scopes,
            any_scope: &written.any_scope,
            claims: &written.claims,
            policy: written.policy.as_ref(),
            step_up: None,
            optional: written.optional,
        },
    );
    let (asked, client) = (written.request_scopes.as_ref().unwrap_or(&written.scopes), client?);
    let text = |text: &Option<String>| text.as_deref().map(Box::from);
    let granted = known.clients.get(client).map_or(&[][..], |client| &client.grant_types);
    let passwords = PasswordSettings {
        grant,
        scope: (!asked.is_empty()).then(|| asked.join(" ").into()),
        audience: text(&written.audience),
        resource: text(&written.resource),
        refreshes: grant == PairGrant::Password && granted.contains(&GrantType::RefreshToken),
        ttl: written.ttl.0,
        failures_per_user: written.failures_per_user,
        failures_per_client: written.failures_per_client,
    };
    Some(BasicSettings { client, passwords, rules: rules? })
}

/// A listener without TLS, beyond this machine.
fn in_clear(findings: &mut Findings<'_>, at: &ValuePath) {
    let is_far = |bind: &str| bind.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback());
    let listeners = &findings.loaded.config.server.listeners;
    let clear = |listener: &Listener| listener.tls.is_none() && listener.bind.as_deref().is_some_and(is_far);
    let found = listeners.iter().find(|listener| clear(listener)).and_then(|listener| listener.bind.clone());
    if let Some(bind) = found {
        let message = format!("passwords travel in clear to `{bind}`");
        findings.warning(at, message, "`tls` on that listener, or one that is reached through TLS alone");
    }
}

/// One a millisecond: the clock that failures are counted by knows nothing shorter.
const MOST_FAILURES: u32 = 60_000;

fn site(findings: &mut Findings<'_>, at: &ValuePath, known: &[SiteSettings], written: Option<&str>) -> Option<usize> {
    let Some(name) = written else {
        findings.missing(at, "site", "the name of an entry under `sites`");
        return None;
    };
    let found = known.iter().position(|site| &*site.name == name);
    let configured = &findings.loaded.config.sites;
    if found.is_none() && !configured.contains_key(name) {
        let names = configured.keys().map(String::as_str);
        findings.unknown_name(&at.key("site"), ("site", "sites"), name, names);
    }
    found
}

/// A session lives at its site's host: a route that names none is for that one, and no other may be named.
pub(super) fn site_hosts(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[SiteSettings],
    session: &Session,
    matching: &mut MatchSettings,
) {
    let site = known.iter().find(|site| session.site.as_deref() == Some(&*site.name));
    let Some((site, Ok(host))) = site.map(|site| (site, HostPattern::parse(site.url.host_str().unwrap_or_default())))
    else {
        return;
    };
    if let Some(other) = matching.hosts.iter().find(|other| **other != host) {
        let message = format!("`{other}` is not the host of the site `{}`, where its sessions are", site.name);
        findings.error_with(&at.key("match").key("hosts"), message, format!("leave `hosts` out for `{host}`"));
    }
    matching.hosts = vec![host];
}

/// The rules as a way has them.
struct WrittenRules<'w> {
    scopes: &'w [String],
    any_scope: &'w [String],
    claims: &'w BTreeMap<String, ClaimRule>,
    policy: Option<&'w String>,
    step_up: Option<&'w StepUp>,
    optional: bool,
}

fn rules(findings: &mut Findings<'_>, at: &ValuePath, written: WrittenRules<'_>) -> Option<RulesSettings> {
    scopes(findings, &at.key("scopes"), written.scopes);
    scopes(findings, &at.key("any_scope"), written.any_scope);
    if written.claims.keys().any(|name| name.is_empty()) {
        findings.error(&at.key("claims"), "the name of a claim is empty");
    }
    for (name, rule) in written.claims {
        if let Some(problem) = rule.problem() {
            findings.error(&at.key("claims").key(name), problem);
        }
    }
    if let Some(policy) = written.policy
        && let Err(error) = Program::compile(policy)
    {
        findings.error(&at.key("policy"), error.to_string());
    }
    let step_up = match written.step_up {
        None => Some(None),
        Some(step_up) => self::step_up(findings, &at.key("step_up"), step_up).map(Some),
    };
    Some(RulesSettings {
        scopes: written.scopes.to_vec(),
        any_scope: written.any_scope.to_vec(),
        claims: written.claims.iter().map(|(name, rule)| (name.clone(), rule.clone())).collect(),
        policy: written.policy.cloned(),
        step_up: step_up?,
        optional: written.optional,
    })
}

fn issuers(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[IssuerSettings],
    written: &[String],
) -> Option<Vec<usize>> {
    if written.is_empty() {
        findings.missing(at, "issuers", "names of entries under `issuers`");
        return None;
    }
    let configured = &findings.loaded.config.issuers;
    let mut found: Vec<usize> = Vec::new();
    let mut complete = true;
    for (index, name) in written.iter().enumerate() {
        let at = at.key("issuers").index(index);
        let Some(issuer) = known.iter().position(|issuer| &*issuer.name == name.as_str()) else {
            complete = false;
            if !configured.contains_key(name) {
                findings.unknown_name(&at, ("issuer", "issuers"), name, configured.keys().map(String::as_str));
            }
            continue;
        };
        let same = found
            .iter()
            .filter_map(|other| known.get(*other))
            .find(|other| known.get(issuer).is_some_and(|one| one.issuer == other.issuer));
        match same {
            Some(other) if *other.name == **name => findings.error(&at, format!("`{name}` is there twice")),
            Some(other) => {
                let message =
                    format!("`{name}` and `{}` are the same issuer: which rules hold would be chance", other.name);
                findings.error_with(&at, message, "name both audiences in one entry");
            }
            None => found.push(issuer),
        }
    }
    complete.then_some(found)
}

fn shown_to_several(findings: &mut Findings<'_>, at: &ValuePath, known: &[IssuerSettings], issuers: &[usize]) {
    let is_asked = |at: &&usize| known.get(**at).is_some_and(|issuer| issuer.tokens != Tokens::Jwt);
    let asked: Vec<&str> =
        issuers.iter().filter(is_asked).filter_map(|at| known.get(*at)).map(|issuer| &*issuer.name).collect();
    if asked.len() > 1 {
        let message = format!("a token that one of {} does not know is shown to the next", asked.join(", "));
        findings.warning(at, message, "one such issuer a route, if they do not trust each other");
    }
}

/// RFC 6749 section 3.3: a scope is one or more characters without space, `"` and `\`.
pub(super) fn scopes(findings: &mut Findings<'_>, at: &ValuePath, written: &[String]) {
    for (index, scope) in written.iter().enumerate() {
        let plain = !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if !plain {
            let message = format!("no token can have the scope `{scope}`");
            findings.error_with(
                &at.index(index),
                message,
                "one scope an item, without spaces: `[orders:read, orders:list]`",
            );
        }
    }
}

fn step_up(findings: &mut Findings<'_>, at: &ValuePath, written: &StepUp) -> Option<StepUpSettings> {
    if written.acr.is_empty() && written.max_age.is_none() {
        findings.error_with(at, "nothing is asked for", "`acr: [gold]`, `max_age: 10m`, or both");
        return None;
    }
    if written.acr.iter().any(|acr| acr.is_empty() || acr.contains([' ', '"', '\\'])) {
        findings.error(&at.key("acr"), "an authentication context has no spaces and no quotes");
        return None;
    }
    let max_age: Option<Duration> = written.max_age.map(|period| period.0);
    Some(StepUpSettings { acr: written.acr.clone(), max_age })
}
