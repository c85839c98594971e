//! ID tokens (OpenID Connect Core 1.0). Comes in: the text of one, and what this sign-in expects of it. Goes out: who
//! signed in, or the one rule that was broken. Claims are judged before keys are looked for, as for access tokens:
//! junk costs no cryptography and causes no fetch.

use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{Issuer, KeysUnavailable};
use crate::caller::Claims;
use crate::clock::Time;
use crate::jose::token::without_application;
use crate::jose::{Algorithm, Header, Jws, claims, json, verify};
use crate::seal::Secret;

/// The longest ID token that is looked at. Bytes.
pub const LIMIT: usize = 64 * 1024;

/// OpenID Connect Core section 2: at most 255 ASCII characters.
const LONGEST_SUBJECT: usize = 255;

/// What an ID token must say to be the answer to our question.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub client_id: &'a str,
    pub nonce: Nonce<'a>,
    /// The code and the access token that came beside it, and whether their hashes must be there (OpenID Connect Core
    /// sections 3.2.2.9 and 3.3.2.11) or only be right where they are (section 3.1.3.6).
    pub code: Companion<'a>,
    pub access_token: Companion<'a>,
    /// What was asked for in `acr_values`; empty = anything.
    pub acr: &'a [Box<str>],
    /// What was asked for in `max_age`.
    pub max_age: Option<Duration>,
    pub now: Time,
}

/// How strictly the nonce is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce<'a> {
    /// It was sent, so it must come back (OpenID Connect Core section 3.1.3.7, rule 11).
    Is(&'a str),
    /// A refreshed token need not repeat it, and has none to compare with (section 12.2).
    NotLookedAt,
}

/// Something that came beside an ID token and may be bound to it by a hash.
#[derive(Clone, Copy, Debug)]
pub enum Companion<'a> {
    None,
    /// A hash of it that is there must be right.
    MayBeBound(&'a str),
    /// The hash must be there: it is what protects something that came through the browser.
    Bound(&'a str),
}

impl<'a> Companion<'a> {
    /// What came, if it came, to be bound as `bound` says: one of the variants.
    pub fn of(text: Option<&'a Secret>, bound: fn(&'a str) -> Self) -> Self {
        text.map_or(Self::None, |text| bound(text.expose()))
    }
}

/// An ID token whose every rule and whose signature held.
#[derive(Clone, Debug, PartialEq)]
pub struct IdToken {
    pub subject: Box<str>,
    /// `sid`: the provider's session, by which it tells of a logout.
    pub session: Option<Box<str>>,
    pub issued_at: Time,
    pub expires_at: Time,
    pub auth_time: Option<Time>,
    pub claims: Claims,
}

