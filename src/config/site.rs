//! `sites`: browser applications that people sign in to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{ByteSize, Period, words};

pub const IDLE_TIMEOUT: Period = Period::hours(1);
pub const ABSOLUTE_TIMEOUT: Period = Period::hours(12);

/// A browser application that people sign in to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// The origin that browsers know it by: scheme, host and port; http only on loopback.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Names of entries under `clients`: with one people go straight on, of several they choose.
    #[schemars(required)]
    pub sign_in: Vec<String>,
    /// What the provider is asked for.
    pub response_type: ResponseType,
    /// How the provider's answer comes back; `query` for `code`, else `form_post`, unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_mode: Option<ResponseMode>,
    /// Parameters that are passed on to the provider as they are.
    pub authorize: Authorize,
    /// Merge the userinfo answer into the claims; its `sub` must agree.
    pub userinfo: bool,
    /// The session cookie.
    pub cookie: Cookie,
    /// A session that was not used for so long is over.
    pub idle_timeout: Period,
    /// A session is over so long after the sign-in, used or not.
    pub absolute_timeout: Period,
    /// Where people land after they signed out; a built-in page unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_sign_out: Option<String>,
    /// Addresses beside the site itself to which people may be sent after signing in or out.
    pub allowed_redirects: Vec<String>,
    /// Requests that another site causes a browser to send with the session.
    pub cross_site: CrossSite,
    /// Bytes of a form that are kept across a sign-in; 0: none.
    pub preserve_post: ByteSize,
    /// Whether the provider may end sessions by a call to Postern.
    pub back_channel_logout: BackChannelLogout,
    /// What becomes of WebSockets and streams when the session that opened them ends.
    pub long_lived: LongLived,
    /// How Postern's own pages look.
    pub pages: Pages,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            url: None,
            sign_in: Vec::new(),
            response_type: ResponseType::Code,
            response_mode: None,
            authorize: Authorize::default(),
            userinfo: false,
            cookie: Cookie::default(),
            idle_timeout: IDLE_TIMEOUT,
            absolute_timeout: ABSOLUTE_TIMEOUT,
            after_sign_out: None,
            allowed_redirects: Vec::new(),
            cross_site: CrossSite::default(),
            preserve_post: ByteSize(0),
            back_channel_logout: BackChannelLogout::Auto,
            long_lived: LongLived::End,
            pages: Pages::default(),
        }
    }
}

words! {
    /// The `response_type` of the authorization request (RFC 6749 section 3.1.1, OIDC Core section 3).
    ResponseType {
        #[default] Code = "code", CodeIdToken = "code id_token", IdToken = "id_token",
        IdTokenToken = "id_token token", CodeToken = "code token", CodeIdTokenToken = "code id_token token",
    }
    refused { "token" => "says nobody who signed in: `id_token token`, or better `code`" }
}
words! {
    /// The `response_mode` of the authorization request. `jwt` is the signed form (JARM) of what is usual for the type.
    ResponseMode {
        #[default] Query = "query", FormPost = "form_post", Fragment = "fragment", Jwt = "jwt",
        QueryJwt = "query.jwt", FormPostJwt = "form_post.jwt", FragmentJwt = "fragment.jwt",
    }
}
words! {
    /// `auto` takes logout tokens; `required` also refuses a set-up in which they could not reach every process.
    BackChannelLogout { #[default] Auto = "auto", Required = "required", Off = "off" }
}
words! {
    /// What becomes of WebSockets and streams when their session ends.
    LongLived { #[default] End = "end", Keep = "keep" }
}
words! {
    /// When browsers send the session cookie along with what another site caused.
    SameSite { #[default] Lax = "lax", Strict = "strict", None = "none" }
}
words! {
    /// What becomes of unsafe methods and upgrades that another site caused.
    UnsafeRequests { #[default] Refuse = "refuse", Pass = "pass" }
}

/// Parameters of the authorization request; `login_hint` is taken from the start link.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Authorize {
    /// `login`, `consent`, `select_account`, `none`; space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Authentication contexts in order of preference, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr_values: Option<String>,
    /// The longest time since people last authenticated at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
    /// Languages for the provider's pages, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui_locales: Option<String>,
}

/// The session cookie.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cookie {
    /// Its name; `__Host-postern-SITE` unless given, `postern-SITE` on an http site or with a domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When browsers send it along with what another site caused.
    pub same_site: SameSite,
    /// Share it with all hosts of this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Requests that another site causes a browser to send with the session.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossSite {
    /// Methods other than GET, HEAD and OPTIONS, and upgrades: `refuse` answers 403.
    #[serde(rename = "unsafe")]
    pub unsafe_requests: UnsafeRequests,
    /// Paths for which such requests pass.
    pub allow: Vec<String>,
}

/// How Postern's own pages look.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pages {
    /// A style sheet, relative to the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub css: Option<PathBuf>,
    /// A picture (SVG or PNG), relative to the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<PathBuf>,
    /// The site's name for people; its name here unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
