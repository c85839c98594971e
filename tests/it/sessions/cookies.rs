//! What a browser holds: attributes (R40), nothing of a token (R39), sealed for this one place (R45, R46, T28), and never
//! too much of it (R49).

use super::*;

#[tokio::test]
async fn the_session_cookie_is_for_this_host_alone_and_for_no_script() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let (_, page) = world.signed_in(world.browser()).await;
        let callback = page.hop("/oauth2/callback");
        let set = callback.answer.values("set-cookie");
        let session: Vec<_> = set.iter().filter(|field| field.starts_with(&format!("{COOKIE}="))).collect();
        assert_eq!(session.len(), 1, "{set:?}");
        let attributes = session[0].split_once("; ").unwrap().1;
        assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(callback.answer.value("cache-control"), Some("no-store"));
        // The attempt's own cookie is gone.
        assert!(set.iter().any(|field| field.starts_with(&format!("{COOKIE}.tx.")) && field.contains("Max-Age=0")));
    }
}

#[tokio::test]
async fn nothing_that_a_browser_gets_holds_a_token() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let (browser, page) = world.signed_in(world.browser()).await;
        for hop in page.hops.iter().filter(|hop| hop.url.as_str().starts_with(SITE)) {
            let told = String::from_utf8_lossy(&hop.answer.body).into_owned() + &format!("{:?}", hop.answer.fields);
            // So begins every JWT of the provider.
            assert!(!told.contains("eyJhbGciOi"), "{}: {told}", hop.url);
        }
        let held = cookies_of(&browser);
        assert!(!held.contains("eyJhbGciOi") && !held.contains("alice"));
        if world.setup.store == "memory" {
            assert!(held.len() < 200, "an id, and nothing else: {}", held.len());
        }
    }
}

#[tokio::test]
async fn the_same_sign_in_sealed_twice_looks_different() {
    let world = World::start(Setup::default()).await;
    let (one, two) = (world.alice().await, world.alice().await);
    let value = |browser: &Browser| browser.cookie(COOKIE).unwrap().value.clone();
    let (one, two) = (value(&one), value(&two));
    let same = one.bytes().zip(two.bytes()).skip(8).filter(|(one, two)| one == two).count();
    assert!(same < one.len() / 8, "{same} of {}", one.len());
}

/// Every way of being wrong looks the same: no session, and the cookie goes away.
#[tokio::test]
async fn a_cookie_that_is_not_quite_ours_is_no_session() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let value = world.alice().await.cookie(COOKIE).unwrap().value.clone();
        let other = World::start(Setup { keys: OTHER_KEY.to_owned(), ..world.setup.clone() }).await;
        let foreign = other.alice().await.cookie(COOKIE).unwrap().value.clone();
        let mut wrong = vec![
            String::new(),
            "1".to_owned(),
            "2".to_owned() + &value[1..],
            "99999999".to_owned() + &value,
            value[..value.len() - 1].to_owned(),
            value.clone() + "A",
            value.clone() + "=",
            value[..value.len() / 2].to_owned(),
            format!("1{value}"),
            foreign,
            "1".to_owned() + &"A".repeat(3000),
        ];
        // Each byte once where there are few, else a sample that touches every part.
        for at in (0..value.len()).step_by((value.len() / 150).max(1)) {
            let mut changed = value.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            wrong.push(String::from_utf8(changed).unwrap());
        }
        for value in wrong {
            let answer = world.gateway.fetch("GET", "/a", &format!("{COOKIE}={value}"), "").await;
            assert_eq!(answer.status, 401, "{}: {value}", world.setup.store);
            assert_eq!(answer.json()["title"], "Unauthorized");
            assert_eq!(
                answer.values("set-cookie"),
                [format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure")],
                "{value}"
            );
        }
        assert!(world.seen().is_empty());
        let twice = format!("{COOKIE}={value}; {COOKIE}={value}");
        assert_eq!(world.gateway.fetch("GET", "/a", &twice, "").await.status, 400, "a cookie of ours comes once");
        assert_eq!(world.gateway.fetch("GET", "/a", &format!("{COOKIE}={value}"), "").await.status, 200);
    }
}

#[tokio::test]
async fn a_cookie_of_one_site_opens_nothing_at_another() {
    let sites = "  other:\n    url: https://other.test\n    sign_in: [corp-web]\n";
    let routes = format!(
        "{}  - match: {{ path: /** }}\n    upstream: app\n    access: {{ session: {{ site: other }} }}\n",
        Setup::default().routes
    );
    for setup in Setup::each() {
        let world = World::start(Setup { site: sites.to_owned(), routes: routes.clone(), ..setup }).await;
        let value = world.alice().await.cookie(COOKIE).unwrap().value.clone();
        let head = format!(
            "GET /a HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\nCookie: __Host-postern-other={value}; {COOKIE}={value}\r\n\r\n"
        );
        assert_eq!(raw::request(world.gateway.address(), &head).await.status, 401);
        assert!(world.seen().is_empty());
    }
}

