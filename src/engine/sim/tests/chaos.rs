//! Everybody does anything at any time: what must hold of an engine all the same.

use std::collections::BTreeSet;

use super::super::{EngineStop, StreamFaults};
use super::*;
use crate::clock::unit_from;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Whatever was refused was refused: only what is so afterwards counts.
async fn step(sim: &SimEngine, seed: &mut u64) {
    let mut pick = |n: usize| (unit_from(seed) * n as f64) as usize;
    let name = NAMES[pick(NAMES.len())];
    match pick(14) {
        0 => drop(sim.crash(name, 1)),
        1 => drop(sim.oom(name)),
        2 => drop(sim.kill(name, [1, 9, 15][pick(3)])),
        3 => drop(sim.stop(name).await),
        4 => drop(sim.remove(name, pick(2) == 0).await),
        5 => drop(sim.pause(name, pick(2) == 0)),
        6 => drop(sim.disconnect("n", name)),
        7 => drop(sim.connect("n", name)),
        8 => drop(sim.remove_network("n")),
        9 => {
            let body = body(json!({
                "Name": "n", "CheckDuplicate": true, "IPAM": { "Config": [{ "Subnet": "10.1.0.0/29" }] },
            }));
            drop(sim.write(&Write::CreateNetwork { body }).await);
        }
        10 => {
            let how = if pick(2) == 0 { EngineStop::Kill } else { EngineStop::Terminate };
            sim.restart_engine(how, ms(pick(3000) as u64)).await;
        }
        11 => drop(tokio::time::timeout(ms(pick(400) as u64), sim.stop(name)).await),
        _ => {
            let policy = ["no", "always", "on-failure"][pick(3)];
            let port = ["8001", "8002"][pick(2)];
            let extra = json!({
                "HostConfig": {
                    "NetworkMode": "n",
                    "RestartPolicy": { "Name": policy },
                    "PortBindings": { "80/tcp": [{ "HostPort": port }] },
                },
            });
            drop(create(sim, name, extra).await);
            if let Some(id) = sim.id(name) {
                drop(start(sim, &id).await);
            }
        }
    }
    sleep(ms(pick(500) as u64)).await;
}

async fn check(sim: &SimEngine) {
    let list = sim.containers().await.expect("a list");
    let names: BTreeSet<_> = list.iter().map(|c| &c.name).collect();
    assert_eq!(names.len(), list.len(), "names are unique");
    let published = list.iter().flat_map(|c| &c.published);
    let ports: Vec<_> = published.map(|p| (&p.host_ip, p.host_port, &p.protocol)).collect();
    let different: BTreeSet<_> = ports.iter().collect();
    assert_eq!(different.len(), ports.len(), "a port has one holder");
    for network in sim.networks().await.expect("a list") {
        let members = sim.inspect_network(&network.id).await.expect("it is there").members;
        let addresses: BTreeSet<_> = members.values().collect();
        assert_eq!(addresses.len(), members.len(), "an address has one holder");
    }
    for row in &list {
        let container = inspect(sim, &row.id).await;
        for endpoint in container.networks.values().filter(|e| !e.endpoint_id.is_empty()) {
            assert!(container.state != ContainerState::Created);
            let network = sim.inspect_network(&endpoint.network_id).await.expect("it is there");
            assert!(network.members.contains_key(&row.id.0));
        }
        assert!(!container.is_live() || container.started.is_some());
    }
}

/// Each container's events make sense: no second `start` without an end, no second `die`.
fn check_events(sim: &SimEngine) {
    let mut running = BTreeSet::new();
    for event in sim.all_events().iter().filter(|e| e.kind == "container") {
        match event.action.as_str() {
            "start" => assert!(running.insert(event.actor.clone()), "started twice"),
            "die" => assert!(running.remove(&event.actor), "died twice"),
            "destroy" => assert!(!running.contains(&event.actor), "destroyed alive"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_stays_sound_whatever_is_done_to_it() {
    for seed in 1..=30u64 {
        let sim = engine();
        sim.set_stream_faults(StreamFaults { duplicate: 0.2, ..StreamFaults::default() });
        let mut seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..120 {
            step(&sim, &mut seed).await;
            // Between two steps everything that was begun has ended.
            sleep(secs(15)).await;
            check(&sim).await;
        }
        check_events(&sim);
    }
}
