//! The whole loop over the simulated engine, on paused time: observer, worker, planner, executor.
//!
//! An hour passes at once, and every run with the same seed is the same.

mod chaos;
mod command;
mod matrix;
mod recall;
mod storms;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::meter::{Meter, Uncounted};
use super::observer::{Handle, Observer, RESYNC};
use super::worker::{Goal, Parts, Tap, View, Worker};
use crate::compose::{self, LoadOptions};
use crate::desired::{Desired, Policy, ServiceTraits};
use crate::engine::sim::{Behaviour, SimEngine, WriteRecord};
use crate::engine::{ContainerId, DynEngine, Engine, Write};
use crate::execute::{Recorder, StepResult};
use crate::observed::{Container, Slot};
use crate::plan::{Memory, Plan, Scope, SlotStatus, Step};

const IMAGE: &str = "app:1";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A goal from a Compose file, as a load makes it.
fn goal(generation: u64, yaml: &str) -> Goal {
    goal_with(generation, yaml, Policy::default(), BTreeMap::new(), &[])
}

fn goal_with(
    generation: u64,
    yaml: &str,
    policy: Policy,
    traits: BTreeMap<String, ServiceTraits>,
    recovery: &[&str],
) -> Goal {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("compose.yaml"), yaml).expect("writes");
    let named = yaml.contains("\nname: ");
    let options = LoadOptions {
        cwd: folder.path().to_owned(),
        project_name: (!named).then(|| "p".into()),
        ..LoadOptions::default()
    };
    let project = compose::load(&options).expect("loads");
    let recovery: Vec<String> = recovery.iter().map(|s| (*s).to_owned()).collect();
    let desired =
        Desired::new(generation, Arc::new(project), &recovery, traits, policy).expect("orders");
    Goal { desired: Arc::new(desired), probes: BTreeMap::new(), scope: Scope::default() }
}

/// Writes nothing down, but sees that every write was announced.
#[derive(Default)]
struct Seen {
    begun: Mutex<Vec<String>>,
    applied: Mutex<Vec<(String, String)>>,
}

impl Recorder for Seen {
    fn begin<'a>(&'a self, _: &'a Plan, step: &'a Step) -> BoxFuture<'a, Option<i64>> {
        self.begun.lock().expect("no panic").push(format!("{}: {}", step.resource, step.op));
        async { None }.boxed()
    }

    fn end<'a>(&'a self, _: Option<i64>, _: &'a Step, _: &'a StepResult) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn applied(&self, slot: &Slot, hash: &str) {
        let slot = format!("{}/{slot}", slot.project);
        self.applied.lock().expect("no panic").push((slot, hash.to_owned()));
    }
}

/// Refused plans are defects.
#[derive(Default)]
struct Errors(Mutex<u32>);

impl Meter for Errors {
    fn reconciled(&self, result: &'static str, _took: Duration) {
        if result == "error" {
            *self.0.lock().expect("no panic") += 1;
        }
    }
}

/// A stack on a simulated engine with its loop.
struct Scene {
    sim: Arc<SimEngine>,
    goal: watch::Sender<Option<Goal>>,
    tap: Tap,
    observer: Handle,
    errors: Arc<Errors>,
    worker: tokio::task::JoinHandle<()>,
    _stop: DropGuard,
}

impl Scene {
    /// An engine with the image, and the loop over this Compose file.
    fn new(seed: u64, yaml: &str) -> Self {
        Self::on(engine(seed), goal(1, yaml))
    }

    fn on(sim: Arc<SimEngine>, goal: Goal) -> Self {
        Self::with_memory(sim, goal, Memory::default())
    }

    fn with_memory(sim: Arc<SimEngine>, goal: Goal, memory: Memory) -> Self {
        Self::recorded(sim, goal, memory, Arc::new(Seen::default()))
    }

    fn recorded(
        sim: Arc<SimEngine>,
        goal: Goal,
        memory: Memory,
        recorder: Arc<dyn Recorder>,
    ) -> Self {
        let engine: DynEngine = Arc::clone(&sim) as DynEngine;
        let clock = sim.clock();
        let stop = CancellationToken::new();
        let (observer, handle) =
            Observer::new(Arc::clone(&engine), clock.clone(), Arc::new(Uncounted), RESYNC);
        handle.projects.send_modify(|projects| {
            projects.insert(goal.desired.project.name.clone());
        });
        let (goal, goals) = watch::channel(Some(goal));
        let errors = Arc::new(Errors::default());
        let (worker, tap) = Worker::new(Parts {
            engine,
            observer: handle.clone(),
            clock,
            metrics: Arc::clone(&errors) as Arc<_>,
            recorder,
            memory,
            goal: goals,
        });
        if std::env::var_os("SHOW_STEPS").is_some() {
            let (mut steps, clock) = (tap.progress.subscribe(), sim.clock());
            tokio::spawn(async move {
                while let Ok(p) = steps.recv().await {
                    println!(
                        "{:?} {}: {} ({}) {:?}",
                        clock.elapsed(),
                        p.resource,
                        p.op,
                        p.cause,
                        p.phase
                    );
                }
            });
        }
        tokio::spawn(observer.run(stop.clone()));
        let worker = tokio::spawn(worker.run(stop.clone()));
        Self { sim, goal, tap, observer: handle, errors, worker, _stop: stop.drop_guard() }
    }

