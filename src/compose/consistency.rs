//! What the parts of a project ask of one another: names that exist, attributes that agree, no
//! dependency cycles.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::diagnostic::{Place, Sources, did_you_mean};
use super::node::{Mapping, Node};
use super::normalise::is_true;

/// Checks single objects of a loaded model.
pub(super) fn objects(root: &Mapping, sources: &mut Sources) {
    let entries = |section: &str| {
        root.get(section).and_then(Node::as_map).into_iter().flatten().map(|(k, v)| (k.clone(), v))
    };
    for (name, volume) in entries("volumes") {
        if volume.get("external").is_some_and(is_true) {
            let others = volume.as_map().into_iter().flatten();
            for (key, node) in others {
                if !matches!(key.as_ref(), "name" | "external") && !key.starts_with("x-") {
                    let message = format!("the external volume `{name}` can't have `{key}`");
                    sources.report_help(node.key, message, "an external volume is made elsewhere");
                }
            }
        }
    }
    for (section, keys) in [
        ("configs", &["file", "environment", "content"][..]),
        ("secrets", &["file", "environment"]),
    ] {
        for (name, object) in entries(section) {
            let given = keys.iter().filter(|key| object.get(key).is_some()).count();
            let elsewhere = object.get("driver").is_some() || object.get("external").is_some();
            if given > 1 || (given == 0 && !elsewhere) {
                let message =
                    format!("`{section}.{name}` needs exactly one of {}", keys.join(", "));
                sources.report(object.key, message);
            }
        }
    }
    for (_, service) in entries("services") {
        let items = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
        for port in items("ports") {
            if let Some(address) = port.get("host_ip")
                && address.as_str().is_some_and(|text| text.parse::<IpAddr>().is_err())
            {
                sources.report(address.place, "`host_ip` must be an IP address");
            }
            if port.get("target").is_none() {
                sources.report(port.place, "a port lacks `target`");
            }
        }
        for mount in items("volumes") {
            if mount.get_str("target").is_none_or(str::is_empty) {
                sources.report(mount.place, "a mount lacks `target`");
            }
            if mount.get_str("type") == Some("bind") && mount.get("source").is_none() {
                sources.report(mount.place, "a bind mount lacks `source`");
            }
        }
        let reserved = service
            .get("deploy")
            .and_then(|n| n.get("resources"))
            .and_then(|n| n.get("reservations"))
            .and_then(|n| n.get("devices"))
            .and_then(Node::as_list)
            .unwrap_or_default();
        for device in reserved.iter().chain(items("gpus")) {
            if device.get("count").is_some() && device.get("device_ids").is_some() {
                sources.report(device.place, "`count` and `device_ids` exclude each other");
            }
        }
    }
}

/// A project's parts, after normalisation.
pub(super) struct Parts<'m> {
    pub(super) root: &'m Mapping,
    pub(super) enabled: &'m BTreeMap<Rc<str>, &'m Node>,
    pub(super) disabled: &'m BTreeMap<Rc<str>, &'m Node>,
}

/// Checks the enabled services against everything else.
pub(super) fn project(parts: &Parts<'_>, sources: &mut Sources) {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in parts.enabled {
        references(name, service, parts, sources);
        dependencies(name, service, parts, sources);
        attributes(name, service, sources);
        if let Some(node) = service.get("container_name")
            && let Some(container) = node.as_str()
            && let Some(other) = names.insert(container, name)
        {
            let message = format!("container name `{container}` is used by service `{other}` too");
            sources.report(node.place, message);
        }
    }
    for (name, secret) in section(parts.root, "secrets") {
        let elsewhere = secret.get("external").is_some_and(is_true);
        if !elsewhere && secret.get("file").is_none() && secret.get("environment").is_none() {
            let message = format!("secret `{name}` needs `file` or `environment`");
            sources.report(secret.key, message);
        }
    }
    cycle(parts, sources);
}

fn section<'m>(root: &'m Mapping, name: &str) -> impl Iterator<Item = (&'m Rc<str>, &'m Node)> {
    root.get(name).and_then(Node::as_map).into_iter().flatten()
}

/// Reports a name that its section doesn't have.
fn undefined(
    service: &str,
    what: &str,
    name: &str,
    place: Place,
    root: &Mapping,
    sources: &mut Sources,
) {
    let plural = format!("{what}s");
    let known: Vec<&str> = section(root, &plural).map(|(key, _)| key.as_ref()).collect();
    if known.contains(&name) {
        return;
    }
    let message = format!("service `{service}` refers to undefined {what} `{name}`");
    let help = did_you_mean(name, known)
        .unwrap_or_else(|| format!("declare it under the top-level `{plural}`"));
    sources.report_help(place, message, help);
}

