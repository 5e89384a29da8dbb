//! Where the loop and the incidents meet: what is seen before a plan, what the plan shows, what its
//! steps try and bring.

use std::collections::BTreeMap;

use super::{Goal, Worker};
use crate::clock::{Mono, Now};
use crate::controller::sights::{recoveries, sights, standing, wanted};
use crate::controller::updates;
use crate::desired::{Desired, parents};
use crate::engine::{Fault, PullProgress};
use crate::execute::{StepError, StepResult};
use crate::observed::{Observed, Slot};
use crate::plan::{Op, Plan, Report, Resource, Step};
use crate::recovery::{Change, IncidentId, StepEnd, Stop, Word};

/// A layer of an image that is being pulled, by reference and layer, with its bytes so far.
pub(super) type Layers = BTreeMap<String, BTreeMap<String, u64>>;

impl Worker {
    /// Tells the incidents what happened since the last turn.
    pub(super) fn witness(&mut self, goal: &Goal, observed: &Observed, now: Now) {
        let desired = &goal.desired;
        self.memory.incidents.set_policy(desired.policy.recovery);
        let services = &desired.project.services;
        let wanted =
            |slot: &Slot| services.get(&slot.service).is_some_and(|s| slot.number <= s.scale);
        let mut changes = self.memory.incidents.keep_only(wanted, now);
        for sight in sights(desired, &self.services, observed, &self.memory) {
            changes.extend(self.memory.incidents.see(&sight, now));
        }
        // All that fell at once are counted before the first is recovered.
        let total = self.wanted;
        changes.extend(self.memory.incidents.tick(&|name| needs(desired, name), total, now));
        self.tell(&changes, now);
    }

    /// Tells the incidents how everything stands. Returns when to turn again: at once when more,
    /// or less, may be done than the plan knew.
    pub(super) fn settle(&mut self, goal: &Goal, report: &Report, now: Now) -> Option<Mono> {
        self.wanted = wanted(report);
        let before = self.memory.incidents.allowances();
        let mut changes = Vec::new();
        for slot in report.slots.keys() {
            if let Some(standing) = standing(report, &self.memory, slot) {
                changes.extend(self.memory.incidents.stands(slot, standing, now));
            }
        }
        let desired = &goal.desired;
        let total = self.wanted;
        changes.extend(self.memory.incidents.tick(&|name| needs(desired, name), total, now));
        self.tell(&changes, now);
        let other = before != self.memory.incidents.allowances();
        let again = other.then_some(now.mono);
        [again, self.memory.incidents.wake(now.mono)].into_iter().flatten().min()
    }

    /// Books the attempts that a plan is about to make, before its first step.
    pub(super) fn attempt(&mut self, plan: &Plan, now: Now) {
        for (slot, (what, ill)) in recoveries(plan) {
            let mut changes = Vec::new();
            if ill {
                changes.extend(self.memory.incidents.falls_ill(&slot, &what, now));
            }
            changes.extend(self.memory.incidents.begin_attempt(&slot, &what, now));
            self.tell(&changes, now);
        }
    }

    /// A step ended: was the service tried by it?
    pub(super) fn tried(&mut self, step: &Step, result: &StepResult, now: Now) {
        if let Op::Pull { reference, .. } = &step.op {
            self.layers.remove(reference);
            let slots = self.slots_of(reference);
            self.memory.incidents.work_ended(slots.into_iter());
        }
        let Resource::Slot(slot) = &step.resource else { return };
        let starts = matches!(step.op, Op::Start { .. } | Op::Restart { .. });
        let words;
        let end = match result {
            StepResult::Done(_) if starts => StepEnd::Started,
            StepResult::Failed(error) => {
                words = error.to_string();
                match error {
                    // What is to run can't be run: no such program, no permission for it.
                    StepError::Engine(Fault::Rejected { .. }) if starts => StepEnd::Refused(&words),
                    _ => StepEnd::Failed(&words),
                }
            }
            StepResult::Skipped(_) => StepEnd::Failed("it wasn't tried"),
            // Nobody knows: what is seen next decides.
            StepResult::Unknown(_) | StepResult::Done(_) => return,
        };
        let changes = self.memory.incidents.step_ended(slot, end, now);
        self.tell(&changes, now);
    }

    /// A pull tells how far it is.
    pub(super) fn pulled(&mut self, reference: &str, progress: &PullProgress, now: Now) {
        let layers = self.layers.entry(reference.to_owned()).or_default();
        let layer = progress.layer.clone().unwrap_or_default();
        let bytes = layers.entry(layer).or_default();
        *bytes = (*bytes).max(progress.current.unwrap_or_default());
        let bytes = layers.values().sum();
        let slots = self.slots_of(reference);
        self.memory.incidents.progress(slots.into_iter(), bytes, now);
    }

    /// The slots of services that use an image.
    fn slots_of(&self, reference: &str) -> Vec<Slot> {
        let goal = self.parts.goal.borrow();
        let Some(goal) = goal.as_ref() else { return Vec::new() };
        let project = &goal.desired.project;
        let users = project.services.values().filter(|s| s.image.as_deref() == Some(reference));
        let slots = users.flat_map(|service| {
            (1..=service.scale).map(|number| Slot {
                project: project.name.clone(),
                service: service.name.clone(),
                number,
            })
        });
        slots.collect()
    }

    /// Does what a person wants of an incident; false where none of this ID is open.
    pub(super) fn obey(&mut self, id: &IncidentId, word: &Word, by: &str) -> bool {
        let now = self.parts.clock.now();
        let Some(slot) = self.memory.incidents.find(id).cloned() else { return false };
        let stopped = self.memory.incidents.of(&slot).and_then(|incident| incident.stopped);
        let Some(changes) = self.memory.incidents.obey(id, word, by, now) else { return false };
        if !matches!(word, Word::Ack(_))
            && let Some(backoff) = self.memory.backoff.get_mut(&slot)
        {
            backoff.not_before = Mono::default();
        }
        self.tell(&changes, now);
        let goal = self.parts.goal.borrow().clone();
        if let (Word::Retry, Some(Stop::Update), Some(goal)) = (word, stopped, goal) {
            let again = updates::ask_again(&mut self.memory, &[slot.service]);
            self.write_down(&goal.desired, &again);
        }
        true
    }

    /// Writes changes down and counts them.
    pub(super) fn tell(&self, changes: &[Change], now: Now) {
        for change in changes {
            self.parts.recorder.recovery(change, now);
            self.parts.metrics.recovery(change);
        }
    }
}

/// What a service depends on directly and firmly.
fn needs(desired: &Desired, name: &str) -> Vec<String> {
    let Some(service) = desired.project.services.get(name) else { return Vec::new() };
    let required = service.depends_on.iter().filter(|(_, d)| d.required);
    let shared = parents(service).into_iter().map(str::to_owned);
    required.map(|(name, _)| name.clone()).chain(shared).collect()
}
