//! Short forms become long ones.

use super::diagnostic::{Place, Sources, Staged};
use super::merge::{dependencies, names};
use super::node::{Mapping, Node, Value};
use super::{port, volume};

/// Rewrites every short form of a validated document.
pub(super) fn document(root: &mut Mapping, sources: &mut Sources) -> Staged<()> {
    for service in entries(root, "services") {
        if let Some(map) = service.as_map_mut() {
            for (key, value) in map.iter_mut() {
                attribute(key, value, sources);
            }
        }
    }
    for section in ["networks", "volumes", "secrets", "configs"] {
        for resource in entries(root, section) {
            external(resource, sources);
        }
    }
    sources.check()
}

fn entries<'m>(root: &'m mut Mapping, section: &str) -> impl Iterator<Item = &'m mut Node> {
    root.get_mut(section).and_then(Node::as_map_mut).into_iter().flat_map(|m| m.values_mut())
}

fn take(node: &mut Node) -> Node {
    let (place, key) = (node.place, node.key);
    std::mem::replace(node, Node { value: Value::Null, place, key })
}

fn attribute(key: &str, node: &mut Node, sources: &mut Sources) {
    match key {
        "build" => build(node, sources),
        "depends_on" => {
            *node = dependencies(take(node));
            for dependency in node.as_map_mut().into_iter().flat_map(|m| m.values_mut()) {
                let place = dependency.place;
                if let Some(map) = dependency.as_map_mut() {
                    map.entry("condition".into())
                        .or_insert_with(|| Node::text("service_started", place));
                    map.entry("required".into())
                        .or_insert_with(|| Node::at(Value::Bool(true), place));
                }
            }
        }
        "networks" | "models" => *node = names(take(node)),
        "env_file" => {
            as_list(node);
            for item in node.as_list_mut().into_iter().flatten() {
                in_mapping(item, "path");
                let place = item.place;
                if let Some(map) = item.as_map_mut() {
                    map.entry("required".into())
                        .or_insert_with(|| Node::at(Value::Bool(true), place));
                }
            }
        }
        "label_file" => as_list(node),
        "dns" => {
            as_list(node);
            // An empty entry comes from an empty variable: it goes.
            if let Some(list) = node.as_list_mut() {
                list.retain(|item| item.as_str() != Some(""));
            }
        }
        "gpus" if node.as_str().is_some() => {
            let place = node.place;
            let all = Mapping::from([("count".into(), Node::text("all", place))]);
            node.value = Value::List(vec![Node::at(Value::Map(all), place)]);
        }
        "secrets" | "configs" => file_mounts(node),
        "volumes" => {
            for item in node.as_list_mut().into_iter().flatten() {
                mount(item, sources);
            }
        }
        "devices" => {
            for item in node.as_list_mut().into_iter().flatten() {
                device(item, sources);
            }
        }
        "ports" => ports(node, sources),
        "develop" => {
            let watch = node.get_mut("watch").and_then(Node::as_list_mut);
            for trigger in watch.into_iter().flatten() {
                for key in ["ignore", "include"] {
                    if let Some(patterns) = trigger.get_mut(key) {
                        as_list(patterns);
                    }
                }
            }
        }
        _ => {}
    }
}

fn as_list(node: &mut Node) {
    if node.as_str().is_some() {
        let (place, key) = (node.place, node.key);
        let item = take(node);
        *node = Node { value: Value::List(vec![item]), place, key };
    }
}

/// A text becomes a mapping with the text under a key.
fn in_mapping(node: &mut Node, name: &str) {
    if node.as_str().is_some() {
        let (place, key) = (node.place, node.key);
        let item = take(node);
        *node = Node { value: Value::Map(Mapping::from([(name.into(), item)])), place, key };
    }
}

fn file_mounts(node: &mut Node) {
    for item in node.as_list_mut().into_iter().flatten() {
        in_mapping(item, "source");
    }
}

fn build(node: &mut Node, sources: &mut Sources) {
    in_mapping(node, "context");
    let Some(map) = node.as_map_mut() else { return };
    if let Some(secrets) = map.get_mut("secrets") {
        file_mounts(secrets);
    }
    for key in ["provenance", "sbom"] {
        if let Some(node) = map.get_mut(key)
            && let Some(text) = node.scalar_text()
        {
            node.value = Value::Text(text);
        }
    }
    if let Some(contexts) = map.get_mut("additional_contexts") {
        pairs(contexts, false, sources);
    }
    if let Some(keys) = map.get_mut("ssh") {
        pairs(keys, true, sources);
    }
}

/// A list of `key=value` as a mapping. `bare` lets `default` stand alone.
fn pairs(node: &mut Node, bare: bool, sources: &mut Sources) {
    let Value::List(list) = &node.value else { return };
    let mut map = Mapping::new();
    for item in list {
        let Some(text) = item.as_str() else { continue };
        match text.split_once('=') {
            Some((key, value)) => {
                map.insert(key.into(), Node::text(value, item.place));
            }
            None if bare && text == "default" => {
                map.insert(text.into(), Node::at(Value::Null, item.place));
            }
            None => {
                sources.report(item.place, "must have the form `key=value`");
            }
        }
    }
    node.value = Value::Map(map);
}

