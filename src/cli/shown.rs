//! What an `apply` has shown, and what it must remember to tell the end of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::progress::{Board, Mark, words};
use crate::clock::Clock;
use crate::compose::Project;
use crate::compose::translate::container_name;
use crate::controller::course::Course;
use crate::controller::verdict;
use crate::controller::worker::{Goal, Phase, Progress, View};
use crate::execute::StepResult;
use crate::observed::Slot;
use crate::plan::{Resource, SlotStatus};

/// What has been shown of a run.
pub struct Shown {
    /// The lines.
    pub board: Board,
    /// What is known of the run.
    pub course: Course,
    slots: BTreeMap<Slot, SlotStatus>,
    /// What steps work on.
    busy: BTreeSet<Resource>,
    clock: Arc<dyn Clock>,
}

impl Shown {
    /// Nothing yet.
    pub fn new(clock: Arc<dyn Clock>, goal: &Goal) -> Self {
        Self {
            board: Board::new(Arc::clone(&clock)),
            course: Course::new(Arc::clone(&goal.desired.project), goal.scope.clone()),
            slots: BTreeMap::new(),
            busy: BTreeSet::new(),
            clock,
        }
    }

    /// Shows how far a step is.
    pub fn step(&mut self, progress: &Progress) {
        self.course.step(progress, self.clock.now().mono);
        let label = label(&self.course.project, &progress.resource);
        let (doing, done) = words(progress.action);
        match &progress.phase {
            Phase::Started => {
                self.busy.insert(progress.resource.clone());
                // Nobody wonders why something is started for the first time.
                let why = if self.course.again(&progress.resource) { &progress.cause } else { "" };
                self.board.show(&label, Mark::Working, doing, why);
            }
            Phase::Pulling(status, current, total) => {
                let message = match (current, total) {
                    (Some(current), Some(total)) if *total > 0 => {
                        format!("{status} {:.1}/{:.1} MB", megabytes(*current), megabytes(*total))
                    }
                    _ => status.clone(),
                };
                self.board.show(&label, Mark::Working, doing, &message);
            }
            Phase::Ended(StepResult::Done(_), _) => self.board.show(&label, Mark::Done, done, ""),
            Phase::Ended(StepResult::Failed(error), _) => {
                self.board.show(&label, Mark::Failed, "Error", &error.to_string());
            }
            Phase::Ended(StepResult::Unknown(fault), _) => {
                self.board.show(&label, Mark::Failed, "Error", &fault.to_string());
            }
            Phase::Ended(StepResult::Skipped(_), _) => {}
        }
        if matches!(progress.phase, Phase::Ended(..)) {
            self.busy.remove(&progress.resource);
        }
    }

    /// A first Ctrl-C: nothing new begins, and what has begun is named.
    pub fn tell_awaited(&self) {
        let open = self.course.open();
        if !open.is_empty() {
            let open = open.join(", ");
            self.board.say(&format!("stopping; waiting for {open}; Ctrl-C again leaves at once"));
        }
    }

    /// Shows services that became ready, and those that are waited for after a start.
    pub fn view(&mut self, view: &View) {
        for (slot, report) in verdict::in_scope(&view.report, &self.course.scope) {
            let resource = Resource::Slot(slot.clone());
            // While a step works on it, the step is what there is to see.
            if self.busy.contains(&resource) {
                continue;
            }
            // One that goes up and down is ready once it stays up.
            if self.course.again(&resource) && !self.course.is_quiet(self.clock.now().mono) {
                continue;
            }
            let before = self.slots.insert(slot.clone(), report.status);
            if before == Some(report.status) {
                continue;
            }
            let (mark, word) = match report.status {
                SlotStatus::Starting => (Mark::Working, "Waiting"),
                SlotStatus::Unhealthy => (Mark::Working, "Waiting"),
                // A service that was ready from the start is no news.
                SlotStatus::Ready if before.is_some() => (Mark::Done, "Ready"),
                SlotStatus::Degraded if before.is_some() => (Mark::Done, "Degraded"),
                SlotStatus::Completed if before.is_some() => (Mark::Done, "Completed"),
                _ => continue,
            };
            let label = label(&self.course.project, &resource);
            self.board.show(&label, mark, word, &report.message);
        }
    }
}

/// As `docker compose up` names a resource.
pub fn label(project: &Project, resource: &Resource) -> String {
    match resource {
        Resource::Network(name) => format!("Network {name}"),
        Resource::Volume(name) => format!("Volume {name}"),
        Resource::Image(name) => format!("Image {name}"),
        Resource::Container(name) => format!("Container {name}"),
        Resource::Slot(slot) => match project.services.get(&slot.service) {
            Some(service) => format!("Container {}", container_name(project, service, slot.number)),
            None => format!("Container {}-{}-{}", slot.project, slot.service, slot.number),
        },
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