fn references(name: &str, service: &Node, parts: &Parts<'_>, sources: &mut Sources) {
    let root = parts.root;
    for (what, key) in [("network", "networks"), ("model", "models")] {
        // The clash with `network_mode` is told below, and `default` would not be implied.
        if key == "networks" && service.get("network_mode").is_some() {
            continue;
        }
        for (used, node) in service.section(key) {
            undefined(name, what, used, node.key, root, sources);
        }
    }
    let items = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
    for mount in items("volumes") {
        let source = mount.get("source").filter(|_| mount.get_str("type") == Some("volume"));
        if let Some(source) = source
            && let Some(volume) = source.as_str().filter(|text| !text.is_empty())
        {
            undefined(name, "volume", volume, source.place, root, sources);
        }
    }
    let build_secrets = service
        .get("build")
        .and_then(|b| b.get("secrets"))
        .and_then(Node::as_list)
        .unwrap_or_default();
    for (what, list) in
        [("secret", items("secrets")), ("config", items("configs")), ("secret", build_secrets)]
    {
        for item in list {
            if let Some(source) = item.get("source")
                && let Some(used) = source.as_str()
            {
                undefined(name, what, used, source.place, root, sources);
            }
        }
    }
    if let Some(mode) = service.get("network_mode")
        && service.get("networks").and_then(Node::as_map).is_some_and(|m| !m.is_empty())
    {
        let message = format!("service `{name}` has both `network_mode` and `networks`");
        sources.report_help(mode.key, message, "keep one of the two");
    }
}

fn dependencies(name: &str, service: &Node, parts: &Parts<'_>, sources: &mut Sources) {
    for (dependency, node) in service.section("depends_on") {
        if parts.enabled.contains_key(dependency) {
            continue;
        }
        let required = node.get("required").is_none_or(is_true);
        if let Some(disabled) = parts.disabled.get(dependency) {
            if required {
                let profiles: Vec<&str> = disabled
                    .get("profiles")
                    .and_then(Node::as_list)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(Node::as_str)
                    .collect();
                let message = format!(
                    "service `{name}` depends on `{dependency}`, whose profile is inactive"
                );
                let help = format!(
                    "activate it (--profile {}), or write `required: false`",
                    profiles.join(" or ")
                );
                sources.report_help(node.key, message, help);
            }
            continue;
        }
        let known = parts.enabled.keys().chain(parts.disabled.keys()).map(AsRef::as_ref);
        let known: Vec<&str> = known.filter(|known| *known != name).collect();
        let message = format!("service `{name}` depends on undefined service `{dependency}`");
        match did_you_mean(dependency, known) {
            Some(help) => sources.report_help(node.key, message, help),
            None => sources.report(node.key, message),
        };
    }
}

fn attributes(name: &str, service: &Node, sources: &mut Sources) {
    let has = |key: &str| {
        service.get(key).is_some_and(|node| !node.is_null() && node.as_str() != Some(""))
    };
    if !has("image") && !has("build") && !has("provider") {
        let message = format!("service `{name}` has neither `image` nor `build`");
        sources.report_help(service.key, message, "say which image it runs: `image: NAME:TAG`");
    }
    if let Some(build) = service.get("build")
        && build.get("dockerfile").is_some()
        && let Some(inline) = build.get("dockerfile_inline")
    {
        sources.report(inline.key, "`dockerfile` and `dockerfile_inline` exclude each other");
    }
    if let Some(test) = service.get("healthcheck").and_then(|h| h.get("test"))
        && let Some(first) = test.as_list().and_then(|list| list.first())
        && !matches!(first.as_str(), Some("CMD" | "CMD-SHELL" | "NONE"))
    {
        let message = "`healthcheck.test` must begin with CMD, CMD-SHELL or NONE";
        sources.report(first.place, message);
    }
    agreement(service, sources);
    let platforms = service.get("build").and_then(|b| b.get("platforms")).and_then(Node::as_list);
    if let (Some(platforms), Some(platform)) = (platforms, service.get("platform"))
        && !platforms.is_empty()
        && !platforms.contains(platform)
    {
        let message = "`build.platforms` must include the service's `platform`";
        sources.report(platform.place, message);
    }
    let deploy = service.get("deploy");
    let replicas = deploy.and_then(|d| d.get("replicas"));
    if let Some(node) = service.get("scale").or(replicas) {
        let wanted = node.scalar_text().and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        if wanted < 0 {
            sources.report(node.place, "the number of containers can't be negative");
        }
        if wanted > 1
            && let Some(container) = service.get("container_name")
        {
            let message =
                format!("service `{name}` can't have a `container_name` and a scale above 1");
            sources.report(container.key, message);
        }
    }
    let watch = service.get("develop").and_then(|d| d.get("watch")).and_then(Node::as_list);
    for trigger in watch.unwrap_or_default() {
        let action = trigger.get_str("action");
        if trigger.get("target").is_none() && !matches!(action, Some("rebuild" | "restart")) {
            sources.report(trigger.place, "this `watch` action needs `target`");
        }
    }
    mounts(service, sources);
}

