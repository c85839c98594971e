//! Which grant follows from the answers, and why. Where the advice of today (RFC 9700) differs from old practice, it says what
//! to use instead.

use super::questions::{Answers, is};

/// A grant, and why it is the one.
pub struct Advice {
    pub grant: &'static str,
    pub why: &'static str,
    /// For what is legacy: what to use instead.
    pub instead: Option<&'static str>,
}

/// The leaves of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Callers bring tokens that they got for themselves.
    Machine,
    /// Machines that can only send their id and secret.
    MachineBasic,
    Code,
    Hybrid,
    Password,
    /// Apps that bring tokens of their users.
    Native,
    SinglePageApp,
    Implicit,
}

impl Leaf {
    /// `None` while the deciding questions are not all answered.
    pub fn of(answers: &Answers) -> Option<Self> {
        let yes = |name| is(answers, name, "yes");
        let no = |name| is(answers, name, "no");
        Some(match () {
            () if yes("gets_tokens") => Self::Machine,
            () if no("gets_tokens") => Self::MachineBasic,
            () if yes("issuer_insists_on_hybrid") => Self::Hybrid,
            () if no("issuer_insists_on_hybrid") => Self::Code,
            () if yes("trusted_with_credentials") => Self::Password,
            () if is(answers, "client", "native") => Self::Native,
            () if yes("issuer_lacks_code") => Self::Implicit,
            () if no("issuer_lacks_code") => Self::SinglePageApp,
            () => return None,
        })
    }

    pub const fn advice(self) -> Advice {
        let (grant, why, instead) = match self {
            Self::Machine => (
                "client credentials, by the callers",
                "They own what they ask for: each gets a token for itself (RFC 6749 section 4.4), and Postern checks it.",
                None,
            ),
            Self::MachineBasic => (
                "client credentials, by Postern for its callers",
                "They send their id and secret (HTTP Basic), which Postern exchanges for their token.",
                Some("let them get tokens themselves as soon as they can: then no API sees their secret"),
            ),
            Self::Code => (
                "authorization code with PKCE",
                "A server can keep a code to itself: the tokens never reach the browser (RFC 9700 section 2.1.1).",
                None,
            ),
            Self::Hybrid => (
                "hybrid (code and ID token)",
                "The issuer gives no choice; the ID token is checked first, and binds the code by its hash.",
                Some("authorization code with PKCE, as soon as the issuer takes it (RFC 9700 section 2.1.1)"),
            ),
            Self::Password => (
                "resource owner password",
                "The client can send nothing but a name and a password, and is trusted with them.",
                Some(
                    "RFC 9700 section 2.4: it must not be used. A sign-in by code for people, client credentials for machines",
                ),
            ),
            Self::Native => (
                "authorization code with PKCE, by the app",
                "An app keeps no secret and needs none: PKCE binds the code to it (RFC 8252, RFC 7636). Postern checks its tokens.",
                None,
            ),
            Self::SinglePageApp => (
                "authorization code with PKCE, by the app",
                "What used to be implicit is code and PKCE today (RFC 9700 section 2.1.2). Postern checks its tokens.",
                None,
            ),
            Self::Implicit => (
                "implicit, for sign-in only",
                "The issuer has nothing else; Postern takes the ID token, posted by the issuer's page, and keeps a session.",
                Some("authorization code with PKCE, as soon as the issuer takes it (RFC 9700 section 2.1.2)"),
            ),
        };
        Advice { grant, why, instead }
    }
}
