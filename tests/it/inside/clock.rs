//! F46: the wall clock steps while the monotonic clock goes on. Tokens are judged by the one; caches, fetches and
//! connections by the other.

use super::*;

const TEN_YEARS: u64 = 10 * 365 * 24 * HOUR;

fn refused(reason: &str) -> String {
    format!("postern_refusals_total{{route=\"api\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn a_token_is_judged_by_the_wall_clock_at_every_request_remembered_or_not() {
    let world = World::start("", healthy().await, echo, None).await;
    let mut connection = world.connect().await;
    let token = world.token(&ring().rsa, START);
    for _ in 0..2 {
        assert_eq!(with_token(&mut connection, &token).await.status, 200);
    }
    world.until_metric("postern_token_memory_lookups_total{result=\"hit\"}", 1).await;

    let (mut expired, mut early) = (0, 0);
    for to in [START + HOUR, START - HOUR, START + TEN_YEARS, START] {
        // Now it is remembered.
        world.step_wall(START);
        for _ in 0..2 {
            assert_eq!(with_token(&mut connection, &token).await.status, 200);
        }
        world.step_wall(to);
        let answer = with_token(&mut connection, &token).await;
        if to == START {
            assert_eq!(answer.status, 200);
        } else {
            assert_eq!(answer.status, 401, "{to}");
            assert!(answer.value("www-authenticate").is_some_and(|text| text.contains("invalid_token")), "{answer:?}");
            if to > START { expired += 1 } else { early += 1 }
        }
        let fresh = world.token(&ring().rsa, to);
        assert_eq!(with_token(&mut connection, &fresh).await.status, 200, "a token of {to} at {to}");
        assert_eq!(get(&mut connection, "/public/x", "").await.status, 200, "{to}");
        assert_eq!(world.ready().await, 200, "{to}");
    }
    world.until_metric(&refused("token.expired"), expired).await;
    world.until_metric(&refused("token.not_yet_valid"), early).await;
    assert_eq!((expired, early), (2, 1));
    assert_eq!((world.provider.metadata_fetches(), world.provider.key_fetches()), (1, 1), "no step causes a fetch");
    assert_eq!(world.upstream.connections(), 1, "no step costs a connection");
}

#[tokio::test]
async fn a_remembered_token_ends_when_the_time_passes_and_not_a_moment_earlier() {
    const SKEW: u64 = 30;
    let world = World::start("", healthy().await, echo, None).await;
    let mut connection = world.connect().await;
    let token = world.token(&ring().p256, START);
    assert_eq!(with_token(&mut connection, &token).await.status, 200);
    world.hands.advance(Duration::from_secs(300 + SKEW) - Duration::from_millis(1));
    assert_eq!(with_token(&mut connection, &token).await.status, 200);
    world.hands.advance(Duration::from_millis(1));
    assert_eq!(with_token(&mut connection, &token).await.status, 401);
}

#[tokio::test]
async fn fetches_of_keys_go_by_the_monotonic_clock() {
    let world = World::start("", healthy().await, echo, None).await;
    let issuer = &world.plan.issuers[0];
    let (cooldown, refresh) = (issuer.settings().cooldown, issuer.settings().refresh);
    let mut connection = world.connect().await;
    let mut unknown = async |world: &World, at: u64| {
        // Signed by nobody's key, under a `kid` that is not in the set.
        with_token(&mut connection, &world.token(&ring().stranger, at)).await.status
    };
    assert_eq!(unknown(&world, START).await, 401);
    assert_eq!(world.provider.key_fetches(), 2, "the first unknown key is asked for");
    for to in [START + HOUR, START - HOUR, START + TEN_YEARS] {
        world.step_wall(to);
        for _ in 0..5 {
            assert_eq!(unknown(&world, to).await, 401);
        }
    }
    assert_eq!(world.provider.key_fetches(), 2, "a step does not end the cooldown");

    world.hands.advance(cooldown);
    for _ in 0..5 {
        assert_eq!(unknown(&world, START + TEN_YEARS + cooldown.as_secs()).await, 401);
    }
    assert_eq!(world.provider.key_fetches(), 3, "the cooldown has passed on the monotonic clock");
    world.step_wall(START - HOUR);
    world.hands.advance(refresh);
    issuer.attempted(4).await;
    assert_eq!(world.provider.key_fetches(), 4, "one refresh");
    assert!(matches!(issuer.standing(), Standing::Ready { age: Duration::ZERO, .. }), "{:?}", issuer.standing());
}

#[tokio::test]
async fn keys_grow_stale_by_the_monotonic_clock_alone() {
    let world = World::start("", healthy().await, echo, None).await;
    let max_stale = world.plan.issuers[0].settings().max_stale;
    let mut connection = world.connect().await;
    world.step_wall(START + TEN_YEARS);
    let token = world.token(&ring().rsa, START + TEN_YEARS);
    assert_eq!(with_token(&mut connection, &token).await.status, 200, "keys of ten years ago by the wall clock");

    world.provider.keys_answer(answer(503, "text/plain", "not now"));
    world.hands.advance(max_stale + Duration::from_secs(1));
    world.step_wall(START + TEN_YEARS);
    let answer = with_token(&mut connection, &token).await;
    assert_eq!(answer.status, 503, "too old by the monotonic clock, for a remembered token too");
    assert!(answer.value("retry-after").is_some(), "{answer:?}");
    assert_eq!(get(&mut connection, "/public/x", "").await.status, 200, "other routes go on");
}
