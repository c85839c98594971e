//! Tokens to order, good or bad, for the demo and for tests: no grant and no request stand behind them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::introspect::grant_of;
use super::issue::{access_header, audience_claim, user_claims};
use super::jwt::{self, Members, Signer};
use super::keys::{Algorithm, KeyError};
use super::lies::change;
use super::model::AccessToken;
use super::realm::Realm;
use crate::seal::random;

/// What signs a minted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MintKey {
    /// The key in use.
    Current,
    /// A key that is in no set, under the kid of one that is.
    Foreign,
    /// A key that is in no set, under its own kid.
    Unknown,
    /// The right key; then one bit of the signature is turned.
    Spoiled,
    /// `alg: none`.
    Nothing,
    /// HS256 with this secret.
    Hmac(Vec<u8>),
    /// HS256 with the text of the RSA key's JWK.
    PublicKeyAsSecret,
}

/// An access token as it is to be. Start from [`machine`](Self::machine) or [`user`](Self::user).
#[derive(Clone, Debug)]
pub struct Mint {
    pub client_id: String,
    /// `sub`; the client itself if `None`.
    pub subject: Option<String>,
    pub scopes: Vec<String>,
    pub audience: Vec<String>,
    /// Seconds from now to `exp`; negative for one that has ended.
    pub lifetime: i64,
    /// Set over the usual payload; null removes a member.
    pub claims: Map<String, Value>,
    /// Set over the usual header likewise.
    pub header: Map<String, Value>,
    pub algorithm: Algorithm,
    pub key: MintKey,
}

impl Mint {
    /// A token of the client for itself.
    pub fn machine(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            subject: None,
            scopes: Vec::new(),
            audience: vec!["orders".to_owned()],
            lifetime: 300,
            claims: Map::new(),
            header: Map::new(),
            algorithm: Algorithm::Rs256,
            key: MintKey::Current,
        }
    }

    /// A token that `client_id` got from `subject`.
    pub fn user(client_id: &str, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..Self::machine(client_id) }
    }

    #[must_use]
    pub fn scope(mut self, words: &str) -> Self {
        self.scopes = words.split_whitespace().map(str::to_owned).collect();
        self
    }

    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = vec![audience.to_owned()];
        self
    }

    #[must_use]
    pub fn lifetime(mut self, seconds: i64) -> Self {
        self.lifetime = seconds;
        self
    }

    /// Sets a member of the payload; null removes it.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a member of the header; null removes it.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    #[must_use]
    pub fn key(mut self, key: MintKey) -> Self {
        self.key = key;
        self
    }

    fn payload(&self, realm: &Realm) -> Members {
        let now = i64::try_from(realm.now().seconds()).unwrap_or(i64::MAX);
        let expires = now.saturating_add(self.lifetime);
        let subject = self.subject.as_ref().unwrap_or(&self.client_id);
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(realm.issuer)),
            ("sub".to_owned(), json!(subject)),
            ("aud".to_owned(), audience_claim(&self.audience)),
            ("client_id".to_owned(), json!(self.client_id)),
            // One that has ended was issued before it ended.
            ("iat".to_owned(), json!(now.min(expires.saturating_sub(1)))),
            ("exp".to_owned(), json!(expires)),
            ("jti".to_owned(), json!(random::token())),
        ]);
        if !self.scopes.is_empty() {
            claims.insert("scope".to_owned(), json!(self.scopes.join(" ")));
        }
        if let Some(user) = self.subject.as_deref().and_then(|subject| realm.user_by_subject(subject)) {
            for (name, value) in user_claims(user, &grant_of(realm, &claims)) {
                claims.entry(name).or_insert(value);
            }
        }
        claims.retain(|_, value| !value.is_null());
        change(&mut claims, &self.claims);
        claims
    }
}

/// Signs the token that `mint` describes.
pub fn jwt(realm: &Realm, mint: &Mint) -> Result<String, KeyError> {
    let mut header = access_header();
    let named = match mint.key {
        MintKey::Foreign => Some(realm.keys().kid(mint.algorithm)),
        MintKey::PublicKeyAsSecret => Some(realm.keys().kid(Algorithm::Rs256)),
        _ => None,
    };
    if let Some(kid) = named {
        header.insert("kid".to_owned(), kid.into());
    }
    // Not `change`: a null must last until `sign`, so that it keeps `alg` and `kid` away.
    header.extend(mint.header.clone());
    let claims = mint.payload(realm);
    with_signer(realm, mint.algorithm, &mint.key, |signer| jwt::sign(header, &claims, signer))
}

/// Signs header and payload as they are written.
pub fn raw(
    realm: &Realm,
    header: &str,
    payload: &str,
    algorithm: Algorithm,
    key: &MintKey,
) -> Result<String, KeyError> {
    with_signer(realm, algorithm, key, |signer| jwt::sign_text(header, payload, signer))
}

fn with_signer(
    realm: &Realm,
    algorithm: Algorithm,
    key: &MintKey,
    sign: impl FnOnce(Signer<'_>) -> Result<String, KeyError>,
) -> Result<String, KeyError> {
    let current = realm.keys();
    match key {
        MintKey::Current => sign(Signer::Keys(&current, algorithm)),
        MintKey::Foreign | MintKey::Unknown => sign(Signer::Keys(realm.foreign_keys()?, algorithm)),
        MintKey::Spoiled => sign(Signer::Keys(&current, algorithm)).map(|token| jwt::spoil(&token)),
        MintKey::Nothing => sign(Signer::Nothing),
        MintKey::Hmac(secret) => sign(Signer::Hmac(secret)),
        MintKey::PublicKeyAsSecret => {
            let public = current.jwks().into_iter().next().unwrap_or_default().to_string();
            sign(Signer::Hmac(public.as_bytes()))
        }
    }
}

/// An opaque token of which introspection will tell what `mint` says.
pub fn opaque(realm: &Realm, mint: &Mint) -> String {
    let token = random::token();
    let claims = mint.payload(realm);
    let remembered = AccessToken { grant: grant_of(realm, &claims), claims };
    let kept = Duration::from_secs(u64::try_from(mint.lifetime).unwrap_or(0).saturating_add(60));
    let until = realm.now().plus(kept);
    realm.state().access_tokens.put(token.clone(), remembered, until);
    token
}
