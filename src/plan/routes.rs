//! `routes`, checked: every name resolved, every pattern parsed, and nothing public that does not say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::findings::Findings;
use super::overlap;
use super::patterns::{HostPattern, PathPattern, PathSegment};
use super::settings::{
    AccessSettings, BearerSettings, ClientSettings, ForwardSettings, IssuerSettings, MatchSettings, RouteSettings,
    RulesSettings, SessionSettings, SiteSettings, StepUpSettings, UpstreamSettings, WaysSettings,
};
use crate::config::ValuePath;
use crate::config::issuer::Tokens;
use crate::config::route::{
    Access, AccessToken, Authorization, Bearer, ClaimRule, EncodedSlash, Forward, Match, Route, Session, StepUp, Ways,
};
use crate::policy::Program;

/// Fields that a claim may not fill: they frame or route the request, or Postern sets them itself.
const RESERVED: &[&str] = &[
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// What routes refer to.
pub(super) struct Known<'a> {
    pub issuers: &'a [IssuerSettings],
    pub clients: &'a [ClientSettings],
    pub sites: &'a [SiteSettings],
    pub upstreams: &'a [UpstreamSettings],
}

/// Checks all; what comes out is complete only if the report has no error.
pub(super) fn routes(findings: &mut Findings<'_>, known: &Known<'_>) -> Vec<RouteSettings> {
    let at = ValuePath::root().key("routes");
    let loaded = findings.loaded;
    let written = &loaded.config.routes;
    if written.is_empty() {
        findings.missing(&ValuePath::root(), "routes", "nothing would be served");
    }
    names(findings, &at, written);
    let mut checked = Vec::new();
    let mut matches = Vec::new();
    for (index, route) in written.iter().enumerate() {
        let at = at.index(index);
        let name: Arc<str> = name_of(index, route).into();
        let mut matching = matching(findings, &at, &route.matching);
        if let (Some(matching), Some(Access::Ways(ways))) = (&mut matching, &route.access)
            && let Some(session) = &ways.session
        {
            site_hosts(findings, &at, known.sites, session, matching);
        }
        if let Some(matching) = &matching {
            matches.push((index, Arc::clone(&name), matching.clone()));
        }
        checked.extend(one(findings, &at, known, (index, name, matching), route));
    }
    overlap::check(findings, &at, &matches);
    unused(findings, known, &checked);
    checked
}

fn name_of(index: usize, route: &Route) -> String {
    route.name.clone().unwrap_or_else(|| format!("route-{}", index + 1))
}

fn names(findings: &mut Findings<'_>, at: &ValuePath, written: &[Route]) {
    for (index, route) in written.iter().enumerate() {
        let name = name_of(index, route);
        super::name(findings, &at.index(index).key("name"), "a route", &name);
        if written.iter().take(index).enumerate().any(|(other, route)| name_of(other, route) == name) {
            let message = format!("another route is called `{name}`");
            findings.error_with(&at.index(index).key("name"), message, "logs and metrics tell routes apart by name");
        }
    }
}

fn one(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    head: (usize, Arc<str>, Option<MatchSettings>),
    written: &Route,
) -> Option<RouteSettings> {
    let (index, name, matching) = head;
    let upstream = upstream(findings, at, known.upstreams, written.upstream.as_deref());
    let access = access(findings, at, known, written.access.as_ref());
    let forward = forward(findings, &at.key("forward"), matching.as_ref(), &written.forward);
    if written.forward.access_token != AccessToken::Off
        && access.as_ref().is_some_and(|access| access.session().is_none())
    {
        let hint = "for callers with a token of their own there is `authorization: keep`";
        let message = "only a session has an access token to pass on, and this route takes none";
        findings.error_with(&at.key("forward").key("access_token"), message, hint);
    }
    if matches!(access, Some(AccessSettings::Public)) && written.forward.authorization == Authorization::Keep {
        let message = "a public route passes unchecked credentials up";
        findings.warning(
            &at.key("forward").key("authorization"),
            message,
            "right only if the upstream checks them itself",
        );
    }
    Some(RouteSettings {
        index,
        name,
        matching: matching?,
        upstream: upstream?,
        access: access?,
        forward: forward?,
        preflight: written.preflight,
        response_header: written.timeouts.response_header.map(|period| period.0),
    })
}

