//! Whether a slot that is down may be recovered now: its budget, and the project's brake.

use super::{Planner, Standing};
use crate::observed::Slot;
use crate::recovery::Allowance;

impl Planner<'_> {
    /// Why nothing more is tried for a slot that is down or doesn't serve.
    pub(super) fn recovery_refused(&self, slot: &Slot) -> Option<Standing> {
        match self.memory.incidents.allowance(slot) {
            Allowance::Exhausted { spent, budget, why } => {
                Some(Standing::Exhausted { spent, budget, why })
            }
            Allowance::Judging { budget } => {
                Some(Standing::WaitingOn(format!("what came of attempt {budget} of {budget}")))
            }
            Allowance::Uncounted | Allowance::Attempt { .. } => None,
        }
    }

    /// `, attempt 2 of 3`; empty where nobody counts yet.
    pub(super) fn attempt_of(&self, slot: &Slot) -> String {
        match self.memory.incidents.allowance(slot) {
            Allowance::Attempt { number, budget } => format!(", attempt {number} of {budget}"),
            _ => String::new(),
        }
    }

    /// While most of the project is down: the recovery that this slot waits for.
    pub(super) fn braked(&self, slot: &Slot) -> Option<Standing> {
        let brake = self.memory.incidents.brake()?;
        self.memory.incidents.of(slot)?;
        let other = self.turn.as_ref().filter(|other| *other != slot)?;
        Some(Standing::WaitingOn(format!("{other} recovered; brake: {brake}")))
    }

    /// A step of this plan recovers the slot: while the project brakes, others wait for it.
    pub(super) fn take_turn(&mut self, slot: &Slot) {
        if self.turn.is_none() && self.memory.incidents.of(slot).is_some() {
            self.turn = Some(slot.clone());
        }
    }
}
