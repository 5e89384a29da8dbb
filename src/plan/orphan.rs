//! Containers that nothing wants: orphans and too many of a service.

use super::step::{Cause, Op, Resource, StepId};
use super::{Planner, Standing};
use crate::desired::OrphanPolicy;
use crate::observed::Container;

impl<'a> Planner<'a> {
    pub(super) fn orphans(&mut self) {
        if !self.scope.services.is_empty() {
            return;
        }
        let project = &self.desired.project;
        let orphans: Vec<&'a Container> = self
            .by_service
            .iter()
            .filter(|(s, _)| {
                !project.services.contains_key(**s) && !project.disabled_services.contains_key(**s)
            })
            .flat_map(|(_, containers)| containers.iter().copied())
            .collect();
        for container in orphans {
            match self.desired.policy.orphans {
                OrphanPolicy::Warn => {
                    let what = "orphan: its service is no longer in the project; \
                                `policy.orphans: Remove` removes it";
                    let resource = Resource::Container(container.name.clone());
                    self.note(resource, Standing::Notice(what.into()));
                }
                OrphanPolicy::Remove => {
                    self.retire(container, Cause::Orphan);
                }
            }
        }
    }

    /// Stops and removes a container; volumes stay. Returns the removal.
    pub(super) fn retire(&mut self, container: &Container, cause: Cause) -> Option<StepId> {
        let resource = container
            .slot()
            .map_or_else(|| Resource::Container(container.name.clone()), Resource::Slot);
        if self.memory.busy.contains(&resource) {
            return None;
        }
        if let Some(backoff) = container.slot().and_then(|s| self.memory.backoff.get(&s))
            && backoff.not_before > self.now.mono
        {
            self.report.wake_at(backoff.not_before);
            return None;
        }
        let mut after = vec![];
        if container.is_live() {
            let op = Op::Stop { container: container.id.clone() };
            after.push(self.push(resource.clone(), op, cause.clone(), vec![]));
        }
        let op = Op::Remove { container: container.id.clone(), force: false };
        Some(self.push(resource, op, cause, after))
    }
}
