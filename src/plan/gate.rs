//! What a service's start waits for: hard edges, then soft ones.

use super::step::StepId;
use super::{Planner, ServiceState, Standing};
use crate::compose::types::{Condition, Service};
use crate::desired::{SOFT_DEADLINE, namespace_parents};

/// What must happen before a service's containers may start.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// Steps of this plan.
    pub after: Vec<StepId>,
    /// Something that no step of this plan brings about.
    pub waiting: Option<Standing>,
}

impl Planner<'_> {
    /// What a service's start must wait for.
    pub(super) fn gate(&self, service: &Service) -> Gate {
        let mut gate = Gate::default();
        for (name, dependency) in &service.depends_on {
            let Some(state) = self.services.get(name.as_str()) else { continue };
            let given_up = !dependency.required && state.hopeless(dependency.condition);
            if state.empty || given_up {
                continue;
            }
            match state.unmet(name, dependency.condition) {
                None => gate.after.extend(&state.starts),
                unmet => gate.waiting = gate.waiting.or(unmet),
            }
        }
        // A container that has ended lends its namespace to nobody, however well it ended.
        for name in namespace_parents(service) {
            let Some(parent) = self.services.get(name) else { continue };
            gate.after.extend(parent.first_start);
            if parent.first_start.is_none() && parent.first_started.is_none() {
                let word = if parent.held { "held" } else { "running" };
                let what = format!("{name} {word}");
                gate.waiting = gate.waiting.or(Some(Standing::WaitingOn(what)));
            }
        }
        gate
    }

    /// The softly ordered predecessor that a start must still wait for.
    pub(super) fn soft_wait(&mut self, service: &Service) -> Option<String> {
        for name in self.desired.soft.get(&service.name)? {
            let Some(state) = self.services.get(name.as_str()) else { continue };
            if state.ready || self.memory.holds.on_service(name).is_some() || !self.in_scope(name) {
                continue;
            }
            let limit = self.desired.traits(name).ready_within.unwrap_or(SOFT_DEADLINE);
            let since = self.memory.down_since.get(name).copied().unwrap_or(self.now.mono);
            let deadline = since.after(limit);
            if deadline > self.now.mono {
                self.report.wake_at(deadline);
                return Some(format!("{name} ready, by recoveryOrder"));
            }
        }
        None
    }
}

impl ServiceState {
    fn unmet(&self, name: &str, condition: Condition) -> Option<Standing> {
        let (met, word) = match condition {
            Condition::Started => (self.up, "started"),
            Condition::Healthy if self.unchecked => {
                return Some(Standing::Blocked(format!(
                    "service_healthy of {name}, which has neither a healthcheck nor a driver; \
                     give it one, or use service_started"
                )));
            }
            Condition::Healthy => (self.ready, "healthy"),
            Condition::CompletedSuccessfully => (self.completed, "completed"),
        };
        let word = if self.held { "held" } else { word };
        (!met).then(|| Standing::WaitingOn(format!("{name} {word}")))
    }

    /// Nothing suggests that the condition will be met: `required: false` then lets go.
    const fn hopeless(&self, condition: Condition) -> bool {
        let unhealthy = matches!(condition, Condition::Healthy) && self.unhealthy;
        !self.up && !self.pending || unhealthy
    }
}
