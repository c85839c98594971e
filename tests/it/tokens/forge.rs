//! How a token of the list is made: who signs it, how its segments are written, and what is done to its signature.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};

use crate::support::keys::{Key, SHARED, base64url, ring};

/// What stands in the header by default, and what signs.
pub struct Signer {
    pub algorithm: String,
    pub kid: String,
    kind: Kind,
}

enum Kind {
    Key(&'static Key),
    Shared(Vec<u8>),
}

impl Signer {
    /// `KEY:ALGORITHM`, or `hmac-MATERIAL:ALGORITHM` with something public as the secret.
    pub fn named(name: &str) -> Self {
        let (key, algorithm) = name.split_once(':').expect("KEY:ALGORITHM");
        let (kind, kid) = match key.strip_prefix("hmac-") {
            Some(material) => (Kind::Shared(public_material(material)), "rsa"),
            None => (Kind::Key(ring().named(key)), key),
        };
        Self { algorithm: algorithm.to_owned(), kid: kid.to_owned(), kind }
    }

    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        match &self.kind {
            Kind::Key(key) => key.sign(&self.algorithm, input),
            Kind::Shared(secret) => {
                let algorithm = match self.algorithm.as_str() {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    other => panic!("{other} is no HMAC"),
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), input).as_ref().to_vec()
            }
        }
    }

    /// The signature over `input`, with this done to it; as a segment of the token.
    pub fn segment(&self, change: &str, input: &[u8]) -> String {
        let right = self.sign(input);
        if let Some(bytes) = self.changed(change, &right, input) {
            return base64url(bytes);
        }
        let text = base64url(&right);
        let middle = text.len() / 2;
        match change {
            "padded" => URL_SAFE.encode(&right),
            "padded-twice" => format!("{text}===="),
            "standard-alphabet" => standard_alphabet(&right),
            "stray-bits" => stray_bits(&text),
            "space-inside" => format!("{} {}", &text[..middle], &text[middle..]),
            "dot-inside" => format!("{}.{}", &text[..middle], &text[middle..]),
            "tilde-inside" => format!("{}~{}", &text[..middle], &text[middle..]),
            "percent-encoded" => format!("{}%41{}", &text[..middle], &text[middle..]),
            "length-1-mod-4" => {
                let length = text.len() - (text.len() + 3) % 4;
                text[..length].to_owned()
            }
            _ => panic!("no signature is called {change}"),
        }
    }

    fn changed(&self, change: &str, right: &[u8], input: &[u8]) -> Option<Vec<u8>> {
        let length = right.len();
        let halves = || right.split_at(length / 2);
        let zeros = vec![0; length / 2];
        Some(match change {
            "right" => right.to_vec(),
            "empty" => Vec::new(),
            "junk" => b"junk".to_vec(),
            "zero" => vec![0; length],
            "one" => [vec![0; length - 1], vec![1]].concat(),
            "ones-ff" => vec![0xff; length],
            "short" => right[..length - 1].to_vec(),
            "long" => [right, &[0]].concat(),
            "half" => halves().0.to_vec(),
            "doubled" => [right, right].concat(),
            "swapped" => [halves().1, halves().0].concat(),
            "zero-prefixed" => [&[0], right].concat(),
            "zero-extended" => [&[0], halves().0, &[0], halves().1].concat(),
            "flip-first" => flipped(right, 0),
            "flip-middle" => flipped(right, length / 2 + 1),
            "flip-last" => flipped(right, length - 1),
            "of-other-input" => self.sign(&[input, b"x"].concat()),
            "r-zero" => [&zeros, halves().1].concat(),
            "s-zero" => [halves().0, &zeros].concat(),
            "order" => [self.curve_order(), self.curve_order()].concat(),
            "r-order" => [&self.curve_order(), halves().1].concat(),
            "s-order" => [halves().0, &self.curve_order()].concat(),
            "der" => der(halves().0, halves().1),
            "s-plus-order" => [halves().0, &little_endian_sum(halves().1, &ED25519_ORDER)].concat(),
            // R and A the identity point, S nothing: the classic forgery against lax Ed25519.
            "identity" => [&[1][..], &[0; 63]].concat(),
            "modulus" => self.modulus(),
            "plus-modulus" => big_endian_sum(right, &self.modulus()),
            _ => return None,
        })
    }

    fn modulus(&self) -> Vec<u8> {
        let Kind::Key(key) = &self.kind else { panic!("no RSA key") };
        key.rsa_parts().0
    }

    fn curve_order(&self) -> Vec<u8> {
        let text = match self.algorithm.as_str() {
            "ES256" => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            "ES384" => {
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"
            }
            other => panic!("{other} has no order here"),
        };
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
    }
}

