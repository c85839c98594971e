//! The file that follows from the answers, commented, and what has to be in the environment for it.

use std::fmt::Write as _;

use super::advice::Leaf;
use super::questions::{Answers, is};

/// The variable that holds the key of sessions.
pub const SESSION_KEY: &str = "POSTERN_SESSION_KEY";

/// A configuration as text.
pub struct Written {
    pub text: String,
    /// Variables that it reads, and how each is made.
    pub variables: Vec<(String, &'static str)>,
}

/// Writes the configuration of a leaf.
pub fn write(leaf: Leaf, answers: &Answers) -> Written {
    let get = |name| answers.get(name).map_or("", String::as_str);
    let mut variables = Vec::new();
    let mut text = String::new();
    let mut line = |one: &str| {
        text.push_str(one);
        text.push('\n');
    };
    let advice = leaf.advice();
    line(&format!("# Written by `postern init`. Grant: {}.", advice.grant));
    line(&format!("# {}", advice.why));
    if let Some(instead) = advice.instead {
        line(&format!("# Legacy. Instead: {instead}."));
    }
    line("# Every key and its default: config/postern.yaml in the sources. `postern check` finds mistakes.\n");
    line(&format!("server:\n  listeners: [{{ bind: \"{}\" }}]       # add `tls` for https\n", get("bind")));

    let signs_in = matches!(leaf, Leaf::Code | Leaf::Hybrid | Leaf::Implicit);
    line("issuers:\n  main:");
    line(&format!("    issuer: {}       # compared with `iss` byte for byte", quoted(get("issuer"))));
    if !signs_in {
        line(&format!("    audiences: [{}]       # one of them must be in `aud`", quoted(get("audience"))));
    }
    line("");
    if let Some((name, grants)) = client(leaf, answers) {
        line(&format!("clients:\n  {name}:\n    issuer: main\n    client_id: {}", quoted(get("client_id"))));
        if leaf == Leaf::Implicit {
            line("    authentication: none       # nothing is asked of the token endpoint");
        } else {
            let variable = get("secret_variable");
            line(&format!("    client_secret: {{ env: {variable} }}"));
            variables.push((variable.to_owned(), "'the secret that the issuer gave Postern'"));
        }
        line(&format!("    allowed_grant_types: {grants}"));
        if signs_in {
            line("    scopes: [openid, profile, email]");
        }
        line("");
    }
    if signs_in {
        line(&format!("sites:\n  site:\n    url: {}", quoted(get("site"))));
        line(&format!("    sign_in: [web]       # the issuer has to know {}/oauth2/callback", get("site")));
        match leaf {
            Leaf::Hybrid => line("    response_type: code id_token       # posted by the issuer's page"),
            Leaf::Implicit => {
                line("    response_type: id_token       # posted by the issuer's page; the session ends with it")
            }
            _ => {}
        }
        line(&format!(
            "\nsessions:\n  store: cookie       # memory, or redis for more than one replica\n  keys: [{{ env: {SESSION_KEY} }}]\n"
        ));
        variables.push((SESSION_KEY.to_owned(), "\"$(openssl rand -base64 32)\""));
    }
    line(&format!("upstreams:\n  app:\n    servers: [{}]\n", quoted(get("upstream"))));
    line(
        "routes:\n  - name: app\n    match: { path: /** }       # nothing else is served; more routes for other paths and scopes\n    upstream: app",
    );
    line(&format!("    access: {{ {} }}", access(leaf, get("scopes"))));
    line(&format!(
        "    forward:\n      headers: {{ X-Forwarded-User: sub{} }}",
        if signs_in { ", X-Forwarded-Email: email" } else { "" }
    ));
    let audience = quoted(get("upstream_audience"));
    match get("upstream_token") {
        "own" => {
            line(&format!("      authorization: {{ client_credentials: {{ client: gateway, audience: {audience} }} }}"))
        }
        "exchange" => {
            line(&format!("      authorization: {{ exchange: {{ client: gateway, audience: {audience} }} }}"))
        }
        _ => {}
    }
    Written { text, variables }
}

/// Postern's own client, by name, and what it may use.
fn client(leaf: Leaf, answers: &Answers) -> Option<(&'static str, &'static str)> {
    Some(match leaf {
        Leaf::Code => ("web", "[authorization_code, refresh_token]"),
        Leaf::Hybrid => ("web", "[hybrid, refresh_token]"),
        Leaf::Implicit => ("web", "[implicit]"),
        Leaf::Password => ("legacy", "[password, refresh_token]"),
        Leaf::MachineBasic => ("legacy", "[client_credentials]"),
        Leaf::Machine | Leaf::Native | Leaf::SinglePageApp if is(answers, "upstream_token", "own") => {
            ("gateway", "[client_credentials]")
        }
        Leaf::Machine | Leaf::Native | Leaf::SinglePageApp if is(answers, "upstream_token", "exchange") => {
            ("gateway", "[\"urn:ietf:params:oauth:grant-type:token-exchange\"]")
        }
        Leaf::Machine | Leaf::Native | Leaf::SinglePageApp => return None,
    })
}

fn access(leaf: Leaf, scopes: &str) -> String {
    let mut needed = String::new();
    let scopes: Vec<String> = scopes.split_ascii_whitespace().map(quoted).collect();
    if !scopes.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(needed, ", scopes: [{}]", scopes.join(", "));
    }
    match leaf {
        Leaf::Code | Leaf::Hybrid | Leaf::Implicit => "session: { site: site }".to_owned(),
        Leaf::Password => format!("basic: {{ client: legacy{needed} }}"),
        Leaf::MachineBasic => format!("basic: {{ client: legacy, grant: client_credentials{needed} }}"),
        Leaf::Machine | Leaf::Native | Leaf::SinglePageApp => format!("bearer: {{ issuers: [main]{needed} }}"),
    }
}

/// Text as YAML reads it back unchanged: JSON strings are YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
