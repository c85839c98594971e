//! The legacy shop behind a site: alice signs in with a browser, goes on while her tokens are renewed, and signs out; and
//! what somebody without a session, or with a forged answer, gets.

use super::super::check::{Check, Outcome, timed};
use super::super::client::{self, Answer, Ask, TalkError};
use crate::devidp::GrantType;

/// No sign-in has more redirects.
const MOST_HOPS: usize = 10;

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

fn seen(answer: Answer, text: &str) -> Result<String, TalkError> {
    let there = answer.text().contains(text);
    Ok(if there { answer.status.to_string() } else { format!("{}, another page", answer.status) })
}

fn status(answer: Result<Answer, TalkError>) -> Result<String, TalkError> {
    answer.map(|answer| answer.status.to_string())
}

/// A browser, as far as a sign-in needs one: cookies by host, redirects, one form.
#[derive(Clone, Default)]
struct Visitor {
    jar: Vec<(String, String)>,
    /// The last answer of the provider.
    callback: Option<String>,
}

impl Visitor {
    fn cookies(&self) -> String {
        self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// One request, as a navigation, at whoever serves this origin.
    async fn ask(&mut self, ask: &Ask, origin: &str) -> Result<Answer, TalkError> {
        let url = url::Url::parse(origin).map_err(|error| TalkError::Unusable(error.to_string()))?;
        let port = url.port().unwrap_or_default();
        let host = format!("{}:{port}", url.host_str().unwrap_or_default());
        let ask =
            ask.clone().with("Accept", "text/html").with("Sec-Fetch-Mode", "navigate").with("Sec-Fetch-Site", "none");
        let ask = ask.with("Host", host).with("Cookie", self.cookies());
        let answer = client::ask(([127, 0, 0, 1], port).into(), &ask).await?;
        for field in answer.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let (pair, rest) = field.1.split_once(';').unwrap_or((&field.1, ""));
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.jar.retain(|(known, _)| known != name);
            if !rest.contains("Max-Age=0") {
                self.jar.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(answer)
    }

    /// Goes to an address and wherever it leads.
    async fn navigate(&mut self, address: &str) -> Result<Answer, TalkError> {
        let mut address = address.to_owned();
        for _ in 0..MOST_HOPS {
            let url = url::Url::parse(&address).map_err(|error| TalkError::Unusable(error.to_string()))?;
            if url.path() == "/oauth2/callback" {
                self.callback = Some(address.clone());
            }
            let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
            let origin = url.origin().ascii_serialization();
            let answer = self.ask(&Ask::get(target), &origin).await?;
            match answer.field("location").and_then(|location| url.join(location).ok()) {
                Some(next) if (300..400).contains(&answer.status) => address = next.into(),
                _ => return Ok(answer),
            }
        }
        Err(TalkError::Unusable("it goes round".to_owned()))
    }

    /// Goes to an address that needs a sign-in, and signs in as alice where that is asked for.
    async fn sign_in(&mut self, check: &Check, address: &str) -> Result<Answer, TalkError> {
        let page = self.navigate(address).await?;
        let text = page.text();
        let transaction = text.split_once("name=\"transaction\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((transaction, _)) = transaction else { return Ok(page) };
        let form = [("transaction", transaction), ("username", "alice"), ("password", "wonderland")];
        let ask = Ask::new("POST", "/authorize/sign_in").form(&form);
        let answer = self.ask(&ask, check.demo.provider.issuer()).await?;
        match answer.field("location") {
            Some(location) => self.navigate(location).await,
            None => Ok(answer),
        }
    }
}
