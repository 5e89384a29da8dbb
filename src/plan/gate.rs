//! What a service's start waits for: hard edges, then soft ones.

use super::Planner;
use super::step::StepId;
use crate::compose::types::{Condition, Service};
use crate::desired::SOFT_DEADLINE;

/// What must happen before a service's containers may start.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    /// Steps of this plan.
    pub after: Vec<StepId>,
    /// Something that no step of this plan brings about.
    pub waiting: Option<String>,
}

impl Planner<'_> {
    /// What a service's start must wait for.
    pub(super) fn gate(&self, service: &Service) -> Gate {
        let mut gate = Gate::default();
        for (name, dependency) in &service.depends_on {
            let Some(state) = self.services.get(name) else { continue };
            let coming = state.running || !state.starts.is_empty();
            if !dependency.required && !coming && !state.completed {
                continue;
            }
            let starts_pending = !state.starts.is_empty();
            let met = match dependency.condition {
                Condition::Started if starts_pending => {
                    gate.after.extend(&state.starts);
                    true
                }
                Condition::Started => state.running || state.completed,
                Condition::Healthy => state.ready && !starts_pending,
                Condition::CompletedSuccessfully => state.completed,
            };
            if !met && gate.waiting.is_none() {
                let word = match dependency.condition {
                    Condition::Started => "started",
                    Condition::Healthy => "healthy",
                    Condition::CompletedSuccessfully => "completed",
                };
                gate.waiting = Some(format!("{name} {word}"));
            }
        }
        gate
    }

    /// The softly ordered predecessor that a start must still wait for.
    pub(super) fn soft_wait(&mut self, service: &Service) -> Option<String> {
        let before = self.desired.soft.get(&service.name)?;
        for name in before {
            let Some(state) = self.services.get(name) else { continue };
            if !state.down || self.memory.holds.contains_key(name) {
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
