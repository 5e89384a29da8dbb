//! Several stacks in one daemon: what befalls one stops no other.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::engine::sim::{CallFault, SimFault, Strikes};
use crate::plan::Report;

fn stack(name: &str) -> Goal {
    goal(1, &format!("services: {{s: {{image: 'app:1'}}}}\nname: {name}\n"))
}

/// A defect that shows with the first report.
#[derive(Default)]
struct Defect(AtomicU32);

impl Meter for Defect {
    fn services(&self, _: &str, _: &Report, _: crate::clock::Timestamp) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a defect");
    }
}

async fn goes_on(scene: &Scene, container: &str) {
    for _ in 0..3 {
        sleep(secs(61)).await;
        scene.sim.crash(container, 1).expect("it runs");
        sleep(ms(100)).await;
        scene.settle(secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_ends_alone() {
    let good = Scene::on(engine(1), stack("good"));
    good.settle(secs(30)).await;
    good.observer.projects.send_modify(|projects| {
        projects.insert("bad".into());
    });
    let defect = Arc::new(Defect::default());
    let (_goal, goals) = watch::channel(Some(stack("bad")));
    let (worker, _tap) = Worker::new(Parts {
        engine: Arc::clone(&good.sim) as DynEngine,
        observer: good.observer.clone(),
        clock: good.sim.clock(),
        metrics: Arc::clone(&defect) as Arc<_>,
        own: Own::default(),
        recorder: Arc::clone(&good.announced) as Arc<_>,
        memory: Memory::default(),
        permit: Permit::unleased(),
        goal: goals,
    });
    let bad = tokio::spawn(worker.run(CancellationToken::new()));
    sleep(secs(5)).await;
    assert!(bad.await.is_err_and(|error| error.is_panic()));
    assert_eq!(defect.0.load(Ordering::Relaxed), 1);
    goes_on(&good, "good-s-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_its_own_stack_only() {
    for call in ["POST /containers/{id}/start", "POST /containers/create", "POST /networks/create"]
    {
        let good = Scene::on(engine(1), stack("good"));
        good.settle(secs(30)).await;
        let about = if call.contains("networks") { "bad_default" } else { "bad-s-1" };
        good.sim.inject(SimFault {
            call: call.into(),
            about: about.into(),
            fault: CallFault::Timeout { effect: false },
            strikes: Strikes::Always,
        });
        let bad = good.beside(stack("bad"));
        sleep(secs(1)).await;
        goes_on(&good, "good-s-1").await;
        assert!(!bad.is_settled(), "{call}");
        good.sim.heal();
        bad.settle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_no_inspect_answers_for_holds_up_its_own_stack_only() {
    let good = Scene::on(engine(1), stack("good"));
    let bad = good.beside(stack("bad"));
    good.settle(secs(30)).await;
    bad.settle(secs(30)).await;
    good.sim.inject(SimFault {
        call: "GET /containers/{id}/json".into(),
        about: "bad-s-1".into(),
        fault: CallFault::Timeout { effect: false },
        strikes: Strikes::Always,
    });
    good.sim.crash("bad-s-1", 1).expect("it runs");
    goes_on(&good, "good-s-1").await;
}
