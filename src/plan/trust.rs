//! How far each issuer's tokens are trusted: by signature, by asking, or both. Comes in: checked issuers and the living
//! ones. Goes out: what a route's bearer way is built from, one for each issuer, shared by all routes.

use std::sync::Arc;

use super::compile::{Wiring, client_identity};
use super::settings::{Checked, IntrospectionSettings, IssuerSettings, KeySource};
use crate::authn::{self, AnswerLimits, Introspection, IntrospectionWiring, SharedAnswers, StoredAnswers, Trusted};
use crate::config::issuer::{MissingAudience, Tokens};
use crate::idp::introspect::{Introspector, IntrospectorSettings};
use crate::idp::{self, Issuer};
use crate::kv::Kv;

/// One for each issuer, in their order.
pub(super) fn trusted(checked: &Checked, issuers: &[Arc<Issuer>], redis: Option<&Kv>, wiring: &Wiring) -> Vec<Trusted> {
    let both = checked.issuers.iter().zip(issuers);
    both.map(|(written, issuer)| Trusted {
        issuer: Arc::clone(issuer),
        signs: written.tokens != Tokens::Opaque,
        answers: written.tokens != Tokens::Jwt,
        confirms: written.introspect_jwts,
        introspection: written.introspection.and_then(|written| {
            let shared = shared(checked, &written, redis, wiring);
            introspection(checked, &written, issuer, shared, wiring)
        }),
    })
    .collect()
}

/// The second level, where answers are shared.
fn shared(
    checked: &Checked,
    written: &IntrospectionSettings,
    redis: Option<&Kv>,
    wiring: &Wiring,
) -> Option<Arc<dyn SharedAnswers>> {
    let (redis, keys) = (redis.filter(|_| written.shared)?, checked.sessions.keys.as_ref()?);
    Some(Arc::new(StoredAnswers::new(redis.clone(), keys, (written.ttl, written.timeout), wiring.clock.clone())))
}

fn introspection(
    checked: &Checked,
    written: &IntrospectionSettings,
    issuer: &Arc<Issuer>,
    shared: Option<Arc<dyn SharedAnswers>>,
    wiring: &Wiring,
) -> Option<Arc<Introspection>> {
    let client = client_identity(checked.clients.get(written.client)?);
    let settings = IntrospectorSettings { client, signed: written.signed, timeout: written.timeout };
    let introspector = Introspector::new(Arc::clone(issuer), settings, wiring.clock.clone());
    let settings = authn::IntrospectionSettings {
        answers: AnswerLimits {
            ttl: written.ttl,
            negative_ttl: written.negative_ttl,
            entries: written.max_entries,
            bytes: written.max_bytes,
            obey_no_store: written.obey_no_store,
            stale_if_error: written.stale_if_error,
        },
        needs_audience: written.missing_audience == MissingAudience::Refuse,
        concurrency: written.concurrency,
        failures_per_client: written.failures_per_client,
    };
    let wiring = IntrospectionWiring {
        clock: wiring.clock.clone(),
        control: wiring.control.clone(),
        memory: Arc::clone(&wiring.memory),
        shared,
    };
    Some(Introspection::new(introspector, settings, wiring))
}

/// Where the keys come from. An issuer that is only asked needs none; what it publishes is taken all the same, unless its
/// endpoint is configured and nothing of it has to be discovered.
pub(super) fn keys(written: &IssuerSettings) -> idp::KeySource {
    match &written.keys {
        KeySource::Discovery if is_only_asked(written) && written.endpoints.introspection.is_some() => {
            idp::KeySource::None
        }
        KeySource::Discovery => idp::KeySource::Discovery,
        KeySource::Url { url, token } => idp::KeySource::Url { url: url.clone(), token: token.clone() },
        KeySource::File(path) => idp::KeySource::File(path.clone()),
    }
}

/// Nothing that it signs is believed.
pub(super) fn is_only_asked(written: &IssuerSettings) -> bool {
    written.tokens == Tokens::Opaque && written.introspection.is_some_and(|asked| !asked.signed)
}

/// The introspection endpoint is known by discovery alone.
pub(super) fn discovers(written: &IssuerSettings) -> bool {
    written.introspection.is_some() && written.endpoints.introspection.is_none()
}
