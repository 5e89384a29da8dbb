//! What the past teaches: pure changes of [`Memory`] by outcomes and observations.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::{Mono, Now};
use crate::desired::Desired;
use crate::engine::{ContainerId, Fault};
use crate::execute::{CommandError, StepError, StepResult};
use crate::observed::{Observed, Slot};
#[cfg(doc)]
use crate::plan::memory::Note;
use crate::plan::memory::{Backoff, Refusal};
use crate::plan::{
    Cause, Followed, Memory, Op, Plan, Report, Resource, SlotStatus, Step, Target, recovery,
};

use super::snapshot::Dirty;
use super::{adoption, loss};

/// A plan under way: which resources it still works on, and what must be read again after.
#[derive(Debug, Default)]
pub struct Underway {
    remaining: BTreeMap<Resource, usize>,
    touched: BTreeMap<Resource, Dirty>,
}

impl Underway {
    /// Marks every resource of the plan as busy.
    pub fn begin(plan: &Plan, memory: &mut Memory) -> Self {
        let mut remaining: BTreeMap<Resource, usize> = BTreeMap::new();
        for step in &plan.steps {
            *remaining.entry(step.resource.clone()).or_default() += 1;
        }
        memory.busy.extend(remaining.keys().cloned());
        Self { remaining, touched: BTreeMap::new() }
    }

    /// Books the end of a step. Returns what must be read again before its resource may be
    /// planned for again, once the plan has no more to do with it.
    pub fn ended(
        &mut self,
        step: &Step,
        result: &StepResult,
        created: &BTreeMap<crate::plan::StepId, ContainerId>,
    ) -> Option<Dirty> {
        let touched = self.touched.entry(step.resource.clone()).or_default();
        touched.merge(doubtful(step, result, created));
        let left = self.remaining.get_mut(&step.resource)?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.remaining.remove(&step.resource);
        self.touched.remove(&step.resource)
    }

    /// The resources that still had steps.
    pub fn into_remaining(self) -> impl Iterator<Item = Resource> {
        self.remaining.into_keys()
    }

    /// Nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.remaining.is_empty()
    }
}

/// What a step's end makes doubtful.
fn doubtful(
    step: &Step,
    result: &StepResult,
    created: &BTreeMap<crate::plan::StepId, ContainerId>,
) -> Dirty {
    let mut dirty = Dirty::default();
    if matches!(result, StepResult::Skipped(_)) {
        // The facts that made it pointless are on their way already, or nothing was done.
        dirty.containers.extend(step.op.container().cloned());
        return dirty;
    }
    let unsure = !matches!(result, StepResult::Done(_));
    match &step.op {
        Op::CreateNetwork { .. } | Op::RemoveNetwork { .. } => dirty.networks = true,
        Op::CreateVolume { .. } => dirty.volumes = true,
        Op::Pull { .. } => dirty.images = true,
        // Whether it exists is only in the list.
        Op::Create { .. } | Op::Recreate { .. } => dirty.list = unsure,
        _ => {}
    }
    // A container that can't be attached or started may point at a network that is gone.
    dirty.networks |= unsure && matches!(step.op, Op::Connect { .. } | Op::Start { .. });
    dirty.containers.extend(step.op.container().cloned());
    let target = match &step.op {
        Op::Start { container } | Op::Rename { container, .. } | Op::Connect { container, .. } => {
            Some(container)
        }
        _ => None,
    };
    if let Some(Target::Created(by)) = target {
        dirty.containers.extend(created.get(by).cloned());
    }
    dirty.containers.extend(created.get(&step.id).cloned());
    dirty
}

/// What a step's end teaches. Returns whether a backoff changed.
pub fn learn(
    memory: &mut Memory,
    desired: &Desired,
    step: &Step,
    result: &StepResult,
    now: Now,
    jitter: f64,
) -> bool {
    match result {
        StepResult::Done(reply) => done(memory, desired, step, reply.id.as_deref(), now, jitter),
        StepResult::Failed(error) => {
            if let Some(id) = unstartable(step, error) {
                memory.stuck.insert(id.clone());
            }
            let full = matches!(step.op, Op::Pull { .. }) && is_disk_full(error);
            let why = if full { no_room(&step.resource) } else { reason(error) };
            let backoff = fail(memory, &step.resource, now.mono, jitter, why);
            backoff.full = full;
            if full {
                backoff.not_before = now.mono.after(recovery::DISK_FULL);
            }
            backoff.refused = refused_call(error)
                .map(|call| Refusal { call: call.to_owned(), action: step.op.action() });
            true
        }
        StepResult::Unknown(fault) => {
            if let Op::Create { slot, name, .. } | Op::Recreate { slot, name, .. } = &step.op {
                memory.unanswered.entry(slot.clone()).or_default().insert(name.clone());
            }
            let reason = fault.reason().to_owned();
            fail(memory, &step.resource, now.mono, jitter, reason).refused = None;
            true
        }
        StepResult::Skipped(_) => false,
    }
}

