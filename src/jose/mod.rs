//! JSON Object Signing (RFC 7515, 7517, 7518, 8037, 9864) and the claims of access tokens (RFC 7519, 8725, 9068),
//! knowing nothing of HTTP, of files or of the clock. Comes in: the text of a token, a key set, and what is expected.
//! Goes out: typed facts, or the one [`Reason`](crate::reason::Reason) why not.
//!
//! A token is read in this order, cheapest first: shape and header ([`token`]), claims ([`claims`]), key ([`keyset`]),
//! signature ([`verify`]). Nothing that a token says of itself is believed before the last step; it can only be
//! refused earlier.

pub mod algorithm;
pub mod claims;
pub mod json;
pub mod jwk;
pub mod keyset;
pub mod sign;
pub mod token;
pub mod verify;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use claims::{Audiences, Expected, TokenType};
pub use jwk::PreparedKey;
pub use keyset::KeySet;
pub use sign::SigningKey;
pub use token::{Header, Jws};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Unpadded base64url in its one canonical form (RFC 7515 section 2): padding, other alphabets, white space and
/// non-zero trailing bits are refused, so that one signed token has one spelling.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod wycheproof;
