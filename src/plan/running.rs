//! A container that stays: mend what surrounds it, start it, restart it, or leave it to the engine.

use std::time::Duration;

use super::leftover::NameMend;
use super::service::{SlotPlan, SlotState};
use super::step::{Cause, Followed, Op, StepId, Target};
use super::{Planner, Standing};
use crate::clock::Timestamp;
use crate::compose::types::RestartPolicy;
use crate::desired::namespace_parents;
use crate::observed::{Container, ContainerState};
use crate::recovery::Allowance;

/// Time that the engine's own restart policy has before we act.
pub const ENGINE_RESTART_GRACE: Duration = Duration::from_secs(2);

impl<'a> Planner<'a> {
    /// A container that stays as it is: its endpoints, its leftovers, its name, its process.
    /// Where it finishes a replacement, the old one goes only when the new one can start.
    pub(super) fn keep(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &'a Container,
        group: &[&'a Container],
        state: SlotState,
    ) -> SlotState {
        if group.len() > 1 && !self.may_finish(&plan.slot, group) {
            return self.wait(plan, state, Self::unfinished());
        }
        let name = match self.name_mend(plan, container, group) {
            NameMend::Wait(standing) => return self.wait(plan, state, standing),
            NameMend::Nothing => None,
            NameMend::Rename(name) => Some(name),
        };
        let (mut mends, blocked) = self.endpoint_mends(plan.service, container);
        if self.pinned(plan.service).is_some() {
            // The addresses that it has belong to its own version.
            mends.retain(|mend| !matches!(mend.cause, Cause::WrongEndpoint(_)));
        }
        let mut before = Vec::new();
        if container.is_live() {
            let crowd = group.iter().skip(1).any(|c| !self.is_aside(&plan.slot, c));
            let work = name.is_some() || crowd || !mends.is_empty();
            // How often its process fell says nothing of what surrounds it.
            let refused = self.memory.backoff.get(&plan.slot).is_some_and(|b| !b.last.is_empty());
            if work
                && refused
                && let Some(standing) = self.slot_backoff(&plan.slot)
            {
                return self.wait(plan, state, standing);
            }
        } else {
            let start = match blocked.clone() {
                Some(standing) => Err(standing),
                None => self.may_start(plan, container),
            };
            match start {
                Ok(after) => before = after,
                Err(standing) => return self.wait(plan, state, standing),
            }
        }
        // A second container of the slot may hold the running one's address: it goes first. A
        // running one that is to be replaced goes last.
        let mut gone = Vec::new();
        if container.is_live() {
            gone = self.retire_others(plan, group, vec![]);
        }
        before.extend(self.mend_endpoints(plan, container, mends, &gone));
        if !container.is_live() {
            gone = self.retire_others(plan, group, before.clone());
        }
        if let Some(name) = name {
            let op = Op::Rename { container: Target::Existing(container.id.clone()), name };
            before.extend(&gone);
            gone.push(self.push(plan.resource(), op, Cause::Leftover, before.clone()));
        }
        before.extend(gone);
        match container.state {
            ContainerState::Running => {
                let state = self.keep_running(plan, container, before, state);
                match blocked {
                    Some(standing) => self.wait(plan, state, standing),
                    None => state,
                }
            }
            ContainerState::Paused => self.keep_paused(plan, container, before, state),
            ContainerState::Restarting => {
                self.wait(plan, state, Standing::WaitingOn("engine restart".into()))
            }
            _ => self.start(plan, container, before, state),
        }
    }

    /// Removes every container of a slot but the first; the one that an update keeps is only set
    /// aside.
    fn retire_others(
        &mut self,
        plan: &SlotPlan<'_>,
        group: &[&'a Container],
        after: Vec<StepId>,
    ) -> Vec<StepId> {
        let kept = self.kept(&plan.slot);
        let mut gone = Vec::new();
        for leftover in group.iter().skip(1) {
            gone.extend(match kept == Some(&leftover.id) {
                true => self.set_aside(plan, leftover, after.clone()),
                false => {
                    let known = self.memory.superseded.contains(&leftover.id);
                    let cause = if known { Cause::Superseded } else { Cause::Leftover };
                    self.retire(leftover, cause, after.clone())
                }
            });
        }
        gone
    }

    fn keep_paused(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: Vec<StepId>,
        state: SlotState,
    ) -> SlotState {
        if !self.desired.policy.unpause {
            let why = format!("paused by hand; `docker unpause {}` ends it", container.name);
            return self.wait(plan, state, Standing::Held(why));
        }
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return self.wait(plan, state, standing);
        }
        let op = Op::Unpause { container: container.id.clone() };
        let start = self.push(plan.resource(), op, Cause::Paused, before);
        SlotState { start: Some(start), ..state }
    }

    fn keep_running(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: Vec<StepId>,
        state: SlotState,
    ) -> SlotState {
        let Some((mut cause, after_parent)) = self.restart_cause(plan, container) else {
            return state;
        };
        let mut state = state;
        if let Cause::Unhealthy(reason) = &mut cause {
            state.report.ill = true;
            if let Some(standing) = self.recovery_refused(&plan.slot) {
                return self.wait(plan, state, standing);
            }
            reason.push_str(&self.attempt_of(&plan.slot));
        }
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return self.wait(plan, state, standing);
        }
        if let (false, Some(what)) = (matches!(cause, Cause::Unhealthy(_)), &plan.gate.waiting) {
            return self.wait(plan, state, what.clone());
        }
        let mut after = before;
        after.extend(after_parent);
        after.extend(&plan.gate.after);
        if matches!(cause, Cause::Unhealthy(_)) {
            if let Some(standing) = self.braked(&plan.slot) {
                return self.wait(plan, state, standing);
            }
            self.take_turn(&plan.slot);
        }
        let op = Op::Restart { container: container.id.clone() };
        let start = self.push(plan.resource(), op, cause, after);
        SlotState { running: false, ready: false, start: Some(start), ..state }
    }

