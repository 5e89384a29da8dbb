use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::api::stack::ServiceSpec;
use crate::clock::{Mono, SystemClock};
use crate::probe::vantage::Vantage;
use crate::probe::{Answer, Outcome};

/// Answers by a script of (time that it takes, outcome), the last one for ever, and notes when
/// each probe began.
struct Script {
    clock: Arc<SystemClock>,
    script: Mutex<VecDeque<(Duration, Outcome)>>,
    begun: Mutex<Vec<(u64, Mono, Reached)>>,
    running: Mutex<usize>,
    most: Mutex<usize>,
}

struct Running(Arc<Script>);

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
    }
}

struct Scripted(Arc<Script>);

impl Observe for Scripted {
    fn observe(&self, target: Target, reached: Reached) -> BoxFuture<'static, Observation> {
        let script = Arc::clone(&self.0);
        async move {
            let (takes, outcome) = {
                let mut steps = lock(&script.script);
                let step = if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() };
                step.expect("a script")
            };
            let run = target.started.unsigned_abs();
            lock(&script.begun).push((run, script.clock.now().mono, reached));
            let running = Running(Arc::clone(&script));
            let now = {
                let mut count = lock(&script.running);
                *count += 1;
                *count
            };
            let most = now.max(*lock(&script.most));
            *lock(&script.most) = most;
            tokio::time::sleep(takes).await;
            drop(running);
            let reached = (outcome.answer == Answer::Ready).then_some(Vantage::Published);
            Observation { outcome, reached }
        }
        .boxed()
    }
}

struct Bench {
    prober: Prober,
    script: Arc<Script>,
    changes: mpsc::Receiver<(Slot, Readiness)>,
}

fn bench(script: &[(u64, Outcome)]) -> Bench {
    let clock = Arc::new(SystemClock::new());
    let steps = script.iter().map(|(ms, o)| (Duration::from_millis(*ms), o.clone())).collect();
    let script = Arc::new(Script {
        clock: Arc::clone(&clock),
        script: Mutex::new(steps),
        begun: Mutex::default(),
        running: Mutex::default(),
        most: Mutex::default(),
    });
    let (tx, changes) = mpsc::channel(16);
    let prober = Prober::with(clock, tx, Arc::new(Scripted(Arc::clone(&script))));
    Bench { prober, script, changes }
}

impl Bench {
    /// Milliseconds at which probes began.
    fn begun(&self) -> Vec<u128> {
        lock(&self.script.begun).iter().map(|(_, at, _)| at.0.as_millis()).collect()
    }

    fn told(&mut self) -> Vec<Readiness> {
        std::iter::from_fn(|| self.changes.try_recv().ok()).map(|(_, r)| r).collect()
    }
}

fn slot(number: u32) -> Slot {
    Slot { project: "p".into(), service: "s".into(), number }
}

fn target(started: i64) -> Target {
    let spec: ServiceSpec = serde_saphyr::from_str("driver: valkey\n").expect("a spec");
    let probe = Probe::of(&spec).expect("valid").expect("a probe");
    let container = ContainerId("c".into());
    let probe = Arc::new(probe);
    Target { container, started, probe, candidates: Vec::new(), command: false }
}

fn one(started: i64) -> BTreeMap<Slot, Target> {
    BTreeMap::from([(slot(1), target(started))])
}

fn refused() -> Outcome {
    Outcome::not_ready("Refused", "")
}

async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_ready_service_is_asked_every_ten_seconds_and_told_once() {
    let mut bench = bench(&[(0, Outcome::ready())]);
    bench.prober.set_targets(one(1));
    pass(35_000).await;
    assert_eq!(bench.begun().iter().map(|ms| ms / 1000).collect::<Vec<_>>(), [0, 10, 20, 30]);
    let told = bench.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].last.answer, told[0].was_ready, told[0].started), (Answer::Ready, true, 1));
}

