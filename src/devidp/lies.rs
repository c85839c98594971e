//! Tokens that are wrong in one respect each: what the OpenID conformance suite sends to a relying party to see whether
//! it refuses, for ID tokens and logout tokens alike.

use serde_json::{Map, Value, json};

use super::jwt::{self, Members, Signer};
use super::keys::{Algorithm, KeyError, SigningKeys};

/// One lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Lie {
    WrongIssuer,
    WrongAudience,
    MissingAudience,
    /// A second audience, and an `azp` that is not the client (OIDC Core section 3.1.3.7, steps 4 and 5).
    WrongAuthorizedParty,
    WrongSubject,
    MissingSubject,
    WrongNonce,
    MissingNonce,
    MissingIssuedAt,
    MissingExpiry,
    Expired,
    WrongAccessTokenHash,
    MissingAccessTokenHash,
    WrongCodeHash,
    MissingCodeHash,
    WrongAcr,
    /// Signed long ago, by `auth_time`.
    OldAuthentication,
    BadSignature,
    /// Signed by a key that is not in the set, under the kid of one that is.
    ForeignKey,
    /// Signed by a key that is not in the set, under its own kid.
    UnknownKey,
    MissingKeyId,
    AlgorithmNone,
    /// HMAC with the client secret.
    Hs256,
    /// HMAC with the text of the public key.
    PublicKeyAsSecret,
    /// Another algorithm than the client is registered for.
    OtherAlgorithm,
    /// Logout token: no `events`.
    MissingEvent,
    WrongEvent,
    WithNonce,
    MissingTokenId,
    MissingSession,
    /// Members of the payload are set to these values; null removes one.
    Claims(Map<String, Value>),
    /// Members of the header likewise.
    Header(Map<String, Value>),
}

/// What a token would have been, and the keys at hand to get it wrong.
pub struct Draft<'a> {
    pub header: Members,
    pub claims: Members,
    pub algorithm: Algorithm,
    pub keys: &'a SigningKeys,
    pub foreign: &'a SigningKeys,
    pub client_secret: &'a [u8],
}

impl Draft<'_> {
    pub fn sign(self) -> Result<String, KeyError> {
        jwt::sign(self.header, &self.claims, Signer::Keys(self.keys, self.algorithm))
    }
}

impl Lie {
    const PLAIN: [(&'static str, Self); 30] = [
        ("wrong_issuer", Self::WrongIssuer),
        ("wrong_audience", Self::WrongAudience),
        ("missing_audience", Self::MissingAudience),
        ("wrong_authorized_party", Self::WrongAuthorizedParty),
        ("wrong_subject", Self::WrongSubject),
        ("missing_subject", Self::MissingSubject),
        ("wrong_nonce", Self::WrongNonce),
        ("missing_nonce", Self::MissingNonce),
        ("missing_issued_at", Self::MissingIssuedAt),
        ("missing_expiry", Self::MissingExpiry),
        ("expired", Self::Expired),
        ("wrong_access_token_hash", Self::WrongAccessTokenHash),
        ("missing_access_token_hash", Self::MissingAccessTokenHash),
        ("wrong_code_hash", Self::WrongCodeHash),
        ("missing_code_hash", Self::MissingCodeHash),
        ("wrong_acr", Self::WrongAcr),
        ("old_authentication", Self::OldAuthentication),
        ("bad_signature", Self::BadSignature),
        ("foreign_key", Self::ForeignKey),
        ("unknown_key", Self::UnknownKey),
        ("missing_key_id", Self::MissingKeyId),
        ("algorithm_none", Self::AlgorithmNone),
        ("hs256", Self::Hs256),
        ("public_key_as_secret", Self::PublicKeyAsSecret),
        ("other_algorithm", Self::OtherAlgorithm),
        ("missing_event", Self::MissingEvent),
        ("wrong_event", Self::WrongEvent),
        ("with_nonce", Self::WithNonce),
        ("missing_token_id", Self::MissingTokenId),
        ("missing_session", Self::MissingSession),
    ];

    /// By name; a JSON object is taken as claims to change.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::PLAIN.into_iter().find(|(name, _)| *name == text).map(|(_, lie)| lie);
        named.or_else(|| serde_json::from_str(text).ok().map(Self::Claims))
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::PLAIN.into_iter().map(|(name, _)| name)
    }

