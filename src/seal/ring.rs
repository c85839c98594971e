//! Seals small values that travel or lie where others could read or change them: cookies, records in Redis. Comes in: the
//! operator's keys and a purpose. Goes out: bytes that only the same purpose and the same name open again.
//!
//! AES-256-GCM with a random nonce (NIST SP 800-38D section 8.2.2). Each purpose has a key of its own, derived from each
//! of the operator's keys by HKDF-SHA-256 (RFC 5869), so that a value sealed for one is noise to every other, and the
//! 2^32 messages of a random nonce are counted for each. The name (a cookie's, a record's) is authenticated with it, so
//! that a value can't be moved to another place. The first key seals, all open: keys are exchanged without anybody being
//! signed out.
//!
//! Layout: version (1 byte), key id (4), nonce (12), ciphertext, tag (16). The id names a key without telling it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::digest::DigestKey;
use super::random;
use super::secret::Secret;

const VERSION: u8 = 1;
const ID_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + ID_BYTES;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// How much longer a sealed value is than what is in it, in bytes.
pub const OVERHEAD: usize = HEAD_BYTES + NONCE_LEN + TAG_BYTES;

/// A key to derive others from: one of the operator's, or one that lies in a single cookie.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_BYTES]>);

/// The text is no key. Says nothing about what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    #[error("not base64")]
    Encoding,
    #[error("{0} bytes, and not {KEY_BYTES}")]
    Length(usize),
}

/// The operator's keys, never none: the first seals, all open.
#[derive(Clone)]
pub struct MasterKeys {
    first: MasterKey,
    others: Vec<MasterKey>,
}

/// The keys of one purpose. Cheap to use, a few microseconds to make.
#[derive(Debug)]
pub struct KeyRing {
    first: PurposeKey,
    others: Vec<PurposeKey>,
}

struct PurposeKey {
    id: [u8; ID_BYTES],
    key: RandomizedNonceKey,
}

/// What was sealed.
pub struct Opened {
    pub plain: Zeroizing<Vec<u8>>,
    /// Sealed by the first key; if not, seal it anew when there is an occasion.
    pub is_current: bool,
}

/// Not sealed by us for this purpose and name, or changed since. The same for every way of being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this was not sealed here")]
pub struct NotSealedHere;

impl MasterKey {
    pub fn random() -> Self {
        Self(Zeroizing::new(random::bytes()))
    }

    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// From base64 of 32 bytes, in the usual or the URL's alphabet, with or without padding.
    ///
    /// # Errors
    /// [`MasterKeyError`] when it is something else.
    pub fn parse(text: &Secret) -> Result<Self, MasterKeyError> {
        let text = text.expose().trim().trim_end_matches('=');
        let engine = if text.contains(['-', '_']) { URL_SAFE_NO_PAD } else { STANDARD_NO_PAD };
        let bytes = Zeroizing::new(engine.decode(text).map_err(|_| MasterKeyError::Encoding)?);
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| MasterKeyError::Length(bytes.len()))?;
        Ok(Self::from_bytes(bytes))
    }

    /// The key itself, for the one cookie that it lies in.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// A ring of this key alone.
    pub fn ring(&self, purpose: &str) -> KeyRing {
        KeyRing { first: PurposeKey::derive(self, purpose), others: Vec::new() }
    }

    /// Equality whose time does not depend on where the two differ.
    pub fn equals(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(other.0.as_slice()).into()
    }

    fn derive<const N: usize>(&self, label: &str, purpose: &str) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        let pseudorandom = Salt::new(HKDF_SHA256, b"postern").extract(self.0.as_slice());
        // The label has no NUL, so that label and purpose can't run into one another.
        let info = [label.as_bytes(), b"\0", purpose.as_bytes()];
        fill(&pseudorandom, &info, out.as_mut_slice());
        out
    }
}

/// A length to derive; HKDF wants a type for it.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[expect(clippy::expect_used, reason = "HKDF fails only beyond 255 blocks, and every length here is a constant")]
fn fill(pseudorandom: &hkdf::Prk, info: &[&[u8]], out: &mut [u8]) {
    let derived = pseudorandom.expand(info, Length(out.len())).and_then(|material| material.fill(out));
    derived.expect("at most 32 bytes are derived");
}

impl MasterKeys {
    /// `None` when there is no key.
    pub fn new(keys: impl IntoIterator<Item = MasterKey>) -> Option<Self> {
        let mut keys = keys.into_iter();
        let first = keys.next()?;
        Some(Self { first, others: keys.collect() })
    }

