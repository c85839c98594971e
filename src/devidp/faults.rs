//! Outages on demand. Each endpoint can be told to misbehave, for good or for a number of calls; tests do it by
//! [`Provider::set_fault`](super::Provider::set_fault), operators who rehearse by `POST /dev/faults`. Faults that lie
//! inside a token are in [`super::lies`].

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::lies::Lie;

/// Where a fault sits and calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    Jwks,
    Authorize,
    Par,
    Token,
    Introspect,
    Revoke,
    Userinfo,
    EndSession,
    /// The logout tokens that the provider sends itself.
    BackchannelLogout,
}

impl Endpoint {
    pub const ALL: [Self; 10] = [
        Self::Discovery,
        Self::Jwks,
        Self::Authorize,
        Self::Par,
        Self::Token,
        Self::Introspect,
        Self::Revoke,
        Self::Userinfo,
        Self::EndSession,
        Self::BackchannelLogout,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::Authorize => "authorize",
            Self::Par => "par",
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Userinfo => "userinfo",
            Self::EndSession => "end_session",
            Self::BackchannelLogout => "backchannel_logout",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Waits on the provider's clock, then works as usual.
    Slow(Duration),
    /// Takes the request and never answers; nothing is done.
    Hang,
    /// Does what was asked, then never answers: the caller cannot know.
    HangAfter,
    /// Does what was asked, then closes the connection without an answer.
    DropAfter,
    /// Closes the connection without an answer; nothing is done.
    Drop,
    Status(u16),
    /// An OAuth error; at `authorize` one that goes back to the client.
    OAuthError(String),
    /// 200, JSON by name, bytes without sense.
    Garbage,
    /// Promises the whole body, sends half of it, closes.
    Truncated,
    /// 200 with a page where JSON belongs: a captive portal.
    Html,
    /// 302 to somewhere else.
    Redirect(String),
    /// The right bytes under `text/plain`.
    WrongContentType,
    /// The right JSON after that many bytes of white space.
    Oversized(u64),
    /// White space without end.
    Endless,
    /// One byte a second.
    Drip,
    /// Arrays in arrays, that deep.
    Nested(usize),
    /// JWKS: no keys at all.
    EmptyKeys,
    /// JWKS: only keys of a type that nobody knows.
    UnknownKeys,
    /// JWKS: that many further keys before the right ones.
    ManyKeys(usize),
    /// Discovery names another issuer; at `authorize` the `iss` parameter does (RFC 9207).
    WrongIssuer,
    /// At `authorize`: no `iss` parameter.
    MissingIssuer,
    /// At `authorize`: another `state` than the client sent.
    WrongState,
    /// At `authorize`: no `state`.
    MissingState,
    /// Members of the JSON answer are set to these values; null removes one. At `authorize`: parameters of the answer that
    /// goes to the client.
    Change(Map<String, Value>),
    /// ID tokens (logout tokens at `backchannel_logout`) that this endpoint makes lie.
    Lie(Lie),
}

impl Fault {
    /// From its name and value as `POST /dev/faults` and its page spell them.
    pub fn parse(name: &str, value: Option<&str>) -> Option<Self> {
        let number = |otherwise: u64| value.map_or(Some(otherwise), |text| text.parse().ok());
        Some(match name {
            "slow" => Self::Slow(span(value.unwrap_or("5s"))?),
            "hang" => Self::Hang,
            "hang_after" => Self::HangAfter,
            "drop" => Self::Drop,
            "drop_after" => Self::DropAfter,
            "status" => Self::Status(u16::try_from(number(500)?).ok().filter(|code| (200..=599).contains(code))?),
            "oauth_error" => Self::OAuthError(value.unwrap_or("temporarily_unavailable").to_owned()),
            "garbage" => Self::Garbage,
            "truncated" => Self::Truncated,
            "html" => Self::Html,
            "redirect" => Self::Redirect(value.unwrap_or("http://127.0.0.1:9/").to_owned()),
            "wrong_content_type" => Self::WrongContentType,
            "oversized" => Self::Oversized(number(50_000_000)?),
            "endless" => Self::Endless,
            "drip" => Self::Drip,
            "nested" => Self::Nested(usize::try_from(number(100_000)?).ok().filter(|depth| *depth <= 1_000_000)?),
            "empty_keys" => Self::EmptyKeys,
            "unknown_keys" => Self::UnknownKeys,
            "many_keys" => Self::ManyKeys(usize::try_from(number(1000)?).ok().filter(|count| *count <= 200_000)?),
            "wrong_issuer" => Self::WrongIssuer,
            "missing_issuer" => Self::MissingIssuer,
            "wrong_state" => Self::WrongState,
            "missing_state" => Self::MissingState,
            "change" => Self::Change(serde_json::from_str(value?).ok()?),
            "lie" => Self::Lie(Lie::parse(value?)?),
            _ => return None,
        })
    }

