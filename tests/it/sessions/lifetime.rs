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

/// Which of two cookies is meant would be chance: nobody is told that they are signed out while one of them is good.
#[tokio::test]
async fn signing_out_with_a_cookie_that_came_twice_is_refused() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let cookies = cookies_of(&world.alice().await);
        let twice = format!("{cookies}; {cookies}");
        let answer = world.gateway.fetch("POST", "/oauth2/sign_out", &twice, "Content-Length: 0\r\n").await;
        assert_eq!(answer.status, 400, "{}", world.setup.store);
        assert_eq!(world.gateway.fetch("GET", "/oauth2/userinfo", &twice, "").await.status, 400);
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 200);
    }
}

/// A provider has one address for each client: its token ends the sessions of every site with that client.
#[tokio::test]
async fn a_logout_reaches_all_sites_with_that_client() {
    let site = |more: &str| format!("  other:\n    url: https://other.test\n    sign_in: [corp-web]\n{more}");
    let routes = format!(
        "{}  - match: {{ path: /** }}\n    upstream: app\n    access: {{ session: {{ site: other }} }}\n",
        Setup::default().routes
    );
    for setup in Setup::each() {
        for (more, status) in [("", 401), ("    back_channel_logout: \"off\"\n", 200)] {
            let setup = Setup { site: site(more), routes: routes.clone(), ..setup.clone() };
            let world = World::start(setup).await;
            let cookies = cookies_of(&world.alice().await);
            world.advance(Duration::from_secs(1));
            let token = world.provider.logout_token("shop", Some("alice"), None, None);
            // Of the shop: told at the other, which may not care for itself.
            let at = if more.is_empty() { "other.test" } else { "shop.test" };
            assert_eq!(told(&world, at, &token).await, 200);
            assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{}", world.setup.store);
            let again = told(&world, if status == 401 { "shop.test" } else { "other.test" }, &token).await;
            assert_eq!(again, 400, "it counts once for all of them");
        }
    }
}

pub(super) async fn told(world: &World, host: &str, token: &str) -> u16 {
    let body = format!("logout_token={token}");
    let head = format!(
        "POST /oauth2/backchannel_logout HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    raw::request(world.gateway.address(), &head).await.status
}

/// What visitors cause is bounded, and takes no place of those who are signed in.
#[tokio::test]
async fn visitors_cause_no_more_requests_to_the_provider_than_it_bears() {
    let world = World::start(Setup::default()).await;
    let cookies = cookies_of(&world.alice().await);
    world.provider.set_fault(Endpoint::Par, Fault::Slow(MINUTE));
    world.advance(Duration::from_secs(250));
    let before = world.provider.count(Endpoint::Par);
    let visits = (0..80).map(|_| world.gateway.fetch("GET", "/oauth2/start", "", ""));
    let visits = futures_util::future::join_all(visits);
    let answers = async {
        crate::support::eventually("as many as may be are under way", raw::PATIENCE, || {
            (world.provider.count(Endpoint::Par) - before == 64).then_some(())
        })
        .await;
        // Who is signed in gets new tokens meanwhile.
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 200);
        assert_eq!(world.refreshes(), 1);
        ticking(&world, std::future::pending::<Vec<Answer>>()).await
    };
    let answers = tokio::select! { answers = visits => answers, answers = answers => answers };
    assert!(answers.iter().all(|answer| answer.status == 503 && answer.value("retry-after").is_some()));
    assert_eq!(world.provider.count(Endpoint::Par) - before, 64);
    world.provider.clear_faults();
    assert_eq!(world.gateway.fetch("GET", "/oauth2/start", "", "").await.status, 302, "their places are free again");
}

/// Over HTTP/2 nothing below watches a body; a door that reads one gives it its time and no more.
#[tokio::test]
async fn a_form_that_never_ends_is_given_up_over_http2_too() {
    use crate::support::h2::{Outcome, RawConnection, field_block, frame};
    let world = World::start(Setup::default()).await;
    let mut connection = RawConnection::open(world.gateway.address()).await;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.test"),
        (":path", "/oauth2/backchannel_logout"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let head = frame::new(frame::HEADERS, frame::END_HEADERS, 1, &field_block(&fields));
    connection.send(&[head, frame::new(frame::DATA, 0, 1, b"logout_token=")].concat()).await;
    let outcome = ticking(&world, connection.outcome(1)).await;
    assert_eq!(outcome, Outcome::Answered(408));
}