#[tokio::test]
async fn keys_are_exchanged_without_anybody_being_signed_out() {
    for setup in Setup::each().into_iter().filter(|setup| setup.store == "cookie") {
        let world = World::start(setup).await;
        let cookies = cookies_of(&world.alice().await);
        let both = Setup { keys: format!("{OTHER_KEY}, {KEY}"), ..world.setup.clone() };
        let next = world.another(&both).await;
        let answer = next.fetch("GET", "/a", &cookies, "").await;
        assert_eq!(answer.status, 200);
        // It is sealed anew at once, so that the old key can go.
        let renewed = answer.values("set-cookie").into_iter().find(|field| field.starts_with(COOKIE)).unwrap();
        let renewed = renewed.split(';').next().unwrap().to_owned();
        let last = world.another(&Setup { keys: OTHER_KEY.to_owned(), ..world.setup.clone() }).await;
        assert_eq!(last.fetch("GET", "/a", &renewed, "").await.status, 200);
        assert_eq!(last.fetch("GET", "/a", &cookies, "").await.status, 401);
        assert_eq!(world.gateway.fetch("GET", "/a", &renewed, "").await.status, 401, "sealed with a key it lacks");
    }
}

#[tokio::test]
async fn fifty_sign_ins_that_nobody_finishes_leave_room_for_one_that_is() {
    let world = World::start(Setup::default()).await;
    let mut browser = world.browser();
    for number in 0..50 {
        world.advance(Duration::from_secs(1));
        let page = browser.open(&format!("{SITE}/tab/{number}?{}", "x".repeat(900))).await;
        assert_eq!((page.status, page.url.path()), (200, "/authorize"), "{number}: {:?}", page.trail());
        let attempts = browser.cookies().iter().filter(|cookie| cookie.name.starts_with(&format!("{COOKIE}.tx.")));
        assert!(attempts.count() <= 8);
    }
    let page = browser.sign_in(&format!("{SITE}/orders"), "alice", "wonderland").await;
    assert_eq!((page.status, page.url.path()), (200, "/orders"), "{:?}", page.trail());
}

#[tokio::test]
async fn several_tabs_sign_in_at_once_and_each_lands_where_it_wanted() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let mut browser = world.browser();
        let mut tabs = Vec::new();
        for tab in 0..5 {
            tabs.push((tab, browser.open(&format!("{SITE}/tab/{tab}")).await));
        }
        for (tab, asked) in tabs.into_iter().rev() {
            let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
            assert_eq!((page.status, page.url.path()), (200, format!("/tab/{tab}").as_str()), "{:?}", page.trail());
        }
    }
}

#[tokio::test]
async fn a_session_too_large_for_cookies_is_an_error_that_names_the_way_out() {
    let world = World::start(Setup::default()).await;
    let large: Vec<String> = (0..2000).map(|number| format!("group-{number}")).collect();
    let change = serde_json::json!({ "groups": large });
    let lie = postern::devidp::Lie::Claims(change.as_object().cloned().unwrap());
    world.provider.set_fault(Endpoint::Token, Fault::Lie(lie));
    let (browser, page) = world.signed_in(world.browser()).await;
    assert_eq!(page.status, 500, "{:?}", page.trail());
    assert!(browser.cookie(COOKIE).is_none());
    let world = World::start(Setup::of("memory")).await;
    let change = serde_json::json!({ "groups": large });
    let lie = postern::devidp::Lie::Claims(change.as_object().cloned().unwrap());
    world.provider.set_fault(Endpoint::Token, Fault::Lie(lie));
    let (_, page) = world.signed_in(world.browser()).await;
    assert_ne!(page.status, 500, "the memory has room: {:?}", page.trail());
}

#[tokio::test]
async fn a_larger_session_is_spread_over_cookies_and_comes_back_whole() {
    let world = World::start(Setup::default()).await;
    let large: Vec<String> = (0..400).map(|number| format!("group-{number}")).collect();
    let lie = postern::devidp::Lie::Claims(serde_json::json!({ "groups": large }).as_object().cloned().unwrap());
    world.provider.set_fault(Endpoint::Token, Fault::Lie(lie));
    let alice = world.alice().await;
    let parts: Vec<_> = alice.cookies().iter().filter(|cookie| cookie.name.starts_with(COOKIE)).cloned().collect();
    assert!((2..=3).contains(&parts.len()), "{}", parts.len());
    let whole = cookies_of(&alice);
    assert_eq!(world.gateway.fetch("GET", "/a", &whole, "").await.status, 200);
    // Swapped, or one missing: none.
    let (one, two) = (&parts[0], &parts[1]);
    let swapped = format!("{}={}; {}={}", one.name, two.value, two.name, one.value);
    for wrong in [format!("{}={}", one.name, one.value), format!("{}={}", two.name, two.value), swapped] {
        assert_eq!(world.gateway.fetch("GET", "/a", &wrong, "").await.status, 401);
    }
}