    fn view(&self) -> View {
        self.tap.views.borrow().clone()
    }

    fn edit(&self, goal: Goal) {
        self.goal.send_replace(Some(goal));
    }

    /// Everything is ready, and nothing is under way.
    fn is_settled(&self) -> bool {
        let view = self.view();
        let generation = self.goal.borrow().as_ref().map(|g| g.desired.generation);
        view.link == super::observer::Link::Live
            && Some(view.generation) == generation
            && view.plan.is_empty()
            && view.busy == 0
            && view.report.settled()
    }

    /// Waits until all is ready; says how it stands when that takes too long.
    async fn settle(&self, limit: Duration) {
        // What was just done to it must be seen first.
        sleep(ms(20)).await;
        let begun = self.sim.clock().elapsed();
        while !self.is_settled() {
            let took = self.sim.clock().elapsed() - begun;
            assert!(took <= limit, "not settled after {took:?}:\n{}", self.show());
            sleep(ms(50)).await;
        }
        assert_eq!(*self.errors.0.lock().expect("no panic"), 0, "the checker refused a plan");
    }

    fn show(&self) -> String {
        let view = self.view();
        let slots: Vec<String> = view
            .report
            .slots
            .iter()
            .map(|(slot, r)| format!("{slot} {} {}", r.status, r.message))
            .collect();
        let last: Vec<String> = self.sim.writes().iter().rev().take(12).map(line).collect();
        format!(
            "{:?} busy {}\n{}\nplan:\n{}\nreport:\n{}\nlast writes (newest first):\n{}",
            view.link,
            view.busy,
            slots.join("\n"),
            view.plan,
            view.report,
            last.join("\n")
        )
    }

    /// After it has settled nothing more is written.
    async fn stays_idle(&self, time: Duration) {
        sleep(secs(1)).await;
        self.sim.forget_writes();
        sleep(time).await;
        let writes: Vec<String> = self.sim.writes().iter().map(line).collect();
        assert!(writes.is_empty(), "idle means no writes:\n{}", writes.join("\n"));
        assert!(self.is_settled(), "{}", self.show());
    }

    fn status(&self, service: &str) -> SlotStatus {
        let slot = Slot { project: "p".into(), service: service.into(), number: 1 };
        self.view().report.slots.get(&slot).map(|r| r.status).unwrap_or_default()
    }

    /// Writes of this kind about objects of this name.
    fn count(&self, call: &str, name: &str) -> usize {
        let writes = self.sim.writes();
        writes.iter().filter(|w| w.write.call().contains(call) && w.name == name).count()
    }

    async fn containers(&self) -> Vec<Container> {
        let rows = self.sim.containers().await.expect("a list");
        let mut all = Vec::new();
        for row in rows {
            all.push(self.sim.inspect(&row.id).await.expect("it is there"));
        }
        all
    }

    /// Virtual times of the `start` events of a service's containers.
    fn starts(&self) -> Vec<String> {
        let events = self.sim.all_events();
        let starts = events.iter().filter(|e| e.kind == "container" && e.action == "start");
        starts.filter_map(|e| e.attributes.get(crate::observed::labels::SERVICE).cloned()).collect()
    }
}

fn line(record: &WriteRecord) -> String {
    let outcome = match &record.outcome {
        None => "under way".to_owned(),
        Some(Ok(_)) => "ok".to_owned(),
        Some(Err(fault)) => fault.to_string(),
    };
    format!("{:?} {} {}: {outcome}", record.at, record.write.call(), record.name)
}

fn engine(seed: u64) -> Arc<SimEngine> {
    let sim = SimEngine::new(seed);
    sim.add_image(IMAGE, "sha256:aaaa");
    Arc::new(sim)
}

/// Serves so long after its start.
fn ready_after(time: Duration) -> Behaviour {
    Behaviour { ready_after: Some(time), ..Behaviour::default() }
}

fn exits(after: Duration, code: i64) -> Behaviour {
    Behaviour { exits: Some((after, code)), ..Behaviour::default() }
}

async fn by_hand(sim: &SimEngine, write: Write) {
    sim.by_hand(write).await.expect("works by hand");
}

fn ids(containers: &[Container]) -> BTreeSet<ContainerId> {
    containers.iter().map(|c| c.id.clone()).collect()
}
