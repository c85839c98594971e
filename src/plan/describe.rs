//! A checked configuration in words, one line a route, for `postern check` and for tests.

use std::fmt::Write;

use super::settings::{AccessSettings, AuthorizationSettings, Checked, RouteSettings, RulesSettings};

/// Contract, section 8.
const REPLICAS: &str = "one renewal a session, codes used once and logouts by the provider hold for each process alone; \
                        replicas share them with `sessions.redis`";

impl Checked {
    /// What is right as it is, and good to know; one line each.
    pub fn notes(&self) -> Vec<&'static str> {
        let alone = !self.sites.is_empty() && self.sessions.redis.is_none();
        alone.then_some(REPLICAS).into_iter().collect()
    }

    /// `GET /orders/{id}  bearer corp, scopes orders:read  -> orders`, aligned.
    pub fn describe(&self) -> String {
        let rows: Vec<[String; 3]> = self.routes.iter().map(|route| self.row(route)).collect();
        let widths = [0, 1].map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let mut text = String::new();
        for [request, access, target] in &rows {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{request:first$}  {access:second$}  -> {target}",
                first = widths[0],
                second = widths[1]
            );
        }
        text
    }

    fn row(&self, route: &RouteSettings) -> [String; 3] {
        let matching = &route.matching;
        let methods: Vec<&str> = matching.methods.iter().map(http::Method::as_str).collect();
        let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
        let hosts: Vec<String> = matching.hosts.iter().map(ToString::to_string).collect();
        let upstream = self.upstreams.get(route.upstream).map_or("", |upstream| &upstream.name);
        let client = |client: &usize| self.clients.get(*client).map_or("", |client| &*client.name);
        let keeps = match &route.forward.authorization {
            AuthorizationSettings::Strip => String::new(),
            AuthorizationSettings::Keep => " (with the caller's token)".to_owned(),
            AuthorizationSettings::Own { client: own, .. } => format!(" (with a token of {}'s own)", client(own)),
            AuthorizationSettings::Exchange { client: by, .. } => {
                format!(" (with the caller's token, exchanged by {})", client(by))
            }
        };
        [format!("{methods} {}{}", hosts.join(","), matching.path), self.access(route), format!("{upstream}{keeps}")]
    }

    fn access(&self, route: &RouteSettings) -> String {
        if let AccessSettings::Public = &route.access {
            return "public".to_owned();
        }
        let bearer = route.access.bearer().map(|bearer| {
            let issuers = bearer.issuers.iter().filter_map(|issuer| self.issuers.get(*issuer));
            let names: Vec<&str> = issuers.map(|issuer| &*issuer.name).collect();
            format!("bearer {}{}", names.join("|"), rules(&bearer.rules))
        });
        let session = route.access.session().map(|session| {
            let site = self.sites.get(session.site).map_or("", |site| &site.name);
            format!("session {site}{}", rules(&session.rules))
        });
        let basic = route.access.basic().map(|basic| {
            let client = self.clients.get(basic.client).map_or("", |client| &client.name);
            format!("basic {client}{}", rules(&basic.rules))
        });
        [session, bearer, basic].into_iter().flatten().collect::<Vec<_>>().join(" or ")
    }
}

fn rules(rules: &RulesSettings) -> String {
    let mut words = String::new();
    let mut add = |condition: bool, text: String| {
        if condition {
            words.push_str(", ");
            words.push_str(&text);
        }
    };
    add(rules.optional, "optional".to_owned());
    add(!rules.scopes.is_empty(), format!("scopes {}", rules.scopes.join(" ")));
    add(!rules.any_scope.is_empty(), format!("any of {}", rules.any_scope.join(" ")));
    let claims: Vec<&str> = rules.claims.iter().map(|(name, _)| name.as_str()).collect();
    add(!claims.is_empty(), format!("claims {}", claims.join(" ")));
    add(rules.policy.is_some(), "policy".to_owned());
    add(rules.step_up.is_some(), "step-up".to_owned());
    words
}
