//! Row 5: somebody before the engine refuses a call. It is a condition of the stack that names the
//! call, until it is allowed or not needed any more.

use super::*;
use crate::api::status::{Condition, ConditionStatus, Status};
use crate::clock::Timestamp;
use crate::controller::publish::{SourceView, StackSight, status};
use crate::controller::worker::Wish;
use crate::engine::sim::{CallFault, SimFault, Strikes};

const TWO: &str = "
services:
  door: {image: 'app:1'}
  free: {image: 'app:1'}
";

fn refuse(sim: &SimEngine, call: &str, about: &str) {
    let (call, about) = (call.to_owned(), about.to_owned());
    let fault = CallFault::Status(403);
    sim.inject(SimFault { call, about, fault, strikes: Strikes::Always });
}

impl Scene {
    fn published(&self) -> Status {
        let sight = StackSight {
            name: "p".into(),
            goal: self.goal.borrow().clone(),
            view: self.view(),
            source: SourceView::default(),
        };
        status("sim", &[sight], &Status::default(), Timestamp(0))
    }

    fn permission_missing(&self) -> Condition {
        let stack = self.published().stacks.remove(0);
        let found = stack.conditions.into_iter().find(|c| c.kind == "PermissionMissing");
        found.expect("always said")
    }
}

#[tokio::test(start_paused = true)]
async fn row_5_a_refused_write_is_a_condition_until_it_is_allowed() {
    let sim = engine(1);
    refuse(&sim, "POST /containers/{id}/start", "p-door-1");
    let scene = Scene::on(sim, goal(1, TWO));
    // At every moment, while it is tried again too.
    sleep(secs(1)).await;
    for _ in 0..600 {
        let condition = scene.permission_missing();
        assert_eq!(condition.status, ConditionStatus::True, "{}", scene.show());
        assert_eq!(condition.reason, "EngineRefuses");
        assert_eq!(
            condition.message,
            "the engine refuses POST /containers/{id}/start (403); allow that in the socket proxy, \
             or start with a lower --tier"
        );
        sleep(ms(1000)).await;
    }
    assert_eq!(scene.status("free"), SlotStatus::Ready);
    let door = scene.published().services.remove(0);
    assert!(door.message.starts_with("blocked(the engine refuses POST "), "{}", door.message);
    // 0.5, 1, 2 … 32 s, then one a minute.
    let tries = scene.count("start", "p-door-1");
    assert!((14..=18).contains(&tries), "{tries} tries in ten minutes");
    scene.sim.heal();
    scene.tap.wishes.send(Wish::Afresh(Scope::default())).await.expect("it listens");
    scene.settle(secs(2)).await;
    assert_eq!(scene.permission_missing().status, ConditionStatus::False);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_5_what_is_allowed_again_and_crashes_is_not_called_refused() {
    let sim = engine(1);
    sim.behave("door", exits(ms(100), 1));
    refuse(&sim, "POST /containers/{id}/start", "p-door-1");
    let scene = Scene::on(sim, goal(1, TWO));
    sleep(secs(30)).await;
    scene.sim.heal();
    scene.tap.wishes.send(Wish::Afresh(Scope::default())).await.expect("it listens");
    sleep(secs(20)).await;
    let door = scene.published().services.remove(0);
    assert!(door.message.starts_with("backoff("), "{}", door.message);
    assert_eq!(scene.permission_missing().status, ConditionStatus::False);
}

#[tokio::test(start_paused = true)]
async fn row_5_a_refusal_ends_with_another_failure_and_an_edit_tries_at_once() {
    let sim = engine(1);
    refuse(&sim, "POST /containers/create", "p-door-1");
    let scene = Scene::on(sim, goal(1, TWO));
    sleep(secs(100)).await;
    assert_eq!(scene.permission_missing().status, ConditionStatus::True);
    scene.sim.heal();
    scene.sim.inject(SimFault {
        call: "POST /containers/create".into(),
        about: "p-door-1".into(),
        fault: CallFault::Status(500),
        strikes: Strikes::Always,
    });
    let tries = scene.count("create", "p-door-1");
    let edited = TWO.replace("door: {", "door: {hostname: x, ");
    scene.edit(goal(2, &edited));
    sleep(ms(100)).await;
    assert_eq!(scene.count("create", "p-door-1"), tries + 1, "{}", scene.show());
    assert_eq!(scene.permission_missing().status, ConditionStatus::False, "{}", scene.show());
}

#[tokio::test(start_paused = true)]
async fn row_5_a_refused_network_is_named_with_what_needs_it() {
    let sim = engine(1);
    refuse(&sim, "POST /networks/create", "");
    let scene = Scene::on(sim, goal(1, TWO));
    sleep(secs(10)).await;
    let condition = scene.permission_missing();
    assert_eq!(condition.status, ConditionStatus::True);
    assert!(condition.message.contains("POST /networks/create"), "{}", condition.message);
    assert!(scene.published().networks[0].message.contains("POST /networks/create"));
    scene.sim.heal();
    scene.settle(secs(90)).await;
    assert_eq!(scene.permission_missing().status, ConditionStatus::False);
}

#[tokio::test(start_paused = true)]
async fn row_5_a_refused_read_is_the_same_condition() {
    for call in ["GET /containers/json", "GET /events", "GET /info", "GET /containers/{id}/json"] {
        let sim = engine(1);
        let scene = Scene::on(sim, goal(1, TWO));
        scene.settle(secs(10)).await;
        scene.sim.forget_writes();
        refuse(&scene.sim, call, "");
        scene.sim.end_streams();
        sleep(secs(60)).await;
        let condition = scene.permission_missing();
        assert_eq!(condition.status, ConditionStatus::True, "{call}: {}", scene.show());
        assert_eq!(
            condition.message,
            format!("the engine refuses {call} (403); allow that in the socket proxy")
        );
        let before = scene.sim.calls().get(call).copied().unwrap_or_default();
        sleep(secs(100)).await;
        let asked = scene.sim.calls().get(call).copied().unwrap_or_default() - before;
        assert!((5..=20).contains(&asked), "{asked} times {call} in 100 s");
        assert!(scene.sim.writes().is_empty(), "nothing is done on old facts");
        scene.sim.heal();
        scene.settle(secs(30)).await;
        assert_eq!(scene.permission_missing().status, ConditionStatus::False);
    }
}
