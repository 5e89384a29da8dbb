//! What is seen of a slot, and what is remembered of it between two looks.

use std::time::Duration;

use super::crash_loop::Falls;
use super::incident::{Generation, Run};
use crate::clock::Mono;
use crate::observed::{ExitCause, Slot};

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub cause: ExitCause,
    /// Exit code.
    pub code: i64,
}

/// What is seen of a slot at a turn of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Which.
    pub slot: Slot,
    /// What it is to run.
    pub generation: Generation,
    /// Its container's last run; `None` if there was none.
    pub run: Option<Run>,
    /// How that ended, where it ended and should not have.
    pub death: Option<Death>,
    /// Starts of its container by the engine's own policy.
    pub engine_restarts: u64,
    /// The engine's own policy restarts it.
    pub engine_owned: bool,
    /// A person holds it.
    pub held: bool,
    /// Time that it may take to become Ready; `None` where that isn't what it is for (a job).
    pub deadline: Option<Duration>,
}

/// What is remembered of a slot.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Track {
    pub generation: Generation,
    /// It has been Ready in this generation.
    pub proven: bool,
    pub ready_since: Option<Mono>,
    /// When a run of a generation that was never Ready was first seen.
    pub begun: Option<Mono>,
    pub run: Option<Run>,
    /// The last run whose end was booked.
    pub booked: Option<Run>,
    /// The container and its starts by the engine.
    pub restarts: Option<(String, u64)>,
    pub falls: Falls,
    /// When the open attempt must be Ready.
    pub verify_by: Option<Mono>,
    pub deadline: Option<Duration>,
    pub engine_owned: bool,
    pub held: bool,
}

impl Track {
    /// Another generation: nothing that was seen before says anything of it.
    pub fn renew(&mut self, generation: Generation) {
        let booked = self.booked.take();
        let restarts = self.restarts.take();
        *self = Self { generation, booked, restarts, run: self.run.take(), ..Self::default() };
    }

    /// New starts by the engine's own policy. Of a container that is seen first nobody knows when
    /// they were.
    pub fn restarted(&mut self, run: Option<&Run>, count: u64) -> u64 {
        let Some(run) = run else { return 0 };
        let before = self.restarts.replace((run.container.clone(), count));
        match before {
            Some((container, before)) if container == run.container => count.saturating_sub(before),
            _ => 0,
        }
    }

    /// The end of a run that wasn't booked before.
    pub fn book(&mut self, run: Option<&Run>) -> bool {
        let news = run.is_some() && self.booked.as_ref() != run;
        if news {
            self.booked = run.cloned();
        }
        news
    }

    /// Time for its start is over, and it was never Ready.
    pub fn is_overdue(&self, now: Mono) -> bool {
        let (Some(begun), Some(deadline)) = (self.begun, self.deadline) else { return false };
        !self.proven && now.since(begun) >= deadline
    }

    /// When that will be.
    pub fn overdue_at(&self) -> Option<Mono> {
        Some(self.begun.filter(|_| !self.proven)?.after(self.deadline?))
    }
}