    /// Whether, at the authorization endpoint, it shows in the answer to the client rather than in that to the browser.
    fn is_for_the_client(&self) -> bool {
        use Fault::{Change, Lie, MissingIssuer, MissingState, OAuthError, WrongIssuer, WrongState};
        matches!(self, Change(_) | Lie(_) | OAuthError(_) | WrongIssuer | MissingIssuer | WrongState | MissingState)
    }

    /// The names that [`parse`](Self::parse) knows.
    pub const NAMES: [&'static str; 25] = [
        "slow",
        "hang",
        "hang_after",
        "drop",
        "drop_after",
        "status",
        "oauth_error",
        "garbage",
        "truncated",
        "html",
        "redirect",
        "wrong_content_type",
        "oversized",
        "endless",
        "drip",
        "nested",
        "empty_keys",
        "unknown_keys",
        "many_keys",
        "wrong_issuer",
        "missing_issuer",
        "wrong_state",
        "missing_state",
        "change",
        "lie",
    ];
}

/// `250ms`, `3s`, `2m`, or seconds without a unit.
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number <= 86_400_000)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        _ => None,
    }
}

/// Which faults are on, and how often each endpoint was called.
#[derive(Default)]
pub struct FaultBoard {
    active: HashMap<Endpoint, Active>,
    calls: HashMap<Endpoint, u64>,
}

struct Active {
    fault: Fault,
    /// `None`: until it is cleared.
    calls_left: Option<u32>,
}

impl FaultBoard {
    pub fn set(&mut self, endpoint: Endpoint, fault: Fault, calls: Option<u32>) {
        if calls != Some(0) {
            self.active.insert(endpoint, Active { fault, calls_left: calls });
        }
    }

    pub fn clear(&mut self, endpoint: Option<Endpoint>) {
        match endpoint {
            Some(one) => drop(self.active.remove(&one)),
            None => self.active.clear(),
        }
    }

    /// Counts a call, and says how it is to go wrong.
    pub fn arrive(&mut self, endpoint: Endpoint) -> Option<Fault> {
        *self.calls.entry(endpoint).or_default() += 1;
        let waits = endpoint == Endpoint::Authorize && self.active.get(&endpoint)?.fault.is_for_the_client();
        if waits { None } else { self.spend(endpoint) }
    }

    /// The fault in what the authorization endpoint tells a client: it waits while people look at the sign-in page.
    pub fn answering(&mut self) -> Option<Fault> {
        let ready = self.active.get(&Endpoint::Authorize)?.fault.is_for_the_client();
        if ready { self.spend(Endpoint::Authorize) } else { None }
    }

    fn spend(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let active = self.active.get_mut(&endpoint)?;
        let fault = active.fault.clone();
        if let Some(left) = &mut active.calls_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.active.remove(&endpoint);
            }
        }
        Some(fault)
    }

    pub fn count(&self, endpoint: Endpoint) -> u64 {
        self.calls.get(&endpoint).copied().unwrap_or(0)
    }

    /// What is on, for the operator's page.
    pub fn active(&self) -> Vec<(Endpoint, String)> {
        let mut listed: Vec<_> = self.active.iter().map(|(at, active)| (*at, format!("{:?}", active.fault))).collect();
        listed.sort_by_key(|(endpoint, _)| endpoint.name());
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_on_the_list_can_be_switched_on() {
        for name in Fault::NAMES {
            let value = match name {
                "change" => Some("{\"issuer\":null}"),
                "lie" => Some("wrong_nonce"),
                _ => None,
            };
            assert!(Fault::parse(name, value).is_some(), "{name}");
        }
        assert_eq!(Fault::parse("slow", Some("250ms")), Some(Fault::Slow(Duration::from_millis(250))));
        assert_eq!(Fault::parse("status", Some("99")), None);
        assert_eq!(Fault::parse("unheard_of", None), None);
    }

    #[test]
    fn a_fault_for_two_calls_is_gone_at_the_third() {
        let mut board = FaultBoard::default();
        board.set(Endpoint::Jwks, Fault::Hang, Some(2));
        assert_eq!(board.arrive(Endpoint::Jwks), Some(Fault::Hang));
        assert_eq!(board.arrive(Endpoint::Jwks), Some(Fault::Hang));
        assert_eq!(board.arrive(Endpoint::Jwks), None);
        assert_eq!(board.count(Endpoint::Jwks), 3);
    }
}
