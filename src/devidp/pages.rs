//! The provider's few pages: plain HTML that works without a script and with a keyboard, in dark and light, and loads
//! nothing from anywhere. What comes from outside is escaped; the content security policy allows nothing else.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};

use super::answer::{Answer, Content};
use super::faults::{Endpoint, Fault};
use super::lies::Lie;
use super::realm::Realm;
use crate::wire::html::escape;

const STYLE: &str = include_str!("../assets/devidp.css");
/// Posts the answer of the form-post page; with scripts off there is a button.
const POST_SCRIPT: &str = "document.forms[0].submit()";

fn hash_of(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// No `form-action`: browsers apply it to every redirect that follows a form, and the client's answer is one.
fn page(status: StatusCode, title: &str, body: &str, further_policy: &str) -> Answer {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <main>\n<h1>{0}</h1>\n{body}\n<footer>Development identity provider. Not for real accounts.</footer>\n</main>\n</html>\n",
        escape(title)
    );
    let policy = format!(
        "default-src 'none'; style-src {}; base-uri 'none'; frame-ancestors 'none'{further_policy}",
        hash_of(STYLE)
    );
    Answer::new(status, Content::Html(html))
        .with(header::CONTENT_SECURITY_POLICY, &policy)
        .with(header::REFERRER_POLICY, "no-referrer")
        .with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn hidden<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    pairs.iter().fold(String::new(), |mut out, (name, value)| {
        let (name, value) = (escape(name.as_ref()), escape(value.as_ref()));
        let _ = writeln!(out, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
        out
    })
}

/// An error that can't go back to a client.
pub fn error(why: &str) -> Answer {
    page(StatusCode::BAD_REQUEST, "That did not work", &format!("<p role=\"alert\">{}</p>", escape(why)), "")
}

pub fn sign_in(realm: &Realm, client: &str, transaction: &str, name: Option<&str>, wrong: Option<&str>) -> Answer {
    let alert = wrong.map(|why| format!("<p role=\"alert\">{}</p>", escape(why))).unwrap_or_default();
    let body = format!(
        "<p>to go on to <strong>{}</strong></p>\n{alert}\n<form method=\"post\" action=\"{}/authorize/sign_in\">\n{}\
         <label for=\"username\">User name</label>\n\
         <input id=\"username\" name=\"username\" value=\"{}\" autocomplete=\"username\" autocapitalize=\"none\" autofocus>\n\
         <label for=\"password\">Password</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\">\n\
         <div class=\"row\"><button>Sign in</button>\n\
         <button class=\"quiet\" name=\"cancel\" value=\"yes\">Cancel</button></div>\n</form>",
        escape(client),
        escape(&realm.path),
        hidden(&[("transaction", transaction)]),
        escape(name.unwrap_or_default()),
    );
    page(StatusCode::OK, "Sign in", &body, "")
}

/// OAuth 2.0 Form Post Response Mode.
pub fn form_post(redirect_uri: &str, members: &[(String, String)]) -> Answer {
    let body = format!(
        "<form method=\"post\" action=\"{}\">\n{}<button>Go on</button>\n</form>\n<script>{POST_SCRIPT}</script>",
        escape(redirect_uri),
        hidden(members),
    );
    page(StatusCode::OK, "One moment", &body, &format!("; script-src {}", hash_of(POST_SCRIPT)))
}

pub fn confirm_logout(realm: &Realm, parameters: &[(String, String)]) -> Answer {
    let body = format!(
        "<p>An application asks to sign you out.</p>\n<form method=\"post\" action=\"{}/end_session\">\n{}\
         <button name=\"confirm\" value=\"yes\">Sign out</button>\n</form>",
        escape(&realm.path),
        hidden(parameters),
    );
    page(StatusCode::OK, "Sign out?", &body, "")
}

/// Loads what clients want loaded, then goes on.
pub fn signed_out(frames: &[String], target: Option<&str>) -> Answer {
    let mut body = String::from("<p>You are signed out.</p>\n");
    for frame in frames {
        let _ =
            writeln!(body, "<iframe src=\"{}\" title=\"Sign-out of an application\" hidden></iframe>", escape(frame));
    }
    if let Some(target) = target {
        let target = escape(target);
        let _ = writeln!(
            body,
            "<meta http-equiv=\"refresh\" content=\"1;url={target}\">\n<p><a href=\"{target}\">Go on</a></p>"
        );
    }
    page(StatusCode::OK, "Signed out", &body, if frames.is_empty() { "" } else { "; frame-src http: https:" })
}

/// The operator's page.
pub fn operate(realm: &Realm) -> Answer {
    let base = escape(&realm.path);
    let active = realm.faults().active();
    let mut listed = String::new();
    for (endpoint, fault) in &active {
        let _ = writeln!(listed, "<li>{}: <code>{}</code></li>", endpoint.name(), escape(fault));
    }
    if listed.is_empty() {
        listed.push_str("<li>none</li>");
    }
    let mut rows = String::new();
    for endpoint in Endpoint::ALL {
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            endpoint.name(),
            realm.faults().count(endpoint)
        );
    }
    let options = |names: &mut dyn Iterator<Item = &'static str>| {
        names.fold(String::new(), |out, name| format!("{out}<option>{name}</option>"))
    };
    let body = format!(
        "<p>Issuer <code>{issuer}</code></p>\n<h2>Faults that are on</h2>\n<ul>{listed}</ul>\n\
         <form method=\"post\" action=\"{base}/dev/faults\">\n\
         <label for=\"endpoint\">Endpoint</label><select id=\"endpoint\" name=\"endpoint\">{endpoints}</select>\n\
         <label for=\"fault\">Fault</label><select id=\"fault\" name=\"fault\">{faults}</select>\n\
         <label for=\"value\">Value (a time, a status, a lie, JSON)</label><input id=\"value\" name=\"value\" list=\"lies\">\n\
         <datalist id=\"lies\">{lies}</datalist>\n\
         <label for=\"calls\">For how many calls (empty: until cleared)</label><input id=\"calls\" name=\"calls\" inputmode=\"numeric\">\n\
         <button>Switch on</button>\n</form>\n\
         <form method=\"post\" action=\"{base}/dev/faults\"><button name=\"fault\" value=\"none\">Clear all faults</button></form>\n\
         <h2>Keys</h2>\n<form class=\"row\" method=\"post\" action=\"{base}/dev/rotate\">\n\
         <button name=\"withdraw\" value=\"at_once\">Rotate, withdraw the old at once</button>\n\
         <button name=\"withdraw\" value=\"5m\">Rotate, keep the old for 5 minutes</button>\n</form>\n\
         <h2>People</h2>\n<form method=\"post\" action=\"{base}/dev/logout\"><button>Sign everyone out, and tell the clients</button></form>\n\
         <h2>Requests</h2>\n<table>{rows}</table>",
        issuer = escape(&realm.issuer),
        endpoints = options(&mut Endpoint::ALL.into_iter().map(Endpoint::name)),
        faults = options(&mut Fault::NAMES.into_iter()),
        lies = options(&mut Lie::names()),
    );
    page(StatusCode::OK, "Faults and keys", &body, "")
}
