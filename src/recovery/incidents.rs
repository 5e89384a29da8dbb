//! The incidents of one project: what opens them, what counts, what ends them.

mod person;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::brake::Brake;
use super::budget::{RecoveryPolicy, Scenario};
use super::incident::{EndReason, Generation, Incident, IncidentId, Run, Stop, What};
use super::slot::{Sight, Track};
use crate::clock::{Mono, Now};
use crate::observed::{ExitCause, Slot};

pub use person::Word;

/// Ended incidents that a loop keeps in view.
const KEPT_ENDED: usize = 20;

/// Something that must be written down.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Something happened to an incident, which stands so now.
    Incident(Box<Incident>, What),
    /// A slot was Ready in this generation for the first time.
    Proven(Slot, Generation),
    /// A run ended by itself.
    Fell(Slot, Run),
    /// A person's word or an edit: falls before count no more.
    Forgiven(Slot),
    /// The brake was set, or let go.
    Braked(Option<Brake>),
}

/// What the journal remembers of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Incidents, oldest first; a bounded number of them ended.
    pub incidents: Vec<Incident>,
    /// Generation in which each slot was Ready.
    pub proven: BTreeMap<Slot, Generation>,
    /// Runs that ended by themselves and how long ago, oldest first.
    pub falls: Vec<(Slot, Run, Duration)>,
}

/// How a slot stands after planning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// It is Ready, or ended well.
    pub ready: bool,
    /// It runs, and its health asks for a restart.
    pub ill: bool,
}

/// How a step of an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepEnd<'a> {
    /// A process was started.
    Started,
    /// The engine says that what the service is to run can't be started: its own fault.
    Refused(&'a str),
    /// Somebody else's fault, or it wasn't tried.
    Failed(&'a str),
}

/// Whether a slot's recovery may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// No incident is open: nothing is counted.
    Uncounted,
    /// This attempt of so many.
    Attempt {
        /// Its number within the budget, from 1.
        number: u32,
        /// Attempts that may fail.
        budget: u32,
    },
    /// The last attempt isn't judged yet.
    Judging {
        /// Attempts that may fail.
        budget: u32,
    },
    /// Nothing more is tried.
    Exhausted {
        /// Attempts that failed.
        spent: u32,
        /// Attempts that may fail.
        budget: u32,
        /// Why.
        why: Stop,
    },
}

/// The incidents of one project, and what is remembered of each slot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Incidents {
    open: BTreeMap<Slot, Incident>,
    ended: VecDeque<Incident>,
    tracks: BTreeMap<Slot, Track>,
    policy: RecoveryPolicy,
    brake: Option<Brake>,
}

impl Incidents {
    /// What the journal remembers. An attempt that is open is judged by what is seen.
    pub fn recall(recalled: Recalled, now: Now) -> Self {
        let mut all = Self::default();
        for (slot, generation) in recalled.proven {
            let track = Track { generation, proven: true, ..Track::default() };
            all.tracks.insert(slot, track);
        }
        for (slot, run, ago) in recalled.falls {
            let track = all.tracks.entry(slot).or_default();
            // The clock of this process has no times before its beginning.
            track.falls.add(Mono(now.mono.0.saturating_sub(ago)));
            track.booked = Some(run);
        }
        for incident in recalled.incidents {
            if !incident.is_open() {
                all.keep_ended(incident);
                continue;
            }
            let track = all.tracks.entry(incident.slot.clone()).or_default();
            if track.generation == Generation::default() {
                track.generation = incident.generation.clone();
            }
            all.open.insert(incident.slot.clone(), incident);
        }
        all
    }

    /// The budgets and the brake that the files ask for.
    pub const fn set_policy(&mut self, policy: RecoveryPolicy) {
        self.policy = policy;
    }

    /// Incidents that haven't ended, by slot.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// Those and the last ones that have, oldest first.
    pub fn all(&self) -> Vec<Incident> {
        let mut all: Vec<Incident> = self.ended.iter().chain(self.open.values()).cloned().collect();
        all.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
        all
    }

