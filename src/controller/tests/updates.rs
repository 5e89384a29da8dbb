//! Updates in the whole loop: rows 30 and 31, and what a person may do meanwhile.

use super::*;
use crate::controller::worker::Wish;
use crate::desired::RollbackPolicy;
use crate::observed::ContainerState;
use crate::plan::memory::Insisted;
use crate::recovery::{Incident, Stop};

/// The version that works, and one that doesn't.
const WEB: &str = "
services:
  web:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, timeout: 1s, retries: 3}
";
const DATA: &str = "
services:
  web:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, timeout: 1s, retries: 3}
    volumes: ['data:/data']
volumes: {data: {}}
";

fn edited(yaml: &str) -> String {
    yaml.replace("image: app:1", "image: app:1\n    labels: {edit: '1'}")
}

fn other_image(yaml: &str) -> String {
    yaml.replace("image: app:1", "image: app:2")
}

fn stage() -> Arc<SimEngine> {
    let sim = engine(1);
    sim.add_image("app:2", "sha256:bbbb");
    sim
}

/// The stack runs. The other image never gets ready.
async fn running(yaml: &str) -> Scene {
    let scene = Scene::on(stage(), goal(1, yaml));
    scene.settle(secs(10)).await;
    scene.sim.behave("app:2", Behaviour { ready_after: None, ..Behaviour::default() });
    scene
}

/// Status and reason of the stack's condition about updates.
fn condition(scene: &Scene) -> String {
    let status = scene.told();
    let found = status.stacks[0].conditions.iter().find(|c| c.kind == "UpdateFailed");
    let found = found.expect("the condition");
    format!("{:?} {}", found.status, found.reason)
}

/// As [`Scene::settle`], where an update that failed may be waited for.
async fn over(scene: &Scene) {
    scene.settle(secs(300)).await;
}

async fn only(scene: &Scene) -> Container {
    let all = scene.containers().await;
    let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["p-web-1"], "{}", scene.show());
    all[0].clone()
}

