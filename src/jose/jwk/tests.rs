use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::jose::SigningKey;

fn jwk(algorithm: Algorithm) -> Value {
    let mut jwk = SigningKey::generate(algorithm, "k").unwrap().public_jwk().clone();
    jwk.as_object_mut().unwrap().retain(|name, _| !["alg", "use"].contains(&name.as_str()));
    jwk
}

fn with(jwk: &Value, name: &str, value: Value) -> Result<PreparedKey, JwkError> {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    PreparedKey::from_jwk(&jwk)
}

fn algorithms(key: &PreparedKey) -> Vec<&'static str> {
    key.verifiers.iter().map(|verifier| verifier.algorithm().name()).collect()
}

#[test]
fn a_key_fits_the_algorithms_of_its_type() {
    let of = |algorithm| algorithms(&PreparedKey::from_jwk(&jwk(algorithm)).unwrap());
    assert_eq!(of(Algorithm::Rs256), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    assert_eq!(of(Algorithm::Es256), ["ES256"]);
    assert_eq!(of(Algorithm::Es384), ["ES384"]);
    assert_eq!(of(Algorithm::EdDsa), ["EdDSA", "Ed25519"]);
}

#[test]
fn a_key_that_names_an_algorithm_is_for_that_one_alone() {
    let rsa = jwk(Algorithm::Rs256);
    assert_eq!(algorithms(&with(&rsa, "alg", json!("PS256")).unwrap()), ["PS256"]);
    let ed = jwk(Algorithm::EdDsa);
    assert_eq!(algorithms(&with(&ed, "alg", json!("Ed25519")).unwrap()), ["Ed25519"]);
    for wrong in ["ES256", "EdDSA", "HS256", "none", "RSA-OAEP", ""] {
        assert_eq!(with(&rsa, "alg", json!(wrong)).unwrap_err(), JwkError::Algorithm, "{wrong}");
    }
    assert_eq!(with(&jwk(Algorithm::Es256), "alg", json!("ES384")).unwrap_err(), JwkError::Algorithm);
    assert_eq!(with(&rsa, "alg", json!(7)).unwrap_err(), JwkError::Malformed);
}

#[test]
fn a_key_for_something_else_is_not_used() {
    let key = jwk(Algorithm::Es256);
    assert!(with(&key, "use", json!("sig")).is_ok());
    assert!(with(&key, "key_ops", json!(["verify"])).is_ok());
    assert!(with(&key, "key_ops", json!(["sign", "verify"])).is_ok());
    for purpose in [json!("enc"), json!("SIG"), json!(""), json!(["sig"]), json!(null)] {
        assert!(with(&key, "use", purpose.clone()).is_err(), "{purpose}");
    }
    for operations in [json!(["sign"]), json!(["encrypt"]), json!([]), json!("verify"), json!(null)] {
        assert_eq!(with(&key, "key_ops", operations.clone()).unwrap_err(), JwkError::Use, "{operations}");
    }
    let mut both = key;
    both["use"] = json!("sig");
    assert_eq!(with(&both, "key_ops", json!(["encrypt"])).unwrap_err(), JwkError::Use);
}

#[test]
fn rsa_keys_are_neither_weak_nor_endless() {
    let good = jwk(Algorithm::Rs256);
    let modulus = |bytes: usize, first: u8| {
        let mut n = vec![0x5a; bytes];
        n[0] = first;
        n[bytes - 1] = 0x5b;
        json!(URL_SAFE_NO_PAD.encode(n))
    };
    assert!(with(&good, "n", modulus(256, 0x80)).is_ok());
    assert!(with(&good, "n", modulus(1024, 0x80)).is_ok());
    for (bytes, first) in [(128, 0x80), (255, 0xff), (256, 0x7f), (1025, 0x01), (4096, 0x80)] {
        assert_eq!(with(&good, "n", modulus(bytes, first)).unwrap_err(), JwkError::Material, "{bytes} {first}");
    }
    let exponent = |e: &[u8]| with(&good, "e", json!(URL_SAFE_NO_PAD.encode(e)));
    assert!(exponent(&[3]).is_ok());
    assert!(exponent(&[0, 1, 0, 1]).is_ok(), "a sign byte in front is the same number");
    for bad in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert_eq!(exponent(bad).unwrap_err(), JwkError::Material, "{bad:?}");
    }
}

#[test]
fn points_must_be_whole_and_on_their_curve() {
    let key = jwk(Algorithm::Es256);
    let x = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let encoded = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    let mut off = x.clone();
    off[31] ^= 1;
    for bad in
        [encoded(&off), encoded(&x[1..]), encoded(&[&[0], x.as_slice()].concat()), encoded(&[]), encoded(&[0; 32])]
    {
        assert_eq!(with(&key, "x", bad.clone()).unwrap_err(), JwkError::Material, "{bad}");
    }
    for bad in [json!("!"), json!(1), json!(format!("{}=", key["x"].as_str().unwrap()))] {
        assert_eq!(with(&key, "x", bad.clone()).unwrap_err(), JwkError::Malformed, "{bad}");
    }
    assert!(with(&key, "crv", json!("P-384")).is_err());
    assert_eq!(with(&key, "crv", json!("P-192")).unwrap_err(), JwkError::Unsupported);
    assert_eq!(with(&jwk(Algorithm::EdDsa), "crv", json!("Ed448")).unwrap_err(), JwkError::Unsupported);
    assert_eq!(with(&jwk(Algorithm::EdDsa), "crv", json!("X25519")).unwrap_err(), JwkError::Unsupported);
}

#[test]
fn symmetric_and_unknown_keys_do_not_exist() {
    for other in [
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "rsa"}),
        json!({}),
        json!([]),
        json!("key"),
        json!({"kty": 1}),
    ] {
        assert!(PreparedKey::from_jwk(&other).is_err(), "{other}");
    }
    assert!(with(&jwk(Algorithm::Es256), "kid", json!(1)).is_err());
}

#[test]
fn private_members_and_certificates_are_not_read() {
    let key = jwk(Algorithm::Es256);
    let plain = PreparedKey::from_jwk(&key).unwrap();
    for (name, value) in
        [("d", json!("AAAA")), ("x5c", json!(["!"])), ("x5u", json!("http://127.0.0.1:1")), ("ext", json!(true))]
    {
        assert_eq!(with(&key, name, value).unwrap().fingerprint(), plain.fingerprint(), "{name}");
    }
}

#[test]
fn a_fingerprint_is_of_material_name_and_algorithms() {
    let key = jwk(Algorithm::Rs256);
    let plain = *PreparedKey::from_jwk(&key).unwrap().fingerprint();
    assert_eq!(plain, *PreparedKey::from_jwk(&key).unwrap().fingerprint());
    assert_ne!(plain, *with(&key, "kid", json!("other")).unwrap().fingerprint());
    assert_ne!(plain, *with(&key, "alg", json!("RS256")).unwrap().fingerprint());
    assert_ne!(plain, *with(&key, "e", json!("Aw")).unwrap().fingerprint());
}
