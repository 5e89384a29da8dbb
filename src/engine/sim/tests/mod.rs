//! What the simulation does, as the real engine was seen to do it. Words, statuses and times that
//! a test calls «seen» were taken from Engine 20.10.24 over its API with curl.

mod calls;
mod chaos;
mod containers;
mod lifecycle;
mod networks;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Behaviour, OnStop, SimEngine};
use crate::engine::types::{ContainerId, Write};
use crate::engine::{Engine, Fault};
use crate::observed::{Container, ContainerState, Health, labels};
use crate::sensitive::Sensitive;

const IMAGE: &str = "app:1";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn body(value: Value) -> Sensitive<Map<String, Value>> {
    Sensitive::new(map(value))
}

/// An engine with the image.
fn engine() -> SimEngine {
    let sim = SimEngine::new(1);
    sim.add_image(IMAGE, "sha256:aaaa");
    sim
}

/// Makes a container of service `name` in project `demo`, with more of the body in `extra`.
async fn create(sim: &SimEngine, name: &str, extra: Value) -> Result<ContainerId, Fault> {
    let mut all = map(json!({
        "Image": IMAGE,
        "Labels": { labels::PROJECT: "demo", labels::SERVICE: name, labels::NUMBER: "1" },
    }));
    all.extend(map(extra));
    let write =
        Write::CreateContainer { name: name.into(), platform: None, body: Sensitive::new(all) };
    let id = sim.write(&write).await?.id;
    Ok(ContainerId(id.expect("an ID")))
}

async fn start(sim: &SimEngine, id: &ContainerId) -> Result<(), Fault> {
    sim.write(&Write::StartContainer { id: id.clone() }).await.map(drop)
}

/// Makes and starts a container.
async fn run(sim: &SimEngine, name: &str, extra: Value) -> ContainerId {
    let id = create(sim, name, extra).await.expect("it is made");
    start(sim, &id).await.expect("it starts");
    id
}

async fn network(sim: &SimEngine, name: &str, subnet: &str) -> String {
    let body = body(json!({
        "Name": name,
        "Labels": { labels::PROJECT: "demo" },
        "IPAM": { "Config": [{ "Subnet": subnet }] },
    }));
    sim.write(&Write::CreateNetwork { body }).await.expect("it is made").id.expect("an ID")
}

async fn inspect(sim: &SimEngine, id: &ContainerId) -> Container {
    sim.inspect(id).await.expect("it is there")
}

/// `action name` of the container events so far, with exit codes and signals.
fn events(sim: &SimEngine) -> Vec<String> {
    let of = |e: &crate::engine::EngineEvent, key: &str| {
        e.attributes.get(key).map_or_else(String::new, |v| format!(" {v}"))
    };
    sim.all_events()
        .iter()
        .filter(|e| e.kind == "container")
        .map(|e| format!("{}{}{}", e.action, of(e, "exitCode"), of(e, "signal")))
        .collect()
}

/// Milliseconds from the last event of one action to the last of another.
fn between(sim: &SimEngine, from: &str, to: &str) -> i64 {
    let events = sim.all_events();
    let at = |action: &str| {
        let event = events.iter().rev().find(|e| e.action == action);
        event.unwrap_or_else(|| panic!("no {action}")).time_nano / 1_000_000
    };
    at(to) - at(from)
}

fn message(fault: &Fault) -> String {
    fault.to_string()
}
