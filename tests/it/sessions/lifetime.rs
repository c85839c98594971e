//! How long a session lasts: idle and absolute (R44), a new id at each sign-in (R43, T29), nothing after its end (T30).

use super::*;

#[tokio::test]
async fn a_session_that_is_not_used_is_over_and_one_that_is_used_goes_on() {
    for setup in Setup::each() {
        let world = World::start(setup.with_site("    idle_timeout: 10m\n")).await;
        let mut alice = world.alice().await;
        // Ten minutes long in steps, with a page each: never idle.
        for _ in 0..6 {
            world.advance(9 * MINUTE);
            let page = alice.open(&format!("{SITE}/a")).await;
            assert_eq!((page.status, page.url.path()), (200, "/a"), "{}: {:?}", world.setup.store, page.trail());
        }
        world.advance(10 * MINUTE);
        let answer = world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await;
        assert_eq!(answer.status, 401, "{}", world.setup.store);
        assert_eq!(world.seen().len(), 6);
    }
}

#[tokio::test]
async fn a_session_ends_at_its_absolute_time_however_much_it_is_used() {
    for setup in Setup::each() {
        let world = World::start(setup.with_site("    idle_timeout: 10m\n    absolute_timeout: 30m\n")).await;
        let mut alice = world.alice().await;
        let cookies = cookies_of(&alice);
        for _ in 0..3 {
            world.advance(9 * MINUTE);
            assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
        }
        world.advance(3 * MINUTE);
        let answer = world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await;
        assert_eq!(answer.status, 401, "{}", world.setup.store);
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{}", world.setup.store);
        assert_eq!(world.seen().len(), 3);
    }
}

#[tokio::test]
async fn each_sign_in_makes_a_session_of_its_own_and_ends_the_one_that_was_there() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut alice = world.alice().await;
        let before = cookies_of(&alice);
        // The provider still knows her: the sign-in goes through by itself.
        let page = alice.open(&format!("{SITE}/oauth2/start?rd=/again")).await;
        assert_eq!((page.status, page.url.path()), (200, "/again"), "{:?}", page.trail());
        assert_ne!(cookies_of(&alice), before);
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await.status, 200);
        assert_eq!(world.gateway.fetch("GET", "/a", &before, "").await.status, 401, "{}", world.setup.store);
    }
}

#[tokio::test]
async fn a_session_that_somebody_planted_does_not_become_that_of_who_signs_in() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let planted = world.alice().await;
        let mut bob = world.browser();
        bob.jar().extend(planted.cookies().iter().filter(|cookie| cookie.name == COOKIE).cloned());
        let asked = bob.open(&format!("{SITE}/oauth2/start?rd=/a")).await;
        let page = bob.sign_in_at(&asked, "bob", "builder").await;
        assert_eq!(page.status, 200, "{:?}", page.trail());
        assert_eq!(world.seen().last().unwrap().values("x-forwarded-user"), ["bob"]);
        let theirs = cookies_of(&planted);
        assert_ne!(cookies_of(&bob), theirs);
        assert_eq!(world.gateway.fetch("GET", "/a", &theirs, "").await.status, 401, "{}", world.setup.store);
    }
}

#[tokio::test]
async fn after_a_sign_out_no_copy_of_a_cookie_opens_anything() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut alice = world.alice().await;
        let copy = cookies_of(&alice);
        let page = alice.open(&format!("{SITE}/oauth2/sign_out")).await;
        let left = page.hop("/oauth2/sign_out");
        let deleted = left.answer.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).unwrap();
        assert_eq!(deleted, format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"));
        assert!(!alice.cookies().iter().any(|cookie| cookie.name == COOKIE));
        assert_eq!(world.gateway.fetch("GET", "/a", &copy, "").await.status, 401, "{}", world.setup.store);
        assert!(world.seen().is_empty());
    }
}

#[tokio::test]
async fn a_restart_ends_no_session_that_lies_in_its_cookie() {
    let world = World::start(Setup::of("cookie")).await;
    let alice = world.alice().await;
    let next = world.another(&world.setup).await;
    assert_eq!(next.fetch("GET", "/a", &cookies_of(&alice), "").await.status, 200);
    let world = World::start(Setup::of("memory")).await;
    let alice = world.alice().await;
    let next = world.another(&world.setup).await;
    let answer = next.fetch("GET", "/a", &cookies_of(&alice), "").await;
    assert_eq!(answer.status, 401, "what lay in memory is gone: a sign-in, never a 500");
    assert!(answer.values("set-cookie").iter().any(|field| field.contains("Max-Age=0")));
}
