//! Sessions of implicit sign-ins: nothing of them can be renewed, so they end with what they came with.

use super::*;

fn implicit(store: &'static str, response_type: &str) -> Setup {
    let client = "client_id: implicit, client_secret: implicit-secret, allowed_grant_types: implicit, allow_access_tokens_via_browser: true";
    Setup { client, ..Setup::of(store) }
        .with_site(&format!("    response_type: {response_type}\n    idle_timeout: 2h\n"))
}

#[tokio::test]
async fn a_session_without_a_code_ends_when_its_token_does() {
    // With an access token beside it, the one that is over first ends it.
    for (response_type, life) in [("id_token", ID_TOKEN), ("id_token token", TOKEN)] {
        for store in ["cookie", "memory"] {
            let world = World::start(implicit(store, response_type)).await;
            let alice = world.alice().await;
            let cookies = cookies_of(&alice);
            world.advance(life - Duration::from_secs(1));
            assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 200, "{response_type}, {store}");
            world.advance(Duration::from_secs(1));
            assert_eq!(world.gateway.fetch("GET", "/a", &cookies, "").await.status, 401, "{response_type}, {store}");
            assert_eq!((world.refreshes(), world.provider.count(Endpoint::Token)), (0, 0));
            assert_eq!(world.seen().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_copy_of_its_cookie_that_was_written_anew_lasts_no_longer() {
    let world = World::start(implicit("cookie", "id_token")).await;
    let mut alice = world.alice().await;
    let before = cookies_of(&alice);
    world.advance(9 * MINUTE);
    assert_eq!(alice.open(&format!("{SITE}/a")).await.status, 200);
    assert_ne!(cookies_of(&alice), before, "it was written anew");
    world.advance(MINUTE);
    assert_eq!(world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await.status, 401);
    // The provider still knows her: a page leads through it and back by itself.
    let page = alice.open(&format!("{SITE}/a")).await;
    assert_eq!((page.status, page.url.path()), (200, "/a"), "{:?}", page.trail());
    assert_eq!(page.hop("/oauth2/callback").method, "POST");
}

#[tokio::test]
async fn the_absolute_time_ends_it_all_the_same() {
    let setup = implicit("memory", "id_token");
    let site = format!("{}    absolute_timeout: 5m\n", setup.site.replace("2h", "5m"));
    let world = World::start(Setup { site, ..setup }).await;
    let alice = world.alice().await;
    world.advance(5 * MINUTE);
    assert_eq!(world.gateway.fetch("GET", "/a", &cookies_of(&alice), "").await.status, 401);
}

#[tokio::test]
async fn a_hybrid_session_is_renewed_as_any_other() {
    let client = "client_id: hybrid, client_secret: hybrid-secret, allowed_grant_types: [hybrid, refresh_token]";
    let setup = Setup { client, ..Setup::of("memory") }.with_site("    response_type: code id_token\n");
    let world = World::start(setup).await;
    let alice = world.alice().await;
    world.advance(TOKEN);
    let answer = ticking(&world, world.gateway.fetch("GET", "/a", &cookies_of(&alice), "")).await;
    assert_eq!((answer.status, world.refreshes()), (200, 1));
}
