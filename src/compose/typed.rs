//! The typed project from the canonical tree. Everything in it has been validated, so what
//! doesn't fit is left at its default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::number::duration;
use super::types::{
    Condition, Dependency, FileObject, Healthcheck, Mount, MountKind, Namespace, Network, Port,
    Project, PullPolicy, RestartPolicy, Service, ServiceNetwork, Volume,
};
use crate::sensitive::Sensitive;

type Tree = Map<String, Value>;

/// A project from its canonical tree.
pub(super) fn project(canonical: Tree, name: &str) -> Project {
    let mut project = Project { name: name.to_owned(), ..Project::default() };
    for (key, map) in objects(&canonical, "services") {
        let mut service = service(key, map.clone());
        // Docker Compose's name for what it builds.
        service.image.get_or_insert_with(|| format!("{name}-{key}"));
        project.services.insert(key.clone(), service);
    }
    for (key, map) in objects(&canonical, "networks") {
        project.networks.insert(key.clone(), network(key, map));
    }
    for (key, map) in objects(&canonical, "volumes") {
        project.volumes.insert(key.clone(), volume(key, map));
    }
    for (key, map) in objects(&canonical, "secrets") {
        project.secrets.insert(key.clone(), file_object(key, map));
    }
    for (key, map) in objects(&canonical, "configs") {
        project.configs.insert(key.clone(), file_object(key, map));
    }
    project.canonical = Sensitive::new(canonical);
    project
}

fn objects<'t>(tree: &'t Tree, key: &str) -> impl Iterator<Item = (&'t String, &'t Tree)> {
    let section = tree.get(key).and_then(Value::as_object).into_iter().flatten();
    section.filter_map(|(name, value)| Some((name, value.as_object()?)))
}

fn text(tree: &Tree, key: &str) -> Option<String> {
    tree.get(key)?.as_str().map(str::to_owned)
}

