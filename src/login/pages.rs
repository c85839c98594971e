//! The few pages of a sign-in: plain HTML that works without a script and with a keyboard, in dark and light, and loads
//! nothing from anywhere. Comes in: a site's brand and what there is to say. Goes out: the page as an answer that nobody
//! stores, frames, or learns an address from. What is not ours is escaped; the policy allows our style and the brand's.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::wire::Body;
use crate::wire::html::escape;

const STYLE: &str = include_str!("../assets/login.css");

/// How a site's pages look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brand {
    /// What the site is called.
    pub name: Box<str>,
    /// Added behind our own style.
    pub css: Option<Box<str>>,
    /// A `data:` address.
    pub logo: Option<Box<str>>,
}

/// One way to sign in, on the page to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub label: Box<str>,
    pub href: String,
    /// The one that this browser took last.
    pub remembered: bool,
}

/// The providers of a site. Links, not forms: a policy for forms would also judge where the provider sends on to.
pub fn choose(brand: &Brand, choices: &[Choice]) -> Response<Body> {
    let link = |choice: &Choice| {
        let quiet = if choice.remembered { "" } else { " quiet" };
        let last = if choice.remembered { " <small>(last time)</small>" } else { "" };
        format!(
            "<li><a class=\"act{quiet}\" href=\"{}\">{}{last}</a></li>\n",
            escape(&choice.href),
            escape(&choice.label)
        )
    };
    // What was taken last stands first.
    let (first, rest): (Vec<&Choice>, Vec<&Choice>) = choices.iter().partition(|choice| choice.remembered);
    let links: String = first.into_iter().chain(rest).map(link).collect();
    let body =
        format!("<p>to go on to {}. With whom do you have an account?</p>\n<ul>\n{links}</ul>", escape(&brand.name));
    page(brand, StatusCode::OK, "Sign in", &body)
}

pub fn signed_out(brand: &Brand, start: &str) -> Response<Body> {
    let body = format!(
        "<p role=\"status\">You are signed out of {}.</p>\n<p><a class=\"act quiet\" href=\"{}\">Sign in again</a></p>",
        escape(&brand.name),
        escape(start)
    );
    page(brand, StatusCode::OK, "Signed out", &body)
}

/// Asks before a sign-out that this site itself did not ask for. `fields` come along with the form.
pub fn confirm_sign_out(brand: &Brand, action: &str, fields: &[(&str, &str)]) -> Response<Body> {
    let body = format!(
        "<p>Do you want to sign out of {}?</p>\n<form method=\"post\" action=\"{}\">\n{}<button class=\"act\">Sign out</button>\n\
         </form>\n<p><a class=\"act quiet\" href=\"/\">Stay signed in</a></p>",
        escape(&brand.name),
        escape(action),
        fields.iter().map(|(name, value)| hidden(name, value)).collect::<String>(),
    );
    page(brand, StatusCode::OK, "Sign out?", &body)
}

/// A sign-in that came to nothing. `text` is ours; `start` begins anew.
pub fn failed(
    brand: &Brand,
    status: StatusCode,
    title: &str,
    text: &str,
    start: &str,
    request_id: &str,
) -> Response<Body> {
    let body = format!(
        "<p role=\"alert\">{}</p>\n<p><a class=\"act\" href=\"{}\">Start again</a></p>\n<p><small>{} · request <code>{}</code></small></p>",
        escape(text),
        escape(start),
        status.as_u16(),
        escape(request_id),
    );
    page(brand, status, title, &body)
}

/// Goes on by itself from a page of this site: a redirect would still count as the provider's, and a `SameSite=Strict`
/// cookie would not come along.
pub fn go_on(brand: &Brand, target: &str) -> Response<Body> {
    let target = escape(target);
    let body = format!(
        "<meta http-equiv=\"refresh\" content=\"0;url={target}\">\n<p role=\"status\">You are signed in.</p>\n\
         <p><a class=\"act\" href=\"{target}\">Go on</a></p>"
    );
    page(brand, StatusCode::OK, "One moment", &body)
}

/// Says that a form met no session, and is lost; the person has signed in again meanwhile. Instead of landing: what answers
/// a POST may have no page to show for a GET, and nobody would learn that the form never came.
pub fn expired(brand: &Brand, target: &str) -> Response<Body> {
    let body = format!(
        "<p role=\"alert\">Your session had ended, and the form was not sent. You are signed in again: go back to the form, and \
         send it once more.</p>\n<p><a class=\"act\" href=\"{}\">Go on without it</a></p>",
        escape(target)
    );
    page(brand, StatusCode::OK, "Session expired", &body)
}

/// Sends a form that met no session, now that there is one. With scripts off there is a button.
pub fn send_again(brand: &Brand, target: &str, fields: &[(String, String)]) -> Response<Body> {
    const SEND: &str = "document.forms[0].submit()";
    let hidden: String = fields.iter().map(|(name, value)| hidden(name, value)).collect();
    let body = format!(
        "<p role=\"status\">You are signed in. Your form is sent again.</p>\n\
         <form method=\"post\" action=\"{}\" accept-charset=\"utf-8\">\n{hidden}<button class=\"act\">Go on</button>\n</form>\n\
         <script>{SEND}</script>",
        escape(target)
    );
    page_with(brand, StatusCode::OK, "One moment", &body, &format!("; script-src {}", hash(SEND)))
}

