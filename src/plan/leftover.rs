//! What an unfinished replacement leaves behind: a second container of a slot, a temporary name.

use std::time::Duration;

use super::service::SlotPlan;
use super::slots::{container_name, temporary_base};
use super::{Planner, Standing};
use crate::observed::{Container, Slot};

/// Quiet time after which an unfinished replacement that isn't ours may be finished.
pub const UNFINISHED_GRACE: Duration = Duration::from_secs(60);

/// What a container's name needs.
pub(super) enum NameMend {
    /// It is right, or a person chose it.
    Nothing,
    /// The real name instead of a temporary one.
    Rename(String),
    /// The real name, which can't be had now.
    Wait(Standing),
}

impl<'a> Planner<'a> {
    /// Whether nobody else is at work on a slot's containers any more: the newest is ours, or
    /// nothing has happened to them for a while.
    pub(super) fn may_finish(&mut self, slot: &Slot, group: &[&'a Container]) -> bool {
        let newest = group.iter().max_by_key(|c| (c.created, &c.id));
        if newest
            .is_none_or(|c| self.memory.owned.contains(&c.id) || self.kept(slot) == Some(&c.id))
        {
            return true;
        }
        let last = group
            .iter()
            .flat_map(|c| [Some(c.created), c.started, c.finished])
            .flatten()
            .chain(self.memory.touched.get(slot).copied())
            .filter(|t| *t <= self.now.wall)
            .max();
        let quiet = last.and_then(|t| self.elapsed(t)).unwrap_or(UNFINISHED_GRACE);
        if quiet >= UNFINISHED_GRACE {
            return true;
        }
        self.report.wake_at(self.now.mono.after(UNFINISHED_GRACE.saturating_sub(quiet)));
        false
    }

    pub(super) fn unfinished() -> Standing {
        Standing::WaitingOn("an unfinished replacement by another tool".into())
    }

    /// What the name of a container that stays needs; says so where a person renamed it.
    pub(super) fn name_mend(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &'a Container,
        group: &[&'a Container],
    ) -> NameMend {
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        if container.name == wanted {
            return NameMend::Nothing;
        }
        if temporary_base(&container.name) != Some(wanted.as_str()) {
            let what = format!("renamed to {} by hand; known by its labels", container.name);
            self.note(plan.resource(), Standing::Notice(what));
            return NameMend::Nothing;
        }
        if !self.may_finish(&plan.slot, group) {
            return NameMend::Wait(Self::unfinished());
        }
        match self.names.get(wanted.as_str()) {
            Some(holder) if !group.iter().any(|c| c.id == holder.id) => {
                let what = format!("the name {wanted} is taken by container {}", holder.id);
                NameMend::Wait(Standing::Blocked(what))
            }
            _ => NameMend::Rename(wanted),
        }
    }
}
