//! Client credentials outward (RFC 6749 section 4.4).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use postern::devidp::Fault;
use serde_json::json;

use super::*;
use crate::support::upstream::answer;

#[tokio::test]
async fn the_upstream_gets_a_token_of_posterns_own_and_nothing_of_the_callers() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let own = world.forwarded("/own/x", &alice).await;
    assert_ne!(own, alice);
    let claims = said(&own);
    assert_eq!((claims["sub"].as_str(), claims["scope"].as_str()), (Some("batch"), Some("read")));
    assert_eq!(claims["aud"].as_str().or(claims["aud"][0].as_str()), Some("inventory"));
    assert_eq!(world.forwarded("/own/y", &world.token("bob")).await, own, "one token for all callers");
    assert_eq!(world.asked(), 1);
    // Another target is another token.
    assert_ne!(world.forwarded("/wide/x", &alice).await, own);
    assert_eq!(world.asked(), 2);
    assert_eq!(world.get("/own/x", "junk").await.status, 401, "who may not pass gets none of it");
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn many_who_come_at_once_make_one_request_for_a_token() {
    let world = Arc::new(World::start(echo).await);
    let alice = world.alice();
    let asks: Vec<_> = (0..100)
        .map(|_| {
            let (world, alice) = (Arc::clone(&world), alice.clone());
            tokio::spawn(async move { world.get("/own/x", &alice).await.status })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.expect("an answer"), 200);
    }
    assert_eq!(world.asked(), 1);
    let tokens: HashSet<_> =
        world.upstream.take().iter().map(|seen| seen.value("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_no_request_waits_for_it() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let first = world.forwarded("/own/x", &alice).await;
    world.pass(LIFE * 4 / 5 - 1);
    assert_eq!(world.forwarded("/own/x", &alice).await, first);
    assert_eq!(world.asked(), 1, "not before its time");
    world.pass(1);
    // The issuer takes the request and never answers: nobody notices.
    world.provider.set_fault(Endpoint::Token, Fault::Hang);
    assert_eq!(world.forwarded("/own/x", &alice).await, first);
    world.until_asked(2).await;
    assert_eq!(world.forwarded("/own/x", &alice).await, first);
    assert_eq!(world.asked(), 2, "one renewal is under way");
    world.provider.clear_faults();
    // Its deadline passes, and so does the pause after a failure.
    world.pass(11);
    eventually_renewed(&world, &alice, &first).await;
    assert_eq!(world.asked(), 3);
}

async fn eventually_renewed(world: &World, alice: &str, old: &str) {
    let limit = std::time::Instant::now() + PATIENCE;
    while world.forwarded("/own/x", alice).await == old {
        assert!(std::time::Instant::now() < limit, "it is renewed");
        world.pass(2);
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_never_sent() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let first = world.forwarded("/own/x", &alice).await;
    world.pass(LIFE - 10);
    let second = world.forwarded("/own/x", &alice).await;
    assert_ne!(first, second, "ten seconds before its end it is put away");
    world.provider.set_fault(Endpoint::Token, Fault::Drop);
    world.pass(LIFE - 11);
    assert_eq!(world.forwarded("/own/x", &alice).await, second, "an outage is none while the token is good");
    world.pass(30);
    let answer = world.get("/own/x", &alice).await;
    assert_eq!(answer.status, 503);
    assert!(answer.value("retry-after").is_some());
    assert!(world.upstream.take().is_empty(), "nothing goes up without its token");
    world.provider.clear_faults();
    world.pass(60);
    assert_ne!(world.forwarded("/own/x", &alice).await, second);
}

#[tokio::test]
async fn an_issuer_that_gives_none_is_left_in_peace_between_questions() {
    let world = World::with("wrong", "sts-secret", echo).await;
    let alice = world.alice();
    for _ in 0..5 {
        assert_eq!(world.get("/own/x", &alice).await.status, 503);
    }
    assert_eq!(world.asked(), 1);
    world.gateway.until_metric("postern_refusals_total{route=\"own\",reason=\"upstream_token.refused\"}", 5).await;
    world.pass(1);
    assert_eq!(world.get("/own/x", &alice).await.status, 503);
    assert_eq!(world.asked(), 2);
    world.pass(1);
    assert_eq!(world.get("/own/x", &alice).await.status, 503);
    assert_eq!(world.asked(), 2, "the pause grows");
    assert!(world.upstream.take().is_empty());
}

#[tokio::test]
async fn operators_see_what_is_at_hand_and_never_the_token() {
    let world = World::start(echo).await;
    let alice = world.alice();
    let told = async || {
        let text = world.gateway.admin("/status").await.text();
        let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let tokens = status["upstream_tokens"].as_array().expect("a list").clone();
        let own =
            tokens.iter().find(|one| one["target"] == "scope read, audience inventory" && one["client"] == "batch");
        let exchanged =
            tokens.iter().find(|one| one["target"] == "scope read, audience inventory" && one["client"] == "sts");
        (own.expect("it is there").clone(), exchanged.expect("it is there").clone(), text)
    };
    let (own, exchanged, _) = told().await;
    assert_eq!((&own["good_for_seconds"], &own["error"], &exchanged["kept"]), (&json!(null), &json!(null), &json!(0)));
    let sent = world.forwarded("/own/x", &alice).await;
    let became = world.forwarded("/exchanged/x", &alice).await;
    let (own, exchanged, text) = told().await;
    assert_eq!((&own["good_for_seconds"], &own["asked"]["issued"]), (&json!(LIFE - 10), &json!(1)));
    assert_eq!((&exchanged["kept"], &exchanged["asked"]["issued"]), (&json!(1), &json!(1)));
    assert!(!text.contains(&sent) && !text.contains(&became) && !text.contains("secret"));
    world
        .gateway
        .until_metric(
            "postern_upstream_tokens_total{client=\"batch\",grant=\"client_credentials\",outcome=\"issued\"}",
            1,
        )
        .await;
    world.provider.set_fault(Endpoint::Token, Fault::OAuthError("invalid_client".to_owned()));
    world.pass(LIFE);
    assert_eq!(world.get("/own/x", &alice).await.status, 503);
    let (own, _, _) = told().await;
    assert_eq!((&own["good_for_seconds"], own["error"].as_str()), (&json!(null), Some("upstream_token.refused")));
}

/// An upstream that refuses some tokens.
pub(super) fn picky() -> (Arc<Mutex<HashSet<String>>>, impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
    let refused = Arc::<Mutex<HashSet<String>>>::default();
    let known = Arc::clone(&refused);
    let reply = move |seen: &Seen| {
        let shown = seen.value("authorization").unwrap_or_default().to_owned();
        if known.lock().expect("no panic").contains(&shown) { answer(401, "text/plain", "no") } else { Reply::Echo }
    };
    (refused, reply)
}

#[tokio::test]
async fn a_token_that_the_upstream_refuses_is_renewed_once_for_all() {
    let (refused, reply) = picky();
    let world = Arc::new(World::start(reply).await);
    let alice = world.alice();
    let first = world.forwarded("/own/x", &alice).await;
    refused.lock().expect("no panic").insert(format!("Bearer {first}"));
    let asks: Vec<_> = (0..50)
        .map(|_| {
            let (world, alice) = (Arc::clone(&world), alice.clone());
            tokio::spawn(async move { world.get("/own/x", &alice).await.status })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.expect("an answer"), 200, "the request is sent once more");
    }
    assert_eq!(world.asked(), 2);
    world.upstream.take();
    let second = world.forwarded("/own/x", &alice).await;
    assert_ne!(first, second);
    // An upstream that refuses whatever comes causes no request for each of its refusals.
    refused.lock().expect("no panic").insert(format!("Bearer {second}"));
    for _ in 0..5 {
        assert_eq!(world.get("/own/x", &alice).await.status, 401);
    }
    assert_eq!(world.asked(), 2, "the last one was forced just now");
    world.pass(10);
    assert_eq!(world.get("/own/x", &alice).await.status, 200);
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn what_cannot_be_sent_twice_leaves_the_new_token_to_the_next() {
    let (refused, reply) = picky();
    let world = World::start(reply).await;
    let alice = world.alice();
    let first = world.forwarded("/own/x", &alice).await;
    refused.lock().expect("no panic").insert(format!("Bearer {first}"));
    let post = format!(
        "POST /own/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: 2\r\nAuthorization: Bearer {alice}\r\n\r\nhi"
    );
    assert_eq!(world.send(&post).await.status, 401);
    assert_eq!(world.upstream.take().len(), 1, "its body went once");
    world.until_asked(2).await;
    assert_eq!(world.send(&post).await.status, 200);
}

#[tokio::test]
async fn a_client_cannot_put_a_token_beside_posterns_own() {
    let world = World::start(echo).await;
    let alice = world.alice();
    for lines in [
        "Connection: Authorization\r\n",
        "Connection: close, authorization\r\n",
        "X-Forwarded-Access-Token: forged\r\n",
    ] {
        let request = format!(
            "GET /own/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}Connection: close\r\nAuthorization: Bearer {alice}\r\n\r\n"
        );
        assert_eq!(world.send(&request).await.status, 200, "{lines}");
        let seen = world.upstream.take();
        let fields = seen[0].values("authorization");
        assert!(fields.len() == 1 && !fields[0].contains(&alice), "{lines}: {fields:?}");
        assert_eq!(seen[0].value("x-forwarded-access-token"), None);
    }
}
