//! Several processes that share Redis: one renewal, one sign-out, one logout for all; and what becomes of people when Redis
//! is away, slow, or empty (F12 to F17, R47).

use futures_util::future::join_all;

use super::*;

/// From here on a token of [`TOKEN`] is renewed.
const DUE: Duration = Duration::from_secs(250);

async fn shared() -> (Redis, [Setup; 2]) {
    let redis = Redis::start().await;
    let setups = [Setup::redis(&redis), Setup::of("cookie").beside(&redis)];
    (redis, setups)
}

#[tokio::test]
async fn a_session_is_good_at_every_replica_and_ends_at_all_of_them() {
    let (_redis, setups) = shared().await;
    for setup in setups {
        let world = World::start(setup).await;
        let other = world.another(&world.setup).await;
        let mut alice = world.alice().await;
        let cookies = cookies_of(&alice);
        assert_eq!(other.fetch("GET", "/a", &cookies, "").await.status, 200, "{}", world.setup.store);
        alice.open(&format!("{SITE}/oauth2/sign_out")).await;
        for gateway in [&world.gateway, &other] {
            assert_eq!(gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{}", world.setup.store);
        }
    }
}

#[tokio::test]
async fn two_replicas_make_one_renewal() {
    let (_redis, setups) = shared().await;
    for setup in setups {
        let world = World::start(setup).await;
        let other = world.another(&world.setup).await;
        let cookies = cookies_of(&world.alice().await);
        world.advance(TOKEN);
        let asked = (0..50).map(|number| {
            let gateway = if number % 2 == 0 { &world.gateway } else { &other };
            gateway.fetch("GET", "/a", &cookies, "")
        });
        let time = async {
            // Who waits for the other's lease looks again and again, by the clock.
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                world.advance(Duration::from_millis(10));
            }
        };
        let answers = tokio::select! {
            answers = join_all(asked) => answers,
            () = time => unreachable!("it goes on"),
        };
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(statuses.iter().all(|status| *status == 200), "{}: {statuses:?}", world.setup.store);
        assert_eq!(world.refreshes(), 1, "{}", world.setup.store);
    }
}

#[tokio::test]
async fn a_dump_of_redis_opens_nothing_and_names_nobody() {
    let redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let cookie = world.alice().await.cookie(COOKIE).unwrap().value.clone();
    let keys = redis.cli(&["--raw", "KEYS", "*"]);
    assert!(keys.contains("session:"), "{keys}");
    let mut dump = keys.clone();
    for key in keys.lines() {
        for command in [["--no-raw", "GET", key], ["--no-raw", "DUMP", key]] {
            dump += &redis.cli(&command);
        }
    }
    for secret in ["alice", "eyJ", "staff", "corp-web", cookie.as_str()] {
        assert!(!dump.contains(secret), "{secret} in {dump}");
    }
    // The lifetime is Redis's business too: nothing stays there for ever.
    for key in keys.lines() {
        assert!(redis.cli(&["--raw", "PTTL", key]).trim().parse::<i64>().unwrap() > 0, "{key}");
    }
}

