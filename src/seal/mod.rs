//! Secrets, sealing, digests and randomness: what must not be printed, read, compared carelessly, or guessed.

pub mod digest;
pub mod random;
pub mod ring;
pub mod secret;

pub use digest::{DigestKey, TokenDigest};
pub use ring::{KeyRing, MasterKey, MasterKeyError, MasterKeys, NotSealedHere, Opened};
pub use secret::Secret;