    /// In which generation each slot was Ready.
    pub fn proven(&self) -> BTreeMap<Slot, Generation> {
        let proven = self.tracks.iter().filter(|(_, track)| track.proven);
        proven.map(|(slot, track)| (slot.clone(), track.generation.clone())).collect()
    }

    /// The open incident of a slot.
    pub fn of(&self, slot: &Slot) -> Option<&Incident> {
        self.open.get(slot)
    }

    /// Whether the project's recoveries happen one at a time now.
    pub const fn brake(&self) -> Option<Brake> {
        self.brake
    }

    /// Slots whose recovery is under way: an attempt is open and hasn't made it Ready yet.
    pub fn recovering(&self) -> impl Iterator<Item = &Slot> {
        let under_way = |incident: &&Incident| incident.attempt().is_some_and(|a| !a.verified);
        self.open.values().filter(under_way).map(|incident| &incident.slot)
    }

    /// Whether a slot's recovery may be tried.
    pub fn allowance(&self, slot: &Slot) -> Allowance {
        let Some(incident) = self.open.get(slot) else { return Allowance::Uncounted };
        let (used, budget) = (incident.used(), incident.budget);
        match incident.stopped {
            Some(why) => Allowance::Exhausted { spent: incident.spent, budget, why },
            // A scenario with a smaller budget began meanwhile.
            None if incident.spent >= budget => {
                Allowance::Exhausted { spent: incident.spent, budget, why: Stop::Budget }
            }
            None if used >= budget => Allowance::Judging { budget },
            None => Allowance::Attempt { number: used + 1, budget },
        }
    }

    /// Whether each slot with an open incident may be tried, and whether the project brakes: what a
    /// plan rests on.
    pub fn allowances(&self) -> (Vec<(Slot, Allowance)>, bool) {
        let all = self.open.keys().map(|slot| (slot.clone(), self.allowance(slot)));
        (all.collect(), self.brake.is_some())
    }

    /// What is seen of a slot before planning: whether it is another generation, runs anew, died.
    pub fn see(&mut self, sight: &Sight, now: Now) -> Vec<Change> {
        let mut told = Vec::new();
        let slot = &sight.slot;
        let track = self.tracks.entry(slot.clone()).or_default();
        if !track.generation.is(&sight.generation) {
            track.renew(sight.generation.clone());
            told.extend(self.finish(slot, EndReason::Changed, "", now));
        }
        let track = self.tracks.entry(slot.clone()).or_default();
        if track.generation.image.is_empty() {
            track.generation.image.clone_from(&sight.generation.image);
        }
        (track.deadline, track.engine_owned) = (sight.deadline, sight.engine_owned);
        track.held = sight.held;
        let by_engine = track.restarted(sight.run.as_ref(), sight.engine_restarts);
        if sight.held {
            // What a person holds isn't ours to judge; what comes after it is news.
            track.book(sight.run.as_ref().filter(|_| sight.death.is_some()));
            track.run.clone_from(&sight.run);
            (track.ready_since, track.begun, track.verify_by) = (None, None, None);
            told.extend(self.change(slot, |incident| incident.withdraw("held")));
            return told;
        }
        if sight.run.is_some() && track.run != sight.run {
            track.run.clone_from(&sight.run);
            track.ready_since = None;
            track.begun = track.begun.or(Some(now.mono));
            self.runs(slot, sight, now);
        }
        if sight.death.is_none() && sight.run.is_none() {
            let track = self.tracks.entry(slot.clone()).or_default();
            track.ready_since = None;
        }
        for _ in 0..by_engine.min(super::crash_loop::FALLS as u64) {
            told.extend(self.fell(sight, "restarted by the engine", now));
        }
        let track = self.tracks.entry(slot.clone()).or_default();
        if let Some(death) = sight.death
            && track.book(sight.run.as_ref())
        {
            track.ready_since = None;
            if death.cause == ExitCause::Spontaneous {
                told.extend(self.fell(sight, &format!("exited {}", death.code), now));
            } else {
                told.extend(self.change(slot, |incident| match incident.attempt() {
                    Some(attempt) if attempt.ran => incident.withdraw("ended by somebody else"),
                    _ => Vec::new(),
                }));
            }
        }
        told
    }