fn matching(findings: &mut Findings<'_>, at: &ValuePath, written: &Match) -> Option<MatchSettings> {
    let at_match = at.key("match");
    let mut hosts = Vec::new();
    for (index, text) in written.hosts.iter().enumerate() {
        match HostPattern::parse(text) {
            Ok(host) => {
                if !hosts.contains(&host) {
                    hosts.push(host);
                }
            }
            Err(error) => findings.error(&at_match.key("hosts").index(index), format!("`{text}`: {error}")),
        }
    }
    let methods = methods(findings, &at_match.key("methods"), &written.methods);
    let Some(text) = &written.path else {
        let inside = if findings.loaded.places.is_written(&at_match) { &at_match } else { at };
        let key = if inside == at { "match" } else { "path" };
        findings.missing(inside, key, "`path: /**` takes every path");
        return None;
    };
    let path = PathPattern::parse(text, written.encoded_slash == EncodedSlash::Keep)
        .map_err(|error| findings.error(&at_match.key("path"), error.to_string()))
        .ok()?;
    let complete =
        hosts.len() <= written.hosts.len() && written.hosts.iter().all(|text| HostPattern::parse(text).is_ok());
    complete.then_some(MatchSettings { hosts, path, methods: methods?, encoded_slash: written.encoded_slash })
}

fn methods(findings: &mut Findings<'_>, at: &ValuePath, written: &[String]) -> Option<Vec<Method>> {
    let mut methods = Vec::new();
    let mut complete = true;
    for (index, text) in written.iter().enumerate() {
        let problem = match Method::from_bytes(text.as_bytes()) {
            Err(_) => Some(("is no method".to_owned(), "`GET`, `POST` and so on".to_owned())),
            Ok(Method::CONNECT | Method::TRACE) => {
                Some(("is refused on every route".to_owned(), "CONNECT and TRACE are answered 405".to_owned()))
            }
            Ok(_) if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                let hint = format!("methods are told apart by case: `{}`?", text.to_ascii_uppercase());
                Some(("has lower-case letters".to_owned(), hint))
            }
            Ok(method) => {
                if !methods.contains(&method) {
                    methods.push(method);
                }
                None
            }
        };
        if let Some((problem, hint)) = problem {
            complete = false;
            findings.error_with(&at.index(index), format!("`{text}` {problem}"), hint);
        }
    }
    complete.then_some(methods)
}

fn upstream(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[UpstreamSettings],
    written: Option<&str>,
) -> Option<usize> {
    let Some(name) = written else {
        findings.missing(at, "upstream", "the name of an entry under `upstreams`");
        return None;
    };
    let found = known.iter().position(|upstream| &*upstream.name == name);
    let configured = &findings.loaded.config.upstreams;
    if found.is_none() && !configured.contains_key(name) {
        let names = configured.keys().map(String::as_str);
        findings.unknown_name(&at.key("upstream"), ("upstream", "upstreams"), name, names);
    }
    found
}

