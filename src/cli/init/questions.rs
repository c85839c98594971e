//! The questions, as data: what is asked, why, what may be answered, and when it is asked at all. They stand in their order;
//! the way through them is told by each one's `when`, so that a test can walk every way there is.

use std::collections::BTreeMap;

use url::Url;

use super::write::SESSION_KEY;

/// Answers so far, by the question's name.
pub type Answers = BTreeMap<&'static str, String>;

/// One question.
pub struct Question {
    /// What an answers file calls it.
    pub name: &'static str,
    pub text: &'static str,
    /// What hangs on it, in one or two sentences.
    pub why: &'static str,
    pub kind: Kind,
    pub when: fn(&Answers) -> bool,
}

/// What may be answered.
pub enum Kind {
    /// One of these: what an answers file writes, and what a person reads.
    Choice(&'static [(&'static str, &'static str)]),
    Text {
        /// Taken when nothing is answered; `None` has to be answered, and an empty one may stay empty.
        default: Option<&'static str>,
        /// Says what is expected, for an answer that is none.
        check: fn(&str) -> Result<(), &'static str>,
    },
}

const YES_NO: &[(&str, &str)] = &[("yes", "Yes"), ("no", "No")];

/// All of them. The first five choose the grant (RFC 6749 section 1.3, as RFC 9700 advises today).
pub const QUESTIONS: &[Question] = &[
    Question {
        name: "client_is_resource_owner",
        text: "Do the callers act for themselves (jobs, services, machines), with no person behind them?",
        why: "Who owns what is asked for decides who has to agree: a machine speaks for itself, a person signs in.",
        kind: Kind::Choice(YES_NO),
        when: |_| true,
    },
    Question {
        name: "gets_tokens",
        text: "Can the callers get an access token from the issuer themselves?",
        why: "A program that can ask the token endpoint needs nothing but its token here.",
        kind: Kind::Choice(YES_NO),
        when: |answers| is(answers, "client_is_resource_owner", "yes"),
    },
    Question {
        name: "web_app",
        text: "Is it a web application on a server, whose users Postern is to sign in?",
        why: "A server can keep a secret and its tokens; Postern does so in its place.",
        kind: Kind::Choice(YES_NO),
        when: |answers| is(answers, "client_is_resource_owner", "no"),
    },
    Question {
        name: "issuer_insists_on_hybrid",
        text: "Does the issuer insist on hybrid answers (an ID token through the browser beside the code)?",
        why: "Code and PKCE do the same with less in the browser; hybrid is for issuers that give no choice.",
        kind: Kind::Choice(YES_NO),
        when: |answers| is(answers, "web_app", "yes"),
    },
    Question {
        name: "trusted_with_credentials",
        text: "Is the client absolutely trusted with its users' passwords, and unable to do anything but send them (HTTP Basic)?",
        why: "Whoever sees passwords can be whoever owns them; that is a last resort for what can't be changed.",
        kind: Kind::Choice(YES_NO),
        when: |answers| is(answers, "web_app", "no"),
    },
    Question {
        name: "client",
        text: "What kind of client is it?",
        why: "Neither kind can keep a secret; both have a way that needs none.",
        kind: Kind::Choice(&[
            ("native", "A native app (phone, desktop, command line)"),
            ("single_page_app", "A single-page app in the browser"),
        ]),
        when: |answers| is(answers, "trusted_with_credentials", "no"),
    },
    Question {
        name: "issuer_lacks_code",
        text: "Is the issuer so old that it gives browsers ID tokens only, and no code?",
        why: "Then people can be signed in by what it has (implicit), and nothing more.",
        kind: Kind::Choice(YES_NO),
        when: |answers| is(answers, "client", "single_page_app"),
    },
    Question {
        name: "upstream_token",
        text: "Does the API behind Postern want a token of its own?",
        why: "Callers' tokens are for Postern; an upstream may get Postern's own, or one that a caller's is exchanged for.",
        kind: Kind::Choice(&[
            ("none", "No: identity headers are enough"),
            ("own", "Postern's own (client credentials)"),
            ("exchange", "The caller's, exchanged for this API (token exchange, RFC 8693)"),
        ]),
        when: |answers| takes_tokens(answers),
    },
    Question {
        name: "issuer",
        text: "The issuer's address?",
        why: "As it stands in `iss`, byte for byte; its metadata is found below it.",
        kind: Kind::Text { default: None, check: address },
        when: |_| true,
    },
    Question {
        name: "audience",
        text: "The audience of this API's tokens (`aud`)?",
        why: "A token that was issued for another API must not pass here.",
        kind: Kind::Text { default: None, check: word },
        when: |answers| !signs_in(answers),
    },
    Question {
        name: "scopes",
        text: "Scopes that a caller needs, separated by spaces?",
        why: "All of them are needed; more routes with other scopes can be added to the file.",
        kind: Kind::Text { default: Some(""), check: scopes },
        when: |answers| !signs_in(answers),
    },
    Question {
        name: "site",
        text: "The site's address, as browsers know it?",
        why: "Sign-in comes back there; the issuer has to know `<address>/oauth2/callback`.",
        kind: Kind::Text { default: None, check: site },
        when: signs_in,
    },
    Question {
        name: "client_id",
        text: "What does the issuer call Postern (`client_id`)?",
        why: "Postern is a client of the issuer for this; the issuer gave it an identifier.",
        kind: Kind::Text { default: None, check: word },
        when: is_client,
    },
    Question {
        name: "secret_variable",
        text: "Which environment variable holds its secret?",
        why: "The secret itself stands in no file and is not asked for here.",
        kind: Kind::Text { default: Some("POSTERN_CLIENT_SECRET"), check: variable },
        when: |answers| is_client(answers) && !is(answers, "issuer_lacks_code", "yes"),
    },
    Question {
        name: "upstream",
        text: "Where do requests go?",
        why: "The application or API behind Postern: scheme, host and port.",
        kind: Kind::Text { default: Some("http://127.0.0.1:3000"), check: upstream },
        when: |_| true,
    },
    Question {
        name: "upstream_audience",
        text: "The audience that a token for it must have?",
        why: "The issuer gives a token for this API alone.",
        kind: Kind::Text { default: None, check: word },
        when: |answers| is(answers, "upstream_token", "own") || is(answers, "upstream_token", "exchange"),
    },
    Question {
        name: "bind",
        text: "Where does Postern listen?",
        why: "An address and a port; put it behind TLS, or add certificates to the file.",
        kind: Kind::Text { default: Some("127.0.0.1:8080"), check: bind },
        when: |_| true,
    },
];

pub fn is(answers: &Answers, name: &str, value: &str) -> bool {
    answers.get(name).is_some_and(|answer| answer == value)
}

/// People sign in through Postern.
pub fn signs_in(answers: &Answers) -> bool {
    is(answers, "web_app", "yes") || is(answers, "issuer_lacks_code", "yes")
}

/// Callers show tokens.
pub fn takes_tokens(answers: &Answers) -> bool {
    is(answers, "gets_tokens", "yes") || is(answers, "client", "native") || is(answers, "issuer_lacks_code", "no")
}

/// Postern itself talks to the issuer.
pub fn is_client(answers: &Answers) -> bool {
    let upstream_token = answers.get("upstream_token").is_some_and(|wanted| wanted != "none");
    signs_in(answers)
        || upstream_token
        || is(answers, "gets_tokens", "no")
        || is(answers, "trusted_with_credentials", "yes")
}

impl Question {
    /// What an answer means.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn take(&self, answer: &str) -> Result<String, String> {
        let answer = answer.trim();
        match &self.kind {
            Kind::Choice(choices) => {
                let by_number = answer.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
                let by_name = || choices.iter().find(|(value, _)| value.eq_ignore_ascii_case(answer));
                let one = |letter: &str| choices.iter().find(|(value, _)| value.get(..1) == Some(letter));
                let found = by_number.or_else(by_name).or_else(|| match answer {
                    "y" | "Y" => one("y"),
                    "n" | "N" if choices.len() == 2 => one("n"),
                    _ => None,
                });
                found.map(|(value, _)| (*value).to_owned()).ok_or_else(|| {
                    let values: Vec<String> = choices.iter().map(|(value, _)| format!("`{value}`")).collect();
                    format!("one of {}", values.join(", "))
                })
            }
            Kind::Text { default, check } => {
                let text = if answer.is_empty() { default.unwrap_or_default() } else { answer };
                if text.is_empty() && default.is_none() {
                    return Err("an answer is needed".to_owned());
                }
                check(text).map(|()| text.to_owned()).map_err(str::to_owned)
            }
        }
    }
}

