//! Where the loop looks by itself: probes of what runs, and a second look at what the engine is
//! restarting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Goal, Inbox, Worker};
use crate::controller::snapshot::Dirty;
use crate::observed::{ContainerState, Observed, Slot};
use crate::plan::Resource;
use crate::plan::running::ENGINE_RESTART_GRACE;
use crate::probe::command;
use crate::probe::prober::Target;
use crate::probe::vantage::{Reach, candidates};

impl Worker {
    /// Points the prober at the present runs of the probed services.
    pub(super) fn aim(&mut self, goal: &Goal, observed: &Observed) {
        let mut targets = BTreeMap::new();
        let local =
            Reach { addresses: observed.engine.capabilities.addresses_reachable, ..Reach::LOCAL };
        for container in observed.of_project(&goal.desired.project.name) {
            let Some(slot) = container.slot() else { continue };
            let Some(probe) = goal.probes.get(&slot.service) else { continue };
            let (ContainerState::Running, Some(started)) = (container.state, container.started)
            else {
                continue;
            };
            let target = Target {
                container: container.id.clone(),
                started: started.0,
                probe: Arc::clone(probe),
                candidates: candidates(probe, container, observed, local),
                command: command::allowed(probe, container, self.memory.tier),
            };
            targets.insert(slot, target);
        }
        let live: BTreeSet<&Slot> = targets.keys().collect();
        self.probes.retain(|slot, _| live.contains(slot));
        self.prober.set_targets(targets);
    }

    /// Marks as busy what only old facts are known of; returns what wasn't before. It is being read
    /// already, and the snapshot with the answer ends the doubt.
    pub(super) fn set_doubtful(&mut self, observed: &Observed) -> BTreeSet<Resource> {
        let doubtful = self.parts.observer.changes.doubtful(observed);
        let new: BTreeSet<Resource> = doubtful.difference(&self.memory.busy).cloned().collect();
        self.memory.busy.extend(new.iter().cloned());
        new
    }

    /// Looks again, a little later, at each container that the engine is restarting: when the
    /// engine can't start it and gives up, no event says so (seen on 20.10).
    pub(super) fn recheck(&mut self, goal: &Goal, observed: &Observed) {
        for container in observed.of_project(&goal.desired.project.name) {
            let restarting = container.state == ContainerState::Restarting;
            if !restarting || !self.rechecks.insert(container.id.clone()) {
                continue;
            }
            let (observer, post) = (self.parts.observer.clone(), self.post.clone());
            let id = container.id.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ENGINE_RESTART_GRACE).await;
                let containers = [id.clone()].into();
                observer.refresh(Dirty { containers, ..Dirty::default() }).await;
                let _ = post.send(Inbox::Rechecked(id)).await;
            });
        }
    }
}
