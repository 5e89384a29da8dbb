//! Quantities as people write them in resources: durations, percentages and sizes. Each is a
//! string with its unit; a bare number is refused, because nobody can tell what it counts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text of a quantity, in bytes.
const MAX_LEN: usize = 64;

/// Why a quantity can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Only digits.
    #[error("{text} has no unit: write for example {example}")]
    NoUnit {
        /// What was written, cut to 64 bytes.
        text: String,
        /// A valid value.
        example: String,
    },
    /// Not of this form at all.
    #[error("{text:?} isn't {expected}")]
    Malformed {
        /// What was written, cut to 64 bytes.
        text: String,
        /// What was expected, with an example.
        expected: &'static str,
    },
    /// More than can be counted.
    #[error("{text} is too large: at most {max}")]
    TooLarge {
        /// What was written.
        text: String,
        /// The largest value.
        max: &'static str,
    },
}

fn cut(text: &str) -> String {
    let end = (0..=MAX_LEN.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text[..end].to_owned()
}

fn malformed(text: &str, expected: &'static str, unit: &str) -> QuantityError {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let text = cut(text);
        return QuantityError::NoUnit { example: format!("{text}{unit}"), text };
    }
    QuantityError::Malformed { text: cut(text), expected }
}

/// Gives a quantity its string form in YAML, JSON and the schema.
macro_rules! textual {
    ($name:ident, $expected:expr, $pattern:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": MAX_LEN })
            }
        }
    };
}

/// A span of time: `500ms`, `5s`, `1m30s`, `6h`. Units are `ms`, `s`, `m` and `h`; parts add up.
/// At most 10,000 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(StdDuration);

const DURATION: &str = "a duration with its unit, such as `500ms`, `5s` or `1m30s`";
const MAX_DURATION: StdDuration = StdDuration::from_secs(10_000 * 3600);

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(StdDuration::from_secs(secs))
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(StdDuration::from_millis(millis))
    }

    /// The standard library's duration.
    pub const fn get(self) -> StdDuration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || malformed(text, DURATION, "s");
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(bad());
        }
        let mut total = StdDuration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            // `ms` before `m`: the longer unit wins.
            let (unit, millis) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
                .into_iter()
                .find(|(unit, _)| tail.starts_with(unit))
                .ok_or_else(bad)?;
            if digits == 0 || digits > 9 {
                return Err(bad());
            }
            let number: u64 = number.parse().map_err(|_| bad())?;
            total = total.saturating_add(StdDuration::from_millis(number.saturating_mul(millis)));
            rest = &tail[unit.len()..];
        }
        if total > MAX_DURATION {
            return Err(QuantityError::TooLarge { text: cut(text), max: "10000h" });
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

textual!(Duration, DURATION, "^([0-9]{1,9}(ms|s|m|h))+$");

/// A share from `0%` to `100%`, with up to two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent {
    hundredths: u16,
}

const PERCENT: &str = "a percentage from `0%` to `100%`, such as `5%` or `2.5%`";

impl Percent {
    /// Whole percents, at most 100.
    pub const fn whole(percent: u8) -> Self {
        Self { hundredths: if percent > 100 { 10_000 } else { percent as u16 * 100 } }
    }

    /// `0.0..=1.0`.
    pub fn ratio(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }

    /// This share of a number, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.hundredths) / 10_000).unwrap_or(u64::MAX)
    }
}

impl FromStr for Percent {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || malformed(text, PERCENT, "%");
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, decimals) = decimal(number, 3, 2).ok_or_else(bad)?;
        let hundredths = whole * 100 + decimals;
        if hundredths > 10_000 {
            return Err(QuantityError::TooLarge { text: cut(text), max: "100%" });
        }
        u16::try_from(hundredths).map(|hundredths| Self { hundredths }).map_err(|_| bad())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            _ if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            _ => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

textual!(Percent, PERCENT, r"^(100(\.00?)?|[0-9]{1,2}(\.[0-9]{1,2})?)%$");

/// A number of bytes: `512MiB`, `1GiB`, `1.5GB`, `4096B`. `KiB` and its kin count in 1024s, `kB`
/// and its kin in 1000s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const BYTE_SIZE: &str = "a size with its unit, such as `512MiB`, `1GiB` or `4096B`";
const BINARY: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];

