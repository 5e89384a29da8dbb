//! What recoveries may do: no more attempts than their incident allows, and one at a time while the
//! project brakes.

use super::{Check, Violation};
use crate::observed::Slot;
use crate::plan::step::{Cause, Op, Step, Target};

impl Check<'_> {
    pub(super) fn recoveries(&mut self) {
        let incidents = &self.memory.incidents;
        let mut turn: Option<Slot> = incidents.recovering().next().cloned();
        for step in self.steps() {
            let Some(slot) = self.slot_of(&step.op).filter(|_| self.recovers(step)) else {
                continue;
            };
            let Some(incident) = incidents.of(&slot) else { continue };
            if incident.stopped.is_some() || incident.used() >= incident.budget {
                self.found.push(Violation::Exhausted(step.id, slot.to_string()));
            }
            if incidents.brake().is_some() && *turn.get_or_insert_with(|| slot.clone()) != slot {
                self.found.push(Violation::Braked(step.id, slot.to_string()));
            }
        }
    }

    /// A step that makes a process run where none does, or one anew that doesn't serve.
    fn recovers(&self, step: &Step) -> bool {
        match &step.op {
            Op::Start { container: Target::Existing(_) } => true,
            Op::Start { container: Target::Created(made) } => match self.plan.step(*made) {
                Some(Step { op: Op::Create { replaces: Some(old), .. }, .. }) => {
                    self.existing(old).is_none_or(|old| !old.is_live())
                }
                _ => true,
            },
            Op::Restart { .. } => matches!(step.cause, Cause::Unhealthy(_)),
            _ => false,
        }
    }
}
