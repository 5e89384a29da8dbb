//! What time alone brings about: an attempt proves itself or is overdue, an incident ends, a person
//! is told, the brake is set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Change, Incidents};
use crate::clock::{Mono, Now};
use crate::observed::Slot;
use crate::recovery::brake::Brake;
use crate::recovery::budget::Scenario;
use crate::recovery::incident::{EndReason, Incident, Stop, What};
use crate::recovery::{PROVEN, RECOVERED};

/// How much an incident's clock may move before that is written down.
const CLOCK_STEP: Duration = Duration::from_secs(10);

impl Incidents {
    /// Looks at the clock. `needs` names what a service depends on directly, `total` is how many
    /// containers the files ask for.
    pub fn tick(
        &mut self,
        needs: &dyn Fn(&str) -> Vec<String>,
        total: usize,
        now: Now,
    ) -> Vec<Change> {
        let mut told = self.overdue(now);
        let slots: Vec<Slot> = self.open.keys().cloned().collect();
        for slot in &slots {
            told.extend(self.pass(slot, now));
        }
        told.extend(self.find_roots(needs));
        for slot in &slots {
            told.extend(self.tell(slot, now));
        }
        told.extend(self.set_brake(total));
        told
    }

    /// Time in which nobody could have acted doesn't count.
    pub fn pause(&mut self) {
        for incident in self.open.values_mut() {
            incident.clock.pause();
        }
    }

    /// A step for these slots told how far it is, in bytes.
    pub fn progress(&mut self, slots: impl Iterator<Item = Slot>, bytes: u64, now: Now) {
        for slot in slots {
            if let Some(incident) = self.open.get_mut(&slot) {
                incident.clock.progress(bytes, now.mono);
            }
        }
    }

