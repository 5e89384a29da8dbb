//! What holds in every simulated row: each change of the engine was announced to the journal before,
//! its end after, and no data is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use serde_json::{Map, Value};

use super::{ms, sleep};
use crate::clock::Now;
use crate::engine::ContainerId;
use crate::engine::sim::SimEngine;
use crate::execute::{Recorder, StepResult};
use crate::plan::hold::HoldChange;
use crate::plan::memory::Lost;
use crate::plan::{Op, Plan, Resource, Step, Target};
use crate::recovery::Change;
use crate::sensitive::Sensitive;

/// Volumes that hold no data.
const LEASE: &str = "homeostat-lease-";

/// A step that began and hasn't ended.
struct Intent {
    number: i64,
    call: &'static str,
    /// The name or ID that its call must have; `None` while an earlier step has yet to make it.
    about: Option<String>,
    called: bool,
}

#[derive(Default)]
struct Book {
    last: i64,
    open: Vec<Intent>,
    all: Vec<String>,
    applied: Vec<(String, String)>,
    losses: Vec<(String, bool)>,
    holds: Vec<HoldChange>,
    recoveries: Vec<Change>,
    faults: Vec<String>,
    bodies: BTreeMap<ContainerId, Sensitive<Map<String, Value>>>,
    told: Vec<String>,
}

/// A journal that hears of the engine's changes, too, and holds them against its intents.
#[derive(Default)]
pub(super) struct Announced(Mutex<Book>);

impl Announced {
    /// Listens to an engine. Loops that share the engine must share this.
    pub fn on(sim: &SimEngine) -> Arc<Self> {
        let announced = Arc::new(Self::default());
        let ears = Arc::clone(&announced);
        sim.witness(move |call, about| ears.called(call, about));
        announced
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("no panic")
    }

    /// Every intent so far: `service web/1: start (exited 1)`.
    pub fn all(&self) -> Vec<String> {
        self.book().all.clone()
    }

    /// What a person heard, in order: `Updated service web/1: …`.
    pub fn told(&self) -> Vec<String> {
        self.book().told.clone()
    }

    /// How many containers could be made again.
    pub fn bodies(&self) -> usize {
        self.book().bodies.len()
    }

    /// Slots with the hashes that were written down as applied, in order.
    pub fn applied(&self) -> Vec<(String, String)> {
        self.book().applied.clone()
    }

    /// Volumes whose loss was written down (`true`) or struck out, in order.
    pub fn losses(&self) -> Vec<(String, bool)> {
        self.book().losses.clone()
    }

    /// What began to be held, in order, a line each.
    pub fn held(&self) -> Vec<String> {
        let book = self.book();
        let began = book.holds.iter().filter_map(|change| match change {
            HoldChange::Began(on, hold) => Some(format!("{on}: {}", hold.why())),
            _ => None,
        });
        began.collect()
    }

    /// What was held and is no longer, in order.
    pub fn held_no_longer(&self) -> Vec<String> {
        let book = self.book();
        let ended = book.holds.iter().filter_map(|change| match change {
            HoldChange::Ended(on, hold, _) => Some(format!("{on}: {}", hold.why())),
            _ => None,
        });
        ended.collect()
    }

    /// Why holds ended, in order.
    pub fn ends(&self) -> Vec<String> {
        let book = self.book();
        let ended = book.holds.iter().filter_map(|change| match change {
            HoldChange::Ended(on, _, end) => Some(format!("{on}: {end}")),
            _ => None,
        });
        ended.collect()
    }

    /// What happened to incidents so far, in order.
    pub fn recoveries(&self) -> Vec<Change> {
        self.book().recoveries.clone()
    }

    fn called(&self, call: &str, about: &str) {
        // Leases aren't the journal's: they say who may write, and nothing is done to the stack.
        if about.starts_with(LEASE) {
            return;
        }
        let mut book = self.book();
        let fits = |i: &&mut Intent| {
            !i.called && i.call == call && i.about.as_deref().is_none_or(|a| a == about)
        };
        match book.open.iter_mut().find(fits) {
            Some(intent) => intent.called = true,
            None => book.faults.push(format!("{call} {about} was never announced")),
        }
    }
}

