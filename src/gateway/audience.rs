//! Who is listening to a refusal: the answer's form depends on it, never the decision.

use http::{HeaderMap, HeaderValue, Method};

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
        let hints = Hints::of(headers);
        if hints.content_type.is_some_and(is_grpc) {
            return Self::Grpc;
        }
        if (method == Method::GET || method == Method::HEAD || method == Method::POST) && hints.show_a_navigation() {
            Self::Browser
        } else {
            Self::Api
        }
    }
}

/// The fields that tell, found in one pass: each look-up by name costs more than passing over several fields.
#[derive(Default)]
struct Hints<'h> {
    content_type: Option<&'h HeaderValue>,
    fetch_mode: Option<&'h HeaderValue>,
    fetch_dest: Option<&'h HeaderValue>,
    accepts_html: bool,
    by_script: bool,
}

impl<'h> Hints<'h> {
    fn of(headers: &'h HeaderMap) -> Self {
        let mut hints = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "content-type" if hints.content_type.is_none() => hints.content_type = Some(value),
                "sec-fetch-mode" if hints.fetch_mode.is_none() => hints.fetch_mode = Some(value),
                "sec-fetch-dest" if hints.fetch_dest.is_none() => hints.fetch_dest = Some(value),
                "accept" => hints.accepts_html |= value.to_str().is_ok_and(|accept| accept.contains("text/html")),
                "x-requested-with" => hints.by_script = true,
                _ => {}
            }
        }
        hints
    }

    fn show_a_navigation(&self) -> bool {
        match self.fetch_mode {
            Some(mode) => mode == "navigate" && self.fetch_dest.is_none_or(|dest| dest == "document"),
            None => self.accepts_html && !self.by_script,
        }
    }
}

/// `application/grpc`, alone, with a format (`+proto`), parameters, or as gRPC-Web; not any type that begins like it.
fn is_grpc(content_type: &HeaderValue) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    content_type.as_bytes().split_at_checked(GRPC.len()).is_some_and(|(start, rest)| {
        let goes_on = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        start.eq_ignore_ascii_case(GRPC)
            && (goes_on || rest.get(..4).is_some_and(|web| web.eq_ignore_ascii_case(b"-web")))
    })
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
        for grpc in ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y", "application/grpc-web+proto"]
        {
            assert_eq!(audience(Method::POST, &[("content-type", grpc)]), Audience::Grpc, "{grpc}");
        }
        for other in ["application/grpcx", "application/grp", "application/grpc.json"] {
            assert_eq!(audience(Method::POST, &[("content-type", other)]), Audience::Api, "{other}");
        }
    }
}
