//! Beside other ways in: one request shows one credential, and one that fails is final.

use postern::devidp::Mint;

use super::*;

#[tokio::test]
async fn each_way_has_its_challenge() {
    let world = World::start().await;
    let fields = |answer: &Answer| {
        let named = answer.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let answer = world.send("GET", "/basic/x", &[]).await;
    assert_eq!((answer.status, fields(&answer)), (401, vec![CHALLENGE.to_owned()]));
    let answer = world.send("GET", "/both/x", &[]).await;
    let both = fields(&answer);
    assert!(answer.status == 401 && both.len() == 2 && both[0].starts_with("Bearer realm=") && both[1] == CHALLENGE);
    let answer = world.send("GET", "/bearer/x", &[]).await;
    assert!(!fields(&answer).contains(&CHALLENGE.to_owned()));
    // Nobody may pass here, but not with what is wrong.
    assert_eq!(world.send("GET", "/optional/x", &[]).await.status, 200);
    assert_eq!(world.status("/optional/x", "alice", "wrong").await, 401);
}

#[tokio::test]
async fn a_scheme_that_the_route_does_not_take_is_none() {
    let world = World::start().await;
    let token = world.provider.mint(&Mint::user("shop", "alice").audience("orders").scope("read"));
    let bearer = format!("Bearer {token}");
    assert_eq!(world.get("/both/x", &bearer).await.status, 200);
    assert_eq!(world.alice("/both/x").await, 200);
    assert_eq!(world.get("/basic/x", &bearer).await.status, 401);
    assert_eq!(world.alice("/bearer/x").await, 401);
    assert_eq!(world.asked(), 1);
    world.until_refused("bearer", "credential.missing", 1).await;
    world.until_refused("basic", "credential.missing", 1).await;
    assert_eq!(world.status("/both/x", "alice", "wrong").await, 401);
}

/// Browsers send a password that they remember wherever a page has them go.
#[tokio::test]
async fn what_another_site_caused_is_refused_where_it_could_change_something() {
    let world = World::start().await;
    let alice = shown("alice", "wonderland");
    for (method, line, status) in [
        ("POST", ("Sec-Fetch-Site", "cross-site"), 403),
        ("DELETE", ("Sec-Fetch-Site", "same-site"), 403),
        ("POST", ("Origin", "https://evil.example"), 403),
        ("POST", ("Origin", "null"), 403),
        ("POST", ("Origin", "https://gw.test"), 200),
        ("POST", ("Sec-Fetch-Site", "same-origin"), 200),
        ("POST", ("Accept", "*/*"), 200),
        ("GET", ("Sec-Fetch-Site", "cross-site"), 200),
    ] {
        let answer = world.send(method, "/basic/x", &[("Authorization", &alice), line]).await;
        assert_eq!(answer.status, status, "{method} {line:?}");
    }
    world.until_refused("basic", "basic.cross_site", 4).await;
    let world = World::keeping("cross_site: pass").await;
    let line = ("Sec-Fetch-Site", "cross-site");
    assert_eq!(world.send("POST", "/basic/x", &[("Authorization", &alice), line]).await.status, 200);
}

#[tokio::test]
async fn a_grpc_client_hears_it_in_its_own_words() {
    let world = World::start().await;
    let wrong = shown("alice", "wrong");
    let lines = [("Content-Type", "application/grpc"), ("Authorization", wrong.as_str())];
    let answer = world.send("POST", "/basic/x", &lines).await;
    assert_eq!((answer.status, answer.value("grpc-status")), (200, Some("16")));
}