fn flag(tree: &Tree, key: &str) -> bool {
    tree.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn int(tree: &Tree, key: &str) -> Option<i64> {
    tree.get(key)?.as_i64()
}

fn texts(tree: &Tree, key: &str) -> Vec<String> {
    let items = tree.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text_map(tree: &Tree, key: &str) -> BTreeMap<String, String> {
    let entries = tree.get(key).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn labels(tree: &Tree) -> BTreeMap<String, Sensitive<String>> {
    text_map(tree, "labels").into_iter().map(|(k, v)| (k, Sensitive::new(v))).collect()
}

fn time(tree: &Tree, key: &str) -> Option<Duration> {
    let nanoseconds = duration(tree.get(key)?.as_str()?)?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

fn namespace(tree: &Tree, key: &str) -> Option<Namespace> {
    let text = text(tree, key)?;
    Some(match text.split_once(':') {
        Some(("service", name)) => Namespace::Service(name.to_owned()),
        Some(("container", name)) => Namespace::Container(name.to_owned()),
        _ => Namespace::Mode(text),
    })
}

/// A service from its canonical tree.
pub(super) fn service(name: &str, tree: Tree) -> Service {
    let environment = tree.get("environment").and_then(Value::as_object).into_iter().flatten();
    let environment = environment
        .map(|(name, value)| (name.clone(), value.as_str().map(|v| Sensitive::new(v.to_owned()))))
        .collect();
    let deploy = tree.get("deploy").and_then(Value::as_object);
    let replicas = deploy.and_then(|d| int(d, "replicas"));
    let scale = int(&tree, "scale").or(replicas).unwrap_or(1);
    let restart = text(&tree, "restart");
    let depends_on = objects(&tree, "depends_on");
    let depends_on = depends_on.map(|(name, map)| (name.clone(), dependency(map))).collect();
    let ports = tree.get("ports").and_then(Value::as_array).into_iter().flatten();
    let mounts = tree.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let healthcheck = tree.get("healthcheck").and_then(Value::as_object);
    let healthcheck = healthcheck
        .map(health)
        .filter(|h| !h.disabled && h.test.first().map(String::as_str) != Some("NONE"));
    Service {
        name: name.to_owned(),
        image: text(&tree, "image"),
        platform: text(&tree, "platform"),
        names_no_image: !tree.contains_key("image"),
        has_build: tree.contains_key("build"),
        container_name: text(&tree, "container_name"),
        scale: u32::try_from(scale).unwrap_or(0),
        pull_policy: pull_policy(text(&tree, "pull_policy").as_deref()),
        restart: match restart.as_deref() {
            Some(policy) => restart_policy(policy),
            None => deploy
                .and_then(|d| d.get("restart_policy"))
                .and_then(Value::as_object)
                .map_or(RestartPolicy::No, deploy_restart),
        },
        depends_on,
        network_mode: namespace(&tree, "network_mode"),
        ipc: namespace(&tree, "ipc"),
        pid: namespace(&tree, "pid"),
        volumes_from: texts(&tree, "volumes_from"),
        networks: service_networks(&tree),
        healthcheck,
        mounts: mounts.filter_map(Value::as_object).map(mount).collect(),
        ports: ports.filter_map(Value::as_object).filter_map(port).collect(),
        environment,
        labels: labels(&tree),
        stop_grace_period: time(&tree, "stop_grace_period"),
        stop_signal: text(&tree, "stop_signal"),
        canonical: Sensitive::new(tree),
    }
}

fn dependency(tree: &Tree) -> Dependency {
    Dependency {
        condition: match tree.get("condition").and_then(Value::as_str) {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::CompletedSuccessfully,
            _ => Condition::Started,
        },
        required: flag(tree, "required"),
        restart: flag(tree, "restart"),
    }
}

fn restart_policy(policy: &str) -> RestartPolicy {
    match policy.split_once(':').unwrap_or((policy, "")) {
        ("always", _) => RestartPolicy::Always,
        ("unless-stopped", _) => RestartPolicy::UnlessStopped,
        // The engine takes 0 for unlimited.
        ("on-failure", max) => RestartPolicy::OnFailure(max.parse().ok().filter(|m| *m > 0)),
        _ => RestartPolicy::No,
    }
}

/// `deploy.restart_policy`, as Docker Compose maps it to the engine.
fn deploy_restart(tree: &Tree) -> RestartPolicy {
    let attempts = int(tree, "max_attempts").and_then(|n| u32::try_from(n).ok());
    match tree.get("condition").and_then(Value::as_str) {
        Some("none") => RestartPolicy::No,
        Some("on-failure") => RestartPolicy::OnFailure(attempts.filter(|n| *n > 0)),
        Some("unless-stopped") => RestartPolicy::UnlessStopped,
        _ => RestartPolicy::Always,
    }
}

fn pull_policy(policy: Option<&str>) -> PullPolicy {
    const DAY: Duration = Duration::from_secs(86_400);
    match policy {
        Some("always") => PullPolicy::Always,
        Some("never") => PullPolicy::Never,
        Some("build") => PullPolicy::Build,
        Some("daily") => PullPolicy::Every(DAY),
        Some("weekly") => PullPolicy::Every(DAY * 7),
        Some(policy) => policy
            .strip_prefix("every_")
            .and_then(duration)
            .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
            .map_or(PullPolicy::Missing, |n| PullPolicy::Every(Duration::from_nanos(n))),
        None => PullPolicy::Missing,
    }
}

fn service_networks(tree: &Tree) -> BTreeMap<String, ServiceNetwork> {
    let mut networks = BTreeMap::new();
    for (name, value) in tree.get("networks").and_then(Value::as_object).into_iter().flatten() {
        let network = value.as_object().map(|tree| ServiceNetwork {
            aliases: texts(tree, "aliases"),
            ipv4_address: text(tree, "ipv4_address"),
            ipv6_address: text(tree, "ipv6_address"),
            link_local_ips: texts(tree, "link_local_ips"),
            mac_address: text(tree, "mac_address"),
            priority: int(tree, "priority").unwrap_or(0),
            gw_priority: int(tree, "gw_priority").unwrap_or(0),
            interface_name: text(tree, "interface_name"),
            driver_opts: text_map(tree, "driver_opts"),
        });
        networks.insert(name.clone(), network.unwrap_or_default());
    }
    networks
}

fn health(tree: &Tree) -> Healthcheck {
    Healthcheck {
        test: texts(tree, "test"),
        interval: time(tree, "interval"),
        timeout: time(tree, "timeout"),
        start_period: time(tree, "start_period"),
        start_interval: time(tree, "start_interval"),
        retries: int(tree, "retries").and_then(|n| u32::try_from(n).ok()),
        disabled: flag(tree, "disable"),
    }
}

fn mount(tree: &Tree) -> Mount {
    Mount {
        kind: match tree.get("type").and_then(Value::as_str) {
            Some("bind") => MountKind::Bind,
            Some("tmpfs") => MountKind::Tmpfs,
            Some("npipe") => MountKind::NamedPipe,
            Some("cluster") => MountKind::Cluster,
            Some("image") => MountKind::Image,
            _ => MountKind::Volume,
        },
        source: text(tree, "source"),
        target: text(tree, "target").unwrap_or_default(),
        read_only: flag(tree, "read_only"),
        canonical: Sensitive::new(tree.clone()),
    }
}

fn port(tree: &Tree) -> Option<Port> {
    Some(Port {
        target: u16::try_from(int(tree, "target")?).ok()?,
        published: text(tree, "published"),
        protocol: text(tree, "protocol").unwrap_or_else(|| "tcp".into()),
        host_ip: text(tree, "host_ip"),
    })
}

fn network(key: &str, tree: &Tree) -> Network {
    Network {
        key: key.to_owned(),
        name: text(tree, "name").unwrap_or_default(),
        external: flag(tree, "external"),
        driver: text(tree, "driver"),
        canonical: Sensitive::new(tree.clone()),
    }
}

fn volume(key: &str, tree: &Tree) -> Volume {
    Volume {
        key: key.to_owned(),
        name: text(tree, "name").unwrap_or_default(),
        external: flag(tree, "external"),
        driver: text(tree, "driver"),
        driver_opts: text_map(tree, "driver_opts"),
        labels: labels(tree),
        canonical: Sensitive::new(tree.clone()),
    }
}

fn file_object(key: &str, tree: &Tree) -> FileObject {
    FileObject {
        key: key.to_owned(),
        name: text(tree, "name").unwrap_or_default(),
        file: text(tree, "file").map(PathBuf::from),
        environment: text(tree, "environment"),
        content: text(tree, "content").map(Sensitive::new),
        external: flag(tree, "external"),
        canonical: Sensitive::new(tree.clone()),
    }
}