/// 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 8032 section 5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Public things that a confused verifier would take for an HMAC secret.
fn public_material(name: &str) -> Vec<u8> {
    let key = &ring().rsa;
    let modulus = || key.rsa_parts().0;
    match name {
        "pem" => key.public_pem().into_bytes(),
        "pem-trimmed" => key.public_pem().trim_end().as_bytes().to_vec(),
        "pem-crlf" => key.public_pem().replace('\n', "\r\n").into_bytes(),
        "der" => key.public_der(),
        "jwk" => key.jwk().to_string().into_bytes(),
        "jwk-set" => ring().set().to_string().into_bytes(),
        "modulus" => modulus(),
        "modulus-base64" => base64url(modulus()).into_bytes(),
        "kid" => b"rsa".to_vec(),
        "empty" => Vec::new(),
        "zero" => vec![0; 32],
        "shared" => SHARED.to_vec(),
        _ => panic!("no material is called {name}"),
    }
}

/// Header and payload as segments, written in a way that is not base64url as RFC 7515 has it.
pub fn segments(encoding: &str, header: &[u8], payload: &[u8]) -> (String, String) {
    // White space at the end of JSON changes nothing; it gives the length that a case needs.
    let fitted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        while bytes.len() % 3 != 1 {
            bytes.push(b' ');
        }
        bytes
    };
    let (h, p) = (base64url(header), base64url(payload));
    match encoding {
        "right" => (h, p),
        "header-padded" => (URL_SAFE.encode(fitted(header)), p),
        "payload-padded" => (h, URL_SAFE.encode(fitted(payload))),
        "header-space" => (format!("{} {}", &h[..4], &h[4..]), p),
        "payload-standard" => (h, standard_alphabet(payload)),
        "header-stray-bits" => (stray_bits(&base64url(fitted(header))), p),
        "payload-stray-bits" => (h, stray_bits(&base64url(fitted(payload)))),
        "header-twice" => (base64url(h), p),
        "payload-twice" => (h, base64url(p)),
        "header-plain" => (String::from_utf8_lossy(header).into_owned(), p),
        "payload-plain" => (h, String::from_utf8_lossy(payload).into_owned()),
        _ => panic!("no encoding is called {encoding}"),
    }
}

/// Standard base64 with a character of that alphabet in it, whatever the bytes are.
fn standard_alphabet(bytes: &[u8]) -> String {
    let text = STANDARD_NO_PAD.encode(bytes);
    if text.contains(['+', '/']) { text } else { text.replacen(|_: char| true, "+", 1) }
}

/// The same bytes, but with a bit set in the last character that carries none.
fn stray_bits(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(text.len() % 4, 0, "no unused bits");
    let (front, last) = text.split_at(text.len() - 1);
    let value = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]).expect("base64url");
    format!("{front}{}", char::from(ALPHABET[value | 1]))
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn little_endian_sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let digit = |(left, right): (&u8, &u8)| {
        let sum = u16::from(*left) + u16::from(*right) + carry;
        carry = sum >> 8;
        (sum & 0xff) as u8
    };
    let mut sum: Vec<u8> = left.iter().zip(right).map(digit).collect();
    if carry > 0 {
        sum.push(1);
    }
    sum
}

fn big_endian_sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    reversed(&little_endian_sum(&reversed(left), &reversed(right)))
}

/// The same two numbers as an ASN.1 SEQUENCE, as X.509 has them.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let significant: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = if significant.first().is_some_and(|byte| *byte >= 0x80) { vec![0] } else { Vec::new() };
        [vec![2, (significant.len() + sign.len()) as u8], sign, significant].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, body.len() as u8], body].concat()
}

/// A value of the list with its placeholders filled in.
pub fn filled(value: &Value, now: i64, trap: u16) -> Value {
    match value {
        Value::String(text) => filled_text(text, now, trap),
        Value::Array(items) => items.iter().map(|item| filled(item, now, trap)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), filled(member, now, trap))).collect()
        }
        other => other.clone(),
    }
}

fn filled_text(text: &str, now: i64, trap: u16) -> Value {
    if let Some(name) = text.strip_prefix("$jwk:") {
        return ring().named(name).jwk();
    }
    if let Some(name) = text.strip_prefix("$der:") {
        return json!(STANDARD.encode(ring().named(name).public_der()));
    }
    if text == "$null" {
        return Value::Null;
    }
    if text == "$now_text" {
        return json!((now + 300).to_string());
    }
    let Some(offset) = text.strip_prefix("$now") else { return json!(text.replace("{trap}", &trap.to_string())) };
    match offset.parse::<i64>() {
        Ok(offset) => json!(now + offset),
        Err(_) => json!(now as f64 + offset.parse::<f64>().expect("$now+SECONDS")),
    }
}