/// The call that somebody before the engine doesn't let through.
const fn refused_call(error: &StepError) -> Option<&String> {
    match error {
        StepError::Engine(Fault::Forbidden { call, .. })
        | StepError::Command(CommandError::Engine(Fault::Forbidden { call, .. })) => Some(call),
        _ => None,
    }
}

/// The container that another start wouldn't help.
fn unstartable<'s>(step: &'s Step, error: &StepError) -> Option<&'s ContainerId> {
    match (&step.op, error) {
        (Op::Start { container: Target::Existing(id) }, StepError::Engine(fault)) => {
            fault.is_leftover_task().then_some(id)
        }
        _ => None,
    }
}

/// The engine has no room for what it was to fetch.
fn is_disk_full(error: &StepError) -> bool {
    matches!(error, StepError::Engine(fault) if fault.is_disk_full())
}

fn no_room(resource: &Resource) -> String {
    format!(
        "the engine's disk has no room for {resource}, and nothing is pulled: make room, for \
         instance by `docker image prune`, then run `homeostat apply`"
    )
}

/// For people: the engine's words about a failed start say most.
fn reason(error: &StepError) -> String {
    let text = error.to_string();
    let mut short: String = text.chars().take(300).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn done(
    memory: &mut Memory,
    desired: &Desired,
    step: &Step,
    id: Option<&str>,
    now: Now,
    jitter: f64,
) -> bool {
    if let Some(backoff) = memory.backoff_mut(&step.resource) {
        // What went through now is allowed again.
        backoff.refused.take_if(|refusal| refusal.action == step.op.action());
    }
    match &step.op {
        Op::Create { slot, replaces, .. } => {
            if let Some(id) = id {
                memory.owned.insert(ContainerId(id.to_owned()));
            }
            memory.unanswered.remove(slot);
            if let Some(hash) = desired.hashes.get(&slot.service) {
                memory.applied.insert(slot.service.clone(), hash.clone());
            }
            // If what was made is to be replaced again at once, the pauses must grow.
            if replaces.is_some() {
                let backoff = memory.backoff.entry(slot.clone()).or_default();
                recovery::attempted(backoff, now.mono, jitter);
            }
            replaces.is_some()
        }
        Op::Recreate { slot, .. } => {
            let made = id.map(|id| ContainerId(id.to_owned()));
            memory.owned.extend(made.clone());
            memory.unanswered.remove(slot);
            // It stands for the one that is gone.
            if let (Some(update), Some(made)) = (memory.updates.get_mut(slot), made) {
                update.kept = made;
            }
            false
        }
        Op::Pull { reference, .. } => {
            memory.pulled.insert(reference.clone());
            memory.resource_backoff.remove(&step.resource).is_some()
        }
        Op::Start { .. } | Op::Restart { .. } => {
            let Resource::Slot(slot) = &step.resource else { return false };
            let counts = match &step.cause {
                Cause::ParentRestarted(run) | Cause::DependencyReplaced(run) => {
                    is_repeated(memory, slot, run)
                }
                Cause::Exited { .. } => true,
                _ => matches!(step.op, Op::Restart { .. }),
            };
            if counts {
                let backoff = memory.backoff.entry(slot.clone()).or_default();
                recovery::attempted(backoff, now.mono, jitter);
                backoff.last.clear();
            }
            counts
        }
        Op::CreateVolume { key } => {
            if step.cause == Cause::DeletedElsewhere {
                loss::happened(memory, desired, key, now.wall);
            }
            memory.resource_backoff.remove(&step.resource).is_some()
        }
        Op::CreateNetwork { .. } => memory.resource_backoff.remove(&step.resource).is_some(),
        _ => false,
    }
}

/// Whether a slot is restarted once more for one run of another service. The first time is no
/// fault of its own; that it was for nothing must not go on for ever.
fn is_repeated(memory: &mut Memory, slot: &Slot, run: &Followed) -> bool {
    let before = memory.followed.insert(slot.clone(), run.clone());
    run.since.is_some() && before.as_ref() == Some(run)
}

fn fail<'m>(
    memory: &'m mut Memory,
    resource: &Resource,
    now: Mono,
    jitter: f64,
    reason: String,
) -> &'m mut Backoff {
    let backoff = match resource {
        Resource::Slot(slot) => memory.backoff.entry(slot.clone()).or_default(),
        other => memory.resource_backoff.entry(other.clone()).or_default(),
    };
    recovery::attempted(backoff, now, jitter);
    recovery::failed(backoff, now, jitter, reason);
    backoff
}

