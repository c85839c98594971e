//! The provider's signing keys: one of each kind, made at start and never written anywhere. Comes in: a signing input
//! and an algorithm. Goes out: a signature, and the public halves as a JWK Set (RFC 7517), with keys that were rotated
//! away kept in it for as long as the rotation says.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::clock::Time;
use crate::seal::random;

/// Retired keys that are kept in the set at most, however often an operator rotates.
const RETIRED_LIMIT: usize = 8;

/// The machine could not make a key.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a signing key could not be made")]
pub struct KeyError;

/// What tokens are signed with (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The hash of `at_hash` and `c_hash` goes with the algorithm (OIDC Core section 3.1.3.6). EdDSA: SHA-512, as
    /// Ed25519 itself uses.
    pub fn hash(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 => &aws_lc_rs::digest::SHA256,
            Self::Rs384 | Self::Ps384 | Self::Es384 => &aws_lc_rs::digest::SHA384,
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::EdDsa => &aws_lc_rs::digest::SHA512,
        }
    }
}

/// One key of each kind, under key ids of their own.
pub struct SigningKeys {
    label: String,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p521: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl SigningKeys {
    pub fn generate() -> Result<Self, KeyError> {
        let elliptic = |algorithm| EcdsaKeyPair::generate(algorithm).map_err(|_| KeyError);
        Ok(Self {
            label: URL_SAFE_NO_PAD.encode(random::bytes::<6>()),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?,
            p256: elliptic(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            p384: elliptic(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            p521: elliptic(&signature::ECDSA_P521_SHA512_FIXED_SIGNING)?,
            ed25519: Ed25519KeyPair::generate().map_err(|_| KeyError)?,
        })
    }

    pub fn kid(&self, algorithm: Algorithm) -> String {
        let kind = match algorithm {
            Algorithm::Es256 => "p256",
            Algorithm::Es384 => "p384",
            Algorithm::Es512 => "p521",
            Algorithm::EdDsa => "ed25519",
            _ => "rsa",
        };
        format!("{kind}-{}", self.label)
    }

    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match algorithm {
            Algorithm::Rs256 => self.rsa(&signature::RSA_PKCS1_SHA256, message),
            Algorithm::Rs384 => self.rsa(&signature::RSA_PKCS1_SHA384, message),
            Algorithm::Rs512 => self.rsa(&signature::RSA_PKCS1_SHA512, message),
            Algorithm::Ps256 => self.rsa(&signature::RSA_PSS_SHA256, message),
            Algorithm::Ps384 => self.rsa(&signature::RSA_PSS_SHA384, message),
            Algorithm::Ps512 => self.rsa(&signature::RSA_PSS_SHA512, message),
            Algorithm::Es256 => elliptic(&self.p256, message),
            Algorithm::Es384 => elliptic(&self.p384, message),
            Algorithm::Es512 => elliptic(&self.p521, message),
            Algorithm::EdDsa => Ok(self.ed25519.sign(message).as_ref().to_vec()),
        }
    }

    fn rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut out = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(encoding, &SystemRandom::new(), message, &mut out).map_err(|_| KeyError)?;
        Ok(out)
    }

    /// The public halves. The RSA key names no `alg`, since it signs with all six; a verifier must cope with both.
    pub fn jwks(&self) -> Vec<Value> {
        let public = self.rsa.public_key();
        let modulus = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let exponent = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        vec![
            json!({ "kty": "RSA", "use": "sig", "kid": self.kid(Algorithm::Rs256), "n": modulus, "e": exponent }),
            self.elliptic_jwk(&self.p256, Algorithm::Es256, "P-256"),
            self.elliptic_jwk(&self.p384, Algorithm::Es384, "P-384"),
            self.elliptic_jwk(&self.p521, Algorithm::Es512, "P-521"),
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid(Algorithm::EdDsa),
                "x": URL_SAFE_NO_PAD.encode(self.ed25519.public_key().as_ref()) }),
        ]
    }

    fn elliptic_jwk(&self, pair: &EcdsaKeyPair, algorithm: Algorithm, curve: &str) -> Value {
        // An uncompressed point: one byte 0x04, then both coordinates (SEC 1 section 2.3.3).
        let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        json!({ "kty": "EC", "crv": curve, "use": "sig", "alg": algorithm.name(), "kid": self.kid(algorithm),
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    }
}

fn elliptic(pair: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    pair.sign(&SystemRandom::new(), message).map(|made| made.as_ref().to_vec()).map_err(|_| KeyError)
}

/// What happens to the old keys when new ones come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdraw {
    /// Gone from the set at once: tokens that they signed are refused from then on.
    AtOnce,
    /// Kept in the set for this long.
    After(Duration),
}

/// The keys in use and those on their way out.
pub struct KeyRing {
    current: Arc<SigningKeys>,
    retired: Vec<(Arc<SigningKeys>, Time)>,
}

impl KeyRing {
    pub fn new(keys: SigningKeys) -> Self {
        Self { current: Arc::new(keys), retired: Vec::new() }
    }

    pub fn current(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.current)
    }

    pub fn rotate(&mut self, fresh: SigningKeys, withdraw: Withdraw, now: Time) {
        let old = std::mem::replace(&mut self.current, Arc::new(fresh));
        match withdraw {
            Withdraw::AtOnce => self.retired.clear(),
            Withdraw::After(span) => self.retired.push((old, now.plus(span))),
        }
        if self.retired.len() > RETIRED_LIMIT {
            self.retired.remove(0);
        }
    }

    /// Every key that is published at `now`, the current ones first.
    pub fn published(&self, now: Time) -> Vec<Value> {
        let retired = self.retired.iter().filter(|(_, end)| *end > now).map(|(keys, _)| keys);
        std::iter::once(&self.current).chain(retired).flat_map(|keys| keys.jwks()).collect()
    }
}
