//! Configurations that are refused before anything is served: grants that a client may not use, and grants that make no
//! sense together. Each is a row, for none of them may ever start.

use super::super::check::{Check, Outcome};
use super::super::gateway::{self, GatewayError};

/// A case, what is written of the client and of what relies on it, and what the finding must name.
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

const EXCHANGE: &str = "'urn:ietf:params:oauth:grant-type:token-exchange'";

const CASES: &[Case] = &[
    (
        "configuration: client credentials, not allowed",
        "client_secret: s",
        "{ access: { bearer: { issuers: [a] } }, forward: { authorization: { client_credentials: { client: c } } } }",
        &["`c` may not use `client_credentials`", "clients.c.allowed_grant_types"],
    ),
    (
        "configuration: token exchange, not allowed",
        "client_secret: s",
        "{ access: { bearer: { issuers: [a] } }, forward: { authorization: { exchange: { client: c } } } }",
        &["`c` may not use `urn:ietf:params:oauth:grant-type:token-exchange`"],
    ),
    (
        "configuration: passwords, not allowed",
        "client_secret: s",
        "{ access: { basic: { client: c } } }",
        &["`c` may not use `password`", "clients.c.allowed_grant_types"],
    ),
    (
        "configuration: passwords that would be passed up",
        "client_secret: s, allowed_grant_types: resource_owner_password",
        "{ access: { basic: { client: c } }, forward: { authorization: keep } }",
        &["a route that takes names and passwords would pass them up"],
    ),
    (
        "configuration: token exchange on a public route",
        "client_secret: s, allowed_grant_types: [$exchange]",
        "{ access: public, forward: { authorization: { exchange: { client: c } } } }",
        &["nobody on a public route has a token to exchange"],
    ),
    (
        "configuration: sign-in by code, not allowed",
        "client_secret: s, allowed_grant_types: client_credentials",
        "code",
        &["`c` may not use `authorization_code`"],
    ),
    (
        "configuration: sign-in by a hybrid answer, not allowed",
        "client_secret: s",
        "code id_token",
        &["`c` may not use `hybrid`"],
    ),
    (
        "configuration: sign-in by an implicit answer, not allowed",
        "client_secret: s",
        "id_token",
        &["`c` may not use `implicit`"],
    ),
    (
        "configuration: an access token through the browser",
        "client_secret: s, allowed_grant_types: hybrid",
        "code token",
        &["may not get access tokens through the browser"],
    ),
    (
        "configuration: refresh_token alone",
        "client_secret: s, allowed_grant_types: [refresh_token]",
        "",
        &["`refresh_token` without a grant that yields one"],
    ),
    (
        "configuration: offline_access without refresh_token",
        "client_secret: s, allowed_grant_types: [authorization_code], scopes: [openid, offline_access]",
        "",
        &["`offline_access` asks for a refresh token"],
    ),
    (
        "configuration: implicit beside code",
        "client_secret: s, allowed_grant_types: [implicit, authorization_code]",
        "",
        &["`implicit` beside `authorization_code`"],
    ),
    (
        "configuration: code beside hybrid",
        "client_secret: s, allowed_grant_types: [authorization_code, hybrid]",
        "",
        &["`authorization_code` beside `hybrid`"],
    ),
    (
        "configuration: client credentials of a public client",
        "authentication: none, allowed_grant_types: client_credentials",
        "",
        &["`client_credentials` without credentials"],
    ),
];

pub fn run(check: &mut Check) {
    for (case, client, relying, named) in CASES {
        let began = check.demo.clock.micros();
        let got = match gateway::load(text(client, relying)) {
            Err(GatewayError::Configuration(report)) => {
                let told = report.to_string();
                if named.iter().all(|name| told.contains(name)) { "refused" } else { "refused for another reason" }
            }
            _ => "accepted",
        };
        let outcome = Outcome { got: got.to_owned(), micros: check.demo.clock.micros().saturating_sub(began) };
        check.row(case, "refused", Ok(outcome));
    }
}

/// A route as it is written, or a site's response type; nothing for a client that is refused by itself.
fn text(client: &str, relying: &str) -> String {
    let (site, route) = match relying {
        "" => (String::new(), "{ access: public }".to_owned()),
        route if route.starts_with('{') => (String::new(), route.to_owned()),
        response_type => (
            format!("sites: {{ s: {{ url: 'http://localhost', sign_in: [c], response_type: {response_type} }} }}\n"),
            "{ access: { session: { site: s } } }".to_owned(),
        ),
    };
    let route = route.replacen('{', "{ match: { path: /** }, upstream: u,", 1);
    let text = format!(
        "issuers: {{ a: {{ issuer: 'https://login.example.com', audiences: [a] }} }}\n\
         clients: {{ c: {{ issuer: a, client_id: c, {client} }} }}\n{site}\
         sessions: {{ keys: ['MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='] }}\n\
         upstreams: {{ u: {{ servers: ['http://127.0.0.1:1'] }} }}\nroutes: [{route}]\n"
    );
    text.replace("$exchange", EXCHANGE)
}
