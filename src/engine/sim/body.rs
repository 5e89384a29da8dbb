//! Reads request bodies as the engine does.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::model::{HealthConfig, Refusal, SimContainer, timing};
use crate::observed::{ContainerState, Endpoint, Mount, PublishedPort};

/// A string anywhere in a body; empty when absent.
pub(super) fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A map of strings anywhere in a body.
pub(super) fn texts(value: &Value, path: &str) -> BTreeMap<String, String> {
    let Some(map) = value.pointer(path).and_then(Value::as_object) else { return BTreeMap::new() };
    map.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn nanos(value: &Value, path: &str, default: Duration) -> Duration {
    match value.pointer(path).and_then(Value::as_u64) {
        None | Some(0) => default,
        Some(n) => Duration::from_nanos(n),
    }
}

/// An `EndpointConfig`.
pub(super) fn endpoint(value: &Value) -> Endpoint {
    let non_empty = |path: &str| Some(text(value, path)).filter(|t| !t.is_empty());
    Endpoint {
        network_id: text(value, "/NetworkID"),
        aliases: Some(
            list(value, "/Aliases").filter_map(|a| a.as_str().map(str::to_owned)).collect(),
        ),
        wanted_ipv4: non_empty("/IPAMConfig/IPv4Address"),
        wanted_ipv6: non_empty("/IPAMConfig/IPv6Address"),
        ..Endpoint::default()
    }
}

/// A create body. Names of volumes that are to be made come back in the mounts.
pub(super) fn container(
    body: &Map<String, Value>,
    many_endpoints: bool,
) -> Result<SimContainer, Refusal> {
    let body = &Value::Object(body.clone());
    let mode = match text(body, "/HostConfig/NetworkMode").as_str() {
        "" | "default" => "bridge".to_owned(),
        mode => mode.to_owned(),
    };
    let mut networks = BTreeMap::new();
    if let Some(map) = body.pointer("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object)
    {
        if map.len() > 1 && !many_endpoints {
            let names: Vec<_> = map.keys().map(String::as_str).collect();
            return Err(Refusal::new(
                400,
                format!("Container cannot be connected to network endpoints: {}", names.join(", ")),
            ));
        }
        networks.extend(map.iter().map(|(name, value)| (name.clone(), endpoint(value))));
    }
    if mode.starts_with("container:") || mode == "host" {
        networks.clear();
    } else {
        networks.entry(mode.clone()).or_insert_with(|| endpoint(&Value::Null));
    }
    let stop_grace = body.pointer("/StopTimeout").and_then(Value::as_u64);
    let max = body.pointer("/HostConfig/RestartPolicy/MaximumRetryCount").and_then(Value::as_u64);
    Ok(SimContainer {
        image: text(body, "/Image"),
        labels: texts(body, "/Labels"),
        state: ContainerState::Created,
        restart_policy: text(body, "/HostConfig/RestartPolicy/Name"),
        restart_max: max.and_then(|n| n.try_into().ok()).unwrap_or(0),
        network_mode: mode,
        ipc_mode: text(body, "/HostConfig/IpcMode"),
        pid_mode: text(body, "/HostConfig/PidMode"),
        volumes_from: list(body, "/HostConfig/VolumesFrom")
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        networks,
        mounts: mounts(body),
        ports: ports(body),
        health_config: health(body),
        stop_grace: stop_grace.map_or(timing::GRACE, Duration::from_secs),
        stop_signal: signal(&text(body, "/StopSignal")).unwrap_or(15),
        ..SimContainer::default()
    })
}

fn health(body: &Value) -> Option<HealthConfig> {
    let test = list(body, "/Healthcheck/Test").next()?.as_str()?;
    (test != "NONE").then(|| HealthConfig {
        interval: nanos(body, "/Healthcheck/Interval", Duration::from_secs(30)),
        start_period: nanos(body, "/Healthcheck/StartPeriod", Duration::ZERO),
        retries: match body.pointer("/Healthcheck/Retries").and_then(Value::as_u64) {
            None | Some(0) => 3,
            Some(n) => u32::try_from(n).unwrap_or(u32::MAX),
        },
    })
}

fn ports(body: &Value) -> Vec<PublishedPort> {
    let bindings = body.pointer("/HostConfig/PortBindings").and_then(Value::as_object);
    let mut ports = Vec::new();
    for (port, hosts) in bindings.into_iter().flatten() {
        let (target, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let Ok(target) = target.parse() else { continue };
        for host in list(hosts, "") {
            let host_ip = match text(host, "/HostIp").as_str() {
                "" => "0.0.0.0".to_owned(),
                ip => ip.to_owned(),
            };
            if let Ok(host_port) = text(host, "/HostPort").parse() {
                let protocol = protocol.to_owned();
                ports.push(PublishedPort { host_ip, host_port, target, protocol });
            }
        }
    }
    ports.sort();
    ports
}

/// Sources of binds that the engine doesn't make where they are missing.
pub(super) fn needed_paths(body: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let mounts = body.get("HostConfig").into_iter().flat_map(|host| list(host, "/Mounts"));
    let binds = mounts.filter(|m| m.pointer("/Type").is_some_and(|kind| kind == "bind"));
    binds
        .filter(|m| m.pointer("/BindOptions/CreateMountpoint").is_none_or(|made| made != true))
        .filter_map(|m| m.pointer("/Source").and_then(Value::as_str))
}

fn mounts(body: &Value) -> Vec<Mount> {
    let mount = |kind: &str, source: &str, destination: String, rw: bool| Mount {
        kind: kind.to_owned(),
        name: if kind == "volume" { source.to_owned() } else { String::new() },
        source: match kind {
            "volume" => format!("/var/lib/docker/volumes/{source}/_data"),
            _ => source.to_owned(),
        },
        destination,
        rw,
    };
    let mut mounts = Vec::new();
    for bind in list(body, "/HostConfig/Binds").filter_map(Value::as_str) {
        let mut words = bind.split(':');
        let (Some(source), Some(target)) = (words.next(), words.next()) else { continue };
        let kind = if source.starts_with('/') { "bind" } else { "volume" };
        let rw = !words.next().unwrap_or_default().split(',').any(|o| o == "ro");
        mounts.push(mount(kind, source, target.to_owned(), rw));
    }
    for entry in list(body, "/HostConfig/Mounts") {
        let rw = !entry.pointer("/ReadOnly").and_then(Value::as_bool).unwrap_or(false);
        let (kind, source) = (text(entry, "/Type"), text(entry, "/Source"));
        mounts.push(mount(&kind, &source, text(entry, "/Target"), rw));
    }
    mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
    mounts
}

/// A signal's number by name or number.
pub(super) fn signal(name: &str) -> Option<u8> {
    match name.trim_start_matches("SIG") {
        "HUP" => Some(1),
        "INT" => Some(2),
        "QUIT" => Some(3),
        "KILL" => Some(9),
        "USR1" => Some(10),
        "USR2" => Some(12),
        "TERM" => Some(15),
        number => number.parse().ok(),
    }
}
