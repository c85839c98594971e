//! One line a request. Comes in: an [`AccessRecord`], which has no place for a token, a cookie or a query. Goes out: a
//! line of JSON or text, written without building anything in between, with control bytes escaped.

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Version};

use super::writer::LineWriter;
use crate::clock::Time;
use crate::reason::Reason;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    #[default]
    Json,
    Text,
}

/// What is told of a request.
#[derive(Clone, Copy)]
pub struct AccessRecord<'a> {
    pub time: Time,
    pub request_id: &'a dyn Display,
    pub route: Option<&'a str>,
    pub method: &'a str,
    /// Anything from a `?` on is left out.
    pub path: &'a str,
    pub host: Option<&'a HeaderValue>,
    pub version: Version,
    pub status: u16,
    pub reason: Option<Reason>,
    pub subject: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub issuer: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub client_address: Option<IpAddr>,
    pub upstream: Option<&'a str>,
    pub attempts: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub total_micros: u64,
    pub upstream_micros: Option<u64>,
    pub user_agent: Option<&'a HeaderValue>,
    pub traceparent: Option<&'a HeaderValue>,
}

/// The log of requests.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: AccessFormat,
    writer: LineWriter,
}

impl AccessLog {
    /// To stdout.
    ///
    /// # Errors
    /// When stdout is closed or no thread can be started.
    pub fn stdout(format: AccessFormat) -> std::io::Result<Self> {
        Ok(Self::new(format, LineWriter::stdout("access-log")?))
    }

    pub fn new(format: AccessFormat, writer: LineWriter) -> Self {
        Self { format, writer }
    }

    pub fn write(&self, record: &AccessRecord<'_>) {
        let mut line = Vec::with_capacity(768);
        match self.format {
            AccessFormat::Json => record.json(&mut line),
            AccessFormat::Text => record.text(&mut line),
        }
        self.writer.line(&line);
    }

    /// Waits until all lines are out, at most `limit`.
    pub fn flush(&self, limit: Duration) -> bool {
        self.writer.flush(limit)
    }

    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }
}

/// What a client wrote is cut off here, so that lines stay short.
const LONGEST: usize = 512;
const LONGEST_PATH: usize = 2048;

impl AccessRecord<'_> {
    fn path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// One JSON object and a line feed. What is not known is left out.
    pub fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_date(out, self.time);
        out.push(b'T');
        write_clock(out, self.time);
        out.push(b'.');
        write_digits(out, self.time.millis() % 1000, 3);
        out.extend_from_slice(b"Z\"");
        let mut fields = Fields { out };
        fields.display("request_id", self.request_id);
        fields.text("route", self.route, LONGEST);
        fields.text("method", Some(self.method), 32);
        fields.text("path", Some(self.path()), LONGEST_PATH);
        fields.header("host", self.host);
        fields.text("protocol", Some(protocol(self.version)), LONGEST);
        fields.number("status", self.status.into());
        fields.text("reason", self.reason.map(Reason::code), LONGEST);
        fields.text("subject", self.subject, LONGEST);
        fields.text("client_id", self.client_id, LONGEST);
        fields.text("issuer", self.issuer, LONGEST);
        fields.text("kind", self.kind, LONGEST);
        if let Some(address) = self.client_address {
            fields.name("client_address");
            let _ = write!(fields.out, "\"{address}\"");
        }
        fields.text("upstream", self.upstream, LONGEST);
        fields.number("attempts", self.attempts.into());
        fields.number("bytes_in", self.bytes_in);
        fields.number("bytes_out", self.bytes_out);
        fields.millis("total_ms", self.total_micros);
        if let Some(micros) = self.upstream_micros {
            fields.millis("upstream_ms", micros);
        }
        fields.header("user_agent", self.user_agent);
        fields.text("trace_id", self.traceparent.and_then(trace_id), LONGEST);
        out.extend_from_slice(b"}\n");
    }

    /// For people: `14:03:19  machine:batch  GET  /orders  200  orders-read  0.4 ms (upstream 0.3)`.
    pub fn text(&self, out: &mut Vec<u8>) {
        write_clock(out, self.time);
        out.extend_from_slice(b"  ");
        let begin = out.len();
        match (self.kind, self.subject.or(self.client_id)) {
            (Some(kind), Some(who)) => {
                out.extend_from_slice(kind.as_bytes());
                out.push(b':');
                word(out, who, LONGEST);
            }
            (Some(kind), None) => out.extend_from_slice(kind.as_bytes()),
            _ => out.push(b'-'),
        }
        pad(out, begin, 16);
        let begin = out.len();
        word(out, self.method, 32);
        pad(out, begin, 6);
        let begin = out.len();
        word(out, self.path(), LONGEST_PATH);
        pad(out, begin, 18);
        write_digits(out, self.status.into(), 3);
        out.extend_from_slice(b"  ");
        match (self.reason, self.route) {
            (Some(reason), _) => out.extend_from_slice(reason.code().as_bytes()),
            (None, Some(route)) => word(out, route, LONGEST),
            (None, None) => out.push(b'-'),
        }
        out.extend_from_slice(b"  ");
        write_millis(out, self.total_micros);
        out.extend_from_slice(b" ms");
        if let Some(micros) = self.upstream_micros {
            out.extend_from_slice(b" (upstream ");
            write_millis(out, micros);
            out.push(b')');
        }
        out.push(b'\n');
    }
}

