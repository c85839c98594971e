//! Guesses are counted for the name and for the address, before the issuer is asked.

use std::sync::Arc;

use super::*;

#[tokio::test]
async fn guesses_at_one_name_from_everywhere_are_limited() {
    let world = World::keeping("failures_per_user: 5").await;
    assert_eq!(world.from("192.0.2.200", "bob", "builder").await.status, 200);
    for number in 0..5 {
        assert_eq!(world.from(&format!("192.0.2.{number}"), "alice", &format!("guess-{number}")).await.status, 401);
    }
    let asked = world.asked();
    let refused = world.from("192.0.2.9", "alice", "guess-5").await;
    assert_eq!(
        (refused.status, refused.value("retry-after"), refused.value("www-authenticate")),
        (429, Some("12"), None)
    );
    assert_eq!(world.from("192.0.2.9", "alice", "wonderland").await.status, 429, "the right one looks no different");
    assert_eq!(world.asked(), asked, "nothing is asked for it");
    assert_eq!(
        world.from("192.0.2.9", "alice", "guess-0").await.status,
        401,
        "what is known to be wrong costs nothing"
    );
    assert_eq!(world.from("192.0.2.9", "bob", "builder").await.status, 200, "other names are not concerned");
    world.until_refused("basic", "basic.budget", 2).await;
    world.pass(12);
    assert_eq!(world.from("192.0.2.9", "alice", "wonderland").await.status, 200);
    assert_eq!(world.from("192.0.2.9", "alice", "guess-6").await.status, 401, "what was right cost nothing");
    assert_eq!(world.from("192.0.2.9", "alice", "guess-7").await.status, 429);
    assert_eq!(world.from("192.0.2.9", "alice", "wonderland").await.status, 200, "a remembered one passes");
}

#[tokio::test]
async fn guesses_at_many_names_from_one_address_are_limited() {
    let world = World::keeping("failures_per_client: 5").await;
    for number in 0..5 {
        assert_eq!(world.from("192.0.2.1", &format!("name-{number}"), "guess").await.status, 401);
    }
    let asked = world.asked();
    assert_eq!(world.from("192.0.2.1", "name-5", "guess").await.status, 429);
    assert_eq!(world.from("192.0.2.1", "alice", "wonderland").await.status, 429);
    assert_eq!(world.asked(), asked);
    assert_eq!(world.from("192.0.2.2", "alice", "wonderland").await.status, 200);
    assert_eq!(world.from("192.0.2.1", "alice", "wonderland").await.status, 200, "a remembered one passes");
    world.pass(12);
    assert_eq!(world.from("192.0.2.1", "bob", "builder").await.status, 200);
}

/// One after the other or all at once: as many reach the issuer.
#[tokio::test]
async fn guesses_at_once_are_no_more_than_one_after_the_other() {
    let world = Arc::new(World::keeping("failures_per_user: 5, failures_per_client: 1000").await);
    let asks: Vec<_> = (0..50)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.status("/basic/x", "alice", &format!("guess-{number}")).await })
        })
        .collect();
    let mut limited = 0;
    for ask in asks {
        limited += usize::from(ask.await.expect("an answer") == 429);
    }
    assert_eq!((limited, world.asked()), (45, 5));
}

/// Many people behind one address sign in within a minute.
#[tokio::test]
async fn right_ones_cost_nothing_however_often_the_issuer_is_asked() {
    let world = World::keeping("failures_per_user: 1, failures_per_client: 1, cache: { ttl: 0s }").await;
    for _ in 0..20 {
        assert_eq!(world.from("192.0.2.1", "alice", "wonderland").await.status, 200);
    }
    assert_eq!(world.asked(), 20);
}
