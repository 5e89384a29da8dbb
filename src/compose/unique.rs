//! Lists that hold each thing once: a later entry for the same variable, port, mount… takes the
//! place of the earlier one.

use std::collections::BTreeMap;

use super::diagnostic::{Sources, Staged};
use super::node::{Mapping, Node, Value};
use super::volume;

#[derive(Clone, Copy)]
enum By {
    /// The part before `=`.
    Name,
    /// The path in the container.
    Target,
    /// The path in the container, for devices.
    DeviceTarget,
    /// The mount point of a secret or config below a default folder.
    Mount(&'static str),
    /// The path of an env file.
    Path,
    /// The whole of a scalar.
    Whole,
    /// Host address, host port, container port and protocol.
    Port,
}

/// Drops earlier entries of every such list.
pub(super) fn enforce(root: &mut Mapping, sources: &mut Sources) -> Staged<()> {
    for service in section(root, "services") {
        for (key, value) in service.iter_mut() {
            match key.as_ref() {
                "annotations" | "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search"
                | "environment" | "labels" | "links" | "profiles" | "sysctls" | "tmpfs" => {
                    list(value, By::Name, sources);
                }
                "configs" => list(value, By::Mount(""), sources),
                "secrets" => list(value, By::Mount("/run/secrets"), sources),
                "devices" => list(value, By::DeviceTarget, sources),
                "volumes" => list(value, By::Target, sources),
                "env_file" => list(value, By::Path, sources),
                "expose" => list(value, By::Whole, sources),
                "ports" => list(value, By::Port, sources),
                "build" => keys(
                    value,
                    &["args", "additional_contexts", "platform", "tags", "labels"],
                    sources,
                ),
                "deploy" => keys(value, &["labels"], sources),
                "networks" => {
                    for network in value.as_map_mut().into_iter().flat_map(|m| m.values_mut()) {
                        keys(network, &["aliases", "link_local_ips"], sources);
                    }
                }
                _ => {}
            }
        }
    }
    for network in section(root, "networks") {
        if let Some(labels) = network.get_mut("labels") {
            list(labels, By::Name, sources);
        }
    }
    sources.check()
}

fn section<'m>(root: &'m mut Mapping, name: &str) -> impl Iterator<Item = &'m mut Mapping> {
    let entries = root.get_mut(name).and_then(Node::as_map_mut);
    entries.into_iter().flat_map(|m| m.values_mut()).filter_map(Node::as_map_mut)
}

fn keys(node: &mut Node, names: &[&str], sources: &mut Sources) {
    for name in names {
        if let Some(value) = node.get_mut(name) {
            list(value, By::Name, sources);
        }
    }
}

fn list(node: &mut Node, by: By, sources: &mut Sources) {
    let Some(items) = node.as_list_mut() else { return };
    if items.len() < 2 {
        return;
    }
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<Node> = Vec::with_capacity(items.len());
    for item in std::mem::take(items) {
        match index(&item, by, sources) {
            // What has no index is a wrong type, which validation reports.
            None => kept.push(item),
            Some(key) => match known.get(&key) {
                Some(&at) => kept[at] = item,
                None => {
                    known.insert(key, kept.len());
                    kept.push(item);
                }
            },
        }
    }
    *items = kept;
}

fn index(item: &Node, by: By, sources: &mut Sources) -> Option<String> {
    let text = item.as_str();
    match by {
        By::Name => Some(text?.split('=').next().unwrap_or_default().to_owned()),
        By::Whole => Some(item.scalar_text()?.to_string()),
        By::Target => match text {
            Some(text) => match volume::parse(text) {
                Ok(mount) => Some(mount.target),
                Err(problem) => {
                    sources.report(item.place, problem);
                    None
                }
            },
            None => item.get_str("target").map(str::to_owned),
        },
        By::DeviceTarget => match text {
            Some(text) => {
                let mut parts = text.split(':');
                let first = parts.next().unwrap_or_default();
                Some(parts.next().unwrap_or(first).to_owned())
            }
            None => item.get_str("target").map(str::to_owned),
        },
        By::Mount(folder) => match text {
            Some(text) => Some(format!("{folder}/{text}")),
            None => match item.get_str("target") {
                Some(target) => Some(target.to_owned()),
                None => Some(format!("{folder}/{}", item.get_str("source")?)),
            },
        },
        By::Path => match text {
            Some(text) => Some(text.to_owned()),
            None => item.get_str("path").map(str::to_owned),
        },
        By::Port => match &item.value {
            Value::Map(map) => {
                let part = |key: &str, default: &str| {
                    map.get(key)
                        .and_then(Node::scalar_text)
                        .map_or(default.to_owned(), |t| t.to_string())
                };
                Some(format!(
                    "{}:{}:{}/{}",
                    part("host_ip", "0.0.0.0"),
                    part("published", ""),
                    part("target", ""),
                    part("protocol", "tcp"),
                ))
            }
            _ => Some(item.scalar_text()?.to_string()),
        },
    }
}
