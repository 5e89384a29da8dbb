//! Scalars as Compose reads and writes them: durations, addresses, numbers.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

/// A scalar as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A whole number or its digits.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A number in the single precision that Compose computes in.
pub(super) fn float(value: &Value) -> Option<f32> {
    let wide = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    #[expect(clippy::cast_possible_truncation, reason = "Compose keeps single precision")]
    Some(wide as f32)
}

/// A duration as Go prints it (`1m30s`, `1.5s`, `500ms`), in nanoseconds.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.chars() {
            place /= 10;
            total = total.checked_add(i64::from(digit.to_digit(10)?) * place)?;
        }
        rest = tail;
    }
    Some(total)
}

/// An IP address in its shortest form.
pub(super) fn address(text: &str) -> Option<String> {
    text.parse::<IpAddr>().ok().map(|address| address.to_string())
}

/// An IP address in its shortest form, an IPv4 address within IPv6 as IPv4.
pub(super) fn unmapped_address(text: &str) -> Option<String> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical().to_string())
}

/// A network prefix, `10.0.0.0/24`.
pub(super) fn prefix(text: &str) -> Option<String> {
    let (base, length) = text.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let most = if base.is_ipv4() { Ipv4Addr::BITS } else { 128 };
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u32 = length.parse().ok().filter(|&length| plain && length <= most)?;
    Some(format!("{base}/{length}"))
}

/// A MAC address (`02:42:…`, `02-42-…` or `0242.ac11.0007`) in lowercase with colons.
pub(super) fn mac(text: &str) -> Option<String> {
    let (separator, digits) =
        if text.contains('.') { ('.', 4) } else { (if text.contains('-') { '-' } else { ':' }, 2) };
    let groups: Vec<&str> = text.split(separator).collect();
    let hex = |g: &&str| g.len() == digits && g.bytes().all(|b| b.is_ascii_hexdigit());
    if !groups.iter().all(hex) || ![6, 8, 20].contains(&(groups.len() * digits / 2)) {
        return None;
    }
    let all = groups.concat().to_ascii_lowercase();
    let mut out = String::new();
    for (index, digit) in all.chars().enumerate() {
        if index > 0 && index % 2 == 0 {
            out.push(':');
        }
        out.push(digit);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_durations() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("500ms", Some(500_000_000)),
            ("1h0m0.000000001s", Some(3_600_000_000_001)),
            ("1.5µs", Some(1_500)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1x", None),
            ("1.2.3s", None),
            ("9999999999h", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_take_their_shortest_form() {
        assert_eq!(address("2001:0db8:0000::0001").as_deref(), Some("2001:db8::1"));
        assert_eq!(address("300.1.1.1"), None);
        assert_eq!(unmapped_address("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(prefix("FD00:0:0::/64").as_deref(), Some("fd00::/64"));
        assert_eq!(prefix("10.0.0.0/33"), None);
        assert_eq!(prefix("10.0.0.0/+3"), None);
        assert_eq!(prefix("10.0.0.0"), None);
    }

    #[test]
    fn mac_addresses_are_lowercase_with_colons() {
        for text in ["02:42:AC:11:00:07", "02-42-ac-11-00-07", "0242.ac11.0007"] {
            assert_eq!(mac(text).as_deref(), Some("02:42:ac:11:00:07"), "{text}");
        }
        assert_eq!(mac("02:42:ac"), None);
        assert_eq!(mac("02:42:ac:11:00:zz"), None);
    }
}