/// Which rule an ID token broke. The numbers are those of OpenID Connect Core section 3.1.3.7.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    #[error("it is no signed token: {0}")]
    Malformed(&'static str),
    #[error("it is another kind of token")]
    Kind,
    #[error("`{0}` is missing or has the wrong type")]
    Claim(&'static str),
    #[error("`iss` is not the issuer (rule 2)")]
    Issuer,
    #[error("`aud` does not name this client (rule 3)")]
    Audience,
    #[error("`azp` is not this client (rules 4 and 5)")]
    AuthorizedParty,
    #[error("signed with an algorithm that the issuer is not configured for (rule 7)")]
    Algorithm,
    #[error("the signature is not by a key of the issuer (rule 6)")]
    Signature,
    #[error("it has expired (rule 9)")]
    Expired,
    #[error("it was issued in the future (rule 10)")]
    FromTheFuture,
    #[error("`nonce` is not the one that was sent (rule 11)")]
    Nonce,
    #[error("`acr` is none of those asked for (rule 12)")]
    Acr,
    #[error("the sign-in is longer ago than asked for (rule 13)")]
    AuthTime,
    #[error("`{0}` is missing or wrong")]
    Hash(&'static str),
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
}

impl Issuer {
    /// Checks an ID token in full.
    ///
    /// # Errors
    /// [`IdTokenError`] for the first rule that does not hold; [`IdTokenError::Keys`] when that can't be known now.
    pub async fn check_id_token(&self, text: &str, wanted: &Wanted<'_>) -> Result<IdToken, IdTokenError> {
        let jws = Jws::parse(text, LIMIT).map_err(|_| IdTokenError::Malformed("shape or header"))?;
        let claims = json::object(&jws.payload).map_err(|_| IdTokenError::Malformed("payload"))?;
        if !self.settings().algorithms.contains(jws.header.algorithm) {
            return Err(IdTokenError::Algorithm);
        }
        let expected = Expected { issuer: &self.settings().issuer, clock_skew: self.settings().clock_skew };
        let token = judge(&jws.header, claims, &expected, wanted)?;
        self.check_signature(&jws).await?.map_err(|_| IdTokenError::Signature)?;
        Ok(token)
    }

    /// Whether a token was signed by a key of this issuer, after at most one fetch where its `kid` is new.
    pub(super) async fn check_signature(
        &self,
        jws: &Jws<'_>,
    ) -> Result<Result<(), verify::SignatureError>, KeysUnavailable> {
        let keys = match jws.header.kid.as_deref() {
            Some(kid) => self.keys_with(kid).await?,
            None => self.keys()?,
        };
        Ok(verify::verify(jws, &keys.set))
    }
}

/// What every token of the issuer must be like.
struct Expected<'a> {
    issuer: &'a str,
    clock_skew: Duration,
}

/// Judges header and claims; the signature is looked at by the caller.
fn judge(
    header: &Header,
    claims: Claims,
    expected: &Expected<'_>,
    wanted: &Wanted<'_>,
) -> Result<IdToken, IdTokenError> {
    is_id_token(header, &claims)?;
    if text(&claims, "iss")? != Some(expected.issuer) {
        return Err(IdTokenError::Issuer);
    }
    is_for(&claims, wanted.client_id)?;
    let subject = text(&claims, "sub")?.filter(|subject| is_subject(subject)).ok_or(IdTokenError::Claim("sub"))?;
    let expires_at = date(&claims, "exp")?.ok_or(IdTokenError::Claim("exp"))?;
    let issued_at = date(&claims, "iat")?.ok_or(IdTokenError::Claim("iat"))?;
    let not_before = date(&claims, "nbf")?;
    if expires_at.plus(expected.clock_skew) <= wanted.now {
        return Err(IdTokenError::Expired);
    }
    if not_before.max(Some(issued_at)) > Some(wanted.now.plus(expected.clock_skew)) {
        return Err(IdTokenError::FromTheFuture);
    }
    if let Nonce::Is(nonce) = wanted.nonce
        && !text(&claims, "nonce")?.is_some_and(|given| equals(given, nonce))
    {
        return Err(IdTokenError::Nonce);
    }
    has_hash(header.algorithm, &claims, "c_hash", wanted.code)?;
    has_hash(header.algorithm, &claims, "at_hash", wanted.access_token)?;
    let auth_time = date(&claims, "auth_time")?;
    if let Some(max_age) = wanted.max_age {
        let signed_in = auth_time.ok_or(IdTokenError::AuthTime)?;
        if wanted.now.since(signed_in) > max_age + expected.clock_skew {
            return Err(IdTokenError::AuthTime);
        }
    }
    let acr = text(&claims, "acr")?;
    if !wanted.acr.is_empty() && !wanted.acr.iter().any(|asked| acr == Some(&**asked)) {
        return Err(IdTokenError::Acr);
    }
    let (subject, session) = (subject.into(), text(&claims, "sid")?.map(Box::from));
    Ok(IdToken { subject, session, issued_at, expires_at, auth_time, claims })
}

/// Tells an ID token from the other tokens that an issuer signs with the same keys (RFC 8725 section 3.11).
fn is_id_token(header: &Header, claims: &Claims) -> Result<(), IdTokenError> {
    let typ = header.typ.as_deref().map(without_application);
    let is_plain = typ.is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
    let says = text(claims, "typ")?;
    if !is_plain || claims.contains_key("events") || says.is_some_and(|says| !says.eq_ignore_ascii_case("ID")) {
        return Err(IdTokenError::Kind);
    }
    Ok(())
}

/// Rules 3 to 5: the client is in `aud`, and is the one for whom it was issued where others are named too.
fn is_for(claims: &Claims, client_id: &str) -> Result<(), IdTokenError> {
    let (named, others) = match claims.get("aud") {
        Some(Value::String(audience)) => (audience == client_id, false),
        Some(Value::Array(audiences)) => {
            if !audiences.iter().all(Value::is_string) {
                return Err(IdTokenError::Claim("aud"));
            }
            let is_ours = |audience: &Value| audience.as_str() == Some(client_id);
            (audiences.iter().any(is_ours), !audiences.iter().all(is_ours))
        }
        None => (false, false),
        Some(_) => return Err(IdTokenError::Claim("aud")),
    };
    if !named {
        return Err(IdTokenError::Audience);
    }
    match text(claims, "azp")? {
        Some(party) if party != client_id => Err(IdTokenError::AuthorizedParty),
        None if others => Err(IdTokenError::AuthorizedParty),
        _ => Ok(()),
    }
}

/// `at_hash` and `c_hash`: the left half of the hash that belongs to the token's own algorithm.
fn has_hash(
    algorithm: Algorithm,
    claims: &Claims,
    name: &'static str,
    companion: Companion<'_>,
) -> Result<(), IdTokenError> {
    let given = text(claims, name)?;
    let (value, needed) = match companion {
        Companion::None => return Ok(()),
        Companion::MayBeBound(value) => (value, false),
        Companion::Bound(value) => (value, true),
    };
    match given {
        Some(given) if equals(given, &half_hash(algorithm, value)) => Ok(()),
        None if !needed => Ok(()),
        _ => Err(IdTokenError::Hash(name)),
    }
}

/// OpenID Connect Core section 3.1.3.6. EdDSA with Ed25519 hashes by SHA-512 (RFC 8032), and so do those who issue it.
fn half_hash(algorithm: Algorithm, value: &str) -> String {
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 | Algorithm::Es256k => &SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &SHA384,
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Es512 | Algorithm::EdDsa | Algorithm::Ed25519 => &SHA512,
    };
    let whole = digest::digest(hash, value.as_bytes());
    URL_SAFE_NO_PAD.encode(whole.as_ref().get(..whole.as_ref().len() / 2).unwrap_or_default())
}

fn is_subject(subject: &str) -> bool {
    (1..=LONGEST_SUBJECT).contains(&subject.len()) && subject.is_ascii()
}

fn equals(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, IdTokenError> {
    claims::text(claims, name).map_err(|_| IdTokenError::Claim(name))
}

fn date(claims: &Claims, name: &'static str) -> Result<Option<Time>, IdTokenError> {
    claims::date(claims, name).map_err(|_| IdTokenError::Claim(name))
}

#[cfg(test)]
mod tests;
