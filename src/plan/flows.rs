//! What a site asks its provider for, checked: a response type that its clients may use, and a response mode that does not
//! put tokens where they would be seen.

use super::findings::Findings;
use super::grants;
use super::settings::ClientSettings;
use crate::config::ValuePath;
use crate::config::client::GrantType;
use crate::config::site::{ResponseMode, ResponseType, Site};
use crate::login::{Carrier, Flow, Mode};

/// How the answers of a site's flow come back; `at` is the site's place.
pub(super) fn mode(findings: &mut Findings<'_>, at: &ValuePath, flow: Flow, written: &Site) -> Option<Mode> {
    let mode = mode_of(flow, written.response_mode);
    let mut is_good = true;
    if flow.brings_tokens() && mode.carrier == Carrier::Query {
        // OAuth 2.0 Multiple Response Types section 3; JARM section 2.3.1 says the same of its own.
        let message = format!("`{}` brings tokens, which in a query stand in logs and histories", flow.name);
        findings.error_with(&at.key("response_mode"), message, "leave it out: `form_post`");
        is_good = false;
    }
    if written.userinfo && !flow.code && !flow.access_token {
        let message = format!("`{}` brings no access token to ask userinfo with", flow.name);
        findings.error_with(&at.key("userinfo"), message, "leave it out, or `response_type: code`");
        is_good = false;
    }
    is_good.then_some(mode)
}

/// Whether a client may use a flow: the grant behind it, and tokens in the browser where it has some there. `at` is where
/// the client is named.
pub(super) fn may_use(findings: &mut Findings<'_>, at: &ValuePath, client: &ClientSettings, flow: Flow) -> bool {
    if !grants::allowed(findings, at, client, grant_of(flow)) {
        return false;
    }
    let is_allowed = !flow.access_token || client.allow_access_tokens_via_browser;
    if !is_allowed {
        let message = format!("`{}` may not get access tokens through the browser: `{}`", client.name, flow.name);
        let (path, place) = grants::line(findings, &client.name, "allow_access_tokens_via_browser");
        let hint = format!("`{path}: true`{place}; or a `response_type` without `token` (RFC 9700 section 2.1.2)");
        findings.error_with(at, message, hint);
    }
    is_allowed
}

/// The grant that a response type is one of.
fn grant_of(flow: Flow) -> GrantType {
    match (flow.code, flow.brings_tokens()) {
        (true, false) => GrantType::AuthorizationCode,
        (true, true) => GrantType::Hybrid,
        (false, _) => GrantType::Implicit,
    }
}

pub(super) const fn of(written: ResponseType) -> Flow {
    match written {
        ResponseType::Code => Flow::CODE,
        ResponseType::CodeIdToken => Flow::CODE_ID_TOKEN,
        ResponseType::IdToken => Flow::ID_TOKEN,
        ResponseType::IdTokenToken => Flow::ID_TOKEN_TOKEN,
        ResponseType::CodeToken => Flow::CODE_TOKEN,
        ResponseType::CodeIdTokenToken => Flow::CODE_ID_TOKEN_TOKEN,
    }
}

fn mode_of(flow: Flow, written: Option<ResponseMode>) -> Mode {
    let usual = if flow.brings_tokens() { Mode::FORM_POST } else { Mode::QUERY };
    match written {
        None => usual,
        Some(ResponseMode::Query) => Mode::QUERY,
        Some(ResponseMode::FormPost) => Mode::FORM_POST,
        Some(ResponseMode::Fragment) => Mode::FRAGMENT,
        Some(ResponseMode::Jwt) => usual.signed(),
        Some(ResponseMode::QueryJwt) => Mode::QUERY.signed(),
        Some(ResponseMode::FormPostJwt) => Mode::FORM_POST.signed(),
        Some(ResponseMode::FragmentJwt) => Mode::FRAGMENT.signed(),
    }
}
