//! One service: its slots, what they wait for, and what happens to each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use super::gate::Gate;
use super::memory::Backoff;
use super::readiness::{Verdict, judge};
use super::report::{SlotReport, SlotStatus};
use super::step::{Cause, Resource, StepId, Target};
use super::update::Stage;
use super::{Planner, ServiceState, Standing};
use crate::compose::types::{RestartPolicy, Service};
use crate::desired::{ServiceTraits, parents};
use crate::observed::{Container, ContainerState, Slot, Yield};

/// Whoever asks whether all is ready isn't told so before a service that nobody can tell is ready
/// has run this long.
const SETTLING: Duration = Duration::from_secs(1);

/// One slot under planning.
pub(super) struct SlotPlan<'p> {
    pub service: &'p Service,
    pub traits: &'p ServiceTraits,
    pub slot: Slot,
    pub gate: &'p Gate,
    /// Parents of its namespaces, by service; `None` while one isn't there.
    pub parents: Option<&'p [(String, Target)]>,
    /// Hash that its container must carry; `None` when a parent is yet to be made.
    pub hash: Option<&'p str>,
}

impl SlotPlan<'_> {
    pub fn resource(&self) -> Resource {
        Resource::Slot(self.slot.clone())
    }
}

/// What planning one slot leads to.
#[derive(Default)]
pub(super) struct SlotState {
    pub running: bool,
    pub ready: bool,
    pub completed: bool,
    /// It waits for something that comes by itself.
    pub pending: bool,
    pub start: Option<StepId>,
    pub target: Option<Target>,
    pub report: SlotReport,
}

impl<'a> Planner<'a> {
    pub(super) fn service(&mut self, service: &'a Service) {
        let name = service.name.as_str();
        let default = ServiceTraits::default();
        let traits = self.desired.services.get(name).unwrap_or(&default);
        let gate = self.gate(service);
        let found = self.parent_targets(service);
        let hash = self.wanted_hash(service, found.as_deref());
        let assignment = self.assign(service, hash.as_deref());
        if self.in_scope(name) {
            for surplus in assignment.surplus {
                if !self.is_held(surplus) {
                    self.retire(surplus, Cause::ScaledDown, vec![]);
                }
            }
        }
        let slots = &assignment.slots;
        let held = slots.iter().filter(|(slot, _)| self.memory.holds.of(slot).is_some()).count();
        let all_held = held > 0 && held == slots.len();
        let mut state = ServiceState {
            up: true,
            ready: true,
            completed: true,
            empty: assignment.slots.is_empty(),
            held: all_held,
            pending: true,
            ..ServiceState::default()
        };
        for (slot, group) in assignment.slots {
            let plan = SlotPlan {
                service,
                traits,
                slot,
                gate: &gate,
                parents: found.as_deref(),
                hash: hash.as_deref(),
            };
            let mut result = self.slot(&plan, &group);
            // Beside others that serve, one that is held is as good as unwanted.
            let counts = all_held || self.memory.holds.of(&plan.slot).is_none();
            state.add(&result, group.first().copied(), counts);
            let checked = traits.probed || group.first().is_none_or(|c| c.checks_itself());
            state.unchecked |= result.running && !checked;
            result.report.young = !checked
                && result.report.status == SlotStatus::Ready
                && group.first().is_some_and(|container| self.is_young(container));
            self.report.slots.insert(plan.slot, result.report);
        }
        self.services.insert(name, state);
    }

    /// It may have been started only to fall. Wakes when that is over.
    fn is_young(&mut self, container: &Container) -> bool {
        let Some(up) = self.memory.ages.since_start(container, self.now) else { return false };
        if up < SETTLING {
            self.report.wake_at(self.now.mono.after(SETTLING.saturating_sub(up)));
        }
        up < SETTLING
    }

    /// The containers whose namespaces this service shares; `None` while one isn't there.
    fn parent_targets(&self, service: &Service) -> Option<Vec<(String, Target)>> {
        parents(service)
            .into_iter()
            .map(|p| Some((p.to_owned(), self.services.get(p)?.first.clone()?)))
            .collect()
    }

