//! `routes`, checked: every name resolved, every pattern parsed, and nothing public that does not say so.

use std::sync::Arc;

use http::{HeaderName, Method};

use super::access::{self, access};
use super::findings::Findings;
use super::identity;
use super::overlap;
use super::patterns::{HostPattern, PathPattern, PathSegment};
use super::settings::{
    AccessSettings, ClientSettings, ForwardSettings, IssuerSettings, MatchSettings, RouteSettings, SiteSettings,
    UpstreamSettings,
};
use super::upstream_tokens;
use crate::config::ValuePath;
use crate::config::forward::{AccessToken, Forward};
use crate::config::route::{Access, EncodedSlash, Match, Route};

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
            access::site_hosts(findings, &at, known.sites, session, matching);
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
    let about = About { matching: matching.as_ref(), access: access.as_ref(), known };
    let forward = forward(findings, &at.key("forward"), &about, &written.forward);
    if written.forward.access_token != AccessToken::Off
        && access.as_ref().is_some_and(|access| access.session().is_none() && access.basic().is_none())
    {
        let hint = "for callers with a token of their own there is `authorization: keep`";
        let message = "only a session has an access token to pass on, and this route takes none";
        findings.error_with(&at.key("forward").key("access_token"), message, hint);
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

/// What a route's `forward` is judged beside.
struct About<'a> {
    matching: Option<&'a MatchSettings>,
    access: Option<&'a AccessSettings>,
    known: &'a Known<'a>,
}

fn forward(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    about: &About<'_>,
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
    let identity_token = written.identity_token.as_ref().map(|token| {
        identity::identity_token(findings, &at.key("identity_token"), (about.access, about.known.sites), token)
    });
    if let (Some(Some(strip)), Some(matching)) = (&strip, about.matching)
        && !starts_with(&matching.path, strip)
    {
        let message = format!("`{}` does not start with `{strip}`, so nothing may be stripped", matching.path);
        findings.warning(&at.key("strip_prefix"), message, "paths without the prefix go up as they are");
    }
    let authorization = upstream_tokens::authorization(findings, at, (about.known, about.access), written);
    (headers.len() == written.headers.len()).then_some(())?;
    Some(ForwardSettings {
        authorization: authorization?,
        headers,
        access_token: written.access_token,
        identity_token: identity_token.map_or(Some(None), |token| token.map(Some))?,
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
