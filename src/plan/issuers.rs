//! `issuers`, checked: an identifier that tokens can be compared with, keys that can be had, and a warning for each
//! setting that believes more than it should.

use std::sync::Arc;

use url::Url;

use super::files;
use super::findings::Findings;
use super::settings::{Endpoints, IssuerSettings, KeySource, TlsFiles};
use crate::config::ValuePath;
use crate::config::issuer::{self as config, Audiences, ClientTls, Issuer, Jwks, MAX_CLOCK_SKEW};
use crate::config::route::{Access, Route};
use crate::config::secret::SecretRef;
use crate::config::values::Period;
use crate::idp::fetch::is_loopback;
use crate::seal::Secret;

/// Checks all; the entries that are in order come out by name.
pub(super) fn issuers(findings: &mut Findings<'_>) -> Vec<IssuerSettings> {
    let at = ValuePath::root().key("issuers");
    let loaded = findings.loaded;
    loaded.config.issuers.iter().filter_map(|(name, issuer)| one(findings, &at.key(name), name, issuer)).collect()
}

fn one(findings: &mut Findings<'_>, at: &ValuePath, name: &str, written: &Issuer) -> Option<IssuerSettings> {
    super::name(findings, at, "an issuer", name);
    let issuer = identifier(findings, at, written);
    // An issuer at which people sign in, and whose access tokens no route takes, needs none: there is none to be judged.
    let audiences = match &written.audiences {
        None if only_signs_in(findings, name) => Some(Some(Vec::new())),
        written => audiences(findings, at, written.as_ref()),
    };
    if written.algorithms.is_empty() {
        findings.error_with(&at.key("algorithms"), "no algorithm is left", "leave it out for all asymmetric ones");
    }
    if written.clock_skew > MAX_CLOCK_SKEW {
        findings.error_with(
            &at.key("clock_skew"),
            format!("{} is more than {MAX_CLOCK_SKEW}", written.clock_skew),
            "expired tokens would live on; set the clocks instead",
        );
    }
    if written.accept_id_tokens {
        let message = "ID tokens are meant for a client, not for an API: whoever holds one could call";
        findings.warning(&at.key("accept_id_tokens"), message, "ask the issuer for access tokens");
    }
    let keys = keys(findings, &at.key("jwks"), &written.jwks, written.allow_http);
    let endpoints = endpoints(findings, &at.key("endpoints"), written);
    let tls = tls(findings, &at.key("tls"), written.tls.as_ref());
    Some(IssuerSettings {
        name: name.into(),
        issuer: issuer?,
        audiences: audiences?,
        algorithms: written.algorithms.clone(),
        token_type: written.token_type,
        tokens: written.tokens,
        introspect_jwts: written.introspect_jwts,
        // Filled in once the clients are known.
        introspection: None,
        accept_id_tokens: written.accept_id_tokens,
        clock_skew: written.clock_skew.0,
        allow_http: written.allow_http,
        keys: keys?,
        endpoints,
        refresh: written.jwks.refresh.0,
        cooldown: written.jwks.cooldown.0,
        max_stale: written.jwks.max_stale.0,
        tls,
    })
}

fn identifier(findings: &mut Findings<'_>, at: &ValuePath, written: &Issuer) -> Option<Arc<str>> {
    let Some(text) = &written.issuer else {
        findings.missing(at, "issuer", "the `iss` of its tokens, such as `https://login.example.com/realms/corp`");
        return None;
    };
    let at = at.key("issuer");
    let url = web_address(findings, &at, text, written.allow_http)?;
    if url.query().is_some() || url.fragment().is_some() {
        findings.error(&at, "an issuer has no query and no fragment (RFC 8414 section 2)");
        return None;
    }
    Some(text.as_str().into())
}

fn endpoints(findings: &mut Findings<'_>, at: &ValuePath, written: &Issuer) -> Endpoints {
    let config::Endpoints { authorization, token, introspection, revocation, userinfo, end_session, par } =
        &written.endpoints;
    let mut of = |key: &str, text: &Option<String>| {
        let at = at.key(key);
        let url = web_address(findings, &at, text.as_deref()?, written.allow_http)?;
        if url.fragment().is_some() {
            findings.error(&at, "an endpoint has no fragment (RFC 6749 section 3.1)");
            return None;
        }
        Some(url)
    };
    Endpoints {
        authorization: of("authorization", authorization),
        token: of("token", token),
        introspection: of("introspection", introspection),
        revocation: of("revocation", revocation),
        userinfo: of("userinfo", userinfo),
        end_session: of("end_session", end_session),
        par: of("par", par),
    }
}

/// https anywhere, http on loopback, and http elsewhere only where it was asked for.
fn web_address(findings: &mut Findings<'_>, at: &ValuePath, text: &str, allow_http: bool) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        findings.error_with(at, format!("`{text}` is no https URL"), "`https://login.example.com`");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        findings.error(at, "a URL here holds no user name and no password");
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let why = "whoever sits on the way could hand out keys of their own";
        if !allow_http {
            findings.error_with(
                at,
                format!("http is accepted on loopback only: {why}"),
                "use https, or set `allow_http: true`",
            );
            return None;
        }
        findings.warning(at, format!("http without TLS: {why}"), "use https");
    }
    Some(url)
}

