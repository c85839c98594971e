//! A typical request to an API, and what surrounds it.

use std::net::{IpAddr, Ipv4Addr};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use postern::clock::Time;
use postern::seal::random::RequestIds;
use postern::wire::arrival::{self, Limits};
use postern::wire::facts::{RequestId, Scheme};
use postern::wire::owned::OwnedNames;
use postern::wire::{Arrival, Body, Facts};

/// 2023-11-14T22:13:20Z
pub const NOW: Time = Time::from_seconds(1_700_000_000);

const LIMITS: Limits = Limits {
    target: 8192,
    header: 65_536,
    field: 16_384,
    fields: 100,
    body: 0,
    body_silence: std::time::Duration::ZERO,
};

/// What a browser's script sends: nothing of it is owned or hop-by-hop but `Connection`.
const FIELDS: [(&str, &str); 14] = [
    ("host", "api.example.com"),
    ("connection", "keep-alive"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cache-control", "no-cache"),
    ("origin", "https://app.example.com"),
    ("referer", "https://app.example.com/orders"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("x-requested-with", "XMLHttpRequest"),
];

/// The request as hyper gives it, with a token.
pub fn parts(token: &str) -> Parts {
    let mut request = Request::builder().uri("/orders/v1/customers/4711/orders?page=2&size=50");
    for (name, value) in FIELDS {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    request.header("authorization", format!("Bearer {token}")).body(()).unwrap().into_parts().0
}

pub fn arrive(parts: Parts, owned: &OwnedNames) -> Arrival {
    arrival::check(parts, Body::Empty, owned, &LIMITS).unwrap()
}

pub fn facts() -> Facts {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    Facts {
        now: NOW,
        peer: Some((client, 40_000).into()),
        client_address: Some(client),
        scheme: Scheme::Https,
        trusted_peer: false,
        forwarded_for: None,
        forwarded_host: None,
        request_id: RequestId::ours(RequestIds::new().next(NOW)),
    }
}
