//! When the past counts less: a person asks, or edits the files.

use std::collections::{BTreeMap, BTreeSet};

use super::{Goal, Worker};
use crate::clock::Mono;
use crate::compose::types::Project;
use crate::controller::observer::Snapshot;
use crate::controller::updates;
use crate::desired::scope::concerns;
use crate::observed::Slot;
use crate::plan::{Resource, Scope};

/// The services that a person means by a scope.
pub(super) fn asked(project: &Project, scope: &Scope) -> Vec<String> {
    let services = project.services.keys();
    let concerned = |name: &&String| scope.services.is_empty() || scope.services.contains(*name);
    services.filter(concerned).cloned().collect()
}

impl Worker {
    /// Forgets what waits for a later attempt, for the services of a scope and what they use.
    /// Failures in a row stay counted.
    pub(super) fn start_afresh(&mut self, scope: &Scope) {
        let Some(goal) = self.parts.goal.borrow().clone() else { return };
        let project = &goal.desired.project;
        for (slot, backoff) in &mut self.memory.backoff {
            if concerns(project, scope, &Resource::Slot(slot.clone())) {
                backoff.not_before = Mono::default();
            }
        }
        for (resource, backoff) in &mut self.memory.resource_backoff {
            if concerns(project, scope, resource) {
                backoff.not_before = Mono::default();
            }
        }
        let services = asked(project, scope);
        let again = updates::ask_again(&mut self.memory, &services);
        self.write_down(&goal.desired, &again);
        self.memory.insisted.add(services);
        // Whoever wants the stack as it is now has seen what it lacks.
        let recorder = &self.parts.recorder;
        self.memory.lost.retain(|volume, _| {
            let known = concerns(project, scope, &Resource::Volume(volume.clone()));
            if known {
                recorder.lost(volume, None);
            }
            !known
        });
        let now = self.parts.clock.now();
        let open: Vec<Slot> = self.memory.incidents.open().map(|i| i.slot.clone()).collect();
        for slot in open {
            if concerns(project, scope, &Resource::Slot(slot.clone())) {
                let changes = self.memory.incidents.retry(&slot, "apply");
                self.tell(&changes, now);
            }
        }
        self.memory
            .pulled
            .retain(|image| !concerns(project, scope, &Resource::Image(image.clone())));
    }

    /// An edit is a fresh start for pulls, for what could not be made before, and for the services
    /// that it changes. The first load is no edit.
    pub(super) fn new_generation(&mut self, goal: &Goal) {
        self.memory.pulled.clear();
        let services: BTreeMap<String, String> = goal
            .desired
            .project
            .services
            .iter()
            .map(|(name, s)| (name.clone(), crate::compose::service_hash(s.canonical.expose())))
            .collect();
        let before = std::mem::replace(&mut self.services, services);
        let gone: BTreeSet<String> =
            before.keys().filter(|s| !self.services.contains_key(*s)).cloned().collect();
        self.parts.metrics.forgotten(&goal.desired.project.name, &gone);
        if before.is_empty() {
            return;
        }
        // An edit makes no room on a full disk.
        self.memory.resource_backoff.retain(|_, backoff| backoff.full);
        let now = self.parts.clock.now();
        let (services, recorder) = (&self.services, &self.parts.recorder);
        self.memory.backoff.retain(|slot, _| {
            let same = services.get(&slot.service) == before.get(&slot.service);
            if !same {
                recorder.backoff(slot, None, now);
            }
            same
        });
    }

    /// Whether the facts show this project. An edit may have given it another name: then its
    /// containers must be looked at first.
    pub(super) fn is_shown(&self, project: &str, snapshot: &Snapshot) -> bool {
        let add = |known: &mut BTreeSet<String>| known.insert(project.to_owned());
        self.parts.observer.projects.send_if_modified(add);
        snapshot.projects.contains(project)
    }
}
