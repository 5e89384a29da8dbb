//! Backoff: when to try again, and when the past is forgiven.

use std::time::Duration;

use super::memory::Backoff;
use crate::clock::Mono;

/// First pause. The engine's own policy starts at 100 ms; ours gives a process time to say why.
pub const BASE: Duration = Duration::from_millis(500);
/// Longest pause, as the engine's.
pub const CEILING: Duration = Duration::from_secs(60);
/// Pause of all pulls after one that found the engine's disk full: each brings gigabytes, and a
/// person has to make room.
pub const DISK_FULL: Duration = Duration::from_secs(600);
/// Ready for this long, and the failures before are forgotten.
pub const SUSTAINED: Duration = Duration::from_secs(10);

/// The pause after `failures` failures in a row, `jitter` in `0.0..1.0` adding up to a fifth.
pub fn pause(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = BASE.saturating_mul(1 << doublings).min(CEILING);
    pause.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0))
}

/// An attempt was made. The first is free: only the next one has to wait.
pub fn attempted(backoff: &mut Backoff, now: Mono, jitter: f64) {
    backoff.failures = backoff.failures.saturating_add(1);
    backoff.not_before = now.after(pause(backoff.failures, jitter));
    backoff.ready_since = None;
}

/// An attempt failed with `reason`; the pause counts from now.
pub fn failed(backoff: &mut Backoff, now: Mono, jitter: f64, reason: String) {
    backoff.failures = backoff.failures.max(1);
    backoff.not_before = now.after(pause(backoff.failures, jitter));
    backoff.last = reason;
    backoff.ready_since = None;
}

/// The slot is (not) ready now. True once the failures before are forgiven.
pub fn observed_ready(backoff: &mut Backoff, ready: bool, now: Mono) -> bool {
    let sustained = backoff.ready_since.is_some_and(|since| now.since(since) >= SUSTAINED);
    // What was sustained until now is forgiven even if it ends now.
    backoff.ready_since = if ready { backoff.ready_since.or(Some(now)) } else { None };
    sustained
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_pause_doubles_to_its_ceiling() {
        let pauses: Vec<u128> = (1..=9).map(|n| pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
    }

    #[test]
    fn flapping_is_not_forgiven_and_sustained_health_is() {
        let at = |s| Mono(Duration::from_secs(s));
        let mut b = Backoff::default();
        attempted(&mut b, at(0), 0.0);
        assert!(!observed_ready(&mut b, true, at(1)));
        assert!(!observed_ready(&mut b, false, at(9)));
        assert!(!observed_ready(&mut b, true, at(10)));
        assert!(!observed_ready(&mut b, true, at(19)));
        assert!(observed_ready(&mut b, true, at(20)));
    }

    proptest! {
        #[test]
        fn the_pause_never_shrinks_and_stays_bounded(n in 0u32..1000, j in 0.0f64..1.0) {
            prop_assert!(pause(n + 1, 0.0) >= pause(n, 0.0));
            prop_assert!(pause(n, j) <= CEILING.mul_f64(1.2));
        }
    }
}
