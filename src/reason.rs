//! Every way to say no. A [`Reason`] is the stable code that the log, the metric and the operator's documentation
//! (`docs/reasons.md`) share; the client never sees it.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why a request was refused. The code is stable: dashboards and alerts rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

reasons! {
    /// The bytes before the end of the head are not HTTP/1.1 as RFC 9112 has it.
    RequestMalformed = "request.malformed",
    /// Content-Length, Transfer-Encoding or the chunked body are ambiguous or broken (RFC 9112 section 6).
    RequestFraming = "request.framing",
    /// The request target has no single reading (configuration contract, section 3).
    RequestTarget = "request.target",
    /// A header field is malformed, or one that must be single came twice.
    RequestHeader = "request.header",
    /// Host is missing, repeated, malformed, or differs from `:authority` or the absolute target.
    RequestHost = "request.host",
    /// CONNECT, TRACE or a malformed method.
    RequestMethod = "request.method",
    TargetTooLong = "request.target_too_long",
    HeaderTooLarge = "request.header_too_large",
    BodyTooLarge = "request.body_too_large",
    HeadTimeout = "request.head_timeout",
    BodyTimeout = "request.body_timeout",
    /// The client went away before it was answered.
    ClientGone = "request.client_gone",
    RouteNone = "route.none",
    RouteMethod = "route.method",
    CredentialMissing = "credential.missing",
    /// `Bearer` with nothing, or with what is no b64token (RFC 6750 section 2.1).
    CredentialMalformed = "credential.malformed",
    /// More than one `Authorization`, or a token in two places (RFC 6750 section 2).
    CredentialRepeated = "credential.repeated",
    TokenMalformed = "token.malformed",
    TokenAlgorithm = "token.algorithm",
    TokenType = "token.type",
    TokenCritical = "token.critical",
    TokenKey = "token.key",
    TokenSignature = "token.signature",
    TokenIssuer = "token.issuer",
    TokenAudience = "token.audience",
    /// An introspection answer without `aud`, and `introspection.missing_audience` is `refuse`.
    TokenAudienceMissing = "token.audience_missing",
    TokenExpired = "token.expired",
    TokenNotYetValid = "token.not_yet_valid",
    /// A registered claim is missing or has the wrong type.
    TokenClaims = "token.claims",
    /// An ID token, logout token or other token that is no access token.
    TokenNotAccess = "token.not_access",
    /// A sender-constrained token (`cnf`) without a proof that can be checked.
    TokenBound = "token.bound",
    /// The issuer says that the token is not active, or does not say that it is (RFC 7662 section 2.2).
    TokenInactive = "token.inactive",
    ScopeMissing = "scope.missing",
    ClaimsMismatch = "claims.mismatch",
    PolicyDenied = "policy.denied",
    PolicyError = "policy.error",
    StepUpAcr = "step_up.acr",
    StepUpAge = "step_up.age",
    /// What came to the callback is no answer to the question: wrong method, twice the same parameter, nothing of what was
    /// asked for.
    LoginAnswer = "login.answer",
    /// The answer's `state` belongs to no attempt of this browser.
    LoginState = "login.state",
    LoginReplayed = "login.replayed",
    /// The answer is not surely that of the provider which was asked (RFC 9207).
    LoginIssuer = "login.issuer",
    /// The provider answered with an error.
    LoginProvider = "login.provider",
    /// The token endpoint did not exchange the code.
    LoginCode = "login.code",
    LoginIdToken = "login.id_token",
    LoginUserinfo = "login.userinfo",
    /// A logout token that breaks a rule, or came before.
    LogoutToken = "logout.token",
    /// An unsafe method or an upgrade that another site caused, with a session.
    SessionCrossSite = "session.cross_site",
    /// Where sessions are kept gives no answer.
    SessionStore = "session.store",
    /// More than cookies can hold.
    SessionTooLarge = "session.too_large",
    /// The session's tokens are over, and the issuer can't be asked for new ones.
    SessionIssuer = "session.issuer",
    /// The issuer's keys are not there yet, or older than `max_stale`, or a needed refetch failed.
    IssuerUnreachable = "issuer.unreachable",
    /// The introspection endpoint is not known, can't be reached, did not answer in time, or broke off.
    IntrospectionUnreachable = "introspection.unreachable",
    /// It does not let our client introspect.
    IntrospectionRefused = "introspection.refused",
    /// Its answer is none: another status, another media type, no JSON, or not signed as it should be.
    IntrospectionAnswer = "introspection.answer",
    /// It failed several times in a row, and is left alone for a while.
    IntrospectionBroken = "introspection.broken",
    /// As many introspections as may be are under way.
    IntrospectionBusy = "introspection.busy",
    /// The client's address showed too many tokens that were none.
    IntrospectionBudget = "introspection.budget",
    /// The issuer does not exchange the caller's token for one of the upstream (RFC 8693 section 2.2.2).
    ExchangeRefused = "exchange.refused",
    /// A token for the upstream can't be had now.
    UpstreamTokenUnavailable = "upstream_token.unavailable",
    /// The issuer gives our client none.
    UpstreamTokenRefused = "upstream_token.refused",
    /// A name and a password that are none (RFC 7617).
    BasicRefused = "basic.refused",
    /// This name, or this client's address, showed too many that are none.
    BasicLimited = "basic.limited",
    /// The token endpoint gave no answer about a name and a password.
    BasicUnavailable = "basic.unavailable",
    /// It does not let our client ask.
    BasicClient = "basic.client",
    /// The token that it gave is none that this route takes.
    BasicToken = "basic.token",
    UpstreamUnreachable = "upstream.unreachable",
    UpstreamUnhealthy = "upstream.unhealthy",
    UpstreamReset = "upstream.reset",
    UpstreamProtocol = "upstream.protocol",
    UpstreamTimeout = "upstream.timeout",
    UpstreamQueueFull = "upstream.queue_full",
    Overloaded = "gateway.overloaded",
    Internal = "gateway.internal",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}
