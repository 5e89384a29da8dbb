//! Creating a slot's container, and replacing one that no longer fits: pull and create first,
//! then stop the old one.

use super::service::{SlotPlan, SlotState};
use super::slots::{container_name, temporary_name};
use super::step::{Cause, Op, Resource, StepId, Target};
use super::{Planner, Standing, SupplyState};
use crate::compose::types::Service;
use crate::observed::{Container, ContainerState};

/// What a create call needs first.
struct Supplies {
    after: Vec<StepId>,
}

impl<'a> Planner<'a> {
    /// Why a container doesn't fit its slot any more; `None` when it does.
    pub(super) fn drift(&self, plan: &SlotPlan<'_>, container: &Container) -> Option<Cause> {
        if container.state == ContainerState::Dead {
            return Some(Cause::Dead);
        }
        let Some(wanted) = &plan.hash else {
            let parent = plan.parents.iter().find(|(_, t)| matches!(t, Target::Created(_)));
            return parent.map(|(name, _)| Cause::ParentReplaced(name.clone()));
        };
        // No hash means that nobody manages it: used as it is.
        let hash = container.config_hash.as_ref()?;
        if hash != wanted {
            if self.written_by_other_version(plan, container, wanted) {
                return None;
            }
            let parent = plan.parents.first().map(|(name, _)| name.clone());
            return Some(match parent {
                Some(name) if self.only_parent_differs(plan, container) => {
                    Cause::ParentReplaced(name)
                }
                _ => Cause::ConfigChanged,
            });
        }
        let image = plan.service.image.as_deref().and_then(|r| self.image_id(r))?;
        (image != container.image_id).then_some(Cause::ImageChanged)
    }

    /// Another Compose version hashes differently: without an edit since, leave it.
    fn written_by_other_version(
        &self,
        plan: &SlotPlan<'_>,
        container: &Container,
        wanted: &str,
    ) -> bool {
        let version = container.compose_version.as_deref();
        let other =
            version.is_some_and(|v| v.trim_start_matches('v') != crate::compose::COMPOSE_VERSION);
        let edited = self.memory.applied.get(&plan.service.name).is_some_and(|h| h != wanted);
        other && !edited
    }

    /// Whether the container points at a parent that isn't the present one.
    fn only_parent_differs(&self, plan: &SlotPlan<'_>, container: &Container) -> bool {
        let modes = [&container.network_mode, &container.ipc_mode, &container.pid_mode];
        let shared = modes.iter().filter_map(|m| m.strip_prefix("container:"));
        let mut stale = shared.filter(|id| {
            !plan.parents.iter().any(|(_, t)| matches!(t, Target::Existing(p) if p.0 == **id))
        });
        stale.next().is_some()
    }

    pub(super) fn image_id(&self, reference: &str) -> Option<&str> {
        self.image_ids.get(&crate::observed::canonical_reference(reference)).copied()
    }

    /// Networks, volumes, image and parents that a new container needs, or why it can't have
    /// them now.
    fn supplies(&mut self, plan: &SlotPlan<'_>) -> Result<Supplies, Standing> {
        if let Some(standing) = self.networks_blocked(plan.service) {
            return Err(standing);
        }
        if let Some(standing) = self.volumes_blocked(plan.service) {
            return Err(standing);
        }
        if let Some(standing) = self.slot_backoff(&plan.slot) {
            return Err(standing);
        }
        let mut after = self.network_steps(plan.service);
        after.extend(self.volume_steps(plan.service));
        match self.image(plan.service) {
            SupplyState::Present => {}
            SupplyState::Coming(step) => after.push(step),
            SupplyState::Blocked(why) => return Err(Standing::Blocked(why)),
            SupplyState::Busy => return Err(Standing::WaitingOn("image".into())),
        }
        for (_, target) in &plan.parents {
            if let Target::Created(step) = target {
                after.push(*step);
            }
        }
        Ok(Supplies { after })
    }

    /// A slot without a container.
    pub(super) fn create(&mut self, plan: &SlotPlan<'_>, state: SlotState) -> SlotState {
        let supplies = match self.supplies(plan) {
            Ok(supplies) => supplies,
            Err(standing) => return self.wait(plan, state, standing),
        };
        let name = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let mut after = supplies.after;
        match self.free_name(plan, &name) {
            Ok(step) => after.extend(step),
            Err(why) => return self.wait(plan, state, Standing::Blocked(why)),
        }
        let cause = if self.memory.applied.contains_key(&plan.service.name) {
            Cause::DeletedElsewhere
        } else {
            Cause::Missing
        };
        let op = Op::Create {
            slot: plan.slot.clone(),
            name,
            replaces: None,
            parents: plan.parents.clone(),
        };
        let created = self.push(plan.resource(), op, cause, after);
        let mut before_start = vec![created];
        before_start.extend(self.connect_created(plan.service, &plan.slot, created));
        let target = Some(Target::Created(created));
        if let Some(standing) = self.start_blocked(plan, None) {
            let state = SlotState { target, ..state };
            return self.wait(plan, state, standing);
        }
        before_start.extend(&plan.gate.after);
        let op = Op::Start { container: Target::Created(created) };
        let start = self.push(plan.resource(), op, Cause::NewContainer, before_start);
        SlotState { target, start: Some(start), ..state }
    }

