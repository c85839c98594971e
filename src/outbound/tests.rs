use http::HeaderValue;
use serde_json::json;

use super::*;
use crate::caller::Known;
use crate::policy::Requirement;
use crate::policy::tests::{arrival, caller, facts};
use crate::wire::facts::Scheme;

fn name(text: &str) -> HeaderName {
    HeaderName::try_from(text).unwrap()
}

fn settings(fields: &[(&str, &str)]) -> DressSettings {
    let headers = fields.iter().map(|(field, claim)| (name(field), (*claim).to_owned())).collect();
    DressSettings { headers, ..DressSettings::default() }
}

/// The request as the upstream sees it, after `settings` and for `who`.
fn sent(settings: DressSettings, who: Known, arrival: Arrival, facts: &Facts) -> Request<Body> {
    let permit = Requirement::public().admit(who, facts, &arrival, &[]).unwrap();
    let dress = Dress::new(settings).unwrap();
    let ready = dress.at_hand(&permit, &arrival.headers, facts.now).unwrap().unwrap();
    super::dress(ready, permit, arrival, facts, &Told::default()).unwrap().into_request()
}

fn field<'r>(request: &'r Request<Body>, name: &str) -> Option<&'r str> {
    request.headers().get(name).map(|value| value.to_str().unwrap())
}

/// What a claim looks like in a field.
fn shown(claim: serde_json::Value) -> Option<String> {
    let who = Known::Caller(caller("", json!({ "c": claim })));
    let request = sent(settings(&[("x-c", "c")]), who, arrival("/", &[]), &facts());
    field(&request, "x-c").map(str::to_owned)
}

#[test]
fn the_credential_stays_here_unless_the_route_keeps_it() {
    let with_token = || arrival("/", &[("authorization", "Bearer secret"), ("accept", "a")]);
    let stripped = sent(settings(&[]), Known::Nobody, with_token(), &facts());
    assert_eq!((field(&stripped, "authorization"), field(&stripped, "accept")), (None, Some("a")));
    let keep = DressSettings { authorization: Authorization::Keep, ..DressSettings::default() };
    assert_eq!(field(&sent(keep, Known::Nobody, with_token(), &facts()), "authorization"), Some("Bearer secret"));
}

#[test]
fn claims_become_fields_and_a_missing_claim_becomes_none() {
    let who = Known::Caller(caller("", json!({"sub": "alice", "groups": ["a", "b"], "org": {"id": 7}})));
    let fields = [("x-forwarded-user", "sub"), ("x-groups", "groups"), ("x-org", "org.id"), ("x-email", "email")];
    let request = sent(settings(&fields), who, arrival("/", &[]), &facts());
    assert_eq!(field(&request, "x-forwarded-user"), Some("alice"));
    assert_eq!(field(&request, "x-groups"), Some("a,b"));
    assert_eq!(field(&request, "x-org"), Some("7"));
    assert_eq!(field(&request, "x-email"), None);
}

#[test]
fn nobody_has_no_identity_fields() {
    let request = sent(settings(&[("x-forwarded-user", "sub")]), Known::Nobody, arrival("/", &[]), &facts());
    assert_eq!(field(&request, "x-forwarded-user"), None);
}

#[test]
fn values_are_plain_joined_or_compact() {
    assert_eq!(shown(json!("a b, c")).as_deref(), Some("a b, c"));
    assert_eq!(shown(json!(true)).as_deref(), Some("true"));
    assert_eq!(shown(json!(1.5)).as_deref(), Some("1.5"));
    assert_eq!(shown(json!(["a", 1, true, null, {"b": 2}])).as_deref(), Some("a,1,true,{\"b\":2}"));
    assert_eq!(shown(json!({"a": [1, 2]})).as_deref(), Some("{\"a\":[1,2]}"));
    assert_eq!(shown(json!(null)), None);
    assert_eq!(shown(json!([])).as_deref(), Some(""));
}

