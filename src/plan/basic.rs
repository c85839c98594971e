//! `access.basic` of a route: what is unwise about it is said, and what would not work is refused; and the exchanges that
//! routes share, built once for each kind.

use std::net::SocketAddr;
use std::sync::Arc;

use super::compile::Wiring;
use super::findings::Findings;
use super::routes::Known;
use super::settings::{BasicAccess, Checked};
use super::{access, grants};
use crate::authn::{self, BasicExchange, BasicGrant, BasicSettings, BasicWay, BearerWay, Trusted};
use crate::config::ValuePath;
use crate::config::basic::{Basic, BasicCrossSite, BasicGrant as WrittenGrant};
use crate::config::client::GrantType;
use crate::config::values::Period;
use crate::idp::Registration;
use crate::idp::token::TokenTarget;

/// One a millisecond: the clock that budgets are counted by knows nothing shorter.
const MOST_FAILURES: u32 = 60_000;

pub(super) fn basic(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    known: &Known<'_>,
    written: &Basic,
) -> Option<BasicAccess> {
    legacy(findings, at, written.grant);
    in_clear(findings, at);
    let client = client(findings, at, known, written);
    let asked = written.request_scopes.as_ref();
    if let Some(scopes) = asked {
        access::scopes(findings, &at.key("request_scopes"), scopes);
    }
    let texts = [("audience", &written.audience), ("resource", &written.resource)];
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
        if text.is_empty() || text.chars().any(char::is_control) {
            findings.error(&at.key(key), "whom a token is for is one line of text");
        }
    }
    bounds(findings, at, written);
    let rules = access::basic_rules(findings, at, written);
    let scopes = asked.unwrap_or(&written.scopes);
    let text = |text: &Option<String>| text.as_deref().map(Box::from);
    let client = client?;
    let refreshes =
        known.clients.get(client).is_some_and(|client| client.grant_types.contains(&GrantType::RefreshToken));
    Some(BasicAccess {
        client,
        exchange: BasicSettings {
            grant: match written.grant {
                WrittenGrant::Password => BasicGrant::Password,
                WrittenGrant::ClientCredentials => BasicGrant::ClientCredentials,
            },
            refreshes: refreshes && written.grant == WrittenGrant::Password,
            target: TokenTarget {
                scope: (!scopes.is_empty()).then(|| scopes.join(" ").into()),
                audience: text(&written.audience),
                resource: text(&written.resource),
            },
            ttl: written.cache.ttl.0,
            negative_ttl: written.cache.negative_ttl.0,
            bytes: written.cache.max_bytes.0,
            failures_per_user: written.failures_per_user,
            failures_per_client: written.failures_per_client,
        },
        refuses_cross_site: written.cross_site == BasicCrossSite::Refuse,
        rules: rules?,
    })
}

fn legacy(findings: &mut Findings<'_>, at: &ValuePath, grant: WrittenGrant) {
    match grant {
        WrittenGrant::Password => {
            let message = "is legacy: Postern and every caller handle people's passwords, which must not be used any more \
                           (RFC 9700 section 2.4)";
            findings.warning(at, message, "`session` for people, `bearer` for programs");
        }
        WrittenGrant::ClientCredentials => {
            let message = "is legacy: machines show their secret with every request instead of a token";
            findings.warning(at, message, "`bearer`: machines get a token by client credentials themselves");
        }
    }
}

/// Basic is as good as the transport (RFC 7617 section 4). A proxy in front may end TLS.
fn in_clear(findings: &mut Findings<'_>, at: &ValuePath) {
    let server = &findings.loaded.config.server;
    let is_near = |bind: &str| match bind.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => bind.starts_with("unix:"),
    };
    // The built-in listener is on every address, in clear.
    let is_clear = server.listeners.is_empty()
        || server.listeners.iter().any(|listener| {
            listener.tls.is_none() && !listener.redirect_to_https && !listener.bind.as_deref().is_some_and(is_near)
        });
    if is_clear && server.trusted_proxies.is_empty() {
        let message = "passwords would cross the network in clear: a listener has no `tls`";
        findings.warning(at, message, "`tls` there, or name the proxy that ends TLS in `server.trusted_proxies`");
    }
}

