//! `forward.authorization`, checked and built: whose token goes up. Routes that ask for the same share one.

use std::sync::Arc;

use super::compile::Wiring;
use super::findings::Findings;
use super::routes::Known;
use super::settings::{AccessSettings, AuthorizationSettings, ClientSettings};
use super::{access, grants};
use crate::config::ValuePath;
use crate::config::client::GrantType;
use crate::config::forward::{AccessToken, Authorization, Forward};
use crate::idp::Registration;
use crate::outbound::{self, OwnToken, TokenExchange, TokenTarget};

/// A client by name, and what a token is asked for, as they are written.
type Written<'w> = (Option<&'w String>, &'w [String], Option<&'w String>, Option<&'w String>);

/// `at` is the place of the route's `forward`.
pub(super) fn authorization(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    (known, access): (&Known<'_>, Option<&AccessSettings>),
    written: &Forward,
) -> Option<AuthorizationSettings> {
    let key = at.key("authorization");
    let clients = known.clients;
    match &written.authorization {
        Authorization::Strip => Some(AuthorizationSettings::Strip),
        Authorization::Keep if access.is_some_and(|access| access.basic().is_some()) => {
            let message = "a route that takes names and passwords would pass them up";
            findings.error_with(&key, message, "`strip`; the token goes up by `access_token: header`, or `bearer`");
            None
        }
        Authorization::Keep => {
            if matches!(access, Some(AccessSettings::Public)) {
                let hint = "right only if the upstream checks them itself";
                findings.warning(&key, "a public route passes unchecked credentials up", hint);
            }
            Some(AuthorizationSettings::Keep)
        }
        Authorization::ClientCredentials(own) => {
            let place = key.key("client_credentials");
            if access.is_some_and(AccessSettings::admits_nobody) {
                let message = "whoever shows nothing acts here with the rights of Postern's own token";
                findings.warning(&place, message, "say who may pass: `access: { bearer: … }`, without `optional`");
            }
            let parts = (own.client.as_ref(), own.scopes.as_slice(), own.audience.as_ref(), own.resource.as_ref());
            let found = client(findings, &place, clients, (parts, GrantType::ClientCredentials));
            let lonely = alone(findings, at, written);
            let (client, target) = found?;
            lonely.then_some(AuthorizationSettings::Own { client, target })
        }
        Authorization::Exchange(exchange) => {
            let place = key.key("exchange");
            let has_token = brings_a_token(findings, &place, known, access);
            let parts = (
                exchange.client.as_ref(),
                exchange.scopes.as_slice(),
                exchange.audience.as_ref(),
                exchange.resource.as_ref(),
            );
            let found = client(findings, &place, clients, (parts, GrantType::TokenExchange));
            let actor = exchange
                .actor
                .as_ref()
                .map(|name| grants::client(findings, &place.key("actor"), clients, name, GrantType::ClientCredentials));
            let lonely = alone(findings, at, written);
            let (client, target) = found?;
            let actor = actor.map_or(Some(None), |actor| actor.map(Some))?;
            (lonely && has_token).then_some(AuthorizationSettings::Exchange { client, target, actor })
        }
    }
}

fn client(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &[ClientSettings],
    ((name, scopes, audience, resource), grant_type): (Written<'_>, GrantType),
) -> Option<(usize, TokenTarget)> {
    access::scopes(findings, &at.key("scopes"), scopes);
    let texts = [("audience", audience), ("resource", resource)];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
        if text.is_empty() || text.chars().any(char::is_control) {
            findings.error(&at.key(key), "whom a token is for is one line of text");
        }
    }
    let is_absolute = |text: &String| url::Url::parse(text).is_ok_and(|url| url.fragment().is_none());
    if resource.is_some_and(|text| !text.is_empty() && !is_absolute(text)) {
        let message = "a resource is an absolute URI without a fragment (RFC 8707 section 2)";
        findings.error_with(&at.key("resource"), message, "`https://…`; a name goes into `audience`");
    }
    let Some(name) = name else {
        findings.missing(
            at,
            "client",
            format!("the name of an entry under `clients` that may use `{}`", grant_type.word()),
        );
        return None;
    };
    let client = grants::client(findings, &at.key("client"), known, name, grant_type)?;
    let text = |text: Option<&String>| text.map(|text| text.as_str().into());
    let scope = (!scopes.is_empty()).then(|| scopes.join(" ").into());
    Some((client, TokenTarget { scope, audience: text(audience), resource: text(resource) }))
}

/// One token goes up as `Authorization`.
fn alone(findings: &mut Findings<'_>, at: &ValuePath, written: &Forward) -> bool {
    let is_alone = written.access_token != AccessToken::Bearer;
    if !is_alone {
        let message = "`authorization` fills the same field with another token";
        findings.error_with(&at.key("access_token"), message, "`header`, or leave one of the two out");
    }
    is_alone
}

/// There is something to exchange in each way in.
fn brings_a_token(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    access: Option<&AccessSettings>,
) -> bool {
    let message = match access {
        None => return false,
        Some(AccessSettings::Public) => "nobody on a public route has a token to exchange".to_owned(),
        Some(access) => {
            let site = access.session().and_then(|session| known.sites.get(session.site));
            match site.filter(|site| !site.flow.code && !site.flow.access_token) {
                None => return true,
                Some(site) => {
                    format!("a sign-in at `{}` brings no access token: `response_type: {}`", site.name, site.flow.name)
                }
            }
        }
    };
    findings.error_with(at, message, "leave it out here, or say who may pass and by which token");
    false
}

/// By what an exchange is known: its client, its target and, if one is named, the actor's client.
type ExchangeKey = (usize, TokenTarget, Option<usize>);

/// Tokens for upstreams, each made once.
pub(super) struct UpstreamTokens<'a> {
    registrations: &'a [Arc<Registration>],
    wiring: &'a Wiring,
    own: Vec<((usize, TokenTarget), Arc<OwnToken>)>,
    exchanges: Vec<(ExchangeKey, Arc<TokenExchange>)>,
}

