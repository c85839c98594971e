//! Redis under people who are signed in: a master that dies, a server that is slow, silent, or comes back empty (F13 to F15).
//! Each time requests are 503 for as long as it takes and nobody is signed out.

use super::*;
use crate::support::eventually_async;
use crate::support::redis::{Cluster, Watched};

/// The others must miss the master, agree, and elect.
const FAILOVER: Duration = Duration::from_secs(60);

/// Sessions in a set of servers.
fn among(servers: &[Redis], mode: &str) -> Setup {
    let urls: Vec<String> = servers.iter().map(|server| format!("'redis://{}'", server.address())).collect();
    let sessions = format!("  redis: {{ urls: [{}], timeout: 2s, {mode} }}\n", urls.join(", "));
    Setup { sessions, ..Setup::of("redis") }
}

async fn fetch(world: &World, cookies: &str) -> Answer {
    ticking(world, world.gateway.fetch("GET", "/a", cookies, "")).await
}

/// 503 is "not now": with a time to come again, and without a word to the browser about its cookie.
fn assert_waits(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.value("retry-after").is_some());
    assert!(answer.values("set-cookie").is_empty(), "nobody is signed out");
}

/// What is answered once the store answers; until then everybody waits.
async fn once_it_answers(world: &World, cookies: &str) -> Answer {
    eventually_async("the store answers", FAILOVER, async || {
        let answer = fetch(world, cookies).await;
        if answer.status == 503 {
            assert_waits(&answer);
            // However quickly it was said: what waits before it connects again waits by this clock.
            world.advance(Duration::from_millis(100));
            return None;
        }
        Some(answer)
    })
    .await
}

/// The server that has the session and may write.
fn master_of_the_session(servers: &[Redis]) -> usize {
    let has = |server: &Redis| server.cli(&["--raw", "KEYS", "*session:*"]).contains("session:");
    let found = servers.iter().position(|server| server.cli(&["ROLE"]).starts_with("master") && has(server));
    found.expect("a master that has the session")
}

/// Kills the master of the session once its replica has all that it has, and sees the session go on.
async fn assert_survives_the_master(world: &World, servers: &mut [Redis]) {
    let cookies = cookies_of(&ticking(world, world.alice()).await);
    assert_eq!(fetch(world, &cookies).await.status, 200);
    let master = &mut servers[master_of_the_session(servers)];
    assert_eq!(master.cli(&["WAIT", "1", "5000"]).trim().parse::<u32>().ok(), Some(1));
    master.kill();
    assert_eq!(once_it_answers(world, &cookies).await.status, 200, "the session goes on");
}

/// F15
#[tokio::test]
async fn sessions_survive_the_master_of_their_slot_in_a_cluster() {
    let mut cluster = Cluster::start().await;
    cluster.until_replicated().await;
    let world = World::start(among(&cluster.nodes, "mode: cluster")).await;
    assert_survives_the_master(&world, &mut cluster.nodes).await;
}

/// F15
#[tokio::test]
async fn sessions_survive_the_master_that_sentinels_watch() {
    let mut watched = Watched::start().await;
    let world = World::start(among(&watched.sentinels, "mode: sentinel, master_name: shop")).await;
    assert_survives_the_master(&world, &mut watched.servers).await;
}

/// F13
#[tokio::test]
async fn a_redis_that_is_slow_signs_nobody_out() {
    let redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let cookies = cookies_of(&world.alice().await);
    redis.cli(&["CLIENT", "PAUSE", "3000", "ALL"]);
    // By the gateway's clock that is longer than the timeout.
    assert_waits(&fetch(&world, &cookies).await);
    assert_eq!(once_it_answers(&world, &cookies).await.status, 200);
}

/// F12, F13
#[tokio::test]
async fn a_redis_that_is_silent_for_a_while_signs_nobody_out() {
    let redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let cookies = cookies_of(&world.alice().await);
    redis.freeze();
    for _ in 0..3 {
        assert_waits(&fetch(&world, &cookies).await);
    }
    // Nobody can sign in either, and is told by a page that says when to come again.
    let (_, page) = ticking(&world, world.signed_in(world.browser())).await;
    assert_eq!(page.status, 503, "{:#?}", page.trail());
    assert!(page.answer.value("retry-after").is_some());
    redis.thaw();
    assert_eq!(once_it_answers(&world, &cookies).await.status, 200);
}

/// F12, F14: there is no session any more, so people sign in again; at the provider they still are.
#[tokio::test]
async fn a_redis_that_comes_back_empty_sends_people_to_sign_in_and_shows_no_error() {
    let mut redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let mut alice = world.alice().await;
    let cookies = cookies_of(&alice);
    redis.kill();
    assert_waits(&fetch(&world, &cookies).await);
    redis.restart().await;
    assert_eq!(once_it_answers(&world, &cookies).await.status, 401);
    let page = ticking(&world, alice.open(&format!("{SITE}/orders"))).await;
    assert_eq!((page.status, page.url.path()), (200, "/orders"), "{:#?}", page.trail());
    assert!(page.hops.iter().all(|hop| hop.answer.status < 400), "{:#?}", page.trail());
    assert_eq!(fetch(&world, &cookies_of(&alice)).await.status, 200);
}

/// The provider's word is used up only once it is carried out: what an outage interrupted may be tried again.
#[tokio::test]
async fn a_logout_token_that_could_not_be_carried_out_is_good_once_more() {
    let redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let cookies = cookies_of(&world.alice().await);
    world.advance(Duration::from_secs(1));
    let token = world.provider.logout_token("shop", Some("alice"), None, None);
    // What was used can be remembered, sessions can't be reached.
    redis.cli(&["ACL", "SETUSER", "default", "resetkeys", "~*used-*"]);
    assert_eq!(ticking(&world, lifetime::told(&world, "shop.test", &token)).await, 503);
    redis.cli(&["ACL", "SETUSER", "default", "allkeys"]);
    assert_eq!(fetch(&world, &cookies).await.status, 200);
    assert_eq!(ticking(&world, lifetime::told(&world, "shop.test", &token)).await, 200);
    assert_eq!(fetch(&world, &cookies).await.status, 401);
    assert_eq!(ticking(&world, lifetime::told(&world, "shop.test", &token)).await, 400, "now it is used up");
}

/// An exchange may take seconds; an ID token that was made at its end is not from the future.
#[tokio::test]
async fn an_id_token_is_judged_by_the_time_after_the_exchange() {
    let world = World::start(Setup { issuer: ", clock_skew: 0s", ..Setup::default() }).await;
    world.provider.set_fault(Endpoint::Token, Fault::Slow(Duration::from_secs(5)));
    let (_, page) = ticking(&world, world.signed_in(world.browser())).await;
    assert_eq!((page.status, page.url.path()), (200, "/orders"), "{:#?}\n{}", page.trail(), page.text());
}
