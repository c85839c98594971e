//! Where a browser lands (T26): every address of the list is followed through a whole sign-in, and a whole sign-out.

use serde_json::Value;
use url::form_urlencoded;

use super::{SITE, Setup, World};
use crate::support::browser::Page;
use crate::support::corpus::Failures;

fn payloads() -> Vec<String> {
    let list: Value = serde_json::from_str(include_str!("../../corpus/open_redirects.json")).expect("a list");
    list["payloads"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn encoded(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// Whether the browser was sent to nobody but the site and its provider.
fn stayed(world: &World, page: &Page) -> bool {
    let ours = |address: &str| address.starts_with(&format!("{SITE}/")) || address.starts_with(world.provider.issuer());
    let sent = page.hops.iter().filter_map(|hop| Some(hop.url.join(hop.answer.value("location")?).ok()?.to_string()));
    page.hops.iter().all(|hop| ours(hop.url.as_str())) && sent.into_iter().all(|to| ours(&to))
}

#[tokio::test]
async fn no_address_in_a_link_leads_out_of_the_site_after_a_sign_in() {
    let world = World::usual().await;
    let (signed_in, _) = world.alice().await;
    let mut failures = Failures::default();
    let payloads = payloads();
    for payload in &payloads {
        // Signed in at the provider, so that it answers at once; a fresh copy, so that attempts do not pile up.
        let mut browser = signed_in.clone();
        browser.jar().retain(|cookie| cookie.name.starts_with("devidp"));
        let page = browser.open(&format!("{SITE}/oauth2/start?{}", encoded("rd", payload))).await;
        failures.check(stayed(&world, &page) && page.status == 200, || format!("{payload:?}: {:?}", page.trail()));
    }
    failures.report(payloads.len(), 900);
}

#[tokio::test]
async fn no_address_in_a_link_leads_out_of_the_site_after_a_sign_out() {
    let world = World::start(Setup { store: "memory", ..Setup::default() }).await;
    let mut failures = Failures::default();
    let payloads = payloads();
    for payload in &payloads {
        // Without a session there is no detour over the provider: the address is used at once.
        let mut browser = world.browser();
        let page = browser.open(&format!("{SITE}/oauth2/sign_out?{}", encoded("rd", payload))).await;
        failures.check(stayed(&world, &page), || format!("{payload:?}: {:?}", page.trail()));
    }
    failures.report(payloads.len(), 900);
}

#[tokio::test]
async fn an_address_that_was_allowed_is_landed_on_with_what_belongs_to_it() {
    let world = World::start(Setup::with_site("    allowed_redirects: [\"http://127.0.0.1:9/docs/**\"]\n")).await;
    let (signed_in, _) = world.alice().await;
    for (wanted, landed) in [
        ("http://127.0.0.1:9/docs/a?b=c", "http://127.0.0.1:9/docs/a?b=c"),
        ("/cart?item=7&back=%2F%2Fevil.example", "/cart?item=7&back=%2F%2Fevil.example"),
        ("https://shop.test/cart", "/cart"),
        ("http://127.0.0.1:9/other", "/"),
        ("http://127.0.0.1:9/docsmore", "/"),
    ] {
        let mut browser = signed_in.clone();
        let asked = browser.step(&format!("{SITE}/oauth2/start?{}", encoded("rd", wanted))).await;
        let answer = browser.step(asked.answer.value("location").unwrap()).await;
        let callback = browser.step(answer.answer.value("location").unwrap()).await;
        assert_eq!(callback.answer.value("location"), Some(landed), "{wanted}");
    }
}
