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

/// Where an issuer's keys and endpoints come from.
pub(super) struct Sources {
    pub keys: idp::KeySource,
    pub keys_optional: bool,
    pub discover: bool,
}

/// An issuer that is only asked needs no keys; what it publishes is taken all the same, unless its endpoint is configured and
/// nothing of it has to be discovered. One where people sign in signs who they are.
pub(super) fn sources(checked: &Checked, index: usize, written: &IssuerSettings) -> Sources {
    let is_of_issuer = |client: &usize| checked.clients.get(*client).is_some_and(|client| client.issuer == index);
    let signs_people_in = checked.sites.iter().flat_map(|site| &site.sign_in).any(is_of_issuer);
    // Tokens are got there: for upstreams, or for names and passwords.
    let gives_tokens = checked.routes.iter().any(|route| {
        use super::settings::AuthorizationSettings::{Exchange, Keep, Own, Strip};
        let for_upstream = match &route.forward.authorization {
            Strip | Keep => None,
            Own { client, .. } | Exchange { client, .. } => Some(client),
        };
        let actor = match &route.forward.authorization {
            Exchange { actor, .. } => actor.as_ref(),
            _ => None,
        };
        let for_basic = route.access.basic().map(|basic| &basic.client);
        [for_upstream, actor, for_basic].into_iter().flatten().any(is_of_issuer)
    });
    let is_only_asked = written.tokens == Tokens::Opaque
        && written.introspection.is_some_and(|asked| !asked.signed)
        && !signs_people_in;
    let endpoints = &written.endpoints;
    let lacks_endpoint = (written.introspection.is_some() && endpoints.introspection.is_none())
        || (signs_people_in && (endpoints.authorization.is_none() || endpoints.token.is_none()))
        || (gives_tokens && endpoints.token.is_none());
    let keys = match &written.keys {
        KeySource::Discovery if is_only_asked && !lacks_endpoint => idp::KeySource::None,
        KeySource::Discovery => idp::KeySource::Discovery,
        KeySource::Url { url, token } => idp::KeySource::Url { url: url.clone(), token: token.clone() },
        KeySource::File(path) => idp::KeySource::File(path.clone()),
    };
    Sources { keys, keys_optional: is_only_asked, discover: lacks_endpoint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::idp::KeySource;

    fn of(issuer: &str, signs_people_in: bool) -> Sources {
        let site = "sites: { shop: { url: 'http://localhost:8080', sign_in: [gateway] } }\n\
                    sessions: { store: memory, keys: ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='] }\n";
        let text = format!(
            "issuers: {{ corp: {{ issuer: 'https://id.example', audiences: [api], {issuer} }} }}\n\
             clients: {{ gateway: {{ issuer: corp, client_id: gateway, client_secret: s3cret }} }}\n{}\
             upstreams: {{ api: {{ servers: ['http://127.0.0.1:9001'] }} }}\n\
             routes: [{{ match: {{ path: /** }}, upstream: api, access: {{ bearer: {{ issuers: [corp] }} }} }}]\n",
            if signs_people_in { site } else { "" }
        );
        let loaded = config::load(config::Sources::text("postern.yaml", text)).map_err(|report| report.to_string());
        let checked = crate::plan::check(&loaded.unwrap()).map_err(|report| report.to_string()).unwrap();
        sources(&checked, 0, &checked.issuers[0])
    }

    #[test]
    fn an_issuer_that_is_only_asked_needs_no_keys_and_no_metadata_beyond_its_endpoint() {
        let asked = "introspection: { client: gateway }, tokens: opaque";
        let at = "endpoints: { introspection: 'https://id.example/i' }";
        let found = of(asked, false);
        assert!(found.keys == KeySource::Discovery && found.keys_optional && found.discover);
        let configured = of(&format!("{asked}, {at}"), false);
        assert!(configured.keys == KeySource::None && !configured.discover);
        // Its signatures are believed as soon as people sign in there, its answers are signed, or JWTs are taken.
        let signs_in = of(&format!("{asked}, {at}"), true);
        assert!(signs_in.keys == KeySource::Discovery && !signs_in.keys_optional && signs_in.discover);
        let signed = of(&format!("introspection: {{ client: gateway, signed: true }}, tokens: opaque, {at}"), false);
        assert!(signed.keys == KeySource::Discovery && !signed.keys_optional && !signed.discover);
        let any = of(&format!("introspection: {{ client: gateway }}, tokens: any, {at}"), false);
        assert!(any.keys == KeySource::Discovery && !any.keys_optional);
        let elsewhere = of("jwks: { url: 'https://id.example/k' }", true);
        assert!(matches!(elsewhere.keys, KeySource::Url { .. }) && elsewhere.discover);
    }
}
