//! Wall-clock time in the formats that the real servers print.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Time since the Unix epoch. The only place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "the clock of the stand-ins")]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A calendar date and time of day in UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Civil date from days since the epoch, by eras of 400 years that begin on 1 March.
fn civil(seconds: u64) -> Civil {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Civil {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * march_month + 2) / 5 + 1,
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// The `Date` header's format: `Mon, 23 Nov 2026 16:57:01 GMT`.
pub fn http_date(time: Duration) -> String {
    let c = civil(time.as_secs());
    let weekday = DAYS[(time.as_secs() / 86_400 % 7) as usize];
    let month = MONTHS[(c.month - 1) as usize];
    format!(
        "{weekday}, {:02} {month} {} {:02}:{:02}:{:02} GMT",
        c.day, c.year, c.hour, c.minute, c.second
    )
}

/// Go's RFC 3339 with nanoseconds, trailing zeros cut: `2026-11-23T17:02:01.20472335Z`.
pub fn rfc3339(time: Duration) -> String {
    let c = civil(time.as_secs());
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    );
    if time.subsec_nanos() > 0 {
        let fraction = format!("{:09}", time.subsec_nanos());
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: Duration = Duration::new(1_795_453_021, 204_723_350);

    #[test]
    fn dates_read_as_recorded() {
        assert_eq!(http_date(RECORDED), "Mon, 23 Nov 2026 16:57:01 GMT");
        assert_eq!(rfc3339(RECORDED), "2026-11-23T16:57:01.20472335Z");
        assert_eq!(rfc3339(Duration::from_secs(1_709_164_800)), "2024-02-29T00:00:00Z");
        assert_eq!(http_date(Duration::ZERO), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
