//! Signing keys, made when the tests run; none is in the tree. A key signs anything under any algorithm that fits its
//! type, whatever its JWK says, so that a token can be wrong in one way only.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Folder;

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair and the `kid` it goes by.
pub struct Key {
    pub kid: &'static str,
    pair: Pair,
}

impl Key {
    pub fn rsa(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key")) }
    }

    pub fn p256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key")) }
    }

    pub fn p384(kid: &'static str) -> Self {
        Self { kid, pair: Pair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key")) }
    }

    pub fn ed25519(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")) }
    }

    /// The algorithm that this key is for when nothing else is said.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// # Panics
    /// When the algorithm does not fit the type of the key: a fault of the test.
    pub fn sign(&self, algorithm: &str, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match (&self.pair, algorithm) {
            (Pair::Rsa(pair), _) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => panic!("an RSA key does not sign {algorithm}"),
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input, &mut signed).expect("a signature");
                signed
            }
            (Pair::P256(pair), "ES256") | (Pair::P384(pair), "ES384") => {
                pair.sign(&random, input).expect("a signature").as_ref().to_vec()
            }
            (Pair::Ed25519(pair), "EdDSA" | "Ed25519") => pair.sign(input).as_ref().to_vec(),
            _ => panic!("{} does not sign {algorithm}", self.kid),
        }
    }

    /// The public key as a JWK: type, material, `kid` and `use`.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(_) => {
                let (modulus, exponent) = self.rsa_parts();
                json!({ "kty": "RSA", "kid": self.kid, "use": "sig", "n": base64url(modulus), "e": base64url(exponent) })
            }
            Pair::P256(pair) => self.curve_jwk("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => self.curve_jwk("P-384", pair.public_key().as_ref()),
            Pair::Ed25519(pair) => {
                let x = base64url(pair.public_key().as_ref());
                json!({ "kty": "OKP", "kid": self.kid, "use": "sig", "crv": "Ed25519", "x": x })
            }
        }
    }

    /// The JWK with members set anew (`null` removes one).
    pub fn jwk_with(&self, members: Value) -> Value {
        let mut jwk = self.jwk();
        let object = jwk.as_object_mut().expect("an object");
        for (name, value) in members.as_object().expect("an object") {
            if value.is_null() {
                object.remove(name);
            } else {
                object.insert(name.clone(), value.clone());
            }
        }
        jwk
    }

    /// `point` is 0x04, x, y.
    fn curve_jwk(&self, curve: &str, point: &[u8]) -> Value {
        let (x, y) = point[1..].split_at((point.len() - 1) / 2);
        json!({ "kty": "EC", "kid": self.kid, "use": "sig", "crv": curve, "x": base64url(x), "y": base64url(y) })
    }

    /// Modulus and exponent of an RSA key, big-endian.
    pub fn rsa_parts(&self) -> (Vec<u8>, Vec<u8>) {
        let Pair::Rsa(pair) = &self.pair else { panic!("{} is no RSA key", self.kid) };
        let public = pair.public_key();
        let (modulus, exponent) = (public.modulus(), public.exponent());
        (modulus.big_endian_without_leading_zero().to_vec(), exponent.big_endian_without_leading_zero().to_vec())
    }

    /// The public key as SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'static> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        }
        .expect("DER");
        der.as_ref().to_vec()
    }

    pub fn public_pem(&self) -> String {
        let text = STANDARD.encode(self.public_der());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }
}

/// The keys of the standard set-up, made once for all tests of a run.
pub struct KeyRing {
    pub rsa: Key,
    /// Stands in the set several times, each with another restriction.
    pub restricted: Key,
    pub p256: Key,
    pub p384: Key,
    pub ed25519: Key,
    /// The other issuer's.
    pub other: Key,
    /// Nobody's.
    pub stranger: Key,
}

pub fn ring() -> &'static KeyRing {
    static RING: LazyLock<KeyRing> = LazyLock::new(|| KeyRing {
        rsa: Key::rsa("rsa"),
        restricted: Key::rsa("restricted"),
        p256: Key::p256("p256"),
        p384: Key::p384("p384"),
        ed25519: Key::ed25519("ed25519"),
        other: Key::rsa("other"),
        stranger: Key::rsa("stranger"),
    });
    &RING
}

impl KeyRing {
    pub fn named(&self, name: &str) -> &Key {
        match name {
            "rsa" => &self.rsa,
            "p256" => &self.p256,
            "p384" => &self.p384,
            "ed25519" => &self.ed25519,
            "other" => &self.other,
            "stranger" => &self.stranger,
            // Under these names the set holds the same key, marked for another use.
            "rs256-only" | "for-encryption" | "to-encrypt" | "to-verify" | "restricted" => &self.restricted,
            _ => panic!("no key is called {name}"),
        }
    }

    /// The set of the first issuer. Real sets hold keys that a gateway cannot use; they must do no harm.
    pub fn set(&self) -> Value {
        json!({ "keys": [
            self.rsa.jwk(),
            self.p256.jwk(),
            self.p384.jwk(),
            self.ed25519.jwk(),
            self.restricted.jwk_with(json!({ "kid": "rs256-only", "alg": "RS256" })),
            self.restricted.jwk_with(json!({ "kid": "for-encryption", "use": "enc" })),
            self.restricted.jwk_with(json!({ "kid": "to-encrypt", "use": null, "key_ops": ["encrypt", "wrapKey"] })),
            self.restricted.jwk_with(json!({ "kid": "to-verify", "use": null, "key_ops": ["verify"] })),
            weak()["jwk"],
            { "kty": "oct", "kid": "shared", "use": "sig", "alg": "HS256", "k": base64url(SHARED) },
            { "kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "AAAA" },
            { "kty": "EC", "kid": "unknown-curve", "crv": "P-999", "x": "AAAA", "y": "AAAA" },
            { "kty": "RSA", "kid": "broken", "n": "!!!", "e": "AQAB" },
        ]})
    }

    pub fn other_set(&self) -> Value {
        // The same `kid` as a key of the first issuer: a key belongs to its issuer, not to its name.
        json!({ "keys": [self.other.jwk(), self.other.jwk_with(json!({ "kid": "rsa" }))] })
    }
}

/// The symmetric key that the set (wrongly) gives away.
pub const SHARED: &[u8] = b"a symmetric key that was published by mistake";

/// An RSA key of 1024 bits, public half only, and a token that it signed: no library of ours would make one.
pub fn weak() -> &'static Value {
    static WEAK: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../corpus/weak_key.json")).expect("weak_key.json is JSON")
    });
    &WEAK
}

/// A private key of one of Postern's registrations: the file, and what the issuer knows of it.
pub struct ClientKey {
    folder: Folder,
    pub public: serde_json::Value,
}

impl ClientKey {
    pub fn new() -> Self {
        let (folder, pem) = (Folder::new(), rcgen::KeyPair::generate().expect("a key").serialize_pem());
        folder.write("client.pem", &pem);
        let key = postern::jose::SigningKey::named_by_thumbprint(postern::jose::Algorithm::Es256, pem.as_bytes());
        Self { folder, public: key.expect("a P-256 key").public_jwk().clone() }
    }

    /// As the configuration names it.
    pub fn line(&self) -> String {
        format!("private_key: {{ file: '{}' }}", self.folder.path("client.pem").display())
    }
}
