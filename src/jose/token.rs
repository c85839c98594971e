//! A signed token in compact form (RFC 7515 section 7.1), taken apart and not yet believed. Comes in: text. Goes out:
//! the header as typed facts, the payload's bytes, the signature and what it signs. Everything that makes a token
//! unacceptable by its shape or its header alone is found here, before any key is looked for.

use serde_json::{Map, Value};

use super::json;
use super::{Algorithm, decode_base64url};
use crate::reason::Reason;

/// The longest signature that any key of ours makes: RSA with 8192 bits.
const MAX_SIGNATURE: usize = 8192 / 8;

/// The token, taken apart. `header` and `payload` are what somebody claims until the signature was checked.
#[derive(Debug)]
pub struct Jws<'a> {
    pub header: Header,
    /// Header and payload as they were sent: what the signature is over.
    pub signing_input: &'a str,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// What we read of a header. Key material and addresses in it (`jwk`, `jku`, `x5c`, `x5u`) are never read, let alone
/// used (RFC 8725 section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// Why text is no token that could be looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not three base64url segments with a JSON header")]
    Malformed,
    #[error("not signed with an asymmetric algorithm")]
    Algorithm,
    #[error("asks for an extension that must be understood and is not")]
    Critical,
    #[error("another token inside a token, or an encrypted one")]
    Nested,
}

impl TokenError {
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed => Reason::TokenMalformed,
            Self::Algorithm => Reason::TokenAlgorithm,
            Self::Critical => Reason::TokenCritical,
            Self::Nested => Reason::TokenType,
        }
    }
}

impl<'a> Jws<'a> {
    /// # Errors
    /// [`TokenError`] when `text` is longer than `limit` or is no signed token by its shape and header.
    pub fn parse(text: &'a str, limit: usize) -> Result<Self, TokenError> {
        if text.len() > limit {
            return Err(TokenError::Malformed);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenError::Malformed)?;
        // Five segments are an encrypted token (RFC 7516); a dot left in the payload is either that or nonsense.
        if header.is_empty() || payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = Header::parse(&decode_base64url(header).ok_or(TokenError::Malformed)?)?;
        if signature.is_empty() || signature.len() > MAX_SIGNATURE.div_ceil(3) * 4 {
            return Err(TokenError::Malformed);
        }
        let payload = decode_base64url(payload).ok_or(TokenError::Malformed)?;
        let signature = decode_base64url(signature).ok_or(TokenError::Malformed)?;
        Ok(Self { header, signing_input, payload, signature })
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let members = json::object(bytes).map_err(|_| TokenError::Malformed)?;
        // We understand no extension, and a list that names registered or absent parameters, or nothing, is misused:
        // every `crit` is a no (RFC 7515 section 4.1.11). `b64` is only ever used through it (RFC 7797 section 6).
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(TokenError::Critical);
        }
        if members.contains_key("enc") || members.contains_key("zip") || holds_a_token(&members)? {
            return Err(TokenError::Nested);
        }
        let name = text(&members, "alg")?.ok_or(TokenError::Malformed)?;
        Ok(Self {
            algorithm: Algorithm::parse(name).ok_or(TokenError::Algorithm)?,
            kid: text(&members, "kid")?.map(str::to_owned),
            typ: text(&members, "typ")?.map(str::to_owned),
        })
    }
}

/// `cty: JWT` says that the payload is itself a token (RFC 7519 section 5.2), so that these claims are not its claims.
fn holds_a_token(members: &Map<String, Value>) -> Result<bool, TokenError> {
    Ok(text(members, "cty")?.is_some_and(|cty| without_application(cty).eq_ignore_ascii_case("JWT")))
}

/// A media type as `typ` and `cty` write it: `application/` may be left out where no other `/` follows (RFC 7515
/// section 4.1.9), and case does not matter (RFC 2045 section 5.1).
pub fn without_application(media_type: &str) -> &str {
    const PREFIX: &str = "application/";
    match media_type.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => media_type.get(PREFIX.len()..).unwrap_or_default(),
        _ => media_type,
    }
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed),
    }
}

#[cfg(test)]
mod tests;
