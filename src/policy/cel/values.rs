//! The variables of a policy as CEL values, as far as the program reads them. Text is borrowed from the request and
//! the caller, never copied.

use std::collections::HashMap;

use ::cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use ::cel::common::value::Val;
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::Subject;
use super::load::{Members, Reads};
use crate::caller::Caller;
use crate::policy::Params;
use crate::wire::arrival::Host;

type Boxed<'v> = Box<dyn Val + 'v>;
type Entries<'v> = HashMap<CelMapKey<'v>, Boxed<'v>>;

/// The variables that a program with these `reads` needs.
pub(super) fn of<'v>(reads: &Reads, subject: &Subject<'v>) -> impl Iterator<Item = (&'static str, Boxed<'v>)> {
    let claims = reads.claims.any().then(|| ("claims", claims(&reads.claims, subject.caller)));
    let scopes = reads.scopes.then(|| ("scopes", list(subject.caller.scopes.iter().map(text))));
    let caller = reads.caller.any().then(|| ("caller", caller(&reads.caller, subject.caller)));
    let request = reads.request.any().then(|| ("request", request(reads, subject)));
    [claims, scopes, caller, request].into_iter().flatten()
}

fn claims<'v>(members: &Members, caller: &'v Caller) -> Boxed<'v> {
    let claims = &caller.claims;
    match members {
        Members::None => map(Entries::new()),
        Members::These(names) => {
            let found = names.iter().filter_map(|name| claims.get_key_value(&**name));
            map(found.map(|(name, value)| (CelMapKey::from(name.as_str()), json(value))).collect())
        }
        Members::All => map(claims.iter().map(|(name, value)| (CelMapKey::from(name.as_str()), json(value))).collect()),
    }
}

fn caller<'v>(members: &Members, caller: &'v Caller) -> Boxed<'v> {
    let mut entries = Entries::new();
    let mut put = |name: &'static str, value: &dyn Fn() -> Boxed<'v>| {
        if members.has(name) {
            entries.insert(name.into(), value());
        }
    };
    put("kind", &|| text(caller.kind.as_str()));
    put("subject", &|| optional(caller.subject.as_deref()));
    put("client_id", &|| optional(caller.client_id.as_deref()));
    put("issuer", &|| text(&caller.issuer));
    put("method", &|| text(caller.how.as_str()));
    map(entries)
}

fn request<'v>(reads: &Reads, subject: &Subject<'v>) -> Boxed<'v> {
    let arrival = subject.arrival;
    let mut entries = Entries::new();
    let mut put = |name: &'static str, value: &dyn Fn() -> Boxed<'v>| {
        if reads.request.has(name) {
            entries.insert(name.into(), value());
        }
    };
    put("method", &|| text(arrival.method.as_str()));
    put("path", &|| text(arrival.path.as_str()));
    put("host", &|| text(arrival.host.as_ref().map_or("", Host::name)));
    put("query", &|| text(arrival.path.query().unwrap_or_default()));
    put("headers", &|| headers(&reads.headers, &arrival.headers));
    put("params", &|| params(&reads.params, subject.params));
    put("client_address", &|| {
        let address = subject.facts.client_address.map(|address| address.to_string());
        Box::new(CelString::from(address.unwrap_or_default()))
    });
    map(entries)
}

fn headers<'v>(members: &Members, headers: &'v HeaderMap) -> Boxed<'v> {
    match members {
        Members::None => map(Entries::new()),
        Members::These(names) => {
            let found = names.iter().filter_map(|name| {
                let name = HeaderName::try_from(&**name).ok()?;
                let value = header(headers, &name)?;
                Some((CelMapKey::from(name.as_str().to_owned()), value))
            });
            map(found.collect())
        }
        Members::All => {
            let all = headers.keys().filter_map(|name| Some((CelMapKey::from(name.as_str()), header(headers, name)?)));
            map(all.collect())
        }
    }
}

/// Repeats are joined as RFC 9110 section 5.3 has it. Bytes that are no UTF-8 become U+FFFD, which no rule expects.
fn header<'v>(headers: &'v HeaderMap, name: &HeaderName) -> Option<Boxed<'v>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut joined = String::from_utf8_lossy(first.as_bytes());
    for value in values {
        let joined = joined.to_mut();
        joined.push_str(", ");
        joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(match joined {
        std::borrow::Cow::Borrowed(value) => text(value),
        std::borrow::Cow::Owned(value) => Box::new(CelString::from(value)),
    })
}

fn params<'v>(members: &Members, params: &'v Params) -> Boxed<'v> {
    let wanted = params.iter().filter(|(name, _)| members.has(name));
    map(wanted.map(|(name, value)| (CelMapKey::from(&**name), text(value))).collect())
}

/// JSON as CEL sees it: whole numbers are `int` (or `uint` past its end), others `double`.
fn json(value: &Value) -> Boxed<'_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::String(value) => text(value),
        Value::Array(members) => list(members.iter().map(json)),
        Value::Object(members) => {
            map(members.iter().map(|(name, value)| (CelMapKey::from(name.as_str()), json(value))).collect())
        }
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
    }
}

fn text(value: &str) -> Boxed<'_> {
    Box::new(CelString::from(value))
}

fn optional(value: Option<&str>) -> Boxed<'_> {
    value.map_or_else(|| Box::new(CelNull) as Boxed<'_>, text)
}

fn list<'v>(members: impl Iterator<Item = Boxed<'v>>) -> Boxed<'v> {
    Box::new(CelList::from(members.collect::<Vec<_>>()))
}

fn map(entries: Entries<'_>) -> Boxed<'_> {
    Box::new(CelMap::from(entries))
}
