//! T22 to T25: what is remembered of a token is who its caller is, never what a route decided; and never beyond its end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::keys::ring;
use crate::support::raw;
use crate::support::standard::{HOST, Layout, Standard, get};
use crate::support::tokens::{AUDIENCE, OTHER_ISSUER, claims, good, merged, now, signed};

/// A second issuer with a route of its own, `/other/**`, and one where both are trusted, `/both/**`.
fn two_issuers() -> Layout {
    let route = |name: &str, issuers: &str, scope: &str| {
        format!(
            "  - {{ name: {name}, match: {{ hosts: [{HOST}], path: /{name}/** }}, upstream: echo, \
             access: {{ bearer: {{ issuers: [{issuers}], scopes: [{scope}] }} }} }}\n"
        )
    };
    Layout {
        issuers: format!(
            "  partner: {{ issuer: \"{OTHER_ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ file: OTHER_KEYS }} }}\n"
        ),
        routes: route("other", "partner", "read") + &route("both", "corp, partner", "read"),
        ..Layout::default()
    }
}

#[tokio::test]
async fn a_remembered_token_is_judged_by_each_route_anew() {
    let standard = Standard::start().await;
    let token = good("read");
    for _ in 0..3 {
        assert_eq!(standard.get("/api/x", Some(&token)).await.status, 200);
        assert_eq!(standard.get("/admin/x", Some(&token)).await.status, 403);
    }
    assert!(standard.seen().iter().all(|seen| seen.target == "/api/x"));
}

#[tokio::test]
async fn a_token_of_one_issuer_is_nothing_on_a_route_of_the_other() {
    let standard = Standard::start_with(two_issuers()).await;
    let corp = good("read");
    let partner = signed(&ring().other, merged(&claims("read"), &json!({ "iss": OTHER_ISSUER, "sub": "bob" })));
    // Twice, so that the second round meets what the first has left in the memory.
    for _ in 0..2 {
        for (target, token, status) in [
            ("/api/x", &corp, 200),
            ("/other/x", &corp, 401),
            ("/both/x", &corp, 200),
            ("/api/x", &partner, 401),
            ("/other/x", &partner, 200),
            ("/both/x", &partner, 200),
        ] {
            assert_eq!(standard.get(target, Some(token)).await.status, status, "{target}");
        }
    }
    for seen in standard.seen() {
        let user = seen.value("x-forwarded-user");
        assert!(matches!(
            (seen.target.as_str(), user),
            ("/api/x", Some("alice")) | ("/other/x", Some("bob")) | ("/both/x", _)
        ));
    }
}

/// A key belongs to its issuer: the same `kid` elsewhere is another key.
#[tokio::test]
async fn a_key_never_speaks_for_another_issuer() {
    let standard = Standard::start_with(two_issuers()).await;
    let ring = ring();
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "rsa" }).to_string();
    for (key, iss) in [(&ring.rsa, OTHER_ISSUER), (&ring.other, crate::support::tokens::ISSUER)] {
        let payload = merged(&claims("read"), &json!({ "iss": iss })).to_string();
        let token = crate::support::tokens::compact(&header, &payload, |input| key.sign("RS256", input));
        for target in ["/api/x", "/other/x", "/both/x"] {
            assert_eq!(standard.get(target, Some(&token)).await.status, 401, "{iss} on {target}");
        }
    }
    assert!(standard.saw_nothing());
}

/// T24: first uses at the same time; nobody gets another's identity.
#[tokio::test]
async fn two_hundred_first_uses_keep_their_own_identity() {
    let standard = Standard::start().await;
    let token = |name: &str| signed(&ring().rsa, merged(&claims("read"), &json!({ "sub": name })));
    let tokens = [("alice", token("alice")), ("bob", token("bob"))];
    let all = (0..200).map(|number| {
        let (name, token) = &tokens[number % 2];
        let request = get(&format!("/api/{name}/{number}"), Some(token));
        let address = standard.address();
        async move { raw::request(address, &request).await.status }
    });
    assert!(futures_util::future::join_all(all).await.iter().all(|status| *status == 200));
    let seen = standard.seen();
    assert_eq!(seen.len(), 200);
    for request in seen {
        let name = request.target.split('/').nth(2).expect("a name");
        assert_eq!(request.values("x-forwarded-user"), [name], "{}", request.target);
    }
}

/// T25: whatever is remembered ends with the token.
#[tokio::test]
async fn a_remembered_token_ends_with_its_exp() {
    let layout = Layout { issuer: "    clock_skew: 0s\n".to_owned(), ..Layout::default() };
    let standard = Standard::start_with(layout).await;
    let token = signed(&ring().rsa, merged(&claims("read"), &json!({ "exp": now() + 3 })));
    let started = Instant::now();
    assert_eq!(standard.get("/api/x", Some(&token)).await.status, 200);
    crate::support::eventually_async("the token ends", Duration::from_secs(5), async || {
        (standard.get("/api/x", Some(&token)).await.status == 401).then_some(())
    })
    .await;
    assert!(started.elapsed() > Duration::from_secs(1), "it ended too early");
}
