//! Who is listening to a refusal: the answer's form depends on it, never the decision.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// Who will read Postern's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A person, by a top-level navigation: gets a page.
    Browser,
    /// A program: gets `application/problem+json` (RFC 9457).
    Api,
    /// A gRPC client: gets a trailers-only answer.
    Grpc,
}

impl Audience {
    /// From the request: `Sec-Fetch-*` first, then `Accept`, then `X-Requested-With`.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        if headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
            return Self::Grpc;
        }
        if (method == Method::GET || method == Method::HEAD || method == Method::POST) && is_navigation(headers) {
            Self::Browser
        } else {
            Self::Api
        }
    }
}

fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate" && headers.get(SEC_FETCH_DEST).is_none_or(|dest| dest == "document"),
        None => accepts_html(headers) && !headers.contains_key(X_REQUESTED_WITH),
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.as_bytes().get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(method: Method, fields: &[(&'static str, &'static str)]) -> Audience {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        Audience::of(&method, &headers)
    }

    #[test]
    fn only_a_navigation_is_a_browser() {
        let html = ("accept", "text/html,*/*;q=0.8");
        assert_eq!(audience(Method::GET, &[html]), Audience::Browser);
        assert_eq!(audience(Method::GET, &[("sec-fetch-mode", "navigate"), html]), Audience::Browser);
        assert_eq!(audience(Method::GET, &[("sec-fetch-mode", "cors"), html]), Audience::Api);
        assert_eq!(audience(Method::GET, &[html, ("x-requested-with", "XMLHttpRequest")]), Audience::Api);
        assert_eq!(audience(Method::DELETE, &[html]), Audience::Api);
        assert_eq!(audience(Method::GET, &[("accept", "*/*")]), Audience::Api);
        assert_eq!(audience(Method::POST, &[("content-type", "application/grpc+proto")]), Audience::Grpc);
    }
}