fn access(
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
    if written.bearer.is_none() && written.session.is_none() {
        findings.error_with(at, "nothing says who may pass", needed);
        return None;
    }
    let bearer = written.bearer.as_ref().map(|bearer| self::bearer(findings, &at.key("bearer"), known, bearer));
    let session = written.session.as_ref().map(|session| self::session(findings, &at.key("session"), known, session));
    // Both were looked at before either is given up.
    Some(AccessSettings::Ways(Box::new(WaysSettings {
        bearer: bearer.map_or(Some(None), |bearer| bearer.map(Some))?,
        session: session.map_or(Some(None), |session| session.map(Some))?,
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
fn site_hosts(
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

fn forward(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    matching: Option<&MatchSettings>,
    written: &Forward,
) -> Option<ForwardSettings> {
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    for (text, claim) in &written.headers {
        let at = at.key("headers").key(text);
        match HeaderName::from_bytes(text.as_bytes()) {
            Err(_) => findings.error(&at, format!("`{text}` is no header field name")),
            Ok(name) if RESERVED.contains(&name.as_str()) => {
                findings.error(
                    &at,
                    format!(
                        "`{text}` frames or routes the request, or is set by Postern itself: a claim can't fill it"
                    ),
                );
            }
            Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                findings.error(&at, format!("`{text}` is filled twice"))
            }
            Ok(_) if claim.trim().is_empty() => findings.error(&at, "the claim is empty"),
            Ok(name) => headers.push((name, claim.clone())),
        }
    }
    let strip = written.strip_prefix.as_deref().map(|text| prefix(findings, &at.key("strip_prefix"), text));
    let add = written.add_prefix.as_deref().map(|text| prefix(findings, &at.key("add_prefix"), text));
    if let (Some(Some(strip)), Some(matching)) = (&strip, matching)
        && !starts_with(&matching.path, strip)
    {
        let message = format!("`{}` does not start with `{strip}`, so nothing may be stripped", matching.path);
        findings.warning(&at.key("strip_prefix"), message, "paths without the prefix go up as they are");
    }
    (headers.len() == written.headers.len()).then_some(())?;
    Some(ForwardSettings {
        authorization: written.authorization,
        headers,
        access_token: written.access_token,
        strip_prefix: strip.map_or(Some(None), |prefix| prefix.map(Some))?,
        add_prefix: add.map_or(Some(None), |prefix| prefix.map(Some))?,
        request_trailers: written.request_trailers,
    })
}

/// Whole literal segments, `/api/v1`, in normal form.
fn prefix(findings: &mut Findings<'_>, at: &ValuePath, text: &str) -> Option<String> {
    let pattern = PathPattern::parse(text, false).map_err(|error| findings.error(at, error.to_string())).ok()?;
    let whole = |segment: &PathSegment| matches!(segment, PathSegment::Literal(text) if !text.is_empty());
    if !pattern.segments().iter().all(whole) {
        findings.error_with(at, format!("`{text}` is no prefix"), "plain segments without a slash at the end: `/api`");
        return None;
    }
    Some(pattern.to_string())
}

fn starts_with(path: &PathPattern, prefix: &str) -> bool {
    let path = path.to_string();
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An issuer that no route names holds up readiness for nothing; an upstream that no route names is a leftover.
fn unused(findings: &mut Findings<'_>, known: &Known<'_>, routes: &[RouteSettings]) {
    if findings.report.has_errors() {
        return;
    }
    for (index, issuer) in known.issuers.iter().enumerate() {
        let takes = |route: &RouteSettings| route.access.bearer().is_some_and(|bearer| bearer.issuers.contains(&index));
        let signs_in = known.clients.iter().any(|client| client.issuer == index);
        if !signs_in && !routes.iter().any(takes) {
            let at = ValuePath::root().key("issuers").key(&issuer.name);
            findings.warning(
                &at,
                "no route takes tokens of this issuer",
                "name it in a route's `access.bearer.issuers`",
            );
        }
    }
    for (index, site) in known.sites.iter().enumerate() {
        if !routes.iter().any(|route| route.access.session().is_some_and(|session| session.site == index)) {
            let at = ValuePath::root().key("sites").key(&site.name);
            findings.warning(
                &at,
                "no route asks for a session of this site",
                "name it in a route's `access.session.site`",
            );
        }
    }
    for (index, upstream) in known.upstreams.iter().enumerate() {
        if !routes.iter().any(|route| route.upstream == index) {
            let at = ValuePath::root().key("upstreams").key(&upstream.name);
            findings.warning(&at, "no route goes to this upstream", "name it in a route's `upstream`");
        }
    }
}