    /// Why a running container must be restarted, and the step that this must follow.
    fn restart_cause(
        &self,
        plan: &SlotPlan<'_>,
        container: &Container,
    ) -> Option<(Cause, Option<StepId>)> {
        for name in namespace_parents(plan.service) {
            let Some(parent) = self.services.get(name) else { continue };
            if let Some(step) = parent.first_start {
                let followed = Followed { service: name.to_owned(), since: None };
                return Some((Cause::ParentRestarted(followed), Some(step)));
            }
            if self.is_later(parent.first_started, container.started) {
                let since = parent.first_started;
                let followed = Followed { service: name.to_owned(), since };
                return Some((Cause::ParentRestarted(followed), None));
            }
        }
        for (name, _) in plan.service.depends_on.iter().filter(|(_, d)| d.restart) {
            let Some(state) = self.services.get(name.as_str()) else { continue };
            let created = matches!(state.first, Some(Target::Created(_)));
            if created || self.is_later(state.first_created, container.started) {
                let since = state.first_created.filter(|_| !created);
                let followed = Followed { service: name.clone(), since };
                return Some((Cause::DependencyReplaced(followed), state.first_start));
            }
        }
        let reason = self.judge(plan, container).restart?;
        Some((Cause::Unhealthy(reason), None))
    }

    /// Whether one thing happened after another. What lies in the future was stamped before the
    /// clock jumped back: it stays later than every restart and proves nothing.
    fn is_later(&self, what: Option<Timestamp>, than: Option<Timestamp>) -> bool {
        what > than && what.is_some_and(|at| self.elapsed(at).is_some())
    }

    /// What the start of a container that exists must follow, or why it may not happen now.
    fn may_start(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
    ) -> Result<Vec<StepId>, Standing> {
        if let Some(standing) = self.recovery_refused(&plan.slot) {
            return Err(standing);
        }
        if has_run(container) && self.engine_restarts(plan, container) {
            return Err(Standing::WaitingOn("engine restart".into()));
        }
        let after = self.start_blocked(plan, Some(container))?;
        self.braked(&plan.slot).map_or(Ok(after), Err)
    }

    fn start(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: Vec<StepId>,
        state: SlotState,
    ) -> SlotState {
        let cause = if has_run(container) {
            let code = container.exit_code.unwrap_or_default();
            match self.memory.incidents.allowance(&plan.slot) {
                Allowance::Attempt { number, budget } => {
                    Cause::Exited { code, failures: number - 1, of: budget }
                }
                _ => {
                    let failures = self.memory.backoff.get(&plan.slot).map_or(0, |b| b.failures);
                    Cause::Exited { code, failures, of: 0 }
                }
            }
        } else {
            Cause::NeverStarted
        };
        self.take_turn(&plan.slot);
        let op = Op::Start { container: Target::Existing(container.id.clone()) };
        let start = self.push(plan.resource(), op, cause, before);
        SlotState { start: Some(start), ..state }
    }

    /// Steps of this plan that a start must follow, or why it may not happen now.
    pub(super) fn start_blocked(
        &mut self,
        plan: &SlotPlan<'_>,
        own: Option<&Container>,
    ) -> Result<Vec<StepId>, Standing> {
        if let Some(what) = &plan.gate.waiting {
            return Err(what.clone());
        }
        if let Some(what) = self.soft_wait(plan.service) {
            return Err(Standing::WaitingOn(what));
        }
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return Err(standing);
        }
        let mut after = self.conflicts(plan, own)?;
        after.extend(&plan.gate.after);
        Ok(after)
    }

    /// The engine's own restart policy may still act.
    fn engine_restarts(&mut self, plan: &SlotPlan<'_>, container: &Container) -> bool {
        let owned = match plan.service.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(None | Some(0)) => true,
            RestartPolicy::OnFailure(Some(max)) => container.restart_count < u64::from(max),
        };
        let ended = owned.then(|| self.memory.ages.since_end(container, self.now)).flatten();
        let Some(passed) = ended else { return false };
        if passed >= ENGINE_RESTART_GRACE {
            return false;
        }
        self.report.wake_at(self.now.mono.after(ENGINE_RESTART_GRACE.saturating_sub(passed)));
        true
    }
}

fn has_run(container: &Container) -> bool {
    container.state == ContainerState::Exited && container.started.is_some()
}
