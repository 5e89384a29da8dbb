//! Row 37: several operators at one project. One acts, the others watch and say so.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::*;
use crate::controller::leasing::{Leasing, Running, Terms};
use crate::controller::observer::Snapshot;
use crate::controller::worker::{Phase, Progress};
use crate::lease::{Holder, LeaseState, Life, of_project};
use tokio::sync::broadcast;

/// The processes that are gone, by the ID of their holder.
#[derive(Clone, Default)]
struct Dead(Arc<Mutex<BTreeSet<String>>>);

impl Dead {
    fn add(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    fn judge(&self, holder: &Holder) -> Life {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&holder.id) {
            true => Life::Dead("it was killed".into()),
            false => Life::Alive,
        }
    }
}

/// An engine with operators.
struct House {
    sim: Arc<SimEngine>,
    announced: Arc<Announced>,
    dead: Dead,
}

struct Operator {
    id: String,
    scene: Scene,
    steps: broadcast::Receiver<Progress>,
    lease: Running,
}

impl House {
    fn new(seed: u64) -> Self {
        let sim = engine(seed);
        let announced = Announced::on(&sim);
        Self { sim, announced, dead: Dead::default() }
    }

    fn terms(&self, id: &str, take_over: bool) -> Terms {
        let dead = self.dead.clone();
        Terms {
            engine: Arc::clone(&self.sim) as DynEngine,
            clock: self.sim.clock(),
            project: "p".into(),
            me: Holder { id: id.into(), user: format!("user-{id}"), ..Holder::default() },
            life: Arc::new(move |holder| dead.judge(holder)),
            take_over,
            tell: Box::new(|_| {}),
        }
    }

    fn operator(&self, id: &str, goal: Goal) -> Operator {
        self.operator_with(self.terms(id, false), goal)
    }

    fn operator_with(&self, terms: Terms, goal: Goal) -> Operator {
        let id = terms.me.id.clone();
        let mut lease = None;
        let scene = Scene::operator(&self.sim, &self.announced, goal, |observer| {
            let (permit, running) = Leasing::start(terms, observer.snapshots.clone());
            lease = Some(running);
            permit
        });
        let steps = scene.tap.progress.subscribe();
        Operator { id, scene, steps, lease: lease.expect("just begun") }
    }

    /// Its process ends at once, whatever it does.
    async fn kill(&self, operator: Operator) {
        self.dead.add(&operator.id);
        drop(operator);
        sleep(ms(1)).await;
    }

    /// Epoch and holder of each lease volume.
    async fn leases(&self) -> Vec<(u64, String)> {
        let volumes = self.sim.volumes().await.expect("a list");
        let leases = of_project("p", &volumes).into_iter();
        leases.map(|l| (l.epoch, l.holder.map(|h| h.id).unwrap_or_default())).collect()
    }

    /// `docker volume prune`: no container uses a lease.
    async fn prune(&self) {
        let volumes = self.sim.volumes().await.expect("a list");
        for volume in volumes.iter().filter(|v| v.name.starts_with("homeostat-lease-")) {
            self.sim.remove_volume(&volume.name).expect("there");
        }
    }

    fn created(&self, name: &str) -> usize {
        let writes = self.sim.writes();
        writes
            .iter()
            .filter(|w| w.write.call().ends_with("containers/create") && w.name == name)
            .count()
    }
}

impl Operator {
    /// What it did to the stack since the last call.
    fn did(&mut self) -> Vec<String> {
        let mut did = Vec::new();
        while let Ok(step) = self.steps.try_recv() {
            if matches!(step.phase, Phase::Started) {
                did.push(format!("{}: {}", step.resource, step.op));
            }
        }
        did
    }

    fn holds(&self) -> bool {
        matches!(self.scene.view().lease, Some(LeaseState::Held { .. }))
    }

