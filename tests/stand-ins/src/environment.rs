//! Settings from environment variables.

use std::str::FromStr;
use std::time::Duration;

/// The variable as a number, or `default` where it isn't set.
pub fn number<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}='{text}' is no number")),
        Err(_) => Ok(default),
    }
}

/// The variable as a time in milliseconds.
pub fn millis(name: &str, default: u64) -> Result<Duration, String> {
    number(name, default).map(Duration::from_millis)
}
