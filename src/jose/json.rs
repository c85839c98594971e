//! JSON with one reading. Comes in: bytes. Goes out: an object without duplicate members at any depth, from UTF-8
//! without a byte order mark, nested at most [`DEPTH`] deep, and nothing behind it. Two parsers that disagree about the
//! same bytes are how a checked claim becomes another one later (RFC 8725 section 3.7, RFC 7519 section 4).

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest, the outermost included.
pub const DEPTH: u8 = 32;

/// Why bytes are no object with one reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not UTF-8")]
    Encoding,
    #[error("not a JSON object with one reading: {0}")]
    Malformed(String),
    /// It is JSON, and may be what others take for an object; we don't.
    #[error("not a JSON object with one reading: {0}")]
    Refused(String),
}

/// Reads an object.
///
/// # Errors
/// [`JsonError`] for anything else, a duplicate member name in particular.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Encoding)?;
    if has_long_number(text) {
        return Err(JsonError::Refused("a number of more digits than any claim needs".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: DEPTH }.deserialize(&mut reader).map_err(malformed)?;
    reader.end().map_err(malformed)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JsonError::Malformed("it is no object".to_owned())),
    }
}

/// The longest number that is read, in characters. Parsers differ in what they make of longer ones.
const NUMBER: usize = 64;

fn has_long_number(text: &str) -> bool {
    let (mut quoted, mut escaped, mut run) = (false, false, 0);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E' if !quoted => {
                run += 1;
                return run > NUMBER;
            }
            _ => {}
        }
        run = 0;
        false
    })
}

fn malformed(error: serde_json::Error) -> JsonError {
    let text = error.to_string();
    if error.is_data() { JsonError::Refused(text) } else { JsonError::Malformed(text) }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn below<E: Error>(self) -> Result<Self, E> {
        match self.depth {
            0 => Err(E::custom("nested too deep")),
            depth => Ok(Self { depth: depth - 1 }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom("duplicate member"));
            }
            let value = map.next_value_seed(below)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_serde_json_reads_it() {
        let text = r#" {"a":[1,-2,1.5,1e3,true,null,"\u00e4\ud83d\ude00"],"b":{"c":{}}, "":0 } "#;
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn whatever_has_two_readings_or_none_is_refused() {
        let long_fraction = format!("{{\"a\":1.{}}}", "0".repeat(6000));
        let long_number = format!("{{\"a\":{}}}", "9".repeat(6000));
        let cases: &[&[u8]] = &[
            b"",
            b" ",
            b"null",
            b"[]",
            b"\"a\"",
            b"{",
            b"{}x",
            b"{} {}",
            b"{}\0",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1,}",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":1,\"\\u0061\":2}",
            b"{\"x\":{\"a\":1,\"a\":2}}",
            b"{\"x\":[{\"a\":1,\"a\":2}]}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\n\"}",
            b"{'a':1}",
            b"{a:1}",
            b"{\"a\":01}",
            b"{\"a\":+1}",
            b"{\"a\":0x1}",
            b"{\"a\":NaN}",
            b"{\"a\":1e400}",
            b"{\"a\":1}//",
            long_number.as_bytes(),
            long_fraction.as_bytes(),
        ];
        for case in cases {
            assert!(object(case).is_err(), "{}", String::from_utf8_lossy(case));
        }
    }

    #[test]
    fn nesting_ends_at_the_bound() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(object(nested(DEPTH.into()).as_bytes()).is_ok());
        assert!(object(nested(usize::from(DEPTH) + 1).as_bytes()).is_err());
        assert!(object(nested(8000).as_bytes()).is_err());
        let objects = format!("{}1{}", "{\"a\":".repeat(33), "}".repeat(33));
        assert!(object(objects.as_bytes()).is_err());
    }
}
