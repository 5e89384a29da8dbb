//! What a person says of an incident.

use std::time::Duration;

use super::{Change, Incidents, snapshots};
use crate::clock::Now;
use crate::observed::Slot;
use crate::recovery::incident::{EndReason, IncidentId};

/// What a person wants of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Notifies nobody, for a time or until the end.
    Ack(Option<Duration>),
    /// Tries again, with one fresh budget.
    Retry,
    /// Calls it over.
    Resolve,
}

impl Incidents {
    /// The slot of an open incident.
    pub fn find(&self, id: &IncidentId) -> Option<&Slot> {
        self.open.values().find(|incident| incident.id == *id).map(|incident| &incident.slot)
    }

    /// Does what a person wants of an incident; `None` where none of this ID is open.
    pub fn obey(
        &mut self,
        id: &IncidentId,
        word: &Word,
        by: &str,
        now: Now,
    ) -> Option<Vec<Change>> {
        let slot = self.find(id)?.clone();
        Some(match word {
            Word::Ack(time) => {
                self.change(&slot, |incident| vec![incident.acknowledge(by, *time, now)])
            }
            Word::Retry => self.retry(&slot, by),
            Word::Resolve => self.finish(&slot, EndReason::Resolved, by, now),
        })
    }

    /// Gives a slot a fresh budget, if an incident of it is open: a person asks for it to be tried.
    pub fn retry(&mut self, slot: &Slot, by: &str) -> Vec<Change> {
        let policy = self.policy;
        let Some(incident) = self.open.get_mut(slot) else { return Vec::new() };
        let whats = incident.retry(by, policy.budget(incident.scenario));
        let mut told = snapshots(incident, whats);
        if let Some(track) = self.tracks.get_mut(slot) {
            track.falls.forget();
            track.verify_by = None;
        }
        told.push(Change::Forgiven(slot.clone()));
        told
    }
}