/// Members of a JSON object behind the first.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl Fields<'_> {
    fn name(&mut self, name: &'static str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &'static str, value: Option<&str>, longest: usize) {
        if let Some(value) = value {
            self.name(name);
            self.out.push(b'"');
            escape(self.out, value, longest);
            self.out.push(b'"');
        }
    }

    fn display(&mut self, name: &'static str, value: &dyn Display) {
        self.name(name);
        self.out.push(b'"');
        let _ = std::fmt::Write::write_fmt(&mut Escaping(self.out), format_args!("{value}"));
        self.out.push(b'"');
    }

    fn header(&mut self, name: &'static str, value: Option<&HeaderValue>) {
        if let Some(value) = value {
            self.text(name, Some(&String::from_utf8_lossy(value.as_bytes())), LONGEST);
        }
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        write_number(self.out, value);
    }

    fn millis(&mut self, name: &'static str, micros: u64) {
        self.name(name);
        write_millis(self.out, micros);
    }
}

struct Escaping<'o>(&'o mut Vec<u8>);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escape(self.0, text, LONGEST);
        Ok(())
    }
}

/// RFC 8259 section 7, and besides what it demands the control characters beyond ASCII, which terminals obey.
fn escape(out: &mut Vec<u8>, text: &str, longest: usize) {
    let text = shorten(text, longest);
    if text.bytes().all(|byte| matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\') {
        return out.extend_from_slice(text.as_bytes());
    }
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            character if is_unsafe(character) => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Control characters, line and paragraph separators, and what turns the direction of text around.
fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// One column of a text line: quoted when it would look like several.
fn word(out: &mut Vec<u8>, text: &str, longest: usize) {
    let quoted = text.is_empty() || text.contains([' ', '"']);
    if quoted {
        out.push(b'"');
    }
    escape(out, text, longest);
    if quoted {
        out.push(b'"');
    }
}

fn shorten(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or(text)
}

fn pad(out: &mut Vec<u8>, begin: usize, width: usize) {
    let written = out.len() - begin;
    out.extend(std::iter::repeat_n(b' ', width.saturating_sub(written).max(2)));
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// The trace id of a `traceparent` that is valid (W3C Trace Context, section 3.2.2).
fn trace_id(traceparent: &HeaderValue) -> Option<&str> {
    let text = traceparent.to_str().ok()?;
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = [(version, 2), (trace, 32), (parent, 16), (flags, 2)]
        .into_iter()
        .all(|(part, length)| part.len() == length && hex(part));
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    // Version 00 ends here; later ones may go on.
    let ends = version != "00" || parts.next().is_none();
    (well_formed && ends && version != "ff" && !zero(trace) && !zero(parent)).then_some(trace)
}

fn write_number(out: &mut Vec<u8>, value: u64) {
    let _ = write!(out, "{value}");
}

/// Milliseconds with the microseconds behind the point.
fn write_millis(out: &mut Vec<u8>, micros: u64) {
    write_number(out, micros / 1000);
    out.push(b'.');
    write_digits(out, micros % 1000, 3);
}

fn write_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let _ = write!(out, "{value:0width$}");
}

/// `14:03:19`, UTC.
fn write_clock(out: &mut Vec<u8>, time: Time) {
    let second = time.seconds() % 86_400;
    let _ = write!(out, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
}

/// `2026-08-20`: Howard Hinnant's `civil_from_days` for days after 1970.
fn write_date(out: &mut Vec<u8>, time: Time) {
    let days = time.seconds() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

#[cfg(test)]
mod tests;
