//! Randomness from the system, and request ids drawn from a buffer of it.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Fills an array with random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing secure can be done then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

#[expect(clippy::expect_used, reason = "without randomness nothing secure can go on; failing closed is right")]
fn fill(out: &mut [u8]) {
    SystemRandom::new().fill(out).expect("the operating system gives random bytes");
}

/// 256 random bits as base64url: ids, verifiers, nonces.
pub fn token() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// Makes UUIDv7 request ids (RFC 9562 section 5.7) without a system call each: one worker's buffer of random bytes is
/// refilled every 400 ids.
pub struct RequestIds {
    pool: Box<[u8; 4000]>,
    used: usize,
}

impl RequestIds {
    pub fn new() -> Self {
        Self { pool: Box::new([0; 4000]), used: 4000 }
    }

    pub fn next(&mut self, now: crate::clock::Time) -> uuid::Uuid {
        if self.used + 10 > self.pool.len() {
            fill(&mut self.pool[..]);
            self.used = 0;
        }
        let mut chance = [0; 10];
        chance.copy_from_slice(&self.pool[self.used..self.used + 10]);
        self.used += 10;
        uuid::Builder::from_unix_timestamp_millis(now.millis(), &chance).into_uuid()
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}
