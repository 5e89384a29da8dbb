//! What an `apply` has shown, and what it must remember to tell the end of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::progress::{Board, Mark, words};
use super::verdict;
use crate::clock::{Clock, Mono};
use crate::compose::Project;
use crate::compose::translate::container_name;
use crate::controller::worker::{Goal, Phase, Progress, View};
use crate::execute::StepResult;
use crate::observed::Slot;
use crate::plan::{Resource, SlotStatus};

/// What has been shown of a run.
pub struct Shown {
    /// The lines.
    pub board: Board,
    project: Arc<Project>,
    slots: BTreeMap<Slot, SlotStatus>,
    /// What steps work on.
    busy: BTreeSet<Resource>,
    /// Steps that changed something.
    pub changed: usize,
    /// How often each service was started.
    pub starts: BTreeMap<Resource, u32>,
    /// When one that had been started was last started again.
    pub last_again: Option<Mono>,
    clock: Arc<dyn Clock>,
    /// The last failure of each resource.
    pub failures: BTreeMap<Resource, String>,
}

impl Shown {
    /// Nothing yet.
    pub fn new(clock: Arc<dyn Clock>, project: Arc<Project>) -> Self {
        Self {
            board: Board::new(Arc::clone(&clock)),
            project,
            slots: BTreeMap::new(),
            busy: BTreeSet::new(),
            changed: 0,
            starts: BTreeMap::new(),
            last_again: None,
            clock,
            failures: BTreeMap::new(),
        }
    }

    /// Shows how far a step is.
    pub fn step(&mut self, progress: &Progress) {
        let label = label(&self.project, &progress.resource);
        let (doing, done) = words(progress.action);
        match &progress.phase {
            Phase::Started => {
                self.busy.insert(progress.resource.clone());
                self.board.show(&label, Mark::Working, doing, "");
                if matches!(progress.action, "start_container" | "restart_container") {
                    self.started(progress);
                }
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
            Phase::Ended(StepResult::Done(_), _) => {
                self.changed += 1;
                if self.starts.get(&progress.resource).is_none_or(|starts| *starts == 1) {
                    self.failures.remove(&progress.resource);
                }
                self.board.show(&label, Mark::Done, done, "");
            }
            Phase::Ended(StepResult::Failed(error), _) => {
                self.failed(&label, progress, error.to_string());
            }
            Phase::Ended(StepResult::Unknown(fault), _) => {
                self.failed(&label, progress, fault.to_string());
            }
            Phase::Ended(StepResult::Skipped(_), _) => {}
        }
        if matches!(progress.phase, Phase::Ended(..)) {
            self.busy.remove(&progress.resource);
        }
    }

    fn started(&mut self, progress: &Progress) {
        let starts = self.starts.entry(progress.resource.clone()).or_default();
        *starts += 1;
        if *starts > 1 {
            self.last_again = Some(self.clock.now().mono);
            let logs = match &progress.resource {
                Resource::Slot(slot) => format!("; see `homeostat logs {}`", slot.service),
                _ => String::new(),
            };
            let again = format!("started {starts} times, the last time: {}{logs}", progress.cause);
            self.failures.insert(progress.resource.clone(), again);
        }
    }

    fn failed(&mut self, label: &str, progress: &Progress, error: String) {
        self.board.show(label, Mark::Failed, "Error", &error);
        self.failures.insert(progress.resource.clone(), format!("{}: {error}", progress.op));
    }

    /// Shows services that became ready, and those that are waited for after a start.
    pub fn view(&mut self, view: &View, goal: &Goal) {
        for (slot, report) in verdict::in_scope(&view.report, &goal.scope) {
            let resource = Resource::Slot(slot.clone());
            // While a step works on it, the step is what there is to see.
            if self.busy.contains(&resource) {
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
            let label = label(&self.project, &resource);
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
