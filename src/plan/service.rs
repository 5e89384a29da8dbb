//! One service: its slots, what they wait for, and what happens to each.

use std::collections::BTreeMap;

use super::gate::Gate;
use super::readiness::{Verdict, judge};
use super::report::{SlotReport, SlotStatus};
use super::step::{Cause, Op, Resource, StepId, Target};
use super::{Planner, ServiceState, Standing};
use crate::compose::types::Service;
use crate::desired::{ServiceTraits, parents};
use crate::observed::{Container, ContainerState, Slot};

/// One slot under planning.
pub(super) struct SlotPlan<'p> {
    pub service: &'p Service,
    pub traits: ServiceTraits,
    pub slot: Slot,
    pub gate: Gate,
    /// Parents of its namespaces, by service.
    pub parents: Vec<(String, Target)>,
    /// Hash that its container must carry; `None` when a parent is yet to be made.
    pub hash: Option<String>,
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
    pub start: Option<StepId>,
    pub target: Option<Target>,
    pub report: SlotReport,
}

impl<'a> Planner<'a> {
    pub(super) fn service(&mut self, name: &str) {
        let Some(service) = self.desired.project.services.get(name) else { return };
        let traits = self.desired.traits(name);
        let gate = self.gate(service);
        let found = self.parent_targets(service);
        let hash = self.wanted_hash(service, &found);
        let assignment = self.assign(service, hash.as_deref());
        let mut state =
            ServiceState { running: true, ready: true, completed: true, ..Default::default() };
        if self.in_scope(name) {
            for surplus in assignment.surplus {
                self.retire(surplus, Cause::ScaledDown);
            }
        }
        let scaled_to_zero = assignment.slots.is_empty();
        for (slot, group) in assignment.slots {
            let plan = SlotPlan {
                service,
                traits: traits.clone(),
                slot,
                gate: gate.clone(),
                parents: found.clone().unwrap_or_default(),
                hash: hash.clone(),
            };
            let result = self.slot(&plan, &group, found.is_none());
            if state.first.is_none() {
                state.first.clone_from(&result.target);
                state.first_start = result.start;
                state.first_started = group.first().and_then(|c| c.started);
            }
            state.created = state.created.max(group.first().map(|c| c.created));
            state.running &= result.running || result.completed;
            state.ready &= result.ready || result.completed;
            state.completed &= result.completed;
            state.starts.extend(result.start);
            self.report.slots.insert(plan.slot, result.report);
        }
        state.completed &= !scaled_to_zero;
        state.down = !state.ready;
        self.services.insert(name.to_owned(), state);
    }

    /// The containers whose namespaces this service shares; `None` while one isn't there.
    fn parent_targets(&self, service: &Service) -> Option<Vec<(String, Target)>> {
        parents(service)
            .into_iter()
            .map(|p| Some((p.to_owned(), self.services.get(p)?.first.clone()?)))
            .collect()
    }

    fn wanted_hash(
        &self,
        service: &Service,
        parents: &Option<Vec<(String, Target)>>,
    ) -> Option<String> {
        let mut ids = BTreeMap::new();
        for (name, target) in parents.as_ref()? {
            match target {
                Target::Existing(id) => ids.insert(name.clone(), id.0.clone()),
                Target::Created(_) => return None,
            };
        }
        Some(self.desired.bound_hash(service, &ids))
    }

