//! Row 53: a probe that can't be routed says nothing of its service.

use super::*;
use crate::api::stack::ServiceSpec;
use crate::api::status::{Condition, ConditionStatus};
use crate::observed::Health;
use crate::probe::Probe;

const YAML: &str = "
services:
  mute: {image: 'app:1'}
  checked: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s}}
  sick: {image: 'app:1', healthcheck: {test: [CMD, no], interval: 1s, retries: 2}}
  after: {image: 'app:1', depends_on: {mute: {condition: service_healthy}}}
";

/// Each of the three has a driver, and nobody can reach an address of the simulated engine.
fn unreachable(driver: &str) -> Goal {
    let names = ["mute", "checked", "sick"];
    let traits = names
        .map(|name| (name.to_owned(), ServiceTraits { probed: true, ..ServiceTraits::default() }));
    let mut goal = goal_with(1, YAML, Policy::default(), traits.into(), &[]);
    let spec: ServiceSpec = serde_saphyr::from_str(driver).expect("a spec");
    let probe = Arc::new(Probe::of(&spec).expect("valid").expect("a probe"));
    goal.probes = names.map(|name| (name.to_owned(), Arc::clone(&probe))).into();
    goal
}

fn condition(scene: &Scene, service: &str, kind: &str) -> Condition {
    let status = scene.told();
    let row = status.services.into_iter().find(|s| s.service == service).expect("a row");
    row.conditions.into_iter().find(|c| c.kind == kind).expect("always said of what is probed")
}

#[tokio::test(start_paused = true)]
async fn row_53_what_no_vantage_reaches_is_judged_by_docker_and_then_by_running() {
    let sim = engine(1);
    sim.hide_addresses();
    sim.behave("sick", Behaviour { ready_after: None, ..Behaviour::default() });
    let scene = Scene::on(sim, unreachable("driver: chroma\n"));
    sleep(secs(20)).await;
    assert_eq!(scene.status("mute"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(scene.status("checked"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(scene.status("after"), SlotStatus::Ready, "nobody waits for an answer in vain");
    let health = scene.containers().await.into_iter().find(|c| c.name == "p-sick-1");
    assert_eq!(health.expect("is there").health, Health::Unhealthy);
    assert_ne!(scene.status("sick"), SlotStatus::Ready);
    let found = condition(&scene, "mute", "ProbeUnreachable");
    assert_eq!((found.status, &*found.reason), (ConditionStatus::True, "ProbeUnreachable"));
    assert!(found.message.contains("publish its port on 127.0.0.1 or set `endpoint`"));
    assert_eq!(condition(&scene, "mute", "CredentialMissing").status, ConditionStatus::False);
    let status = scene.told();
    let row = status.services.iter().find(|s| s.service == "mute").expect("a row");
    assert!(row.message.contains("publish its port"), "beside it, too: {}", row.message);
}

#[tokio::test(start_paused = true)]
async fn row_53_what_no_vantage_reaches_is_never_recovered() {
    let sim = engine(1);
    sim.hide_addresses();
    let scene = Scene::on(sim, unreachable("driver: chroma\n"));
    scene.settle(secs(20)).await;
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_53_a_drivers_own_client_tells_where_no_address_does_every_half_minute() {
    let sim = engine(1);
    sim.hide_addresses();
    sim.behave("mute", ready_after(secs(5)));
    let scene = Scene::on(sim, unreachable("driver: valkey\n"));
    sleep(secs(3)).await;
    assert_eq!(scene.status("mute"), SlotStatus::Starting, "{}", scene.show());
    assert_eq!(scene.status("after"), SlotStatus::Waiting, "it waits for an answer now");
    sleep(secs(40)).await;
    assert_eq!(scene.status("mute"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(scene.status("after"), SlotStatus::Ready);
    assert_eq!(condition(&scene, "mute", "ProbeUnreachable").status, ConditionStatus::False);
    let asked = || scene.sim.calls().get("POST /containers/{id}/exec").copied().unwrap_or(0);
    let before = asked();
    scene.stays_idle(secs(3600)).await;
    let asked = asked() - before;
    // The two with a healthcheck are Docker's to ask.
    assert!((100..=121).contains(&asked), "{asked} commands in an hour");
}
