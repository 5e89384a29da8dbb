//! Turns engine facts into [`Container`]. Pure: facts in, values out.
//!
//! The list answers cheaply and for all containers, but has no aliases, no restart policy and
//! no times; `inspect` has everything and costs one call each. [`merge`] lays a fresh row of the
//! list over an older `inspect`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::lenient::{address, as_text, at, entries, flag, int, list, non_empty, text, text_map};
use super::{
    Container, ContainerState, Endpoint, Fields, Health, Mount, PublishedPort, Slot, labels,
};
use crate::clock::Timestamp;
use crate::engine::types::{ContainerId, ContainerSummary};
use crate::sensitive::Sensitive;

/// The state that a word of the engine means. Podman's own words are understood too.
pub fn state(word: &str) -> ContainerState {
    match word.to_ascii_lowercase().as_str() {
        "created" | "configured" | "initialized" => ContainerState::Created,
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" | "stopped" => ContainerState::Exited,
        "dead" => ContainerState::Dead,
        _ => ContainerState::Unknown,
    }
}

/// The health that a word of the engine means.
pub fn health(word: &str) -> Health {
    match word.to_ascii_lowercase().as_str() {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => Health::None,
    }
}

/// Health as the list's status text tells it: `Up 2 minutes (health: starting)`.
fn health_in_status(status: &str) -> Health {
    if status.ends_with("(healthy)") {
        Health::Healthy
    } else if status.ends_with("(unhealthy)") {
        Health::Unhealthy
    } else if status.ends_with("(health: starting)") {
        Health::Starting
    } else {
        Health::None
    }
}

/// Exit code as the list's status text tells it: `Exited (137) 3 minutes ago`.
fn exit_code_in_status(status: &str) -> Option<i64> {
    let rest = status.strip_prefix("Exited (").or_else(|| status.strip_prefix("Restarting ("))?;
    rest.split_once(')')?.0.parse().ok()
}

/// Sets the labels and what follows from them.
fn set_labels(container: &mut Container, from: BTreeMap<String, String>) {
    let of = |name: &str| from.get(name).filter(|value| !value.is_empty()).cloned();
    container.project = of(labels::PROJECT);
    container.service = of(labels::SERVICE);
    container.number = of(labels::NUMBER).and_then(|n| n.parse().ok()).unwrap_or(0);
    container.oneoff = of(labels::ONEOFF).is_some_and(|word| word.eq_ignore_ascii_case("true"));
    container.config_hash = of(labels::CONFIG_HASH);
    container.compose_version = of(labels::VERSION);
    container.working_dir = of(labels::WORKING_DIR);
    container.labels =
        from.into_iter().map(|(name, value)| (name, Sensitive::new(value))).collect();
}

/// The slot that these labels, or an event's attributes, name.
pub fn slot_of(labels: &BTreeMap<String, String>) -> Option<Slot> {
    let mut container = Container::default();
    set_labels(&mut container, labels.clone());
    container.slot()
}

/// A container as far as one row of the list shows it; `inspected` is false.
pub fn from_summary(row: &ContainerSummary) -> Container {
    let mut container = Container {
        id: row.id.clone(),
        name: row.name.clone(),
        image: row.image.clone(),
        image_id: row.image_id.clone(),
        state: row.state,
        created: row.created,
        network_mode: row.network_mode.clone(),
        mounts: row.mounts.clone(),
        published: row.published.clone(),
        ..Container::default()
    };
    set_labels(&mut container, row.labels.clone());
    lay_over(&mut container, row);
    container
}

/// What changes while a container lives, as the row has it.
fn lay_over(container: &mut Container, row: &ContainerSummary) {
    let shown = health_in_status(&row.status);
    container.health = if row.state == ContainerState::Running { shown } else { Health::None };
    container.has_healthcheck |= shown != Health::None;
    container.exit_code = match row.state {
        ContainerState::Running | ContainerState::Paused => None,
        _ => exit_code_in_status(&row.status).or(container.exit_code),
    };
    let mut before = std::mem::take(&mut container.networks);
    container.networks = row
        .networks
        .iter()
        .map(|(name, (network_id, ipv4))| {
            let known = before.remove(name).filter(|e| &e.network_id == network_id);
            let endpoint = Endpoint {
                network_id: network_id.clone(),
                ipv4: ipv4.clone(),
                ..known.unwrap_or_default()
            };
            (name.clone(), endpoint)
        })
        .collect();
}

/// A fresh row of the list laid over an older `inspect` of the same container.
///
/// # Guarantees
/// - Name, state, health, image, addresses and mounts are the row's; what only `inspect` knows
///   is the older one's.
/// - `inspected` stays true only if nothing shows that the older answer is out of date: same ID,
///   name, state and attachments.
pub fn merge(cached: &Container, row: &ContainerSummary) -> Container {
    if cached.id != row.id {
        return from_summary(row);
    }
    let mut container = cached.clone();
    let same_networks = cached.networks.len() == row.networks.len()
        && row.networks.iter().all(|(name, (network_id, ipv4))| {
            cached.networks.get(name).is_some_and(|endpoint| {
                &endpoint.network_id == network_id && &endpoint.ipv4 == ipv4
            })
        });
    container.inspected = cached.inspected
        && same_networks
        && cached.name == row.name
        && cached.state == row.state
        && exit_code_in_status(&row.status).is_none_or(|code| cached.exit_code == Some(code));
    container.name.clone_from(&row.name);
    container.state = row.state;
    container.image_id.clone_from(&row.image_id);
    container.mounts.clone_from(&row.mounts);
    container.published.clone_from(&row.published);
    if !row.network_mode.is_empty() && container.network_mode.is_empty() {
        container.network_mode.clone_from(&row.network_mode);
    }
    lay_over(&mut container, row);
    container
}

