use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::jose::{PreparedKey, SigningKey};

const LIMIT: usize = 16 * 1024;

fn set(keys: &[&SigningKey]) -> KeySet {
    let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// The token with its signature put through `change`.
fn with_signature(token: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = change(URL_SAFE_NO_PAD.decode(signature).unwrap());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn judged(token: &str, keys: &KeySet) -> Result<(), SignatureError> {
    verify(&Jws::parse(token, LIMIT).unwrap(), keys)
}

#[test]
fn only_the_key_that_signed_is_the_key() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let (ours, theirs) =
            (SigningKey::generate(algorithm, "k").unwrap(), SigningKey::generate(algorithm, "k").unwrap());
        let token = ours.sign(None, &json!({"sub": "alice"})).unwrap();
        assert_eq!(judged(&token, &set(&[&ours])), Ok(()));
        assert_eq!(judged(&token, &set(&[&theirs])), Err(SignatureError::Wrong));
        assert_eq!(judged(&token, &set(&[&theirs, &ours])), Ok(()), "a set may repeat a kid");
        let renamed = SigningKey::generate(algorithm, "other").unwrap();
        assert_eq!(judged(&token, &set(&[&renamed])), Err(SignatureError::NoKey));
    }
}

#[test]
fn a_changed_token_is_refused_wherever_it_was_changed() {
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let key = SigningKey::generate(algorithm, "k").unwrap();
        let keys = set(&[&key]);
        let token =
            key.sign_parts(br#"{"alg":"ALG","kid":"k"}"#.map_alg(algorithm).as_slice(), br#"{"sub":"alice"}"#).unwrap();
        assert_eq!(judged(&token, &keys), Ok(()));
        let other = key
            .sign_parts(br#"{"alg":"ALG","kid":"k"}"#.map_alg(algorithm).as_slice(), br#"{"sub":"mallory"}"#)
            .unwrap();
        let (input, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert_eq!(judged(&format!("{input}.{signature}"), &keys), Err(SignatureError::Wrong));
        for at in [0, 10, 31, 32, 63] {
            let flipped = with_signature(&token, |mut signature| {
                signature[at] ^= 1;
                signature
            });
            assert_eq!(judged(&flipped, &keys), Err(SignatureError::Wrong), "{algorithm} {at}");
        }
    }
}

trait MapAlg {
    fn map_alg(&self, algorithm: Algorithm) -> Vec<u8>;
}

impl<const N: usize> MapAlg for &[u8; N] {
    fn map_alg(&self, algorithm: Algorithm) -> Vec<u8> {
        String::from_utf8_lossy(&self[..]).replace("ALG", algorithm.name()).into_bytes()
    }
}

#[test]
fn an_ecdsa_signature_has_one_form_and_no_special_numbers() {
    let key = SigningKey::generate(Algorithm::Es256, "k").unwrap();
    let keys = set(&[&key]);
    let token = key.sign(None, &json!({})).unwrap();
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = |rs: &[u8]| {
        let integer = |bytes: &[u8]| {
            let sign: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
            let length = u8::try_from(bytes.len() + sign.len()).unwrap();
            [&[0x02, length], sign, bytes].concat()
        };
        let body = [integer(&rs[..32]), integer(&rs[32..])].concat();
        [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
    };
    type Change<'a> = Box<dyn Fn(Vec<u8>) -> Vec<u8> + 'a>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        ("zeros", Box::new(|_| vec![0; 64])),
        ("r = 0", Box::new(|rs| [&[0; 32], &rs[32..]].concat())),
        ("s = 0", Box::new(|rs| [&rs[..32], &[0; 32]].concat())),
        ("r = n", Box::new(|rs| [&order, &rs[32..]].concat())),
        ("s = n", Box::new(|rs| [&rs[..32], &order].concat())),
        ("ones", Box::new(|_| vec![0xff; 64])),
        ("DER", Box::new(|rs| der(&rs))),
        ("short", Box::new(|rs| rs[..63].to_vec())),
        ("long", Box::new(|rs| [rs.as_slice(), &[0]].concat())),
        ("padded in front", Box::new(|rs| [&[0], rs.as_slice()].concat())),
        ("each half padded", Box::new(|rs| [&[0], &rs[..32], &[0], &rs[32..]].concat())),
        ("one byte", Box::new(|_| vec![1])),
    ];
    for (name, change) in changes {
        assert_eq!(judged(&with_signature(&token, change), &keys), Err(SignatureError::Wrong), "{name}");
    }
}

#[test]
fn an_eddsa_signature_has_one_s() {
    let key = SigningKey::generate(Algorithm::EdDsa, "k").unwrap();
    let token = key.sign(None, &json!({})).unwrap();
    // S + L, with L = 2^252 + 27742317777372353535851937790883648493, little-endian.
    let l: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let shifted = with_signature(&token, |mut signature| {
        let mut carry = 0u16;
        for (byte, add) in signature[32..].iter_mut().zip(l) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = (sum & 0xff) as u8;
            carry = sum >> 8;
        }
        signature
    });
    assert_eq!(judged(&token, &set(&[&key])), Ok(()));
    assert_eq!(judged(&shifted, &set(&[&key])), Err(SignatureError::Wrong));
}

#[test]
fn an_rsa_signature_is_as_long_as_the_modulus_and_below_it() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256] {
        let key = SigningKey::generate(algorithm, "k").unwrap();
        let keys = set(&[&key]);
        let token = key.sign(None, &json!({})).unwrap();
        let modulus = URL_SAFE_NO_PAD.decode(key.public_jwk()["n"].as_str().unwrap()).unwrap();
        let plus_modulus = |signature: Vec<u8>| {
            let mut out = vec![0; signature.len() + 1];
            let mut carry = 0u16;
            for at in (0..signature.len()).rev() {
                let sum = u16::from(signature[at]) + u16::from(modulus[at]) + carry;
                out[at + 1] = (sum & 0xff) as u8;
                carry = sum >> 8;
            }
            out[0] = u8::try_from(carry).unwrap();
            if out[0] == 0 { out[1..].to_vec() } else { out }
        };
        let changed = [
            with_signature(&token, plus_modulus),
            with_signature(&token, |signature| [&[0], signature.as_slice()].concat()),
            with_signature(&token, |signature| [signature.as_slice(), &[0]].concat()),
            with_signature(&token, |signature| signature[1..].to_vec()),
            with_signature(&token, |signature| vec![0; signature.len()]),
            with_signature(&token, |signature| {
                let mut one = vec![0; signature.len()];
                one[signature.len() - 1] = 1;
                one
            }),
            with_signature(&token, |_| modulus.clone()),
        ];
        for token in changed {
            assert_eq!(judged(&token, &keys), Err(SignatureError::Wrong));
        }
    }
}