/// `Some(None)` is any audience.
fn only_signs_in(findings: &Findings<'_>, issuer: &str) -> bool {
    let config = &findings.loaded.config;
    let takes = |route: &Route| match &route.access {
        Some(Access::Ways(ways)) => {
            let client = ways.basic.as_ref().and_then(|basic| config.clients.get(basic.client.as_ref()?));
            ways.bearer.as_ref().is_some_and(|bearer| bearer.issuers.iter().any(|name| name == issuer))
                || client.is_some_and(|client| client.issuer.as_deref() == Some(issuer))
        }
        _ => false,
    };
    config.clients.values().any(|client| client.issuer.as_deref() == Some(issuer)) && !config.routes.iter().any(takes)
}

fn audiences(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&Audiences>) -> Option<Option<Vec<String>>> {
    let key = at.key("audiences");
    match written {
        None => {
            findings.missing(
                at,
                "audiences",
                "what `aud` must hold, such as `[orders-api]`; `any` accepts every token of the issuer",
            );
            None
        }
        Some(Audiences::Any) => {
            let message = "`aud` is not looked at: a token that was issued for another API passes here too";
            findings.warning(&key, message, "name this API's audience");
            Some(None)
        }
        Some(Audiences::OneOf(audiences)) if audiences.is_empty() => {
            findings.error_with(&key, "no audience is named", "`[orders-api]`, or `any`");
            None
        }
        Some(Audiences::OneOf(audiences)) => {
            if let Some(index) = audiences.iter().position(|audience| audience.trim().is_empty()) {
                findings.error(&key.index(index), "an audience is empty");
                return None;
            }
            Some(Some(audiences.clone()))
        }
    }
}

fn keys(findings: &mut Findings<'_>, at: &ValuePath, written: &Jwks, allow_http: bool) -> Option<KeySource> {
    for (key, period) in
        [("refresh", written.refresh), ("cooldown", written.cooldown), ("max_stale", written.max_stale)]
    {
        if period == Period::ZERO {
            findings.error(&at.key(key), "must be longer than 0s");
        }
    }
    if written.max_stale < written.refresh {
        let message = format!(
            "keys would be too old ({}) before they are fetched anew (`refresh: {}`)",
            written.max_stale, written.refresh
        );
        findings.error(&at.key("max_stale"), message);
    }
    let token = written.token.as_ref().map(|token| secret(findings, &at.key("token"), token));
    match (&written.url, &written.file) {
        (Some(_), Some(_)) => {
            findings.error_with(
                &at.key("file"),
                "keys come from `url` or from `file`, not from both",
                "keep one of them",
            );
            None
        }
        (Some(url), None) => {
            let url = web_address(findings, &at.key("url"), url, allow_http)?;
            Some(KeySource::Url { url, token: token.flatten() })
        }
        (None, _) if written.token.is_some() => {
            findings.error_with(
                &at.key("token"),
                "a token is sent to `url` only",
                "add `url`, the address of the key set",
            );
            None
        }
        (None, Some(file)) => key_file(findings, &at.key("file"), file).map(KeySource::File),
        (None, None) => Some(KeySource::Discovery),
    }
}

/// The file is looked at now, so that a missing one has a place; the issuer reads it again when it loads its keys.
fn key_file(findings: &mut Findings<'_>, at: &ValuePath, written: &std::path::Path) -> Option<std::path::PathBuf> {
    let file = findings.file(written);
    match std::fs::read(&file).map(|text| serde_json::from_slice::<serde_json::Value>(&text)) {
        Err(error) => findings.error(at, format!("cannot read {}: {error}", file.display())),
        Ok(Err(error)) => findings.error(at, format!("{} is not JSON: {error}", file.display())),
        Ok(Ok(set)) if set.get("keys").and_then(|keys| keys.as_array()).is_none_or(Vec::is_empty) => {
            findings.error_with(
                at,
                format!("{} holds no keys", file.display()),
                "a JWK Set: `{\"keys\": […]}` (RFC 7517)",
            );
        }
        Ok(Ok(_)) => return Some(file),
    }
    None
}

/// Reads a secret now, and warns of one that stands in the file itself.
pub(super) fn secret(findings: &mut Findings<'_>, at: &ValuePath, written: &SecretRef) -> Option<Secret> {
    if let SecretRef::Literal(_) = written {
        let message = "a secret stands here in the open";
        findings.warning(at, message, "`{ env: NAME }` or `{ file: PATH }`");
    }
    match written.read(&findings.loaded.folder, &findings.loaded.environment) {
        Ok(secret) => Some(secret),
        Err(error) => {
            findings.error(at, error.to_string());
            None
        }
    }
}

fn tls(findings: &mut Findings<'_>, at: &ValuePath, written: Option<&ClientTls>) -> Option<TlsFiles> {
    let ClientTls { ca, certificate, private_key } = written?;
    let ca = ca.as_ref().and_then(|file| files::certificates(findings, &at.key("ca"), file));
    let identity = files::identity(findings, at, (certificate.as_deref(), private_key.as_deref()));
    Some(TlsFiles { ca, identity, server_name: None })
}
