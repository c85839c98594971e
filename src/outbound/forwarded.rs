//! Where a request came from, told to the upstream: `X-Forwarded-For`, `-Proto`, `-Host`, and `Forwarded` (RFC 7239).
//! Made of facts only: the peer, and what trusted proxies said.

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

use crate::wire::Facts;
use crate::wire::facts::Scheme;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What was told last, kept for each connection: nearly all its requests come from the same peer and name the same
/// host. It is an answer to just these questions, so it holds whoever asks.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    peer: Option<IpAddr>,
    scheme: Scheme,
    host: Option<HeaderValue>,
    fields: Fields,
}

/// The fields that have to be written; the others are copies.
#[derive(Clone, Debug)]
struct Fields {
    x_forwarded_for: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
}

impl Told {
    fn fields(&self, peer: Option<IpAddr>, scheme: Scheme, host: Option<&HeaderValue>) -> Fields {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(kept) if kept.peer == peer && kept.scheme == scheme && kept.host.as_ref() == host => {
                kept.fields.clone()
            }
            _ => {
                let fields = Fields::write(None, peer, scheme, host);
                // A copy of its own: the request's would hold on to the buffer that its head was read into.
                let host = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok());
                *kept = Some(Kept { peer, scheme, host, fields: fields.clone() });
                fields
            }
        }
    }
}

impl Fields {
    fn write(chain: Option<&str>, peer: Option<IpAddr>, scheme: Scheme, host: Option<&HeaderValue>) -> Self {
        Self { x_forwarded_for: x_forwarded_for(chain, peer), forwarded: forwarded(chain, peer, scheme, host) }
    }
}

pub(super) fn set(headers: &mut HeaderMap, facts: &Facts, host: Option<&HeaderValue>, told: &Told) {
    let host = facts.forwarded_host.as_ref().or(host);
    let peer = facts.peer.map(|peer| peer.ip().to_canonical());
    let fields = match facts.forwarded_for.as_deref() {
        None => told.fields(peer, facts.scheme, host),
        chain => Fields::write(chain, peer, facts.scheme, host),
    };
    let proto = match facts.scheme {
        Scheme::Http => HeaderValue::from_static("http"),
        Scheme::Https => HeaderValue::from_static("https"),
    };
    if let Some(value) = fields.x_forwarded_for {
        headers.insert(X_FORWARDED_FOR, value);
    }
    headers.insert(X_FORWARDED_PROTO, proto);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if let Some(value) = fields.forwarded {
        headers.insert(FORWARDED, value);
    }
}

/// Room for one address.
const ADDRESS: usize = 48;

fn x_forwarded_for(chain: Option<&str>, peer: Option<IpAddr>) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(chain.map_or(0, str::len) + ADDRESS);
    text.extend_from_slice(chain.unwrap_or_default().as_bytes());
    if let Some(peer) = peer {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        write_address(&mut text, peer);
    }
    if text.is_empty() { None } else { HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok() }
}

/// One element a hop; the last, which is our own word, says by what scheme and for which host.
fn forwarded(
    chain: Option<&str>,
    peer: Option<IpAddr>,
    scheme: Scheme,
    host: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let host_length = host.map_or(0, HeaderValue::len);
    let mut text = Vec::with_capacity(chain.map_or(0, |chain| chain.len() * 2) + ADDRESS + 32 + host_length);
    for hop in chain.into_iter().flat_map(|chain| chain.split(", ")) {
        text.extend_from_slice(b"for=");
        match hop.parse() {
            Ok(address) => write_node(&mut text, address),
            Err(_) => text.extend_from_slice(b"unknown"),
        }
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(b"for=");
    match peer {
        Some(peer) => write_node(&mut text, peer),
        None => text.extend_from_slice(b"unknown"),
    }
    text.extend_from_slice(b";proto=");
    text.extend_from_slice(scheme.as_str().as_bytes());
    if let Some(host) = host {
        text.extend_from_slice(b";host=");
        write_value(&mut text, host.as_bytes());
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

/// RFC 7239 section 6: an IPv6 address stands in brackets, and so in quotes.
fn write_node(text: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(_) => write_address(text, address),
        IpAddr::V6(_) => {
            text.extend_from_slice(b"\"[");
            write_address(text, address);
            text.extend_from_slice(b"]\"");
        }
    }
}

fn write_address(text: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                write_octet(text, octet);
            }
        }
        IpAddr::V6(address) => write_ipv6(text, address),
    }
}

/// IPv4 is on every request's path, and `fmt` costs more than the rest of the field.
fn write_octet(text: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        text.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        text.push(b'0' + octet / 10 % 10);
    }
    text.push(b'0' + octet % 10);
}

fn write_ipv6(text: &mut Vec<u8>, address: Ipv6Addr) {
    // Writing to a vector does not fail.
    let _ = write!(text, "{address}");
}

/// A token as it is, anything else as a quoted string (RFC 9110 section 5.6).
fn write_value(text: &mut Vec<u8>, value: &[u8]) {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !value.is_empty() && value.iter().all(is_token) {
        return text.extend_from_slice(value);
    }
    text.push(b'"');
    for byte in value.iter().copied() {
        match byte {
            b'"' | b'\\' => text.extend_from_slice(&[b'\\', byte]),
            // A host has none of these; a trusted proxy that sends them is not quoted further.
            0..0x20 | 0x7f.. => text.push(b'?'),
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}
