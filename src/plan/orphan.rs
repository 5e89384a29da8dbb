//! Containers that nothing wants: orphans and too many of a service.

use super::step::{Cause, Op, Resource, StepId};
use super::{Planner, Standing};
use crate::desired::OrphanPolicy;
use crate::observed::{Container, ContainerState};

impl<'a> Planner<'a> {
    pub(super) fn orphans(&mut self) {
        if self.scope.is_some() {
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
            .filter(|container| !self.is_held(container))
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
                    self.retire(container, Cause::Orphan, vec![]);
                }
            }
        }
    }

    /// Stops and removes a container; volumes stay. `None` when it may not be touched now.
    pub(super) fn retire(
        &mut self,
        container: &'a Container,
        cause: Cause,
        after: Vec<StepId>,
    ) -> Option<StepId> {
        let slot = container.slot();
        let resource = slot
            .clone()
            .map_or_else(|| Resource::Container(container.name.clone()), Resource::Slot);
        if self.memory.busy.contains(&resource) {
            self.note(resource, Standing::InProgress);
            return None;
        }
        if container.state == ContainerState::Removing || self.is_own(container) {
            return None;
        }
        let backoff = match slot {
            Some(slot) => self.slot_backoff(&slot),
            None => self.resource_backoff(&resource),
        };
        if let Some(wait) = backoff {
            self.note(resource, wait);
            return None;
        }
        Some(self.stop_and_remove(&resource, container, cause, after))
    }

    pub(super) fn stop_and_remove(
        &mut self,
        resource: &Resource,
        container: &'a Container,
        cause: Cause,
        mut after: Vec<StepId>,
    ) -> StepId {
        if container.is_live() {
            let op = Op::Stop { container: container.id.clone() };
            let stop = self.push(resource.clone(), op, cause.clone(), after);
            self.stopped.insert(&container.id, stop);
            after = vec![stop];
        }
        // The engine refuses to remove what it calls dead without force.
        let force = container.state == ContainerState::Dead;
        let op = Op::Remove { container: container.id.clone(), force };
        let remove = self.push(resource.clone(), op, cause, after);
        self.removed.insert(&container.id, remove);
        remove
    }
}