#[test]
fn an_algorithm_that_is_not_the_keys_finds_no_key() {
    let rsa = SigningKey::generate(Algorithm::Rs256, "rsa").unwrap();
    let ec = SigningKey::generate(Algorithm::Es256, "ec").unwrap();
    let keys = set(&[&rsa, &ec]);
    let claims = br#"{"sub":"alice"}"#;
    let cases: [(&SigningKey, &[u8]); 6] = [
        (&rsa, br#"{"alg":"PS256","kid":"rsa"}"#),
        (&rsa, br#"{"alg":"RS384","kid":"rsa"}"#),
        (&rsa, br#"{"alg":"ES256","kid":"rsa"}"#),
        (&rsa, br#"{"alg":"EdDSA","kid":"rsa"}"#),
        (&ec, br#"{"alg":"RS256","kid":"ec"}"#),
        (&ec, br#"{"alg":"ES384","kid":"ec"}"#),
    ];
    for (key, header) in cases {
        let token = key.sign_parts(header, claims).unwrap();
        assert_eq!(judged(&token, &keys), Err(SignatureError::NoKey));
    }
    let confused = rsa.sign_parts(br#"{"alg":"ES256","kid":"ec"}"#, claims).unwrap();
    assert_eq!(judged(&confused, &keys), Err(SignatureError::Wrong));
}

#[test]
fn a_key_in_the_header_is_nobodys_key() {
    let ours = SigningKey::generate(Algorithm::Es256, "k").unwrap();
    let theirs = SigningKey::generate(Algorithm::Es256, "k").unwrap();
    for kid in [json!({"kid": "k"}), json!({})] {
        let mut header =
            json!({"alg": "ES256", "jwk": theirs.public_jwk(), "jku": "http://127.0.0.1:1/", "x5c": ["MIIB"]});
        header.as_object_mut().unwrap().extend(kid.as_object().unwrap().clone());
        let forged = theirs.sign_parts(header.to_string().as_bytes(), b"{}").unwrap();
        assert_eq!(judged(&forged, &set(&[&ours])), Err(SignatureError::Wrong));
        let honest = ours.sign_parts(header.to_string().as_bytes(), b"{}").unwrap();
        assert_eq!(judged(&honest, &set(&[&ours])), Ok(()), "what is not read does no harm either");
    }
}

#[test]
fn algorithms_that_jsonwebtoken_does_not_know_work_too() {
    use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair};
    let random = aws_lc_rs::rand::SystemRandom::new();
    let cases = [
        (Algorithm::Es512, "P-521", 66, &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
        (Algorithm::Es256k, "secp256k1", 32, &signature::ECDSA_P256K1_SHA256_FIXED_SIGNING),
    ];
    for (algorithm, curve, size, signing) in cases {
        let der = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(size);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
        let key = PreparedKey::from_jwk(&jwk).unwrap();
        let signature = pair.sign(&random, b"message").unwrap();
        assert!(key.verifier(algorithm).unwrap().accepts(b"message", signature.as_ref()));
        assert!(!key.verifier(algorithm).unwrap().accepts(b"massage", signature.as_ref()));
    }
    let ed = SigningKey::generate(Algorithm::EdDsa, "k").unwrap();
    let mut jwk = ed.public_jwk().clone();
    jwk["alg"] = "Ed25519".into();
    let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    assert_eq!(judged(&ed.sign_parts(br#"{"alg":"Ed25519"}"#, b"{}").unwrap(), &keys), Ok(()));
    assert_eq!(judged(&ed.sign_parts(br#"{"alg":"EdDSA"}"#, b"{}").unwrap(), &keys), Err(SignatureError::NoKey));
}

#[test]
fn our_verdicts_are_jsonwebtokens_verdicts() {
    use jsonwebtoken::{DecodingKey, crypto};
    for (algorithm, name) in [
        (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
        (Algorithm::Ps384, jsonwebtoken::Algorithm::PS384),
        (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
        (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
    ] {
        let key = SigningKey::generate(algorithm, "k").unwrap();
        let theirs = DecodingKey::from_jwk(&serde_json::from_value(key.public_jwk().clone()).unwrap()).unwrap();
        let keys = set(&[&key]);
        let token = key.sign(None, &json!({"sub": "alice"})).unwrap();
        for at in 0..20 {
            let token = with_signature(&token, |mut signature| {
                if at > 0 {
                    signature[at * 3] ^= 1 << (at % 8);
                }
                signature
            });
            let (input, signature) = token.rsplit_once('.').unwrap();
            let verdict = crypto::verify(signature, input.as_bytes(), &theirs, name).unwrap();
            assert_eq!(judged(&token, &keys).is_ok(), verdict, "{algorithm} {at}");
        }
    }
}