/// What a report taught, to be written down.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lessons {
    /// Slots whose failures are forgiven.
    pub forgiven: Vec<Slot>,
    /// Jobs that ended well: configuration hash and image ID.
    pub jobs: Vec<(Slot, String, String)>,
    /// What counts as applied from now on, by service or [`Note`].
    pub applied: Vec<(String, String)>,
    /// When the next slot is forgiven, if it stays ready.
    pub forgives_at: Option<Mono>,
    /// Containers that turned out to be ours, with the names under which they were asked for:
    /// what was to be left alone may be finished.
    pub found: Vec<(Slot, String, ContainerId)>,
    /// Volumes whose loss is old news.
    pub overcome: Vec<String>,
}

/// What a report teaches: who is down since when, who is forgiven, which jobs are over.
pub fn observe(
    memory: &mut Memory,
    desired: &Desired,
    observed: &Observed,
    report: &Report,
    now: Now,
) -> Lessons {
    let mut lessons = Lessons::default();
    memory.backoff.retain(|slot, backoff: &mut Backoff| {
        let ready = report.slots.get(slot).is_some_and(|s| s.status.is_good());
        // The old container's health says nothing of the replacement that fails.
        let ready = ready && !is_pending(report, slot);
        let over = recovery::observed_ready(backoff, ready, now.mono);
        if over {
            lessons.forgiven.push(slot.clone());
        }
        !over
    });
    let since = memory.backoff.values().filter_map(|backoff| backoff.ready_since).min();
    lessons.forgives_at = since.map(|since| since.after(recovery::SUSTAINED));
    let down: BTreeSet<&str> = report
        .slots
        .iter()
        .filter(|(_, r)| !r.status.is_settled())
        .map(|(s, _)| s.service.as_str())
        .collect();
    memory.down_since.retain(|service, _| down.contains(service.as_str()));
    for service in down {
        memory.down_since.entry(service.to_owned()).or_insert(now.mono);
    }
    for (slot, report) in &report.slots {
        let done = report.status == SlotStatus::Completed && desired.traits(&slot.service).job;
        let container = report.container.as_ref().and_then(|id| observed.container(id));
        if let Some(container) = container {
            lessons.applied.extend(adoption::service(
                memory,
                desired,
                slot,
                container,
                report.differs,
            ));
        }
        if let (true, Some(container)) = (done, container)
            && let Some(hash) = &container.config_hash
        {
            let run = (hash.clone(), container.image_id.clone());
            if memory.jobs.get(&slot.service) != Some(&run) {
                lessons.jobs.push((slot.clone(), run.0.clone(), run.1.clone()));
                memory.jobs.insert(slot.service.clone(), run);
            }
        }
    }
    lessons.applied.extend(adoption::networks(memory, desired, observed));
    lessons.found = own(memory, observed);
    lessons.overcome = loss::overcome(memory, desired, report, now.mono);
    keep_word(memory, desired, observed);
    lessons
}

/// Something is still to be done to a slot.
fn is_pending(report: &Report, slot: &Slot) -> bool {
    report.entries.iter().any(|entry| {
        entry.standing.is_pending() && matches!(&entry.resource, Resource::Slot(s) if s == slot)
    })
}

/// A person's word is kept once no container of somebody else's making differs any more.
fn keep_word(memory: &mut Memory, desired: &Desired, observed: &Observed) {
    let owned = &memory.owned;
    memory.insisted.retain(|service| {
        let mut containers = observed
            .of_project(&desired.project.name)
            .filter(|c| c.service.as_deref() == Some(service) && !owned.contains(&c.id));
        containers.any(|c| c.config_hash.as_ref() != desired.hashes.get(service))
    });
}

/// Slots that are ready now, failed more than once, and haven't been ready for so long that it is
/// forgiven. One failure is no series: an edit's first attempt counts as one.
pub fn unproven(memory: &Memory, report: &Report) -> BTreeSet<Slot> {
    let ready = |slot: &Slot| report.slots.get(slot).is_some_and(|s| s.status.is_good());
    let failed = memory.backoff.iter().filter(|(_, backoff)| backoff.failures > 1);
    failed.map(|(slot, _)| slot).filter(|slot| ready(slot)).cloned().collect()
}

/// Which containers are of our making. Returns those that turned out to be.
fn own(memory: &mut Memory, observed: &Observed) -> Vec<(Slot, String, ContainerId)> {
    let mut found = Vec::new();
    memory.unanswered.retain(|slot, names| {
        names.retain(|name| {
            let made = observed.containers.values().find(|c| c.name == *name);
            let Some(made) = made.filter(|c| c.slot().as_ref() == Some(slot)) else { return true };
            memory.owned.insert(made.id.clone());
            found.push((slot.clone(), name.clone(), made.id.clone()));
            false
        });
        !names.is_empty()
    });
    memory.stuck.retain(|id| observed.containers.contains_key(id));
    // What a running step made isn't in the picture before its resource is free again.
    if memory.busy.is_empty() {
        memory.owned.retain(|id| observed.containers.contains_key(id));
    }
    found
}
