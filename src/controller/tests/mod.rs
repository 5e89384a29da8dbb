//! The whole loop over the simulated engine, on paused time: observer, worker, planner, executor.
//!
//! An hour passes at once, and every run with the same seed is the same.

mod announced;
mod chaos;
mod command;
mod crash;
mod domains;
mod matrix;
mod reads;
mod recall;
mod refused;
mod renamed;
mod storms;
mod twins;
mod updates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::meter::{Meter, Uncounted};
use super::observer::{Handle, Link, Observer, RESYNC};
use super::own::Own;
use super::publish::{self, SourceView, StackSight};
use super::worker::{Goal, Parts, Tap, View, Wish, Worker};
use crate::api::status::Status;
use crate::clock::Clock;
use crate::compose::{self, LoadOptions};
use crate::desired::{Desired, Policy, ServiceTraits};
use crate::engine::sim::{Behaviour, SimEngine, WriteRecord};
use crate::engine::{ContainerId, DynEngine, Engine, Write};
use crate::execute::lease::Permit;
use crate::observed::{Container, Slot};
use crate::plan::{Memory, Scope, SlotStatus};
use crate::recovery::Word;

use announced::{Announced, Upright};

const IMAGE: &str = "app:1";

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
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
    let mut project = compose::load(&options).expect("loads");
    // One place for every version of the files.
    project.working_dir = "/stack".into();
    let recovery: Vec<String> = recovery.iter().map(|s| (*s).to_owned()).collect();
    let desired =
        Desired::new(generation, Arc::new(project), &recovery, traits, policy).expect("orders");
    Goal { desired: Arc::new(desired), probes: BTreeMap::new(), scope: Scope::default() }
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
    observer: Handle,
    goal: watch::Sender<Option<Goal>>,
    tap: Tap,
    errors: Arc<Errors>,
    worker: tokio::task::JoinHandle<()>,
    announced: Arc<Announced>,
    upright: Upright,
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
        let engine = Arc::clone(&sim) as DynEngine;
        let (observer, handle) = Observer::new(engine, sim.clock(), Arc::new(Uncounted), RESYNC);
        let announced = Announced::on(&sim);
        let stop = CancellationToken::new();
        tokio::spawn(observer.run(stop.clone()));
        Self::join(sim, handle, announced, goal, memory, Permit::unleased(), stop)
    }

    /// An operator with an observer and a lease of its own; `terms` begins to seek it.
    fn operator(
        sim: &Arc<SimEngine>,
        announced: &Arc<Announced>,
        goal: Goal,
        terms: impl FnOnce(&Handle) -> Permit,
    ) -> Self {
        let engine = Arc::clone(sim) as DynEngine;
        let (observer, handle) = Observer::new(engine, sim.clock(), Arc::new(Uncounted), RESYNC);
        let stop = CancellationToken::new();
        tokio::spawn(observer.run(stop.clone()));
        let permit = terms(&handle);
        let (sim, announced) = (Arc::clone(sim), Arc::clone(announced));
        Self::join(sim, handle, announced, goal, Memory::default(), permit, stop)
    }

    /// Another stack of the same daemon.
    fn beside(&self, goal: Goal) -> Self {
        let (sim, announced) = (Arc::clone(&self.sim), Arc::clone(&self.announced));
        let stop = CancellationToken::new();
        let memory = Memory::default();
        Self::join(sim, self.observer.clone(), announced, goal, memory, Permit::unleased(), stop)
    }

    fn join(
        sim: Arc<SimEngine>,
        observer: Handle,
        announced: Arc<Announced>,
        goal: Goal,
        memory: Memory,
        permit: Permit,
        stop: CancellationToken,
    ) -> Self {
        observer.projects.send_modify(|projects| {
            projects.insert(goal.desired.project.name.clone());
        });
        let (goal, goals) = watch::channel(Some(goal));
        let errors = Arc::new(Errors::default());
        let upright = Upright::new(&sim, &announced);
        let (worker, tap) = Worker::new(Parts {
            engine: Arc::clone(&sim) as DynEngine,
            observer: observer.clone(),
            clock: sim.clock(),
            metrics: Arc::clone(&errors) as Arc<_>,
            own: Own::default(),
            recorder: Arc::clone(&announced) as Arc<_>,
            memory,
            permit,
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
        let worker = tokio::spawn(worker.run(stop.clone()));
        let _stop = stop.drop_guard();
        Self { sim, observer, goal, tap, errors, worker, announced, upright, _stop }
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
        view.link == Link::Live
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

    /// Nothing is written, nor pulled, whether it has settled or is blocked.
    async fn stays_quiet(&self, time: Duration) {
        let pulls = || self.sim.calls().get("POST /images/create").copied();
        self.sim.forget_writes();
        let before = pulls();
        sleep(time).await;
        let writes: Vec<String> = self.sim.writes().iter().map(line).collect();
        assert!(writes.is_empty(), "written:\n{}\n{}", writes.join("\n"), self.show());
        assert_eq!(pulls(), before, "pulled: {}", self.show());
    }

    /// Somebody does something while the loop looks away; then it sees all of that at once.
    async fn while_away(&self, act: impl Future<Output = ()>) {
        let goal = self.goal.send_replace(None);
        sleep(ms(20)).await;
        act.await;
        sleep(ms(150)).await;
        self.goal.send_replace(goal);
    }

    /// What the daemon would publish.
    fn told(&self) -> Status {
        let sight = StackSight {
            name: "p".into(),
            goal: self.goal.borrow().clone(),
            view: self.view(),
            source: SourceView::default(),
        };
        let now = self.sim.clock().now().wall;
        publish::status("sim", &[sight], &Status::default(), now)
    }

    /// A person finds these words about an object (`service web/1`), in the plan's report and
    /// beside the service.
    fn says(&self, object: &str, words: &str) {
        let status = self.told();
        let report = &status.plans.first().expect("a plan").report;
        let told = report
            .iter()
            .any(|r| r.object == object && format!("{}({})", r.reason, r.message).contains(words));
        assert!(told, "nobody says `{words}` of {object}:\n{}", self.show());
        let Some(slot) = object.strip_prefix("service ") else { return };
        let row = status.services.iter().find(|s| format!("{}/{}", s.service, s.slot) == slot);
        let message = &row.expect("a row").message;
        assert!(message.contains(words), "beside {object} stands `{message}`:\n{}", self.show());
    }

    /// A person has every open incident tried again.
    async fn retry_all(&self) {
        for incident in self.view().incidents.iter().filter(|incident| incident.is_open()) {
            let (answer, known) = oneshot::channel();
            let wish = Wish::Incident(incident.id.clone(), Word::Retry, "bob".into(), answer);
            self.tap.wishes.send(wish).await.expect("it listens");
            assert!(known.await.expect("it answers"), "{} is open", incident.id);
        }
    }

    fn status(&self, service: &str) -> SlotStatus {
        let project = self.view().report.slots.keys().next().map(|s| s.project.clone());
        let project = project.unwrap_or_default();
        let slot = Slot { project, service: service.into(), number: 1 };
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