    /// A slot whose container no longer fits. The old one runs until the new one can start.
    pub(super) fn replace(
        &mut self,
        plan: &SlotPlan<'_>,
        old: &'a Container,
        leftovers: &[&'a Container],
        cause: Cause,
        state: SlotState,
    ) -> SlotState {
        if old.state == ContainerState::Removing {
            return self.wait(plan, state, Standing::WaitingOn("removal".into()));
        }
        if let Some(standing) = self.start_blocked(plan, Some(old)) {
            return self.wait(plan, state, standing);
        }
        let supplies = match self.supplies(plan) {
            Ok(supplies) => supplies,
            Err(standing) => return self.wait(plan, state, standing),
        };
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let mut after = supplies.after;
        let holder = self.names.get(wanted.as_str()).copied();
        let taken = holder.is_some_and(|h| h.slot().as_ref() == Some(&plan.slot));
        let name = if taken { temporary_name(old, &wanted) } else { wanted.clone() };
        match self.free_name(plan, &name) {
            Ok(step) => after.extend(step),
            Err(why) => return self.wait(plan, state, Standing::Blocked(why)),
        }
        let op = Op::Create {
            slot: plan.slot.clone(),
            name: name.clone(),
            replaces: Some(old.id.clone()),
            parents: plan.parents.clone(),
        };
        let resource = plan.resource();
        let created = self.push(resource.clone(), op, cause, after);
        let mut ready = vec![created];
        ready.extend(self.connect_created(plan.service, &plan.slot, created));
        ready.extend(&plan.gate.after);
        let mut gone = Vec::new();
        for container in std::iter::once(&old).chain(leftovers) {
            gone.push(self.remove_old(&resource, container, &ready));
        }
        if name != wanted {
            let op = Op::Rename { container: Target::Created(created), name: wanted };
            gone.push(self.push(resource.clone(), op, Cause::Replacement, gone.clone()));
        }
        ready.extend(gone);
        let op = Op::Start { container: Target::Created(created) };
        let start = self.push(resource, op, Cause::Replacement, ready);
        SlotState {
            running: false,
            ready: false,
            start: Some(start),
            target: Some(Target::Created(created)),
            ..state
        }
    }

    fn remove_old(&mut self, resource: &Resource, old: &Container, after: &[StepId]) -> StepId {
        let mut after = after.to_vec();
        if old.is_live() {
            let op = Op::Stop { container: old.id.clone() };
            after = vec![self.push(resource.clone(), op, Cause::Replacement, after)];
        }
        let op = Op::Remove { container: old.id.clone(), force: false };
        self.push(resource.clone(), op, Cause::Replacement, after)
    }

    /// Clears `name` for a new container: another container of this project gives it back, any
    /// other blocks.
    fn free_name(&mut self, plan: &SlotPlan<'_>, name: &str) -> Result<Option<StepId>, String> {
        let Some(holder) = self.names.get(name).copied() else { return Ok(None) };
        let owner = holder
            .slot()
            .filter(|s| s.project == self.desired.project.name && *s != plan.slot)
            .and_then(|s| Some((self.desired.project.services.get(&s.service)?, s)));
        let Some((service, slot)) = owner else {
            return Err(format!("the name {name} is taken by container {}", holder.id));
        };
        let own = container_name(&self.desired.project.name, service, slot.number);
        if own == name || self.names.contains_key(own.as_str()) {
            return Err(format!("the name {name} is taken by service {slot}"));
        }
        let op = Op::Rename { container: Target::Existing(holder.id.clone()), name: own };
        Ok(Some(self.push(Resource::Slot(slot), op, Cause::NameInTheWay, vec![])))
    }

    /// Names the live container that holds a host port of this service, if any.
    pub(super) fn port_holder(&self, service: &Service, own: Option<&Container>) -> Option<String> {
        for port in &service.ports {
            let Some(host) = port.published.as_ref().and_then(|p| p.parse::<u16>().ok()) else {
                continue;
            };
            let holders = self.ports.get(&(host, port.protocol.as_str()));
            for (ip, holder) in holders.into_iter().flatten() {
                let same_slot = holder.project.as_deref() == Some(&self.desired.project.name)
                    && holder.service.as_deref() == Some(service.name.as_str());
                let is_own = own.is_some_and(|c| c.id == holder.id);
                if !is_own && !same_slot && overlaps(port.host_ip.as_deref(), ip) {
                    return Some(format!("port {host} is bound by container {}", holder.name));
                }
            }
        }
        None
    }
}

/// Whether two host addresses of a port exclude one another.
fn overlaps(wanted: Option<&str>, held: &str) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    match wanted {
        None => true,
        Some(wanted) => any(wanted) || any(held) || wanted == held,
    }
}