#[test]
fn what_is_not_ascii_or_ends_a_field_is_percent_encoded() {
    assert_eq!(shown(json!("Zoë")).as_deref(), Some("Zo%C3%AB"));
    assert_eq!(shown(json!("100% Zoë")).as_deref(), Some("100%25 Zo%C3%AB"));
    assert_eq!(shown(json!("user%40example.com")).as_deref(), Some("user%40example.com"));
    assert_eq!(shown(json!("a\r\nX-Admin: 1")).as_deref(), Some("a%0D%0AX-Admin: 1"));
    assert_eq!(shown(json!("a\0b\t\u{7f}")).as_deref(), Some("a%00b%09%7F"));
    assert_eq!(shown(json!({"ë": "\n"})).as_deref(), Some("{\"%C3%AB\":\"\\n\"}"));
}

#[test]
fn a_member_cannot_pose_as_two() {
    assert_eq!(shown(json!(["staff,admin", "dev"])).as_deref(), Some("staff%2Cadmin,dev"));
}

#[test]
fn a_caller_that_returns_is_dressed_the_same_and_another_dress_differently() {
    let alice = caller("", json!({"sub": "alice", "email": "alice@example.com"}));
    for _ in 0..2 {
        for (claim, value) in [("sub", "alice"), ("email", "alice@example.com")] {
            let who = Known::Caller(std::sync::Arc::clone(&alice));
            let request = sent(settings(&[("x-who", claim)]), who, arrival("/", &[]), &facts());
            assert_eq!(field(&request, "x-who"), Some(value));
        }
    }
}

