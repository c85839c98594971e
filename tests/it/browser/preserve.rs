//! A form that met an expired session: kept across the sign-in and sent again, where the site says so; nobody else's form.

use super::{SITE, Setup, World};
use crate::support::browser::{Browser, Page};

const FORM: &str = "name=Zo%C3%AB&item=1&item=2&note=%22a%22%0D%0A%3Cb%3E";

async fn world() -> World {
    World::start(Setup { store: "memory", ..Setup::with_site("    preserve_post: 4KiB\n") }).await
}

/// The same with a second provider, so that there is a choice.
async fn world_of_two() -> World {
    World::start(Setup { store: "memory", partner: true, ..Setup::with_site("    preserve_post: 4KiB\n") }).await
}

/// The page that says that a form is lost, and that it is; what goes on from there is a GET.
async fn assert_lost(world: &World, browser: &mut Browser, page: &Page, path: &str) {
    assert_eq!((page.status, page.url.path()), (200, "/oauth2/callback"), "{:#?}", page.trail());
    let text = page.text();
    assert!(text.contains("<h1>Session expired</h1>") && text.contains("was not sent"), "{text}");
    assert!(world.seen().is_empty(), "the app was not asked");
    let page = browser.follow(page, &page.link("Go on")).await;
    assert_eq!((page.status, page.url.path()), (200, path));
    let seen = world.seen();
    assert_eq!(seen.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["GET"]);
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
async fn what_another_site_posts_is_not_kept_and_not_missed() {
    let world = world().await;
    for from in ["https://evil.example", "https://other.shop.test"] {
        let mut browser = world.browser();
        let asked = browser.lured(from, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
        let (page, seen) = after_sign_in(&world, &mut browser, &asked).await;
        assert_eq!((page.status, page.url.path()), (200, "/orders"), "{from}");
        assert_eq!(seen, [("GET".to_owned(), String::new())], "{from}");
    }
}

#[tokio::test]
async fn of_a_form_that_can_not_be_kept_the_person_is_told() {
    let large = format!("a={}", "x".repeat(4 * 1024));
    // Nobody comes back to so long an address: sent to another, the form would do something else.
    let far = format!("/orders?far={}", "x".repeat(1500));
    for world in [world().await, world_of_two().await] {
        for (target, body, lands_at) in [("/orders", large.as_str(), "/orders"), (&far, FORM, "/")] {
            let mut browser = world.browser();
            let mut asked = browser.lured(SITE, "POST", &format!("{SITE}{target}"), Some(body)).await;
            assert_eq!(asked.hops[0].answer.status, 303);
            if world.partner.is_some() {
                asked = browser.follow(&asked, &asked.link("partner")).await;
            }
            let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
            assert_lost(&world, &mut browser, &page, lands_at).await;
        }
    }
}

#[tokio::test]
async fn no_form_is_kept_unless_the_site_says_so() {
    for store in ["cookie", "memory"] {
        let world = World::start(Setup { store, ..Setup::default() }).await;
        let mut browser = world.browser();
        let asked = browser.lured(SITE, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
        let page = browser.sign_in_at(&asked, "alice", "wonderland").await;
        assert_lost(&world, &mut browser, &page, "/orders").await;
    }
}

#[tokio::test]
async fn a_form_waits_for_the_choice_of_a_provider() {
    let world = world_of_two().await;
    let mut browser = world.browser();
    let target = format!("{SITE}/orders?draft=7");
    let choice = browser.lured(SITE, "POST", &target, Some(FORM)).await;
    assert_eq!((choice.hops[0].answer.status, choice.url.path()), (303, "/oauth2/sign_in"));
    let asked = browser.follow(&choice, &choice.link("partner")).await;
    let (page, seen) = after_sign_in(&world, &mut browser, &asked).await;
    assert_eq!((page.status, page.url.as_str()), (200, target.as_str()), "{:#?}", page.trail());
    assert_eq!(seen, [("POST".to_owned(), FORM.to_owned())], "once, as it was");
    // Nothing waits any more, and nothing is left of it at the browser.
    let ours = browser.cookies().iter().filter(|cookie| cookie.name.contains(".tx."));
    assert_eq!(ours.count(), 0);
    browser.follow(&choice, &choice.link("partner")).await;
    assert_eq!(world.seen().iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["GET"], "not twice");
}

#[tokio::test]
async fn a_form_that_waits_is_for_its_own_browser_and_address_alone() {
    let world = world_of_two().await;
    let (mut alice, mut mallory) = (world.browser(), world.browser());
    let choice = alice.lured(SITE, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
    let link = format!("{SITE}{}", choice.link("partner"));
    let methods = |world: &World| world.seen().into_iter().map(|seen| seen.method).collect::<Vec<_>>();
    // The link in another browser.
    let asked = mallory.open(&link).await;
    let page = mallory.sign_in_at(&asked, "alice", "wonderland").await;
    assert_eq!((page.status, methods(&world).as_slice()), (200, &["GET".to_owned()][..]));
    // The link turned to another address.
    let other = link.replace("rd=%2Forders", "rd=%2Ftransfer");
    assert_ne!(other, link);
    let asked = alice.open(&other).await;
    let page = alice.sign_in_at(&asked, "alice", "wonderland").await;
    assert_eq!((page.status, page.url.path()), (200, "/transfer"));
    assert_eq!(methods(&world), ["GET"]);
    // A link that does not know what waits, as another site could make it.
    let (bare, _) = link.split_once("&form=").unwrap();
    alice.open(bare).await;
    assert_eq!(methods(&world), ["GET"]);
    // It has waited all the time.
    alice.open(&link).await;
    assert_eq!(methods(&world), ["POST"]);
}

/// What waits for a choice has asked no provider, so there is nothing that could be answered.
#[tokio::test]
async fn a_form_that_waits_is_no_attempt_that_can_be_answered() {
    let world = world_of_two().await;
    let mut browser = world.browser();
    let choice = browser.lured(SITE, "POST", &format!("{SITE}/orders"), Some(FORM)).await;
    let link = choice.link("partner");
    let (_, state) = link.split_once("&form=").unwrap();
    let issuer = world.partner.as_ref().unwrap().issuer();
    let page = browser.open(&format!("{SITE}/oauth2/callback?code=x&state={state}&iss={issuer}")).await;
    assert_eq!(page.status, 400);
    assert!(world.seen().is_empty());
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
