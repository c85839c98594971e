//! `forward.identity_token`: what is signed for whom, checked; the keys that sign, made of `sessions.keys`; and the
//! document with their public halves, at every host that has such a route.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method};

use super::findings::Findings;
use super::router::{HostPattern, Methods, Router, Segment};
use super::running::Target;
use super::settings::{AccessSettings, IdentityTokenSettings, SiteSettings};
use crate::config::ValuePath;
use crate::config::forward::IdentityToken;
use crate::jose::sign::SigningKey;
use crate::outbound;
use crate::seal::MasterKeys;

/// A scalar is none of P-256 once in four billion; then the next is taken.
const TRIES: u32 = 4;

pub(super) fn identity_token(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    (access, sites): (Option<&AccessSettings>, &[SiteSettings]),
    written: &IdentityToken,
) -> Option<IdentityTokenSettings> {
    let field = HeaderName::from_bytes(written.header.as_bytes());
    if field.is_err() {
        findings.error(&at.key("header"), format!("`{}` is no header field name", written.header));
    }
    let audience = written.audience.clone().filter(|audience| !audience.trim().is_empty());
    if audience.is_none() {
        findings.missing(at, "audience", "who the statement is for: a name that the app compares with `aud`");
    }
    let config = &findings.loaded.config;
    let public_url = config.server.public_url.clone();
    if config.sessions.keys.is_empty() {
        let hint = "`sessions: { keys: [{ env: POSTERN_SESSION_KEY }] }`, of 32 random bytes";
        findings.error_with(at, "there are no `sessions.keys`, of which the key that signs is made", hint);
    }
    let access = access?;
    if matches!(access, AccessSettings::Public) {
        findings.error(at, "a public route has no caller to tell of");
        return None;
    }
    let site = access.session().and_then(|session| sites.get(session.site));
    let issuer = site.map(|site| site.url.origin().ascii_serialization());
    let issuer = issuer.or_else(|| public_url.map(|url| url.trim_end_matches('/').to_owned()));
    if issuer.is_none() {
        let hint = "`https://api.example.com`: who checks it finds our keys there";
        findings.error_with(at, "the statement needs `server.public_url` as its issuer", hint);
    }
    Some(IdentityTokenSettings { field: field.ok()?, audience: audience?, issuer: issuer? })
}

/// The keys that sign identity tokens: the first signs, all are published, so that a key can be exchanged.
pub(super) struct IdentityKeys {
    first: Arc<SigningKey>,
    pub(super) document: Bytes,
}

impl IdentityKeys {
    pub(super) fn new(keys: &MasterKeys) -> Option<Self> {
        let made = |number: usize| {
            (0..TRIES).find_map(|attempt| {
                let secrets = keys.secrets(&format!("identity token {attempt}"));
                secrets.get(number).and_then(|secret| SigningKey::from_p256_scalar(secret).ok())
            })
        };
        let count = keys.secrets("identity token 0").len();
        let keys: Vec<SigningKey> = (0..count).filter_map(made).collect();
        let public: Vec<_> = keys.iter().map(SigningKey::public_jwk).collect();
        let document = serde_json::json!({ "keys": public }).to_string().into();
        Some(Self { document, first: Arc::new(keys.into_iter().next()?) })
    }

    pub(super) fn settings(&self, written: &IdentityTokenSettings) -> outbound::IdentityTokenSettings {
        outbound::IdentityTokenSettings {
            field: written.field.clone(),
            audience: written.audience.as_str().into(),
            issuer: written.issuer.as_str().into(),
            key: Arc::clone(&self.first),
        }
    }
}

/// Puts the address of the key set into the router, at the hosts of the routes that sign.
pub(super) fn address(router: &mut Router<Target>, prefix: &str, hosts: impl Iterator<Item = HostPattern>) {
    let path = format!("{prefix}/jwks");
    let segments: Vec<Segment> =
        path.trim_start_matches('/').split('/').map(|part| Segment::Literal(part.into())).collect();
    let mut seen: Vec<HostPattern> = Vec::new();
    for host in hosts {
        if !seen.contains(&host) {
            router.insert(&host, &segments, Methods::Only([Method::GET].into()), Target::Jwks);
            seen.push(host);
        }
    }
}
