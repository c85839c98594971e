//! One JSON Web Key (RFC 7517, 7518 section 6, 8037, 8812) made ready to check signatures. Comes in: the JSON value.
//! Goes out: a key parsed once for each algorithm that it may be used with, or the fact that makes it unusable.
//! Only `kty` and its public parameters, `kid`, `use`, `key_ops` and `alg` are read; certificates (`x5c`, `x5u`) and
//! private members never are.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use serde_json::{Map, Value};

use super::verify::Verifier;
use super::{Algorithm, decode_base64url};

/// RFC 7518 section 3.3 asks for 2048 bits or more; the upper end bounds what one signature costs.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key that may check signatures, bound to its algorithms.
#[derive(Debug)]
pub struct PreparedKey {
    kid: Option<Box<str>>,
    verifiers: Box<[Verifier]>,
    fingerprint: Fingerprint,
}

/// Tells one key from another: over its material, its name and its algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Why a key of a set can't be used. It is skipped, never fatal for the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    #[error("not an object, or a member of the wrong type")]
    Malformed,
    #[error("a kind of key that checks no signatures here")]
    Unsupported,
    #[error("its `use` or `key_ops` is not verifying signatures")]
    Use,
    #[error("its `alg` does not fit the key")]
    Algorithm,
    #[error("too small, too large or not a valid public key")]
    Material,
}

impl PreparedKey {
    /// # Errors
    /// [`JwkError`] when the key is malformed, weak, or meant for something else.
    pub fn from_jwk(jwk: &Value) -> Result<Self, JwkError> {
        let Value::Object(jwk) = jwk else { return Err(JwkError::Malformed) };
        is_for_verifying(jwk)?;
        let bound_to = match text(jwk, "alg")? {
            // "each key is used with one algorithm" (RFC 8725 section 3.1); a key that names none fits its type's.
            Some(name) => Some(Algorithm::parse(name).ok_or(JwkError::Algorithm)?),
            None => None,
        };
        let (verifiers, material) = match text(jwk, "kty")?.ok_or(JwkError::Malformed)? {
            "RSA" => rsa(jwk, bound_to)?,
            "EC" => ec(jwk, bound_to)?,
            "OKP" => okp(jwk, bound_to)?,
            _ => return Err(JwkError::Unsupported),
        };
        let kid = text(jwk, "kid")?.map(Box::from);
        let fingerprint = Fingerprint::of(kid.as_deref(), &verifiers, &material);
        Ok(Self { kid, verifiers, fingerprint })
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// This key for `algorithm`, if it may be used with it.
    pub fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers.iter().find(|verifier| verifier.algorithm() == algorithm)
    }

    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl Fingerprint {
    fn of(kid: Option<&str>, verifiers: &[Verifier], material: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        let names = verifiers.iter().map(|verifier| verifier.algorithm().name().as_bytes());
        for part in kid.map(str::as_bytes).into_iter().chain(names).chain([material]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.update(&[u8::from(kid.is_some())]);
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }
}

/// A member that must be a string where it is present.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, JwkError> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::Malformed),
    }
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    text(jwk, name)?.and_then(decode_base64url).ok_or(JwkError::Malformed)
}

/// RFC 7517 sections 4.2 and 4.3: where the key says what it is for, it must say so in both.
fn is_for_verifying(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(JwkError::Use);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err(JwkError::Use),
    }
}

/// The verifiers of a key and the bytes that make it this key.
type Prepared = (Box<[Verifier]>, Vec<u8>);

fn rsa(jwk: &Map<String, Value>, bound_to: Option<Algorithm>) -> Result<Prepared, JwkError> {
    const ALGORITHMS: [(Algorithm, &RsaParameters); 6] = [
        (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    let (n, e) = (unsigned(bytes(jwk, "n")?), unsigned(bytes(jwk, "e")?));
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    // An exponent of 1 makes every message its own signature; aws-lc takes exponents of up to 33 bits.
    if !RSA_BITS.contains(&bits) || !is_odd(&n) || !is_odd(&e) || e == [1] || e.len() > 4 {
        return Err(JwkError::Material);
    }
    let components = RsaPublicKeyComponents { n: &n, e: &e };
    let mut verifiers = Vec::new();
    for (algorithm, parameters) in ALGORITHMS {
        if bound_to.is_none_or(|bound| bound == algorithm) {
            let key = components.to_parsed_public_key(parameters).map_err(|_| JwkError::Material)?;
            verifiers.push(Verifier::new(algorithm, key, n.len()));
        }
    }
    let material = [b"RSA".as_slice(), &(n.len() as u64).to_be_bytes(), &n, &e].concat();
    at_least_one(verifiers, material)
}

/// Some providers write the sign byte of their big-integer library in front; the number is the same.
fn unsigned(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

fn ec(jwk: &Map<String, Value>, bound_to: Option<Algorithm>) -> Result<Prepared, JwkError> {
    let curve = text(jwk, "crv")?.ok_or(JwkError::Malformed)?;
    let (algorithm, checked_by, size): (_, &'static dyn VerificationAlgorithm, usize) = match curve {
        "P-256" => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
        "P-521" => (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
        "secp256k1" => (Algorithm::Es256k, &signature::ECDSA_P256K1_SHA256_FIXED, 32),
        _ => return Err(JwkError::Unsupported),
    };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    // "The length of this octet string MUST be the full size of a coordinate" (RFC 7518 section 6.2.1.2).
    if x.len() != size || y.len() != size {
        return Err(JwkError::Material);
    }
    let point = [&[4], x.as_slice(), &y].concat();
    let mut verifiers = Vec::new();
    if bound_to.is_none_or(|bound| bound == algorithm) {
        let key = ParsedPublicKey::new(checked_by, &point).map_err(|_| JwkError::Material)?;
        verifiers.push(Verifier::new(algorithm, key, 2 * size));
    }
    at_least_one(verifiers, [curve.as_bytes(), &point].concat())
}

fn okp(jwk: &Map<String, Value>, bound_to: Option<Algorithm>) -> Result<Prepared, JwkError> {
    if text(jwk, "crv")? != Some("Ed25519") {
        return Err(JwkError::Unsupported);
    }
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err(JwkError::Material);
    }
    let mut verifiers = Vec::new();
    for algorithm in [Algorithm::EdDsa, Algorithm::Ed25519] {
        if bound_to.is_none_or(|bound| bound == algorithm) {
            let key = ParsedPublicKey::new(&signature::ED25519, &x).map_err(|_| JwkError::Material)?;
            verifiers.push(Verifier::new(algorithm, key, 64));
        }
    }
    at_least_one(verifiers, [b"Ed25519".as_slice(), &x].concat())
}

fn at_least_one(verifiers: Vec<Verifier>, material: Vec<u8>) -> Result<Prepared, JwkError> {
    if verifiers.is_empty() { Err(JwkError::Algorithm) } else { Ok((verifiers.into(), material)) }
}

#[cfg(test)]
mod tests;
