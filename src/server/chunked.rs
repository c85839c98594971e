//! The chunked body as it passes (RFC 9112 section 7.1): a strict watcher that changes nothing and tells where it ends.

use super::head::{is_extension_byte, is_token_byte, trailer_line};
use crate::wire::watch::Violation;

/// A chunk size of more digits says nothing that fits.
const SIZE_DIGITS: u8 = 16;
/// Sizes beyond it turn negative at a hop that counts with a sign.
const LARGEST_SIZE: u64 = i64::MAX as u64;
/// Chunk extensions carry nothing that we use; all of them together are bounded.
const EXTENSION_BYTES: usize = 4096;
const TRAILER_BYTES: usize = 16 * 1024;

/// Where in the chunked coding the stream stands.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    size: u64,
    digits: u8,
    extension: usize,
    trailer: Vec<u8>,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// After a `;`: a name must come.
    ExtensionStart,
    ExtensionName,
    /// After a `=`: a token or a quoted string must come.
    ValueStart,
    Value,
    Quoted,
    QuotedPair,
    QuotedEnd,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size, size: 0, digits: 0, extension: 0, trailer: Vec::new(), trailers: 0 }
    }
}

impl Chunked {
    /// Watches `bytes` go by. Goes out: how many of them belong to the body, and whether it ended there.
    ///
    /// # Errors
    /// How many bytes were good, and what is wrong with the next.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Violation)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data {
                let left = bytes.len() - at;
                let take = usize::try_from(self.size).map_or(left, |size| size.min(left));
                self.size -= take as u64;
                at += take;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(byte).map_err(|violation| (at, violation))?;
            at += 1;
            if self.state == State::Done {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<State, Violation> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < SIZE_DIGITS => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                if self.size > LARGEST_SIZE >> 4 {
                    return Err(Violation::Framing);
                }
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                Ok(State::Size)
            }
            (State::Size, b';') if self.digits > 0 => Ok(State::ExtensionStart),
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeEnd),
            (
                State::ExtensionStart
                | State::ExtensionName
                | State::ValueStart
                | State::Value
                | State::Quoted
                | State::QuotedPair
                | State::QuotedEnd,
                _,
            ) => self.extension(byte),
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                Ok(if self.size == 0 { State::Trailer } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::Trailer, b'\n') => Err(Violation::Framing),
            (State::Trailer, _) if self.trailers < TRAILER_BYTES => {
                self.trailers += 1;
                self.trailer.push(byte);
                Ok(State::Trailer)
            }
            (State::TrailerLf, b'\n') => self.end_trailer(),
            _ => Err(Violation::Framing),
        }
    }

    /// `chunk-ext` (RFC 9112 section 7.1.1), without the white space that senders must not generate.
    fn extension(&mut self, byte: u8) -> Result<State, Violation> {
        self.extension += 1;
        if self.extension > EXTENSION_BYTES {
            return Err(Violation::Framing);
        }
        match (self.state, byte) {
            (State::Quoted, b'"') => Ok(State::QuotedEnd),
            (State::Quoted, b'\\') => Ok(State::QuotedPair),
            (State::Quoted | State::QuotedPair, _) if is_extension_byte(byte) => Ok(State::Quoted),
            (State::ExtensionStart | State::ExtensionName, _) if is_token_byte(byte) => Ok(State::ExtensionName),
            (State::ExtensionName, b'=') => Ok(State::ValueStart),
            (State::ValueStart, b'"') => Ok(State::Quoted),
            (State::ValueStart | State::Value, _) if is_token_byte(byte) => Ok(State::Value),
            (State::ExtensionName | State::Value | State::QuotedEnd, b';') => Ok(State::ExtensionStart),
            (State::ExtensionName | State::Value | State::QuotedEnd, b'\r') => Ok(State::SizeEnd),
            _ => Err(Violation::Framing),
        }
    }

    fn end_trailer(&mut self) -> Result<State, Violation> {
        if self.trailer.is_empty() {
            return Ok(State::Done);
        }
        trailer_line(&self.trailer)?;
        self.trailer.clear();
        Ok(State::Trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str) -> Result<(usize, bool), (usize, Violation)> {
        Chunked::default().pass(text.as_bytes())
    }

    #[test]
    fn good_bodies_end_where_they_end_however_they_are_cut() {
        for body in
            ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "a;x=y;z;w=\"q\\\"\t;\"\r\n0123456789\r\n00\r\nX: y\r\nZ:\r\n\r\n"]
        {
            assert_eq!(pass(&format!("{body}GET /")), Ok((body.len(), true)), "{body:?}");
            let mut chunked = Chunked::default();
            for (at, byte) in body.bytes().enumerate() {
                assert_eq!(chunked.pass(&[byte]), Ok((1, at + 1 == body.len())));
            }
        }
    }

    #[test]
    fn bad_grammar_is_noticed_at_its_byte() {
        for body in [
            "\r\n",
            ";x\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            " 5\r\n",
            "5 \r\n",
            "00000000000000005\r\n",
            "5\nhello",
            "5;a\nhello",
            "5\rhello",
            "5\r\nhelloX",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello\r\n0\r\nX: y\nZ: a\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nAuthorization: Bearer x\r\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
            "5;a\0\r\nhello",
            "5;\r\nhello",
            "5;=\r\nhello",
            "5;;\r\nhello",
            "5;a=\r\nhello",
            "5;a=b;\r\nhello",
            "5;a=\"\r\nhello",
            "5;a=\"b\"c\r\nhello",
            "5;a=b c\r\nhello",
        ] {
            assert!(pass(body).is_err(), "{body:?} gave {:?}", pass(body));
        }
        assert_eq!(pass("5;a\nhello"), Err((3, Violation::Framing)));
        assert_eq!(pass("8000000000000000\r\n"), Err((15, Violation::Framing)));
        assert_eq!(pass("7fffffffffffffff\r\nx"), Ok((19, false)));
        assert_eq!(pass("0000000000000001\r\nx\r\n0\r\n\r\n"), Ok((26, true)));
        assert!(pass(&format!("5;{}", "a".repeat(5000))).is_err());
        assert!(pass(&format!("0\r\nX: {}", "a".repeat(20_000))).is_err());
    }
}