#[test]
fn the_way_is_told_from_facts() {
    let request = sent(settings(&[]), Known::Nobody, arrival("/", &[]), &facts());
    assert_eq!(field(&request, "x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(field(&request, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(&request, "x-forwarded-host"), Some("API.example.com:8080"));
    assert_eq!(field(&request, "forwarded"), Some("for=192.0.2.7;proto=http;host=\"API.example.com:8080\""));
    assert_eq!(field(&request, "x-request-id"), Some("one"));
    assert_eq!(field(&request, "host"), Some("API.example.com:8080"));
}

#[test]
fn what_was_told_before_is_told_again_only_of_the_same_way() {
    let told = Told::default();
    let forwarded = |facts: &Facts, host: &'static str| {
        let mut headers = HeaderMap::new();
        forwarded::set(&mut headers, facts, Some(&HeaderValue::from_static(host)), &told);
        let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (value("x-forwarded-for"), value("forwarded"))
    };
    let seen = |address: &str, way: &str| (Some(address.to_owned()), Some(way.to_owned()));
    let another = Facts { peer: Some("192.0.2.8:1".parse().unwrap()), ..facts() };
    let secure = Facts { scheme: Scheme::Https, ..facts() };
    let chained = Facts { forwarded_for: Some("203.0.113.9".into()), ..facts() };
    for _ in 0..2 {
        assert_eq!(forwarded(&facts(), "a"), seen("192.0.2.7", "for=192.0.2.7;proto=http;host=a"));
        assert_eq!(forwarded(&facts(), "a"), seen("192.0.2.7", "for=192.0.2.7;proto=http;host=a"));
        assert_eq!(forwarded(&facts(), "b"), seen("192.0.2.7", "for=192.0.2.7;proto=http;host=b"));
        assert_eq!(forwarded(&another, "b"), seen("192.0.2.8", "for=192.0.2.8;proto=http;host=b"));
        assert_eq!(forwarded(&secure, "b"), seen("192.0.2.7", "for=192.0.2.7;proto=https;host=b"));
        let chain = "for=203.0.113.9, for=192.0.2.7;proto=http;host=b";
        assert_eq!(forwarded(&chained, "b"), seen("203.0.113.9, 192.0.2.7", chain));
    }
}

#[test]
fn a_trusted_chain_is_continued_with_the_peer() {
    let facts = Facts {
        peer: Some("[2001:db8::5]:99".parse().unwrap()),
        forwarded_for: Some("unknown, 203.0.113.9, 2001:db8::1".into()),
        forwarded_host: Some(HeaderValue::from_static("shop.example")),
        scheme: Scheme::Https,
        ..facts()
    };
    let request = sent(settings(&[]), Known::Nobody, arrival("/", &[]), &facts);
    assert_eq!(field(&request, "x-forwarded-for"), Some("unknown, 203.0.113.9, 2001:db8::1, 2001:db8::5"));
    assert_eq!(field(&request, "x-forwarded-proto"), Some("https"));
    assert_eq!(field(&request, "x-forwarded-host"), Some("shop.example"));
    let hops =
        "for=unknown, for=203.0.113.9, for=\"[2001:db8::1]\", for=\"[2001:db8::5]\";proto=https;host=shop.example";
    assert_eq!(field(&request, "forwarded"), Some(hops));
}

#[test]
fn over_a_unix_socket_the_peer_is_unknown() {
    let facts = Facts { peer: None, client_address: None, ..facts() };
    let request = sent(settings(&[]), Known::Nobody, arrival("/", &[]), &facts);
    assert_eq!(field(&request, "x-forwarded-for"), None);
    assert_eq!(field(&request, "forwarded"), Some("for=unknown;proto=http;host=\"API.example.com:8080\""));
}

#[test]
fn a_forwarded_host_cannot_end_its_quotes() {
    let facts = Facts { forwarded_host: Some(HeaderValue::from_static("a\";for=6.6.6.6")), ..facts() };
    let request = sent(settings(&[]), Known::Nobody, arrival("/", &[]), &facts);
    assert_eq!(field(&request, "forwarded"), Some("for=192.0.2.7;proto=http;host=\"a\\\";for=6.6.6.6\""));
}

fn moved(strip: Option<&str>, add: Option<&str>, target: &str) -> String {
    let owned = |prefix: Option<&str>| prefix.map(str::to_owned);
    let settings = DressSettings { strip_prefix: owned(strip), add_prefix: owned(add), ..DressSettings::default() };
    sent(settings, Known::Nobody, arrival(target, &[]), &facts()).uri().to_string()
}

#[test]
fn prefixes_are_whole_segments_and_the_query_stays() {
    assert_eq!(moved(None, None, "/api/x?q=%2e%2e"), "/api/x?q=%2e%2e");
    assert_eq!(moved(Some("/api"), None, "/api/x?q=1"), "/x?q=1");
    assert_eq!(moved(Some("/api/"), None, "/api/x"), "/x");
    assert_eq!(moved(Some("/api"), None, "/api"), "/");
    assert_eq!(moved(Some("/api"), None, "/api/"), "/");
    assert_eq!(moved(Some("/api"), None, "/apis/x"), "/apis/x");
    assert_eq!(moved(Some("/api"), Some("/v1/"), "/api/x"), "/v1/x");
    assert_eq!(moved(None, Some("/v1"), "/"), "/v1/");
    assert_eq!(moved(Some("/"), None, "/api/x"), "/api/x");
}

#[test]
fn what_a_claim_may_not_fill_is_refused() {
    let refused = |fields: &[(&str, &str)]| Dress::new(settings(fields)).unwrap_err();
    for reserved in
        ["Host", "Content-Length", "Connection", "Authorization", "Cookie", "X-Forwarded-For", "X-Request-Id"]
    {
        assert_eq!(refused(&[(reserved, "sub")]), DressError::Reserved(name(reserved)));
    }
    assert_eq!(refused(&[("x-a", "a"), ("X-A", "b")]), DressError::Repeated(name("x-a")));
    assert_eq!(refused(&[("x-a", "")]), DressError::EmptyClaim(name("x-a")));
    let prefix = DressSettings { strip_prefix: Some("/a//b".into()), ..DressSettings::default() };
    assert!(matches!(Dress::new(prefix), Err(DressError::Prefix(..))));
}
