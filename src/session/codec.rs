//! Sessions and transactions as bytes. Comes in: a value, or bytes that were sealed by us. Goes out: the other. A version
//! stands in front, so that two versions of Postern can run side by side (a rolling update): what one does not know is
//! no session there, never an error.
//!
//! An ID token holds its claims already: they are written only where userinfo added to them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::transaction::{Asked, State, Transaction};
use super::{Session, SessionId, Tokens};
use crate::caller::Claims;
use crate::clock::Time;
use crate::jose::json;
use crate::seal::Secret;

const SESSION_V1: u8 = 1;
/// The first, and behind its version the time at which the session ends in any case. Only such sessions are written so:
/// all others are understood by who knows the first alone.
const SESSION_V2: u8 = 2;
const TRANSACTION_V1: u8 = 1;
/// The same, of an attempt that a form began.
const TRANSACTION_V2: u8 = 2;

/// The claims are those of the ID token.
const CLAIMS_OF_ID_TOKEN: u8 = 0;
const CLAIMS_WRITTEN: u8 = 1;

/// A session as bytes, to be sealed.
pub fn encode_session(session: &Session) -> Vec<u8> {
    let tokens = &session.tokens;
    let mut out = Writer(Vec::with_capacity(512));
    match session.ends_at {
        None => out.0.push(SESSION_V1),
        Some(ends_at) => {
            out.0.push(SESSION_V2);
            out.number(ends_at.millis());
        }
    }
    out.0.extend_from_slice(session.id.as_bytes());
    for text in [&session.site, &session.client, &session.issuer, &session.subject] {
        out.bytes(text.as_bytes());
    }
    out.optional(session.sid.as_deref().map(str::as_bytes));
    out.number(session.signed_in_at.millis());
    out.number(session.seen_at.millis());
    out.number(u64::from(session.generation));
    out.optional(tokens.access.as_ref().map(exposed));
    for at in [tokens.access_expires_at, tokens.renew_at] {
        out.number(at.map_or(0, |at| at.millis().saturating_add(1)));
    }
    out.optional(tokens.refresh.as_ref().map(exposed));
    out.optional(tokens.id.as_ref().map(exposed));
    out.optional(tokens.scope.as_deref().map(str::as_bytes));
    if tokens.id.as_ref().and_then(claims_of).as_ref() == Some(&session.claims) {
        out.0.push(CLAIMS_OF_ID_TOKEN);
    } else {
        out.0.push(CLAIMS_WRITTEN);
        out.bytes(&serde_json::to_vec(&session.claims).unwrap_or_default());
    }
    out.0
}

/// The session that bytes hold; `None` when they hold none that this version knows.
pub fn decode_session(bytes: &[u8]) -> Option<Session> {
    let mut from = Reader(bytes);
    let ends_at = match from.byte()? {
        SESSION_V1 => None,
        SESSION_V2 => Some(Time::from_millis(from.number()?)),
        _ => return None,
    };
    let id = SessionId::from_bytes(from.array()?);
    let (site, client, issuer, subject) = (from.text()?, from.text()?, from.text()?, from.text()?);
    let sid = from.optional_text()?;
    let (signed_in_at, seen_at) = (Time::from_millis(from.number()?), Time::from_millis(from.number()?));
    let generation = u32::try_from(from.number()?).ok()?;
    let access = from.optional_secret()?;
    let access_expires_at = from.number()?.checked_sub(1).map(Time::from_millis);
    let renew_at = from.number()?.checked_sub(1).map(Time::from_millis);
    let (refresh, id_token, scope) = (from.optional_secret()?, from.optional_secret()?, from.optional_text()?);
    let claims = match from.byte()? {
        CLAIMS_OF_ID_TOKEN => id_token.as_ref().and_then(claims_of)?,
        CLAIMS_WRITTEN => json::object(from.bytes()?).ok()?,
        _ => return None,
    };
    let tokens = Tokens { access, access_expires_at, renew_at, refresh, id: id_token, scope };
    let session =
        Session { id, site, client, issuer, subject, sid, signed_in_at, seen_at, ends_at, generation, tokens, claims };
    from.is_empty().then_some(session)
}

