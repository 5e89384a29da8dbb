//! What a plan may touch: this project's own, neither busy nor held nor backing off.

use super::{Check, Violation};
use crate::observed::labels;
use crate::plan::step::{NetworkRef, Op, Resource, Step};

impl Check<'_> {
    pub(super) fn ownership(&mut self) {
        for step in self.steps() {
            if let Some(id) = step.op.container()
                && !self.existing(id).is_some_and(|c| self.is_ours(c))
            {
                self.found.push(Violation::ForeignContainer(step.id, id.clone()));
            }
            self.supply(step);
            for resource in self.resources(step) {
                self.at_rest(step, &resource);
            }
        }
    }

    fn supply(&mut self, step: &Step) {
        let project = &self.desired.project;
        let violation = match &step.op {
            Op::CreateNetwork { key } => match project.networks.get(key) {
                Some(network) if !network.external => {
                    let mut same =
                        self.observed.networks.values().filter(|n| n.name == network.name);
                    let left = same.any(|n| {
                        let removed = self
                            .steps()
                            .iter()
                            .find(|s| matches!(&s.op, Op::RemoveNetwork { id } if *id == n.id));
                        !removed.is_some_and(|r| self.precedes(r.id, step.id))
                    });
                    left.then(|| Violation::Duplicate(step.id, key.clone()))
                }
                _ => Some(Violation::ForeignSupply(step.id, key.clone())),
            },
            Op::RemoveNetwork { id } => {
                let label = |n: &crate::engine::NetworkSummary| {
                    n.labels.get(labels::PROJECT) == Some(&project.name)
                };
                let network = self.observed.networks.get(id).filter(|n| label(n));
                let external = network.is_none_or(|found| {
                    project.networks.values().any(|n| n.external && n.name == found.name)
                });
                external.then(|| Violation::ForeignSupply(step.id, id.clone()))
            }
            Op::CreateVolume { key } => match project.volumes.get(key) {
                Some(volume) if !volume.external => self
                    .observed
                    .volumes
                    .contains_key(&volume.name)
                    .then(|| Violation::Duplicate(step.id, key.clone())),
                _ => Some(Violation::ForeignSupply(step.id, key.clone())),
            },
            Op::Create { slot, .. } | Op::Recreate { slot, .. } => {
                let wanted =
                    slot.project == project.name && project.services.contains_key(&slot.service);
                (!wanted).then(|| Violation::UnwantedSlot(step.id, slot.to_string()))
            }
            Op::Connect { key, network, slot, .. } => {
                let wanted = project
                    .services
                    .get(&slot.service)
                    .is_some_and(|s| s.networks.contains_key(key));
                let right = match network {
                    NetworkRef::Existing(id) => self.observed.networks.get(id).map(|n| &n.name),
                    NetworkRef::Created(made) => match self.plan.step(*made).map(|s| &s.op) {
                        Some(Op::CreateNetwork { key }) => {
                            project.networks.get(key).map(|n| &n.name)
                        }
                        _ => None,
                    },
                };
                let right = right.is_some() && right == project.networks.get(key).map(|n| &n.name);
                (!wanted || !right).then(|| Violation::WrongNetwork(step.id, key.clone()))
            }
            _ => None,
        };
        self.found.extend(violation);
    }

    fn at_rest(&mut self, step: &Step, resource: &Resource) {
        if self.memory.own.is_some() && self.memory.own.as_ref() == step.op.container() {
            self.found.push(Violation::Own(step.id));
        }
        let name = || resource.to_string();
        if self.memory.busy.contains(resource) {
            self.found.push(Violation::Busy(step.id, name()));
        }
        let held = match resource {
            Resource::Slot(slot) => self.memory.holds.of(slot),
            _ => self.memory.holds.of_stack(),
        };
        if held.is_some() {
            self.found.push(Violation::Held(step.id, name()));
        }
        let backoff = self.memory.backoff_of(resource).filter(|b| b.not_before > self.now.mono);
        // How often a process fell is no reason to leave what surrounds it as it is.
        let mends =
            matches!(step.op, Op::Connect { .. } | Op::Disconnect { .. } | Op::Rename { .. });
        if backoff.is_some_and(|b| !(mends && b.last.is_empty())) {
            self.found.push(Violation::Backoff(step.id, name()));
        }
    }
}