#[tokio::test(start_paused = true)]
async fn becoming_ready_is_seen_within_tens_of_milliseconds() {
    let mut script = vec![(0, refused()); 30];
    script.push((0, Outcome::ready()));
    let mut bench = bench(&script);
    bench.prober.set_targets(one(1));
    pass(1000).await;
    let begun = bench.begun();
    assert_eq!(begun.len(), 31);
    assert!(begun.windows(2).all(|w| w[1] - w[0] <= 12), "{begun:?}");
    let answers: Vec<_> = bench.told().iter().map(|r| (r.last.answer, r.failures)).collect();
    assert_eq!(answers, [(Answer::NotReady, 1), (Answer::Ready, 0)]);
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_are_told_and_the_counter_goes_on() {
    let mut bench = bench(&[(0, Outcome::ready()), (0, refused())]);
    bench.prober.set_targets(one(1));
    pass(20_000).await;
    let told: Vec<_> = bench.told().iter().map(|r| (r.last.answer, r.failures)).collect();
    assert_eq!(
        told,
        [(Answer::Ready, 0), (Answer::NotReady, 1), (Answer::NotReady, 3)],
        "one, then the threshold"
    );
    let known = bench.prober.readiness();
    assert!(known[&slot(1)].failures >= 7, "{known:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_run_starts_from_nothing_and_cancels_the_old_probe() {
    let mut bench = bench(&[(1000, Outcome::ready()), (1000, refused())]);
    bench.prober.set_targets(one(1));
    pass(500).await;
    bench.prober.set_targets(one(2));
    pass(800).await;
    assert!(bench.told().is_empty(), "the old run's answer is nobody's");
    assert_eq!(bench.prober.readiness(), BTreeMap::new());
    pass(300).await;
    let told = bench.told();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].started, told[0].last.answer), (2, Answer::NotReady));
}

#[tokio::test(start_paused = true)]
async fn removed_targets_are_probed_no_more() {
    let mut bench = bench(&[(1000, Outcome::ready())]);
    bench.prober.set_targets(one(1));
    pass(500).await;
    assert_eq!(*lock(&bench.script.running), 1);
    bench.prober.set_targets(BTreeMap::new());
    pass(1).await;
    assert_eq!(*lock(&bench.script.running), 0, "cancelled, not awaited");
    pass(60_000).await;
    assert_eq!(bench.begun().len(), 1);
    assert!(bench.told().is_empty());
    assert!(bench.prober.readiness().is_empty());
}

#[tokio::test(start_paused = true)]
async fn setting_the_same_targets_changes_nothing() {
    let bench = bench(&[(0, Outcome::ready())]);
    for _ in 0..50 {
        bench.prober.set_targets(one(1));
        pass(100).await;
    }
    assert_eq!(bench.begun().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn probe_now_asks_at_once_and_again_after_a_probe_under_way() {
    let bench = bench(&[(100, Outcome::ready())]);
    bench.prober.set_targets(one(1));
    pass(1000).await;
    bench.prober.probe_now(&slot(1));
    bench.prober.probe_now(&slot(7));
    pass(50).await;
    bench.prober.probe_now(&slot(1));
    pass(1000).await;
    let begun: Vec<_> = bench.begun().iter().map(|ms| ms / 50 * 50).collect();
    assert_eq!(begun, [0, 1000, 1100]);
}

#[tokio::test(start_paused = true)]
async fn vantages_are_remembered_over_runs() {
    let bench = bench(&[(0, Outcome::ready())]);
    bench.prober.set_targets(one(1));
    pass(100).await;
    bench.prober.set_targets(BTreeMap::new());
    pass(100).await;
    bench.prober.set_targets(one(2));
    pass(100).await;
    let begun = lock(&bench.script.begun);
    assert_eq!(begun[0].2, Reached::new());
    assert_eq!((begun[1].0, &begun[1].2), (2, &Reached::from([Vantage::Published])));
}

#[tokio::test(start_paused = true)]
async fn probes_at_a_time_are_bounded_and_all_get_their_turn() {
    let mut bench = bench(&[(1000, Outcome::ready())]);
    let targets = (1..=100).map(|n| (slot(n), target(i64::from(n)))).collect();
    bench.prober.set_targets(targets);
    let mut told = 0;
    for _ in 0..50 {
        pass(100).await;
        told += bench.told().len();
    }
    assert_eq!(*lock(&bench.script.most), MAX_RUNNING);
    assert_eq!(told, 100);
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_gets_the_latest() {
    let mut script = vec![(0, refused()), (0, Outcome::alive("Loading", ""))];
    script.push((0, Outcome::ready()));
    let mut bench = bench(&script);
    // Fills the channel with others, so that slot 99's changes must wait.
    bench.prober.set_targets((1..=99).map(|n| (slot(n), target(1))).collect());
    pass(5000).await;
    let mut last = BTreeMap::new();
    for _ in 0..50 {
        while let Ok((slot, readiness)) = bench.changes.try_recv() {
            last.insert(slot, readiness);
        }
        pass(1).await;
    }
    assert_eq!(last.len(), 99);
    assert!(last.values().all(|r| r.last.answer == Answer::Ready), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_handle_and_with_its_receiver() {
    let Bench { prober, script, changes } = bench(&[(0, Outcome::ready())]);
    prober.set_targets(one(1));
    pass(100).await;
    drop(changes);
    pass(60_000).await;
    assert_eq!(lock(&script.begun).len(), 1);
    assert!(prober.task.is_finished());
}