/// Reads a value in a form that compares.
type Read = fn(&Node) -> Option<String>;

/// Attributes that exist twice must agree.
fn agreement(service: &Node, sources: &mut Sources) {
    let deploy = service.get("deploy");
    let part = |names: &[&str]| names.iter().try_fold(deploy?, |node, name| node.get(name));
    let pairs: [(&str, &[&str], Read); 5] = [
        ("scale", &["replicas"], exact),
        ("cpus", &["resources", "limits", "cpus"], float),
        ("mem_limit", &["resources", "limits", "memory"], size),
        ("mem_reservation", &["resources", "reservations", "memory"], size),
        ("pids_limit", &["resources", "limits", "pids"], exact),
    ];
    for (name, path, read) in pairs {
        let Some(own) = service.get(name) else { continue };
        // A section that is there without the value counts as 0 for the resources.
        let section = part(&path[..path.len() - 1]);
        let other = part(path);
        let differs = match (other, section) {
            (Some(other), _) => read(own) != read(other),
            (None, Some(_)) => path.len() > 1 && read(own) != Some("0".into()),
            (None, None) => false,
        };
        if differs {
            let message = format!("`{name}` and `deploy.{}` differ", path.join("."));
            sources.report_help(own.place, message, "keep one of the two");
        }
    }
}

fn exact(node: &Node) -> Option<String> {
    node.scalar_text().map(|text| text.to_string())
}

fn float(node: &Node) -> Option<String> {
    let value: f64 = exact(node)?.parse().ok()?;
    Some(super::number::narrow(value).to_string())
}

fn size(node: &Node) -> Option<String> {
    super::number::bytes(&exact(node)?).map(|bytes| bytes.to_string())
}

/// No two mounts at one place.
fn mounts(service: &Node, sources: &mut Sources) {
    let items = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
    let mut targets = std::collections::BTreeSet::new();
    let single = service.get("tmpfs").filter(|node| node.as_str().is_some());
    for node in items("tmpfs").iter().chain(single) {
        let target = node.as_str().unwrap_or_default().split(':').next().unwrap_or_default();
        if !targets.insert(target.to_owned()) {
            sources.report(node.place, format!("`{target}` is mounted twice"));
        }
    }
    for node in items("volumes") {
        let target = node.get_str("target").unwrap_or_default();
        if !targets.insert(target.to_owned()) {
            sources.report(node.place, format!("`{target}` is mounted twice"));
        }
    }
}

/// Reports the first dependency cycle, printed whole. Walks without recursion.
fn cycle(parts: &Parts<'_>, sources: &mut Sources) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Open,
        Done,
    }
    let edges = |name: &str| -> Vec<(&str, Place)> {
        let Some(service) = parts.enabled.get(name) else { return Vec::new() };
        service.section("depends_on").map(|(key, node)| (key.as_ref(), node.key)).collect()
    };
    let mut marks: BTreeMap<&str, Mark> = BTreeMap::new();
    for start in parts.enabled.keys() {
        let mut stack = vec![(start.as_ref(), edges(start))];
        if marks.contains_key(start.as_ref()) {
            continue;
        }
        marks.insert(start, Mark::Open);
        while let Some((name, open)) = stack.last_mut() {
            let Some((next, place)) = open.pop() else {
                marks.insert(name, Mark::Done);
                stack.pop();
                continue;
            };
            match marks.get(next) {
                Some(Mark::Done) => {}
                Some(Mark::Open) => {
                    let from = stack.iter().position(|(name, _)| *name == next).unwrap_or(0);
                    let mut names: Vec<&str> =
                        stack[from..].iter().map(|(name, _)| *name).collect();
                    names.push(next);
                    let message = format!("dependency cycle: {}", names.join(" -> "));
                    sources.report_help(place, message, "remove one of these dependencies");
                    return;
                }
                None => {
                    marks.insert(next, Mark::Open);
                    stack.push((next, edges(next)));
                }
            }
        }
    }
}
