//! Tokens are renewed before they end, once, whoever asks and however often (R29, F10, F17), and nobody notices.

use futures_util::future::join_all;

use super::*;

/// From here on a token of [`TOKEN`] is renewed.
const DUE: Duration = Duration::from_secs(250);

#[tokio::test]
async fn tokens_are_renewed_before_they_end_and_nobody_notices() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut alice = world.alice().await;
        let mut held = Vec::new();
        for renewal in 0..5 {
            assert_eq!(world.refreshes(), renewal);
            assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
            assert_eq!(world.refreshes(), renewal, "not before its time");
            held.push(cookies_of(&alice));
            world.advance(DUE);
            let page = alice.open(&format!("{SITE}/b")).await;
            assert_eq!((page.status, page.hops.len()), (200, 1), "{:?}", page.trail());
            assert_eq!(world.refreshes(), renewal + 1, "{}", world.setup.store);
        }
        held.dedup();
        assert_eq!(held.len(), if world.setup.store == "cookie" { 5 } else { 1 }, "an id needs no new cookie");
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_make_one_renewal() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let cookies = cookies_of(&world.alice().await);
        // The access token itself is over, so that each of them has to wait.
        world.advance(TOKEN);
        let asked = (0..100).map(|_| world.gateway.fetch("GET", "/a", &cookies, ""));
        let answers = join_all(asked).await;
        assert!(
            answers.iter().all(|answer| answer.status == 200),
            "{:?}",
            answers.iter().map(|one| one.status).collect::<Vec<_>>()
        );
        assert_eq!(world.refreshes(), 1, "{}", world.setup.store);
        assert_eq!(world.seen().len(), 100);
    }
}

/// A tab that was slow still has the old cookie: it must get the very tokens that the others got, for the provider
/// would take a second use of the old refresh token for theft.
#[tokio::test]
async fn a_late_tab_gets_the_same_new_tokens() {
    let world = World::start(Setup::of("cookie")).await;
    let mut alice = world.alice().await;
    let old = cookies_of(&alice);
    world.advance(DUE);
    assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
    world.advance(Duration::from_secs(29));
    let late = world.gateway.fetch("GET", "/late", &old, "").await;
    assert_eq!((late.status, world.refreshes()), (200, 1));
    let renewed = late.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).unwrap();
    let renewed = renewed.split(';').next().unwrap().to_owned();
    // Both go on with the same grant.
    world.advance(DUE);
    assert_eq!(world.gateway.fetch("GET", "/a", &renewed, "").await.status, 200);
    assert_eq!(world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await.status, 200);
    assert_eq!(world.refreshes(), 2);
}

/// The tab was closed while a slow provider was asked, and the person comes back minutes later with the old cookie.
#[tokio::test]
async fn a_tab_that_missed_renewals_catches_up() {
    let world = World::start(Setup::of("cookie")).await;
    let mut alice = world.alice().await;
    let old = cookies_of(&alice);
    for _ in 0..2 {
        world.advance(DUE);
        assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
    }
    world.advance(Duration::from_secs(599) - DUE);
    assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
    let renewed = world.refreshes();
    let late = world.gateway.fetch("GET", "/late", &old, "").await;
    assert_eq!((late.status, world.refreshes()), (200, renewed), "it is given what was brought, to the last link");
    let cookie = late.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!((world.gateway.fetch("GET", "/a", &cookie, "").await.status, world.refreshes()), (200, renewed));
}

/// The new tokens are at the browser before it is idle, however slow the provider is: the old ones are spent.
#[tokio::test]
async fn a_cookie_waits_for_its_new_tokens_even_while_the_old_live() {
    let world = World::start(Setup::of("cookie")).await;
    let cookies = cookies_of(&world.alice().await);
    world.provider.set_fault_for(Endpoint::Token, Fault::Slow(Duration::from_secs(6)), 1);
    world.advance(DUE);
    let answer = ticking(&world, world.gateway.fetch("GET", "/a", &cookies, "")).await;
    assert_eq!((answer.status, world.refreshes()), (200, 1));
    let renewed =
        answer.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).expect("a new cookie");
    let renewed = renewed.split(';').next().unwrap().to_owned();
    world.advance(50 * MINUTE);
    assert_eq!(world.gateway.fetch("GET", "/a", &renewed, "").await.status, 200, "within the idle time");
}

#[tokio::test]
async fn only_the_issuers_word_ends_a_session() {
    for setup in Setup::each() {
        for fault in [
            Fault::Status(500),
            Fault::Status(503),
            Fault::Garbage,
            Fault::Html,
            Fault::Drop,
            Fault::WrongContentType,
            Fault::OAuthError("temporarily_unavailable".to_owned()),
            Fault::OAuthError("invalid_client".to_owned()),
        ] {
            // The provider has done its part before it fails: only a token that can be used again shows who recovers.
            let world = World::start(Setup { rotation: false, ..setup.clone() }).await;
            let cookies = cookies_of(&world.alice().await);
            world.provider.set_fault(Endpoint::Token, fault.clone());
            world.advance(DUE);
            let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
            assert_eq!(answer.status, 200, "{} {fault:?}: it lives as long as its token", world.setup.store);
            let asked = world.provider.count(Endpoint::Token);
            assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 200);
            assert_eq!(world.provider.count(Endpoint::Token), asked, "what failed is left alone for a while");
            world.advance(TOKEN - DUE);
            let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
            assert_eq!(answer.status, 503, "{} {fault:?}", world.setup.store);
            assert!(answer.value("retry-after").is_some());
            assert!(answer.values("set-cookie").is_empty(), "nobody is signed out");
            world.provider.clear_faults();
            world.advance(MINUTE);
            let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
            assert_eq!(answer.status, 200, "{} {fault:?}: it recovers by itself", world.setup.store);
        }
    }
}

