//! The sample legacy shop: pages made on the server, by a program that was written before OAuth. It reads
//! `X-Forwarded-User` and greets whoever that names. Comes in: requests. Goes out: HTML.

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::service::{answer, field};
use crate::wire::Body;
use crate::wire::html::escape;

const GOODS: &[(&str, &str)] = &[("Teapot", "24"), ("Pocket watch", "180"), ("Hat, tall", "10")];

pub fn respond(request: &Request<Incoming>) -> Response<Body> {
    if !matches!(request.uri().path(), "/" | "/shop" | "/shop/") {
        return page(StatusCode::NOT_FOUND, "Not here", "<p>The shop has one page.</p>");
    }
    let user = field(request.headers(), "x-forwarded-user");
    let email = field(request.headers(), "x-forwarded-email");
    let greeting = match (user, email) {
        (Some(user), Some(email)) => format!("Welcome back, {} ({}).", escape(user), escape(email)),
        (Some(user), None) => format!("Welcome back, {}.", escape(user)),
        (None, _) => "Welcome. We do not know who you are: no <code>X-Forwarded-User</code> came.".to_owned(),
    };
    let rows: String = GOODS.iter().map(|(what, price)| format!("<tr><td>{what}<td>{price} €")).collect();
    page(StatusCode::OK, "The Old Shop", &format!("<p>{greeting}</p>\n<table>{rows}</table>"))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 serif;max-width:34rem;margin:10vh auto;padding:0 1.5rem}}td{{padding:.2rem 1rem .2rem 0}}</style>\n\
         <main><h1>{title}</h1>\n{body}\n</main>\n</html>\n"
    );
    let mut response = answer(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What it shows depends on who asked.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}
