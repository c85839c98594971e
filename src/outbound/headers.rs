//! Who the caller is, told to the upstream in header fields. Comes in: a caller's claims. Goes out: one field for each
//! claim that is there.
//!
//! A back end takes these fields for the truth, so no value may end a field or look like another list: control bytes
//! and bytes beyond ASCII are percent-encoded (as UTF-8), and so is a comma inside a list's member.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::DressError;
use crate::caller::Caller;
use crate::policy::claim;

/// Fields that frame or route a message, or that are set from facts.
const RESERVED: [HeaderName; 18] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Fields and the claims that fill them.
#[derive(Debug)]
pub(super) struct IdentityFields {
    /// The same for equal lists, also across reloads: callers keep their fields under it.
    id: u64,
    fields: Box<[(HeaderName, Box<str>)]>,
}

impl IdentityFields {
    pub(super) fn new(written: Vec<(HeaderName, String)>) -> Result<Self, DressError> {
        let mut fields: Vec<(HeaderName, Box<str>)> = Vec::with_capacity(written.len());
        for (name, claim) in written {
            check_field(&name)?;
            if fields.iter().any(|(have, _)| *have == name) {
                return Err(DressError::Repeated(name));
            }
            if claim.is_empty() {
                return Err(DressError::EmptyClaim(name));
            }
            fields.push((name, claim.into()));
        }
        let mut hasher = DefaultHasher::new();
        fields.hash(&mut hasher);
        Ok(Self { id: hasher.finish(), fields: fields.into() })
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.iter().map(|(name, _)| name)
    }

    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        self.fields.iter().map(|(name, claim)| format!("{name} is the claim {claim}"))
    }

    /// Sets the fields. What is not there as a claim is not there as a field: the client's was removed on arrival.
    pub(super) fn set(&self, headers: &mut HeaderMap, caller: &Caller) {
        let make = |caller: &Caller| self.make(caller);
        caller.dressed(self.id, make, |fields| {
            for (name, value) in fields {
                headers.insert(name.clone(), value.clone());
            }
        });
    }

    fn make(&self, caller: &Caller) -> Box<[(HeaderName, HeaderValue)]> {
        let value = |claim: &str| claim::find(&caller.claims, claim).and_then(field_value);
        self.fields.iter().filter_map(|(name, claim)| Some((name.clone(), value(claim)?))).collect()
    }
}

/// Whether Postern may fill the field with what it knows of a caller.
pub(super) fn check_field(name: &HeaderName) -> Result<(), DressError> {
    if RESERVED.contains(name) || *name == super::X_REQUEST_ID {
        Err(DressError::Reserved(name.clone()))
    } else {
        Ok(())
    }
}

/// `null` counts as missing.
fn field_value(claim: &Value) -> Option<HeaderValue> {
    let text = match claim {
        Value::Null => return None,
        Value::Array(members) => {
            let mut text = String::new();
            for (index, member) in members.iter().filter(|member| !member.is_null()).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                encode(&mut text, &plain(member), Within::List);
            }
            text
        }
        single => {
            let mut text = String::new();
            encode(&mut text, &plain(single), Within::Field);
            text
        }
    };
    HeaderValue::try_from(text).ok()
}

/// Strings as they are, numbers and booleans printed, objects and lists within lists as compact JSON.
fn plain(value: &Value) -> std::borrow::Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Field,
    List,
}

/// A text that may stand in a field stays as it is, `%` included: subjects with `%40` in them are usual. One that has to
/// be encoded has its `%` encoded too, so that decoding gives it back.
fn encode(out: &mut String, text: &str, within: Within) {
    let unfit = |byte: u8| !(0x20..0x7f).contains(&byte) || (within == Within::List && byte == b',');
    if !text.bytes().any(unfit) {
        return out.push_str(text);
    }
    for byte in text.bytes() {
        if unfit(byte) || byte == b'%' {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        } else {
            out.push(char::from(byte));
        }
    }
}
