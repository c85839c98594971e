//! Makes signed tokens. Comes in: a private key of ours, header and payload as JSON. Goes out: the compact form, and
//! the public half as a JWK for others to check with. The development provider signs with it, and whatever Postern
//! itself will have to sign.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Algorithm;

/// A private key, bound to one algorithm and named.
pub struct SigningKey {
    algorithm: Algorithm,
    kid: Box<str>,
    key: EncodingKey,
    public_jwk: Value,
}

/// Why there is no key, or no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("keys for {0} are not made here")]
    Unsupported(Algorithm),
    #[error("this is no private key for {0}")]
    Key(Algorithm),
    #[error("signing failed")]
    Failed,
}

impl SigningKey {
    /// A new key: RSA with 2048 bits, P-256, P-384 or Ed25519, as `algorithm` needs it.
    ///
    /// # Errors
    /// [`SignError::Unsupported`] for ES512, ES256K and the name `Ed25519`.
    pub fn generate(algorithm: Algorithm, kid: &str) -> Result<Self, SignError> {
        let failed = |_| SignError::Failed;
        let random = aws_lc_rs::rand::SystemRandom::new();
        let der = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Algorithm::Es384 => EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &random)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random).map_err(failed)?.as_ref().to_vec(),
            Algorithm::Es512 | Algorithm::Es256k | Algorithm::Ed25519 => return Err(SignError::Unsupported(algorithm)),
            _ => {
                let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
        };
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
        Self::from_pem(algorithm, kid, pem.as_bytes())
    }

    /// The ES256 key with this private scalar; named by its thumbprint (RFC 7638), so that the same secret gives the same
    /// key and name everywhere.
    ///
    /// # Errors
    /// [`SignError::Key`] when the scalar is none of P-256 (one in four billion).
    pub fn from_p256_scalar(scalar: &[u8; 32]) -> Result<Self, SignError> {
        // PKCS#8 (RFC 5958) around an ECPrivateKey (RFC 5915) without the public half, which is computed.
        const BEFORE: [u8; 35] = [
            0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
            0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
        ];
        let der = Zeroizing::new([&BEFORE[..], &scalar[..]].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*der));
        let pem = Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *encoded));
        Self::named_by_thumbprint(Algorithm::Es256, pem.as_bytes())
    }

    /// As [`SigningKey::from_pem`], named by its thumbprint (RFC 7638).
    ///
    /// # Errors
    /// As there.
    pub fn named_by_thumbprint(algorithm: Algorithm, pem: &[u8]) -> Result<Self, SignError> {
        let mut key = Self::from_pem(algorithm, "", pem)?;
        key.kid = thumbprint(&key.public_jwk).into();
        if let Value::Object(members) = &mut key.public_jwk {
            members.insert("kid".to_owned(), (&*key.kid).into());
        }
        Ok(key)
    }

    /// From a PKCS#8 private key (for RSA also PKCS#1) in PEM.
    ///
    /// # Errors
    /// [`SignError`] when it is no such key, or not one for `algorithm`.
    pub fn from_pem(algorithm: Algorithm, kid: &str, pem: &[u8]) -> Result<Self, SignError> {
        let name = signer_name(algorithm)?;
        let key = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        }
        .map_err(|_| SignError::Key(algorithm))?;
        let jwk = Jwk::from_encoding_key(&key, name).map_err(|_| SignError::Key(algorithm))?;
        let mut public_jwk = serde_json::to_value(jwk).map_err(|_| SignError::Failed)?;
        if let Value::Object(members) = &mut public_jwk {
            members.insert("alg".to_owned(), algorithm.name().into());
            members.insert("kid".to_owned(), kid.into());
            members.insert("use".to_owned(), "sig".into());
        }
        Ok(Self { algorithm, kid: kid.into(), key, public_jwk })
    }

    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub const fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, as a JWK with `kid`, `alg` and `use`.
    pub const fn public_jwk(&self) -> &Value {
        &self.public_jwk
    }

    /// Signs `payload` under a header with this key's `alg` and `kid` and the given `typ`.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the key can't sign.
    pub fn sign(&self, typ: Option<&str>, payload: &Value) -> Result<String, SignError> {
        let mut header = serde_json::json!({ "alg": self.algorithm.name(), "kid": &*self.kid });
        if let (Some(typ), Value::Object(members)) = (typ, &mut header) {
            members.insert("typ".to_owned(), typ.into());
        }
        self.sign_parts(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }

    /// Signs any header and any payload, as they are: for tests that make tokens no issuer would.
    ///
    /// # Errors
    /// [`SignError::Failed`] when the key can't sign.
    pub fn sign_parts(&self, header: &[u8], payload: &[u8]) -> Result<String, SignError> {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, signer_name(self.algorithm)?)
            .map_err(|_| SignError::Failed)?;
        Ok(format!("{message}.{signature}"))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({}, {:?})", self.algorithm, self.kid)
    }
}

