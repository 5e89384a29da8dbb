//! What an unfinished replacement leaves behind: a second container of a slot, a temporary name.

use std::time::Duration;

use super::service::SlotPlan;
use super::slots::{container_name, temporary_base};
use super::step::{Cause, Op, StepId, Target};
use super::{Planner, Standing};
use crate::observed::{Container, ContainerState, Slot};

/// Quiet time after which an unfinished replacement that isn't ours may be finished.
pub const UNFINISHED_GRACE: Duration = Duration::from_secs(60);

impl<'a> Planner<'a> {
    /// Removes containers of a slot that another one stands for. `None` while somebody else may
    /// still be at work on them.
    pub(super) fn clear_leftovers(
        &mut self,
        plan: &SlotPlan<'_>,
        leftovers: &[&'a Container],
    ) -> Option<Vec<StepId>> {
        let mut steps = Vec::new();
        for leftover in leftovers {
            if leftover.state == ContainerState::Removing {
                continue;
            }
            if !self.may_finish(&plan.slot, leftover) {
                return None;
            }
            steps.extend(self.retire(leftover, Cause::Leftover));
        }
        Some(steps)
    }

    fn may_finish(&mut self, slot: &Slot, container: &Container) -> bool {
        if self.memory.owned.contains(&container.id) {
            return true;
        }
        let touched = self.memory.touched.get(slot).copied().unwrap_or(container.created);
        let quiet = self.now.wall.since(touched);
        if quiet >= UNFINISHED_GRACE {
            return true;
        }
        self.report.wake_at(self.now.mono.after(UNFINISHED_GRACE.saturating_sub(quiet)));
        false
    }

    /// Gives a half-replaced container its real name; says so where a person renamed it.
    pub(super) fn settle_name(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: &[StepId],
    ) -> Option<StepId> {
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        if container.name == wanted {
            return None;
        }
        if temporary_base(&container.name) != Some(wanted.as_str()) {
            let what = format!("renamed to {} by hand; known by its labels", container.name);
            self.note(plan.resource(), Standing::Notice(what));
            return None;
        }
        if before.is_empty() && !self.may_finish(&plan.slot, container) {
            return None;
        }
        let holder = self.names.get(wanted.as_str());
        if holder.is_some_and(|h| h.slot().as_ref() != Some(&plan.slot)) {
            return None;
        }
        let op = Op::Rename { container: Target::Existing(container.id.clone()), name: wanted };
        Some(self.push(plan.resource(), op, Cause::Leftover, before.to_vec()))
    }
}
