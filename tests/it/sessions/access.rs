//! Who gets where: redirects for people and 401 for programs (R48, T31), sessions beside tokens, what other sites cause
//! (R41), and what the app sees (R42).

use super::*;
use crate::support::upstream::Step;

#[tokio::test]
async fn only_a_top_level_navigation_is_sent_to_sign_in() {
    let world = World::start(Setup::default()).await;
    let html = "Accept: text/html,*/*;q=0.8\r\n";
    let navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let frame = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    let script = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n";
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (method, lines, status) in [
        ("GET", navigation.to_owned(), 302),
        ("HEAD", navigation.to_owned(), 302),
        ("POST", navigation.to_owned(), 303),
        ("GET", html.to_owned(), 302),
        ("GET", format!("{frame}{html}"), 401),
        ("GET", format!("{script}{html}"), 401),
        ("GET", format!("{html}X-Requested-With: XMLHttpRequest\r\n"), 401),
        ("GET", "Accept: application/json\r\n".to_owned(), 401),
        ("GET", String::new(), 401),
        ("DELETE", html.to_owned(), 401),
        ("GET", websocket.to_owned(), 401),
        ("GET", format!("{navigation}Authorization: Basic YTpi\r\n"), 401),
        ("GET", format!("{navigation}Authorization: Bearer abc\r\n"), 401),
    ] {
        let head = format!("{method} /orders?page=2 HTTP/1.1\r\nHost: shop.test\r\n{lines}\r\n");
        let answer = raw::request(world.gateway.address(), &head).await;
        assert_eq!(answer.status, status, "{method} {lines}");
        assert_eq!(answer.value("cache-control"), Some("no-store"));
        if status == 401 {
            assert!(answer.value("location").is_none() && answer.values("set-cookie").is_empty(), "{lines}");
        }
        if status == 401 && !lines.starts_with(navigation) {
            assert_eq!(answer.value("content-type"), Some("application/problem+json"), "{lines}");
            assert_eq!(answer.json()["login_url"], format!("{SITE}/oauth2/start"));
        }
        if status != 401 {
            assert!(answer.value("location").unwrap().starts_with(&format!("{}/authorize", world.provider.issuer())));
        }
    }
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn a_form_that_meets_no_session_goes_nowhere_and_its_connection_ends() {
    let world = World::start(Setup::default()).await;
    let body = "GET /public/smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let head = format!(
        "POST /transfer HTTP/1.1\r\nHost: shop.test\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw::request(world.gateway.address(), &head).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.value("connection"), Some("close"));
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn what_another_site_causes_does_not_ride_on_a_session() {
    for setup in Setup::each() {
        let world = World::start(setup.with_site("    cross_site: { allow: [/saml/acs] }\n")).await;
        let cookies = format!("Cookie: {}\r\n", cookies_of(&world.alice().await));
        let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        for (request, lines, status) in [
            ("POST /a", "Sec-Fetch-Site: cross-site\r\n", 403),
            ("POST /a", "Sec-Fetch-Site: same-site\r\n", 403),
            ("POST /a", "Origin: https://evil.example\r\n", 403),
            ("POST /a", "Origin: null\r\n", 403),
            ("DELETE /a", "Origin: https://shop.test.evil.example\r\n", 403),
            ("GET /ws", &format!("{websocket}Origin: https://evil.example\r\n"), 403),
            ("POST /saml/acs", "Sec-Fetch-Site: cross-site\r\nOrigin: https://idp.example\r\n", 200),
            ("POST /a", "Sec-Fetch-Site: same-origin\r\nOrigin: https://shop.test\r\n", 200),
            ("POST /a", "Origin: https://shop.test\r\n", 200),
            ("POST /a", "", 200),
            ("GET /a", "Sec-Fetch-Site: cross-site\r\n", 200),
        ] {
            world.seen();
            let head = format!("{request} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{cookies}{lines}\r\n");
            let answer = raw::request(world.gateway.address(), &head).await;
            assert_eq!(answer.status, status, "{request} {lines}");
            assert_eq!(world.seen().len(), usize::from(status == 200), "{request} {lines}");
        }
    }
}

#[tokio::test]
async fn a_token_beside_a_session_is_what_counts() {
    let routes = "  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop, policy: 'caller.method == \"session\"' }, bearer: { issuers: [corp], scopes: [orders:read] } }\n";
    let world = World::start(Setup { routes: routes.to_owned(), ..Setup::default() }).await;
    let cookies = cookies_of(&world.alice().await);
    assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 200);
    assert_eq!(world.seen().pop().unwrap().values("x-forwarded-user"), ["alice"]);
    // A token that is none is final, however good the session beside it.
    let answer = world.gateway.fetch("GET", "/a", &cookies, "Authorization: Bearer junk\r\n").await;
    assert_eq!(answer.status, 401);
    assert!(answer.value("www-authenticate").unwrap().contains("invalid_token"));
    let answer = world.gateway.fetch("GET", "/a", &cookies, "Authorization: Basic YTpi\r\n").await;
    assert_eq!(answer.status, 401);
    let answer = world.gateway.fetch("GET", "/a", "", "").await;
    assert_eq!((answer.status, answer.json()["login_url"].is_string()), (401, true));
    assert!(answer.value("www-authenticate").unwrap().starts_with("Bearer realm="));
    assert!(world.seen().is_empty());
    let token = world.provider.mint(&postern::devidp::Mint {
        subject: Some("bob".to_owned()),
        scopes: vec!["orders:read".to_owned()],
        ..postern::devidp::Mint::machine("shop")
    });
    let answer = world.gateway.fetch("GET", "/a", &cookies, &format!("Authorization: Bearer {token}\r\n")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.seen().pop().unwrap().values("x-forwarded-user"), ["bob"]);
}

#[tokio::test]
async fn the_rules_of_a_route_hold_for_who_is_signed_in() {
    let routes = "  - match: { path: /staff/** }\n    upstream: app\n    access: { session: { site: shop, policy: '\"staff\" in claims.groups' } }\n  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop, claims: { groups: { contains: nobody } } } }\n";
    let world = World::start(Setup { routes: routes.to_owned(), ..Setup::default() }).await;
    let mut alice = world.browser();
    let page = alice.sign_in(&format!("{SITE}/staff/x"), "alice", "wonderland").await;
    assert_eq!(page.status, 200, "{:?}", page.trail());
    let cookies = cookies_of(&alice);
    assert_eq!(world.gateway.fetch("GET", "/else", &cookies, "").await.status, 403);
    // A person who may not is told so, and not sent round in circles.
    let page = alice.open(&format!("{SITE}/else")).await;
    assert_eq!((page.status, page.hops.len()), (403, 1));
}

#[tokio::test]
async fn step_up_sends_a_person_to_sign_in_again_and_tells_a_program() {
    let routes = "  - match: { path: /vault }\n    upstream: app\n    access: { session: { site: shop, step_up: { max_age: 10m } } }\n  - match: { path: /** }\n    upstream: app\n    access: { session: { site: shop } }\n";
    let world = World::start(Setup { routes: routes.to_owned(), ..Setup::default() }).await;
    let mut alice = world.alice().await;
    assert_eq!(alice.open(&format!("{SITE}/vault")).await.status, 200);
    world.advance(11 * MINUTE);
    let told = world.gateway.fetch("GET", "/vault", &cookies_of(&alice), "").await;
    assert_eq!((told.status, &told.json()["login_url"]), (401, &format!("{SITE}/oauth2/start").into()));
    let challenge = told.value("www-authenticate").unwrap();
    assert!(
        challenge.contains("insufficient_user_authentication") && challenge.contains("max_age=\"600\""),
        "{challenge}"
    );
    assert_eq!(alice.open(&format!("{SITE}/other")).await.status, 200, "the session itself is good");
    let asked = alice.open(&format!("{SITE}/vault")).await;
    assert_eq!(asked.url.path(), "/authorize", "{:?}", asked.trail());
    let page = alice.sign_in_at(&asked, "alice", "wonderland").await;
    assert_eq!((page.status, page.url.path()), (200, "/vault"), "{:?}", page.trail());
}

#[tokio::test]
async fn the_app_sees_who_it_is_and_nothing_of_how_that_is_kept() {
    for setup in Setup::each() {
        let world = World::start(setup).await;
        let ours = cookies_of(&world.alice().await);
        let cookies = format!("theme=dark; {ours}; {COOKIE}.tx.abc=1; lang=de");
        let lines = "X-Forwarded-User: mallory\r\nX_Forwarded_Groups: admins\r\n";
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, lines).await.status, 200);
        assert_eq!(world.gateway.fetch("GET", "/public/a", &cookies, lines).await.status, 200);
        let seen = world.seen();
        assert_eq!(seen[0].values("x-forwarded-user"), ["alice"]);
        assert_eq!(seen[0].values("x-forwarded-groups"), ["staff,admins"]);
        for one in &seen {
            assert_eq!(one.values("cookie"), ["theme=dark; lang=de"], "{}", one.target);
            assert!(!String::from_utf8_lossy(&one.head).contains("postern-shop"));
            assert!(one.values("authorization").is_empty());
        }
        assert!(seen[1].values("x-forwarded-user").is_empty());
    }
}

