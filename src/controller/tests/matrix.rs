//! Rows of the fault matrix, in simulation.

mod containers;
mod endpoint;
mod files;
mod holds;
mod incidents;
mod journal;
mod networks;
mod operators;
mod others;
mod probes;
mod replacements;
mod supplies;
mod unreachable;

use serde_json::json;

use super::*;
use crate::engine::sim::{CallFault, EngineStop, SimFault, StreamFaults, Strikes};
use crate::observed::ContainerState;
use crate::sensitive::Sensitive;

/// Five in a chain, each healthy before the next; two networks.
const CHAIN: &str = "
services:
  a:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: [front, back]
    volumes: ['data:/data']
  b:
    image: app:1
    depends_on: {a: {condition: service_healthy}}
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: [back]
  c:
    image: app:1
    depends_on: {b: {condition: service_healthy}}
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: [back]
  d:
    image: app:1
    depends_on: [c]
    networks: [front]
networks: {front: {}, back: {}}
volumes: {data: {}}
";

/// Each process of the chain ends at once when what it needs doesn't serve.
fn needy(sim: &SimEngine) {
    for (service, needs) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", None)] {
        let needs = needs.map(str::to_owned).into_iter().collect();
        sim.behave(service, Behaviour { needs, ..ready_after(ms(300)) });
    }
}

async fn chain(seed: u64) -> Scene {
    let sim = engine(seed);
    needy(&sim);
    let scene = Scene::on(sim, goal(1, CHAIN));
    scene.settle(secs(60)).await;
    scene
}

