//! Compact JWS (RFC 7515) for this provider's own use: making tokens, and reading back those it made, with the
//! assertions that its clients sign. It shares nothing with the gateway's verifier, so that neither can excuse the other.

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeyError, SigningKeys};

/// Header or payload of a token.
pub type Members = Map<String, Value>;

/// What a token is signed with; the bad ones exist so that verifiers can be tried.
#[derive(Clone, Copy)]
pub enum Signer<'a> {
    Keys(&'a SigningKeys, Algorithm),
    /// HMAC-SHA256 with a secret; or with a public key's text, the classic confusion (RFC 8725 section 2.1).
    Hmac(&'a [u8]),
    /// `alg: none`, with an empty signature.
    Nothing,
}

/// Signs `claims` under `header`; `alg` and `kid` are filled in unless the header has them already.
pub fn sign(mut header: Members, claims: &Members, signer: Signer<'_>) -> Result<String, KeyError> {
    let (alg, kid) = match signer {
        Signer::Keys(keys, algorithm) => (algorithm.name(), Some(keys.kid(algorithm))),
        Signer::Hmac(_) => ("HS256", None),
        Signer::Nothing => ("none", None),
    };
    header.entry("alg").or_insert_with(|| alg.into());
    if let Some(kid) = kid {
        header.entry("kid").or_insert_with(|| kid.into());
    }
    header.retain(|_, value| !value.is_null());
    sign_text(&Value::Object(header).to_string(), &Value::Object(claims.clone()).to_string(), signer)
}

/// Signs header and payload as they are written: duplicate members, broken JSON and all.
pub fn sign_text(header: &str, payload: &str, signer: Signer<'_>) -> Result<String, KeyError> {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = match signer {
        Signer::Keys(keys, algorithm) => keys.sign(algorithm, input.as_bytes())?,
        Signer::Hmac(secret) => {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes()).as_ref().to_vec()
        }
        Signer::Nothing => Vec::new(),
    };
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The same token with one bit of its signature turned.
pub fn spoil(token: &str) -> String {
    let Some((input, signature)) = token.rsplit_once('.') else { return token.to_owned() };
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Left half of the hash of a token or code: `at_hash`, `c_hash` (OIDC Core sections 3.1.3.6 and 3.3.2.11).
pub fn half_hash(algorithm: Algorithm, text: &str) -> String {
    let whole = digest::digest(algorithm.hash(), text.as_bytes());
    let half = whole.as_ref().get(..whole.as_ref().len() / 2).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(half)
}

/// A token taken apart, nothing about it believed yet.
pub struct Parsed {
    pub header: Members,
    pub claims: Members,
    input: String,
    signature: Vec<u8>,
}

impl Parsed {
    pub fn read(token: &str) -> Option<Self> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: object(header)?,
            claims: object(payload)?,
            input: input.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    pub fn alg(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether one of `jwks` signed it, by key id if it names one.
    pub fn signed_by(&self, jwks: &[Value]) -> bool {
        let Some(algorithm) = Algorithm::parse(self.alg()) else { return false };
        let kid = self.header.get("kid");
        let mut fitting = jwks.iter().filter(|jwk| kid.is_none() || jwk.get("kid").is_none() || jwk.get("kid") == kid);
        fitting.any(|jwk| verify(jwk, algorithm, self.input.as_bytes(), &self.signature).is_some())
    }

    pub fn signed_with_secret(&self, secret: &[u8]) -> bool {
        let algorithm = match self.alg() {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => return false,
        };
        hmac::verify(&hmac::Key::new(algorithm, secret), self.input.as_bytes(), &self.signature).is_ok()
    }

    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    pub fn seconds(&self, claim: &str) -> Option<u64> {
        self.claims.get(claim).and_then(Value::as_u64)
    }

    /// Whether `aud`, a string or an array, holds `wanted`.
    pub fn is_for(&self, wanted: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(one)) => one == wanted,
            Some(Value::Array(many)) => many.iter().any(|one| one == wanted),
            _ => false,
        }
    }
}

/// `Some` if `jwk` is a key for `algorithm` and the signature is good.
fn verify(jwk: &Value, algorithm: Algorithm, message: &[u8], made: &[u8]) -> Option<()> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let kind = jwk.get("kty")?.as_str()?;
    let rsa = match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    };
    if let Some(parameters) = rsa {
        let components = RsaPublicKeyComponents { n: part("n")?, e: part("e")? };
        return (kind == "RSA" && components.verify(parameters, message, made).is_ok()).then_some(());
    }
    let (wanted, key): (&str, Vec<u8>) = match algorithm {
        Algorithm::EdDsa => ("OKP", part("x")?),
        _ => ("EC", [vec![4], part("x")?, part("y")?].concat()),
    };
    let checked = match algorithm {
        Algorithm::Es256 => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, made),
        Algorithm::Es384 => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key).verify(message, made),
        Algorithm::Es512 => UnparsedPublicKey::new(&signature::ECDSA_P521_SHA512_FIXED, key).verify(message, made),
        _ => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, made),
    };
    (kind == wanted && checked.is_ok()).then_some(())
}