    /// The keys of one purpose, such as `session`. A purpose is named in one place only.
    pub fn ring(&self, purpose: &str) -> KeyRing {
        let derive = |key| PurposeKey::derive(key, purpose);
        KeyRing { first: derive(&self.first), others: self.others.iter().map(derive).collect() }
    }

    /// 32 bytes of each key for one purpose, the first key's first: for what is made of a secret and is no ring.
    pub fn secrets(&self, purpose: &str) -> Vec<Zeroizing<[u8; KEY_BYTES]>> {
        std::iter::once(&self.first).chain(&self.others).map(|key| key.derive("secret", purpose)).collect()
    }

    /// A digest key that replicas with the same first key share: for names of records that must not tell what they are
    /// of. A new first key gives new names; what lies under the old ones runs out.
    pub fn digest_key(&self, purpose: &str) -> DigestKey {
        DigestKey::from_bytes(*self.first.derive("digest", purpose))
    }
}

impl KeyRing {
    /// Seals for a name, with the first key.
    pub fn seal(&self, name: &[u8], plain: &[u8]) -> Vec<u8> {
        self.first.seal(name, plain)
    }

    /// Opens what any of the keys sealed for this name.
    ///
    /// # Errors
    /// [`NotSealedHere`], whatever is wrong.
    pub fn open(&self, name: &[u8], sealed: &[u8]) -> Result<Opened, NotSealedHere> {
        let id = sealed.get(1..HEAD_BYTES).filter(|_| sealed.first() == Some(&VERSION)).ok_or(NotSealedHere)?;
        let candidates = std::iter::once((&self.first, true)).chain(self.others.iter().map(|key| (key, false)));
        // Two keys may have the same id, if only once in four billion.
        for (key, is_current) in candidates.filter(|(key, _)| key.id == id) {
            if let Ok(plain) = key.open(name, sealed) {
                return Ok(Opened { plain, is_current });
            }
        }
        Err(NotSealedHere)
    }

    /// [`KeyRing::seal`], as base64url for a cookie or an address.
    pub fn seal_text(&self, name: &str, plain: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.seal(name.as_bytes(), plain))
    }

    /// Opens what [`KeyRing::seal_text`] gave. One value has one spelling: padding and stray bits are refused.
    ///
    /// # Errors
    /// [`NotSealedHere`], whatever is wrong.
    pub fn open_text(&self, name: &str, sealed: &str) -> Result<Opened, NotSealedHere> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotSealedHere)?;
        self.open(name.as_bytes(), &sealed)
    }
}

impl PurposeKey {
    #[expect(clippy::expect_used, reason = "a key of 32 bytes is what the algorithm takes")]
    fn derive(master: &MasterKey, purpose: &str) -> Self {
        let key = master.derive::<KEY_BYTES>("seal", purpose);
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).expect("AES-256 takes 32 bytes");
        Self { id: *master.derive("key id", purpose), key }
    }

    #[expect(clippy::expect_used, reason = "sealing fails only beyond 64 GiB or without randomness")]
    fn seal(&self, name: &[u8], plain: &[u8]) -> Vec<u8> {
        let head = self.head();
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.extend_from_slice(&head);
        sealed.extend_from_slice(&[0; NONCE_LEN]);
        sealed.extend_from_slice(plain);
        let (front, text) = sealed.split_at_mut(HEAD_BYTES + NONCE_LEN);
        let (nonce, tag) =
            self.key.seal_in_place_separate_tag(Aad::from(authenticated(&head, name)), text).expect("sealed");
        let (_, place) = front.split_at_mut(HEAD_BYTES);
        place.copy_from_slice(nonce.as_ref());
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    fn open(&self, name: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealedHere> {
        let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(NotSealedHere)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(NotSealedHere)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotSealedHere)?;
        let mut plain = Zeroizing::new(text.to_vec());
        let opened = self.key.open_in_place(nonce, Aad::from(authenticated(head, name)), &mut plain);
        let length = opened.map_err(|_| NotSealedHere)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut head = [VERSION; HEAD_BYTES];
        head[1..].copy_from_slice(&self.id);
        head
    }
}

/// The head has a fixed length, so that it and the name can't run into one another.
fn authenticated(head: &[u8], name: &[u8]) -> SmallVec<[u8; 96]> {
    let mut all = SmallVec::from_slice(head);
    all.extend_from_slice(name);
    all
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKeys({})", 1 + self.others.len())
    }
}

impl std::fmt::Debug for PurposeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests;