impl ByteSize {
    /// Exactly so many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || malformed(text, BYTE_SIZE, "MiB");
        // `B` last: every other unit ends in it.
        let (number, scale) = DECIMAL
            .into_iter()
            .chain(BINARY)
            .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
            .ok_or_else(bad)?;
        let (whole, thousandths) = decimal(number, 15, 3).ok_or_else(bad)?;
        if scale == 1 && number.contains('.') {
            return Err(bad());
        }
        let scale = u128::from(scale);
        let bytes = u128::from(whole) * scale + u128::from(thousandths) * scale / 1000;
        u64::try_from(bytes)
            .map(Self)
            .map_err(|_| QuantityError::TooLarge { text: cut(text), max: "16777215TiB" })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = BINARY
            .into_iter()
            .find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

textual!(
    ByteSize,
    BYTE_SIZE,
    r"^([0-9]{1,15}B|[0-9]{1,15}(\.[0-9]{1,3})?(KiB|MiB|GiB|TiB|kB|MB|GB|TB))$"
);

/// Reads `12` or `12.5` with at most so many digits; the decimals come back scaled to all
/// `places`.
fn decimal(text: &str, digits: usize, places: usize) -> Option<(u64, u64)> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > digits || fraction.len() > places {
        return None;
    }
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<places$}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<String, String> {
        text.parse::<Duration>().map(|d| d.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn durations_read_and_print_in_their_shortest_form() {
        for (text, printed) in [
            ("500ms", "500ms"),
            ("5s", "5s"),
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("6h", "6h"),
            ("0s", "0s"),
            ("1h0m1ms", "1h1ms"),
        ] {
            assert_eq!(duration(text).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_what_to_write() {
        assert_eq!(duration("5"), Err("5 has no unit: write for example 5s".into()));
        let from_json = serde_json::from_str::<Duration>("5").map_err(|e| e.to_string());
        assert!(
            from_json.is_err_and(|e| e.contains("a duration with its unit") || e.contains("5s"))
        );
        assert!(serde_json::from_str::<Percent>("40").is_err());
        assert!(serde_json::from_str::<ByteSize>("1024").is_err());
        assert!(serde_saphyr::from_str::<Vec<Duration>>("- 10\n").is_err());
        assert_eq!(
            serde_saphyr::from_str::<Vec<Duration>>("- 10s\n").ok(),
            Some(vec![Duration::from_secs(10)])
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "s", "5x", "-5s", "1.5s", " 5s", "5s ", "9999999999s", "5s5", "١s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("10001h"), Err("10001h is too large: at most 10000h".into()));
        for text in ["%", "101%", "1.234%", "5", ".5%", "5.%", "-1%", "1000%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        for text in ["", "B", "1", "1.5B", "1gib", "1 GiB", "1.2345GiB", "99999999999TiB", "-1B"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_keep_their_decimals() {
        for text in ["5%", "2.5%", "0.05%", "100%", "0%"] {
            assert_eq!(text.parse::<Percent>().map(|p| p.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("40%".parse::<Percent>().map(|p| p.of(5)), Ok(2));
        assert_eq!("5%".parse::<Percent>().map(|p| p.of(1 << 40)), Ok((1 << 40) / 20));
        assert_eq!(Percent::whole(40), "40%".parse().expect("valid"));
    }

    #[test]
    fn sizes_count_binary_and_decimal_units() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("1GB", 1_000_000_000),
            ("10kB", 10_000),
            ("4096B", 4096),
            ("0B", 0),
        ] {
            assert_eq!(text.parse::<ByteSize>().map(ByteSize::get), Ok(bytes), "{text}");
        }
        assert_eq!(ByteSize::bytes(3 << 29).to_string(), "1536MiB");
        assert_eq!(ByteSize::bytes(1000).to_string(), "1000B");
        assert_eq!(ByteSize::bytes(0).to_string(), "0B");
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["1h2m3s4ms", "0s", "10000h"] {
            let value: Duration = text.parse().expect("valid");
            let json = serde_json::to_string(&value).expect("serialises");
            assert_eq!(serde_json::from_str::<Duration>(&json).ok(), Some(value));
        }
    }

    #[test]
    fn the_schema_has_a_pattern() {
        let schema = schemars::schema_for!(Duration);
        assert_eq!(schema.get("type").and_then(|t| t.as_str()), Some("string"));
        assert!(schema.get("pattern").is_some());
    }
}