    /// Signs the draft with this lie in it.
    pub fn sign(&self, mut draft: Draft<'_>) -> Result<String, KeyError> {
        if let Some(changes) = self.changed_claims(&draft.claims) {
            change(&mut draft.claims, &changes);
            return draft.sign();
        }
        let (keys, algorithm) = (draft.keys, draft.algorithm);
        let mut sign_as = |signer: Signer<'_>| jwt::sign(std::mem::take(&mut draft.header), &draft.claims, signer);
        match self {
            Self::BadSignature => draft.sign().map(|token| jwt::spoil(&token)),
            Self::ForeignKey => {
                draft.header.insert("kid".to_owned(), keys.kid(algorithm).into());
                jwt::sign(draft.header, &draft.claims, Signer::Keys(draft.foreign, algorithm))
            }
            Self::UnknownKey => sign_as(Signer::Keys(draft.foreign, algorithm)),
            Self::MissingKeyId => {
                draft.header.insert("kid".to_owned(), Value::Null);
                draft.sign()
            }
            Self::AlgorithmNone => sign_as(Signer::Nothing),
            Self::Hs256 => sign_as(Signer::Hmac(draft.client_secret)),
            Self::PublicKeyAsSecret => {
                let public = keys.jwks().into_iter().next().unwrap_or_default().to_string();
                sign_as(Signer::Hmac(public.as_bytes()))
            }
            Self::OtherAlgorithm => {
                let other = if algorithm == Algorithm::Es256 { Algorithm::Rs256 } else { Algorithm::Es256 };
                sign_as(Signer::Keys(keys, other))
            }
            Self::Header(members) => {
                change(&mut draft.header, members);
                draft.sign()
            }
            _ => draft.sign(),
        }
    }

    /// The lies that are told by the payload alone.
    fn changed_claims(&self, honest: &Members) -> Option<Members> {
        const SOMETHING_ELSE: &str = "c29tZXRoaW5nIGVsc2U";
        let seconds = |claim: &str| honest.get(claim).and_then(Value::as_u64).unwrap_or(0);
        let changes = match self {
            Self::WrongIssuer => json!({ "iss": "https://other.example" }),
            Self::WrongAudience => json!({ "aud": "somebody-else" }),
            Self::MissingAudience => json!({ "aud": null }),
            Self::WrongAuthorizedParty => json!({ "aud": [honest.get("aud"), "other"], "azp": "somebody-else" }),
            Self::WrongSubject => json!({ "sub": "mallory" }),
            Self::MissingSubject => json!({ "sub": null }),
            Self::WrongNonce => json!({ "nonce": SOMETHING_ELSE }),
            Self::MissingNonce => json!({ "nonce": null }),
            Self::MissingIssuedAt => json!({ "iat": null }),
            Self::MissingExpiry => json!({ "exp": null }),
            Self::Expired => {
                json!({ "iat": seconds("iat").saturating_sub(7200), "exp": seconds("iat").saturating_sub(3600) })
            }
            Self::WrongAccessTokenHash => json!({ "at_hash": SOMETHING_ELSE }),
            Self::MissingAccessTokenHash => json!({ "at_hash": null }),
            Self::WrongCodeHash => json!({ "c_hash": SOMETHING_ELSE }),
            Self::MissingCodeHash => json!({ "c_hash": null }),
            Self::WrongAcr => json!({ "acr": "0" }),
            Self::OldAuthentication => json!({ "auth_time": seconds("iat").saturating_sub(30 * 86_400) }),
            Self::MissingEvent => json!({ "events": null }),
            Self::WrongEvent => json!({ "events": { "http://schemas.openid.net/event/other": {} } }),
            Self::WithNonce => json!({ "nonce": SOMETHING_ELSE }),
            Self::MissingTokenId => json!({ "jti": null }),
            Self::MissingSession => json!({ "sid": null, "sub": null }),
            Self::Claims(members) => Value::Object(members.clone()),
            _ => return None,
        };
        if let Value::Object(changes) = changes { Some(changes) } else { None }
    }
}

/// Sets members; null removes one.
pub fn change(members: &mut Members, changes: &Members) {
    for (name, value) in changes {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}
