//! A container that stays: start it, restart it, or leave it to the engine.

use std::time::Duration;

use super::report::{SlotReport, SlotStatus};
use super::service::{SlotPlan, SlotState};
use super::step::{Cause, Op, StepId, Target};
use super::{Planner, Standing};
use crate::compose::types::RestartPolicy;
use crate::desired::namespace_parents;
use crate::observed::{Container, ContainerState};

/// Time that the engine's own restart policy has before we act.
pub const ENGINE_RESTART_GRACE: Duration = Duration::from_secs(2);

impl Planner<'_> {
    pub(super) fn keep_running(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: Vec<StepId>,
        state: SlotState,
    ) -> SlotState {
        let Some((cause, after_parent)) = self.restart_cause(plan, container) else {
            return state;
        };
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return self.wait(plan, state, standing);
        }
        if let (false, Some(what)) = (matches!(cause, Cause::Unhealthy(_)), &plan.gate.waiting) {
            return self.wait(plan, state, Standing::WaitingOn(what.clone()));
        }
        let mut after = before;
        after.extend(after_parent);
        after.extend(&plan.gate.after);
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
            let parent = self.services.get(name)?;
            if let Some(step) = parent.first_start {
                return Some((Cause::ParentRestarted(name.to_owned()), Some(step)));
            }
            if parent.running && parent.first_started > container.started {
                return Some((Cause::ParentRestarted(name.to_owned()), None));
            }
        }
        for (name, _) in plan.service.depends_on.iter().filter(|(_, d)| d.restart) {
            let Some(state) = self.services.get(name) else { continue };
            let replaced = matches!(state.first, Some(Target::Created(_)));
            if replaced || state.created > container.started {
                return Some((Cause::DependencyReplaced(name.clone()), None));
            }
        }
        let reason = self.judge(plan, container).restart?;
        Some((Cause::Unhealthy(reason), None))
    }

    /// Starts a container that exists and should run.
    pub(super) fn start(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        before: Vec<StepId>,
        state: SlotState,
    ) -> SlotState {
        let exited = container.state == ContainerState::Exited && container.started.is_some();
        let on_failure = matches!(plan.service.restart, RestartPolicy::OnFailure(_));
        if exited && on_failure && container.exit_code == Some(0) {
            return SlotState {
                completed: true,
                report: SlotReport { status: SlotStatus::Completed, ..state.report },
                ..state
            };
        }
        if exited && self.engine_restarts(plan, container) {
            return self.wait(plan, state, Standing::WaitingOn("engine restart".into()));
        }
        if let Some(standing) = self.start_blocked(plan, Some(container)) {
            return self.wait(plan, state, standing);
        }
        let cause = if exited {
            let failures = self.memory.backoff.get(&plan.slot).map_or(0, |b| b.failures);
            Cause::Exited { code: container.exit_code.unwrap_or_default(), failures }
        } else {
            Cause::NeverStarted
        };
        let mut after = before;
        after.extend(&plan.gate.after);
        let op = Op::Start { container: Target::Existing(container.id.clone()) };
        let start = self.push(plan.resource(), op, cause, after);
        SlotState { start: Some(start), ..state }
    }

    /// Why a container may not be started now.
    pub(super) fn start_blocked(
        &mut self,
        plan: &SlotPlan<'_>,
        own: Option<&Container>,
    ) -> Option<Standing> {
        if let Some(what) = &plan.gate.waiting {
            return Some(Standing::WaitingOn(what.clone()));
        }
        if let Some(what) = self.soft_wait(plan.service) {
            return Some(Standing::WaitingOn(what));
        }
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return Some(standing);
        }
        self.port_holder(plan.service, own).map(Standing::Blocked)
    }

    /// The engine's own restart policy may still act.
    fn engine_restarts(&mut self, plan: &SlotPlan<'_>, container: &Container) -> bool {
        let owned = match plan.service.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(None) => true,
            RestartPolicy::OnFailure(Some(max)) => container.restart_count < u64::from(max),
        };
        let Some(finished) = container.finished.filter(|_| owned) else { return false };
        let passed = self.now.wall.since(finished);
        if passed >= ENGINE_RESTART_GRACE {
            return false;
        }
        self.report.wake_at(self.now.mono.after(ENGINE_RESTART_GRACE.saturating_sub(passed)));
        true
    }
}
