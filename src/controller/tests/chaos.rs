//! Everybody does anything at any time, then leaves it alone.

use super::*;
use crate::clock::unit_from;
use crate::engine::sim::{CallFault, EngineStop, SimFault, StreamFaults, Strikes};
use crate::observed::ContainerState;

const STACK: &str = "
services:
  db:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: {back: {ipv4_address: 10.8.0.10}}
    volumes: ['data:/data']
  migrate: {image: 'app:1', networks: [back], depends_on: {db: {condition: service_healthy}}}
  api:
    image: app:1
    networks: [front, back]
    depends_on:
      db: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully}
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
  sidecar: {image: 'app:1', network_mode: 'service:api', depends_on: [api]}
  worker: {image: 'app:1', restart: always, networks: [back], scale: 2}
  web: {image: 'app:1', networks: [front], ports: ['8080:80'], depends_on: {api: {condition: service_healthy}}}
networks: {front: {}, back: {ipam: {config: [{subnet: 10.8.0.0/24}]}}}
volumes: {data: {}}
";

const NAMES: [&str; 7] =
    ["p-db-1", "p-migrate-1", "p-api-1", "p-sidecar-1", "p-worker-1", "p-worker-2", "p-web-1"];

fn stack(generation: u64, edit: u64) -> Goal {
    goal(generation, &STACK.replace("  web: {", &format!("  web: {{labels: {{n: '{edit}'}}, ")))
}

/// Whatever was refused was refused: only what is so afterwards counts.
async fn step(scene: &Scene, seed: &mut u64, generation: &mut u64) {
    let sim = &scene.sim;
    let mut pick = |n: usize| (unit_from(seed) * n as f64) as usize;
    let name = NAMES[pick(NAMES.len())];
    let network = ["p_front", "p_back"][pick(2)];
    match pick(17) {
        0 | 1 => drop(sim.crash(name, [0, 1, 137][pick(3)])),
        2 => drop(sim.oom(name)),
        3 => drop(sim.kill(name, [1, 9, 15][pick(3)])),
        4 => drop(sim.stop(name).await),
        5 => drop(sim.remove(name, pick(4) != 0).await),
        6 => drop(sim.disconnect(network, name)),
        7 => drop(sim.connect(network, name)),
        8 => {
            for name in NAMES {
                drop(sim.disconnect(network, name));
            }
            drop(sim.remove_network(network));
        }
        9 => {
            let how = if pick(2) == 0 { EngineStop::Kill } else { EngineStop::Terminate };
            sim.restart_engine(how, ms(pick(3000) as u64)).await;
        }
        10 => {
            *generation += 1;
            scene.edit(stack(*generation, pick(3) as u64));
        }
        11 => sim.set_stream_faults(StreamFaults {
            duplicate: unit_from(seed) / 3.0,
            reorder: unit_from(seed) / 3.0,
            lose: unit_from(seed) / 3.0,
            garbage: unit_from(seed) / 5.0,
        }),
        12 => sim.end_streams(),
        13 => {
            let fault = [
                CallFault::Status(500),
                CallFault::Status(409),
                CallFault::Status(404),
                CallFault::Timeout { effect: true },
                CallFault::Timeout { effect: false },
                CallFault::Cut { effect: true },
                CallFault::Garbage,
                CallFault::Delay(secs(2)),
                CallFault::Late(secs(2)),
            ];
            let fault = fault[pick(fault.len())].clone();
            let call = ["POST ", "GET ", "DELETE ", ""][pick(4)].into();
            let strikes = Strikes::Next(1 + pick(4) as u32);
            sim.inject(SimFault { call, about: String::new(), fault, strikes });
        }
        14 => {
            let change = serde_json::Map::new();
            drop(sim.compose_recreate(name, &change).await);
        }
        15 => drop(sim.start(name).await),
        _ => {
            drop(sim.stop(name).await);
            drop(sim.start(name).await);
        }
    }
    let pause = [20, 400, 5_000][(unit_from(seed) * 3.0) as usize];
    sleep(Duration::from_millis((unit_from(seed) * f64::from(pause)) as u64)).await;
}

