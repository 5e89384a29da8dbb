//! Rows 13, 36, 42, 44: recoveries that have a budget, clocks that jump, a brake; and people, whose
//! acts are no incidents.

use super::*;
use crate::clock::unit_from;
use crate::engine::EngineEvent;
use crate::recovery::{AttemptResult, Change, Incident, Stop, What};

const WEB: &str = "
services:
  web: {image: 'app:1'}
  free: {image: 'app:1'}
";

fn told(scene: &Scene, is: impl Fn(&What) -> bool) -> usize {
    let all = scene.announced.recoveries();
    all.iter().filter(|c| matches!(c, Change::Incident(_, what) if is(what))).count()
}

fn incidents(scene: &Scene) -> Vec<Incident> {
    scene.view().incidents.to_vec()
}

fn starts(scene: &Scene, service: &str) -> usize {
    scene.starts().iter().filter(|s| *s == service).count()
}

/// A service that was Ready falls, and from now on whenever it is started.
fn falls_for_good(scene: &Scene, service: &str) {
    scene.sim.behave(service, exits(ms(20), 1));
    scene.sim.crash(&format!("p-{service}-1"), 1).expect("runs");
}

#[tokio::test(start_paused = true)]
async fn row_13_a_crash_loop_is_one_incident_that_stops_at_its_budget_and_is_told_once() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    let before = starts(&scene, "web");
    falls_for_good(&scene, "web");
    sleep(ms(400)).await;
    assert_eq!(starts(&scene, "web") - before, 1, "the first attempt is made at once");
    sleep(secs(60)).await;
    assert_eq!(starts(&scene, "web") - before, 3, "{}", scene.show());
    scene.says("service web/1", "exhausted(3 of 3 attempts)");
    scene.stays_quiet(secs(6 * 3600)).await;
    let all = incidents(&scene);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].spent, all[0].stopped), (3, Some(Stop::Budget)));
    assert_eq!(told(&scene, |w| *w == What::Opened), 1);
    assert_eq!(told(&scene, |w| matches!(w, What::Escalated { silenced: false })), 1);
    let status = scene.told();
    let row = status.services.iter().find(|s| s.service == "web").expect("a row");
    let stalled = row.conditions.iter().find(|c| c.kind == "Stalled").expect("a condition");
    assert_eq!(stalled.reason, "BudgetExhausted");
    assert!(stalled.message.contains(&all[0].id.0), "{}", stalled.message);
    assert_eq!(scene.status("free"), SlotStatus::Ready);
    // Mended, and tried again by a person.
    scene.sim.behave("web", Behaviour::default());
    scene.retry_all().await;
    scene.settle(secs(10)).await;
    sleep(secs(601)).await;
    assert!(incidents(&scene).iter().all(|incident| !incident.is_open()), "{}", scene.show());
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_13_six_kills_from_outside_are_one_incident() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    for _ in 0..6 {
        // Whoever kills waits until it runs.
        let killed = scene.sim.crash("p-web-1", 137);
        sleep(secs(10)).await;
        if killed.is_err() {
            break;
        }
    }
    assert_eq!(told(&scene, |w| *w == What::Opened), 1);
    assert_eq!(told(&scene, |w| *w == What::AttemptBegan), 3);
    scene.says("service web/1", "exhausted(3 of 3 attempts)");
    scene.stays_quiet(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_13_an_edit_is_a_new_incident_with_a_new_budget() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    falls_for_good(&scene, "web");
    sleep(secs(60)).await;
    scene.sim.behave("web", Behaviour::default());
    scene.edit(goal(2, &WEB.replace("web: {", "web: {labels: {fixed: '1'}, ")));
    scene.settle(secs(20)).await;
    assert!(incidents(&scene).iter().all(|incident| !incident.is_open()));
    falls_for_good(&scene, "web");
    sleep(secs(60)).await;
    assert_eq!(told(&scene, |w| *w == What::Opened), 2);
    assert_eq!(told(&scene, |w| *w == What::AttemptBegan), 6);
}

