//! In which order a plan may do things.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changed, Check, Makes, Violation, used_by};
use crate::compose::types::Condition;
use crate::desired::ReadinessPolicy;
use crate::engine::ContainerId;
use crate::observed::{Container, ContainerState, Health, Slot};
use crate::plan::step::{Cause, Op, Resource, Step, StepId, Target};
use crate::probe::Answer;

impl<'a> Check<'a> {
    pub(super) fn order(&mut self) {
        let changes = self.by_container();
        self.targets();
        self.removals(&changes);
        self.replacements(&changes);
        self.depletion(&changes);
        self.kept();
        self.detached(&changes);
        self.unordered(&changes);
        self.starts();
    }

    fn targets(&mut self) {
        for step in self.steps() {
            for (made, what) in used_by(&step.op) {
                let makes = self.plan.step(made).and_then(|s| Makes::of(&s.op));
                if makes != Some(what) || !self.precedes(made, step.id) {
                    self.found.push(Violation::DanglingTarget(step.id, made));
                }
            }
        }
    }

    fn removals(&mut self, changes: &BTreeMap<Changed<'a>, Vec<&'a Step>>) {
        for (changed, steps) in changes {
            let Changed::Existing(id) = changed else { continue };
            let Some(container) = self.existing(id).filter(|c| c.is_live()) else { continue };
            for remove in steps.iter().filter(|s| matches!(s.op, Op::Remove { .. })) {
                let mut stops = steps.iter().filter(|s| matches!(s.op, Op::Stop { .. }));
                if !stops.any(|s| self.precedes(s.id, remove.id)) {
                    let id = container.id.clone();
                    self.found.push(Violation::RemovesRunning(remove.id, id));
                }
            }
        }
    }

    /// A replacement is made first, under a name that is free by then; nothing is made twice.
    fn replacements(&mut self, changes: &BTreeMap<Changed<'a>, Vec<&'a Step>>) {
        let names: BTreeMap<&str, &Container> =
            self.observed.all().map(|c| (c.name.as_str(), c)).collect();
        let taken: BTreeSet<Slot> = self
            .observed
            .all()
            .filter(|c| c.state != ContainerState::Removing)
            .filter_map(Container::slot)
            .collect();
        for create in self.steps() {
            let Op::Create { slot, name, replaces, parents, .. } = &create.op else { continue };
            if replaces.is_none() && taken.contains(slot) {
                self.found.push(Violation::Duplicate(create.id, slot.to_string()));
            }
            if let Some(holder) = names.get(name.as_str()) {
                let frees = |s: &&&Step| matches!(s.op, Op::Rename { .. } | Op::Remove { .. });
                let mut freed = of(changes, &holder.id).iter().filter(frees);
                if !freed.any(|s| self.precedes(s.id, create.id)) {
                    self.found.push(Violation::Duplicate(create.id, name.clone()));
                }
            }
            for step in replaces.iter().flat_map(|old| of(changes, old)) {
                let ends = matches!(step.op, Op::Stop { .. } | Op::Remove { .. });
                if let (Some(old), true) = (step.op.container(), ends)
                    && !self.precedes(create.id, step.id)
                {
                    self.found.push(Violation::StopsBeforeCreate(step.id, old.clone()));
                }
            }
            for (_, parent) in parents {
                let Target::Existing(id) = parent else { continue };
                if of(changes, id).iter().any(|s| matches!(s.op, Op::Remove { .. })) {
                    self.found.push(Violation::ForeignContainer(create.id, id.clone()));
                }
            }
        }
    }

