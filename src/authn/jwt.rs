//! The local check of a signed token. Comes in: a token, taken apart, and the issuer that it names. Goes out: a caller,
//! freshly checked. The order is cheapest first, and nothing that can be refused without a key ever causes a fetch or a
//! signature check.

use std::sync::Arc;

use super::AuthnError;
use super::cache::Remembered;
use crate::caller::{Caller, Claims, How, Identity};
use crate::clock::Time;
use crate::idp::{Issuer, Keys, KeysUnavailable};
use crate::jose::claims::{self, Stated};
use crate::jose::{Jws, verify};
use crate::reason::Reason;

/// Checks a token against its issuer's rules and keys.
pub(super) async fn checked(
    issuer: &Issuer,
    jws: &Jws<'_>,
    claims: Claims,
    now: Time,
) -> Result<Remembered, AuthnError> {
    let settings = issuer.settings();
    if !settings.algorithms.contains(jws.header.algorithm) {
        return Err(AuthnError::Invalid(Reason::TokenAlgorithm));
    }
    let stated = claims::judge(&jws.header, &claims, &issuer.expected(), now).map_err(AuthnError::Invalid)?;
    let keys = keys_for(issuer, jws).await?;
    verify::verify(jws, &keys.set).map_err(|error| AuthnError::Invalid(error.reason()))?;
    let Stated { subject, client_id, kind, scopes, expires_at, usable_from, usable_until } = stated;
    let caller = Caller::new(Identity {
        issuer: Arc::clone(&settings.name),
        iss: Arc::clone(&settings.issuer),
        subject,
        client_id,
        kind,
        how: How::Jwt,
        scopes,
        claims,
        expires_at,
    });
    let generation = keys.generation;
    let (caller, issuer) = (Arc::new(caller), issuer.id());
    Ok(Remembered { caller, issuer, generation: Some(generation), answered: None, usable_from, usable_until })
}

/// The keys to look in: as they are, unless the token names one that is not there.
async fn keys_for(issuer: &Issuer, jws: &Jws<'_>) -> Result<Arc<Keys>, AuthnError> {
    let keys = match jws.header.kid.as_deref() {
        Some(kid) => issuer.keys_with(kid).await,
        None => issuer.keys(),
    };
    let reason = Reason::IssuerUnreachable;
    keys.map_err(|KeysUnavailable { retry_after }| AuthnError::Unavailable { reason, retry_after })
}