    /// A service whose container this one is made around, and that a step works on: that container
    /// may be about to go.
    fn parent_at_work<'s>(&self, service: &'s Service) -> Option<&'s str> {
        let project = &self.desired.project;
        parents(service).into_iter().find(|name| {
            let scale = project.services.get(*name).map_or(0, |s| s.scale);
            (1..=scale).any(|number| {
                let (project, service) = (project.name.clone(), (*name).to_owned());
                self.memory.busy.contains(&Resource::Slot(Slot { project, service, number }))
            })
        })
    }

    fn wanted_hash(
        &self,
        service: &Service,
        parents: Option<&[(String, Target)]>,
    ) -> Option<Cow<'a, str>> {
        if let Some(hash) = self.desired.hashes.get(&service.name) {
            return Some(Cow::Borrowed(hash));
        }
        let mut ids = BTreeMap::new();
        for (name, target) in parents? {
            match target {
                Target::Existing(id) => ids.insert(name.clone(), id.0.clone()),
                Target::Created(_) => return None,
            };
        }
        Some(Cow::Owned(self.desired.bound_hash(service, &ids)))
    }

    fn slot(&mut self, plan: &SlotPlan<'_>, group: &[&'a Container]) -> SlotState {
        let keeper = group.first().copied();
        let mut state = match keeper {
            Some(container) => self.as_observed(plan, container),
            None => SlotState {
                report: SlotReport { status: SlotStatus::Missing, ..SlotReport::default() },
                ..SlotState::default()
            },
        };
        if !self.memory.busy.is_empty() && self.memory.busy.contains(&plan.resource()) {
            self.note(plan.resource(), Standing::InProgress);
            // What a step works on may be about to go: nobody builds upon it before that is over.
            return SlotState {
                pending: true,
                running: false,
                ready: false,
                completed: false,
                ..state
            };
        }
        if let Some(hold) = self.memory.holds.of(&plan.slot) {
            let why = hold.why();
            if !state.running && state.report.status != SlotStatus::Paused {
                state.report.status = SlotStatus::Held;
            }
            state.report.message = format!("{why}, since {}", hold.since);
            self.note(plan.resource(), Standing::Held(why));
            return state;
        }
        if let Some(standing) = self.left_to_others(&plan.slot, keeper.is_some()) {
            return self.wait(plan, state, standing);
        }
        if !self.in_scope(&plan.service.name) {
            return state;
        }
        if let Some(own) = group.iter().find(|c| self.is_own(c)) {
            return self.leave_ourselves(plan, own, state);
        }
        match keeper.map(|c| c.state) {
            Some(ContainerState::Removing) => {
                return self.wait(plan, state, Standing::WaitingOn("removal".into()));
            }
            Some(ContainerState::Unknown) => {
                let what = "the engine names a state that we don't know".into();
                return self.wait(plan, state, Standing::Blocked(what));
            }
            _ => {}
        }
        if let Some(parent) = self.parent_at_work(plan.service) {
            return self.wait(plan, state, Standing::WaitingOn(format!("{parent} in progress")));
        }
        if plan.parents.is_none() {
            let what = format!("{} created", parents(plan.service).join(", "));
            return self.wait(plan, state, Standing::WaitingOn(what));
        }
        let drift = keeper.and_then(|c| self.drift(plan, c));
        let lost = matches!(drift, Some(Cause::ParentReplaced(_)));
        if let Some(pin) = self.pinned(plan.service).filter(|_| !lost)
            && (drift.is_some() || keeper.is_none() || self.memory.updates.contains_key(&plan.slot))
        {
            return self.stand_by(plan, pin, group, state);
        }
        if drift.is_none() && self.has_ended_well(plan, keeper) {
            return self.completed(plan, group, state);
        }
        if let (Some(new), None) = (keeper, &drift)
            && self.follow(plan, new, group, &mut state.report.message)
        {
            let undone = Standing::WaitingOn("the failed update being undone".into());
            return self.wait(plan, state, undone);
        }
        state.report.differs =
            drift.is_none() && keeper.is_some_and(|c| c.config_hash.as_deref() != plan.hash);
        match (keeper, drift) {
            (Some(found), Some(cause))
                if let Some(standing) = self.left_alone(plan, found, &cause) =>
            {
                self.leave_alone(plan, found, group, standing, state)
            }
            (None, _) => self.create(plan, state),
            (Some(old), Some(cause)) => self.replace(plan, old, group, cause, state),
            (Some(container), None) => self.keep(plan, container, group, state),
        }
    }

    /// A person holds the slot that this container stands for.
    pub(super) fn is_held(&self, container: &Container) -> bool {
        container.slot().is_some_and(|slot| self.memory.holds.of(&slot).is_some())
    }

    /// What somebody else is at just now. Whoever brings the stack up makes all containers first,
    /// and would find the names taken.
    fn left_to_others(&self, slot: &Slot, exists: bool) -> Option<Standing> {
        let yields = &self.observed.hands.yields;
        let mut others = yields.iter().filter(|(other, _)| other.project == slot.project);
        let made = |(_, why): (&Slot, &Yield)| *why == Yield::Creation;
        let what = match yields.get(slot) {
            Some(Yield::Undecided) => "word of who ended it",
            Some(Yield::Update) => "another tool that replaces it",
            Some(Yield::Creation) => "its start by another tool",
            None if !exists && others.any(made) => "another tool that brings the stack up",
            None => return None,
        };
        Some(Standing::WaitingOn(what.into()))
    }

    /// What others made stays as it is, and is kept running.
    fn leave_alone(
        &mut self,
        plan: &SlotPlan<'_>,
        found: &'a Container,
        group: &[&'a Container],
        standing: Standing,
        mut state: SlotState,
    ) -> SlotState {
        state.report.differs = true;
        let message = standing.to_string();
        self.note(plan.resource(), standing);
        let mut state = self.keep(plan, found, group, state);
        if state.report.message.is_empty() {
            state.report.message = message;
        }
        state
    }

    /// Whether there is nothing left to run: a job, once for each configuration and image, or a
    /// process that `on-failure` lets end.
    fn has_ended_well(&self, plan: &SlotPlan<'_>, keeper: Option<&Container>) -> bool {
        let ended = keeper.is_some_and(|c| {
            c.state == ContainerState::Exited && c.started.is_some() && c.exit_code == Some(0)
        });
        if !plan.traits.job {
            return ended && matches!(plan.service.restart, RestartPolicy::OnFailure(_));
        }
        let image = plan.service.image.as_deref().and_then(|r| self.image_id(r));
        let remembered =
            self.memory.jobs.get(&plan.service.name).is_some_and(|(hash, job_image)| {
                plan.hash == Some(hash) && image.is_none_or(|image| image == job_image)
            });
        let runs = keeper.is_some_and(Container::is_live);
        ended || remembered && !runs
    }

    fn completed(
        &mut self,
        plan: &SlotPlan<'_>,
        group: &[&'a Container],
        state: SlotState,
    ) -> SlotState {
        if self.memory.updates.contains_key(&plan.slot) {
            self.report.updates.insert(plan.slot.clone(), Stage::Proven);
        }
        if group.len() > 1 && self.may_finish(&plan.slot, group) {
            for leftover in &group[1..] {
                self.retire(leftover, Cause::Leftover, vec![]);
            }
        }
        let report = SlotReport { status: SlotStatus::Completed, ..state.report };
        SlotState { completed: true, running: false, report, ..state }
    }

    /// How a slot stands if nothing is done to it.
    fn as_observed(&mut self, plan: &SlotPlan<'_>, container: &Container) -> SlotState {
        let mut state = SlotState::default();
        // What is about to go lends its namespaces to nobody.
        if !matches!(container.state, ContainerState::Removing | ContainerState::Dead) {
            state.target = Some(Target::Existing(container.id.clone()));
        }
        state.report.container = Some(container.id.clone());
        state.report.status = match container.state {
            ContainerState::Running => {
                let verdict = self.judge(plan, container);
                state.running = true;
                state.ready = verdict.ready;
                state.report.message = verdict.message;
                verdict.status
            }
            ContainerState::Paused => SlotStatus::Paused,
            ContainerState::Restarting => SlotStatus::Starting,
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead => {
                SlotStatus::Stopped
            }
            ContainerState::Removing => SlotStatus::Missing,
            ContainerState::Unknown => SlotStatus::Unknown,
        };
        state
    }

    pub(super) fn judge(&self, plan: &SlotPlan<'_>, container: &Container) -> Verdict {
        let probe = self.observed.probes.get(&plan.slot);
        let policy = self.desired.policy.readiness;
        let up = self.memory.ages.since_start(container, self.now).unwrap_or_default();
        judge(policy, plan.service, plan.traits, container, probe, (up, self.now.mono))
    }

    /// Notes why a slot isn't touched.
    pub(super) fn wait(
        &mut self,
        plan: &SlotPlan<'_>,
        mut state: SlotState,
        standing: Standing,
    ) -> SlotState {
        let given_up = matches!(standing, Standing::Exhausted { .. });
        if !state.running && state.report.status != SlotStatus::Paused && !given_up {
            state.report.status = SlotStatus::Waiting;
        }
        state.pending = matches!(standing, Standing::WaitingOn(_));
        state.report.message = standing.to_string();
        self.note(plan.resource(), standing);
        state
    }

    /// The backoff of this slot, if it is in force.
    pub(super) fn slot_backoff(&mut self, slot: &Slot) -> Option<Standing> {
        let memory = self.memory;
        self.in_force(memory.backoff.get(slot)?)
    }

    /// What a backoff that isn't over says; plans again when it is.
    pub(super) fn in_force(&mut self, backoff: &Backoff) -> Option<Standing> {
        if backoff.not_before <= self.now.mono {
            return None;
        }
        self.report.wake_at(backoff.not_before);
        let remaining = backoff.not_before.since(self.now.mono);
        let last = backoff.last.clone();
        Some(match &backoff.refused {
            Some(_) => Standing::Refused { why: last, remaining },
            None if backoff.full => Standing::Full { why: last, remaining },
            None => Standing::Backoff { failures: backoff.failures, remaining, last },
        })
    }
}

impl ServiceState {
    /// Counts one more slot in, the first one first.
    fn add(&mut self, slot: &SlotState, keeper: Option<&Container>, counts: bool) {
        if self.first.is_none() {
            self.first.clone_from(&slot.target);
            self.first_start = slot.start;
            self.first_started = keeper.filter(|_| slot.running).and_then(|c| c.started);
            self.first_created = keeper.map(|c| c.created);
        }
        if !counts {
            return;
        }
        let up = slot.running || slot.completed || slot.start.is_some();
        self.up &= up;
        self.pending &= up || slot.pending;
        self.ready &= slot.ready || slot.completed;
        self.completed &= slot.completed;
        self.unhealthy |= slot.report.status == SlotStatus::Unhealthy;
        self.starts.extend(slot.start);
    }
}

impl Container {
    /// Docker checks its health, or nobody has asked yet whether it does.
    const fn checks_itself(&self) -> bool {
        self.has_healthcheck || !self.inspected
    }
}