#[tokio::test]
async fn without_redis_sessions_wait_and_tokens_go_on() {
    let mut redis = Redis::start().await;
    let routes = "  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop }, bearer: { issuers: [corp] } }\n";
    let setup = Setup { routes: routes.to_owned(), ..Setup::redis(&redis) };
    let world = World::start(setup).await;
    let cookies = cookies_of(&world.alice().await);
    redis.kill();
    let answer = ticking(&world, world.gateway.fetch("GET", "/a", &cookies, "")).await;
    assert_eq!(answer.status, 503);
    assert!(answer.value("retry-after").is_some());
    assert!(answer.values("set-cookie").is_empty(), "nobody is signed out");
    let token = world.provider.mint(&postern::devidp::Mint::machine("shop"));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(world.gateway.fetch("GET", "/a", "", &bearer).await.status, 200);
    assert_eq!(world.seen().len(), 1);
    // A cookie that was never ours does not even ask.
    assert_eq!(world.gateway.fetch("GET", "/a", &format!("{COOKIE}=1junk"), "").await.status, 401);
    redis.restart().await;
    // It is empty now: a sign-in, never a 500.
    let answer = crate::support::eventually_async("it recovers by itself", raw::PATIENCE, async || {
        world.advance(Duration::from_millis(200));
        let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn what_is_not_ours_in_redis_is_no_session() {
    let redis = Redis::start().await;
    let world = World::start(Setup::redis(&redis)).await;
    let keys = |redis: &Redis| redis.cli(&["--raw", "KEYS", "*session:*"]);
    for wrong in [&["SET", "", "junk"][..], &["SET", "", ""], &["SADD", "", "x"], &["SETRANGE", "", "40", "x"]] {
        redis.cli(&["FLUSHALL"]);
        let cookies = cookies_of(&world.alice().await);
        let key = keys(&redis).trim().to_owned();
        if wrong[0] == "SADD" {
            redis.cli(&["DEL", &key]);
        }
        let command: Vec<&str> = wrong.iter().map(|word| if word.is_empty() { key.as_str() } else { word }).collect();
        redis.cli(&command);
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{wrong:?}");
    }
}

/// The holder of a lease died in the middle of a renewal: who comes next waits for the lease to end, and is signed in
/// or told to sign in, never left hanging.
#[tokio::test]
async fn who_comes_after_a_holder_that_died_goes_on() {
    let redis = Redis::start().await;
    let world = World::start(Setup { rotation: false, ..Setup::redis(&redis) }).await;
    let cookies = cookies_of(&world.alice().await);
    let key = redis.cli(&["--raw", "KEYS", "*session:*"]).trim().to_owned();
    // As a process leaves it that was killed while it asked the provider.
    redis.cli(&["SET", &key.replace("session:", "lease:"), "somebody-else", "PX", "2000"]);
    world.advance(DUE);
    let answer = ticking(&world, world.gateway.fetch("GET", "/a", &cookies, "")).await;
    assert_eq!(answer.status, 200, "its access token still lives");
    world.advance(TOKEN);
    let answer = crate::support::eventually_async("the lease has ended", raw::PATIENCE, async || {
        let answer = ticking(&world, world.gateway.fetch("GET", "/a", &cookies, "")).await;
        world.advance(Duration::from_secs(1));
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!((answer.status, world.refreshes()), (200, 1));
}

/// Redis goes away after the provider took the old refresh token: the new ones are in the cookie all the same.
#[tokio::test]
async fn tokens_that_could_not_be_shared_are_not_lost() {
    let mut redis = Redis::start().await;
    let world = World::start(Setup::of("cookie").beside(&redis)).await;
    let cookies = cookies_of(&world.alice().await);
    world.provider.set_fault_for(Endpoint::Token, Fault::Slow(Duration::from_secs(2)), 1);
    world.advance(DUE);
    let before = world.provider.count(Endpoint::Token);
    let fetched = world.gateway.fetch("GET", "/a", &cookies, "");
    // Time goes on only once Redis is gone.
    let time = async {
        crate::support::eventually("the provider is asked", raw::PATIENCE, || {
            (world.provider.count(Endpoint::Token) > before).then_some(())
        })
        .await;
        redis.kill();
        ticking(&world, std::future::pending::<Answer>()).await
    };
    let answer = tokio::select! { answer = fetched => answer, answer = time => answer };
    assert_eq!((answer.status, world.refreshes()), (200, 1));
    let renewed =
        answer.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).expect("a new cookie");
    let renewed = renewed.split(';').next().unwrap().to_owned();
    redis.restart().await;
    crate::support::eventually_async("it recovers by itself", raw::PATIENCE, async || {
        world.advance(Duration::from_millis(200));
        (world.gateway.fetch("GET", "/a", &renewed, "").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(world.refreshes(), 1);
}
