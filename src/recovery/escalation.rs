//! The clock that decides when a person is told. It runs while a service is down, and stops while
//! a step gets on: bytes that came within the last minute, until the step's own deadline.

use std::time::Duration;

use crate::clock::Mono;

/// Work whose bytes haven't grown for so long has stopped.
pub const STALL: Duration = Duration::from_secs(60);
/// The longest that a pull may take.
pub const PULL_DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// A step that tells how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    since: Mono,
    bytes: u64,
    grew: Mono,
}

/// Time that an incident has been open without anybody getting on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EscalationClock {
    /// Time so far.
    pub passed: Duration,
    last: Option<Mono>,
    work: Option<Work>,
}

impl EscalationClock {
    /// A clock that had run for so long when it was written down.
    pub const fn resumed(passed: Duration) -> Self {
        Self { passed, last: None, work: None }
    }

    /// Reads the time. It counts since the last reading if it ran then and `runs` now.
    pub fn tick(&mut self, now: Mono, runs: bool) {
        let gone = self.last.map_or(Duration::ZERO, |last| now.since(last));
        if runs && !self.is_stopped(now) {
            self.passed = self.passed.saturating_add(gone);
        }
        self.last = runs.then_some(now);
    }

    /// What passes until the next reading doesn't count: nobody could have acted.
    pub const fn pause(&mut self) {
        self.last = None;
    }

    /// A step told how far it is, in bytes, all of its parts together.
    pub fn progress(&mut self, bytes: u64, now: Mono) {
        let work = self.work.get_or_insert(Work { since: now, bytes, grew: now });
        if bytes > work.bytes {
            work.bytes = bytes;
            work.grew = now;
        }
    }

    /// The step is over.
    pub const fn work_ended(&mut self) {
        self.work = None;
    }

    /// Whether a step gets on now.
    pub fn is_stopped(&self, now: Mono) -> bool {
        self.work.is_some_and(|work| {
            now.since(work.grew) < STALL && now.since(work.since) < PULL_DEADLINE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn row_55_the_clock_stops_while_bytes_grow_and_goes_on_when_they_stop() {
        let mut clock = EscalationClock::default();
        clock.tick(at(0), true);
        for second in (0..=3600).step_by(30) {
            clock.progress(second, at(second));
            clock.tick(at(second), true);
        }
        assert_eq!(clock.passed, Duration::ZERO);
        clock.progress(3600, at(3659));
        clock.tick(at(3659), true);
        assert_eq!(clock.passed, Duration::ZERO);
        clock.tick(at(3660), true);
        clock.tick(at(3700), true);
        assert_eq!(clock.passed, Duration::from_secs(41));
        clock.work_ended();
        clock.tick(at(3701), true);
        assert_eq!(clock.passed, Duration::from_secs(42));
    }

    #[test]
    fn a_step_stops_the_clock_no_longer_than_its_own_deadline() {
        let mut clock = EscalationClock::default();
        let hours = 7 * 3600;
        for second in (0..=hours).step_by(30) {
            clock.progress(second, at(second));
            clock.tick(at(second), true);
        }
        assert_eq!(clock.passed, Duration::from_secs(3600 + 30));
    }

    proptest! {
        /// Never more than the time that went by while it ran.
        #[test]
        fn it_counts_only_time_that_passed_while_it_ran(
            steps in prop::collection::vec((0u64..200, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let mut clock = EscalationClock::default();
            let (mut now, mut ran, mut before) = (0, Duration::ZERO, false);
            for (pause, runs, paused) in steps {
                now += pause;
                if runs && before {
                    ran += Duration::from_secs(pause);
                }
                clock.tick(at(now), runs);
                before = runs;
                if paused {
                    clock.pause();
                    before = false;
                }
                prop_assert_eq!(clock.passed, ran);
            }
        }
    }
}
