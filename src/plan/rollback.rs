//! A service whose update failed: the kept container comes back, or nothing runs until a person has
//! decided.

use super::service::{SlotPlan, SlotState};
use super::slots::{container_name, temporary_base};
use super::step::{Cause, Op, StepId, Target};
use super::update::{Pin, Stage, Update};
use super::{Planner, SlotStatus, Standing};
use crate::observed::{Container, ContainerState};

impl<'a> Planner<'a> {
    /// A slot of a service whose update failed: the old container serves, or nothing does until a
    /// person has decided.
    pub(super) fn stand_by(
        &mut self,
        plan: &SlotPlan<'_>,
        pin: &Pin,
        group: &[&'a Container],
        mut state: SlotState,
    ) -> SlotState {
        let sentence = pin.sentence();
        let memory = self.memory;
        let update = memory.updates.get(&plan.slot);
        state.report.differs = true;
        let person = pin.person.as_ref().filter(|_| update.is_some());
        let stage = Stage::Pinned(person.cloned());
        self.report.updates.insert(plan.slot.clone(), stage);
        self.note(plan.resource(), Standing::Held(sentence.clone()));
        state.report.message.clone_from(&sentence);
        if person.is_some() {
            return self.stop_all(plan, group, state);
        }
        match (group.first().copied(), update) {
            (Some(kept), Some(update)) if kept.id == update.kept => {
                self.bring_back(plan, kept, group, pin, state)
            }
            (_, Some(update)) => self.rebuild(plan, update, group, pin, state),
            (Some(old), None) => {
                let state = self.keep(plan, old, group, state);
                Self::said(state, &sentence)
            }
            (None, None) => SlotState { pending: false, ..state },
        }
    }

    fn said(mut state: SlotState, sentence: &str) -> SlotState {
        let message = &mut state.report.message;
        if message.is_empty() {
            sentence.clone_into(message);
        } else if !message.starts_with(sentence) {
            *message = format!("{sentence}; now: {message}");
        }
        state
    }

    fn stop_all(
        &mut self,
        plan: &SlotPlan<'_>,
        group: &[&'a Container],
        mut state: SlotState,
    ) -> SlotState {
        for container in group.iter().filter(|c| c.is_live()) {
            if let Some(standing) = self.slot_backoff(&plan.slot) {
                return self.wait(plan, state, standing);
            }
            let op = Op::Stop { container: container.id.clone() };
            let stop = self.push(plan.resource(), op, Cause::UpdateFailed, vec![]);
            self.stopped.insert(&container.id, stop);
        }
        state.report.status = SlotStatus::Held;
        SlotState { running: false, ready: false, completed: false, pending: false, ..state }
    }

    /// The kept container takes its place again.
    fn bring_back(
        &mut self,
        plan: &SlotPlan<'_>,
        kept: &'a Container,
        group: &[&'a Container],
        pin: &Pin,
        state: SlotState,
    ) -> SlotState {
        let sentence = pin.sentence();
        let own_name = temporary_base(&kept.name).is_none();
        if group.len() == 1 && own_name {
            let state = self.keep(plan, kept, group, state);
            return Self::said(state, &sentence);
        }
        let before = match self.start_blocked(plan, Some(kept)) {
            Ok(before) => before,
            Err(standing) => return self.wait(plan, state, standing),
        };
        let cause = Cause::RolledBack(pin.why.clone());
        let gone = self.retire_failed(plan, &group[1..], &cause, &before);
        let (mends, _) = self.endpoint_mends(plan.service, kept);
        let mends =
            mends.into_iter().filter(|m| !matches!(m.cause, Cause::WrongEndpoint(_))).collect();
        let mut after = self.mend_endpoints(plan, kept, mends, &gone);
        after.extend(gone);
        after.extend(before);
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        if kept.name != wanted {
            let op = Op::Rename { container: Target::Existing(kept.id.clone()), name: wanted };
            after = vec![self.push(plan.resource(), op, cause.clone(), after)];
        }
        if kept.is_live() {
            return state;
        }
        let op = Op::Start { container: Target::Existing(kept.id.clone()) };
        let start = self.push(plan.resource(), op, cause, after);
        SlotState { start: Some(start), ..state }
    }

    fn retire_failed(
        &mut self,
        plan: &SlotPlan<'_>,
        failed: &[&'a Container],
        cause: &Cause,
        before: &[StepId],
    ) -> Vec<StepId> {
        let mut gone = Vec::new();
        for container in failed.iter().filter(|c| c.state != ContainerState::Removing) {
            let resource = plan.resource();
            gone.push(self.stop_and_remove(&resource, container, cause.clone(), before.to_vec()));
        }
        gone
    }

    /// The kept container is gone: it is made again as it was.
    fn rebuild(
        &mut self,
        plan: &SlotPlan<'_>,
        update: &Update,
        group: &[&'a Container],
        pin: &Pin,
        state: SlotState,
    ) -> SlotState {
        let Some(body) = update.body.clone() else {
            let why = "the container that it was rolled back to is gone and can't be made again; \
                       edit the file, or run `homeostat apply` to try the update again";
            return self.wait(plan, state, Standing::Blocked(why.into()));
        };
        let before = match self.start_blocked(plan, None) {
            Ok(before) => before,
            Err(standing) => return self.wait(plan, state, standing),
        };
        let cause = Cause::RolledBack(pin.why.clone());
        let mut after = self.retire_failed(plan, group, &cause, &before);
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let holder = self.names.get(wanted.as_str()).copied();
        if !holder.is_some_and(|h| group.iter().any(|c| c.id == h.id)) {
            match self.free_name(plan, &wanted) {
                Ok(step) => after.extend(step),
                Err(why) => return self.wait(plan, state, Standing::Blocked(why)),
            }
        }
        let op =
            Op::Recreate { slot: plan.slot.clone(), name: wanted, lost: update.kept.clone(), body };
        let created = self.push(plan.resource(), op, cause.clone(), after);
        let mut ready = vec![created];
        ready.extend(before);
        let op = Op::Start { container: Target::Created(created) };
        let start = self.push(plan.resource(), op, cause, ready);
        let target = Some(Target::Created(created));
        SlotState { running: false, ready: false, start: Some(start), target, ..state }
    }
}
