//! The one place where a signature is checked. Comes in: a key that was prepared for exactly one algorithm, the signed
//! bytes and the signature. Goes out: whether the key signed them.
//!
//! All algorithms take this one way, straight to aws-lc-rs with keys parsed once when their set arrives. jsonwebtoken's
//! verifier is the same library behind a boxed object that copies the key and parses an RSA modulus again for each
//! token (measured at 26 µs against 19.5 µs for RS256), and it knows neither ES512, ES256K nor `Ed25519`. A test holds
//! our verdicts beside jsonwebtoken's.

use aws_lc_rs::signature::ParsedPublicKey;

use super::Algorithm;
use super::keyset::KeySet;
use super::token::Jws;
use crate::reason::Reason;

/// A public key bound to one algorithm (RFC 8725 section 3.1).
pub struct Verifier {
    algorithm: Algorithm,
    key: ParsedPublicKey,
    signature_length: usize,
}

impl Verifier {
    pub(super) const fn new(algorithm: Algorithm, key: ParsedPublicKey, signature_length: usize) -> Self {
        Self { algorithm, key, signature_length }
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`. The length of every signature is known beforehand: the RSA
    /// modulus (RFC 8017 section 8.2.2), twice the order of the curve (RFC 7518 section 3.4), 64 bytes (RFC 8032).
    pub fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == self.signature_length && self.key.verify_sig(message, signature).is_ok()
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({})", self.algorithm)
    }
}

/// Why a token's signature stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no key of this set has the token's `kid` and algorithm")]
    NoKey,
    #[error("the signature is not by the key that the token names")]
    Wrong,
}

impl SignatureError {
    pub const fn reason(self) -> Reason {
        match self {
            Self::NoKey => Reason::TokenKey,
            Self::Wrong => Reason::TokenSignature,
        }
    }
}

/// Checks a token against the key that its header chooses; see [`KeySet::candidates`] for how.
///
/// # Errors
/// [`SignatureError`] when there is no such key, or when it did not sign this.
pub fn verify(jws: &Jws<'_>, keys: &KeySet) -> Result<(), SignatureError> {
    let mut verdict = Err(SignatureError::NoKey);
    for key in keys.candidates(jws.header.kid.as_deref(), jws.header.algorithm) {
        if key.accepts(jws.signing_input.as_bytes(), &jws.signature) {
            return Ok(());
        }
        verdict = Err(SignatureError::Wrong);
    }
    verdict
}

#[cfg(test)]
mod tests;
