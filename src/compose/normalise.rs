//! What Compose implies: the default network, dependencies through namespaces, links and volumes,
//! names in the engine.

use std::rc::Rc;

use super::canonical::clean;
use super::diagnostic::Place;
use super::interpolate::Variables;
use super::node::{Mapping, Node, Value};

/// Completes a loaded model.
pub(super) fn project(root: &mut Mapping, name: &str, variables: &Variables) {
    default_network(root);
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(|m| m.values_mut()) {
        let place = service.place;
        if let Some(map) = service.as_map_mut() {
            complete(map, place, variables);
        }
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        let Some(entries) = root.get_mut(section).and_then(Node::as_map_mut) else { continue };
        for (key, node) in entries.iter_mut() {
            if node.is_null() {
                node.value = Value::Map(Mapping::new());
            }
            let place = node.place;
            let Some(map) = node.as_map_mut() else { continue };
            if map.get("name").is_none_or(Node::is_null) {
                let external = map.get("external").is_some_and(is_true);
                let full = if external { key.to_string() } else { format!("{name}_{key}") };
                map.insert("name".into(), Node::text(full, place));
            }
        }
    }
}

/// Whether a value means true.
pub(super) fn is_true(node: &Node) -> bool {
    match &node.value {
        Value::Bool(flag) => *flag,
        Value::Text(text) => super::cast::boolean(text) == Some(true),
        _ => false,
    }
}

fn default_network(root: &mut Mapping) {
    let mut used = false;
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(|m| m.values_mut()) {
        let place = service.place;
        let Some(map) = service.as_map_mut() else { continue };
        if map.contains_key("provider") || map.contains_key("network_mode") {
            continue;
        }
        let named = map.get("networks").and_then(Node::as_map).filter(|m| !m.is_empty());
        match named {
            Some(networks) => used |= networks.contains_key("default"),
            None => {
                let default = Mapping::from([("default".into(), Node::at(Value::Null, place))]);
                map.insert("networks".into(), Node::at(Value::Map(default), place));
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    let networks = root.entry("networks".into()).or_default();
    if networks.is_null() {
        networks.value = Value::Map(Mapping::new());
    }
    if let Some(map) = networks.as_map_mut() {
        map.entry("default".into()).or_default();
    }
}

fn complete(service: &mut Mapping, place: Place, variables: &Variables) {
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_str() == Some("if_not_present")
    {
        policy.value = Value::Text("missing".into());
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        if build.get("context").is_none_or(Node::is_null) {
            build.insert("context".into(), Node::text(".", place));
        }
        if !build.contains_key("dockerfile") && !build.contains_key("dockerfile_inline") {
            build.insert("dockerfile".into(), Node::text("Dockerfile", place));
        }
        if let Some(args) = build.get_mut("args") {
            from_variables(args, variables, false);
        }
    }
    if let Some(environment) = service.get_mut("environment") {
        from_variables(environment, variables, true);
    }
    for volume in service.get_mut("volumes").and_then(Node::as_list_mut).into_iter().flatten() {
        if let Some(target) = volume.get_mut("target")
            && let Value::Text(text) = &mut target.value
        {
            *text = Rc::from(clean(text));
        }
    }
    let implied = implied(service);
    if implied.is_empty() {
        return;
    }
    let depends_on = service
        .entry("depends_on".into())
        .or_insert_with(|| Node::at(Value::Map(Mapping::new()), place));
    let Some(depends_on) = depends_on.as_map_mut() else { return };
    for (name, restart, place) in implied {
        depends_on.entry(name).or_insert_with(|| {
            let map = Mapping::from([
                ("condition".into(), Node::text("service_started", place)),
                ("restart".into(), Node::at(Value::Bool(restart), place)),
                ("required".into(), Node::at(Value::Bool(true), place)),
            ]);
            Node::at(Value::Map(map), place)
        });
    }
}

/// Services that a service can't do without, with whether their restart restarts it.
fn implied(service: &Mapping) -> Vec<(Rc<str>, bool, Place)> {
    let mut implied = Vec::new();
    for link in service.get("links").and_then(Node::as_list).into_iter().flatten() {
        if let Some(text) = link.as_str() {
            let parts: Vec<&str> = text.split(':').collect();
            let name = if let [name, _] = parts[..] { name } else { text };
            implied.push((name.into(), true, link.place));
        }
    }
    for namespace in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        if let Some(node) = service.get(namespace)
            && let Some(name) = node.as_str().and_then(|text| text.strip_prefix("service:"))
        {
            implied.push((name.into(), true, node.place));
        }
    }
    for from in service.get("volumes_from").and_then(Node::as_list).into_iter().flatten() {
        if let Some(text) = from.as_str().filter(|text| !text.starts_with("container:")) {
            let name = text.split(':').next().unwrap_or_default();
            implied.push((name.into(), false, from.place));
        }
    }
    implied
}

/// Gives names without a value the variable's value; without one they stay only if `keep`.
fn from_variables(node: &mut Node, variables: &Variables, keep: bool) {
    match &mut node.value {
        Value::List(list) => {
            for item in list.iter_mut() {
                let Some(name) = item.as_str().filter(|text| !text.contains('=')) else { continue };
                if let Some(value) = variables.get(name) {
                    item.value = Value::Text(format!("{name}={value}").into());
                }
            }
            if !keep {
                list.retain(|item| item.as_str().is_some_and(|text| text.contains('=')));
            }
        }
        Value::Map(map) => {
            for (name, value) in map.iter_mut() {
                if value.is_null()
                    && let Some(found) = variables.get(name.as_ref())
                {
                    value.value = Value::Text(found.as_str().into());
                }
            }
            if !keep {
                map.retain(|_, value| !value.is_null());
            }
        }
        _ => {}
    }
}
