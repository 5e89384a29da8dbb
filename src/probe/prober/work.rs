//! The prober's task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::clock::{Clock, Mono};
use crate::observed::Slot;
use crate::probe::ask::Observation;
use crate::probe::prober::{MAX_RUNNING, Observe, Shared, Target, lock};
use crate::probe::schedule::{fold, next_delay};
use crate::probe::vantage::{Reached, Vantage};
use crate::probe::{Outcome, Readiness, command};

/// Slots whose vantages are remembered; a slot without a target is forgotten beyond it.
const MAX_REMEMBERED: usize = 4096;

/// One target's schedule.
struct Entry {
    target: Target,
    readiness: Readiness,
    /// When this run was first a target.
    begun: Mono,
    /// Its place in the queue.
    due: Option<Mono>,
    running: Option<AbortHandle>,
    /// Asked for while a probe was under way.
    again: bool,
}

pub(super) struct Work {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    observe: Arc<dyn Observe>,
    entries: BTreeMap<Slot, Entry>,
    queue: BTreeSet<(Mono, Slot)>,
    running: JoinSet<(Slot, Observation)>,
    reached: BTreeMap<Slot, Reached>,
    /// What the receiver hasn't taken yet, latest only.
    outbox: BTreeMap<Slot, Readiness>,
}

impl Work {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        observe: Arc<dyn Observe>,
    ) -> Self {
        Self {
            shared,
            clock,
            observe,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            running: JoinSet::new(),
            reached: BTreeMap::new(),
            outbox: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, tx: mpsc::Sender<(Slot, Readiness)>) {
        let shared = Arc::clone(&self.shared);
        loop {
            self.take_inbox();
            self.start_due();
            let wait = self.wait();
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(done) = self.running.join_next_with_id() => self.finish(done),
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                permit = tx.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(change) = self.outbox.pop_first() {
                        permit.send(change);
                    }
                }
                () = tx.closed() => return,
            }
        }
    }

    /// Time until the next probe is due; `None` while none can start.
    fn wait(&self) -> Option<Duration> {
        if self.running.len() >= MAX_RUNNING {
            return None;
        }
        let (due, _) = self.queue.first()?;
        Some(due.since(self.clock.now().mono))
    }

    fn take_inbox(&mut self) {
        let inbox = std::mem::take(&mut *lock(&self.shared.inbox));
        let now = self.clock.now().mono;
        if let Some(targets) = inbox.targets {
            self.set_targets(targets, now);
        }
        for slot in inbox.now {
            self.schedule(&slot, now);
        }
    }

    fn set_targets(&mut self, targets: BTreeMap<Slot, Target>, now: Mono) {
        let gone: Vec<Slot> =
            self.entries.keys().filter(|s| !targets.contains_key(s)).cloned().collect();
        for slot in gone {
            self.forget(&slot);
        }
        for (slot, target) in targets {
            let same_run = match self.entries.get_mut(&slot) {
                Some(entry) if entry.target == target => continue,
                Some(entry) => {
                    let same_run = entry.target.container == target.container
                        && entry.target.started == target.started;
                    if same_run {
                        cancel(entry);
                        entry.target = target.clone();
                    }
                    same_run
                }
                None => false,
            };
            if !same_run {
                self.forget(&slot);
                self.entries.insert(slot.clone(), Entry::new(target, now));
            }
            self.schedule(&slot, now);
        }
        if self.reached.len() > MAX_REMEMBERED {
            self.reached.retain(|slot, _| self.entries.contains_key(slot));
        }
    }

    /// Drops a slot's run with everything that was seen of it, its vantages excepted.
    fn forget(&mut self, slot: &Slot) {
        let Some(mut entry) = self.entries.remove(slot) else { return };
        cancel(&mut entry);
        if let Some(due) = entry.due {
            self.queue.remove(&(due, slot.clone()));
        }
        self.outbox.remove(slot);
        lock(&self.shared.table).remove(slot);
    }

    /// Puts a slot into the queue, or remembers that it is to be asked again.
    fn schedule(&mut self, slot: &Slot, due: Mono) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        if entry.running.is_some() {
            entry.again = true;
            return;
        }
        if let Some(old) = entry.due.replace(due) {
            self.queue.remove(&(old, slot.clone()));
        }
        self.queue.insert((due, slot.clone()));
    }

    fn start_due(&mut self) {
        let now = self.clock.now().mono;
        while self.running.len() < MAX_RUNNING
            && self.queue.first().is_some_and(|(due, _)| *due <= now)
        {
            let Some((_, slot)) = self.queue.pop_first() else { return };
            let Some(entry) = self.entries.get_mut(&slot) else { continue };
            entry.due = None;
            let reached = self.reached.get(&slot).cloned().unwrap_or_default();
            let observation = self.observe.observe(entry.target.clone(), reached);
            entry.running = Some(self.running.spawn(async move { (slot, observation.await) }));
        }
    }

    fn finish(&mut self, done: Result<(Id, (Slot, Observation)), JoinError>) {
        let (id, slot, observation) = match done {
            Ok((id, (slot, observation))) => (id, slot, observation),
            Err(error) => {
                let id = error.id();
                let Some(slot) = self.slot_of(id) else { return };
                let outcome = Outcome::unknown("ProbeFailed", "the probe ended by a panic");
                (id, slot, Observation { outcome, reached: None })
            }
        };
        let Some(entry) = self.entries.get_mut(&slot) else { return };
        // A cancelled probe may have ended all the same.
        if entry.running.as_ref().map(AbortHandle::id) != Some(id) {
            return;
        }
        entry.running = None;
        let spacing = match &observation.reached {
            Some(Vantage::Exec) => command::SPACING,
            _ => Duration::ZERO,
        };
        if let Some(vantage) = observation.reached {
            self.reached.entry(slot.clone()).or_default().insert(vantage);
        }
        let now = self.clock.now().mono;
        let (readiness, tell) = fold(&entry.readiness, observation.outcome, now);
        entry.readiness = readiness.clone();
        let delay = match std::mem::take(&mut entry.again) {
            true => Duration::ZERO,
            false => next_delay(&readiness, entry.begun, entry.target.probe.interval, now),
        };
        lock(&self.shared.table).insert(slot.clone(), readiness.clone());
        if tell || self.outbox.contains_key(&slot) {
            self.outbox.insert(slot.clone(), readiness);
        }
        self.schedule(&slot, now.after(delay.max(spacing)));
    }

    fn slot_of(&self, id: Id) -> Option<Slot> {
        let running = |e: &Entry| e.running.as_ref().map(AbortHandle::id) == Some(id);
        self.entries.iter().find(|(_, entry)| running(entry)).map(|(slot, _)| slot.clone())
    }
}

impl Entry {
    fn new(target: Target, begun: Mono) -> Self {
        let readiness = Readiness {
            container: target.container.clone(),
            started: target.started,
            ..Readiness::default()
        };
        Self { target, readiness, begun, due: None, running: None, again: false }
    }
}

fn cancel(entry: &mut Entry) {
    entry.again = false;
    if let Some(running) = entry.running.take() {
        running.abort();
    }
}
