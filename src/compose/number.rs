//! Numbers, sizes and durations, read and printed as Go's standard library does: what Docker
//! Compose prints goes through it, and hashes depend on every digit.

/// A float as Go's `%v` prints it: the shortest digits that read back, in scientific form below
/// 1e-4 and from 1e+06 up.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let (digits, exponent) = shortest(&format!("{:e}", number.abs()));
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number != 0.0 && !(-4..6).contains(&exponent) {
        return format!("{sign}{}", scientific(&digits, exponent));
    }
    format!("{sign}{}", plain(&digits, exponent))
}

/// A float as Go's `encoding/json` prints it.
pub(super) fn float_json(number: f64) -> String {
    let (digits, exponent) = shortest(&format!("{:e}", number.abs()));
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number != 0.0 && (number.abs() < 1e-6 || number.abs() >= 1e21) {
        let text = scientific(&digits, exponent);
        // e-09 becomes e-9.
        let text = match text.split_once("e-0") {
            Some((mantissa, rest)) if rest.len() == 1 => format!("{mantissa}e-{rest}"),
            _ => text,
        };
        return format!("{sign}{text}");
    }
    format!("{sign}{}", plain(&digits, exponent))
}

/// The shortest decimal that a 32-bit float reads back from, as a 64-bit float.
pub(super) fn narrow(number: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation)]
    let narrow = number as f32;
    narrow.to_string().parse().unwrap_or(number)
}

/// Splits Rust's `d.ddde±x` in digits and exponent.
fn shortest(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

fn plain(digits: &str, exponent: i32) -> String {
    let point = exponent + 1;
    if point <= 0 {
        let zeros = "0".repeat(usize::try_from(-point).unwrap_or(0));
        return format!("0.{zeros}{digits}");
    }
    let point = usize::try_from(point).unwrap_or(0);
    if digits.len() <= point {
        return format!("{digits}{}", "0".repeat(point - digits.len()));
    }
    format!("{}.{}", &digits[..point], &digits[point..])
}

/// A size with an optional binary unit (`512m`, `1.5g`, `2KiB`), in bytes. `-1` and other plain
/// integers are themselves.
pub(super) fn bytes(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let at = text.rfind(|c: char| c.is_ascii_digit() || c == '.')?;
    let (number, suffix) = text.split_at(at + 1);
    // A single space may stand between number and unit.
    let number = number.trim_end();
    let suffix = suffix.strip_prefix(' ').unwrap_or(suffix).to_ascii_lowercase();
    let number: f64 = number.parse().ok()?;
    if number < 0.0 {
        return None;
    }
    let unit = suffix.strip_suffix("ib").or_else(|| suffix.strip_suffix('b')).unwrap_or(&suffix);
    let power = match unit {
        "" if !suffix.starts_with('i') => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    #[allow(clippy::cast_possible_truncation)]
    Some(bytes as i64)
}

const UNITS: [(&str, i128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// A duration (`1h30m`, `2.5s`, `1d`, `1w`), in nanoseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        if !fraction.is_empty() {
            let digits = &fraction[..fraction.len().min(18)];
            let value: i128 = digits.parse().ok()?;
            let power = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
            total = total.checked_add(value.checked_mul(*scale)? / power)?;
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A duration as Go prints it: `1h30m0s`, `1.5s`, `250ms`, `0s`.
pub(super) fn duration_text(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".into();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total < 1_000_000_000 {
        let (scale, unit) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{unit}", fraction(total, scale));
    }
    let seconds = total / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = fraction(total % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

/// `value / scale` with as many decimals as needed.
fn fraction(value: u64, scale: u64) -> String {
    let width = scale.ilog10() as usize;
    let decimals = format!("{:0width$}", value % scale);
    let decimals = decimals.trim_end_matches('0');
    if scale == 1 || decimals.is_empty() {
        return (value / scale).to_string();
    }
    format!("{}.{decimals}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (1.1, "1.1"),
            (1000.0, "1000"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (12_345_678.0, "1.2345678e+07"),
            (1e6, "1e+06"),
            (1e20, "1e+20"),
            (1e-7, "1e-07"),
            (0.0001, "0.0001"),
            (-0.0, "-0"),
            (123_456_789.5, "1.234567895e+08"),
        ] {
            assert_eq!(float_text(number), text);
        }
    }

    #[test]
    fn json_floats_print_as_go_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (1e6, "1000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1e-10, "1e-10"),
        ] {
            assert_eq!(float_json(number), text);
        }
    }

    #[test]
    fn sizes_use_binary_units() {
        for (text, size) in [
            ("1g", Some(1 << 30)),
            ("1.5g", Some(1_610_612_736)),
            ("512MB", Some(512 << 20)),
            ("2KiB", Some(2048)),
            ("10", Some(10)),
            ("-1", Some(-1)),
            ("10b", Some(10)),
            ("x", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn durations_read_and_print_as_go_does() {
        for (text, printed) in [
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1d", "24h0m0s"),
            ("1w", "168h0m0s"),
            ("1.5s", "1.5s"),
            ("250ms", "250ms"),
            ("1500us", "1.5ms"),
            ("0", "0s"),
            ("1h30m5s", "1h30m5s"),
        ] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Some(printed), "{text}");
        }
        assert_eq!(duration("5"), None);
        assert_eq!(duration("x"), None);
        assert_eq!(duration(""), None);
    }
}