fn address(text: &str) -> Result<(), &'static str> {
    let is_loopback = |url: &Url| url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127."));
    let is_safe = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    match url(text) {
        Some(url) if is_safe(&url) => Ok(()),
        _ => Err("an https address such as https://login.example.com; http on this machine only"),
    }
}

/// An address as it is written to the file: the parser would drop line breaks, and the file would have them. Neither issuers
/// nor sites nor servers have a query, a fragment or a user's name.
fn url(text: &str) -> Option<Url> {
    let is_plain = !text.contains(|c: char| c.is_control() || c.is_whitespace());
    let url = is_plain.then(|| Url::parse(text).ok()).flatten()?;
    let is_bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (is_bare && url.password().is_none()).then_some(url)
}

fn site(text: &str) -> Result<(), &'static str> {
    address(text)?;
    let is_origin = url(text).is_some_and(|url| url.path() == "/" && !text.ends_with('/'));
    if is_origin { Ok(()) } else { Err("scheme, host and port only, such as https://shop.example.com") }
}

fn upstream(text: &str) -> Result<(), &'static str> {
    let scheme = ["http", "https", "h2c"];
    let is_server = url(text).is_some_and(|url| {
        scheme.contains(&url.scheme()) && url.host_str().is_some() && matches!(url.path(), "" | "/")
    });
    if is_server && !text.ends_with('/') { Ok(()) } else { Err("scheme, host and port, such as http://127.0.0.1:3000") }
}

fn word(text: &str) -> Result<(), &'static str> {
    let is_word = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_word { Ok(()) } else { Err("one word, as the issuer writes it") }
}

fn scopes(text: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| matches!(byte, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if text.bytes().all(plain) { Ok(()) } else { Err("words with a space between them: orders:read orders:list") }
}

fn variable(text: &str) -> Result<(), &'static str> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_name = begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if text == SESSION_KEY {
        // One value for both would make whoever knows the client's secret the maker of sessions.
        return Err("another variable: this one holds the key of sessions");
    }
    if is_name { Ok(()) } else { Err("the name of a variable: letters, digits and underscores") }
}

fn bind(text: &str) -> Result<(), &'static str> {
    text.parse::<std::net::SocketAddr>().map(|_| ()).map_err(|_| "an address and a port, such as 127.0.0.1:8080")
}