impl Recorder for Announced {
    fn begin<'a>(&'a self, _: &'a Plan, step: &'a Step) -> BoxFuture<'a, Option<i64>> {
        async move {
            // A disk takes its time: who doesn't wait for it is found out.
            sleep(ms(1)).await;
            let mut book = self.book();
            book.last += 1;
            let number = book.last;
            let (call, about) = call_of(step);
            book.open.push(Intent { number, call, about, called: false });
            book.all.push(format!("{}: {} ({})", step.resource, step.op, step.cause));
            Some(number)
        }
        .boxed()
    }

    fn end<'a>(
        &'a self,
        record: Option<i64>,
        step: &'a Step,
        result: &'a StepResult,
    ) -> BoxFuture<'a, ()> {
        let mut book = self.book();
        let at = book.open.iter().position(|i| Some(i.number) == record);
        let intent = at.map(|at| book.open.remove(at));
        let what = format!("{}: {}", step.resource, step.op);
        match intent {
            None => book.faults.push(format!("{what} ended and never began")),
            Some(intent) if !intent.called && matches!(result, StepResult::Done(_)) => {
                book.faults.push(format!("{what} is done without a call"));
            }
            Some(_) => {}
        }
        async {}.boxed()
    }

    fn tell(&self, _: bool, reason: &'static str, object: &Resource, message: &str) {
        self.book().told.push(format!("{reason} {object}: {message}"));
    }

    fn keep_body<'a>(
        &'a self,
        id: &'a ContainerId,
        body: Sensitive<Map<String, Value>>,
    ) -> BoxFuture<'a, bool> {
        self.book().bodies.insert(id.clone(), body);
        async { true }.boxed()
    }

    fn kept_body<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Option<Sensitive<Map<String, Value>>>> {
        let body = self.book().bodies.get(id).cloned();
        async { body }.boxed()
    }

    fn release_body(&self, id: &ContainerId) {
        self.book().bodies.remove(id);
    }

    fn holds<'a>(&'a self, changes: &'a [HoldChange]) -> BoxFuture<'a, ()> {
        async move {
            sleep(ms(1)).await;
            self.book().holds.extend(changes.iter().cloned());
        }
        .boxed()
    }

    fn recovery(&self, change: &Change, _: Now) {
        self.book().recoveries.push(change.clone());
    }

    fn applied(&self, project: &str, name: &str, hash: &str) {
        self.book().applied.push((format!("{project}/{name}"), hash.to_owned()));
    }

    fn lost(&self, volume: &str, lost: Option<&Lost>) {
        self.book().losses.push((volume.to_owned(), lost.is_some()));
    }
}

fn call_of(step: &Step) -> (&'static str, Option<String>) {
    let target = |target: &Target| match target {
        Target::Existing(id) => Some(id.0.clone()),
        Target::Created(_) => None,
    };
    let resource = match &step.resource {
        Resource::Network(name) | Resource::Volume(name) => Some(name.clone()),
        _ => None,
    };
    match &step.op {
        Op::CreateNetwork { .. } => ("POST /networks/create", resource),
        Op::RemoveNetwork { id } => ("DELETE /networks/{id}", Some(id.clone())),
        Op::Connect { container, .. } => ("POST /networks/{id}/connect", target(container)),
        Op::Disconnect { container, .. } => {
            ("POST /networks/{id}/disconnect", Some(container.0.clone()))
        }
        Op::CreateVolume { .. } => ("POST /volumes/create", resource),
        Op::Pull { reference, .. } => ("POST /images/create", Some(reference.clone())),
        Op::Create { name, .. } | Op::Recreate { name, .. } => {
            ("POST /containers/create", Some(name.clone()))
        }
        Op::Start { container } => ("POST /containers/{id}/start", target(container)),
        Op::Stop { container } => ("POST /containers/{id}/stop", Some(container.0.clone())),
        Op::Restart { container } => ("POST /containers/{id}/restart", Some(container.0.clone())),
        Op::Unpause { container } => ("POST /containers/{id}/unpause", Some(container.0.clone())),
        Op::Remove { container, .. } => ("DELETE /containers/{id}", Some(container.0.clone())),
        Op::Rename { container, .. } => ("POST /containers/{id}/rename", target(container)),
    }
}

/// Looks at the end of a test whether all was announced and no volume is gone.
pub(super) struct Upright {
    sim: Arc<SimEngine>,
    announced: Arc<Announced>,
    lost: Mutex<BTreeSet<String>>,
}

impl Upright {
    pub fn new(sim: &Arc<SimEngine>, announced: &Arc<Announced>) -> Self {
        let (sim, announced) = (Arc::clone(sim), Arc::clone(announced));
        Self { sim, announced, lost: Mutex::default() }
    }

    /// A person removes a volume.
    pub fn lose(&self, volume: &str) {
        self.sim.remove_volume(volume).expect("goes");
        self.lost.lock().expect("no panic").insert(volume.to_owned());
    }
}

impl Drop for Upright {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let faults = self.announced.book().faults.clone();
        assert!(faults.is_empty(), "every action is journalled before it is done: {faults:#?}");
        let lost = self.lost.lock().expect("no panic");
        let events = self.sim.all_events();
        let gone = events.iter().filter(|e| e.kind == "volume" && e.action == "destroy");
        let gone: Vec<&str> = gone
            .map(|e| e.actor.as_str())
            .filter(|v| !lost.contains(*v) && !v.starts_with(LEASE))
            .collect();
        assert!(gone.is_empty(), "no volume is removed: {gone:?}");
    }
}