/// The payload of an ID token that was verified when it came.
pub(super) fn claims_of(id_token: &Secret) -> Option<Claims> {
    let payload = id_token.expose().split('.').nth(1)?;
    json::object(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn exposed(secret: &Secret) -> &[u8] {
    secret.expose().as_bytes()
}

/// A transaction as bytes, to be sealed.
pub fn encode_transaction(transaction: &Transaction) -> Vec<u8> {
    let Transaction { state, nonce, verifier, site, client, return_to, started_at, asked, has_form } = transaction;
    let mut out = Writer(Vec::with_capacity(256));
    out.0.push(if *has_form { TRANSACTION_V2 } else { TRANSACTION_V1 });
    for text in [state.expose(), nonce, verifier.expose(), site, client, return_to] {
        out.bytes(text.as_bytes());
    }
    out.number(started_at.millis());
    out.number(asked.max_age.map_or(0, |max_age| max_age.saturating_add(1)));
    out.number(asked.acr.len() as u64);
    asked.acr.iter().for_each(|acr| out.bytes(acr.as_bytes()));
    out.0
}

/// The transaction that bytes hold; `None` when they hold none that this version knows.
pub fn decode_transaction(bytes: &[u8]) -> Option<Transaction> {
    let mut from = Reader(bytes);
    let has_form = match from.byte()? {
        TRANSACTION_V1 => false,
        TRANSACTION_V2 => true,
        _ => return None,
    };
    let state = State::parse(&from.text()?)?;
    let (nonce, verifier) = (from.text()?, Secret::new(from.text()?.into()));
    let (site, client, return_to) = (from.text()?, from.text()?, from.text()?);
    let started_at = Time::from_millis(from.number()?);
    let max_age = from.number()?.checked_sub(1);
    let mut acr = Vec::new();
    for _ in 0..from.number()? {
        acr.push(from.text()?);
    }
    let asked = Asked { acr: acr.into(), max_age };
    let transaction = Transaction { state, nonce, verifier, site, client, return_to, started_at, asked, has_form };
    from.is_empty().then_some(transaction)
}

/// Numbers in base 128 (LEB128), bytes behind their length, what may be missing behind its length and one.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.number(0),
            Some(bytes) => {
                self.number(bytes.len() as u64 + 1);
                self.0.extend_from_slice(bytes);
            }
        }
    }
}

/// Everything that is read is checked against what is there: a length beyond the end is no value.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Box::from)
    }

    fn optional_text(&mut self) -> Option<Option<Box<str>>> {
        let Some(length) = self.number()?.checked_sub(1) else { return Some(None) };
        let text = std::str::from_utf8(self.take(usize::try_from(length).ok()?)?).ok()?;
        Some(Some(text.into()))
    }

    fn optional_secret(&mut self) -> Option<Option<Secret>> {
        Some(self.optional_text()?.map(|text| Secret::new(text.into())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::session;
    use super::*;

    fn shown(session: &Session) -> String {
        let tokens = &session.tokens;
        let secrets = [&tokens.access, &tokens.refresh, &tokens.id].map(|token| token.as_ref().map(Secret::expose));
        format!("{session:?} {:?} {secrets:?} {:?}", session.id.as_bytes(), session.seen_at.millis())
    }

    #[test]
    fn a_session_comes_back_as_it_was() {
        let whole = session();
        let bare = Session { sid: None, tokens: Tokens::default(), claims: Claims::new(), generation: 0, ..session() };
        let ending = Session { ends_at: Some(Time::from_seconds(1_900_000_900)), ..session() };
        assert_eq!((encode_session(&whole)[0], encode_session(&ending)[0]), (SESSION_V1, SESSION_V2));
        for session in [whole, bare, ending] {
            assert_eq!(shown(&decode_session(&encode_session(&session)).unwrap()), shown(&session));
        }
    }

    #[test]
    fn claims_are_written_only_when_the_id_token_does_not_hold_them() {
        let mut merged = session();
        let plain = encode_session(&merged);
        merged.claims.insert("email".to_owned(), "alice@example.com".into());
        let written = encode_session(&merged);
        assert!(written.len() > plain.len() + 100);
        assert_eq!(decode_session(&written).unwrap().claims, merged.claims);
    }

    #[test]
    fn a_transaction_comes_back_as_it_was() {
        let transaction = Transaction {
            state: State::random(),
            nonce: "n".into(),
            verifier: Secret::new("v".to_owned()),
            site: "shop".into(),
            client: "shop-web".into(),
            return_to: "/a?b=c".into(),
            started_at: Time::from_millis(5),
            asked: Asked { acr: vec!["gold".into(), "silver".into()].into(), max_age: Some(0) },
            has_form: false,
        };
        let with_form = Transaction { has_form: true, ..transaction.clone() };
        let back = decode_transaction(&encode_transaction(&with_form)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{with_form:?}"));
        let back = decode_transaction(&encode_transaction(&transaction)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{transaction:?}"));
        assert_eq!(back.state.expose(), transaction.state.expose());
        assert_eq!(back.verifier.expose(), "v");
    }

    #[test]
    fn what_is_of_another_version_or_cut_short_or_longer_is_nothing() {
        let whole = encode_session(&session());
        for end in 0..whole.len() {
            assert!(decode_session(&whole[..end]).is_none(), "{end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(decode_session(&longer).is_none());
        let mut newer = whole;
        newer[0] = 3;
        assert!(decode_session(&newer).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_session(&bytes);
            let _ = decode_transaction(&bytes);
            let first = [&[1][..], &bytes].concat();
            let _ = decode_session(&first);
            let _ = decode_transaction(&first);
        }

        #[test]
        fn numbers_come_back(number: u64) {
            let mut out = Writer(Vec::new());
            out.number(number);
            prop_assert_eq!(Reader(&out.0).number(), Some(number));
        }
    }
}
