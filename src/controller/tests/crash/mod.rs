//! Row 38: the operator is killed at every act of a scene, each write to the journal and each call
//! to the engine, and started again. The end equals that of an undisturbed run: nothing is left
//! over, nothing is done twice that counts, no data is gone.
//!
//! What counts as seen from outside is all that a death can tell apart: acts of the operator pass
//! one gate, and after the last one nothing passes any more.

mod mortal;
mod scenes;
mod world;

use super::*;
use crate::controller::recall;
use crate::controller::recording::JournalRecorder;
use crate::metrics::Metrics;
use crate::store::{Handle as Store, Journal};
use mortal::{End, Life, Mortal};
use world::World;

/// A scene: how it begins, and what then happens while the operator may die at any act.
#[derive(Clone, Copy)]
struct Play {
    /// Sets the engine up.
    engine: fn() -> Arc<SimEngine>,
    /// The files before, brought about by an operator that lives; `None` if there is nothing yet.
    before: Option<&'static str>,
    /// What somebody does to the engine at the beginning.
    act: fn(&SimEngine),
    /// The files then.
    then: fn() -> String,
    /// How long an undisturbed run may take.
    within: Duration,
}

/// A running operator.
struct Operator {
    life: Arc<Life>,
    goal: watch::Sender<Option<Goal>>,
    tap: Tap,
    stop: CancellationToken,
}

impl Operator {
    async fn start(sim: &Arc<SimEngine>, journal: &Arc<Mutex<Journal>>, wanted: Goal) -> Self {
        Self::live(sim, journal, wanted, Life::new()).await.expect("nothing ends it")
    }

    /// Starts as the daemon does; `None` if it was killed before it kept anything.
    async fn live(
        sim: &Arc<SimEngine>,
        journal: &Arc<Mutex<Journal>>,
        wanted: Goal,
        life: Arc<Life>,
    ) -> Option<Self> {
        let stop = CancellationToken::new();
        let gate = Arc::clone(&life);
        let store = Store::on_runtime(Arc::clone(journal), move || {
            let gate = Arc::clone(&gate);
            async move {
                gate.pass("journal").await;
            }
        });
        let engine: DynEngine = Arc::new(Mortal { sim: Arc::clone(sim), life: Arc::clone(&life) });
        let (observer, handle) =
            Observer::new(Arc::clone(&engine), sim.clock(), Arc::new(Uncounted), RESYNC);
        handle.projects.send_modify(|projects| {
            projects.insert(wanted.desired.project.name.clone());
        });
        tokio::spawn(observer.run(stop.clone()));
        let mut snapshots = handle.snapshots.clone();
        let memory = tokio::select! {
            () = life.over() => return None,
            memory = async {
                let live = snapshots.wait_for(|s| s.link == Link::Live).await;
                let id = live.expect("an observer").observed.engine.id.clone();
                recall::memory(&store, &id, &wanted, &*sim.clock()).await
            } => memory,
        };
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let recorder = JournalRecorder::new(store, metrics, "SIMU:LATE", "p");
        let (goal, goals) = watch::channel(Some(wanted));
        let (worker, tap) = Worker::new(Parts {
            engine,
            observer: handle,
            clock: sim.clock(),
            metrics: Arc::new(Uncounted),
            own: Own::default(),
            recorder: Arc::new(recorder),
            memory,
            permit: Permit::unleased(),
            goal: goals,
        });
        tokio::spawn(worker.run(stop.clone()));
        Some(Self { life, goal, tap, stop })
    }

    fn is_settled(&self) -> bool {
        let view = self.tap.views.borrow();
        let generation = self.goal.borrow().as_ref().map(|g| g.desired.generation);
        view.link == Link::Live
            && Some(view.generation) == generation
            && view.plan.is_empty()
            && view.busy == 0
            && view.report.settled()
    }

    /// Waits until all is as it should be for a while, or until it is killed. True if it lives.
    async fn settle(&self, within: Duration, clock: &dyn Clock, what: &str) -> bool {
        let begun = clock.now().mono;
        let mut calm = 0;
        while calm < 40 {
            let view = || self.tap.views.borrow().clone();
            let took = clock.now().mono.since(begun);
            assert!(
                took <= within,
                "{what}: not settled after {took:?}:\n{}\n{}",
                view().plan,
                view().report
            );
            tokio::select! {
                () = self.life.over() => return false,
                () = sleep(ms(50)) => {}
            }
            calm = if self.is_settled() { calm + 1 } else { 0 };
        }
        true
    }

