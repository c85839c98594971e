//! Attempts to sign in, by the clock: they end, and no provider that keeps silent holds anybody up for long (F8).

use super::*;
use crate::support::eventually;
use crate::support::raw::PATIENCE;

/// Longer than any request to a provider may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The address of the provider's answer to an attempt of this browser.
async fn answered(browser: &mut Browser) -> String {
    let asked = browser.open(&format!("{SITE}/orders")).await;
    browser.sign_in_at_until(&asked, "alice", "wonderland", "/oauth2/callback").await
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_is_left_in_time_and_the_code_is_sent_once() {
    let world = World::start(Setup::default()).await;
    let mut bob = world.alice().await;
    let mut alice = world.browser();
    let answer = answered(&mut alice).await;
    let before = world.provider.count(Endpoint::Token);
    world.provider.set_fault(Endpoint::Token, Fault::HangAfter);
    let waiting = tokio::spawn(async move { (alice.open(&answer).await, alice, answer) });
    eventually("the code is sent", PATIENCE, || (world.provider.count(Endpoint::Token) > before).then_some(())).await;
    // Meanwhile everybody else is served.
    assert_eq!(bob.open(&format!("{SITE}/cart")).await.status, 200);
    world.hands.advance(DEADLINE);
    let (page, mut alice, answer) = waiting.await.unwrap();
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.answer.value("retry-after").is_some() && page.text().contains("Start again"));
    assert!(alice.cookie(COOKIE).is_none());
    world.provider.clear_faults();
    // The attempt is over, whatever became of the code.
    assert_eq!(alice.open(&answer).await.status, 400);
    assert_eq!(world.provider.count(Endpoint::Token), before + 1);
    world.alice().await;
}

#[tokio::test]
async fn a_provider_that_takes_no_pushed_request_in_time_is_an_outage() {
    let world = World::start(Setup::default()).await;
    world.provider.set_fault(Endpoint::Par, Fault::Hang);
    let mut browser = world.browser();
    let waiting = tokio::spawn(async move { browser.open(&format!("{SITE}/orders")).await });
    eventually("it is asked", PATIENCE, || (world.provider.count(Endpoint::Par) > 0).then_some(())).await;
    world.hands.advance(DEADLINE);
    let page = waiting.await.unwrap();
    assert_eq!((page.status, page.answer.value("retry-after")), (503, Some("1")), "{}", page.text());
}

#[tokio::test]
async fn an_answer_that_comes_late_signs_nobody_in() {
    let world = World::start(Setup::default()).await;
    let mut browser = world.browser();
    let answer = answered(&mut browser).await;
    let before = world.provider.count(Endpoint::Token);
    world.hands.advance(Duration::from_secs(15 * 60));
    let page = browser.open(&answer).await;
    assert_eq!(page.status, 400, "{}", page.text());
    assert_eq!(world.provider.count(Endpoint::Token), before, "no code goes anywhere");
}