#[tokio::test(start_paused = true)]
async fn a_cold_start_follows_the_dependencies_and_nothing_starts_twice() {
    let scene = chain(1).await;
    assert_eq!(scene.starts(), ["a", "b", "c", "d"]);
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_1_an_engine_restart_is_followed_by_an_ordered_recovery() {
    for how in [EngineStop::Terminate, EngineStop::Kill] {
        for policy in ["no", "unless-stopped"] {
            let sim = engine(1);
            if policy == "no" {
                needy(&sim);
            }
            let yaml =
                CHAIN.replace("image: app:1", &format!("image: app:1\n    restart: '{policy}'"));
            let scene = Scene::on(sim, goal(1, &yaml));
            scene.settle(secs(60)).await;
            let before = scene.starts().len();
            let made = ids(&scene.containers().await);
            scene.sim.restart_engine(how, secs(5)).await;
            scene.settle(secs(120)).await;
            if policy == "no" {
                // The stop is seen before the stream ends, and answered.
                let after = scene.starts();
                assert_eq!(after[after.len() - 4..], ["a", "b", "c", "d"], "{how:?}");
                assert!(after.len() - before <= 8, "{how:?}: {after:?}");
            }
            assert_eq!(ids(&scene.containers().await), made);
            scene.stays_idle(secs(600)).await;
            assert!(scene.view().holds.is_empty(), "{how:?} {policy}: no service ends held");
            assert_eq!(scene.announced.held(), scene.announced.held_no_longer(), "{how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_2_an_engine_that_is_absent_is_waited_for() {
    let sim = engine(1);
    sim.stop_engine(EngineStop::Kill);
    let scene = Scene::on(sim, goal(1, CHAIN));
    sleep(secs(300)).await;
    assert!(matches!(scene.view().link, Link::Stale(_)));
    let asked = scene.sim.calls().values().sum::<u64>();
    assert!(asked < 100, "asks with a growing pause: {asked} calls in 300 s");
    scene.sim.start_engine();
    scene.settle(secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn row_3_a_hanging_call_delays_only_what_needs_it() {
    for effect in [true, false] {
        let sim = engine(1);
        let yaml = format!("{CHAIN}\n").replace("services:", "services:\n  free: {image: 'app:1'}");
        sim.inject(SimFault {
            call: "POST /containers/{id}/start".into(),
            about: "p-a-1".into(),
            fault: CallFault::Timeout { effect },
            strikes: Strikes::Next(1),
        });
        let scene = Scene::on(sim, goal(1, &yaml));
        sleep(secs(3)).await;
        assert_eq!(scene.status("free"), SlotStatus::Ready);
        scene.settle(secs(120)).await;
        scene.stays_idle(secs(600)).await;
        let names: Vec<String> = scene.containers().await.into_iter().map(|c| c.name).collect();
        assert_eq!(names.len(), 5, "{names:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_3_and_4_whatever_a_call_answers_once_the_stack_comes_up_without_duplicates() {
    let calls = [
        "POST /containers/create",
        "POST /containers/{id}/start",
        "POST /networks/create",
        "POST /networks/{id}/connect",
        "POST /volumes/create",
        "GET /containers/json",
        "GET /containers/{id}/json",
        "GET /networks",
        "GET /images/json",
        "GET /info",
        "GET /events",
    ];
    let faults = [
        CallFault::Status(500),
        CallFault::Status(409),
        CallFault::Status(404),
        CallFault::Timeout { effect: true },
        CallFault::Timeout { effect: false },
        CallFault::Cut { effect: true },
        CallFault::Cut { effect: false },
        CallFault::Garbage,
        CallFault::Delay(secs(5)),
    ];
    for call in calls {
        for fault in &faults {
            let sim = engine(1);
            sim.inject(SimFault {
                call: call.into(),
                about: String::new(),
                fault: fault.clone(),
                strikes: Strikes::Next(2),
            });
            let scene = Scene::on(sim, goal(1, CHAIN));
            scene.settle(secs(240)).await;
            let containers = scene.containers().await;
            assert_eq!(containers.len(), 4, "{call} {fault:?}");
            let networks = scene.sim.networks().await.expect("a list");
            assert_eq!(networks.iter().filter(|n| n.name.starts_with("p_")).count(), 2);
            scene.stays_idle(secs(120)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_7_to_10_a_bad_event_stream_costs_time_only() {
    let scene = chain(3).await;
    let faults = StreamFaults { duplicate: 0.3, reorder: 0.3, lose: 0.3, garbage: 0.1 };
    scene.sim.set_stream_faults(faults);
    for service in ["a", "b", "c", "d"].repeat(5) {
        let _ = scene.sim.kill(&format!("p-{service}-1"), 9);
        sleep(secs(20)).await;
        scene.sim.end_streams();
    }
    scene.sim.heal();
    scene.settle(secs(300)).await;
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_11_everything_killed_at_once_comes_back_in_order() {
    let scene = chain(1).await;
    for service in ["a", "b", "c", "d"] {
        scene.sim.crash(&format!("p-{service}-1"), 137).expect("runs");
    }
    sleep(ms(100)).await;
    scene.settle(secs(60)).await;
    assert_eq!(scene.starts()[4..], ["a", "b", "c", "d"]);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_16_everything_removed_at_once_comes_back_in_order_with_its_volume() {
    let scene = chain(1).await;
    let created = scene.sim.volumes().await.expect("a list");
    let names = ["a", "c", "b", "d"].map(|service| format!("p-{service}-1"));
    let removals = names.iter().map(|name| scene.sim.remove(name, true));
    for removed in futures_util::future::join_all(removals).await {
        removed.expect("goes");
    }
    scene.settle(secs(60)).await;
    let starts = scene.starts();
    assert_eq!(starts[starts.len() - 4..], ["a", "b", "c", "d"]);
    assert_eq!(scene.sim.volumes().await.expect("a list"), created);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_17_a_rename_is_no_drift() {
    let scene = chain(1).await;
    scene.sim.rename("p-b-1", "mine").expect("renames");
    sleep(secs(2)).await;
    scene.stays_idle(secs(600)).await;
    assert_eq!(scene.containers().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn row_21_what_cannot_be_killed_holds_up_nobody_else() {
    let sim = engine(1);
    let yaml = "services: {stuck: {image: 'app:1'}, free: {image: 'app:1'}}";
    sim.behave(
        "stuck",
        Behaviour {
            unkillable: true,
            on_stop: crate::engine::sim::OnStop::Ignores,
            ..Behaviour::default()
        },
    );
    let scene = Scene::on(sim, goal(1, yaml));
    scene.settle(secs(10)).await;
    scene.edit(goal(2, &yaml.replace("stuck: {", "stuck: {labels: {edit: '1'}, ")));
    sleep(secs(600)).await;
    scene.sim.forget_writes();
    scene.sim.crash("p-free-1", 1).expect("runs");
    sleep(secs(2)).await;
    assert_eq!(scene.status("free"), SlotStatus::Ready, "{}", scene.show());
    sleep(secs(3600)).await;
    let stops = scene.count("/stop", "p-stuck-1");
    assert!((1..100).contains(&stops), "backs off: {stops} stops in an hour");
    let creates = scene.sim.writes().iter().filter(|w| w.write.call().contains("create")).count();
    assert!(creates < 100, "no heap of half-made containers: {creates}");
    let left = scene.containers().await.len();
    assert!(left <= 3, "{left} containers");
}

#[tokio::test(start_paused = true)]
async fn row_22_and_23_networks_come_back_in_one_pass_without_a_recreate() {
    let scene = chain(1).await;
    let made = ids(&scene.containers().await);
    for network in ["p_back", "p_front"] {
        for service in ["a", "b", "c", "d"] {
            let _ = scene.sim.disconnect(network, &format!("p-{service}-1"));
        }
        scene.sim.remove_network(network).expect("goes");
    }
    scene.settle(secs(60)).await;
    let containers = scene.containers().await;
    assert_eq!(ids(&containers), made);
    for container in &containers {
        for endpoint in container.networks.values() {
            let aliases = endpoint.aliases.clone().unwrap_or_default();
            assert!(aliases.contains(container.service.as_ref().expect("a service")));
            assert!(!endpoint.ipv4.is_empty());
        }
    }
    assert_eq!(containers.iter().find(|c| c.name == "p-a-1").map(|c| c.networks.len()), Some(2));
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_24b_an_address_that_another_holds_is_said_and_storms_nothing() {
    let sim = engine(1);
    let yaml = "
services:
  fixed: {image: 'app:1', networks: {n: {ipv4_address: 10.9.0.10}}}
  free: {image: 'app:1', networks: [n]}
networks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}
";
    let scene = Scene::on(sim, goal(1, yaml));
    scene.settle(secs(20)).await;
    scene.sim.disconnect("p_n", "p-fixed-1").expect("detaches");
    let body = json!({
        "Image": IMAGE,
        "HostConfig": { "NetworkMode": "p_n" },
        "NetworkingConfig": { "EndpointsConfig": { "p_n": { "IPAMConfig": { "IPv4Address": "10.9.0.10" } } } },
    });
    let body = Sensitive::new(body.as_object().cloned().expect("an object"));
    let _ = scene
        .sim
        .by_hand(Write::CreateContainer { name: "thief".into(), platform: None, body })
        .await;
    let _ = scene.sim.start("thief").await;
    sleep(secs(600)).await;
    scene.sim.forget_writes();
    sleep(secs(3600)).await;
    let writes: Vec<String> = scene.sim.writes().iter().map(line).collect();
    assert!(writes.len() < 200, "{} writes in an hour: {}", writes.len(), scene.show());
    scene.sim.remove("thief", true).await.expect("goes");
    scene.settle(secs(120)).await;
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_26_children_follow_a_parent_that_is_recreated_or_restarted() {
    let sim = engine(1);
    let yaml = "
services:
  parent: {image: 'app:1'}
  child: {image: 'app:1', network_mode: 'service:parent', depends_on: [parent]}
";
    let scene = Scene::on(sim, goal(1, yaml));
    scene.settle(secs(20)).await;
    scene.sim.remove("p-parent-1", true).await.expect("goes");
    scene.settle(secs(60)).await;
    scene.stays_idle(secs(600)).await;
    scene.sim.crash("p-parent-1", 1).expect("runs");
    sleep(secs(1)).await;
    scene.settle(secs(60)).await;
    let containers = scene.containers().await;
    let find = |name: &str| containers.iter().find(|c| c.name == name).expect("is there");
    let mode = &find("p-child-1").network_mode;
    assert_eq!(*mode, format!("container:{}", find("p-parent-1").id.0));
    assert!(containers.iter().all(|c| c.state == ContainerState::Running));
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_36_a_clock_jump_starts_no_storm() {
    let yaml = "
services:
  parent: {image: 'app:1'}
  child: {image: 'app:1', network_mode: 'service:parent', depends_on: [parent]}
  db: {image: 'app:1'}
  web: {image: 'app:1', depends_on: {db: {condition: service_started, restart: true}}}
  busy: {image: 'app:1', restart: always}
";
    for jump in [3_600_000, -3_600_000] {
        let scene = Scene::on(engine(1), goal(1, yaml));
        scene.settle(secs(20)).await;
        scene.sim.clock().jump_wall(jump);
        scene.stays_idle(secs(600)).await;
        for name in ["p-child-1", "p-web-1", "p-busy-1"] {
            scene.sim.crash(name, 1).expect("runs");
        }
        sleep(secs(1)).await;
        scene.settle(secs(60)).await;
        sleep(secs(1)).await;
        scene.sim.forget_writes();
        sleep(secs(7200)).await;
        let writes: Vec<String> = scene.sim.writes().iter().map(line).collect();
        // Once the clock has caught up, an order of starts may look wrong once.
        assert!(writes.len() <= 4, "{jump}: {} writes:\n{}", writes.len(), scene.show());
        assert!(scene.is_settled(), "{}", scene.show());
    }
}
