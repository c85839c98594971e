//! A form that met an expired session: kept across the sign-in and sent again, where the site says so; nobody else's form.

use super::{SITE, Setup, World};
use crate::support::browser::{Browser, Page};

const FORM: &str = "name=Zo%C3%AB&item=1&item=2&note=%22a%22%0D%0A%3Cb%3E";

async fn world() -> World {
    World::start(Setup { store: "memory", ..Setup::with_site("    preserve_post: 4KiB\n") }).await
}

/// What the app saw of this browser's form after it signed in.
async fn after_sign_in(world: &World, browser: &mut Browser, asked: &Page) -> (Page, Vec<(String, String)>) {
    let page = browser.sign_in_at(asked, "alice", "wonderland").await;
    let seen = world.seen();
    (page, seen.iter().map(|seen| (seen.method.clone(), String::from_utf8_lossy(&seen.body).into_owned())).collect())
}

#[tokio::test]
async fn a_form_that_met_no_session_is_sent_after_the_sign_in() {
    let world = world().await;
    let mut browser = world.browser();
    let target = format!("{SITE}/orders?draft=7");
    let asked = browser.lured(SITE, "POST", &target, Some(FORM)).await;
    assert_eq!(asked.hops[0].answer.status, 303);
    assert!(world.seen().is_empty(), "nothing reached the app before the sign-in");
    let (page, seen) = after_sign_in(&world, &mut browser, &asked).await;
    assert_eq!((page.status, page.url.as_str()), (200, target.as_str()), "{:#?}", page.trail());
    assert_eq!(seen, [("POST".to_owned(), FORM.to_owned())], "once, as it was");
    // The answer that was used does not send it twice.
    let callback = page.hop("/oauth2/callback").url.clone();
    assert_eq!(browser.open(callback.as_str()).await.status, 400);
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn what_another_site_posts_and_what_is_too_large_is_not_kept() {
    let world = world().await;
    let large = format!("a={}", "x".repeat(4 * 1024));
    for (from, body) in [("https://evil.example", FORM), ("https://other.shop.test", FORM), (SITE, large.as_str())] {
        let mut browser = world.browser();
        let asked = browser.lured(from, "POST", &format!("{SITE}/orders"), Some(body)).await;
        let (page, seen) = after_sign_in(&world, &mut browser, &asked).await;
        assert_eq!((page.status, page.url.path()), (200, "/orders"), "{from}");
        assert_eq!(seen, [("GET".to_owned(), String::new())], "{from}");
    }
}

#[tokio::test]
async fn no_form_is_kept_unless_the_site_says_so() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let mut browser = world.browser();
    let asked = browser.lured(SITE, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
    let (_, seen) = after_sign_in(&world, &mut browser, &asked).await;
    assert_eq!(seen, [("GET".to_owned(), String::new())]);
}

#[tokio::test]
async fn a_form_belongs_to_the_browser_that_sent_it() {
    let world = world().await;
    let (mut alice, mut mallory) = (world.browser(), world.browser());
    let asked = alice.lured(SITE, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
    let answer = alice.sign_in_at_until(&asked, "alice", "wonderland", "/oauth2/callback").await;
    let page = mallory.open(&answer).await;
    assert_eq!(page.status, 400);
    assert!(!page.text().contains("Zo"), "{}", page.text());
    assert!(world.seen().is_empty());
}
