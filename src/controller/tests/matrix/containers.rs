//! Rows 12 and 14: jobs that end well, containers that somebody froze.

use super::*;

const JOB: &str = "
services:
  init: {image: 'app:1'}
  web:
    image: app:1
    depends_on: {init: {condition: service_completed_successfully}}
  free: {image: 'app:1'}
";

/// What happened to the containers of these services, in order: `init die`.
fn acts(scene: &Scene) -> Vec<String> {
    let events = scene.sim.all_events();
    let acts = events.iter().filter(|e| matches!(e.action.as_str(), "start" | "die"));
    let service = |e: &crate::engine::EngineEvent| {
        e.attributes.get(crate::observed::labels::SERVICE).cloned().unwrap_or_default()
    };
    acts.map(|e| format!("{} {}", service(e), e.action))
        .filter(|a| !a.starts_with("free"))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn row_12_a_job_that_ended_well_is_not_drift_and_runs_once() {
    let sim = engine(1);
    sim.behave("init", exits(ms(500), 0));
    let scene = Scene::on(sim, goal(1, JOB));
    scene.settle(secs(20)).await;
    assert_eq!(acts(&scene), ["init start", "init die", "web start"]);
    assert_eq!(scene.status("init"), SlotStatus::Completed);
    scene.stays_idle(secs(3600)).await;
    // A dependent that is made anew, and one that dies.
    scene.sim.remove("p-web-1", true).await.expect("goes");
    scene.settle(secs(20)).await;
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(ms(100)).await;
    scene.settle(secs(20)).await;
    scene.stays_idle(secs(600)).await;
    // Its container is cleared away: what it did is done.
    scene.sim.remove("p-init-1", false).await.expect("goes");
    scene.stays_idle(secs(600)).await;
    scene.sim.remove("p-web-1", true).await.expect("goes");
    scene.settle(secs(20)).await;
    // An edit of its dependent.
    scene.edit(goal(
        2,
        &JOB.replace("    image: app:1\n", "    image: app:1\n    labels: {n: '2'}\n"),
    ));
    scene.settle(secs(20)).await;
    scene.stays_idle(secs(600)).await;
    let starts = |scene: &Scene, of: &str| scene.starts().iter().filter(|s| *s == of).count();
    assert_eq!((starts(&scene, "init"), starts(&scene, "free")), (1, 1), "{:?}", acts(&scene));
}

#[tokio::test(start_paused = true)]
async fn row_12_a_job_runs_once_more_for_another_configuration_or_image() {
    let sim = engine(1);
    sim.behave("init", exits(ms(500), 0));
    let scene = Scene::on(sim, goal(1, JOB));
    scene.settle(secs(20)).await;
    let web = scene.sim.id("p-web-1");
    let edited =
        JOB.replace("init: {image: 'app:1'}", "init: {image: 'app:1', environment: [A=1]}");
    scene.edit(goal(2, &edited));
    // It is as good as ready while it runs.
    sleep(secs(3)).await;
    scene.settle(secs(20)).await;
    assert_eq!(acts(&scene)[3..], ["init start", "init die"]);
    assert_eq!(scene.sim.id("p-web-1"), web, "its dependent is as it was");
    scene.stays_idle(secs(600)).await;
    scene.sim.add_image(IMAGE, "sha256:bbbb");
    sleep(secs(90)).await;
    scene.settle(secs(60)).await;
    let after = acts(&scene)[5..].to_vec();
    let at = |act: &str| after.iter().position(|a| a == act).expect(act);
    assert_eq!(after.iter().filter(|a| *a == "init start").count(), 1, "{after:?}");
    assert!(at("init die") < at("web start"), "{after:?}");
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_12_a_job_that_fails_keeps_its_dependents_waiting_and_says_so() {
    let sim = engine(1);
    sim.behave("init", exits(ms(500), 3));
    let scene = Scene::on(sim, goal(1, JOB));
    sleep(secs(600)).await;
    assert_eq!(scene.status("free"), SlotStatus::Ready);
    assert!(!scene.starts().contains(&"web".to_owned()), "{}", scene.show());
    scene.says("service web/1", "init");
    scene.says("service init/1", "exhausted(3 of 3 attempts)");
    scene.stays_quiet(secs(3600)).await;
    scene.sim.behave("init", exits(ms(500), 0));
    scene.retry_all().await;
    scene.settle(secs(90)).await;
    scene.stays_idle(secs(3600)).await;
}

/// `b` waits for a healthy `a`.
const PAIR: &str = "
services:
  a: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 2}}
  b: {image: 'app:1', depends_on: {a: {condition: service_healthy}}}
";

#[tokio::test(start_paused = true)]
async fn row_14_a_frozen_container_is_reported_and_left_to_who_froze_it() {
    let scene = Scene::new(1, PAIR);
    scene.settle(secs(20)).await;
    let (made, starts) = (ids(&scene.containers().await), scene.starts());
    scene.sim.pause("p-a-1", true).expect("runs");
    sleep(secs(2)).await;
    assert_eq!(scene.status("a"), SlotStatus::Paused);
    scene.says("service a/1", "held(paused by hand");
    scene.stays_quiet(secs(3600)).await;
    assert_eq!(scene.status("b"), SlotStatus::Ready);
    scene.sim.pause("p-a-1", false).expect("is paused");
    scene.settle(secs(20)).await;
    assert_eq!(scene.status("a"), SlotStatus::Ready);
    scene.stays_idle(secs(600)).await;
    assert_eq!((ids(&scene.containers().await), scene.starts()), (made, starts));
}

#[tokio::test(start_paused = true)]
async fn row_14_a_frozen_container_goes_on_where_the_policy_says_so() {
    let policy = Policy { unpause: true, ..Policy::default() };
    let scene = Scene::on(engine(1), goal_with(1, PAIR, policy, BTreeMap::new(), &[]));
    scene.settle(secs(20)).await;
    let starts = scene.starts();
    scene.sim.forget_writes();
    scene.sim.pause("p-a-1", true).expect("runs");
    sleep(secs(1)).await;
    scene.settle(secs(20)).await;
    assert_eq!(scene.count("/unpause", "p-a-1"), 1, "{}", scene.show());
    assert_eq!((scene.sim.writes().len(), scene.starts()), (1, starts));
    scene.stays_idle(secs(600)).await;
}