    /// The condition `LeaseHeld`, as `status reason message`.
    fn says(&self) -> String {
        let stack = self.scene.told().stacks.remove(0);
        let lease = stack.conditions.iter().find(|c| c.kind == "LeaseHeld").expect("a condition");
        format!("{:?} {} {}", lease.status, lease.reason, lease.message).trim().to_owned()
    }

    async fn leave(self) {
        self.lease.end(true).await;
    }
}

const STACK: &str = "services: {db: {image: 'app:1'}, web: {image: 'app:1', depends_on: [db]}}\n";

fn stack() -> Goal {
    goal(1, STACK)
}

async fn crash_and_mend(operator: &Operator) {
    operator.scene.sim.crash("p-web-1", 1).expect("it runs");
    sleep(ms(100)).await;
    operator.scene.settle(secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn row_37_one_acts_and_the_other_watches_and_says_so() {
    let house = House::new(1);
    let mut a = house.operator("a", stack());
    a.scene.settle(secs(30)).await;
    let mut b = house.operator("b", stack());
    b.scene.settle(secs(30)).await;
    assert!(a.holds() && !b.holds());
    assert_eq!(a.says(), "True Held epoch 1");
    let standby = "a homeostat daemon of user-a keeps p (lease epoch 1)";
    assert_eq!(b.says(), format!("False Standby {standby}"));
    let status = b.scene.told();
    assert_eq!(status.stacks[0].message, standby, "what `get stacks` shows");
    let lease = &status.leases[0];
    assert_eq!((lease.project.as_str(), lease.epoch, lease.ours), ("p", 1, false));
    assert!(a.scene.told().leases[0].ours);
    assert_eq!(a.did().len(), 5, "network, two containers, two starts");
    crash_and_mend(&a).await;
    house.sim.remove("p-web-1", true).await.expect("there");
    sleep(ms(600)).await;
    a.scene.settle(secs(20)).await;
    assert!(!a.did().is_empty());
    assert_eq!(b.did(), [] as [String; 0]);
    // No heartbeat.
    a.scene.stays_idle(secs(4 * 3600)).await;
    assert_eq!(house.leases().await, [(1, "a".into())]);
}

#[tokio::test(start_paused = true)]
async fn row_37_of_several_that_begin_together_one_acts() {
    for seed in 1..20 {
        let house = House::new(seed);
        let mut all: Vec<Operator> =
            ["a", "b", "c"].iter().map(|id| house.operator(id, stack())).collect();
        for operator in &all {
            operator.scene.settle(secs(30)).await;
        }
        assert_eq!(all.iter().filter(|o| o.holds()).count(), 1);
        let acting = all.iter_mut().map(|o| usize::from(!o.did().is_empty())).sum::<usize>();
        assert_eq!(acting, 1);
        assert_eq!((house.created("p-db-1"), house.created("p-web-1")), (1, 1));
        assert_eq!(house.leases().await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn row_37_when_the_holder_is_killed_the_other_goes_on_and_nothing_is_done_twice() {
    let house = House::new(1);
    let a = house.operator("a", stack());
    a.scene.settle(secs(30)).await;
    let mut b = house.operator("b", stack());
    b.scene.settle(secs(30)).await;
    house.sim.forget_writes();
    house.kill(a).await;
    sleep(secs(3)).await;
    assert!(b.holds(), "{}", b.says());
    assert_eq!(house.leases().await, [(2, "b".into())]);
    let calls: Vec<&str> = house.sim.writes().iter().map(|w| w.write.call()).collect();
    assert_eq!(calls, ["POST /volumes/create", "DELETE /volumes/{name}"]);
    crash_and_mend(&b).await;
    assert_eq!(b.did(), ["service web/1: start"]);
    b.scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_37_killed_in_the_middle_of_a_cold_start_the_other_finishes_it() {
    for after in (0..400).step_by(20) {
        let house = House::new(after);
        needy(&house.sim);
        let a = house.operator("a", goal(1, CHAIN));
        sleep(ms(5)).await;
        let b = house.operator("b", goal(1, CHAIN));
        sleep(ms(after)).await;
        house.kill(a).await;
        b.scene.settle(secs(120)).await;
        for name in ["p-a-1", "p-b-1", "p-c-1", "p-d-1"] {
            assert_eq!(house.created(name), 1, "{name} after {after} ms:\n{}", b.scene.show());
        }
        assert!(b.holds());
    }
}

#[tokio::test(start_paused = true)]
async fn row_37_a_lease_that_is_given_back_is_taken_soon() {
    let house = House::new(1);
    let a = house.operator("a", stack());
    a.scene.settle(secs(30)).await;
    let b = house.operator("b", stack());
    b.scene.settle(secs(30)).await;
    a.leave().await;
    sleep(secs(5)).await;
    assert!(b.holds(), "{}", b.says());
    crash_and_mend(&b).await;
    b.scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_37_a_pruned_lease_is_made_again_by_its_holder_under_its_epoch() {
    let house = House::new(1);
    let first = house.operator("f", stack());
    first.scene.settle(secs(30)).await;
    house.kill(first).await;
    let a = house.operator("a", stack());
    a.scene.settle(secs(30)).await;
    let mut b = house.operator("b", stack());
    b.scene.settle(secs(30)).await;
    assert_eq!(house.leases().await, [(2, "a".into())]);
    for _ in 0..3 {
        house.sim.forget_writes();
        house.prune().await;
        sleep(secs(10)).await;
        assert_eq!(house.leases().await, [(2, "a".into())]);
        assert_eq!(house.sim.writes().len(), 1, "once, and by one");
        assert!(a.holds() && !b.holds());
    }
    assert_eq!(b.did(), [] as [String; 0]);
    // Also where no event tells of it: the next list shows it.
    house.sim.set_stream_faults(StreamFaults { lose: 1.0, ..StreamFaults::default() });
    house.prune().await;
    sleep(RESYNC + secs(10)).await;
    assert_eq!(house.leases().await.len(), 1);
    let holders = [&a, &b].iter().filter(|o| o.holds()).count();
    assert_eq!(holders, 1);
}

#[tokio::test(start_paused = true)]
async fn row_37_who_is_outbid_stops_at_once_and_never_fights_back() {
    let house = House::new(1);
    let mut a = house.operator("a", stack());
    a.scene.settle(secs(30)).await;
    a.did();
    let mut c = house.operator_with(house.terms("c", true), stack());
    c.scene.settle(secs(30)).await;
    assert!(c.holds() && !a.holds());
    assert_eq!(a.says(), "False Standby a homeostat daemon of user-c keeps p (lease epoch 2)");
    for _ in 0..3 {
        crash_and_mend(&c).await;
        sleep(secs(100)).await;
    }
    assert_eq!(a.did(), [] as [String; 0]);
    assert_eq!(c.did().len(), 3);
    c.scene.stays_idle(secs(3600)).await;
    assert_eq!(house.leases().await, [(2, "c".into())]);
    // And takes it back when that one goes.
    house.kill(c).await;
    sleep(secs(5)).await;
    assert!(a.holds());
}

#[tokio::test(start_paused = true)]
async fn row_37_what_an_outbid_plan_has_not_begun_is_left_to_the_other() {
    for after in (40..640).step_by(40) {
        let house = House::new(after);
        needy(&house.sim);
        let mut a = house.operator("a", goal(1, CHAIN));
        sleep(ms(after)).await;
        let c = house.operator_with(house.terms("c", true), goal(1, CHAIN));
        while !c.holds() || a.holds() {
            sleep(ms(1)).await;
        }
        a.did();
        c.scene.settle(secs(120)).await;
        for name in ["p-a-1", "p-b-1", "p-c-1", "p-d-1"] {
            assert_eq!(house.created(name), 1, "{name} after {after} ms:\n{}", c.scene.show());
        }
        assert_eq!(a.did(), [] as [String; 0], "after {after} ms");
        assert!(c.holds() && !a.holds());
        c.scene.stays_idle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_37_after_a_sleep_the_lease_is_looked_at_before_anything_is_written() {
    let house = House::new(1);
    // Its observer's lists don't reach the one who watches over its lease.
    let (_frozen, seen) = watch::channel(Snapshot::default());
    let (permit, lease) = Leasing::start(house.terms("a", false), seen);
    permit.look();
    let mut lease = Some(lease);
    let scene = Scene::operator(&house.sim, &house.announced, stack(), |_| permit);
    let steps = scene.tap.progress.subscribe();
    let lease = lease.take().expect("just begun");
    let mut a = Operator { id: "a".into(), scene, steps, lease };
    a.scene.settle(secs(30)).await;
    a.did();
    let c = house.operator_with(house.terms("c", true), stack());
    c.scene.settle(secs(30)).await;
    assert!(a.holds(), "it doesn't know yet");
    house.kill(c).await;
    // The machine slept: only the wall clock shows it.
    house.sim.clock().jump_wall(31_000);
    house.dead.0.lock().expect("no panic").clear();
    house.sim.crash("p-web-1", 1).expect("it runs");
    sleep(secs(60)).await;
    assert_eq!(a.did(), [] as [String; 0]);
    assert!(!a.holds(), "{}", a.says());
    assert!(!a.scene.status("web").is_good());
}

#[tokio::test(start_paused = true)]
async fn row_37_without_a_lease_nothing_is_written_and_the_endpoint_is_named() {
    let house = House::new(1);
    house.sim.inject(SimFault {
        call: "POST /volumes/create".into(),
        about: "homeostat-lease-p-1".into(),
        fault: CallFault::Status(403),
        strikes: Strikes::Always,
    });
    let mut a = house.operator("a", stack());
    sleep(secs(300)).await;
    assert_eq!(a.did(), [] as [String; 0]);
    assert!(
        a.says().starts_with("False PermissionMissing the engine refuses POST /volumes/create")
    );
    house.sim.heal();
    a.scene.settle(secs(60)).await;
    assert!(a.holds());
}

#[tokio::test(start_paused = true)]
async fn row_37_an_engine_that_fails_or_forgets_its_answer_leaves_one_holder() {
    let faults = [
        CallFault::Status(500),
        CallFault::Timeout { effect: true },
        CallFault::Timeout { effect: false },
        CallFault::Cut { effect: true },
        CallFault::Cut { effect: false },
        CallFault::Garbage,
        CallFault::Late(secs(5)),
    ];
    for fault in faults {
        for call in ["POST /volumes/create", "GET /volumes", "DELETE /volumes"] {
            let house = House::new(1);
            let about = String::new();
            let strikes = Strikes::Next(2);
            house.sim.inject(SimFault { call: call.into(), about, fault: fault.clone(), strikes });
            let a = house.operator("a", stack());
            let b = house.operator("b", stack());
            sleep(secs(200)).await;
            for operator in [&a, &b] {
                operator.scene.settle(secs(120)).await;
            }
            assert!(a.holds() != b.holds(), "{call} {fault:?}: {} / {}", a.says(), b.says());
            assert_eq!(house.leases().await.len(), 1, "{call} {fault:?}");
            assert_eq!((house.created("p-db-1"), house.created("p-web-1")), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_tier_observe_takes_no_lease_and_writes_nothing() {
    let house = House::new(1);
    let scene = Scene::operator(&house.sim, &house.announced, stack(), |_| {
        Leasing::observing(house.sim.clock())
    });
    sleep(secs(600)).await;
    assert!(house.sim.writes().is_empty());
    assert_eq!(scene.view().plan.steps.len(), 5, "it says what it would do");
    let lease = scene.view().lease;
    assert_eq!(lease, Some(LeaseState::Observing));
}