/// Posts the fragment of its own address to `action`, which is where it was fetched from, and takes it out of the address:
/// what is in there would stay in the browser's history. What comes twice is sent twice, for the callback to refuse.
const POST_FRAGMENT: &str = "const form=document.forms[0],answer=location.hash.slice(1);\
history.replaceState(null,'',location.pathname);\
for(const [name,value] of new URLSearchParams(answer)){const field=document.createElement('input');\
field.type='hidden';field.name=name;field.value=value;form.append(field)}\
form.submit()";

/// Fetches an answer that the provider put into the fragment, which browsers send to nobody. Without a script it can't be.
pub fn fetch_answer(brand: &Brand, action: &str, start: &str) -> Response<Body> {
    let body = format!(
        "<p role=\"status\">You are being signed in.</p>\n\
         <noscript><p role=\"alert\">Your browser runs no script here, and what the provider answered can be read by one only. \
         Please allow scripts for this site, then start again.</p>\n\
         <p><a class=\"act\" href=\"{}\">Start again</a></p></noscript>\n\
         <form method=\"post\" action=\"{}\" accept-charset=\"utf-8\"></form>\n<script>{POST_FRAGMENT}</script>",
        escape(start),
        escape(action),
    );
    page_with(brand, StatusCode::OK, "One moment", &body, &format!("; script-src {}", hash(POST_FRAGMENT)))
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escape(name), escape(value))
}

/// The fields that every answer of a sign-in has (RFC 9700 sections 4.2 and 4.16): it is not stored, not framed, and the
/// next page does not learn its address.
pub fn protect(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

fn page(brand: &Brand, status: StatusCode, title: &str, body: &str) -> Response<Body> {
    page_with(brand, status, title, body, "")
}

fn page_with(brand: &Brand, status: StatusCode, title: &str, body: &str, further_policy: &str) -> Response<Body> {
    let css = brand.css.as_deref().unwrap_or_default();
    let brand_style = if css.is_empty() { String::new() } else { format!("<style>{css}</style>\n") };
    let logo = brand.logo.as_deref().map_or_else(String::new, |logo| {
        format!("<img class=\"logo\" src=\"{}\" alt=\"{}\">\n", escape(logo), escape(&brand.name))
    });
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{0} · {1}</title>\n<style>{STYLE}</style>\n{brand_style}\
         <main>\n{logo}<h1>{0}</h1>\n{body}\n</main>\n</html>\n",
        escape(title),
        escape(&brand.name),
    );
    // No `form-action`: browsers apply it to every redirect behind a form, and a sign-out goes on to the provider.
    let policy = format!(
        "default-src 'none'; style-src {}{}; img-src data:; base-uri 'none'; frame-ancestors 'none'{further_policy}",
        hash(STYLE),
        if css.is_empty() { String::new() } else { format!(" {}", hash(css)) },
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    protect(headers);
    response
}

fn hash(style: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, style.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brand() -> Brand {
        Brand {
            name: "Sh<o>p".into(),
            css: Some("h1 { color: red }".into()),
            logo: Some("data:image/svg+xml;base64,AA==".into()),
        }
    }

    fn html(response: Response<Body>) -> String {
        let Body::Full(bytes) = response.into_body() else { unreachable!() };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn all() -> Vec<Response<Body>> {
        let nasty = "\"><script>alert(1)</script>";
        let choice = |remembered| Choice { label: nasty.into(), href: nasty.to_owned(), remembered };
        vec![
            choose(&brand(), &[choice(false), choice(true)]),
            signed_out(&brand(), nasty),
            confirm_sign_out(&brand(), nasty, &[("rd", nasty)]),
            failed(&brand(), StatusCode::BAD_REQUEST, "No", nasty, nasty, nasty),
            go_on(&brand(), nasty),
            expired(&brand(), nasty),
        ]
    }

    #[test]
    fn nothing_in_a_page_is_markup_but_ours_and_nothing_is_loaded() {
        for response in all() {
            let headers = response.headers().clone();
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert_eq!(headers[REFERRER_POLICY], "no-referrer");
            let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe") && policy.matches("sha256-").count() == 2, "{policy}");
            let html = html(response);
            assert!(!html.contains("<script") && !html.contains("Sh<o>p"), "{html}");
            assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("url("), "{html}");
            assert_eq!(html.matches("<h1>").count(), 1);
        }
    }

    #[test]
    fn the_only_script_of_a_page_is_the_one_that_its_policy_names() {
        let fields = [("a\"><script>".to_owned(), "</form><script>alert(1)</script>".to_owned())];
        let nasty = "\"><script>alert(1)</script>";
        for response in [send_again(&brand(), nasty, &fields), fetch_answer(&brand(), nasty, nasty)] {
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            let html = html(response);
            let (_, script) = html.split_once("<script>").unwrap();
            let (script, rest) = script.split_once("</script>").unwrap();
            assert!(policy.contains(&format!("script-src {}", hash(script))), "{policy}");
            assert!(!rest.contains("<script") && !policy.contains("unsafe"), "{html}");
        }
    }

    #[test]
    fn the_provider_that_was_taken_last_stands_first() {
        let choice = |label: &str, remembered| Choice { label: label.into(), href: "/x".to_owned(), remembered };
        let html = html(choose(&brand(), &[choice("corp", false), choice("partner", true)]));
        assert!(html.find("partner").unwrap() < html.find("corp").unwrap());
    }
}