fn client(findings: &mut Findings<'_>, at: &ValuePath, known: &Known<'_>, written: &Basic) -> Option<usize> {
    let grant_type = match written.grant {
        WrittenGrant::Password => GrantType::Password,
        WrittenGrant::ClientCredentials => GrantType::ClientCredentials,
    };
    let Some(name) = &written.client else {
        let hint = format!("the name of an entry under `clients` that may use `{}`", grant_type.word());
        findings.missing(at, "client", hint);
        return None;
    };
    grants::client(findings, &at.key("client"), known.clients, name, grant_type)
}

fn bounds(findings: &mut Findings<'_>, at: &ValuePath, written: &Basic) {
    for (key, failures) in
        [("failures_per_user", written.failures_per_user), ("failures_per_client", written.failures_per_client)]
    {
        if failures > MOST_FAILURES {
            let message = format!("{failures} a minute are more than are counted");
            findings.error_with(&at.key(key), message, format!("at most {MOST_FAILURES}; 0 is no limit"));
        }
        if failures == 0 {
            findings.warning(&at.key(key), "lets anybody try passwords without end", "leave it out, or a number");
        }
    }
    let cache = at.key("cache");
    if written.cache.max_bytes.0 == 0 {
        findings.error_with(&cache.key("max_bytes"), "must be more than 0", "`ttl: 0s` keeps no passwords");
    }
    if written.cache.ttl == Period::ZERO {
        let message = "shows the issuer a password with every request";
        findings.warning(&cache.key("ttl"), message, "a minute, say, spares it most of them");
    }
}

/// A kind of exchange, and the one that was made for it.
type Made = ((usize, BasicSettings), Arc<BasicExchange>);

/// Exchanges, each made once: a caller who is known to one route is known to all that ask for the same.
pub(super) struct BasicExchanges<'a> {
    registrations: &'a [Arc<Registration>],
    made: Vec<Made>,
    ways: Vec<(Arc<str>, Arc<BasicWay>)>,
}

impl<'a> BasicExchanges<'a> {
    pub(super) const fn new(registrations: &'a [Arc<Registration>]) -> Self {
        Self { registrations, made: Vec::new(), ways: Vec::new() }
    }

    /// `None` for a client that is not there, which checking has excluded.
    pub(super) fn way(
        &mut self,
        route: &Arc<str>,
        written: &BasicAccess,
        (checked, trusted): (&Checked, &[Trusted]),
        wiring: &Wiring,
    ) -> Option<Arc<BasicWay>> {
        let key = (written.client, written.exchange.clone());
        let exchange = match self.made.iter().find(|(known, _)| *known == key) {
            Some((_, exchange)) => Arc::clone(exchange),
            None => {
                let registration = Arc::clone(self.registrations.get(written.client)?);
                let trusted = trusted.get(checked.clients.get(written.client)?.issuer)?.clone();
                let tokens = BearerWay::new(vec![trusted], Arc::clone(&wiring.memory));
                let tokens = tokens.limited(checked.server.limits.token_bytes);
                let wiring = (wiring.clock.clone(), wiring.control.clone());
                let exchange = authn::BasicExchange::new(key.1.clone(), registration, tokens, wiring);
                self.made.push((key, Arc::clone(&exchange)));
                exchange
            }
        };
        let way = Arc::new(BasicWay::new(exchange, written.refuses_cross_site));
        self.ways.push((Arc::clone(route), Arc::clone(&way)));
        Some(way)
    }

    /// The exchanges, and the routes that use them.
    pub(super) fn into_parts(self) -> (Vec<Arc<BasicExchange>>, Vec<(Arc<str>, Arc<BasicWay>)>) {
        (self.made.into_iter().map(|(_, exchange)| exchange).collect(), self.ways)
    }
}
