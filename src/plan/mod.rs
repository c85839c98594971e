//! From what was written to what runs. Comes in: a loaded configuration. Goes out: [`Checked`], the same in parsed types
//! with every name resolved, or a report of all mistakes at once.
//!
//! [`check`] is pure apart from reading the files that the configuration names (secrets, certificates, key sets): it
//! connects to nothing and asks no clock.

mod access;
mod admin;
mod build;
mod clients;
pub mod compile;
mod credentials;
mod describe;
mod files;
mod findings;
mod flows;
mod grants;
mod identity;
mod introspection;
mod issuers;
mod login;
mod overlap;
mod passwords;
pub mod patterns;
mod redis;
pub mod router;
mod routes;
pub mod running;
mod server;
pub mod settings;
mod sites;
mod trust;
mod upstream_tokens;
mod upstreams;

pub use patterns::{HostPattern, PathPattern, PathSegment};
pub use settings::Checked;

use crate::config::{Loaded, Report, ValuePath};
use findings::Findings;

/// Checks everything and gathers all findings, those of reading included.
///
/// # Errors
/// The [`Report`], when it has at least one error.
pub fn check(loaded: &Loaded) -> Result<Checked, Report> {
    let mut findings = Findings::new(loaded);
    let server = server::server(&mut findings);
    let admin = admin::admin(&mut findings, server.as_ref());
    let telemetry = server::telemetry(&findings);
    let mut issuers = issuers::issuers(&mut findings);
    let clients = clients::clients(&mut findings, &issuers);
    let sites = sites::sites(&mut findings, &clients);
    let sessions = sites::sessions(&mut findings);
    introspection::fill_in(&mut findings, &mut issuers, &clients);
    let upstreams = upstreams::upstreams(&mut findings);
    let known = routes::Known { issuers: &issuers, clients: &clients, sites: &sites, upstreams: &upstreams };
    let routes = routes::routes(&mut findings, &known);
    let mut report = findings.report;
    report.sort();
    match (server, admin) {
        (Some(server), Some(admin)) if !report.has_errors() => Ok(Checked {
            server,
            admin,
            telemetry,
            issuers,
            clients,
            sites,
            sessions,
            upstreams,
            routes,
            warnings: report,
        }),
        _ => Err(report),
    }
}

/// Names appear in logs, metrics and in variables.
fn name(findings: &mut Findings<'_>, at: &ValuePath, what: &str, name: &str) {
    const LONGEST: usize = 100;
    let plain = name.chars().all(|c| c.is_alphanumeric() || "-_.:/ ".contains(c));
    if name.trim().is_empty() || !plain || name.chars().count() > LONGEST {
        let message = format!("`{name}` is no name for {what}");
        findings.error_with(at, message, "letters, digits, `-`, `_`, `.`, at most 100");
    }
}

#[cfg(test)]
mod tests;
