//! A browser, as far as the demo's own check needs one. Comes in: addresses. Goes out: the page at the end of all redirects.

use super::super::check::Check;
use super::super::client::{self, Answer, Ask, TalkError};

/// No sign-in has more redirects.
const MOST_HOPS: usize = 10;

/// Cookies by host, redirects, one form.
#[derive(Clone, Default)]
pub(super) struct Visitor {
    jar: Vec<(String, String)>,
    /// The last answer of the provider that came in an address.
    pub(super) callback: Option<String>,
    /// The last that a page posted.
    pub(super) posted: Vec<(String, String)>,
}

impl Visitor {
    pub(super) fn cookies(&self) -> String {
        self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// One request, as a navigation, at whoever serves this origin.
    pub(super) async fn ask(&mut self, ask: &Ask, origin: &str) -> Result<Answer, TalkError> {
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
    pub(super) async fn navigate(&mut self, address: &str) -> Result<Answer, TalkError> {
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
    pub(super) async fn sign_in(&mut self, check: &Check, address: &str) -> Result<Answer, TalkError> {
        let page = self.navigate(address).await?;
        let text = page.text();
        let transaction = text.split_once("name=\"transaction\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((transaction, _)) = transaction else { return Ok(page) };
        let form = [("transaction", transaction), ("username", "alice"), ("password", "wonderland")];
        let ask = Ask::new("POST", "/authorize/sign_in").form(&form);
        let answer = self.ask(&ask, check.demo.provider.issuer()).await?;
        match answer.field("location") {
            Some(location) => self.navigate(location).await,
            None => self.post_on(answer).await,
        }
    }

    /// What a page that posts itself does: the provider's answer goes to the site by a form.
    async fn post_on(&mut self, page: Answer) -> Result<Answer, TalkError> {
        let text = page.text();
        let Some(action) = between(&text, "<form method=\"post\" action=\"", "\"") else { return Ok(page) };
        self.posted = text.split("<input type=\"hidden\"").skip(1).filter_map(field).collect();
        let fields: Vec<_> = self.posted.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let url = url::Url::parse(&unescape(action)).map_err(|error| TalkError::Unusable(error.to_string()))?;
        let origin = url.origin().ascii_serialization();
        let answer = self.ask(&Ask::new("POST", url.path()).form(&fields), &origin).await?;
        match answer.field("location").and_then(|location| url.join(location).ok()) {
            Some(next) if (300..400).contains(&answer.status) => self.navigate(next.as_str()).await,
            _ => Ok(answer),
        }
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// Name and value of a hidden field.
fn field(text: &str) -> Option<(String, String)> {
    Some((unescape(between(text, "name=\"", "\"")?), unescape(between(text, "value=\"", "\"")?)))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
