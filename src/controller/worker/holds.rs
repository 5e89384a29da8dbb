//! What people hold: followed at each turn, written down before anything is planned upon it.

use std::collections::BTreeSet;

use super::{Goal, Worker};
use crate::clock::Now;
use crate::lease::LeaseState;
use crate::observed::Observed;
use crate::plan::hold::{Hold, HoldChange, HoldEnd};

impl Worker {
    /// Follows what people did since the last turn. While another operator is in charge, what it
    /// does looks like a person's doing, and says nothing.
    pub(super) async fn follow_holds(&mut self, goal: &Goal, observed: &Observed, now: Now) {
        match self.parts.permit.state() {
            None | Some(LeaseState::Held { .. }) => {}
            Some(LeaseState::Seeking(_)) => return,
            Some(_) => return self.memory.holds.ignore(observed.hands.heard),
        }
        let (holds, stopping) = (&mut self.memory.holds, &mut self.memory.stopping);
        stopping.retain(|_, until| now.mono < *until);
        let changes = holds.follow(&goal.desired, observed, stopping, now.mono);
        self.note_holds(&changes).await;
    }

    /// Writes down what changed, and says so.
    pub(super) async fn note_holds(&self, changes: &[HoldChange]) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            match change {
                HoldChange::Began(on, hold) => tracing::info!("held: {on}: {}", hold.why()),
                HoldChange::Proven(on, hold) => {
                    tracing::info!("held for good: {on}: {}", hold.why())
                }
                HoldChange::Ended(on, hold, end) => {
                    tracing::info!("held no longer: {on}: was {}: {end}", hold.why());
                }
            }
        }
        self.parts.recorder.holds(changes).await;
    }

    /// Pauses these services, or the whole stack; returns what changed, in words.
    pub(super) async fn pause_services(
        &mut self,
        services: &BTreeSet<String>,
        who: &str,
    ) -> Vec<String> {
        let hold = Hold::pause(who, self.parts.clock.now().wall);
        let changes = self.memory.holds.pause(services, &hold);
        self.note_holds(&changes).await;
        words(&changes)
    }

    /// Ends the holds on these services, or all; returns what changed, in words.
    pub(super) async fn release_holds(
        &mut self,
        services: &BTreeSet<String>,
        end: &HoldEnd,
    ) -> Vec<String> {
        let Some(goal) = self.parts.goal.borrow().clone() else { return Vec::new() };
        let changes = self.memory.holds.release(services, &goal.desired, end);
        self.note_holds(&changes).await;
        words(&changes)
    }
}

/// What began and ended, a line each: `service web: paused by ann`.
pub fn words(changes: &[HoldChange]) -> Vec<String> {
    let line = |change: &HoldChange| match change {
        HoldChange::Began(on, hold) => Some(format!("{on}: {}", hold.why())),
        HoldChange::Ended(on, hold, _) => Some(format!("{on}: no longer {}", hold.why())),
        HoldChange::Proven(..) => None,
    };
    changes.iter().filter_map(line).collect()
}
