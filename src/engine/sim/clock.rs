//! Virtual time: the clock that follows tokio's, which tests pause.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Mono, Now, Timestamp, unit_from};

/// 2026-01-01T00:00:00Z, where the wall clock of every simulation starts.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// A clock on tokio's time. Under `tokio::time::pause` it moves only when everybody sleeps, so a
/// simulated hour takes no time and is the same in every run.
#[derive(Debug)]
pub struct SimClock {
    start: tokio::time::Instant,
    wall_offset_ms: AtomicI64,
    seed: Mutex<u64>,
}

impl SimClock {
    /// Starts at zero. Equal seeds give equal jitter.
    #[allow(clippy::disallowed_methods, reason = "virtual time has its source here")]
    pub fn new(seed: u64) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            wall_offset_ms: AtomicI64::new(0),
            seed: Mutex::new(seed | 1),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sets the wall clock forward (or back) by so many milliseconds; monotonic time stays.
    pub fn jump_wall(&self, by_ms: i64) {
        self.wall_offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Wall clock in milliseconds when `elapsed` is that.
    pub(super) fn wall_ms(&self, elapsed: Duration) -> i64 {
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        EPOCH_MS.saturating_add(self.wall_offset_ms.load(Ordering::Relaxed)).saturating_add(elapsed)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = self.elapsed();
        Now { wall: Timestamp(self.wall_ms(elapsed)), mono: Mono(elapsed) }
    }

    fn jitter(&self) -> f64 {
        let Ok(mut seed) = self.seed.lock() else { return 0.5 };
        unit_from(&mut seed)
    }
}
