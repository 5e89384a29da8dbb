//! Row 39: the journal is damaged, or its disk takes no writes. The stack is kept all the same, and what is
//! missing in the journal is written down once that can be.

use super::*;
use crate::clock::Timestamp;
use crate::controller::recall;
use crate::controller::recording::JournalRecorder;
use crate::metrics::Metrics;
use crate::store::{EventQuery, Handle as Store, Journal, JournalError};

const YAML: &str = "
services:
  init: {image: 'app:1', labels: {k: init}}
  db: {image: 'app:1', depends_on: {init: {condition: service_completed_successfully}}}
  bad: {image: 'app:1', command: [bad]}
";

/// A daemon of one stack with a journal of its own.
struct Daemon {
    sim: Arc<SimEngine>,
    store: Store,
    tap: Tap,
    goal: Goal,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Daemon {
    async fn start(sim: &Arc<SimEngine>, journal: &Arc<Mutex<Journal>>, goal: Goal) -> Self {
        let store = Store::on_runtime(Arc::clone(journal), || sleep(ms(1)));
        let engine = Arc::clone(sim) as DynEngine;
        let stop = CancellationToken::new();
        let (observer, handle) =
            Observer::new(Arc::clone(&engine), sim.clock(), Arc::new(Uncounted), RESYNC);
        handle.projects.send_modify(|projects| {
            projects.insert("p".into());
        });
        tokio::spawn(observer.run(stop.clone()));
        let memory = recall::memory(&store, "E", &goal, &*sim.clock()).await;
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let recorder = JournalRecorder::new(store.clone(), Arc::clone(&metrics), "E", "p");
        let (worker, tap) = Worker::new(Parts {
            engine,
            observer: handle,
            clock: sim.clock(),
            metrics: Arc::new(Uncounted),
            own: Own::default(),
            recorder: Arc::new(recorder),
            memory,
            permit: Permit::unleased(),
            goal: watch::channel(Some(goal.clone())).1,
        });
        tokio::spawn(worker.run(stop.clone()));
        let sim = Arc::clone(sim);
        Self { sim, store, tap, goal, metrics, _stop: stop.drop_guard() }
    }

    fn status(&self, service: &str) -> SlotStatus {
        let slot = Slot { project: "p".into(), service: service.into(), number: 1 };
        self.tap.views.borrow().report.slots.get(&slot).map(|s| s.status).unwrap_or_default()
    }

    fn errors(&self) -> f64 {
        let text = String::from_utf8(self.metrics.expose().expect("text")).expect("text");
        let line = text.lines().find(|l| l.starts_with("homeostat_journal_errors_total "));
        line.and_then(|l| l.rsplit_once(' ')).map(|(_, n)| n.parse().expect("n")).expect("counted")
    }

    /// What the next start will know.
    async fn recalled(&self) -> Memory {
        recall::memory(&self.store, "E", &self.goal, &*self.sim.clock()).await
    }

    /// The next start knows what this run does.
    async fn knows_all(&self) {
        let known = self.recalled().await;
        for (service, hash) in &self.goal.desired.hashes {
            assert_eq!(known.applied.get(service), Some(hash));
        }
        assert!(known.jobs.contains_key("init"), "{:?}", known.jobs);
        let bad = known.backoff.keys().any(|slot| slot.service == "bad");
        assert!(bad, "{:?}", known.backoff);
        let made = self.sim.containers().await.expect("a list");
        for container in &made {
            assert!(known.owned.contains(&container.id), "{} isn't ours", container.name);
        }
    }
}

fn journal(sim: &SimEngine) -> Arc<Mutex<Journal>> {
    Arc::new(Mutex::new(Journal::in_memory(sim.clock()).expect("opens")))
}

fn with_faults(seed: u64) -> Arc<SimEngine> {
    let sim = engine(seed);
    sim.behave("init", exits(ms(50), 0));
    sim.behave("bad", exits(ms(50), 1));
    sim
}

#[tokio::test(start_paused = true)]
async fn row_39_a_disk_that_takes_no_writes_stops_nobody_and_what_is_missing_is_written_later() {
    let sim = with_faults(1);
    let journal = journal(&sim);
    let read_only = |is| journal.lock().expect("no panic").read_only(is);
    read_only(true);
    let daemon = Daemon::start(&sim, &journal, goal(1, YAML)).await;
    sleep(secs(120)).await;
    assert_eq!(daemon.status("db"), SlotStatus::Ready);
    assert_eq!(daemon.status("init"), SlotStatus::Completed);
    assert!(daemon.errors() > 10.0, "{}", daemon.errors());
    let health = daemon.store.health();
    assert_eq!(health.borrow().failing.as_ref().map(|f| f.reason), Some("JournalUnusable"));
    assert!(daemon.recalled().await.applied.is_empty(), "nothing got through");

    read_only(false);
    sleep(secs(60)).await;
    assert_eq!(health.borrow().failing, None);
    daemon.knows_all().await;
    let errors = daemon.errors();
    sleep(secs(600)).await;
    assert!((daemon.errors() - errors).abs() < 0.5, "none since");
    let events = daemon.store.events(EventQuery { limit: 1000, ..EventQuery::default() }).await;
    let events = events.expect("reads");
    assert!(events.iter().any(|e| e.event.reason == "JournalRecovered"));
}

#[tokio::test(start_paused = true)]
async fn row_39_a_journal_that_goes_bad_in_use_is_written_anew() {
    let sim = with_faults(1);
    let journal = journal(&sim);
    let daemon = Daemon::start(&sim, &journal, goal(1, YAML)).await;
    sleep(secs(120)).await;
    daemon.knows_all().await;
    let damage = |_: &mut Journal| -> Result<(), JournalError> {
        Err(JournalError::Corrupt { reason: "page 7".into() })
    };
    daemon.store.call(damage).await.expect_err("said");
    assert!(daemon.recalled().await.applied.is_empty(), "it began anew");
    sleep(secs(60)).await;
    daemon.knows_all().await;
}

#[tokio::test(start_paused = true)]
async fn row_39_a_start_without_the_journal_starts_and_recreates_nothing() {
    let sim = with_faults(1);
    let before = {
        let journal = journal(&sim);
        let _daemon = Daemon::start(&sim, &journal, goal(1, YAML)).await;
        sleep(secs(120)).await;
        runs(&sim).await
    };
    // Lost with it: that these are ours, and that the edit was made while nobody looked.
    let edited = YAML.replace("db: {", "db: {environment: {MODE: other}, ");
    let daemon = Daemon::start(&sim, &journal(&sim), goal(2, &edited)).await;
    sleep(secs(600)).await;
    assert_eq!(runs(&sim).await, before);
    let report = daemon.tap.views.borrow().report.to_string();
    assert!(report.contains("service db/1: held(differs: environment.MODE"), "{report}");
}

/// ID and start of each container that doesn't end by itself again and again.
async fn runs(sim: &SimEngine) -> Vec<(String, ContainerId, Option<Timestamp>)> {
    let mut runs = Vec::new();
    for row in sim.containers().await.expect("a list") {
        let container = sim.inspect(&row.id).await.expect("is there");
        if row.name != "p-bad-1" {
            runs.push((row.name, row.id, container.started));
        }
    }
    runs
}