#[tokio::test]
async fn an_app_gets_the_access_token_where_it_is_to_and_nowhere_else() {
    for (asked, field, prefix) in [("header", "x-forwarded-access-token", ""), ("bearer", "authorization", "Bearer ")] {
        let routes = format!(
            "  - match: {{ path: /api/** }}\n    upstream: app\n    access: {{ session: {{ site: shop }} }}\n    forward: {{ access_token: {asked} }}\n{}",
            Setup::default().routes
        );
        let world = World::start(Setup { routes, ..Setup::default() }).await;
        let cookies = cookies_of(&world.alice().await);
        let spoofed = "X-Forwarded-Access-Token: mine\r\n";
        assert_eq!(world.gateway.fetch("GET", "/api/a", &cookies, spoofed).await.status, 200);
        assert_eq!(world.gateway.fetch("GET", "/a", &cookies, spoofed).await.status, 200);
        let seen = world.seen();
        let told = seen[0].values(field);
        // A JWT of the provider; renewed tokens follow.
        assert!(told.len() == 1 && told[0].starts_with(&format!("{prefix}eyJ")), "{told:?}");
        assert!(seen[1].values("authorization").is_empty() && seen[1].values("x-forwarded-access-token").is_empty());
        let first = told[0].to_owned();
        world.advance(TOKEN);
        assert_eq!(world.gateway.fetch("GET", "/api/a", &cookies, "").await.status, 200);
        assert_ne!(world.seen()[0].values(field), [first.as_str()]);
    }
}

#[tokio::test]
async fn an_app_can_not_set_a_cookie_of_ours() {
    fn sets(_: &Seen) -> Reply {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: {COOKIE}=evil; Path=/; Secure\r\nSet-Cookie: app=1\r\nSet-Cookie: {COOKIE}.tx.x=evil\r\n\r\n"
        );
        Reply::Script(vec![Step::Body, Step::send(head)])
    }
    let mut world = World::start(Setup::default()).await;
    let cookies = cookies_of(&world.alice().await);
    world.upstream = Upstream::start(sets).await;
    let gateway = world.another(&world.setup).await;
    for target in ["/a", "/public/a"] {
        let answer = gateway.fetch("GET", target, &cookies, "").await;
        assert_eq!(answer.values("set-cookie"), ["app=1"], "{target}");
    }
}
