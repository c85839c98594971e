//! `sessions.redis`, checked: addresses of one kind, a master where there are sentinels, no password in the open.

use std::time::Duration;

use url::Url;

use super::findings::Findings;
use super::{files, issuers};
use crate::config::ValuePath;
use crate::config::issuer::ClientTls;
use crate::config::redis::{Mode, Redis};
use crate::idp::fetch::is_loopback;
use crate::kv::{RedisAddress, RedisMode, RedisSettings, RedisTls};

/// A command that takes longer holds requests up for longer than their clients wait.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

const LONGEST_PREFIX: usize = 64;

/// `None` when there is none, or when it is not in order.
pub(super) fn redis(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&Redis>) -> Option<RedisSettings> {
    let written = written?;
    if !cfg!(feature = "redis") {
        findings.error(at, "this Postern was built without Redis (the cargo feature `redis`)");
        return None;
    }
    let before = findings.report.errors();
    let addresses = addresses(findings, at, written);
    let mode = mode(findings, at, written);
    let password = written.password.as_ref().map(|secret| issuers::secret(findings, &at.key("password"), secret));
    if written.username.is_some() && written.password.is_none() {
        findings.missing(at, "password", "a user name alone opens nothing");
    }
    let tls = tls(findings, &at.key("tls"), written.tls.as_ref(), &addresses);
    prefix(findings, &at.key("prefix"), &written.prefix);
    if written.timeout.0.is_zero() || written.timeout.0 > LONGEST_TIMEOUT {
        let message = format!("{} is no wait for Redis", written.timeout);
        findings.error_with(&at.key("timeout"), message, "more than 0s, at most 10s: requests wait for it");
    }
    (findings.report.errors() == before).then(|| RedisSettings {
        addresses,
        mode,
        username: written.username.clone(),
        password: password.flatten(),
        tls,
        prefix: written.prefix.clone(),
        timeout: written.timeout.0,
    })
}

fn addresses(findings: &mut Findings<'_>, at: &ValuePath, written: &Redis) -> Vec<RedisAddress> {
    if written.urls.is_empty() {
        findings.missing(at, "urls", "such as `[rediss://redis:6379]`");
    }
    let at = at.key("urls");
    let mut found: Vec<RedisAddress> = Vec::new();
    for (index, text) in written.urls.iter().enumerate() {
        let at = at.index(index);
        let Some(address) = address(findings, &at, text, written.mode) else { continue };
        if found.first().is_some_and(|first| first.tls != address.tls) {
            findings.error_with(&at, "some are `redis://` and some `rediss://`", "all with TLS, or none");
        }
        if found.first().is_some_and(|first| first.database != address.database) {
            findings.error(&at, "another database than that of the first address");
        }
        found.push(address);
    }
    if written.mode == Mode::Single && written.urls.len() > 1 {
        let hint = "`mode: sentinel` or `mode: cluster`; servers that know nothing of each other share no sessions";
        findings.error_with(&at.index(1), "a single server has one address", hint);
    }
    found
}

fn address(findings: &mut Findings<'_>, at: &ValuePath, text: &str, mode: Mode) -> Option<RedisAddress> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss"));
    let host = url.as_ref().and_then(Url::host_str).filter(|host| !host.is_empty());
    let (Some(url), Some(host)) = (&url, host) else {
        findings.error_with(at, format!("`{text}` is no address of a Redis"), "`rediss://redis:6379`");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        findings.error_with(at, "a URL here holds no user name and no password", "`username:` and `password:`");
        return None;
    }
    let database = match url.path() {
        "" | "/" => Some(0),
        path => path.strip_prefix('/').and_then(|number| number.parse::<u16>().ok()),
    };
    let Some(database) = database.filter(|_| url.query().is_none() && url.fragment().is_none()) else {
        findings.error_with(at, format!("`{text}` has more than host, port and database"), "`rediss://redis:6379/0`");
        return None;
    };
    if mode == Mode::Cluster && database != 0 {
        findings.error(at, "a cluster has no databases but the first");
        return None;
    }
    let tls = url.scheme() == "rediss";
    // The scheme is not one that the URL standard knows, so its hosts are not parsed; http's are.
    let is_near = Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback(&url));
    if !tls && !is_near {
        let message = "without TLS the password and the times of sign-ins travel in clear";
        findings.warning(at, message, "`rediss://`");
    }
    let port = url.port().unwrap_or(if mode == Mode::Sentinel { 26379 } else { 6379 });
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some(RedisAddress { host, port, tls, database: database.into() })
}

fn mode(findings: &mut Findings<'_>, at: &ValuePath, written: &Redis) -> RedisMode {
    let is_sentinel = written.mode == Mode::Sentinel;
    let given = [
        ("master_name", written.master_name.is_some()),
        ("sentinel_username", written.sentinel_username.is_some()),
        ("sentinel_password", written.sentinel_password.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given && !is_sentinel) {
        findings.error_with(&at.key(key), "there are no sentinels", "`mode: sentinel`, or leave it out");
    }
    let password = written.sentinel_password.as_ref();
    let password = password.and_then(|secret| issuers::secret(findings, &at.key("sentinel_password"), secret));
    match written.mode {
        Mode::Single => RedisMode::Single,
        Mode::Cluster => RedisMode::Cluster,
        Mode::Sentinel => {
            let master = written.master_name.clone().unwrap_or_default();
            if master.is_empty() {
                findings.missing(at, "master_name", "what the sentinels call the master: `sentinel monitor NAME …`");
            }
            RedisMode::Sentinel { master, username: written.sentinel_username.clone(), password }
        }
    }
}

fn tls(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: Option<&ClientTls>,
    addresses: &[RedisAddress],
) -> RedisTls {
    let Some(ClientTls { ca, certificate, private_key }) = written else { return RedisTls::default() };
    if !addresses.is_empty() && !addresses.iter().any(|address| address.tls) {
        findings.error_with(at, "no address speaks TLS", "`rediss://`");
    }
    let ca = ca.as_ref().and_then(|file| files::certificates(findings, &at.key("ca"), file));
    let identity = files::identity(findings, at, (certificate.as_deref(), private_key.as_deref()));
    RedisTls { ca, identity: identity.map(|pair| (pair.certificate, pair.private_key)) }
}

fn prefix(findings: &mut Findings<'_>, at: &ValuePath, text: &str) {
    // Braces decide about slots of a cluster; the others mean something in patterns of keys, as an ACL has them.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*?[]\\".contains(&byte));
    if !is_plain || text.len() > LONGEST_PREFIX {
        let message = format!("`{text}` is no prefix for names of records");
        findings.error_with(at, message, "letters, digits, `:`, `-`, `_`, `.`, at most 64");
    }
}

#[cfg(test)]
mod tests;
