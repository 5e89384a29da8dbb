//! The registry counts for the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Metrics;
use super::labels::{
    Action, AttemptOutcome, Controller, Drift, Label, ReconcileResult, UpdateResult,
};
use crate::clock::Timestamp;
use crate::controller::meter::Meter;
use crate::plan::{Report, SlotStatus};
use crate::probe::Answer;
use crate::recovery::{Change, Scenario, What};
use crate::store::Completion;

impl Meter for Metrics {
    fn stream_connected(&self, connected: bool) {
        Self::stream_connected(self, connected);
        self.engine_up(connected);
    }

    fn event_gap(&self) {
        Self::event_gap(self);
    }

    fn event_skipped(&self) {
        Self::event_skipped(self);
    }

    fn resynced(&self, at: Timestamp, took: Duration) {
        Self::resynced(self, at, took);
    }

    fn action(&self, action: &'static str, result: &'static str) {
        let completion = Completion::ALL.into_iter().find(|c| c.as_str() == result);
        if let (Some(action), Some(completion)) = (Action::of(action), completion) {
            self.acted(action, completion);
        }
    }

    fn drift(&self, kind: &'static str) {
        if let Some(kind) = Drift::of(kind) {
            self.drifted(kind);
        }
    }

    fn updated(&self, result: &'static str) {
        if let Some(result) = UpdateResult::of(result) {
            Self::updated(self, result);
        }
    }

    fn services(&self, project: &str, report: &Report, now: Timestamp) {
        let mut services: BTreeMap<&str, (SlotStatus, u32, u32)> = BTreeMap::new();
        for (slot, standing) in &report.slots {
            // A job that ended well lacks nothing: ready < desired is for alerts.
            let ready = standing.status.is_good();
            let entry = services.entry(&slot.service).or_insert((standing.status, 0, 0));
            entry.0 = worse(entry.0, standing.status);
            entry.1 += 1;
            entry.2 += u32::from(ready);
        }
        for (service, (status, desired, ready)) in &services {
            self.service(project, service, *status, *desired, *ready);
            if ready == desired && *status != SlotStatus::Completed {
                self.service_ready_at(project, service, now);
            }
        }
    }

    fn forgotten(&self, project: &str, services: &BTreeSet<String>) {
        for service in services {
            self.forget_service(project, service);
        }
    }

    fn restarted(&self, project: &str, service: &str) {
        self.service_restarted(project, service, 1);
    }

    fn recovery(&self, change: &Change) {
        let Change::Incident(incident, what) = change else { return };
        match what {
            What::AttemptEnded(result) => {
                if let Some(outcome) = AttemptOutcome::of(result.word()) {
                    self.attempt_ended(outcome);
                }
            }
            What::Escalated { silenced: false } => self.escalated(incident.scenario),
            _ => {}
        }
    }

    fn incidents(&self, project: &str, open: &[Scenario]) {
        self.incidents_open(project, open);
    }

    fn probed(&self, answer: Answer) {
        Self::probed(self, answer.into());
    }

    fn reacted(&self, took: Duration) {
        Self::reacted(self, took);
    }

    fn reconciled(&self, result: &'static str, took: Duration) {
        if let Some(result) = ReconcileResult::of(result) {
            Self::reconciled(self, Controller::Stack, result, took);
        }
    }
}

/// Of two slots of a service, the status that needs more attention.
fn worse(a: SlotStatus, b: SlotStatus) -> SlotStatus {
    let rank = |s: SlotStatus| match s {
        SlotStatus::Ready => 0,
        SlotStatus::Completed => 1,
        SlotStatus::Degraded => 2,
        SlotStatus::Held => 3,
        SlotStatus::Paused => 4,
        SlotStatus::Starting => 5,
        SlotStatus::Waiting => 6,
        SlotStatus::Unknown => 7,
        SlotStatus::Stopped => 8,
        SlotStatus::Missing => 9,
        SlotStatus::Unhealthy => 10,
    };
    if rank(b) > rank(a) { b } else { a }
}