/// RFC 7638 section 3.2: the digest of the members that a key of this type must have, in lexicographic order.
fn thumbprint(jwk: &Value) -> String {
    let member = |name: &str| jwk.get(name).and_then(Value::as_str).map(|text| format!("\"{name}\":\"{text}\""));
    let members: Vec<String> = ["crv", "e", "kty", "n", "x", "y"].into_iter().filter_map(member).collect();
    let canonical = format!("{{{}}}", members.join(","));
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// Signs `payload` with a secret that the reader has as well (HS256): what a client with no key of its own shows its
/// issuer (OpenID Connect Core section 9). Nothing that is read here is signed like that.
pub fn sign_with_secret(secret: &[u8], typ: &str, payload: &Value) -> String {
    let header = serde_json::json!({ "alg": "HS256", "typ": typ }).to_string();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// jsonwebtoken's name of an algorithm that it can sign with.
fn signer_name(algorithm: Algorithm) -> Result<jsonwebtoken::Algorithm, SignError> {
    use jsonwebtoken::Algorithm as Name;
    Ok(match algorithm {
        Algorithm::Rs256 => Name::RS256,
        Algorithm::Rs384 => Name::RS384,
        Algorithm::Rs512 => Name::RS512,
        Algorithm::Ps256 => Name::PS256,
        Algorithm::Ps384 => Name::PS384,
        Algorithm::Ps512 => Name::PS512,
        Algorithm::Es256 => Name::ES256,
        Algorithm::Es384 => Name::ES384,
        Algorithm::EdDsa => Name::EdDSA,
        Algorithm::Es512 | Algorithm::Es256k | Algorithm::Ed25519 => return Err(SignError::Unsupported(algorithm)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::{Jws, KeySet, verify};

    #[test]
    fn what_is_signed_here_is_accepted_by_the_public_half() {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        for algorithm in [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512, Es256, Es384, EdDsa] {
            let key = SigningKey::generate(algorithm, "k1").unwrap();
            let set = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
            let set = KeySet::parse(set.as_bytes()).unwrap();
            let token = key.sign(Some("at+jwt"), &serde_json::json!({ "sub": "alice" })).unwrap();
            let jws = Jws::parse(&token, 16_384).unwrap();
            assert_eq!(jws.header.typ.as_deref(), Some("at+jwt"));
            verify::verify(&jws, &set).unwrap();
        }
    }

    #[test]
    fn the_same_secret_gives_the_same_key_everywhere() {
        let (one, two) =
            (SigningKey::from_p256_scalar(&[7; 32]).unwrap(), SigningKey::from_p256_scalar(&[7; 32]).unwrap());
        assert_eq!(one.public_jwk(), two.public_jwk());
        assert_eq!(one.kid().len(), 43);
        let set = serde_json::json!({ "keys": [two.public_jwk()] }).to_string();
        let token = one.sign(None, &serde_json::json!({ "sub": "alice" })).unwrap();
        verify::verify(&Jws::parse(&token, 16_384).unwrap(), &KeySet::parse(set.as_bytes()).unwrap()).unwrap();
        assert_ne!(SigningKey::from_p256_scalar(&[8; 32]).unwrap().kid(), one.kid());
        for none in [[0; 32], [0xff; 32]] {
            assert!(SigningKey::from_p256_scalar(&none).is_err());
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let jwk = serde_json::json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        });
        assert_eq!(thumbprint(&jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        let key = SigningKey::generate(Algorithm::EdDsa, "k1").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(EdDSA, \"k1\")");
        assert!(key.public_jwk().get("d").is_none());
    }
}
