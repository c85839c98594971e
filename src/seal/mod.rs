//! Secrets, digests and randomness: what must not be printed, compared carelessly, or guessed.

pub mod digest;
pub mod random;
pub mod secret;

pub use digest::{DigestKey, TokenDigest};
pub use secret::Secret;
