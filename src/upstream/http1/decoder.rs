//! Takes an answer's body out of what was read (RFC 9112 sections 6 and 7). Comes in: the buffer of a connection.
//! Goes out: pieces of the body, as they lie there, and where it ends.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::Framing;
use super::answer;
use crate::wire::BoxError;

/// A chunk size of more digits says nothing that fits.
const SIZE_DIGITS: usize = 16;
/// Sizes beyond it turn negative at a hop that counts with a sign.
const LARGEST_SIZE: u64 = i64::MAX as u64;
/// Size lines carry nothing else that we use. One of them, and the extensions of a whole body. Bytes.
const EXTENSION_BYTES: usize = 16 * 1024;
const TRAILER_BYTES: usize = 16 * 1024;

/// Where in a body the reader stands.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Length(u64),
    UntilClose,
    ChunkSize,
    /// So many bytes of this chunk are left.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Over,
}

/// What the buffer gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More must be read first.
    Starved,
    Over,
}

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Over,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0 }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Bytes still to come, where that is known.
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// The connection ended. Whether the body may end there.
    pub fn end(&mut self) -> bool {
        let may = matches!(self.state, State::UntilClose | State::Over);
        if may {
            self.state = State::Over;
        }
        may
    }

    /// The next piece. An error is a body whose end is in doubt.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, BoxError> {
        loop {
            match self.state {
                State::Over => return Ok(Piece::Over),
                _ if buffer.is_empty() => return Ok(Piece::Starved),
                State::UntilClose => return Ok(Piece::Data(buffer.split().freeze())),
                State::Length(left) => {
                    let (data, left) = cut(buffer, left);
                    self.state = if left == 0 { State::Over } else { State::Length(left) };
                    return Ok(Piece::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = cut(buffer, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                State::ChunkEnd => {
                    if buffer.len() < 2 {
                        return Ok(Piece::Starved);
                    }
                    if !buffer.starts_with(b"\r\n") {
                        return Err("a chunk is longer than its size".into());
                    }
                    buffer.advance(2);
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(size) = self.size(buffer)? else { return Ok(Piece::Starved) };
                    self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                }
                State::Trailers => return self.trailers(buffer),
            }
        }
    }

    /// Lets a body that is known to be over say so before it is asked again: what follows the last chunk's data is
    /// mostly in the buffer already.
    pub fn settle(&mut self, buffer: &mut BytesMut) {
        const LAST: &[u8] = b"\r\n0\r\n\r\n";
        if self.state == State::ChunkEnd && buffer.starts_with(LAST) {
            buffer.advance(LAST.len());
            self.state = State::Over;
        }
    }

    /// `chunk-size [ chunk-ext ] CRLF`, with the white space behind the size that some servers write.
    fn size(&mut self, buffer: &mut BytesMut) -> Result<Option<u64>, BoxError> {
        let Some(end) = memchr(b'\n', buffer) else {
            return if buffer.len() > EXTENSION_BYTES {
                Err("a chunk's size line is too long".into())
            } else {
                Ok(None)
            };
        };
        let line = buffer.split_to(end + 1);
        let line = line.strip_suffix(b"\r\n").ok_or("a chunk's size line ends with a bare LF")?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, rest) = line.split_at(digits.min(SIZE_DIGITS));
        let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
        let size = size.filter(|size| *size <= LARGEST_SIZE).ok_or("a chunk's size is no number")?;
        self.extensions += rest.len();
        if self.extensions > EXTENSION_BYTES {
            return Err("the chunk extensions are too long".into());
        }
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let rest = rest.get(blank..).unwrap_or_default();
        if !matches!(rest, [] | [b';', ..]) || rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a chunk's size is no number".into());
        }
        Ok(Some(size))
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Piece, BoxError> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.state = State::Over;
            return Ok(Piece::Over);
        }
        let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
            return if buffer.len() > TRAILER_BYTES {
                Err("the trailers are too long".into())
            } else {
                Ok(Piece::Starved)
            };
        };
        let trailers = answer::trailers(&buffer.split_to(end + 4))?;
        self.state = State::Over;
        Ok(Piece::Trailers(trailers))
    }
}

/// At most `left` bytes of the buffer, and how many are left then.
fn cut(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    (buffer.split_to(length).freeze(), left - length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// The body's data, and what is left in the buffer; read in steps of `step` bytes.
    fn decode(framing: Framing, text: &[u8], step: usize) -> Result<Decoded, BoxError> {
        let mut decoder = Decoder::new(framing);
        let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), None);
        let mut pieces = text.chunks(step);
        loop {
            match decoder.next(&mut buffer)? {
                Piece::Data(piece) => {
                    data.extend_from_slice(&piece);
                    decoder.settle(&mut buffer);
                }
                Piece::Trailers(fields) => trailers = Some(fields),
                Piece::Over => {
                    buffer.extend_from_slice(&pieces.collect::<Vec<_>>().concat());
                    return Ok((data, trailers, buffer.to_vec()));
                }
                Piece::Starved => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None if decoder.end() => {}
                    None => return Err("cut off".into()),
                },
            }
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let chunked = b"5\r\nhello\r\n06 ;x=\"y\"\r\n world\r\n0\r\nX-Sum: 7\r\n\r\nHTTP/1.1";
        for step in 1..chunked.len() {
            let (data, trailers, left) = decode(Framing::Chunked, chunked, step).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers.unwrap()["x-sum"], "7");
            assert_eq!(left, b"HTTP/1.1");
            let (data, _, left) = decode(Framing::Chunked, b"2\r\nok\r\n0\r\n\r\nrest", step).unwrap();
            assert_eq!((&*data, &*left), (&b"ok"[..], &b"rest"[..]));
            let (data, _, left) = decode(Framing::Length(5), b"helloHTTP/1.1", step).unwrap();
            assert_eq!((&*data, &*left), (&b"hello"[..], &b"HTTP/1.1"[..]));
            let (data, _, left) = decode(Framing::UntilClose, b"hello", step).unwrap();
            assert_eq!((&*data, &*left), (&b"hello"[..], &b""[..]));
        }
    }

    #[test]
    fn a_body_whose_end_is_in_doubt_is_refused() {
        for body in [
            "\r\n",
            ";x\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "5;a\0\r\nhello\r\n0\r\n\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "5\r;x\r\nhello\r\n0\r\n\r\n",
            "0\r\nx: y\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "8000000000000000\r\n",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
            "5\r\nhello\r\n0\r\nx : y\r\n\r\n",
            "5\r\nhello\r\n",
            "5\r\nhell",
            "5\r\nhello\r\n0\r\n",
        ] {
            for step in [1, body.len()] {
                assert!(decode(Framing::Chunked, body.as_bytes(), step).is_err(), "{body:?}");
            }
        }
        assert!(decode(Framing::Length(6), b"hello", 2).is_err());
        let endless = format!("5;{}\r\nhello", "a".repeat(EXTENSION_BYTES + 1));
        assert!(decode(Framing::Chunked, endless.as_bytes(), 1024).is_err());
        let endless = "1;aaaaaaaa\r\nx\r\n".repeat(EXTENSION_BYTES / 8);
        assert!(decode(Framing::Chunked, endless.as_bytes(), 1024).is_err());
        let endless = format!("0\r\nx: {}", "a".repeat(2 * TRAILER_BYTES));
        assert!(decode(Framing::Chunked, endless.as_bytes(), 1024).is_err());
    }
}