    /// A run that wasn't seen before: the open attempt's, if it is a later one.
    fn runs(&mut self, slot: &Slot, sight: &Sight, now: Now) {
        let Some(incident) = self.open.get_mut(slot) else { return };
        let Some(attempt) = incident.attempt_mut() else { return };
        if attempt.before != sight.run && !attempt.ran {
            attempt.ran = true;
            let track = self.tracks.entry(slot.clone()).or_default();
            track.verify_by = track.deadline.map(|deadline| now.mono.after(deadline));
        }
    }

    /// A slot's process ended by itself.
    fn fell(&mut self, sight: &Sight, cause: &str, now: Now) -> Vec<Change> {
        let slot = &sight.slot;
        let mut told = Vec::new();
        let track = self.tracks.entry(slot.clone()).or_default();
        track.falls.add(now.mono);
        let is_loop = track.falls.is_loop(now.mono);
        let known = track.proven || track.is_overdue(now.mono);
        let ours = !track.engine_owned || sight.death.is_some();
        told.extend(self.change(slot, |incident| match incident.attempt() {
            Some(attempt) if attempt.ran => incident.fail(cause),
            _ => Vec::new(),
        }));
        if known && (ours || is_loop) {
            told.extend(self.open_for(slot, cause, now));
        }
        if is_loop {
            told.extend(
                self.change(slot, |incident| incident.stop(Stop::CrashLoop).into_iter().collect()),
            );
        }
        // Last: whoever is killed in between sees the death again, and has its incident already.
        if let Some(run) = &sight.run {
            told.push(Change::Fell(slot.clone(), run.clone()));
        }
        told
    }

    /// Opens an incident unless one is open.
    fn open_for(&mut self, slot: &Slot, cause: &str, now: Now) -> Vec<Change> {
        if self.open.contains_key(slot) {
            return Vec::new();
        }
        let generation = self.tracks.get(slot).map(|t| t.generation.clone()).unwrap_or_default();
        let taken = |id: &IncidentId| self.open.values().chain(&self.ended).any(|i| i.id == *id);
        let id = (0..).map(|again| IncidentId::new(slot, now.wall, again)).find(|id| !taken(id));
        let scenario = Scenario::SingleServiceDown;
        let budget = self.policy.budget(scenario);
        let incident = Incident::open(
            id.unwrap_or_default(),
            slot.clone(),
            scenario,
            budget,
            generation,
            cause.to_owned(),
            now,
        );
        let told = Change::Incident(Box::new(incident.clone()), What::Opened);
        self.open.insert(slot.clone(), incident);
        vec![told]
    }

    /// An update failed, and only a person can say what is to become of the service. `cause` says
    /// what they need to know.
    pub fn update_failed(&mut self, slot: &Slot, cause: &str, now: Now) -> Vec<Change> {
        let mut told = self.open_for(slot, cause, now);
        told.extend(
            self.change(slot, |incident| incident.stop(Stop::Update).into_iter().collect()),
        );
        told
    }

    /// How a slot stands after planning.
    pub fn stands(&mut self, slot: &Slot, standing: Standing, now: Now) -> Vec<Change> {
        let mut told = Vec::new();
        let Some(track) = self.tracks.get_mut(slot).filter(|track| !track.held) else {
            return told;
        };
        if !standing.ready {
            track.ready_since = None;
            // A recovery is asked for again before the last one had time to prove itself.
            if standing.ill {
                told.extend(self.change(slot, |incident| match incident.attempt() {
                    Some(attempt) if attempt.ran => incident.fail("unhealthy"),
                    _ => Vec::new(),
                }));
            }
            return told;
        }
        track.ready_since = track.ready_since.or(Some(now.mono));
        if !std::mem::replace(&mut track.proven, true) {
            told.push(Change::Proven(slot.clone(), track.generation.clone()));
        }
        if let Some(attempt) = self.open.get_mut(slot).and_then(Incident::attempt_mut) {
            attempt.verified |= attempt.ran;
        }
        told
    }

