//! What updates teach: which are over, which have failed, and what is remembered of them. Pure
//! changes of [`Memory`].

use crate::desired::Desired;
use crate::engine::ContainerId;
use crate::observed::{Observed, Slot};
use crate::plan::update::{Pin, Stage, Update, edition};
use crate::plan::{Memory, Op, Plan, Report};

/// What is to be written down of updates, and told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UpdateLessons {
    /// Slots whose update changed, began or ended.
    pub updates: Vec<Slot>,
    /// Services whose failed update is remembered from now on, or no more.
    pub pins: Vec<String>,
    /// Containers of which needn't be known any more what they were made of.
    pub released: Vec<ContainerId>,
    /// What a person should hear.
    pub news: Vec<UpdateNews>,
}

/// The end of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateNews {
    /// Whose.
    pub slot: Slot,
    /// How it ended.
    pub end: End,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The new container serves.
    Succeeded,
    /// It failed. The pin says why, and whether it goes back by itself.
    Failed(Pin),
}

impl UpdateLessons {
    /// There is something new to plan for.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.pins.is_empty()
    }
}

/// A plan begins: the containers that it keeps are known before anything is done to them.
pub fn begin(memory: &mut Memory, plan: &Plan, observed: &Observed) -> UpdateLessons {
    let mut lessons = UpdateLessons::default();
    for step in &plan.steps {
        let Op::Create { slot, replaces: Some(_), keeps, .. } = &step.op else { continue };
        let before = memory.updates.get(slot).cloned();
        let old = keeps.as_ref().and_then(|id| observed.container(id));
        let Some(old) = old else {
            // Nothing to go back to any more.
            if memory.updates.remove(slot).is_some() {
                lessons.released.extend(before.and_then(|update| update.body));
                lessons.updates.push(slot.clone());
            }
            continue;
        };
        let (same, other): (Vec<Update>, _) =
            before.into_iter().partition(|update| update.kept == old.id);
        let update = Update {
            kept: old.id.clone(),
            image: old.image_id.clone(),
            hash: old.config_hash.clone().unwrap_or_default(),
            body: same.into_iter().find_map(|update| update.body),
            ..Update::default()
        };
        lessons.released.extend(other.into_iter().filter_map(|update| update.body));
        memory.updates.insert(slot.clone(), update);
        lessons.updates.push(slot.clone());
    }
    lessons
}

/// What a report teaches of updates.
pub fn observe(
    memory: &mut Memory,
    desired: &Desired,
    observed: &Observed,
    report: &Report,
) -> UpdateLessons {
    let mut lessons = UpdateLessons::default();
    for (slot, stage) in &report.updates {
        match stage {
            Stage::Proven | Stage::Returned => {
                let ended = end(memory, slot, &mut lessons);
                if *stage == Stage::Proven {
                    memory.superseded.extend(ended);
                    lessons.news.push(UpdateNews { slot: slot.clone(), end: End::Succeeded });
                }
            }
            Stage::Failed(pin) => {
                memory.pins.insert(slot.service.clone(), pin.clone());
                lessons.pins.push(slot.service.clone());
                lessons.news.push(UpdateNews { slot: slot.clone(), end: End::Failed(pin.clone()) });
            }
            Stage::Pinned(_) => {}
        }
    }
    count_deaths(memory, observed, report, &mut lessons);
    let unwanted: Vec<Slot> =
        memory.updates.keys().filter(|slot| !report.slots.contains_key(*slot)).cloned().collect();
    for slot in unwanted {
        end(memory, &slot, &mut lessons);
    }
    unpin(memory, desired, observed, &mut lessons);
    memory.superseded.retain(|id| observed.container(id).is_some());
    lessons
}

/// Forgets an update; returns what it kept.
fn end(memory: &mut Memory, slot: &Slot, lessons: &mut UpdateLessons) -> Option<ContainerId> {
    let update = memory.updates.remove(slot)?;
    lessons.released.extend(update.body);
    lessons.updates.push(slot.clone());
    Some(update.kept)
}

/// Counts how often new containers have ended before they were ever ready.
fn count_deaths(
    memory: &mut Memory,
    observed: &Observed,
    report: &Report,
    lessons: &mut UpdateLessons,
) {
    for (slot, update) in &mut memory.updates {
        let shown = report.slots.get(slot).and_then(|r| r.container.as_ref());
        let Some(new) = shown.filter(|id| **id != update.kept) else { continue };
        let Some(container) = observed.container(new) else { continue };
        let mut changed = false;
        if update.new.as_ref() != Some(new) {
            (update.new, update.deaths, update.last_death) = (Some(new.clone()), 0, None);
            changed = true;
        }
        if update.is_news(container, observed) {
            update.deaths = update.deaths.saturating_add(1);
            update.last_death = container.finished;
            changed = true;
        }
        if changed {
            lessons.updates.push(slot.clone());
        }
    }
}

/// A failed update stands until the service's files or its image change.
fn unpin(memory: &mut Memory, desired: &Desired, observed: &Observed, lessons: &mut UpdateLessons) {
    memory.pins.retain(|service, pin| {
        let wanted = desired.project.services.get(service);
        let stands = wanted.is_some_and(|wanted| {
            let image = wanted.image.as_deref().and_then(|r| observed.image_id(r));
            edition(desired, wanted) == pin.edition && image.is_none_or(|i| i == pin.image)
        });
        if !stands {
            lessons.pins.push(service.clone());
        }
        stands
    });
}

/// A person asks for these services anew: what failed before is tried again.
pub fn ask_again(memory: &mut Memory, services: &[String]) -> UpdateLessons {
    let mut lessons = UpdateLessons::default();
    for service in services {
        if memory.pins.remove(service).is_none() {
            continue;
        }
        lessons.pins.push(service.clone());
        for (slot, update) in memory.updates.iter_mut().filter(|(s, _)| s.service == *service) {
            // What is still there of the new version begins anew.
            (update.deaths, update.new) = (0, None);
            lessons.updates.push(slot.clone());
        }
    }
    lessons
}
