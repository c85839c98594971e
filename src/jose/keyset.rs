//! A JWK Set (RFC 7517 section 5) ready for use. Comes in: the document that an issuer publishes. Goes out: prepared
//! keys to look up by `kid` and algorithm. Keys that we can't use are counted and left aside; a set without any usable
//! key is an error, so that it never replaces a good one.

use std::collections::HashSet;

use serde_json::Value;

use super::Algorithm;
use super::json::{self, JsonError};
use super::jwk::{Fingerprint, PreparedKey};
use super::verify::Verifier;

/// Providers publish one to ten keys; this many bound the work of a hostile document.
pub const MAX_KEYS: usize = 256;

/// How many keys are tried for one token. More than one fits only where a token has no `kid`, or where a set repeats
/// a `kid` for the same kind of key (RFC 7517 section 4.5 allows neither to be ruled out).
pub const MAX_CANDIDATES: usize = 4;

/// Why a document is no usable set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is {0}")]
    Json(#[from] JsonError),
    #[error("the key set has no array `keys`")]
    Shape,
    #[error("the key set has {0} keys; at most {MAX_KEYS} are read")]
    TooMany(usize),
    #[error("none of the {0} keys of the set can be used")]
    NothingUsable(usize),
}

/// Keys of one issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Box<[PreparedKey]>,
    skipped: usize,
}

impl KeySet {
    /// # Errors
    /// [`KeySetError`] when the document is malformed or nothing in it can be used.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let members = json::object(document)?;
        let Some(Value::Array(written)) = members.get("keys") else { return Err(KeySetError::Shape) };
        if written.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(written.len()));
        }
        let keys: Box<[_]> = written.iter().filter_map(|jwk| PreparedKey::from_jwk(jwk).ok()).collect();
        if keys.is_empty() {
            return Err(KeySetError::NothingUsable(written.len()));
        }
        let skipped = written.len() - keys.len();
        Ok(Self { keys, skipped })
    }

    /// No keys, for an issuer that is trusted for no signature: every signed token is refused with them.
    pub fn none() -> Self {
        Self { keys: Box::default(), skipped: 0 }
    }

    /// The keys that a token may have been signed with, at most [`MAX_CANDIDATES`].
    ///
    /// A token with a `kid` is checked with the keys of exactly that `kid`; a key without one is never chosen for it.
    /// A token without a `kid` is checked with the keys that fit its algorithm: the hint is optional (RFC 7515 section
    /// 4.1.4), and every key here is this issuer's.
    pub fn candidates<'a>(&'a self, kid: Option<&'a str>, algorithm: Algorithm) -> impl Iterator<Item = &'a Verifier> {
        self.keys
            .iter()
            .filter(move |key| kid.is_none_or(|kid| key.kid() == Some(kid)))
            .filter_map(move |key| key.verifier(algorithm))
            .take(MAX_CANDIDATES)
    }

    /// Whether any key has this `kid`.
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Only the set that was made to be.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many entries of the document were left aside.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The names of keys that are here and not, or not unchanged, in `newer`.
    pub fn gone_in<'a>(&'a self, newer: &Self) -> Vec<&'a str> {
        let there: HashSet<&Fingerprint> = newer.keys.iter().map(PreparedKey::fingerprint).collect();
        self.keys
            .iter()
            .filter(|key| !there.contains(key.fingerprint()))
            .map(|key| key.kid().unwrap_or("(no kid)"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::SigningKey;
    use serde_json::json;

    fn set(keys: &[Value]) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn public(algorithm: Algorithm, kid: &str) -> Value {
        SigningKey::generate(algorithm, kid).unwrap().public_jwk().clone()
    }

    #[test]
    fn a_key_is_chosen_by_kid_and_algorithm() {
        let keys = set(&[public(Algorithm::Es256, "a"), public(Algorithm::EdDsa, "a"), public(Algorithm::Es256, "b")])
            .unwrap();
        let count = |kid, algorithm| keys.candidates(kid, algorithm).count();
        assert_eq!(count(Some("a"), Algorithm::Es256), 1);
        assert_eq!(count(Some("a"), Algorithm::EdDsa), 1);
        assert_eq!(count(Some("a"), Algorithm::Rs256), 0);
        assert_eq!(count(Some("A"), Algorithm::Es256), 0);
        assert_eq!(count(Some(""), Algorithm::Es256), 0);
        assert_eq!(count(None, Algorithm::EdDsa), 1);
        assert_eq!(count(None, Algorithm::Es256), 2);
        assert!(keys.knows("b") && !keys.knows("c"));
    }

    #[test]
    fn a_key_without_kid_serves_only_tokens_without_kid() {
        let mut jwk = public(Algorithm::Es256, "a");
        jwk.as_object_mut().unwrap().remove("kid");
        let keys = set(&[jwk]).unwrap();
        assert_eq!(keys.candidates(None, Algorithm::Es256).count(), 1);
        assert_eq!(keys.candidates(Some("a"), Algorithm::Es256).count(), 0);
        assert_eq!(keys.candidates(Some("' OR 1=1 --"), Algorithm::Es256).count(), 0);
    }

    #[test]
    fn the_number_of_keys_tried_is_bounded() {
        let keys: Vec<_> = (0..9).map(|_| public(Algorithm::EdDsa, "same")).collect();
        let keys = set(&keys).unwrap();
        assert_eq!(keys.candidates(Some("same"), Algorithm::EdDsa).count(), MAX_CANDIDATES);
        assert_eq!(keys.candidates(None, Algorithm::EdDsa).count(), MAX_CANDIDATES);
    }

    #[test]
    fn what_cannot_be_used_is_skipped_and_counted() {
        let good = public(Algorithm::Es256, "good");
        let keys = set(&[json!({"kty": "oct", "k": "c2VjcmV0"}), json!(7), json!({"kty": "AKP"}), good]).unwrap();
        assert_eq!((keys.len(), keys.skipped()), (1, 3));
    }

    #[test]
    fn a_set_without_usable_keys_is_no_set() {
        assert_eq!(set(&[]).unwrap_err(), KeySetError::NothingUsable(0));
        assert_eq!(set(&[json!({"kty": "oct", "k": "c2VjcmV0"})]).unwrap_err(), KeySetError::NothingUsable(1));
        for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[{"kty":"EC""#, r#"{"keys":[],"keys":[]}"#]
        {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        let many: Vec<_> = (0..=MAX_KEYS).map(|_| json!({"kty": "oct"})).collect();
        assert_eq!(set(&many).unwrap_err(), KeySetError::TooMany(MAX_KEYS + 1));
    }

    #[test]
    fn keys_that_left_or_changed_are_told() {
        let (a, b) = (public(Algorithm::EdDsa, "a"), public(Algorithm::EdDsa, "b"));
        let old = set(&[a.clone(), b.clone()]).unwrap();
        assert!(old.gone_in(&set(&[b.clone(), a.clone(), public(Algorithm::EdDsa, "c")]).unwrap()).is_empty());
        assert_eq!(old.gone_in(&set(std::slice::from_ref(&a)).unwrap()), ["b"]);
        assert_eq!(old.gone_in(&set(&[a, public(Algorithm::EdDsa, "b")]).unwrap()), ["b"]);
    }
}