    fn slot(
        &mut self,
        plan: &SlotPlan<'_>,
        group: &[&'a Container],
        parents_missing: bool,
    ) -> SlotState {
        let keeper = group.first().copied();
        let mut state = match keeper {
            Some(container) => self.as_observed(plan, container),
            None => SlotState {
                report: SlotReport { status: SlotStatus::Missing, ..SlotReport::default() },
                ..SlotState::default()
            },
        };
        let resource = plan.resource();
        if self.memory.busy.contains(&resource) {
            self.note(resource, Standing::InProgress);
            return state;
        }
        if let Some(why) = self.memory.holds.get(&plan.service.name) {
            self.note(resource, Standing::Held(why.clone()));
            if !state.running {
                state.report.status = SlotStatus::Held;
            }
            state.report.message.clone_from(why);
            return state;
        }
        if !self.in_scope(&plan.service.name) {
            return state;
        }
        if parents_missing {
            let what = format!("{} created", parents(plan.service).join(", "));
            return self.wait(plan, state, Standing::WaitingOn(what));
        }
        if self.job_is_done(plan, keeper) {
            return SlotState {
                completed: true,
                report: SlotReport {
                    status: SlotStatus::Completed,
                    container: keeper.map(|c| c.id.clone()),
                    ..SlotReport::default()
                },
                ..state
            };
        }
        let Some(keeper) = keeper else { return self.create(plan, state) };
        match self.drift(plan, keeper) {
            Some(cause) => self.replace(plan, keeper, &group[1..], cause, state),
            None => self.keep(plan, keeper, &group[1..], state),
        }
    }

    /// A job runs once for each configuration and image.
    fn job_is_done(&self, plan: &SlotPlan<'_>, keeper: Option<&Container>) -> bool {
        if !plan.traits.job {
            return false;
        }
        let hash = plan.hash.as_deref();
        let image = plan.service.image.as_deref().and_then(|r| self.image_id(r));
        let remembered =
            self.memory.jobs.get(&plan.service.name).is_some_and(|(h, i)| {
                Some(h.as_str()) == hash && image.is_none_or(|image| image == i)
            });
        let shown = keeper.is_some_and(|c| {
            c.state == ContainerState::Exited
                && c.started.is_some()
                && c.exit_code == Some(0)
                && self.drift(plan, c).is_none()
        });
        remembered || shown
    }

    /// How a slot stands if nothing is done to it.
    fn as_observed(&mut self, plan: &SlotPlan<'_>, container: &Container) -> SlotState {
        let mut state = SlotState {
            target: Some(Target::Existing(container.id.clone())),
            ..SlotState::default()
        };
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
        judge(policy, plan.service, &plan.traits, container, probe, self.now)
    }

    /// Notes why a slot isn't touched.
    pub(super) fn wait(
        &mut self,
        plan: &SlotPlan<'_>,
        mut state: SlotState,
        standing: Standing,
    ) -> SlotState {
        if !state.running {
            state.report.status = SlotStatus::Waiting;
        }
        state.report.message = standing.to_string();
        self.note(plan.resource(), standing);
        state
    }

    /// The backoff of this slot, if it is in force.
    pub(super) fn slot_backoff(&mut self, slot: &Slot) -> Option<Standing> {
        let backoff = self.memory.backoff.get(slot)?;
        if backoff.not_before <= self.now.mono {
            return None;
        }
        self.report.wake_at(backoff.not_before);
        Some(Standing::Backoff {
            failures: backoff.failures,
            remaining: backoff.not_before.since(self.now.mono),
            last: backoff.last.clone(),
        })
    }

    /// A container that stays as it is: its leftovers, its name, its endpoints, its process.
    fn keep(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &'a Container,
        leftovers: &[&'a Container],
        state: SlotState,
    ) -> SlotState {
        let Some(mut before) = self.clear_leftovers(plan, leftovers) else {
            let what = "an unfinished replacement by another tool".into();
            return self.wait(plan, state, Standing::WaitingOn(what));
        };
        before.extend(self.settle_name(plan, container, &before));
        if let Some(standing) = self.networks_blocked(plan.service) {
            return self.wait(plan, state, standing);
        }
        let Some(attached) = self.endpoints(plan.service, &plan.slot, container) else {
            return SlotState {
                report: SlotReport { message: "network blocked".into(), ..state.report },
                ..state
            };
        };
        before.extend(attached);
        match container.state {
            ContainerState::Running => self.keep_running(plan, container, before, state),
            ContainerState::Paused if self.desired.policy.unpause => {
                let op = Op::Unpause { container: container.id.clone() };
                let start = self.push(plan.resource(), op, Cause::Paused, before);
                SlotState { start: Some(start), ..state }
            }
            ContainerState::Paused => {
                self.wait(plan, state, Standing::Held("paused by hand".into()))
            }
            ContainerState::Restarting => {
                self.wait(plan, state, Standing::WaitingOn("engine restart".into()))
            }
            ContainerState::Removing => {
                self.wait(plan, state, Standing::WaitingOn("removal".into()))
            }
            ContainerState::Unknown => {
                let what = "the engine names a state that we don't know".into();
                self.wait(plan, state, Standing::Blocked(what))
            }
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead => {
                self.start(plan, container, before, state)
            }
        }
    }
}
