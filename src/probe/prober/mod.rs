//! Probes every target on its schedule and tells of changes.
//!
//! # Guarantees
//! - At most one probe of a slot, and [`MAX_RUNNING`] altogether, run at a time.
//! - An outcome belongs to the run (container and start) that it was asked of: when a slot's run
//!   changes or goes, the probe under way is cancelled.
//! - The channel gets the latest readiness of a slot that changed; a slow receiver misses
//!   intermediate ones, never the last. Counters that it isn't told of are in
//!   [`Prober::readiness`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::engine::{ContainerId, DynEngine};
use crate::observed::Slot;
use crate::probe::ask::{Observation, ask};
use crate::probe::command::{self, Commands};
use crate::probe::spec::Probe;
use crate::probe::vantage::{Candidate, Reached};
use crate::probe::{Answer, Readiness};

#[cfg(test)]
mod tests;
mod work;

/// Most probes at a time.
pub const MAX_RUNNING: usize = 32;

/// One run of a slot's container, and how to ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The container.
    pub container: ContainerId,
    /// Its `StartedAt`, milliseconds since the epoch.
    pub started: i64,
    /// What to ask.
    pub probe: Arc<Probe>,
    /// Where.
    pub candidates: Vec<Candidate>,
    /// Its driver's client may be run inside it.
    pub command: bool,
}

/// Makes one observation: the seam between the schedule and the network.
pub trait Observe: Send + Sync + 'static {
    /// Observes within the probe's own deadline.
    fn observe(&self, target: Target, reached: Reached) -> BoxFuture<'static, Observation>;
}

/// Hears of every answer, for metrics.
pub type Count = Arc<dyn Fn(Answer) + Send + Sync>;

/// Observes over the network.
struct Network {
    clock: Arc<dyn Clock>,
    count: Count,
    commands: Arc<Commands>,
}

impl Observe for Network {
    fn observe(&self, target: Target, reached: Reached) -> BoxFuture<'static, Observation> {
        let (clock, count) = (Arc::clone(&self.clock), Arc::clone(&self.count));
        let commands = Arc::clone(&self.commands);
        async move {
            let mut seen = ask(&target.probe, &target.candidates, &reached, &*clock).await;
            if target.command && command::due(&seen, &reached) {
                seen = commands.ask(&target.container, &target.probe, &*clock).await;
            }
            count(seen.outcome.answer);
            seen
        }
        .boxed()
    }
}

/// What the handle leaves for the task.
#[derive(Debug, Default)]
struct Inbox {
    targets: Option<BTreeMap<Slot, Target>>,
    now: BTreeSet<Slot>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Notify,
    table: Mutex<BTreeMap<Slot, Readiness>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves whole values behind, whatever panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle of the prober's task, which ends with it, or when the receiver is gone.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Starts a prober without targets, on the present tokio runtime.
    pub fn new(
        clock: Arc<dyn Clock>,
        tx: mpsc::Sender<(Slot, Readiness)>,
        count: Count,
        engine: DynEngine,
    ) -> Self {
        let commands = Arc::new(Commands::new(engine));
        let observe = Arc::new(Network { clock: Arc::clone(&clock), count, commands });
        Self::with(clock, tx, observe)
    }

    /// Starts a prober that observes by other means.
    pub fn with(
        clock: Arc<dyn Clock>,
        tx: mpsc::Sender<(Slot, Readiness)>,
        observe: Arc<dyn Observe>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let work = work::Work::new(Arc::clone(&shared), clock, observe);
        Self { shared, task: tokio::spawn(work.run(tx)) }
    }

    /// Replaces the targets. One that is as it was keeps its schedule; a new run starts from
    /// nothing; another probe or address of the same run is asked at once.
    pub fn set_targets(&self, targets: BTreeMap<Slot, Target>) {
        lock(&self.shared.inbox).targets = Some(targets);
        self.shared.wake.notify_one();
    }

    /// Asks a slot at once, or again if a probe of it is under way. Unknown slots are ignored.
    pub fn probe_now(&self, slot: &Slot) {
        lock(&self.shared.inbox).now.insert(slot.clone());
        self.shared.wake.notify_one();
    }

    /// What is known of every target that has been observed in its present run.
    pub fn readiness(&self) -> BTreeMap<Slot, Readiness> {
        lock(&self.shared.table).clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}