/// A container from the engine's `inspect` answer.
///
/// # Errors
/// When the answer has no `Id`, which no engine's has.
pub fn from_inspect(json: &Value) -> Result<Container, String> {
    let id = non_empty(json, "Id").ok_or("no Id in the answer")?;
    let status = at(json, &["State"]);
    let host = at(json, &["HostConfig"]);
    let config = at(json, &["Config"]);
    let state = state(&text(status, "Status"));
    let finished = Timestamp::parse(&text(status, "FinishedAt"));
    let code = int(status, "ExitCode");
    let mut container = Container {
        id: ContainerId(id),
        name: text(json, "Name").trim_start_matches('/').to_owned(),
        image: text(config, "Image"),
        image_id: text(json, "Image"),
        state,
        health: match state {
            ContainerState::Running => checked_health(at(status, &["Health"])),
            _ => Health::None,
        },
        // A start that failed leaves a code and no time of an end.
        exit_code: match state {
            ContainerState::Running | ContainerState::Paused => None,
            _ => code.filter(|code| finished.is_some() || *code != 0),
        },
        oom_killed: flag(status, "OOMKilled"),
        error: text(status, "Error"),
        created: Timestamp::parse(&text(json, "Created")).unwrap_or_default(),
        started: Timestamp::parse(&text(status, "StartedAt")),
        finished,
        restart_count: int(json, "RestartCount").and_then(|n| n.try_into().ok()).unwrap_or(0),
        restart_policy: as_text(at(host, &["RestartPolicy", "Name"])),
        restart_max: int(at(host, &["RestartPolicy"]), "MaximumRetryCount")
            .and_then(|n| n.try_into().ok())
            .unwrap_or(0),
        network_mode: text(host, "NetworkMode"),
        ipc_mode: text(host, "IpcMode"),
        pid_mode: text(host, "PidMode"),
        volumes_from: super::lenient::texts(host, "VolumesFrom"),
        networks: entries(at(json, &["NetworkSettings"]), "Networks")
            .map(|(name, endpoint)| (name.clone(), endpoint_from(endpoint)))
            .collect(),
        mounts: mounts_from(json),
        published: ports_from_inspect(at(json, &["NetworkSettings"])),
        has_healthcheck: has_healthcheck(config),
        pid: int(status, "Pid").unwrap_or(0),
        stop_signal: as_text(at(config, &["StopSignal"])),
        fields: Fields::of_inspect(json),
        inspected: true,
        ..Container::default()
    };
    set_labels(&mut container, text_map(config, "Labels"));
    Ok(container)
}

/// A container that was paused is `unhealthy` for the engine until its next check, though no check
/// has failed.
fn checked_health(json: &Value) -> Health {
    match health(&text(json, "Status")) {
        Health::Unhealthy if int(json, "FailingStreak") == Some(0) => Health::Starting,
        health => health,
    }
}

fn has_healthcheck(config: &Value) -> bool {
    let test = at(config, &["Healthcheck", "Test"]).as_array();
    test.and_then(|test| test.first()).is_some_and(|first| as_text(first) != "NONE")
}

fn endpoint_from(json: &Value) -> Endpoint {
    let wanted = at(json, &["IPAMConfig"]);
    Endpoint {
        network_id: text(json, "NetworkID"),
        endpoint_id: text(json, "EndpointID"),
        aliases: Some(super::lenient::texts(json, "Aliases")),
        ipv4: address(&text(json, "IPAddress")),
        wanted_ipv4: non_empty(wanted, "IPv4Address"),
        wanted_ipv6: non_empty(wanted, "IPv6Address"),
    }
}

/// `Mounts` of a row or of an `inspect` answer, by destination.
pub(crate) fn mounts_from(json: &Value) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = list(json, "Mounts")
        .iter()
        .map(|mount| Mount {
            kind: text(mount, "Type"),
            name: text(mount, "Name"),
            source: text(mount, "Source"),
            destination: text(mount, "Destination"),
            rw: flag(mount, "RW"),
        })
        .collect();
    mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
    mounts
}

/// `Ports` of `inspect`: `{"80/tcp": [{"HostIp": …, "HostPort": "8080"}], "81/tcp": null}`.
fn ports_from_inspect(settings: &Value) -> Vec<PublishedPort> {
    in_order(entries(settings, "Ports").flat_map(|(port, bindings)| {
        let (target, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        bindings.as_array().into_iter().flatten().filter_map(move |binding| {
            Some(PublishedPort {
                host_ip: text(binding, "HostIp"),
                host_port: port_of(binding, "HostPort")?,
                target: target.parse().ok()?,
                protocol: protocol.to_owned(),
            })
        })
    }))
}

/// `Ports` of a row: `[{"IP": …, "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}]`.
pub(crate) fn ports_from_list(row: &Value) -> Vec<PublishedPort> {
    in_order(list(row, "Ports").iter().filter_map(|port| {
        Some(PublishedPort {
            host_ip: text(port, "IP"),
            host_port: port_of(port, "PublicPort")?,
            target: port_of(port, "PrivatePort")?,
            protocol: text(port, "Type"),
        })
    }))
}

fn port_of(json: &Value, key: &str) -> Option<u16> {
    u16::try_from(int(json, key)?).ok().filter(|port| *port != 0)
}

fn in_order(ports: impl Iterator<Item = PublishedPort>) -> Vec<PublishedPort> {
    let ports: BTreeSet<_> = ports.collect();
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests;