#[tokio::test(start_paused = true)]
async fn row_13_a_loop_that_the_engine_keeps_up_is_told_and_left_to_it() {
    let yaml = WEB.replace("web: {", "web: {restart: always, ");
    let scene = Scene::new(1, &yaml);
    scene.settle(secs(10)).await;
    falls_for_good(&scene, "web");
    sleep(secs(300)).await;
    let all = incidents(&scene);
    assert_eq!((all.len(), all[0].stopped), (1, Some(Stop::CrashLoop)), "{}", scene.show());
    assert_eq!(told(&scene, |w| matches!(w, What::Escalated { .. })), 1);
    assert_eq!(told(&scene, |w| *w == What::AttemptBegan), 0, "the engine starts it");
    scene.stays_quiet(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_36_clocks_that_jump_make_no_burst_and_no_stall() {
    for jump in [-3_600_000, 3_600_000] {
        let yaml = "
services:
  db: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}}
  web: {image: 'app:1', depends_on: {db: {condition: service_healthy}}}
";
        let scene = Scene::new(1, yaml);
        scene.settle(secs(20)).await;
        scene.sim.clock().jump_wall(jump);
        scene.stays_idle(secs(1200)).await;
        let before = (starts(&scene, "db"), starts(&scene, "web"));
        scene.sim.crash("p-db-1", 1).expect("runs");
        sleep(ms(400)).await;
        assert_eq!(starts(&scene, "db") - before.0, 1, "no stall: {}", scene.show());
        scene.settle(secs(20)).await;
        scene.sim.clock().jump_wall(-jump);
        scene.stays_idle(secs(1200)).await;
        assert_eq!((starts(&scene, "db") - before.0, starts(&scene, "web")), (1, before.1));
        // In the middle of a loop.
        falls_for_good(&scene, "web");
        sleep(ms(700)).await;
        scene.sim.clock().jump_wall(jump);
        sleep(secs(60)).await;
        assert_eq!(starts(&scene, "web") - before.1, 3, "{}", scene.show());
        scene.stays_quiet(secs(3 * 3600)).await;
        assert_eq!(told(&scene, |w| matches!(w, What::Escalated { .. })), 1);
    }
}

const FIVE: &str = "
services:
  a: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 30}}
  b: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 30}}
  c: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 30}}
  d: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 30}}
  e: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 30}}
";