/// The provider has rotated, and its answer was lost on the way: the old token is spent, so the next thing is a sign-in.
#[tokio::test]
async fn an_answer_that_was_lost_leads_to_a_sign_in_and_to_nothing_worse() {
    for setup in Setup::each() {
        for fault in [Fault::DropAfter, Fault::Truncated, Fault::Status(502)] {
            let world = World::start(setup.clone()).await;
            let mut alice = world.alice().await;
            world.provider.set_fault_for(Endpoint::Token, fault.clone(), 1);
            world.advance(DUE);
            assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200, "its access token still lives");
            world.advance(TOKEN);
            let page = alice.open(&format!("{SITE}/b")).await;
            assert_eq!(
                (page.status, page.url.path()),
                (200, "/b"),
                "{} {fault:?}: {:?}",
                world.setup.store,
                page.trail()
            );
            assert_eq!(page.hops[1].url.path(), "/authorize");
        }
    }
}

#[tokio::test]
async fn invalid_grant_ends_it() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut alice = world.alice().await;
        let cookies = cookies_of(&alice);
        world.provider.set_fault(Endpoint::Token, Fault::OAuthError("invalid_grant".to_owned()));
        world.advance(DUE);
        let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
        assert_eq!(answer.status, 401, "{}", world.setup.store);
        assert!(answer.values("set-cookie").iter().any(|field| field.contains("Max-Age=0")));
        assert!(world.seen().is_empty());
        world.provider.clear_faults();
        let page = alice.open(&format!("{SITE}/a")).await;
        assert_eq!(page.hops[1].url.path(), "/authorize", "a sign-in, never a 500: {:?}", page.trail());
        assert_eq!((page.status, page.url.path()), (200, "/a"));
    }
}

#[tokio::test]
async fn a_refreshed_id_token_about_somebody_else_is_refused() {
    for setup in Setup::each() {
        for change in [
            serde_json::json!({ "sub": "bob" }),
            serde_json::json!({ "iss": "https://evil.example" }),
            serde_json::json!({ "aud": "other" }),
        ] {
            let world = World::start(setup.clone()).await;
            let cookies = cookies_of(&world.alice().await);
            let lie = postern::devidp::Lie::Claims(change.as_object().cloned().unwrap());
            world.provider.set_fault(Endpoint::Token, Fault::Lie(lie));
            world.advance(DUE);
            let answer = world.gateway.fetch("GET", "/a", &cookies, "").await;
            assert_eq!(answer.status, 401, "{} {change}", world.setup.store);
            assert!(world.seen().is_empty());
        }
    }
}

#[tokio::test]
async fn changed_groups_take_effect_with_the_next_renewal() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut alice = world.alice().await;
        let change = serde_json::json!({ "groups": ["customers"] });
        let lie = postern::devidp::Lie::Claims(change.as_object().cloned().unwrap());
        world.provider.set_fault(Endpoint::Token, Fault::Lie(lie));
        world.advance(DUE);
        assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
        assert_eq!(alice.open(&format!("{SITE}/b")).await.status, 200);
        for seen in world.seen() {
            assert_eq!(seen.values("x-forwarded-groups"), ["customers"], "{}", world.setup.store);
        }
    }
}

/// The client that caused a renewal goes away; the renewal does not, and the next request has what it brought.
#[tokio::test]
async fn a_renewal_outlives_who_caused_it() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let cookies = cookies_of(&world.alice().await);
        world.provider.set_fault_for(Endpoint::Token, Fault::Slow(Duration::from_secs(3)), 1);
        world.advance(TOKEN);
        let before = world.provider.count(Endpoint::Token);
        {
            let gone = world.gateway.fetch("GET", "/a", &cookies, "");
            let asked = crate::support::eventually("the provider is asked", raw::PATIENCE, || {
                (world.provider.count(Endpoint::Token) > before).then_some(())
            });
            tokio::select! {
                _ = gone => panic!("it waits for the provider"),
                () = asked => {}
            }
        }
        let waiting = world.gateway.fetch("GET", "/b", &cookies, "");
        let time = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.advance(Duration::from_secs(3));
        };
        let (answer, ()) = tokio::join!(waiting, time);
        assert_eq!((answer.status, world.refreshes()), (200, 1), "{}", world.setup.store);
    }
}

/// A provider that takes half a minute signs nobody out: who can go on does, who can't is told to come back.
#[tokio::test]
async fn a_slow_provider_signs_nobody_out() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let cookies = cookies_of(&world.alice().await);
        world.provider.set_fault(Endpoint::Token, Fault::Slow(Duration::from_secs(30)));
        world.advance(DUE);
        let waits = async {
            let mut waited = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                world.advance(Duration::from_secs(1));
                waited += 1;
                if waited > 40 {
                    std::future::pending::<()>().await;
                }
            }
        };
        let answer = tokio::select! {
            answer = world.gateway.fetch("GET", "/a", &cookies, "") => answer,
            () = waits => unreachable!("it goes on waiting"),
        };
        assert_eq!(answer.status, 200, "{}: its token still lives", world.setup.store);
        world.provider.clear_faults();
        world.advance(MINUTE);
        assert_ne!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 500);
    }
}