async fn as_desired(scene: &Scene) {
    let containers = scene.containers().await;
    let ours: Vec<&Container> =
        containers.iter().filter(|c| c.project.as_deref() == Some("p") && !c.oneoff).collect();
    let names: BTreeSet<&str> = ours.iter().map(|c| c.name.as_str()).collect();
    let jobless = names.contains("p-migrate-1");
    assert_eq!(names.len(), NAMES.len() - usize::from(!jobless), "{names:?}\n{}", scene.show());
    assert_eq!(names.len(), ours.len());
    for container in ours {
        let service = container.service.as_deref().unwrap_or_default();
        if service == "migrate" {
            // It ran once for its configuration; whoever ran it again by hand may have broken it off.
            assert!(!container.is_live(), "the job runs again");
            continue;
        }
        assert_eq!(container.state, ContainerState::Running, "{}", container.name);
        let wanted: &[&str] = match service {
            "db" | "worker" => &["p_back"],
            "api" => &["p_back", "p_front"],
            "web" => &["p_front"],
            _ => &[],
        };
        for network in wanted {
            let endpoint = container.networks.get(*network);
            let endpoint = endpoint.unwrap_or_else(|| panic!("{} on {network}", container.name));
            let aliases = endpoint.aliases.clone().unwrap_or_default();
            assert!(
                aliases.iter().any(|a| a == service),
                "{} {network} {aliases:?}",
                container.name
            );
        }
    }
}

/// Somebody else's things on the same engine.
async fn foreign(sim: &SimEngine) {
    let labels = |oneoff: &str, project: &str| {
        serde_json::json!({
            crate::observed::labels::PROJECT: project,
            crate::observed::labels::SERVICE: "web",
            crate::observed::labels::NUMBER: "1",
            crate::observed::labels::ONEOFF: oneoff,
        })
    };
    let all = [
        ("p-web-run-1", labels("True", "p")),
        ("q-web-1", labels("False", "q")),
        ("lone", serde_json::json!({})),
    ];
    for (name, labels) in all {
        let body = serde_json::json!({ "Image": IMAGE, "Labels": labels });
        let body = crate::sensitive::Sensitive::new(body.as_object().cloned().expect("an object"));
        by_hand(sim, Write::CreateContainer { name: name.into(), platform: None, body }).await;
    }
}

async fn run(number: u64, steps: usize) {
    let sim = engine(number);
    sim.behave("migrate", exits(ms(500), 0));
    sim.behave("db", ready_after(ms(300)));
    foreign(&sim).await;
    let scene = Scene::on(sim, stack(1, 0));
    scene.settle(secs(120)).await;
    let mut seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut generation = 1;
    for _ in 0..steps {
        step(&scene, &mut seed, &mut generation).await;
    }
    scene.sim.heal();
    // What people stopped stays so until somebody says otherwise.
    let end = crate::plan::hold::HoldEnd::Resumed("ann".into());
    // The stream may have kept the last event back until another follows.
    sleep(secs(60)).await;
    scene.tap.release(BTreeSet::new(), end).await.expect("it listens");
    // Whoever fell by itself too often waits for a person.
    sleep(secs(120)).await;
    scene.retry_all().await;
    // The longest pauses: a stop's deadline, then a backoff at its ceiling, twice; 60 s for what
    // another tool may still be at.
    scene.settle(secs(900)).await;
    sleep(secs(120)).await;
    scene.settle(secs(300)).await;
    as_desired(&scene).await;
    for name in ["p-web-run-1", "q-web-1", "lone"] {
        assert!(scene.sim.id(name).is_some(), "{name} isn't ours");
        let touched = scene.sim.writes().iter().any(|w| w.name == name);
        assert!(!touched, "{name} isn't ours");
    }
    assert!(scene.sim.volumes().await.expect("a list").iter().any(|v| v.name == "p_data"));
    scene.stays_idle(secs(1200)).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_is_done_to_it_the_stack_ends_as_desired_and_idle() {
    let (first, last) = match std::env::var("CHAOS_SEEDS") {
        Ok(range) => {
            let (a, b) = range.split_once('-').expect("FIRST-LAST");
            (a.parse().expect("a number"), b.parse().expect("a number"))
        }
        Err(_) => (1, 12),
    };
    for number in first..=last {
        println!("seed {number}");
        run(number, 40).await;
    }
}