    /// A restart is due for a slot whose health fails; true while its incident lets it be tried.
    pub fn falls_ill(&mut self, slot: &Slot, cause: &str, now: Now) -> Vec<Change> {
        let Some(track) = self.tracks.get_mut(slot).filter(|track| !track.held) else {
            return Vec::new();
        };
        track.falls.add(now.mono);
        let is_loop = track.falls.is_loop(now.mono);
        if !track.proven && !track.is_overdue(now.mono) {
            return Vec::new();
        }
        let mut told = self.open_for(slot, cause, now);
        if is_loop {
            told.extend(
                self.change(slot, |incident| incident.stop(Stop::CrashLoop).into_iter().collect()),
            );
        }
        told
    }

    /// A recovery of a slot with an open incident is about to begin.
    pub fn begin_attempt(&mut self, slot: &Slot, what: &str, now: Now) -> Vec<Change> {
        let track = self.tracks.entry(slot.clone()).or_default();
        track.verify_by = None;
        let before = track.run.clone();
        self.change(slot, |incident| incident.begin_attempt(what.to_owned(), before, now))
    }

    /// A step of the open attempt ended.
    pub fn step_ended(&mut self, slot: &Slot, end: StepEnd<'_>, now: Now) -> Vec<Change> {
        let track = self.tracks.entry(slot.clone()).or_default();
        let verify_by = track.deadline.map(|deadline| now.mono.after(deadline));
        match end {
            StepEnd::Started => {
                if let Some(attempt) = self.open.get_mut(slot).and_then(Incident::attempt_mut)
                    && !attempt.ran
                {
                    attempt.ran = true;
                    track.verify_by = verify_by;
                }
                Vec::new()
            }
            StepEnd::Refused(why) => self.change(slot, |incident| incident.fail(why)),
            StepEnd::Failed(why) => self.change(slot, |incident| match incident.attempt() {
                Some(attempt) if !attempt.ran => incident.withdraw(why),
                _ => Vec::new(),
            }),
        }
    }

    /// Ends a slot's incident.
    fn finish(&mut self, slot: &Slot, reason: EndReason, by: &str, now: Now) -> Vec<Change> {
        let Some(mut incident) = self.open.remove(slot) else { return Vec::new() };
        let whats = incident.end(reason, by, now);
        if let Some(track) = self.tracks.get_mut(slot) {
            track.falls.forget();
            track.verify_by = None;
        }
        let mut told = snapshots(&incident, whats);
        told.push(Change::Forgiven(slot.clone()));
        self.keep_ended(incident);
        told
    }

    fn keep_ended(&mut self, incident: Incident) {
        self.ended.push_back(incident);
        if self.ended.len() > KEPT_ENDED {
            self.ended.pop_front();
        }
    }

    /// Changes the open incident of a slot.
    fn change(
        &mut self,
        slot: &Slot,
        change: impl FnOnce(&mut Incident) -> Vec<What>,
    ) -> Vec<Change> {
        let Some(incident) = self.open.get_mut(slot) else { return Vec::new() };
        let whats = change(incident);
        snapshots(incident, whats)
    }

    /// Forgets slots that nobody wants any more.
    pub fn keep_only(&mut self, wanted: impl Fn(&Slot) -> bool, now: Now) -> Vec<Change> {
        let gone: BTreeSet<Slot> =
            self.tracks.keys().chain(self.open.keys()).filter(|s| !wanted(s)).cloned().collect();
        let mut told = Vec::new();
        for slot in gone {
            told.extend(self.finish(&slot, EndReason::Gone, "", now));
            self.tracks.remove(&slot);
        }
        told
    }
}

fn snapshots(incident: &Incident, whats: Vec<What>) -> Vec<Change> {
    let told = whats.into_iter();
    told.map(|what| Change::Incident(Box::new(incident.clone()), what)).collect()
}