impl<'a> UpstreamTokens<'a> {
    pub(super) const fn new(registrations: &'a [Arc<Registration>], wiring: &'a Wiring) -> Self {
        Self { registrations, wiring, own: Vec::new(), exchanges: Vec::new() }
    }

    /// `None` for a client that is not there, which checking has excluded.
    pub(super) fn of(&mut self, written: &AuthorizationSettings) -> Option<outbound::Authorization> {
        Some(match written {
            AuthorizationSettings::Strip => outbound::Authorization::Strip,
            AuthorizationSettings::Keep => outbound::Authorization::Keep,
            AuthorizationSettings::Own { client, target } => {
                outbound::Authorization::Own(self.own(*client, target.clone())?)
            }
            AuthorizationSettings::Exchange { client, target, actor } => {
                outbound::Authorization::Exchanged(self.exchange((*client, target.clone(), *actor))?)
            }
        })
    }

    fn own(&mut self, client: usize, target: TokenTarget) -> Option<Arc<OwnToken>> {
        let key = (client, target);
        if let Some((_, token)) = self.own.iter().find(|(known, _)| *known == key) {
            return Some(Arc::clone(token));
        }
        let registration = Arc::clone(self.registrations.get(client)?);
        let (clock, control) = (self.wiring.clock.clone(), self.wiring.control.clone());
        let token = OwnToken::new(registration, key.1.clone(), clock, control);
        self.own.push((key, Arc::clone(&token)));
        Some(token)
    }

    fn exchange(&mut self, key: ExchangeKey) -> Option<Arc<TokenExchange>> {
        if let Some((_, exchange)) = self.exchanges.iter().find(|(known, _)| *known == key) {
            return Some(Arc::clone(exchange));
        }
        let registration = Arc::clone(self.registrations.get(key.0)?);
        let actor = match key.2 {
            Some(client) => Some(self.own(client, TokenTarget::default())?),
            None => None,
        };
        let wiring = (self.wiring.clock.clone(), self.wiring.control.clone());
        let exchange = TokenExchange::new(registration, key.1.clone(), actor, wiring);
        self.exchanges.push((key, Arc::clone(&exchange)));
        Some(exchange)
    }

    /// All that were made.
    pub(super) fn into_parts(self) -> (Vec<Arc<OwnToken>>, Vec<Arc<TokenExchange>>) {
        let own = self.own.into_iter().map(|(_, token)| token).collect();
        (own, self.exchanges.into_iter().map(|(_, exchange)| exchange).collect())
    }
}
