//! What a scalar means: the resolution rules of the YAML library that Docker Compose uses.
//!
//! They mix YAML 1.1 and 1.2: `0440` and `0o17` are octal, `1_000` and `1e3` numbers, a date is a
//! date, but `yes` and `22:22` stay text.

use std::rc::Rc;

use super::node::Value;
use super::tree::{Style, Tag};

/// Resolves a scalar, or says what its tag can't be.
pub(super) fn resolve(text: &str, style: Style, tag: Option<Tag>) -> Result<Value, &'static str> {
    let as_text = || Value::Text(Rc::from(text));
    match tag {
        Some(Tag::Str) => Ok(as_text()),
        Some(Tag::Binary) => base64_text(text).map(Value::Text).ok_or("base64"),
        Some(Tag::Int) => match plain(text) {
            value @ (Value::Int(_) | Value::Uint(_)) => Ok(value),
            _ => Err("an integer"),
        },
        Some(Tag::Float) => match plain(text) {
            #[allow(clippy::cast_precision_loss)]
            Value::Int(number) => Ok(Value::Float(number as f64)),
            value @ Value::Float(_) => Ok(value),
            _ => Err("a number"),
        },
        Some(Tag::Bool) => match plain(text) {
            value @ Value::Bool(_) => Ok(value),
            _ => Err("a boolean"),
        },
        Some(Tag::Null) => match plain(text) {
            Value::Null => Ok(Value::Null),
            _ => Err("null"),
        },
        Some(Tag::Timestamp) => timestamp(text).map(|t| Value::Text(t.into())).ok_or("a timestamp"),
        Some(Tag::Other | Tag::Merge | Tag::Reset | Tag::Override) | None => {
            Ok(if style == Style::Plain { plain(text) } else { as_text() })
        }
    }
}

fn plain(text: &str) -> Value {
    let as_text = || Value::Text(Rc::from(text));
    let Some(first) = text.bytes().next() else { return Value::Null };
    match first {
        b'~' if text.len() == 1 => Value::Null,
        b'n' | b'N' if matches!(text, "null" | "Null" | "NULL") => Value::Null,
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Value::Bool(true),
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Value::Bool(false),
        b'.' | b'+' | b'-' | b'0'..=b'9' => number(text).unwrap_or_else(|| match timestamp(text) {
            Some(time) => Value::Text(time.into()),
            None => as_text(),
        }),
        _ => as_text(),
    }
}

fn number(text: &str) -> Option<Value> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Value::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let digits = text.replace('_', "");
    if let Some(value) = integer(&digits) {
        return Some(value);
    }
    // A float: digits with at most one point and an exponent that has digits.
    let unsigned = digits.trim_start_matches(['+', '-']);
    let starts_well = digits.len() - unsigned.len() <= 1
        && text.trim_start_matches(['+', '-', '.']).starts_with(|c: char| c.is_ascii_digit());
    let shaped =
        unsigned.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if !starts_well || !shaped {
        return None;
    }
    let float: f64 = digits.parse().ok()?;
    float.is_finite().then_some(Value::Float(float))
}

fn integer(digits: &str) -> Option<Value> {
    let (negative, body) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    if negative && body == "0" {
        return Some(Value::Float(-0.0));
    }
    let (radix, body) = match body.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &body[2..]),
        [b'0', b'b' | b'B', ..] => (2, &body[2..]),
        [b'0', b'o' | b'O', ..] => (8, &body[2..]),
        [b'0', _, ..] => (8, &body[1..]),
        _ => (10, body),
    };
    if body.is_empty() || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(body, radix).ok()?;
    match i64::try_from(magnitude) {
        Ok(number) => Some(Value::Int(if negative { -number } else { number })),
        Err(_) if !negative => Some(Value::Uint(magnitude)),
        Err(_) if magnitude == 1 << 63 => Some(Value::Int(i64::MIN)),
        Err(_) => None,
    }
}

fn base64_text(text: &str) -> Option<Rc<str>> {
    use base64::Engine as _;
    let compact: String = text.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(compact).ok()?;
    String::from_utf8(bytes).ok().map(Rc::from)
}

