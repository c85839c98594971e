//! Keyed digests of tokens: what caches use as key, so that no bearer token lies in memory longer than its request.

use aws_lc_rs::digest::{Context, SHA256};

use super::random;

/// A key of this process alone, so that a digest means nothing outside it; or one that replicas share, where they must
/// find each other's records ([`super::MasterKeys::digest_key`]).
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

/// 256-bit keyed digest of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl DigestKey {
    pub fn random() -> Self {
        Self(random::bytes())
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 over key and text. The key has a fixed length and digests are only compared with each other, so the
    /// length extension of a plain hash gains nothing.
    pub fn digest(&self, token: &[u8]) -> TokenDigest {
        self.digest_parts(&[token])
    }

    /// The same over parts; all but the last are of one length wherever the same key is used, so that they have one
    /// reading.
    pub fn digest_parts(&self, parts: &[&[u8]]) -> TokenDigest {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        TokenDigest(out)
    }
}

impl TokenDigest {
    /// The digest itself, for the name of a record.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[digest]")
    }
}
