//! `sites` and `sessions`, checked: each origin has one site, each site its own cookie, and nothing that a browser would
//! not keep to.

use std::sync::Arc;

use url::Url;

use super::findings::Findings;
use super::patterns::PathPattern;
use super::settings::{ClientSettings, CookieSettings, SessionsSettings, SiteSettings};
use super::{flows, issuers, login, server};
use crate::config::ValuePath;
use crate::config::session::Store;
use crate::config::site::{BackChannelLogout, Cookie, SameSite, Site, UnsafeRequests};
use crate::config::values::Period;
use crate::login::Flow;
use crate::seal::{MasterKey, MasterKeys};

/// Browsers demand of a cookie with this prefix that it is `Secure` and for one host and all its paths.
const HOST_PREFIX: &str = "__Host-";
/// And of one with this, that it is `Secure`.
const SECURE_PREFIX: &str = "__Secure-";

/// Checks all; the entries that are in order come out by name.
pub(super) fn sites(findings: &mut Findings<'_>, clients: &[ClientSettings]) -> Vec<SiteSettings> {
    let at = ValuePath::root().key("sites");
    let loaded = findings.loaded;
    let mut checked: Vec<SiteSettings> = Vec::new();
    for (name, written) in &loaded.config.sites {
        let at = at.key(name);
        let Some(site) = one(findings, &at, clients, (name, written)) else { continue };
        if let Some(other) = checked.iter().find(|other| other.url.origin() == site.url.origin()) {
            let message = format!("`{}` has this origin too", other.name);
            findings.error_with(
                &at.key("url"),
                message,
                "one site an origin: cookies and sign-in paths are the origin's",
            );
        } else if let Some(other) = checked.iter().find(|other| other.url.host() == site.url.host()) {
            // Requests are routed by host alone (contract, section 3), and cookies do not tell ports apart either.
            let message = format!("`{}` is on this host too, and ports do not tell sites apart", other.name);
            findings.error_with(&at.key("url"), message, "a host name of its own");
        }
        // Cookies do not tell ports apart, so names have to.
        if let Some(other) = checked.iter().find(|other| collide(&other.cookie.name, &site.cookie.name)) {
            let message = format!("the cookie `{}` would be taken for one of `{}`", site.cookie.name, other.name);
            findings.error_with(&at.key("cookie").key("name"), message, "a name that begins otherwise");
        }
        checked.push(site);
    }
    checked
}

/// The same name, or the other's with a part of ours behind a dot. Some browsers do not tell case apart in prefixes.
fn collide(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let begins =
        |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    begins(&one, &other) || begins(&other, &one)
}

fn one(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    clients: &[ClientSettings],
    (name, written): (&str, &Site),
) -> Option<SiteSettings> {
    super::name(findings, at, "a site", name);
    let url = url(findings, at, written.url.as_deref());
    let flow = flows::of(written.response_type);
    let mode = flows::mode(findings, at, flow, written);
    let sign_in = sign_in(findings, at, clients, (&written.sign_in, flow));
    let cookie = url.as_ref().and_then(|url| cookie(findings, &at.key("cookie"), (name, url), &written.cookie));
    timeouts(findings, at, written);
    let allow = paths(findings, &at.key("cross_site").key("allow"), &written.cross_site.allow);
    let preserve_post = login::preserve_post(findings, &at.key("preserve_post"), written.preserve_post);
    login::authorize(findings, &at.key("authorize"), &written.authorize);
    let brand = login::brand(findings, &at.key("pages"), name, &written.pages);
    let landings = url.as_ref().and_then(|url| {
        login::landings(findings, at, url, (&written.allowed_redirects, written.after_sign_out.as_deref()))
    });
    back_channel(findings, &at.key("back_channel_logout"), written.back_channel_logout);
    let (allowed_redirects, after_sign_out) = landings?;
    Some(SiteSettings {
        name: Arc::from(name),
        url: url?,
        sign_in: sign_in?,
        flow,
        mode: mode?,
        authorize: written.authorize.clone(),
        userinfo: written.userinfo,
        cookie: cookie?,
        idle_timeout: written.idle_timeout.0,
        absolute_timeout: written.absolute_timeout.0,
        after_sign_out,
        allowed_redirects,
        refuses_cross_site: written.cross_site.unsafe_requests == UnsafeRequests::Refuse,
        cross_site_paths: allow?,
        preserve_post: preserve_post?,
        back_channel_logout: written.back_channel_logout,
        long_lived: written.long_lived,
        brand: Arc::new(brand?),
    })
}

