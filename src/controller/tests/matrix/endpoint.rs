//! Rows 5 and 6: a proxy that forbids, an engine of another age.

use super::*;
use crate::engine::Fault;

const DOOR: &str = "services: {door: {image: 'app:1'}, free: {image: 'app:1'}}";

fn forbid(sim: &SimEngine, call: &str, about: &str) {
    sim.inject(SimFault {
        call: call.into(),
        about: about.into(),
        fault: CallFault::Status(403),
        strikes: Strikes::Always,
    });
}

#[tokio::test(start_paused = true)]
async fn row_5_a_forbidden_write_is_no_loop_and_the_others_go_on() {
    for call in ["POST /containers/create", "POST /containers/{id}/start"] {
        let sim = engine(1);
        forbid(&sim, call, "p-door-1");
        let scene = Scene::on(sim, goal(1, DOOR));
        sleep(secs(10)).await;
        assert_eq!(scene.status("free"), SlotStatus::Ready, "{}", scene.show());
        assert!(scene.sim.writes().len() < 20, "{}", scene.show());
        sleep(secs(600)).await;
        scene.says("service door/1", call);
        scene.says("service door/1", "403");
        scene.sim.forget_writes();
        sleep(secs(3600)).await;
        let writes = scene.sim.writes();
        assert!(writes.iter().all(|w| w.name == "p-door-1"), "{}", scene.show());
        assert!((40..90).contains(&writes.len()), "{} in an hour", writes.len());
        scene.sim.crash("p-free-1", 1).expect("runs");
        sleep(secs(1)).await;
        assert_eq!(scene.status("free"), SlotStatus::Ready, "{}", scene.show());
        scene.sim.heal();
        scene.settle(secs(90)).await;
        scene.stays_idle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_5_a_forbidden_read_stops_everything_and_is_named() {
    for call in ["GET /containers/json", "GET /events", "GET /volumes"] {
        let sim = engine(1);
        forbid(&sim, call, "");
        let scene = Scene::on(sim, goal(1, DOOR));
        sleep(secs(600)).await;
        assert!(matches!(&scene.view().link, Link::Stale(Fault::Forbidden { .. })), "{call}");
        let status = scene.told();
        let why = status.readiness().expect_err("not ready");
        assert!(why.contains(call) && why.contains("403"), "{why}");
        assert!(scene.sim.writes().is_empty(), "nothing is done blindly");
        let asked = scene.sim.calls()[call];
        assert!((30..100).contains(&asked), "{asked} times in ten minutes");
        scene.sim.heal();
        scene.settle(secs(60)).await;
        scene.stays_idle(secs(600)).await;
    }
}

/// Each of its two networks is asked for at create, or afterwards, as the engine can.
const TWO_NETWORKS: &str = "
services:
  web: {image: 'app:1', networks: {front: {aliases: [door]}, back: {}}}
networks: {front: {}, back: {}}
";

#[tokio::test(start_paused = true)]
async fn row_6_an_engine_that_is_too_old_is_refused_with_the_reason() {
    let sim = engine(1);
    sim.set_api("1.40");
    let scene = Scene::on(sim, goal(1, TWO_NETWORKS));
    sleep(secs(600)).await;
    assert!(matches!(&scene.view().link, Link::Stale(Fault::TooOld { .. })), "{}", scene.show());
    let why = scene.told().readiness().expect_err("not ready");
    assert!(why.contains("1.41") && why.contains("1.40"), "{why}");
    assert!(scene.sim.writes().is_empty(), "{}", scene.show());
    let asked = scene.sim.calls().values().sum::<u64>();
    assert!(asked < 100, "asks with a growing pause: {asked} calls in ten minutes");
    // Somebody upgrades it.
    scene.sim.set_api("1.41");
    scene.settle(secs(60)).await;
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_6_every_other_engine_works_as_it_can() {
    for (has, spoken, connects) in [
        ("1.41", (1, 41), 1),
        ("1.43", (1, 43), 1),
        ("1.44", (1, 44), 0),
        ("1.45", (1, 45), 0),
        ("1.99", (1, 51), 0),
    ] {
        let sim = engine(1);
        sim.set_api(has);
        let scene = Scene::on(sim, goal(1, TWO_NETWORKS));
        scene.settle(secs(60)).await;
        assert_eq!(scene.view().observed.engine.capabilities.api, spoken);
        assert_eq!(scene.count("/connect", "p-web-1"), connects, "{has}: {}", scene.show());
        has_its_names(&scene).await;
        scene.stays_idle(secs(1200)).await;
        scene.sim.disconnect("p_front", "p-web-1").expect("detaches");
        scene.sim.disconnect("p_back", "p-web-1").expect("detaches");
        scene.sim.remove_network("p_front").expect("goes");
        scene.settle(secs(60)).await;
        has_its_names(&scene).await;
        scene.stays_idle(secs(1200)).await;
    }
}

async fn has_its_names(scene: &Scene) {
    let containers = scene.containers().await;
    let [web] = &containers[..] else { panic!("{}", scene.show()) };
    for (network, names) in [("p_front", &["web", "door"][..]), ("p_back", &["web"])] {
        let aliases = web.networks[network].aliases.clone().unwrap_or_default();
        assert!(names.iter().all(|n| aliases.iter().any(|a| a == n)), "{network}: {aliases:?}");
        assert!(!web.networks[network].ipv4.is_empty());
    }
}
