//! A signed statement of who the caller is, for apps that do not take a header's word for it. Comes in: a caller. Goes out:
//! a JWT of ours (RFC 7519, ES256) that lives for minutes, for one audience; who checks it finds the key at `jwks`.
//!
//! It holds what the issuer said of the person, without what belongs to its own token. It is made once for some minutes
//! and kept with the caller.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::caller::{Caller, Claims, Signed};
use crate::clock::Time;
use crate::jose::sign::SigningKey;

/// How long a statement is good.
const LIFETIME: Duration = Duration::from_secs(300);

/// And how long before that a new one is made.
const MARGIN: Duration = Duration::from_secs(60);

/// A longer one goes without the claims that need not be there: it has to fit into a header field. Bytes.
const LONGEST: usize = 7 * 1024;

/// Claims of the issuer's own token: they say nothing of the person, or would say it of the wrong token.
const NOT_CARRIED: [&str; 16] = [
    "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "nonce", "at_hash", "c_hash", "s_hash", "sid", "typ",
    "cnf", "scope",
];

/// How identity tokens of a route are made.
#[derive(Clone, Debug)]
pub struct IdentityTokenSettings {
    pub field: HeaderName,
    pub audience: Box<str>,
    /// `iss`: the origin at which our keys are found.
    pub issuer: Box<str>,
    pub key: Arc<SigningKey>,
}

#[derive(Debug)]
pub(super) struct IdentityToken {
    settings: IdentityTokenSettings,
    /// The same for equal statements: callers keep theirs under it.
    id: u64,
}

impl IdentityToken {
    pub(super) fn new(settings: IdentityTokenSettings) -> Self {
        let mut hasher = DefaultHasher::new();
        (&settings.audience, &settings.issuer, settings.key.kid()).hash(&mut hasher);
        Self { id: hasher.finish(), settings }
    }

    pub(super) const fn field(&self) -> &HeaderName {
        &self.settings.field
    }

    pub(super) fn audience(&self) -> &str {
        &self.settings.audience
    }

    pub(super) fn set(&self, headers: &mut HeaderMap, caller: &Caller, now: Time) {
        if let Some(value) = caller.signed(self.id, now, |caller| self.make(caller, now)) {
            headers.insert(self.settings.field.clone(), value);
        }
    }

    fn make(&self, caller: &Caller, now: Time) -> Option<Signed> {
        let carried = || caller.claims.clone().into_iter().filter(|(name, _)| !NOT_CARRIED.contains(&name.as_str()));
        let whole = self.sign(carried().collect(), caller, now)?;
        let text = if whole.len() <= LONGEST { whole } else { self.sign(Claims::new(), caller, now)? };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(Signed { by: self.id, until: now.plus(LIFETIME - MARGIN), value })
    }

    fn sign(&self, mut claims: Claims, caller: &Caller, now: Time) -> Option<String> {
        let scope: Vec<&str> = caller.scopes.iter().collect();
        let ours = json!({
            "iss": self.settings.issuer, "aud": self.settings.audience, "sub": caller.subject, "idp": caller.iss.as_ref(),
            "client_id": caller.client_id, "scope": scope.join(" "), "kind": caller.kind.as_str(),
            "iat": now.seconds(), "exp": now.plus(LIFETIME).seconds(),
        });
        if let Value::Object(ours) = ours {
            claims.extend(ours.into_iter().filter(|(_, value)| !value.is_null()));
        }
        let signed = self.settings.key.sign(Some("JWT"), &Value::Object(claims));
        signed.map_err(|error| tracing::error!(%error, "an identity token could not be signed")).ok()
    }
}
