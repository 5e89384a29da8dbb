//! When a burst of changes is over.

use std::time::Duration;

use crate::clock::Mono;

/// Waits for quiet, but not for ever.
#[derive(Debug, Clone, Copy)]
pub struct Debounce {
    quiet: Duration,
    longest: Duration,
    burst: Option<(Mono, Mono)>,
}

impl Debounce {
    /// Due `quiet` after the last change of a burst, and `longest` after its first at the latest.
    pub const fn new(quiet: Duration, longest: Duration) -> Self {
        Self { quiet, longest, burst: None }
    }

    /// Something changed.
    pub fn note(&mut self, now: Mono) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// When to act; `None` when nothing has changed.
    pub fn due(&self) -> Option<Mono> {
        let (first, last) = self.burst?;
        Some(last.after(self.quiet).min(first.after(self.longest)))
    }

    /// Whether to act now. If so, the burst is over.
    pub fn take(&mut self, now: Mono) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.burst = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    const fn debounce() -> Debounce {
        Debounce::new(Duration::from_millis(200), Duration::from_secs(2))
    }

    #[test]
    fn nothing_is_due_without_a_change() {
        let mut d = debounce();
        assert_eq!(d.due(), None);
        assert!(!d.take(at(10_000)));
    }

    #[test]
    fn a_burst_is_due_once_and_only_after_quiet() {
        let mut d = debounce();
        for ms in [0, 150, 300] {
            d.note(at(ms));
            assert!(!d.take(at(ms + 199)), "{ms}");
        }
        assert_eq!(d.due(), Some(at(500)));
        assert!(d.take(at(500)));
        assert!(!d.take(at(501)));
        assert_eq!(d.due(), None);
    }

    #[test]
    fn endless_changes_do_not_put_it_off_for_ever() {
        let mut d = debounce();
        let fired = (1000..).step_by(100).find(|ms| {
            let due = d.take(at(*ms));
            d.note(at(*ms));
            due
        });
        assert_eq!(fired, Some(3000));
    }

    #[test]
    fn the_next_burst_starts_anew() {
        let mut d = debounce();
        d.note(at(0));
        assert!(d.take(at(200)));
        d.note(at(1900));
        assert_eq!(d.due(), Some(at(2100)));
    }
}
