//! The small values that sections share: durations, sizes, `auto`, and keys whose time has not come. Each reads from what
//! an operator would write and says what was expected otherwise.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A length of time: `250ms`, `30s`, `5m`, `8h`, `7d`; `0` needs no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    pub const ZERO: Self = Self(Duration::ZERO);

    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes * 60)
    }

    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours * 60)
    }

    pub fn parse(text: &str) -> Option<Self> {
        /// A thousand years: beyond it sums with the present could overflow.
        const LONGEST: u64 = 1000 * 366 * 24 * 3600 * 1000;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if number == "0" => 0,
            _ => return None,
        };
        let millis = number.parse::<u64>().ok()?.checked_mul(factor)?;
        (millis <= LONGEST).then(|| Self::millis(millis))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        match units.into_iter().find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", millis / factor),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

/// A number of bytes: `16KiB`, `1MiB`, `2GiB`, or a bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn kib(count: u64) -> Self {
        Self(count * 1024)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor).map(Self)
    }

    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// `auto`, or a number that the operator chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    #[default]
    Auto,
    Number(u32),
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Reads a value from text or a whole number.
struct TextOrNumber<T> {
    expected: &'static str,
    text: fn(&str) -> Option<T>,
    number: fn(u64) -> Option<T>,
}

impl<T> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.number)(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a duration such as `250ms`, `30s`, `5m`, `8h` or `7d`",
            text: Self::parse,
            number: |number| (number == 0).then_some(Self::ZERO),
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "a size such as `16KiB`, `1MiB` or a number of bytes",
            text: Self::parse,
            number: |number| Some(Self(number)),
        })
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber {
            expected: "`auto` or a whole number from 1",
            text: |text| (text == "auto").then_some(Self::Auto),
            number: |number| u32::try_from(number).ok().filter(|number| *number > 0).map(Self::Number),
        })
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 < 1024 { serializer.serialize_u64(self.0) } else { serializer.collect_str(self) }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Number(number) => serializer.serialize_u32(*number),
        }
    }
}

macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(Period, "Duration", { "type": ["string", "integer"], "pattern": "^([0-9]+(ms|s|m|h|d)|0)$", "maximum": 0 });
schema!(ByteSize, "Size", { "type": ["string", "integer"], "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$", "minimum": 0 });
schema!(Count, "Count", { "type": ["string", "integer"], "pattern": "^auto$", "minimum": 1 });
schema!(NotYet, "NotYet", { "not": {}, "description": "not supported yet" });

/// The value of a key that the documentation names and this version does not build: no value of it can exist, so a
/// configuration that writes one is refused at that very place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {}

/// What such a key is answered with.
pub const NOT_SUPPORTED_YET: &str = "not supported yet";

impl<'de> Deserialize<'de> for NotYet {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(NOT_SUPPORTED_YET))
    }
}

impl Serialize for NotYet {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

/// Refuses the map form of a value whose word form is built.
pub(super) fn map_not_yet<'de, A: MapAccess<'de>, T>(_: A) -> Result<T, A::Error> {
    Err(A::Error::custom(NOT_SUPPORTED_YET))
}

/// A closed set of words. Words that the documentation names and this version does not build are refused as such.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $word:literal),+ $(,)? }
        $(later { $($later:literal),+ $(,)? })? $(refused { $($never:literal => $why:literal),+ $(,)? })? $(; $or_map:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$note])* $variant,)+ }

        impl $name {
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Word;
                impl<'de> serde::de::Visitor<'de> for Word {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        let words: Vec<String> = $name::WORDS.iter().map(|word| format!("`{word}`")).collect();
                        f.write_str(&words.join(" or "))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $($word => Ok($name::$variant),)+
                            $($($later)|+ => Err(E::custom(format!("`{text}` is {}", $crate::config::values::NOT_SUPPORTED_YET))),)?
                            $($($never => Err(E::custom(concat!("`", $never, "` ", $why))),)+)?
                            _ => Err(E::unknown_variant(text, $name::WORDS)),
                        }
                    }

                    $(fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        $crate::config::values::$or_map(map)
                    })?
                }
                deserializer.deserialize_any(Word)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_with_their_unit() {
        for text in ["250ms", "30s", "5m", "8h", "7d", "0s"] {
            assert_eq!(Period::parse(text).map(|period| period.to_string()).as_deref(), Some(text));
        }
        for text in ["", "30", "s", "30 s", "-1s", "1.5s", "30sec", "99999999999999999999s", "36600000000d"] {
            assert_eq!(Period::parse(text), None, "{text:?}");
        }
        assert_eq!(Period::parse("0"), Some(Period::ZERO));
    }

    #[test]
    fn sizes_are_powers_of_two_or_bare_bytes() {
        assert_eq!(ByteSize::parse("16KiB"), Some(ByteSize(16_384)));
        assert_eq!(ByteSize::parse("1MiB"), Some(ByteSize(1_048_576)));
        assert_eq!(ByteSize::parse("17"), Some(ByteSize(17)));
        assert_eq!(ByteSize(16_384).to_string(), "16KiB");
        for text in ["16KB", "1.5MiB", "", "KiB", "-1", "99999999999999GiB"] {
            assert_eq!(ByteSize::parse(text), None, "{text:?}");
        }
    }
}
