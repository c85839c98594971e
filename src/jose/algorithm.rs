//! Which signature algorithms exist for us, and which of them an issuer may use. `none` and the HMAC family have no
//! value here: a key set is public, so a token "signed" with what it holds proves nothing (RFC 8725 section 3.1).

/// A signature algorithm with an asymmetric key (RFC 7518 section 3.1, RFC 8037, RFC 8812, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    Es256k,
    /// The older name, which leaves the curve to the key (RFC 8037); with us the curve is Ed25519.
    EdDsa,
    /// The fully specified name of the same signature (RFC 9864).
    Ed25519,
}

impl Algorithm {
    pub const ALL: &'static [Self] = &[
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Es256k,
        Self::EdDsa,
        Self::Ed25519,
    ];

    /// The registered name. Names are case-sensitive (RFC 7515 section 4.1.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Es256k => "ES256K",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no asymmetric signature algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no asymmetric signature algorithm")]
pub struct UnknownAlgorithm(pub String);

/// The algorithms that an issuer may sign with. All of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    pub const NONE: Self = Self(0);

    /// # Errors
    /// [`UnknownAlgorithm`] names the first that is not in [`Algorithm::ALL`]; `none` and `HS256` are among those.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownAlgorithm> {
        names.into_iter().map(|name| Algorithm::parse(name).ok_or_else(|| UnknownAlgorithm(name.to_owned()))).collect()
    }

    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.iter().copied().filter(move |algorithm| self.contains(*algorithm))
    }
}

impl Default for AlgorithmSet {
    fn default() -> Self {
        Algorithm::ALL.iter().copied().collect()
    }
}

impl FromIterator<Algorithm> for AlgorithmSet {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, algorithm| bits | algorithm.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_neither_none_nor_hmac_is_one() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(*algorithm));
            assert!(AlgorithmSet::default().contains(*algorithm));
        }
        for name in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "rs256", "RS256 ", "Ed448", "RS1"] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_set_holds_what_was_named() {
        let set = AlgorithmSet::parse(["RS256", "EdDSA"]).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Algorithm::Rs256, Algorithm::EdDsa]);
        assert!(!set.contains(Algorithm::Ed25519), "the newer name is allowed only where it is named");
        assert_eq!(AlgorithmSet::parse(["RS256", "HS256"]), Err(UnknownAlgorithm("HS256".to_owned())));
        assert!(AlgorithmSet::parse([]).unwrap().is_empty());
    }
}