/// A date or time as Go prints it, or `None` if the text is none.
fn timestamp(text: &str) -> Option<String> {
    // Exactly four digits and a hyphen come first.
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[4] != b'-' || !bytes[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year: u32 = text.get(..4)?.parse().ok()?;
    let rest = text.get(5..)?;
    let (month, rest) = rest.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (day, time) = rest.split_at(end);
    let (month, day) = (small(month, 1, 12)?, small(day, 1, 31)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > days {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if time.is_empty() {
        return Some(format!("{date} 00:00:00 +0000 UTC"));
    }
    let time = time.strip_prefix(['t', 'T', ' '])?;
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    // Without a zone a fraction is allowed too; Go prints it without trailing zeros.
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute, second) =
        (small(parts.next()?, 0, 23)?, small(parts.next()?, 0, 59)?, small(parts.next()?, 0, 59)?);
    if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.get(..9).unwrap_or(fraction).trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let zone = match zone {
        "" | "Z" => "+0000 UTC".to_owned(),
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let zone =
                format!("{}{:02}{:02}", &zone[..1], small(hours, 0, 23)?, small(minutes, 0, 59)?);
            format!("{zone} {zone}")
        }
    };
    Some(format!("{date} {hour:02}:{minute:02}:{second:02}{point}{fraction} {zone}"))
}

fn small(text: &str, low: u32, high: u32) -> Option<u32> {
    if text.len() > 2 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| (low..=high).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::diagnostic::Place;
    use crate::compose::node::Node;

    fn text(source: &str) -> String {
        let value = resolve(source, Style::Plain, None).expect("resolves");
        Node::at(value, Place::default()).scalar_text().expect("is a scalar").to_string()
    }

    /// Expected texts are what v5.6.1 prints for `environment`.
    #[test]
    fn plain_scalars_resolve_as_docker_compose_resolves_them() {
        for (source, expected) in [
            ("0440", "288"),
            ("0o17", "15"),
            ("0b11", "3"),
            ("-0x1F", "-31"),
            ("+5", "5"),
            (".5", "0.5"),
            ("1.", "1"),
            ("1_0.5", "10.5"),
            ("1_000", "1000"),
            ("1e3", "1000"),
            ("1.10", "1.1"),
            ("yes", "yes"),
            ("22:22", "22:22"),
            ("190:20:30", "190:20:30"),
            ("on", "on"),
            ("00", "0"),
            ("09", "9"),
            ("1e400", "1e400"),
            ("99999999999999999999", "1e+20"),
            ("18446744073709551615", "18446744073709551615"),
            ("0x", "0x"),
            ("0o8", "0o8"),
            ("0b", "0b"),
            ("-0", "-0"),
            ("-0.0", "-0"),
            ("=", "="),
            ("._1", "._1"),
            ("1e+", "1e+"),
            ("_1", "_1"),
            ("1_", "1"),
            ("0777_7", "4095"),
            ("1.5.5", "1.5.5"),
            ("1-2", "1-2"),
            ("TRUE", "true"),
            ("2001-01-01", "2001-01-01 00:00:00 +0000 UTC"),
            ("2001-1-1", "2001-01-01 00:00:00 +0000 UTC"),
            ("2001-01-01T00:00:00Z", "2001-01-01 00:00:00 +0000 UTC"),
            ("2001-01-01t10:00:00.123456-05:00", "2001-01-01 10:00:00.123456 -0500 -0500"),
            ("2001-13-01", "2001-13-01"),
            ("2001-01-01x", "2001-01-01x"),
        ] {
            assert_eq!(text(source), expected, "{source}");
        }
    }

    #[test]
    fn a_tag_wins_over_the_form() {
        assert!(matches!(resolve("1", Style::Plain, Some(Tag::Str)), Ok(Value::Text(_))));
        assert!(matches!(resolve("7", Style::Quoted, Some(Tag::Int)), Ok(Value::Int(7))));
        assert!(resolve("yes", Style::Plain, Some(Tag::Bool)).is_err());
        assert!(matches!(resolve("1", Style::Quoted, None), Ok(Value::Text(_))));
    }
}