#[tokio::test(start_paused = true)]
async fn an_update_keeps_the_old_container_until_the_new_one_is_ready() {
    let scene = Scene::on(stage(), goal(1, WEB));
    scene.settle(secs(10)).await;
    let old = only(&scene).await.id;
    scene.sim.behave("web", ready_after(secs(2)));
    scene.edit(goal(2, &edited(WEB)));
    sleep(secs(2)).await;
    let kept = scene.sim.inspect(&old).await.expect("is there");
    assert_eq!((kept.state, kept.name), (ContainerState::Exited, format!("{old}_p-web-1")));
    assert_eq!(scene.announced.bodies(), 1);
    scene.says("service web/1", "the old one is kept until then");
    scene.settle(secs(10)).await;
    assert_ne!(only(&scene).await.id, old);
    assert_eq!(scene.announced.bodies(), 0, "its secrets go with it");
    assert_eq!(scene.announced.told().len(), 1, "{:?}", scene.announced.told());
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_31_an_update_that_is_never_healthy_is_rolled_back_and_pinned() {
    let scene = running(WEB).await;
    let old = only(&scene).await.id;
    scene.edit(goal(2, &other_image(WEB)));
    sleep(secs(20)).await;
    let web = only(&scene).await;
    assert_eq!((web.id, web.state), (old.clone(), ContainerState::Running), "{}", scene.show());
    scene.says("service web/1", "update failed: unhealthy: Docker healthcheck; rolled back to");
    let told = scene.announced.told();
    assert!(told.len() == 1 && told[0].starts_with("UpdateRolledBack service web/1: "), "{told:?}");
    assert_eq!(condition(&scene), "True RolledBack");
    over(&scene).await;
    scene.sim.behave("app:2", Behaviour::default());
    scene.stays_idle(secs(3600)).await;
    // It still heals.
    scene.sim.crash("p-web-1", 1).expect("it runs");
    scene.settle(secs(10)).await;
    assert_eq!(only(&scene).await.id, old);
    // An edit rolls out.
    scene.edit(goal(3, &other_image(&edited(WEB))));
    over(&scene).await;
    let web = only(&scene).await;
    assert_eq!(web.image_id, "sha256:bbbb");
    assert_eq!(condition(&scene), "False NoneFailed");
    assert_eq!(scene.announced.bodies(), 0);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_31_what_dies_again_and_again_is_rolled_back() {
    let yaml = "services: {web: {image: 'app:1'}}";
    let scene = Scene::on(stage(), goal(1, yaml));
    scene.settle(secs(10)).await;
    let old = only(&scene).await.id;
    scene.sim.behave("app:2", exits(secs(1), 3));
    scene.edit(goal(2, &yaml.replace("app:1", "app:2")));
    sleep(secs(12)).await;
    assert_eq!(only(&scene).await.id, old, "{}", scene.show());
    scene.says("service web/1", "exited 3, 3 times before it was ready; rolled back");
    assert_eq!(scene.count("/start", "p-web-1"), 5, "once, three times, and back");
    over(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn row_31_what_cannot_be_started_is_rolled_back_whatever_data_it_has() {
    let scene = Scene::on(stage(), goal(1, DATA));
    scene.settle(secs(10)).await;
    let old = only(&scene).await.id;
    let broken =
        Behaviour { start_error: Some("no such file: srv".into()), ..Behaviour::default() };
    scene.sim.behave("app:2", broken);
    scene.edit(goal(2, &other_image(DATA)));
    sleep(secs(5)).await;
    scene.sim.behave("app:2", Behaviour::default());
    over(&scene).await;
    assert_eq!(only(&scene).await.id, old);
    scene.says("service web/1", "it can't be started: no such file: srv; rolled back");
}

#[tokio::test(start_paused = true)]
async fn row_31_data_are_not_rolled_back() {
    let scene = running(DATA).await;
    let old = only(&scene).await.id;
    scene.edit(goal(2, &other_image(DATA)));
    over(&scene).await;
    assert_eq!(scene.status("web"), SlotStatus::Held);
    assert_eq!(condition(&scene), "True NeedsPerson");
    scene.says("service web/1", "stopped and not rolled back to image aaaa");
    scene.says("service web/1", "the new one is image bbbb");
    scene.says("service web/1", "--volumes-from p-web-1:ro");
    let all = scene.containers().await;
    assert_eq!(all.len(), 2, "both are there for a person to look at");
    assert!(all.iter().all(|c| c.state == ContainerState::Exited), "{}", scene.show());
    assert!(scene.announced.told()[0].starts_with("UpdateNeedsPerson service web/1: "));
    let open = |scene: &Scene| -> Vec<Incident> {
        scene.view().incidents.iter().filter(|i| i.is_open()).cloned().collect()
    };
    let incident = open(&scene).remove(0);
    assert_eq!((incident.stopped, incident.spent), (Some(Stop::Update), 0));
    assert!(incident.escalated.is_some(), "a person is told at once");
    for needed in ["image aaaa", "image bbbb", "docker run --rm --volumes-from p-web-1:ro"] {
        assert!(incident.cause.contains(needed), "`{needed}` isn't said: {}", incident.cause);
    }
    scene.stays_quiet(secs(3600)).await;
    assert_eq!(open(&scene).len(), 1);
    // Back to the file of before: the old container, which worked.
    scene.sim.behave("app:2", Behaviour::default());
    scene.edit(goal(3, DATA));
    over(&scene).await;
    assert_eq!(only(&scene).await.id, old);
    scene.stays_idle(secs(600)).await;
    assert_eq!(open(&scene).len(), 0, "another generation");
}

#[tokio::test(start_paused = true)]
async fn a_person_retries_an_update_that_failed_over_data() {
    let scene = running(DATA).await;
    scene.edit(goal(2, &other_image(DATA)));
    over(&scene).await;
    let failed = scene.view().incidents[0].clone();
    // What it lacked is there now.
    scene.sim.behave("app:2", Behaviour::default());
    assert_eq!(failed.stopped, Some(Stop::Update));
    scene.retry_all().await;
    over(&scene).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(only(&scene).await.image, "app:2");
    sleep(secs(900)).await;
    assert!(!scene.view().incidents[0].is_open(), "it was ready for ten minutes");
}

#[tokio::test(start_paused = true)]
async fn what_a_person_stops_during_its_update_has_not_failed() {
    let slow = WEB.replace("retries: 3", "retries: 3, start_period: 60s");
    let scene = running(&slow).await;
    scene.sim.behave("app:2", Behaviour { ready_after: Some(secs(40)), ..Behaviour::default() });
    scene.edit(goal(2, &other_image(&slow)));
    for _ in 0..4 {
        sleep(secs(5)).await;
        scene.sim.stop("p-web-1").await.expect("stops");
        sleep(secs(2)).await;
        scene.sim.start("p-web-1").await.expect("starts");
    }
    over(&scene).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(only(&scene).await.image, "app:2");
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_changes_no_image_goes_back_in_spite_of_data() {
    let scene = running(DATA).await;
    let old = only(&scene).await.id;
    scene.sim.behave("web", Behaviour { ready_after: None, ..Behaviour::default() });
    scene.edit(goal(2, &edited(DATA)));
    sleep(secs(6)).await;
    scene.sim.behave("web", Behaviour::default());
    over(&scene).await;
    assert_eq!(only(&scene).await.id, old, "{}", scene.show());
}

#[tokio::test(start_paused = true)]
async fn the_policy_decides() {
    for (rollback, data, back) in
        [(RollbackPolicy::Always, DATA, true), (RollbackPolicy::Never, WEB, false)]
    {
        let policy = Policy { rollback, ..Policy::default() };
        let with =
            |generation, yaml: &str| goal_with(generation, yaml, policy, BTreeMap::new(), &[]);
        let scene = Scene::on(stage(), with(1, data));
        scene.settle(secs(10)).await;
        let old = only(&scene).await.id;
        scene.sim.behave("app:2", Behaviour { ready_after: None, ..Behaviour::default() });
        scene.edit(with(2, &other_image(data)));
        sleep(secs(20)).await;
        let old = scene.sim.inspect(&old).await.expect("is there");
        assert_eq!(old.state == ContainerState::Running, back, "{rollback:?}: {}", scene.show());
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_container_that_somebody_removed_is_made_again() {
    let scene = running(&edited(WEB)).await;
    let old = only(&scene).await;
    scene.edit(goal(2, &other_image(WEB)));
    sleep(secs(2)).await;
    scene.sim.remove(&old.id.0, true).await.expect("goes");
    sleep(secs(20)).await;
    let web = only(&scene).await;
    assert_ne!(web.id, old.id);
    assert_eq!((&web.image_id, &web.config_hash), (&old.image_id, &old.config_hash));
    assert_eq!(web.labels.get("edit"), old.labels.get("edit"));
    scene.sim.behave("app:2", Behaviour::default());
    over(&scene).await;
    scene.stays_idle(secs(600)).await;
    // And once more, long after.
    scene.sim.remove(&web.id.0, true).await.expect("goes");
    over(&scene).await;
    assert_eq!(only(&scene).await.config_hash, old.config_hash);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_applies_has_the_update_tried_again() {
    let scene = running(WEB).await;
    scene.edit(goal(2, &other_image(WEB)));
    sleep(secs(20)).await;
    scene.says("service web/1", "rolled back");
    scene.sim.behave("app:2", Behaviour::default());
    scene.tap.wishes.send(Wish::Afresh(Scope::default())).await.expect("hears");
    over(&scene).await;
    assert_eq!(only(&scene).await.image_id, "sha256:bbbb");
}

#[tokio::test(start_paused = true)]
async fn a_failed_update_is_remembered_by_a_command_that_insists() {
    let scene = running(WEB).await;
    let (sim, old) = (Arc::clone(&scene.sim), only(&scene).await.id);
    drop(scene);
    let memory = Memory { insisted: Insisted::Everything, ..Memory::default() };
    let scene = Scene::with_memory(sim, goal(2, &other_image(WEB)), memory);
    sleep(secs(60)).await;
    assert_eq!(only(&scene).await.id, old, "{}", scene.show());
    let creates = scene.sim.writes().iter().filter(|w| w.write.call().contains("/create")).count();
    assert_eq!(creates, 3, "network, first container, and the update once");
}

#[tokio::test(start_paused = true)]
async fn docker_compose_up_during_an_update_is_left_to_finish() {
    let scene = running(WEB).await;
    scene.edit(goal(2, &other_image(WEB)));
    sleep(secs(2)).await;
    scene.sim.behave("app:2", Behaviour::default());
    scene.sim.compose_recreate("p-web-1", &serde_json::Map::new()).await.expect("recreates");
    let theirs = scene.sim.id("p-web-1").expect("there");
    sleep(secs(30)).await;
    over(&scene).await;
    assert_eq!(only(&scene).await.id, theirs);
    assert_eq!(scene.announced.bodies(), 0);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn two_slots_are_updated_one_after_the_other_and_one_failure_stops_it() {
    let two = WEB.replace("image: app:1", "image: app:1\n    scale: 2");
    let scene = running(&two).await;
    let before = ids(&scene.containers().await);
    scene.edit(goal(2, &other_image(&two)));
    sleep(secs(20)).await;
    assert_eq!(ids(&scene.containers().await), before, "{}", scene.show());
    assert_eq!(scene.count("/stop", "p-web-2"), 0, "the second one was never touched");
    scene.sim.behave("app:2", Behaviour::default());
    scene.edit(goal(3, &other_image(&edited(&two))));
    over(&scene).await;
    assert!(scene.containers().await.iter().all(|c| c.image_id == "sha256:bbbb"));
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn children_of_a_namespace_follow_it_there_and_back() {
    let yaml = "
services:
  web:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, timeout: 1s, retries: 3}
  side: {image: 'app:1', network_mode: 'service:web', depends_on: [web]}
";
    let scene = running(yaml).await;
    let web = scene.sim.id("p-web-1").expect("there");
    scene.edit(goal(2, &yaml.replacen("app:1", "app:2", 1)));
    sleep(secs(20)).await;
    scene.sim.behave("app:2", Behaviour::default());
    over(&scene).await;
    assert_eq!(scene.sim.id("p-web-1").expect("there"), web);
    let side = scene.sim.id("p-side-1").expect("there");
    let side = scene.sim.inspect(&side).await.expect("there");
    assert_eq!(side.network_mode, format!("container:{}", web.0));
    assert_eq!(scene.containers().await.len(), 2);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn an_address_goes_there_and_back() {
    let yaml = "
services:
  web:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, timeout: 1s, retries: 3}
    networks: {lan: {ipv4_address: 10.9.0.10}}
    ports: ['8000:80']
networks: {lan: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
";
    let scene = running(yaml).await;
    let old = only(&scene).await.id;
    scene.edit(goal(2, &other_image(yaml)));
    sleep(secs(20)).await;
    let web = only(&scene).await;
    assert_eq!((&web.id, web.networks["p_lan"].ipv4.as_str()), (&old, "10.9.0.10"));
    assert_eq!(web.published.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn row_30_an_image_that_cannot_be_pulled_leaves_the_old_one_running() {
    let scene = Scene::on(engine(1), goal(1, WEB));
    scene.settle(secs(10)).await;
    let old = only(&scene).await;
    scene.edit(goal(2, &WEB.replace("app:1", "absent:1")));
    sleep(secs(120)).await;
    let web = only(&scene).await;
    assert_eq!((&web.id, web.started), (&old.id, old.started), "{}", scene.show());
    scene.says("service web/1", "image absent:1 can't be pulled");
    assert_eq!(scene.announced.bodies(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_36_a_clock_that_jumps_neither_fails_nor_delays_an_update() {
    for jump in [3_600_000, -3_600_000] {
        let slow = WEB.replace("retries: 3", "retries: 3, start_period: 60s");
        let scene = running(&slow).await;
        scene
            .sim
            .behave("app:2", Behaviour { ready_after: Some(secs(20)), ..Behaviour::default() });
        scene.edit(goal(2, &other_image(&slow)));
        sleep(secs(5)).await;
        scene.sim.clock().jump_wall(jump);
        sleep(secs(30)).await;
        assert_eq!(only(&scene).await.image, "app:2", "{jump}: {}", scene.show());
        // One that nobody can call ready has proved itself after ten seconds, and not before.
        let plain = "services: {web: {image: 'app:2'}}";
        scene.edit(goal(3, plain));
        sleep(secs(5)).await;
        scene.sim.clock().jump_wall(-jump);
        sleep(secs(2)).await;
        assert_eq!(scene.containers().await.len(), 2, "{jump}: {}", scene.show());
        sleep(secs(6)).await;
        assert_eq!(scene.containers().await.len(), 1, "{jump}: {}", scene.show());
    }
}
