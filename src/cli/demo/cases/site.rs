//! The legacy shop behind a site: alice signs in with a browser, goes on while her tokens are renewed, and signs out; and
//! what somebody without a session, or with a forged answer, gets.

use super::super::check::{Check, Outcome, timed};
use super::super::client::{Answer, Ask, TalkError};
use super::visitor::Visitor;
use crate::devidp::GrantType;

pub async fn run(check: &mut Check) {
    without_a_session(check).await;
    let shop = format!("http://{}", check.gateway());
    let mut alice = Visitor::default();
    let going = signed_in(check, &mut alice, &shop, "Welcome back, alice").await;
    check.row("sign in at the provider, by code", "200", going);
    let going = timed(check, async { seen(alice.navigate(&format!("{shop}/shop")).await?, "Welcome back, alice") });
    let going = going.await;
    check.row("the session goes on", "200", going);
    let going = replayed(check, &mut alice, &shop).await;
    check.row("an answer that was used before", "400 login.state", going);
    let copy = alice.clone();
    let going = signed_out(check, &mut alice, &shop).await;
    check.row("sign out, here and at the provider", "200", going);
    let going = timed(check, async { status(copy.clone().ask(&Ask::get("/shop"), &shop).await) }).await;
    check.row("a copy of the cookie, after that", "302", going);
    renewed(check).await;
    told_by_the_provider(check, &shop).await;
}

type Going = Result<Outcome, TalkError>;

async fn without_a_session(check: &mut Check) {
    let page = |ask: Ask| ask.with("Accept", "text/html").with("Sec-Fetch-Mode", "navigate");
    for (case, expected, ask) in [
        ("the shop, a browser without a session", "302 credential.missing", page(Ask::get("/shop"))),
        (
            "the shop, a script without a session",
            "401 credential.missing",
            Ask::get("/shop").with("Sec-Fetch-Mode", "cors"),
        ),
        ("the shop, a made-up cookie", "401 credential.missing", Ask::get("/shop").with("Cookie", "postern-shop=1x")),
        ("an answer that nobody asked for", "400 login.state", page(Ask::get("/oauth2/callback?code=x&state=y"))),
        ("a logout token that is none", "400 logout.token", logout_token("a.b.c")),
    ] {
        let going = check.verdict(ask).await;
        check.row(case, expected, going);
    }
}

fn logout_token(token: &str) -> Ask {
    Ask::new("POST", "/oauth2/backchannel_logout").form(&[("logout_token", token)])
}

async fn signed_in(check: &Check, visitor: &mut Visitor, site: &str, greeting: &str) -> Going {
    timed(check, async { seen(visitor.sign_in(check, &format!("{site}/shop")).await?, greeting) }).await
}

/// The same answer of the provider once more: its attempt is over.
async fn replayed(check: &Check, visitor: &mut Visitor, site: &str) -> Going {
    let target = visitor.callback.clone().unwrap_or_default();
    let target = target.strip_prefix(site).unwrap_or_default().to_owned();
    check.verdict(Ask::get(target).with("Accept", "text/html").with("Cookie", visitor.cookies())).await
}

async fn signed_out(check: &Check, visitor: &mut Visitor, site: &str) -> Going {
    timed(check, async { seen(visitor.navigate(&format!("{site}/oauth2/sign_out")).await?, "You are signed out") })
        .await
}

/// At the site whose tokens are over at once: the request after the sign-in renews them.
async fn renewed(check: &mut Check) {
    let site = format!("http://localhost:{}", check.gateway().port());
    let mut alice = Visitor::default();
    let going = timed(check, async {
        seen(alice.sign_in(check, &format!("{site}/shop")).await?, "Welcome back, alice")?;
        check.demo.clock.sleep(std::time::Duration::from_millis(1100)).await;
        let before = check.demo.provider.calls(GrantType::RefreshToken);
        let got = seen(alice.navigate(&format!("{site}/shop")).await?, "Welcome back, alice")?;
        let renewed = check.demo.provider.calls(GrantType::RefreshToken) > before;
        Ok(if renewed { got } else { "not renewed".to_owned() })
    })
    .await;
    check.row("tokens are renewed behind the session", "200", going);
}

async fn told_by_the_provider(check: &mut Check, shop: &str) {
    let mut alice = Visitor::default();
    let going = timed(check, async {
        seen(alice.sign_in(check, &format!("{shop}/shop")).await?, "Welcome back, alice")?;
        let calls = check.demo.provider.log_out(Some("alice")).await;
        let told = calls.iter().any(|call| call.client_id == "shop" && call.status == Some(200));
        let after = alice.ask(&Ask::get("/shop"), shop).await?;
        Ok(format!("{}, then {}", if told { "told" } else { "not told" }, after.status))
    })
    .await;
    check.row("the provider signs alice out, and says so", "told, then 302", going);
}

pub(super) fn seen(answer: Answer, text: &str) -> Result<String, TalkError> {
    let there = answer.text().contains(text);
    Ok(if there { answer.status.to_string() } else { format!("{}, another page", answer.status) })
}

fn status(answer: Result<Answer, TalkError>) -> Result<String, TalkError> {
    answer.map(|answer| answer.status.to_string())
}
