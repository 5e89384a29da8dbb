//! Creating a slot's container, and replacing one that no longer fits: pull and create first,
//! then stop the old one, which is kept until the new one has proved itself.

use super::service::{SlotPlan, SlotState};
use super::slots::{container_name, successor_name, temporary_name};
use super::step::{Cause, Op, StepId, Target};
use super::{Planner, Standing, SupplyState};
use crate::compose::types::{Namespace, Service};
use crate::observed::{Container, ContainerState};

impl<'a> Planner<'a> {
    /// Why a container doesn't fit its slot any more; `None` when it does.
    pub(super) fn drift(&self, plan: &SlotPlan<'_>, container: &Container) -> Option<Cause> {
        if container.state == ContainerState::Dead {
            return Some(Cause::Dead);
        }
        if !container.is_live() && self.memory.stuck.contains(&container.id) {
            return Some(Cause::Unstartable);
        }
        let parents = plan.parents.unwrap_or_default();
        let Some(wanted) = plan.hash else {
            let parent = parents.iter().find(|(_, t)| matches!(t, Target::Created(_)));
            return parent.map(|(name, _)| Cause::ParentReplaced(name.clone()));
        };
        let hash = container.config_hash.as_deref();
        if hash != Some(wanted) {
            // A namespace of a container that is gone can't be had back, whoever wrote the hash.
            if let Some(name) = lost_parent(plan.service, parents, container) {
                return Some(Cause::ParentReplaced(name));
            }
            // No hash means that nobody manages it: used as it is.
            let unmanaged = hash.is_none();
            if unmanaged || self.written_by_other_version(plan, container, wanted) {
                return None;
            }
            return Some(Cause::ConfigChanged);
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

    pub(super) fn image_id(&self, reference: &str) -> Option<&str> {
        self.image_ids.get(reference).copied()
    }

    /// Steps that bring the networks, volumes, image and parents which a new container needs, or
    /// why it can't have them now.
    fn supplies(&mut self, plan: &SlotPlan<'_>) -> Result<Vec<StepId>, Standing> {
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
        for (_, target) in plan.parents.unwrap_or_default() {
            if let Target::Created(step) = target {
                after.push(*step);
            }
        }
        Ok(after)
    }

    /// A slot without a container.
    pub(super) fn create(&mut self, plan: &SlotPlan<'_>, state: SlotState) -> SlotState {
        if let Some(standing) = self.misplaced(plan) {
            return self.wait(plan, state, standing);
        }
        if let Some(standing) =
            self.recovery_refused(&plan.slot).or_else(|| self.braked(&plan.slot))
        {
            return self.wait(plan, state, standing);
        }
        let mut after = match self.supplies(plan) {
            Ok(supplies) => supplies,
            Err(standing) => return self.wait(plan, state, standing),
        };
        let name = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        match self.free_name(plan, &name) {
            Ok(step) => after.extend(step),
            Err(why) => return self.wait(plan, state, Standing::Blocked(why)),
        }
        let cause = if self.was_there(plan) { Cause::DeletedElsewhere } else { Cause::Missing };
        let created = self.push_create(plan, name, (None, None), cause, after);
        let mut before_start = vec![created];
        before_start.extend(self.connect_created(plan.service, &plan.slot, created));
        let target = Some(Target::Created(created));
        match self.start_blocked(plan, None) {
            Ok(after) => before_start.extend(after),
            Err(standing) => {
                let state = SlotState { target, ..state };
                return self.wait(plan, state, standing);
            }
        }
        self.take_turn(&plan.slot);
        let op = Op::Start { container: Target::Created(created) };
        let start = self.push(plan.resource(), op, Cause::NewContainer, before_start);
        SlotState { target, start: Some(start), ..state }
    }

    /// The past knows a container of this slot. A slot that scaling up adds is merely missing.
    fn was_there(&self, plan: &SlotPlan<'_>) -> bool {
        let service = plan.service.name.as_str();
        let alone = !self.by_service.contains_key(service);
        self.memory.touched.contains_key(&plan.slot)
            || alone && self.memory.applied.contains_key(service)
    }

    fn push_create(
        &mut self,
        plan: &SlotPlan<'_>,
        name: String,
        (replaces, keeps): (Option<&Container>, Option<&Container>),
        cause: Cause,
        after: Vec<StepId>,
    ) -> StepId {
        let op = Op::Create {
            slot: plan.slot.clone(),
            name,
            replaces: replaces.map(|c| c.id.clone()),
            keeps: keeps.map(|c| c.id.clone()),
            parents: plan.parents.unwrap_or_default().to_vec(),
            twins: self.twins_of(plan.service),
        };
        self.push(plan.resource(), op, cause, after)
    }

    /// A slot whose container no longer fits. The old one runs until the new one can start.
    pub(super) fn replace(
        &mut self,
        plan: &SlotPlan<'_>,
        old: &'a Container,
        group: &[&'a Container],
        cause: Cause,
        state: SlotState,
    ) -> SlotState {
        if group.len() > 1 && !self.may_finish(&plan.slot, group) {
            return self.postpone(plan, old, state, Self::unfinished());
        }
        let kept = self.worth_keeping(plan, old, group, &cause);
        if let Some(other) = kept.and_then(|_| self.updated_before(&plan.slot)) {
            let what = format!("the update of {other}");
            return self.postpone(plan, old, state, Standing::WaitingOn(what));
        }
        if !old.is_live()
            && let Some(standing) =
                self.recovery_refused(&plan.slot).or_else(|| self.braked(&plan.slot))
        {
            return self.postpone(plan, old, state, standing);
        }
        let before_stop = match self.start_blocked(plan, Some(old)) {
            Ok(after) => after,
            Err(standing) => return self.postpone(plan, old, state, standing),
        };
        let mut after = match self.supplies(plan) {
            Ok(supplies) => supplies,
            Err(standing) => return self.keep_working(plan, old, &cause, state, standing),
        };
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let name = match self.new_name(plan, group, kept, &wanted) {
            Ok((name, step)) => {
                after.extend(step);
                name
            }
            Err(why) => return self.postpone(plan, old, state, Standing::Blocked(why)),
        };
        let resource = plan.resource();
        let created = self.push_create(plan, name.clone(), (Some(old), kept), cause, after);
        let mut ready = vec![created];
        ready.extend(self.connect_created(plan.service, &plan.slot, created));
        ready.extend(before_stop);
        let mut gone = Vec::new();
        if kept.is_some() {
            self.updating.insert(plan.slot.service.clone(), plan.slot.clone());
        }
        for container in group {
            if kept.is_some_and(|kept| kept.id == container.id) {
                gone.extend(self.set_aside(plan, container, ready.clone()));
            } else if container.state != ContainerState::Removing {
                let cause = Cause::Replacement;
                gone.push(self.stop_and_remove(&resource, container, cause, ready.clone()));
            }
        }
        if name != wanted {
            let op = Op::Rename { container: Target::Created(created), name: wanted };
            gone.push(self.push(resource.clone(), op, Cause::Replacement, gone.clone()));
        }
        ready.extend(gone);
        if !old.is_live() {
            self.take_turn(&plan.slot);
        }
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

    /// The name to create a replacement under: the real one, unless the slot's own containers
    /// hold it; then a temporary one that none of them has.
    fn new_name(
        &mut self,
        plan: &SlotPlan<'_>,
        group: &[&'a Container],
        kept: Option<&Container>,
        wanted: &str,
    ) -> Result<(String, Option<StepId>), String> {
        let holder = self.names.get(wanted).copied();
        if !holder.is_some_and(|h| group.iter().any(|c| c.id == h.id)) {
            return Ok((wanted.to_owned(), self.free_name(plan, wanted)?));
        }
        let others = group.iter().filter(|c| kept.is_none_or(|kept| kept.id != c.id));
        let names = others.map(|c| temporary_name(c, wanted));
        let mut names = names.chain(kept.map(|kept| successor_name(kept, wanted)));
        let free = names.find(|name| !self.names.contains_key(name.as_str()));
        free.map(|name| (name, None))
            .ok_or_else(|| format!("every temporary name for {wanted} is taken"))
    }

    /// A replacement that can't happen now: the old container goes on, attached as it was.
    fn postpone(
        &mut self,
        plan: &SlotPlan<'_>,
        old: &'a Container,
        state: SlotState,
        standing: Standing,
    ) -> SlotState {
        let held_back = self.memory.backoff.get(&plan.slot);
        if old.is_live() && held_back.is_none_or(|b| b.not_before <= self.now.mono) {
            let (mut mends, _) = self.endpoint_mends(plan.service, old);
            mends.retain(|m| m.cause == Cause::StaleNetwork);
            self.mend_endpoints(plan, old, mends, &[]);
        }
        self.wait(plan, state, standing)
    }

    /// A replacement that lacks something: the old version keeps working, and is started again if
    /// it has ended.
    fn keep_working(
        &mut self,
        plan: &SlotPlan<'_>,
        old: &'a Container,
        cause: &Cause,
        state: SlotState,
        standing: Standing,
    ) -> SlotState {
        let works = matches!(cause, Cause::ConfigChanged | Cause::ImageChanged);
        let blocked = matches!(standing, Standing::Blocked(_));
        if old.is_live() || !works || !blocked || plan.traits.job {
            return self.postpone(plan, old, state, standing);
        }
        self.note(plan.resource(), standing);
        self.keep(plan, old, &[old], state)
    }
}

/// The service whose container this one shares a namespace or volumes with, where that container
/// isn't the present one any more.
fn lost_parent(
    service: &Service,
    parents: &[(String, Target)],
    container: &Container,
) -> Option<String> {
    let modes = [
        (&service.network_mode, &container.network_mode),
        (&service.ipc, &container.ipc_mode),
        (&service.pid, &container.pid_mode),
    ];
    let namespaces = modes.into_iter().filter_map(|(wanted, have)| match wanted {
        Some(Namespace::Service(name)) => Some((name.as_str(), have.strip_prefix("container:")?)),
        _ => None,
    });
    let present = |name: &str| {
        parents.iter().find_map(|(parent, target)| match target {
            Target::Existing(id) if parent == name => Some(id.0.as_str()),
            _ => None,
        })
    };
    let mut lost = namespaces.filter(|(name, id)| present(name).is_some_and(|p| p != *id));
    if let Some((name, _)) = lost.next() {
        return Some(name.to_owned());
    }
    let volumes: Vec<&str> =
        container.volumes_from.iter().map(|v| v.split(':').next().unwrap_or_default()).collect();
    let mut sources = service.volumes_from.iter().map(|v| v.split(':').next().unwrap_or_default());
    let lost =
        |name: &&str| !volumes.is_empty() && present(name).is_some_and(|p| !volumes.contains(&p));
    sources.find(lost).map(str::to_owned)
}
