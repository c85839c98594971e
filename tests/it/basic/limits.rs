//! Guessing: counted by name and by client address, before the issuer is asked.

use std::sync::Arc;

use super::*;

/// A guess from this address.
async fn guess(world: &World, address: &str, name: &str, password: &str) -> Answer {
    world.get("/read/x", &format!("X-Forwarded-For: {address}\r\n{}", basic(name, password))).await
}

#[tokio::test]
async fn guesses_at_one_name_end_in_a_429_wherever_they_come_from() {
    let world = World::start().await;
    for turn in 0..3 {
        let address = format!("192.0.2.{turn}");
        assert_eq!(guess(&world, &address, "alice", &format!("guess {turn}")).await.status, 401);
    }
    let limited = guess(&world, "192.0.2.9", "alice", "guess 4").await;
    assert_eq!((limited.status, limited.value("retry-after")), (429, Some("20")));
    assert_eq!(limited.value("www-authenticate"), None);
    assert_eq!(world.asked(), 3, "the issuer is asked no more");
    assert_eq!(guess(&world, "192.0.2.9", "bob", "builder").await.status, 200, "other names are as free as before");
    // Not even the right password is put to the issuer, or a guess would show by the answer.
    assert_eq!(guess(&world, "192.0.2.9", ALICE.0, ALICE.1).await.status, 429);
    world.pass(20);
    assert_eq!(guess(&world, "192.0.2.9", ALICE.0, ALICE.1).await.status, 200);
    world.gateway.until_metric("postern_refusals_total{route=\"read\",reason=\"basic.limited\"}", 2).await;
}

#[tokio::test]
async fn who_is_known_goes_on_while_somebody_guesses_at_the_name() {
    let world = World::start().await;
    assert_eq!(guess(&world, "192.0.2.1", ALICE.0, ALICE.1).await.status, 200);
    for turn in 0..10 {
        guess(&world, "198.51.100.7", "alice", &format!("guess {turn}")).await;
    }
    assert_eq!(guess(&world, "192.0.2.1", ALICE.0, ALICE.1).await.status, 200);
    // Nor is her password a guess once its token is over, and the issuer is asked again.
    world.pass(LIFE);
    for turn in 0..10 {
        guess(&world, "198.51.100.7", "alice", &format!("guess {turn}")).await;
    }
    assert_eq!(guess(&world, "198.51.100.8", "alice", "another").await.status, 429);
    let asked = world.asked();
    assert_eq!(guess(&world, "192.0.2.1", ALICE.0, ALICE.1).await.status, 200);
    assert_eq!(world.asked(), asked + 1);
}

#[tokio::test]
async fn guesses_from_one_address_end_in_a_429_whatever_the_names() {
    let world = World::start().await;
    for turn in 0..5 {
        assert_eq!(guess(&world, "192.0.2.1", &format!("name {turn}"), "x").await.status, 401);
    }
    assert_eq!(guess(&world, "192.0.2.1", "name 6", "x").await.status, 429);
    assert_eq!(world.asked(), 5);
    assert_eq!(guess(&world, "192.0.2.2", "name 7", "x").await.status, 401);
    world.pass(12);
    assert_eq!(guess(&world, "192.0.2.1", "name 8", "x").await.status, 401);
}

#[tokio::test]
async fn guesses_at_once_are_no_more_than_guesses_one_after_the_other() {
    let world = Arc::new(World::start().await);
    let guesses: Vec<_> = (0..50)
        .map(|turn| {
            let world = Arc::clone(&world);
            let address = format!("192.0.2.{turn}");
            tokio::spawn(async move { guess(&world, &address, "alice", &format!("guess {turn}")).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for guess in guesses {
        statuses.push(guess.await.expect("an answer"));
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 3, "{statuses:?}");
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn good_passwords_cost_nothing_and_one_wrong_one_is_asked_about_once() {
    let world = World::start().await;
    for turn in 0..10 {
        assert_eq!(guess(&world, "192.0.2.1", ALICE.0, ALICE.1).await.status, 200);
        world.pass(LIFE);
        assert_eq!(world.asked(), turn + 1);
    }
    let asked = world.asked();
    for _ in 0..10 {
        assert_eq!(guess(&world, "192.0.2.1", "alice", "the old one").await.status, 401);
    }
    assert_eq!(world.asked(), asked + 1);
    world.pass(10);
    assert_eq!(guess(&world, "192.0.2.1", "alice", "the old one").await.status, 401);
    assert_eq!(world.asked(), asked + 2);
}