    /// As SIGKILL does it.
    fn kill(self) {
        self.life.end();
        self.stop.cancel();
    }
}

/// Plays a scene once. Returns the acts of the life that may end, and the world at the end.
async fn play(play: Play, end: Option<End>, pause: Duration) -> (Vec<String>, World) {
    let sim = (play.engine)();
    let clock = sim.clock();
    let journal = Journal::in_memory(clock.clone()).expect("opens");
    let journal = Arc::new(Mutex::new(journal));
    let life = Life::new();
    let what = format!("killed at {end:?}, back after {pause:?}");
    let (first, operator) = match play.before {
        None => {
            (play.act)(&sim);
            life.count(end);
            let goal = goal(1, &(play.then)());
            (1, Operator::live(&sim, &journal, goal, Arc::clone(&life)).await)
        }
        Some(before) => {
            let goal_before = goal(1, before);
            let operator = Operator::live(&sim, &journal, goal_before, Arc::clone(&life)).await;
            let operator = operator.expect("nothing ends it yet");
            assert!(operator.settle(secs(120), &*clock, "before").await);
            life.count(end);
            (play.act)(&sim);
            operator.goal.send_replace(Some(goal(2, &(play.then)())));
            (2, Some(operator))
        }
    };
    let lives = match &operator {
        Some(operator) => operator.settle(play.within, &*clock, &what).await,
        None => false,
    };
    let acts = life.acts();
    if !lives {
        if let Some(operator) = operator {
            operator.kill();
        }
        sleep(pause).await;
        let heir = Operator::start(&sim, &journal, goal(first, &(play.then)())).await;
        // A network that was asked for unheard is waited for; what was half done is known for ours.
        assert!(heir.settle(play.within + secs(8), &*clock, &what).await);
        idle(&sim, &heir, &what).await;
        heir.kill();
    } else if let Some(operator) = operator {
        idle(&sim, &operator, &what).await;
        operator.kill();
    }
    let recalled = journal.lock().expect("no panic").load_memory("SIMU:LATE", "p").expect("reads");
    let world = World::of(&sim, recalled).await;
    (acts, world)
}

async fn idle(sim: &SimEngine, operator: &Operator, what: &str) {
    sim.forget_writes();
    sleep(secs(40)).await;
    assert!(operator.is_settled(), "{what}: {}", operator.tap.views.borrow().report);
    let writes: Vec<String> = sim.writes().iter().map(line).collect();
    assert!(writes.is_empty(), "{what}: idle means no writes:\n{}", writes.join("\n"));
}

/// Kills the operator at every act of a scene, in both ways, and lets the next one come at once or
/// after a while. `again` names what may be made or started once more.
async fn at_every_act(what: Play, again: &[&str]) {
    let (acts, undisturbed) = play(what, None, Duration::ZERO).await;
    assert!(undisturbed.times("container start a") > 0, "the scene does something");
    println!("{} acts", acts.len());
    let mut bad = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        let is_write = act.starts_with("POST") || act.starts_with("DELETE");
        let mut ends = vec![(End::Before(number), Duration::ZERO)];
        if is_write {
            // What the engine is still at when the next life begins, and what it is done with.
            ends.extend([Duration::ZERO, secs(3)].map(|pause| (End::Sent(number), pause)));
        }
        for (end, pause) in ends {
            let (_, world) = play(what, Some(end), pause).await;
            let tag = format!("{end:?} ({act}), back after {pause:?}");
            if world.end_state() != undisturbed.end_state() {
                let (is, was) = (world.end_state(), undisturbed.end_state());
                bad.push(format!("{tag}: ends otherwise:\n{}", difference(&is, &was)));
            }
            let mut more = world.more_than(&undisturbed);
            more.retain(|m| !again.iter().any(|a| m.starts_with(a)));
            if !more.is_empty() {
                bad.push(format!("{tag}: more than once: {more:?}"));
            }
        }
    }
    assert!(bad.is_empty(), "{} of them:\n{}", bad.len(), bad.join("\n"));
}

/// The lines that only one of two texts has.
fn difference(is: &str, was: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let (is, was) = (lines(is), lines(was));
    let more = is.difference(&was).map(|l| format!("  + {l}"));
    let less = was.difference(&is).map(|l| format!("  - {l}"));
    more.chain(less).collect::<Vec<_>>().join("\n")
}