fn mount(node: &mut Node, sources: &mut Sources) {
    let Some(text) = node.as_str() else { return };
    let place = node.place;
    let short = match volume::parse(text) {
        Ok(short) => short,
        Err(problem) => {
            sources.report(place, problem);
            return;
        }
    };
    let mut map = Mapping::new();
    let mut options = Mapping::new();
    let put = |map: &mut Mapping, key: &str, text: &str| {
        if !text.is_empty() {
            map.insert(key.into(), Node::text(text, place));
        }
    };
    put(&mut map, "source", &short.source);
    put(&mut map, "target", &clean(&short.target));
    put(&mut options, "propagation", short.propagation.as_deref().unwrap_or_default());
    put(&mut options, "selinux", short.selinux.as_deref().unwrap_or_default());
    let mut volume_options = Mapping::new();
    if short.nocopy {
        volume_options.insert("nocopy".into(), Node::at(Value::Bool(true), place));
    }
    if short.read_only {
        map.insert("read_only".into(), Node::at(Value::Bool(true), place));
    }
    let bind = short.is_bind();
    put(&mut map, "type", if bind { "bind" } else { "volume" });
    if bind {
        options.insert("create_host_path".into(), Node::at(Value::Bool(true), place));
    }
    if !options.is_empty() {
        map.insert("bind".into(), Node::at(Value::Map(options), place));
    }
    if !bind || short.nocopy {
        map.insert("volume".into(), Node::at(Value::Map(volume_options), place));
    }
    node.value = Value::Map(map);
}

/// Go's `path.Clean`: no doubled slashes, no `.`, `..` resolved as text.
pub(super) fn clean(path: &str) -> String {
    if path.is_empty() {
        return ".".into();
    }
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

fn device(node: &mut Node, sources: &mut Sources) {
    let Some(text) = node.as_str() else { return };
    let place = node.place;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ => {
            sources.report(place, format!("`{text}` has too many colons: use the long form"));
            return;
        }
    };
    let target = if target.is_empty() { source } else { target };
    node.value = Value::Map(Mapping::from([
        ("source".into(), Node::text(source, place)),
        ("target".into(), Node::text(target, place)),
        ("permissions".into(), Node::text(permissions, place)),
    ]));
}

fn ports(node: &mut Node, sources: &mut Sources) {
    let Some(list) = node.as_list_mut() else { return };
    let mut long = Vec::with_capacity(list.len());
    for item in std::mem::take(list) {
        if item.as_map().is_some() {
            long.push(item);
            continue;
        }
        let text = item.scalar_text().unwrap_or_default();
        match port::parse(&text) {
            Ok(ports) => long.extend(ports.iter().map(|port| port_node(port, item.place))),
            Err(problem) => {
                sources.report(item.place, problem);
            }
        }
    }
    *list = long;
}

fn port_node(port: &port::ShortPort, place: Place) -> Node {
    let mut map = Mapping::from([
        ("mode".into(), Node::text("ingress", place)),
        ("target".into(), Node::at(Value::Int(i64::from(port.target)), place)),
        ("protocol".into(), Node::text(port.protocol.as_str(), place)),
    ]);
    if !port.published.is_empty() {
        map.insert("published".into(), Node::text(port.published.as_str(), place));
    }
    if !port.host_ip.is_empty() {
        map.insert("host_ip".into(), Node::text(port.host_ip.as_str(), place));
    }
    Node::at(Value::Map(map), place)
}

/// `external: {name: X}` is the old form of `external: true` and `name: X`.
fn external(resource: &mut Node, sources: &mut Sources) {
    let Some(map) = resource.as_map_mut() else { return };
    let Some(external) = map.get("external") else { return };
    if external.as_map().is_none() {
        return;
    }
    let place = external.place;
    if let Some(old) = external.get("name").cloned() {
        let conflict = map.get("name").is_some_and(|name| *name != old);
        if conflict {
            let message = "`name` and `external.name` differ";
            sources.report_help(place, message, "keep `name`, and write `external: true`");
        }
        map.entry("name".into()).or_insert(old);
    }
    map.insert("external".into(), Node::at(Value::Bool(true), place));
}

/// Fills in what Docker Compose defaults before it validates.
pub(super) fn defaults(root: &mut Mapping) {
    for service in entries(root, "services") {
        let Some(map) = service.as_map_mut() else { continue };
        if let Some(build) = map.get_mut("build") {
            let place = build.place;
            if let Some(build) = build.as_map_mut() {
                build.entry("context".into()).or_insert_with(|| Node::text(".", place));
            }
        }
        for secret in items(map, "secrets") {
            let place = secret.place;
            let target = format!("/run/secrets/{}", secret.get_str("source").unwrap_or_default());
            if let Some(secret) = secret.as_map_mut() {
                secret.entry("target".into()).or_insert_with(|| Node::text(target, place));
            }
        }
        for port in items(map, "ports") {
            let place = port.place;
            if let Some(port) = port.as_map_mut() {
                port.entry("protocol".into()).or_insert_with(|| Node::text("tcp", place));
                port.entry("mode".into()).or_insert_with(|| Node::text("ingress", place));
            }
        }
        for volume in items(map, "volumes") {
            if let Some(bind) = volume.get_mut("bind") {
                let place = bind.place;
                if let Some(bind) = bind.as_map_mut() {
                    bind.entry("create_host_path".into())
                        .or_insert_with(|| Node::at(Value::Bool(true), place));
                }
            }
        }
        for gpu in items(map, "gpus") {
            all_devices(gpu);
        }
        let devices = map
            .get_mut("deploy")
            .and_then(|n| n.get_mut("resources"))
            .and_then(|n| n.get_mut("reservations"))
            .and_then(Node::as_map_mut);
        if let Some(reservations) = devices {
            for device in items(reservations, "devices") {
                all_devices(device);
            }
        }
    }
}

fn items<'m>(map: &'m mut Mapping, key: &str) -> impl Iterator<Item = &'m mut Node> {
    map.get_mut(key).and_then(Node::as_list_mut).into_iter().flatten()
}

fn all_devices(request: &mut Node) {
    let place = request.place;
    if let Some(map) = request.as_map_mut()
        && !map.contains_key("count")
        && !map.contains_key("device_ids")
    {
        map.insert("count".into(), Node::text("all", place));
    }
}
