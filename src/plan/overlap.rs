//! Routes against each other. Comes in: what each route matches. Goes out: an error for two that could take the same
//! request with equal right, and a warning where one keeps requests from another.

use std::sync::Arc;

use http::Method;

use super::findings::Findings;
use super::patterns::HostPattern;
use super::settings::MatchSettings;
use crate::config::ValuePath;

type Named = (usize, Arc<str>, MatchSettings);

pub(super) fn check(findings: &mut Findings<'_>, at: &ValuePath, routes: &[Named]) {
    for (later, one) in routes.iter().enumerate() {
        for other in routes.iter().take(later) {
            tie(findings, at, one, other);
        }
        for other in routes.iter().filter(|other| other.0 != one.0) {
            shadow(findings, at, one, other);
        }
    }
}

fn tie(findings: &mut Findings<'_>, at: &ValuePath, one: &Named, other: &Named) {
    let (index, _, mine) = one;
    let (_, other_name, theirs) = other;
    if !same_hosts(&mine.hosts, &theirs.hosts) || !mine.path.same_shape(&theirs.path) {
        return;
    }
    if let Some(method) = shared_method(&mine.methods, &theirs.methods) {
        let message = format!("`{other_name}` takes {method} {} as well, with equal right", mine.path);
        findings.error_with(&at.index(*index).key("match"), message, "give them different hosts, paths or methods");
    }
}

/// A request goes to the best pattern, and a method that this pattern lacks is 405, never a less specific path. So a
/// narrow pattern for GET keeps a POST from the wide pattern that was meant for it.
fn shadow(findings: &mut Findings<'_>, at: &ValuePath, wide: &Named, narrow: &Named) {
    let (_, narrow_name, narrow) = narrow;
    let (index, _, wide) = wide;
    let apart = !wide.methods.is_empty()
        && !narrow.methods.is_empty()
        && shared_method(&wide.methods, &narrow.methods).is_none();
    let wider = wide.path.covers(&narrow.path) && !wide.path.same_shape(&narrow.path);
    if apart && wider && same_hosts(&wide.hosts, &narrow.hosts) {
        let methods: Vec<&str> = wide.methods.iter().map(Method::as_str).collect();
        let message = format!(
            "{} on {} never comes here: `{narrow_name}` takes that path, so it is answered 405",
            methods.join(", "),
            narrow.path
        );
        findings.warning(
            &at.index(*index).key("match"),
            message,
            format!("add a route for {} with these methods", narrow.path),
        );
    }
}

/// Whether a host is named by both, in the same form.
fn same_hosts(a: &[HostPattern], b: &[HostPattern]) -> bool {
    if a.is_empty() || b.is_empty() { a.is_empty() && b.is_empty() } else { a.iter().any(|host| b.contains(host)) }
}

/// A method that both take; an empty list takes all, and GET takes HEAD.
fn shared_method(a: &[Method], b: &[Method]) -> Option<Method> {
    match (a.first(), b.first()) {
        (None, None) => Some(Method::GET),
        (None, Some(method)) | (Some(method), None) => Some(method.clone()),
        _ => a.iter().find(|method| takes(b, method)).or_else(|| b.iter().find(|method| takes(a, method))).cloned(),
    }
}

fn takes(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}