#[tokio::test(start_paused = true)]
async fn row_42_below_the_share_that_must_be_healthy_recoveries_go_one_at_a_time() {
    let sim = engine(1);
    for service in ["a", "b", "c", "d", "e"] {
        sim.behave(service, ready_after(secs(5)));
    }
    let scene = Scene::on(sim, goal(1, FIVE));
    scene.settle(secs(60)).await;
    let before = scene.starts().len();
    for service in ["a", "b", "c", "d"] {
        scene.sim.crash(&format!("p-{service}-1"), 1).expect("runs");
    }
    let (mut braked, mut most) = (false, 0);
    for _ in 0..300 {
        sleep(ms(100)).await;
        let view = scene.view();
        if view.brake.is_none() {
            continue;
        }
        braked = true;
        let starting = |s: &crate::plan::SlotReport| s.status == SlotStatus::Starting;
        most = most.max(view.report.slots.values().filter(|s| starting(s)).count());
    }
    assert!(braked && most == 1, "{braked} {most}");
    scene.settle(secs(60)).await;
    assert_eq!(scene.starts().len() - before, 4, "each once");
    let brakes: Vec<bool> = scene
        .announced
        .recoveries()
        .iter()
        .filter_map(|c| match c {
            Change::Braked(brake) => Some(brake.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(brakes, [true, false], "a person is told, and told of the end");
    scene.stays_idle(secs(900)).await;
}

#[tokio::test(start_paused = true)]
async fn row_42_a_rollout_and_kills_through_the_api_set_no_brake() {
    let sim = engine(1);
    for service in ["a", "b", "c", "d", "e"] {
        sim.behave(service, ready_after(secs(5)));
    }
    let scene = Scene::on(sim, goal(1, FIVE));
    scene.settle(secs(60)).await;
    for service in ["a", "b", "c", "d"] {
        scene.sim.kill(&format!("p-{service}-1"), 9).expect("runs");
    }
    sleep(secs(3)).await;
    let up =
        scene.view().report.slots.values().filter(|s| s.status == SlotStatus::Starting).count();
    assert_eq!(up, 4, "all at once: {}", scene.show());
    scene.settle(secs(60)).await;
    assert!(scene.announced.recoveries().iter().all(|c| !matches!(c, Change::Braked(_))));
    assert!(incidents(&scene).is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_44_a_recovery_that_makes_it_worse_stops() {
    let yaml = "
services:
  web: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 2}}
  free: {image: 'app:1'}
";
    let scene = Scene::new(1, yaml);
    scene.settle(secs(20)).await;
    // It doesn't serve; restarted, it doesn't even run any more.
    scene.sim.set_sick("web", true);
    scene.sim.behave("web", exits(ms(20), 1));
    sleep(secs(120)).await;
    let (restarts, starts) = (scene.count("/restart", "p-web-1"), scene.count("/start", "p-web-1"));
    assert_eq!(restarts + starts - 1, 3, "{}", scene.show());
    scene.says("service web/1", "exhausted(3 of 3 attempts)");
    scene.stays_quiet(secs(6 * 3600)).await;
    assert_eq!(told(&scene, |w| *w == What::AttemptEnded(AttemptResult::Failed)), 3);
    assert_eq!(scene.status("free"), SlotStatus::Ready);
}

/// What isn't the service's fault counts for nothing.
#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_every_start_for_an_hour_spends_no_attempt() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    scene.sim.inject(SimFault {
        call: "POST /containers/{id}/start".into(),
        about: "p-web-1".into(),
        fault: CallFault::Status(500),
        strikes: Strikes::Always,
    });
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(secs(3600)).await;
    let all = incidents(&scene);
    assert_eq!((all.len(), all[0].spent, all[0].stopped), (1, 0, None), "{}", scene.show());
    assert_eq!(told(&scene, |w| matches!(w, What::Escalated { .. })), 1, "but it is told");
    scene.sim.heal();
    scene.settle(secs(120)).await;
    scene.stays_idle(secs(900)).await;
}

/// The same acts that people have: through the API.
async fn by_a_person(scene: &Scene, seed: &mut u64) {
    let sim = &scene.sim;
    let mut pick = |n: usize| (unit_from(seed) * n as f64) as usize;
    let name = ["p-a-1", "p-b-1", "p-c-1", "p-d-1"][pick(4)];
    match pick(8) {
        0 => drop(sim.kill(name, [2, 9, 15][pick(3)])),
        1 => drop(sim.stop(name).await),
        2 => drop(sim.start(name).await),
        3 => {
            drop(sim.stop(name).await);
            drop(sim.start(name).await);
        }
        4 => drop(sim.remove(name, true).await),
        5 => drop(sim.compose_recreate(name, &serde_json::Map::new()).await),
        6 => {
            drop(sim.pause(name, true));
            sleep(ms(300)).await;
            drop(sim.pause(name, false));
        }
        _ => sim.restart_engine(EngineStop::Terminate, secs(2)).await,
    }
    sleep(Duration::from_millis((unit_from(seed) * 4000.0) as u64)).await;
}

#[tokio::test(start_paused = true)]
async fn forty_acts_of_a_person_open_no_incident() {
    for number in 1..=6_u64 {
        let scene = Scene::new(number, CHAIN);
        scene.settle(secs(60)).await;
        let mut seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for _ in 0..40 {
            by_a_person(&scene, &mut seed).await;
        }
        // What they stopped stays so until they say otherwise.
        sleep(secs(60)).await;
        let end = crate::plan::hold::HoldEnd::Resumed("ann".into());
        scene.tap.release(BTreeSet::new(), end).await.expect("it listens");
        scene.settle(secs(300)).await;
        let opened = told(&scene, |w| *w == What::Opened);
        let deaths: Vec<EngineEvent> =
            scene.sim.all_events().into_iter().filter(|e| e.action == "die").collect();
        assert_eq!(opened, 0, "seed {number}, {} deaths: {:?}", deaths.len(), incidents(&scene));
    }
}