fn url(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&str>) -> Option<Url> {
    let Some(text) = written else {
        findings.missing(at, "url", "the origin that browsers know the site by: `https://shop.example.com`");
        return None;
    };
    let url = server::origin(findings, &at.key("url"), text)?;
    if url.scheme() == "http" && !crate::idp::fetch::is_loopback(&url) {
        let message = format!("`{text}` is http: sessions would travel in clear");
        findings.error_with(&at.key("url"), message, "https, or http on a loopback address");
        return None;
    }
    Some(url)
}

fn sign_in(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[ClientSettings],
    (written, flow): (&[String], Flow),
) -> Option<Vec<usize>> {
    if written.is_empty() {
        findings.missing(at, "sign_in", "names of entries under `clients`");
        return None;
    }
    let configured = &findings.loaded.config.clients;
    let mut found = Vec::new();
    for (index, name) in written.iter().enumerate() {
        let at = at.key("sign_in").index(index);
        let Some((number, client)) = known.iter().enumerate().find(|(_, client)| &*client.name == name.as_str()) else {
            if !configured.contains_key(name) {
                findings.unknown_name(&at, ("client", "clients"), name, configured.keys().map(String::as_str));
            }
            continue;
        };
        if found.contains(&number) {
            findings.error(&at, format!("`{name}` is there twice"));
        } else if !flows::may_use(findings, &at, client, flow) {
            // Said.
        } else if !client.scopes.iter().any(|scope| scope == "openid") {
            let message = format!("`{name}` does not ask for `openid`: the issuer would not say who signed in");
            findings.error_with(&at, message, "add `openid` to its `scopes`");
        } else {
            found.push(number);
        }
    }
    (found.len() == written.len()).then_some(found)
}

fn cookie(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    (site, url): (&str, &Url),
    written: &Cookie,
) -> Option<CookieSettings> {
    let secure = url.scheme() == "https";
    let domain = match &written.domain {
        None => None,
        Some(text) => Some(domain(findings, &at.key("domain"), url, text)?),
    };
    let name = match &written.name {
        Some(name) => name.clone(),
        None => {
            let prefix = match (&domain, secure) {
                (_, false) => "",
                (Some(_), true) => SECURE_PREFIX,
                (None, true) => HOST_PREFIX,
            };
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
            format!("{prefix}postern-{}", site.chars().map(plain).collect::<String>())
        }
    };
    let at_name = at.key("name");
    let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let problem = if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        Some(("is no name for a cookie", "letters, digits, `-`, `_` and `.`, at most 100"))
    } else if begins(HOST_PREFIX) && domain.is_some() {
        Some((
            "begins with `__Host-`, and such a cookie has no domain",
            "leave out `domain`, or name the cookie otherwise",
        ))
    } else if (begins(HOST_PREFIX) || begins(SECURE_PREFIX)) && !secure {
        Some(("needs https: browsers would not keep it on an http site", "leave the name out"))
    } else {
        None
    };
    if let Some((problem, hint)) = problem {
        findings.error_with(&at_name, format!("`{name}` {problem}"), hint);
        return None;
    }
    if written.same_site == SameSite::None && !secure {
        findings.error(&at.key("same_site"), "browsers keep `SameSite=None` cookies on https sites only");
        return None;
    }
    Some(CookieSettings { name: name.into(), same_site: written.same_site, domain, secure })
}

