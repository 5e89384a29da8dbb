//! The engine's state as its answers show it.

use std::time::Duration;

use super::model::{SimContainer, SimNetwork};
use super::world::World;
use crate::engine::types::{ContainerSummary, NetworkSummary};
use crate::observed::{Container, ContainerState, Fields, Health, PublishedPort, labels};
use crate::sensitive::Sensitive;

/// All containers as the list has them.
pub(super) fn containers(world: &World) -> Vec<ContainerSummary> {
    world
        .containers
        .values()
        .map(|c| ContainerSummary {
            id: c.id.clone(),
            name: c.name.clone(),
            image: listed_image(world, c),
            image_id: c.image_id.clone(),
            labels: c.labels.clone(),
            state: c.state,
            status: status(world, c),
            created: c.created,
            network_mode: c.network_mode.clone(),
            networks: c
                .networks
                .iter()
                .map(|(name, e)| (name.clone(), (e.network_id.clone(), e.ipv4.clone())))
                .collect(),
            mounts: c.mounts.clone(),
            published: published(c),
        })
        .collect()
}

/// The reference that a container was made from, or its image's ID once the reference names
/// another image or none (seen).
fn listed_image(world: &World, container: &SimContainer) -> String {
    let same = world.image(&container.image).is_some_and(|i| i.id == container.image_id);
    if same { container.image.clone() } else { container.image_id.clone() }
}

fn published(container: &SimContainer) -> Vec<PublishedPort> {
    if container.has_process() { container.ports.clone() } else { Vec::new() }
}

/// `Up 2 minutes (healthy)`, `Exited (137) 3 seconds ago`.
fn status(world: &World, c: &SimContainer) -> String {
    let since =
        |t: Option<crate::clock::Timestamp>| words(world.wall().since(t.unwrap_or_default()));
    match c.state {
        ContainerState::Running => {
            let health = match c.health {
                Health::None => "",
                Health::Starting => " (health: starting)",
                Health::Healthy => " (healthy)",
                Health::Unhealthy => " (unhealthy)",
            };
            format!("Up {}{health}", since(c.started))
        }
        ContainerState::Paused => format!("Up {} (Paused)", since(c.started)),
        ContainerState::Restarting => {
            format!("Restarting ({}) {} ago", c.exit_code, since(c.finished))
        }
        ContainerState::Exited => format!("Exited ({}) {} ago", c.exit_code, since(c.finished)),
        ContainerState::Dead => "Dead".into(),
        ContainerState::Removing => "Removal In Progress".into(),
        ContainerState::Created | ContainerState::Unknown => "Created".into(),
    }
}

/// A length of time in the engine's words.
fn words(time: Duration) -> String {
    match time.as_secs() {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        s @ 2..60 => format!("{s} seconds"),
        60..120 => "About a minute".into(),
        s @ 120..3600 => format!("{} minutes", s / 60),
        3600..7200 => "About an hour".into(),
        s => format!("{} hours", s / 3600),
    }
}

/// One container as `inspect` has it, normalised as the adapter does.
pub(super) fn container(c: &SimContainer) -> Container {
    let label = |name: &str| c.labels.get(name).filter(|v| !v.is_empty()).cloned();
    let running = c.state == ContainerState::Running;
    let ended = c.finished.is_some() || c.exit_code != 0;
    Container {
        id: c.id.clone(),
        name: c.name.clone(),
        project: label(labels::PROJECT),
        service: label(labels::SERVICE),
        number: label(labels::NUMBER).and_then(|n| n.parse().ok()).unwrap_or(0),
        oneoff: label(labels::ONEOFF).is_some_and(|v| v.eq_ignore_ascii_case("true")),
        config_hash: label(labels::CONFIG_HASH),
        compose_version: label(labels::VERSION),
        working_dir: label(labels::WORKING_DIR),
        labels: c.labels.iter().map(|(k, v)| (k.clone(), Sensitive::new(v.clone()))).collect(),
        image: c.image.clone(),
        image_id: c.image_id.clone(),
        state: c.state,
        health: match c.health {
            _ if !running => Health::None,
            // As after a pause: no check has failed.
            Health::Unhealthy if c.failing == 0 => Health::Starting,
            health => health,
        },
        exit_code: (!c.has_process() && ended).then_some(c.exit_code),
        oom_killed: c.oom_killed,
        error: c.error.clone(),
        created: c.created,
        started: c.started,
        finished: c.finished,
        restart_count: c.restart_count,
        restart_policy: c.restart_policy.clone(),
        restart_max: c.restart_max,
        network_mode: c.network_mode.clone(),
        ipc_mode: c.ipc_mode.clone(),
        pid_mode: c.pid_mode.clone(),
        volumes_from: c.volumes_from.clone(),
        networks: c.networks.clone(),
        mounts: c.mounts.clone(),
        published: published(c),
        has_healthcheck: c.health_config.is_some(),
        stop_signal: c.stop_signal.to_string(),
        pid: if c.has_process() { i64::try_from(c.run).unwrap_or(0) + 1000 } else { 0 },
        fields: Fields::of_body(&c.body),
        inspected: true,
        read: 0,
    }
}

/// One network; its members only from `inspect`.
pub(super) fn network(world: &World, n: &SimNetwork, members: bool) -> NetworkSummary {
    let present = |text: &String| if text.is_empty() { Vec::new() } else { vec![text.clone()] };
    NetworkSummary {
        id: n.id.clone(),
        name: n.name.clone(),
        driver: n.driver.clone(),
        scope: "local".into(),
        labels: n.labels.clone(),
        subnets: present(&n.subnet),
        gateways: present(&n.gateway),
        members: world
            .members(&n.id)
            .filter(|_| members)
            .map(|(id, address)| (id.0.clone(), address.to_owned()))
            .collect(),
        created: n.created,
    }
}
