//! The demo's page at the gateway's root, and the two things it asks for: tokens to try, and how a request was decided.
//! A small upstream like any other; the gateway's routes to it are public. It answers local names only, so that no other
//! site's page can read the tokens.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use super::decision;
use super::journal::Journal;
use super::service::{answer, asked_by_local_name, json as json_answer};
use super::tokens::TokenShelf;
use crate::wire::Body;

const PAGE: &str = include_str!("../../assets/demo.html");

pub struct Page {
    journal: Arc<Journal>,
    tokens: Arc<TokenShelf>,
    policy: HeaderValue,
}

impl Page {
    pub fn new(journal: Arc<Journal>, tokens: Arc<TokenShelf>) -> Self {
        let policy = HeaderValue::from_str(&policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { journal, tokens, policy }
    }

    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if !asked_by_local_name(request.headers()) {
            return json_answer(StatusCode::MISDIRECTED_REQUEST, &json!({ "error": "ask by 127.0.0.1 or localhost" }));
        }
        match request.uri().path() {
            "/" => self.page(),
            "/demo/tokens" => unstored(json_answer(StatusCode::OK, &self.tokens.all())),
            "/demo/decision" => self.decision(request.uri().query().unwrap_or_default()).await,
            _ => json_answer(StatusCode::NOT_FOUND, &json!({ "error": "there is nothing here" })),
        }
    }

    fn page(&self) -> Response<Body> {
        let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    async fn decision(&self, query: &str) -> Response<Body> {
        let id = query.strip_prefix("id=").unwrap_or_default();
        match self.journal.entry(id).await {
            Some(entry) => {
                let demand = entry.route.as_deref().map_or("", |route| self.journal.demand(route));
                unstored(json_answer(StatusCode::OK, &decision::explain(&entry, demand)))
            }
            None => json_answer(StatusCode::NOT_FOUND, &json!({ "error": "no such request" })),
        }
    }
}

fn unstored(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Allows the page's own style and script, by their digests, and calls to the gateway.
fn policy() -> String {
    let hash = |tag: &str| {
        let inside = PAGE.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
        let text = inside.map_or("", |(text, _)| text);
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("style"),
        hash("script")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_brings_everything_with_it() {
        assert_eq!(PAGE.matches("<script>").count(), 1);
        assert_eq!(PAGE.matches("<style>").count(), 1);
        for foreign in ["http://", "https://", "src=", "@import", "url(", "onclick", "style="] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }
}
