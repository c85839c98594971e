//! A code for tokens (RFC 6749 section 4.1.3), with its PKCE verifier (RFC 7636). A code works once; a second try ends
//! every token that came of the first (RFC 6749 section 4.1.2).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::Reply;
use crate::devidp::answer::OAuthError;
use crate::devidp::faults::Fault;
use crate::devidp::form::Asked;
use crate::devidp::issue::{self, Beside};
use crate::devidp::model::Grant;
use crate::devidp::realm::Realm;
use crate::devidp::settings::ClientEntry;

pub fn grant(realm: &Realm, client: &ClientEntry, asked: &Asked, fault: Option<&Fault>) -> Result<Reply, OAuthError> {
    let grant = redeem(realm, client, asked)?;
    let reply = Reply::new(realm, client, &grant)?;
    let refresh = issue::refresh_token(realm, client, &grant);
    let beside = Beside { access_token: Some(&reply.access_token), code: None };
    let id_token = grant.has("openid").then(|| issue::id_token(realm, client, &grant, beside, fault)).transpose()?;
    Ok(reply.with("refresh_token", refresh).with("id_token", id_token))
}

fn redeem(realm: &Realm, client: &ClientEntry, asked: &Asked) -> Result<Grant, OAuthError> {
    let given = asked.form.get("code").ok_or(OAuthError::invalid_request("code is missing"))?;
    let now = realm.now();
    let mut state = realm.state();
    let unknown = OAuthError::invalid_grant("the code is unknown or has expired");
    let code = state
        .codes
        .look_mut(given, now)
        .filter(|code| code.grant.client_id == client.client_id)
        .ok_or(unknown.clone())?;
    let grant = code.grant.clone();
    // Used up by the attempt, whether or not it goes well.
    if std::mem::replace(&mut code.used, true) {
        state.end_grant(&grant.id, now);
        return Err(OAuthError::invalid_grant("the code was used before"));
    }
    if code.expires <= now {
        return Err(unknown);
    }
    if asked.form.get("redirect_uri") != Some(&code.redirect_uri) {
        return Err(OAuthError::invalid_grant("redirect_uri is not the one of the authorization request"));
    }
    match (&code.code_challenge, asked.form.get("code_verifier")) {
        (Some(challenge), Some(verifier)) if verifier_fits(challenge, verifier) => Ok(grant),
        // RFC 9700 section 2.1.1: a verifier without a challenge is a downgrade.
        (None, None) => Ok(grant),
        (None, Some(_)) => Err(OAuthError::invalid_grant("a code_verifier without a code_challenge")),
        (Some(_), _) => Err(OAuthError::invalid_grant("the code_verifier is missing or wrong")),
    }
}

/// RFC 7636 sections 4.1 and 4.6, S256.
fn verifier_fits(challenge: &str, verifier: &str) -> bool {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if !(43..=128).contains(&verifier.len()) || !verifier.chars().all(unreserved) {
        return false;
    }
    let computed = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    computed.as_bytes().ct_eq(challenge.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_of_rfc_7636_appendix_b_fits_its_challenge() {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(verifier_fits(challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!verifier_fits(challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"));
        assert!(!verifier_fits(challenge, "short"));
    }
}