const LONGEST_NAME: usize = 100;

/// The site's host itself or what it ends with, at a dot; a top-level domain alone is refused by browsers.
fn domain(findings: &mut Findings<'_>, at: &ValuePath, url: &Url, text: &str) -> Option<Box<str>> {
    let wanted = text.trim_start_matches('.').to_ascii_lowercase();
    let host = url.domain().unwrap_or_default();
    let covers = host.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if wanted.contains('.') && covers {
        return Some(wanted.into());
    }
    findings.error_with(
        at,
        format!("`{text}` is no domain of {url}"),
        "the site's host, or what it ends with: `example.com`",
    );
    None
}

fn timeouts(findings: &mut Findings<'_>, at: &ValuePath, written: &Site) {
    for (key, period) in [("idle_timeout", written.idle_timeout), ("absolute_timeout", written.absolute_timeout)] {
        if period == Period::ZERO {
            findings.error_with(&at.key(key), "a session without an end can't be had", "`1h`, `12h`, `7d`");
        }
    }
    if written.idle_timeout > written.absolute_timeout {
        let message = "longer than `absolute_timeout`, which ends the session first";
        findings.warning(&at.key("idle_timeout"), message, "leave it out, or make it shorter");
    }
}

fn paths(findings: &mut Findings<'_>, at: &ValuePath, written: &[String]) -> Option<Vec<PathPattern>> {
    let mut found = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match PathPattern::parse(text, false) {
            Ok(pattern) => found.push(pattern),
            Err(error) => findings.error(&at.index(index), error.to_string()),
        }
    }
    (found.len() == written.len()).then_some(found)
}

/// A logout token reaches one process; the others learn of it through Redis alone.
fn back_channel(findings: &mut Findings<'_>, at: &ValuePath, written: BackChannelLogout) {
    if written == BackChannelLogout::Required && findings.loaded.config.sessions.redis.is_none() {
        let message = "without `sessions.redis` a logout reaches one process only";
        findings.error_with(at, message, "`auto` takes logout tokens all the same");
    }
}

/// Where sessions are kept. Keys are needed as soon as there is a site: attempts to sign in are sealed too.
pub(super) fn sessions(findings: &mut Findings<'_>) -> SessionsSettings {
    let at = ValuePath::root().key("sessions");
    let written = &findings.loaded.config.sessions;
    let mut keys: Vec<MasterKey> = Vec::new();
    for (index, key) in written.keys.iter().enumerate() {
        let at = at.key("keys").index(index);
        let Some(secret) = issuers::secret(findings, &at, key) else { continue };
        match MasterKey::parse(&secret) {
            Ok(key) if keys.iter().any(|other| other.equals(&key)) => findings.error(&at, "this key is there twice"),
            Ok(key) => keys.push(key),
            Err(error) => findings.error_with(&at, error.to_string(), "32 random bytes: `openssl rand -base64 32`"),
        }
    }
    if written.keys.is_empty() && !findings.loaded.config.sites.is_empty() {
        findings.missing(
            &at,
            "keys",
            "`[{ env: POSTERN_SESSION_KEY }]`, of 32 random bytes: `openssl rand -base64 32`",
        );
    }
    let store = match written.store {
        Store::Cookie => super::settings::SessionStore::Cookie,
        Store::Memory => super::settings::SessionStore::Memory,
        Store::Redis => super::settings::SessionStore::Redis,
    };
    if written.store == Store::Redis && written.redis.is_none() {
        findings.missing(&at, "redis", "where Redis is: `redis: { urls: [rediss://redis:6379] }`");
    }
    let redis = super::redis::redis(findings, &at.key("redis"), written.redis.as_ref());
    SessionsSettings { store, keys: MasterKeys::new(keys), redis }
}

#[cfg(test)]
mod tests;
