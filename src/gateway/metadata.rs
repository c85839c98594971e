//! `/.well-known/oauth-protected-resource` (RFC 9728): generated for each host from its routes' issuers and scopes.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::answer::Content;
use super::refusal::{Kind, Refusal};
use crate::plan::running::{METADATA_PATH, Plan};
use crate::reason::Reason;
use crate::wire::{Arrival, Facts};

/// The document for the origin by which it was asked for. Public, so scripts of any origin may read it.
pub fn answer(plan: &Plan, number: usize, facts: &Facts, arrival: &Arrival) -> Result<Response<Content>, Refusal> {
    let nothing = || Refusal::new(Reason::RouteNone, Kind::NoRoute);
    let resource = plan.resources.get(number).ok_or_else(nothing)?;
    let host = arrival.host.as_ref().map(|host| &host.written);
    let origin = origin(plan, facts, host).ok_or_else(nothing)?;
    let mut response = Response::new(Content::ours(resource.document(&origin)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(response)
}

/// The public halves of the keys that sign identity tokens (RFC 7517 section 5). Kept for minutes at most: a new key is
/// published before it signs, if its owner waits for so long.
pub fn jwks(plan: &Plan) -> Result<Response<Content>, Refusal> {
    let document = plan.jwks.clone().ok_or_else(|| Refusal::new(Reason::RouteNone, Kind::NoRoute))?;
    let mut response = Response::new(Content::ours(document));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// Where the document of this request's origin lies.
pub fn address(plan: &Plan, facts: &Facts, host: Option<&HeaderValue>) -> Option<String> {
    origin(plan, facts, host).map(|origin| origin + METADATA_PATH)
}

/// The origin by which clients know this host: `public_url`, else how the request came.
fn origin(plan: &Plan, facts: &Facts, host: Option<&HeaderValue>) -> Option<String> {
    if let Some(url) = &plan.public_url {
        return Some(url.trim_end_matches('/').to_owned());
    }
    let host = facts.forwarded_host.as_ref().or(host)?.to_str().ok()?;
    Some(format!("{}://{host}", facts.scheme.as_str()))
}
