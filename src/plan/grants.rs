//! Grant types, checked: that what a client may use makes sense together, and that whoever relies on a grant relies on one
//! that its client may use.

use super::findings::Findings;
use super::settings::ClientSettings;
use crate::config::ValuePath;
use crate::config::client::{Authentication, Client, GrantType};

/// Refuses grant types that do not go together on one client, each with the reason.
pub(super) fn combination(findings: &mut Findings<'_>, at: &ValuePath, written: &Client) {
    use GrantType::{AuthorizationCode, ClientCredentials, Hybrid, Implicit, Password, RefreshToken};
    let has = |grant_type| written.allowed_grant_types.as_slice().contains(&grant_type);
    let here = at.key("allowed_grant_types");
    if has(Implicit) && (has(AuthorizationCode) || has(Hybrid)) {
        let other = if has(AuthorizationCode) { AuthorizationCode } else { Hybrid };
        let message = format!(
            "`implicit` beside `{}`: a client that can keep a code to itself has no use for tokens in the browser",
            other.word()
        );
        findings.error_with(&here, message, "leave `implicit` out, or give it a client of its own");
    }
    if has(AuthorizationCode) && has(Hybrid) {
        let message = "`authorization_code` beside `hybrid`: which answers are taken would be the browser's choice";
        findings.error_with(&here, message, "one of the two; another client for the other");
    }
    let yields = [AuthorizationCode, Hybrid, Password].into_iter().any(has);
    if has(RefreshToken) && !yields {
        let message = "`refresh_token` without a grant that yields one";
        findings.error_with(&here, message, "leave it out, or add `authorization_code`, `hybrid` or `password`");
    }
    if has(ClientCredentials) && written.authentication == Authentication::None {
        let message = "`client_credentials` without credentials: anybody could be a client that shows none";
        findings.error_with(&here, message, "leave it out, or another `authentication` than `none`");
    }
    if let Some(index) = written.scopes.iter().position(|scope| scope == "offline_access")
        && !has(RefreshToken)
    {
        let message = "`offline_access` asks for a refresh token that the client may not use";
        let hint = "leave it out, or add `refresh_token` to `allowed_grant_types`";
        findings.error_with(&at.key("scopes").index(index), message, hint);
    }
    if written.allow_access_tokens_via_browser && !has(Implicit) && !has(Hybrid) {
        let message = "has no effect: no grant of this client sends tokens through the browser";
        findings.warning(&at.key("allow_access_tokens_via_browser"), message, "leave it out");
    }
}

/// Whether a client may use a grant; if not, the finding at `at` names both, and the line to change.
pub(super) fn allowed(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    client: &ClientSettings,
    grant_type: GrantType,
) -> bool {
    let is_allowed = client.grant_types.contains(&grant_type);
    if !is_allowed {
        let grant_type = grant_type.word();
        let message = format!("`{}` may not use `{grant_type}`", client.name);
        let (path, place) = line(findings, &client.name, "allowed_grant_types");
        findings.error_with(at, message, format!("add `{grant_type}` to `{path}`{place}"));
    }
    is_allowed
}

/// The client that `name` means, if it may use the grant. `at` is where the name stands.
pub(super) fn client(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[ClientSettings],
    name: &str,
    grant_type: GrantType,
) -> Option<usize> {
    let found = known.iter().enumerate().find(|(_, client)| &*client.name == name);
    let Some((index, client)) = found else {
        let configured = &findings.loaded.config.clients;
        if !configured.contains_key(name) {
            findings.unknown_name(at, ("client", "clients"), name, configured.keys().map(String::as_str));
        }
        return None;
    };
    allowed(findings, at, client, grant_type).then_some(index)
}

/// The path of a client's key, and in words where it, or what is nearest to it, was written.
pub(super) fn line(findings: &Findings<'_>, client: &str, key: &str) -> (ValuePath, String) {
    let path = ValuePath::root().key("clients").key(client).key(key);
    let place = findings.loaded.places.locate(&path).map(|place| format!(", {}", place.label));
    (path, place.unwrap_or_default())
}