    /// A service doesn't lose a container that it wants.
    fn depletion(&mut self, changes: &BTreeMap<Changed<'a>, Vec<&'a Step>>) {
        let mut slots: BTreeMap<&str, (BTreeSet<u32>, BTreeSet<u32>)> = BTreeMap::new();
        for container in self.observed.containers.values().filter(|c| self.is_ours(c)) {
            let (Some(service), true) = (&container.service, container.number > 0) else {
                continue;
            };
            let (before, after) = slots.entry(service).or_default();
            let removed =
                of(changes, &container.id).iter().any(|s| matches!(s.op, Op::Remove { .. }));
            before.insert(container.number);
            if !removed {
                after.insert(container.number);
            }
        }
        let mut last: BTreeMap<String, StepId> = BTreeMap::new();
        for step in self.steps() {
            match &step.op {
                Op::Create { slot, .. } | Op::Recreate { slot, .. } => {
                    slots.entry(&slot.service).or_default().1.insert(slot.number);
                }
                Op::Remove { container, .. } => {
                    let service = self.existing(container).and_then(|c| c.service.clone());
                    last.extend(service.map(|service| (service, step.id)));
                }
                _ => {}
            }
        }
        for (service, step) in last {
            let wanted =
                self.desired.project.services.get(&service).map_or(0, |s| s.scale as usize);
            let (before, after) = slots.get(service.as_str()).cloned().unwrap_or_default();
            if after.len() < wanted.min(before.len()) {
                self.found.push(Violation::Depletes(step, service));
            }
        }
    }

    fn detached(&mut self, changes: &BTreeMap<Changed<'a>, Vec<&'a Step>>) {
        for (changed, steps) in changes {
            let Changed::Existing(id) = *changed else { continue };
            // What is kept, stopped, is attached again when it comes back.
            if self.keeps(id) && steps.iter().any(|s| matches!(s.op, Op::Stop { .. })) {
                continue;
            }
            for step in steps.iter().filter(|s| matches!(s.op, Op::Disconnect { .. })) {
                let network = self.network_name(&step.op);
                let mended = steps.iter().any(|later| {
                    let same = matches!(later.op, Op::Connect { .. })
                        && self.network_name(&later.op) == network;
                    (same || matches!(later.op, Op::Remove { .. }))
                        && self.precedes(step.id, later.id)
                });
                if !mended || network.is_none() {
                    let network = network.unwrap_or("an unknown network").to_owned();
                    self.found.push(Violation::LeftDetached(step.id, id.clone(), network));
                }
            }
        }
    }

    /// An update of this plan or of an earlier one keeps this container.
    fn keeps(&self, id: &ContainerId) -> bool {
        let mut steps = self.steps().iter();
        steps.any(|s| matches!(&s.op, Op::Create { keeps: Some(kept), .. } if kept == id))
            || self.memory.updates.values().any(|update| update.kept == *id)
    }

    /// What an update keeps goes only with what it is kept for; only what it kept is made again.
    fn kept(&mut self) {
        for step in self.steps() {
            match &step.op {
                Op::Remove { container, .. } if !self.may_go(step, container) => {
                    self.found.push(Violation::RemovesKept(step.id, container.clone()));
                }
                Op::Recreate { slot, lost, .. } => {
                    let update = self.memory.updates.get(slot);
                    let gone = self.existing(lost).is_none();
                    if !gone || update.is_none_or(|update| update.kept != *lost) {
                        self.found.push(Violation::ForeignContainer(step.id, lost.clone()));
                    }
                }
                _ => {}
            }
        }
    }

    fn may_go(&self, step: &Step, container: &ContainerId) -> bool {
        let update = self.memory.updates.iter().find(|(_, update)| update.kept == *container);
        let Some((slot, _)) = update else { return true };
        let unwanted = matches!(step.cause, Cause::ScaledDown | Cause::Orphan);
        let mut steps = self.steps().iter();
        unwanted || steps.any(|s| matches!(&s.op, Op::Create { slot: made, .. } if made == slot))
    }

    /// Two changes of one container come one after the other, unless they concern two networks;
    /// so do two changes of one network, volume or image.
    fn unordered(&mut self, changes: &BTreeMap<Changed<'a>, Vec<&'a Step>>) {
        let mut supplies: BTreeMap<&Resource, Vec<&Step>> = BTreeMap::new();
        for step in self.steps() {
            if matches!(
                step.op,
                Op::CreateNetwork { .. }
                    | Op::RemoveNetwork { .. }
                    | Op::CreateVolume { .. }
                    | Op::Pull { .. }
            ) {
                supplies.entry(&step.resource).or_default().push(step);
            }
        }
        for steps in changes.values().chain(supplies.values()) {
            for (i, first) in steps.iter().enumerate() {
                for then in &steps[i + 1..] {
                    let networks = (self.network_name(&first.op), self.network_name(&then.op));
                    let apart = matches!(networks, (Some(a), Some(b)) if a != b);
                    if !apart && !self.precedes(first.id, then.id) {
                        self.found.push(Violation::Unordered(first.id, then.id));
                    }
                }
            }
        }
    }