    /// That step is over.
    pub fn work_ended(&mut self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            if let Some(incident) = self.open.get_mut(&slot) {
                incident.clock.work_ended();
            }
        }
    }

    /// Services that should have become Ready by now, in a generation that never was.
    fn overdue(&mut self, now: Now) -> Vec<Change> {
        let due = |(slot, track): (&Slot, &crate::recovery::slot::Track)| {
            let due = !track.held && track.ready_since.is_none() && track.is_overdue(now.mono);
            due.then(|| (slot.clone(), track.deadline.unwrap_or_default()))
        };
        let due: Vec<(Slot, Duration)> = self.tracks.iter().filter_map(due).collect();
        let mut told = Vec::new();
        for (slot, deadline) in due {
            let cause = format!("never ready within {deadline:?} of its start");
            told.extend(self.open_for(&slot, &cause, now));
        }
        told
    }

    /// What has been Ready for long enough, or not in time.
    fn pass(&mut self, slot: &Slot, now: Now) -> Vec<Change> {
        let Some(track) = self.tracks.get(slot) else { return Vec::new() };
        let (ready, held, verify_by) = (track.ready_since, track.held, track.verify_by);
        let up = ready.map(|since| now.mono.since(since));
        if up.is_some_and(|up| up >= RECOVERED) {
            return self.finish(slot, EndReason::Recovered, "", now);
        }
        self.change(slot, |incident| {
            let passed = incident.clock.passed;
            // Once a person was told, nobody reads it any more.
            let runs = up.is_none() && !held && incident.escalated.is_none();
            incident.clock.tick(now.mono, runs);
            let (before, after) = (steps(passed), steps(incident.clock.passed));
            let mut told = match incident.attempt() {
                Some(attempt) if attempt.ran && up.is_some_and(|up| up >= PROVEN) => {
                    incident.succeed("it stayed ready")
                }
                Some(attempt)
                    if !attempt.verified && verify_by.is_some_and(|by| now.mono >= by) =>
                {
                    incident.fail("it didn't become ready in time")
                }
                _ => Vec::new(),
            };
            if before != after {
                told.push(What::Ticked);
            }
            told
        })
    }

    /// Which service's recovery is at stake in each incident. With two or more at once, all of them
    /// are part of a larger trouble.
    fn find_roots(&mut self, needs: &dyn Fn(&str) -> Vec<String>) -> Vec<Change> {
        let ready = |slot: &Slot| self.tracks.get(slot).is_some_and(|t| t.ready_since.is_some());
        let down: BTreeSet<String> =
            self.open.keys().filter(|slot| !ready(slot)).map(|slot| slot.service.clone()).collect();
        let faults = self.open.values().filter(|incident| is_fault(incident));
        let services: BTreeSet<&String> = faults.map(|incident| &incident.slot.service).collect();
        let roots: BTreeMap<String, String> =
            services.into_iter().map(|s| (s.clone(), root(s, &down, needs))).collect();
        let several = roots.values().collect::<BTreeSet<_>>().len() > 1;
        let budget = self.policy.budget(Scenario::MultipleServicesDown);
        let mut told = Vec::new();
        for incident in self.open.values_mut().filter(|incident| is_fault(incident)) {
            if let Some(root) = roots.get(&incident.slot.service) {
                incident.root.clone_from(root);
            }
            if several && let Some(what) = incident.raise(Scenario::MultipleServicesDown, budget) {
                told.push(Change::Incident(Box::new(incident.clone()), what));
            }
        }
        told
    }

    /// Tells a person what is stopped, or down for too long. What follows from another incident is
    /// told with that one.
    fn tell(&mut self, slot: &Slot, now: Now) -> Vec<Change> {
        let policy = self.policy;
        self.change(slot, |incident| {
            let late = incident.clock.passed >= policy.budget(incident.scenario).escalate_after;
            let due = incident.stopped.is_some() || late;
            let own = incident.root == incident.slot.service;
            let told = if due && own { incident.escalate(now) } else { None };
            told.into_iter().collect()
        })
    }

    fn set_brake(&mut self, total: usize) -> Option<Change> {
        let is_down = |incident: &&Incident| {
            let track = self.tracks.get(&incident.slot);
            is_fault(incident)
                && track.is_none_or(|track| track.ready_since.is_none() && !track.held)
        };
        let down = self.open.values().filter(is_down).count();
        let brake = Brake::needed(down, total, self.policy.min_healthy);
        let before = std::mem::replace(&mut self.brake, brake);
        (before.is_some() != brake.is_some()).then_some(Change::Braked(brake))
    }

    /// When something changes by time alone, if nothing else happens.
    pub fn wake(&self, now: Mono) -> Option<Mono> {
        let mut times: Vec<Mono> = self.tracks.values().filter_map(|t| t.overdue_at()).collect();
        for (slot, incident) in &self.open {
            let Some(track) = self.tracks.get(slot) else { continue };
            if let Some(since) = track.ready_since {
                times.extend([since.after(PROVEN), since.after(RECOVERED)]);
            } else {
                times.extend(track.verify_by);
                if incident.escalated.is_none() {
                    let limit = self.policy.budget(incident.scenario).escalate_after;
                    times.push(now.after(limit.saturating_sub(incident.clock.passed)));
                }
            }
        }
        times.into_iter().filter(|at| *at > now).min()
    }
}

/// Something broke. That a new version doesn't work is no sign of a larger trouble.
fn is_fault(incident: &Incident) -> bool {
    incident.stopped != Some(Stop::Update)
}

fn steps(time: Duration) -> u64 {
    time.as_secs() / CLOCK_STEP.as_secs()
}

/// The service at the bottom of what is down below this one; of several the first by name. Services
/// may need one another in a circle only through their namespaces, and then the walk ends there.
fn root(service: &str, down: &BTreeSet<String>, needs: &dyn Fn(&str) -> Vec<String>) -> String {
    let mut seen = BTreeSet::from([service.to_owned()]);
    let mut level = BTreeSet::from([service.to_owned()]);
    let mut root = service.to_owned();
    while !level.is_empty() {
        let below = level.iter().flat_map(|name| needs(name));
        level = below.filter(|name| seen.insert(name.clone())).collect();
        if let Some(found) = level.iter().find(|name| down.contains(*name)) {
            root.clone_from(found);
        }
    }
    root
}
