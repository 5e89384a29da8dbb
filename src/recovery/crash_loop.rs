//! A process that falls again and again: by its own deaths, those after which the engine's policy
//! started it again included, and by restarts that its failing health asked for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Mono;

/// So many falls within [`WINDOW`] are a loop.
pub const FALLS: usize = 5;
/// How far back falls count.
pub const WINDOW: Duration = Duration::from_secs(600);

/// The falls of one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Falls(VecDeque<Mono>);

impl Falls {
    /// It fell.
    pub fn add(&mut self, at: Mono) {
        self.0.push_back(at);
        // More than make a loop say nothing more.
        if self.0.len() > FALLS {
            self.0.pop_front();
        }
    }

    /// Whether it has fallen often enough lately.
    pub fn is_loop(&self, now: Mono) -> bool {
        self.0.iter().filter(|at| now.since(**at) <= WINDOW).count() >= FALLS
    }

    /// A person or an edit gives it another chance.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn five_falls_within_ten_minutes_are_a_loop_and_nothing_else_is(
            pauses in prop::collection::vec(0u64..400, 1..30),
        ) {
            let (mut falls, mut all, mut now) = (Falls::default(), Vec::new(), 0);
            for pause in pauses {
                now += pause;
                let at = Mono(Duration::from_secs(now));
                all.push(now);
                falls.add(at);
                let recent = all.iter().filter(|then| now - **then <= 600).count();
                prop_assert_eq!(falls.is_loop(at), recent >= 5);
            }
        }
    }
}