    fn starts(&mut self) {
        let mut starts: BTreeMap<String, Vec<StepId>> = BTreeMap::new();
        for step in self.steps() {
            if matches!(step.op, Op::Start { .. } | Op::Restart { .. } | Op::Unpause { .. })
                && let Some(slot) = self.slot_of(&step.op)
            {
                starts.entry(slot.service).or_default().push(step.id);
            }
        }
        let mut facts = BTreeMap::new();
        for step in self.steps().iter().filter(|s| matches!(s.op, Op::Start { .. })) {
            let Some(slot) = self.slot_of(&step.op) else { continue };
            let Some(service) = self.desired.project.services.get(&slot.service) else { continue };
            for (name, dependency) in service.depends_on.iter().filter(|(_, d)| d.required) {
                let Some(needed) = self.desired.project.services.get(name) else { continue };
                let coming = starts.get(name).map_or(&[][..], Vec::as_slice);
                if coming.iter().any(|start| !self.precedes(*start, step.id)) {
                    let (service, name) = (slot.service.clone(), name.clone());
                    self.found.push(Violation::StartsBeforeDependency(step.id, service, name));
                    continue;
                }
                let fact = facts.entry(name).or_insert_with(|| self.fact(name, needed.scale));
                let (met, word) = match dependency.condition {
                    Condition::Started => (fact.up || !coming.is_empty(), "started"),
                    Condition::Healthy => (fact.healthy && coming.is_empty(), "healthy"),
                    Condition::CompletedSuccessfully => (fact.completed, "completed"),
                };
                if !met && needed.scale > 0 {
                    let (service, name) = (slot.service.clone(), name.clone());
                    self.found.push(Violation::UnmetDependency(step.id, service, name, word));
                }
            }
        }
    }

    /// What the observed state says of a service.
    fn fact(&self, name: &str, scale: u32) -> Fact {
        let count = |fits: &dyn Fn(&Container) -> bool| {
            let ours = self.by_service.get(name).into_iter().flatten();
            ours.filter(|c| c.number > 0 && fits(c))
                .map(|c| c.number)
                .collect::<BTreeSet<u32>>()
                .len()
                >= scale as usize
        };
        let done = |c: &Container| c.state == ContainerState::Exited && c.exit_code == Some(0);
        let remembered = self.memory.jobs.contains_key(name);
        let running = |c: &Container| c.state == ContainerState::Running;
        Fact {
            up: remembered || count(&|c| running(c) || done(c)),
            healthy: remembered || count(&|c| running(c) && self.is_ready(c) || done(c)),
            completed: remembered || count(&done),
        }
    }

    fn is_ready(&self, container: &Container) -> bool {
        let answer = container
            .slot()
            .and_then(|slot| self.observed.probes.get(&slot))
            .filter(|p| p.container == container.id)
            .filter(|p| container.started.is_some_and(|started| started.0 == p.started))
            .map(|p| p.last.answer);
        let docker = container.health == Health::Healthy;
        let driver = answer == Some(Answer::Ready);
        let refuses = answer == Some(Answer::NotReady);
        match self.desired.policy.readiness {
            // With no healthcheck and nobody who can tell, running is all there is.
            _ if !container.has_healthcheck && !driver && !refuses => true,
            ReadinessPolicy::Docker if container.has_healthcheck => docker,
            ReadinessPolicy::Docker => driver,
            ReadinessPolicy::Either => docker || driver,
            ReadinessPolicy::Both => (docker || !container.has_healthcheck) && !refuses,
        }
    }
}

#[derive(Clone, Copy)]
struct Fact {
    up: bool,
    healthy: bool,
    completed: bool,
}

fn of<'m, 'a>(
    changes: &'m BTreeMap<Changed<'a>, Vec<&'a Step>>,
    id: &'a ContainerId,
) -> &'m [&'a Step] {
    changes.get(&Changed::Existing(id)).map_or(&[], Vec::as_slice)
}
