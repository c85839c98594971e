//! `postern demo --check`: the demo on free ports, every case driven over real sockets, a table printed as it goes. Goes
//! out: whether every case went as expected. What is compared is the status, the reason that the log gives, and that a
//! refused request never reached the API.

use std::future::Future;
use std::net::SocketAddr;

use super::cases;
use super::client::{self, Answer, Ask, TalkError};
use super::service;
use super::start::{Demo, DemoError, Further, Ports, never};
use super::tokens::Asker;
use crate::devidp::Mint;

const FURTHER: &str = include_str!("check.yaml");

/// Starts, drives, prints. Goes out: whether all went as expected.
///
/// # Errors
/// [`DemoError`] when the demo does not start.
pub async fn run() -> Result<bool, DemoError> {
    // Cases break things on purpose; what the log says of that is noise here.
    let _log = super::start_log("off")?;
    let control = crate::control::Control::current();
    // Bound and not listened on: nobody else gets this port, and connections to it are refused.
    let absent = tokio::net::TcpSocket::new_v4()?;
    absent.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let slow = service::serve(service::listen(0)?, &control, |_| never())?;
    let text = FURTHER.replace("$absent", &absent.local_addr()?.to_string()).replace("$slow", &slow.to_string());
    let mut parts = text.split("---\n").map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let further = Further { issuers: part(), clients: part(), sites: part(), upstreams: part(), routes: part() };
    let demo = Demo::start(Ports::ANY, &further, false).await?;
    let mut check = Check { demo, cases: 0, as_expected: 0 };
    super::print(&row("case", "expected", "got", "ms", ""));
    cases::all(&mut check).await;
    let Check { demo, cases, as_expected } = check;
    super::print(&format!("\n{cases} cases, {as_expected} as expected\n"));
    demo.stop().await;
    drop(absent);
    Ok(cases == as_expected)
}

fn row(case: &str, expected: &str, got: &str, milliseconds: &str, ok: &str) -> String {
    let line = format!("{case:<52} {expected:<29} {got:<29} {milliseconds:>6}   {ok}");
    format!("{}\n", line.trim_end())
}

/// The demo under check, and how it went so far.
pub struct Check {
    pub demo: Demo,
    cases: u32,
    as_expected: u32,
}

/// What came of one case.
pub struct Outcome {
    /// In the words of what is expected.
    pub got: String,
    pub micros: u64,
}

/// One request to the gateway, and all that is known of it.
pub struct Told {
    pub answer: Answer,
    /// The reason code of the log.
    pub reason: Option<String>,
    /// How often the API was reached meanwhile.
    pub reached: u64,
    pub micros: u64,
}

impl Told {
    /// `200`, `401 token.expired`; and if a refused request reached the API, that.
    pub fn verdict(&self) -> Outcome {
        let mut got = self.answer.status.to_string();
        if let Some(reason) = &self.reason {
            got = format!("{got} {reason}");
            if self.reached > 0 && !reason.starts_with("upstream.") {
                got.push_str(", but reached the API");
            }
        }
        Outcome { got, micros: self.micros }
    }

    /// The verdict, and this if the answer is not as it should be.
    pub fn unless(&self, as_it_should_be: bool, otherwise: &str) -> Outcome {
        let verdict = self.verdict();
        let got = if as_it_should_be { verdict.got } else { format!("{}, {otherwise}", verdict.got) };
        Outcome { got, ..verdict }
    }

    /// The fields that reached the API, when it was asked for them.
    pub fn upstream_fields(&self) -> Vec<(String, String)> {
        let json = self.answer.json();
        let pairs = json["headers"].as_array().into_iter().flatten();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }
}

impl Check {
    /// Prints the row of a case and counts it.
    pub fn row(&mut self, case: &str, expected: &str, went: Result<Outcome, TalkError>) {
        let outcome = went.unwrap_or_else(|error| Outcome { got: error.to_string(), micros: 0 });
        let ok = outcome.got == expected;
        self.cases += 1;
        self.as_expected += u32::from(ok);
        #[expect(clippy::cast_precision_loss, reason = "a time to look at")]
        let milliseconds = format!("{:.1}", outcome.micros as f64 / 1000.0);
        super::print(&row(case, expected, &outcome.got, &milliseconds, if ok { "ok" } else { "DIFFERS" }));
    }

    pub fn asker(&self) -> Asker {
        Asker { provider: self.demo.places.provider }
    }

    pub fn gateway(&self) -> SocketAddr {
        self.demo.places.gateway
    }

    /// A token to order.
    pub fn mint(&self, mint: &Mint) -> String {
        self.demo.provider.mint(mint)
    }

    /// A machine's token for these scopes.
    pub fn machine(&self, scopes: &str) -> String {
        self.mint(&Mint::machine("batch").scope(scopes))
    }

    /// Alice's token for these scopes.
    pub fn alice(&self, scopes: &str) -> String {
        self.mint(&Mint::user("shop", "alice").scope(scopes))
    }

    /// Asks the gateway.
    ///
    /// # Errors
    /// [`TalkError`] when it does not answer.
    pub async fn ask(&self, ask: Ask) -> Result<Told, TalkError> {
        let (requests, began) = (self.demo.orders.requests(), self.demo.clock.micros());
        let answer = client::ask(self.gateway(), &ask).await?;
        let micros = self.demo.clock.micros().saturating_sub(began);
        let reason = self.reason(&answer).await;
        Ok(Told { reason, reached: self.demo.orders.requests() - requests, micros, answer })
    }

    /// The reason of the log for this answer.
    async fn reason(&self, answer: &Answer) -> Option<String> {
        let id = answer.field("x-request-id")?;
        self.demo.journal.entry(id).await.and_then(|entry| entry.reason)
    }

    /// The verdict on one request: what most cases are about.
    ///
    /// # Errors
    /// [`TalkError`] when the gateway does not answer.
    pub async fn verdict(&self, ask: Ask) -> Result<Outcome, TalkError> {
        self.ask(ask).await.map(|told| told.verdict())
    }

    /// The verdict on bytes that no client library would send: all statuses, and whether the API was reached.
    ///
    /// # Errors
    /// [`TalkError`] when the gateway neither answers nor closes.
    pub async fn raw(&self, bytes: &[u8]) -> Result<Outcome, TalkError> {
        let (requests, began) = (self.demo.orders.requests(), self.demo.clock.micros());
        let answers = client::raw(self.gateway(), bytes).await?;
        let micros = self.demo.clock.micros().saturating_sub(began);
        let statuses: Vec<String> = answers.iter().map(|answer| answer.status.to_string()).collect();
        let mut got = if statuses.is_empty() { "closed".to_owned() } else { statuses.join(" ") };
        if self.demo.orders.requests() > requests {
            got.push_str(", reached the API");
        }
        Ok(Outcome { got, micros })
    }
}

/// Measures something else than one request to the gateway.
///
/// # Errors
/// Those of what is measured.
pub async fn timed(
    check: &Check,
    going: impl Future<Output = Result<String, TalkError>>,
) -> Result<Outcome, TalkError> {
    let began = check.demo.clock.micros();
    let got = going.await?;
    Ok(Outcome { got, micros: check.demo.clock.micros().saturating_sub(began) })
}
