//! Merging an override over a base: mappings by key, lists appended, and the special paths by
//! their own rules.

use std::rc::Rc;

use super::diagnostic::{Sources, Staged};
use super::node::{Mapping, Node, Value};

/// How a path merges.
enum Rule {
    /// The override replaces the base.
    Replace,
    /// Both become `key=value` lists, appended.
    Sequence,
    /// Both become `host=ip` lists, appended without repeats.
    Hosts,
    /// A short form becomes `context:` first.
    Build,
    /// A list of services becomes a mapping first.
    DependsOn,
    /// A list of names becomes a mapping first.
    Names,
    /// Options merge only under the same driver.
    Logging,
    /// Address pools merge by subnet.
    Pools,
    /// Mappings by key, lists appended, scalars replaced.
    Default,
}

fn rule(path: &[Rc<str>]) -> Rule {
    if !(3..=6).contains(&path.len()) {
        return Rule::Default;
    }
    let mut keys = [""; 6];
    for (key, part) in keys.iter_mut().zip(path) {
        *key = part;
    }
    match &keys[..path.len()] {
        ["services", _, "command" | "entrypoint"]
        | ["services", _, "healthcheck", "test"]
        | ["services", _, "ulimits", _] => Rule::Replace,
        ["services", _, "build"] => Rule::Build,
        ["services", _, "depends_on"] => Rule::DependsOn,
        ["services", _, "networks" | "models"] => Rule::Names,
        ["services", _, "logging"] => Rule::Logging,
        ["services", _, "extra_hosts"] | ["services", _, "build", "extra_hosts"] => Rule::Hosts,
        ["networks", _, "ipam", "config"] => Rule::Pools,
        [
            "services",
            _,
            "annotations" | "dns" | "dns_opt" | "dns_search" | "env_file" | "label_file"
            | "environment" | "labels" | "sysctls" | "tmpfs",
        ]
        | ["services", _, "build", "args" | "additional_contexts" | "labels"]
        | ["services", _, "deploy", "labels"]
        | ["services", _, "volumes", _, "volume", "labels"]
        | ["networks" | "volumes", _, "labels"] => Rule::Sequence,
        _ => Rule::Default,
    }
}

/// Merges a whole document over what earlier documents made.
pub(super) fn documents(base: Mapping, over: Mapping, sources: &mut Sources) -> Staged<Mapping> {
    let merged = mappings(base, over, &mut Vec::new(), sources);
    sources.check()?;
    Ok(merged)
}

/// Merges one value of a section (`services.web`) over another.
pub(super) fn entry(
    section: &str,
    name: &str,
    base: Node,
    over: Node,
    sources: &mut Sources,
) -> Staged<Node> {
    let mut path = vec![Rc::from(section), Rc::from(name)];
    let merged = values(base, over, &mut path, sources);
    sources.check()?;
    Ok(merged)
}

fn mappings(
    mut base: Mapping,
    over: Mapping,
    path: &mut Vec<Rc<str>>,
    sources: &mut Sources,
) -> Mapping {
    for (key, value) in over {
        match base.remove(&key) {
            None => {
                base.insert(key, value);
            }
            Some(old) => {
                path.push(key.clone());
                let merged = values(old, value, path, sources);
                path.pop();
                base.insert(key, merged);
            }
        }
    }
    base
}

fn values(base: Node, over: Node, path: &mut Vec<Rc<str>>, sources: &mut Sources) -> Node {
    let rule = rule(path);
    match rule {
        Rule::Replace => return over,
        Rule::Sequence | Rule::Hosts => return sequences(base, over, &rule),
        _ if over.is_null() => return base,
        Rule::Build => return both(short_build(base), short_build(over), path, sources),
        Rule::DependsOn => return both(dependencies(base), dependencies(over), path, sources),
        Rule::Names => return both(names(base), names(over), path, sources),
        Rule::Logging => {
            let driver = |node: &Node| node.get_str("driver").map(str::to_owned);
            let (old, new) = (driver(&base), driver(&over));
            if old.is_some() && new.is_some() && old != new {
                return over;
            }
        }
        Rule::Pools => {
            if let (Value::List(old), Value::List(new)) = (&base.value, &over.value) {
                let value = Value::List(pools(old, new));
                return Node { value, ..over };
            }
        }
        Rule::Default => {}
    }
    both(base, over, path, sources)
}

/// The default rule.
fn both(base: Node, over: Node, path: &mut Vec<Rc<str>>, sources: &mut Sources) -> Node {
    let (place, key) = (over.place, over.key);
    let value = match (base.value, over.value) {
        (Value::Map(old), Value::Map(new)) => Value::Map(mappings(old, new, path, sources)),
        (Value::List(mut old), Value::List(new)) => {
            old.extend(new);
            Value::List(old)
        }
        (old @ (Value::Map(_) | Value::List(_)), new) => {
            let base = Node::at(old, place);
            let over = Node::at(new, place);
            let message =
                format!("`{}` can't override {} by {}", path.join("."), base.kind(), over.kind());
            sources.report(place, message);
            base.value
        }
        (_, new) => new,
    };
    Node { value, place, key }
}

fn sequences(base: Node, over: Node, rule: &Rule) -> Node {
    let (place, key) = (over.place, over.key);
    let mut list = sequence(base);
    for item in sequence(over) {
        if !matches!(rule, Rule::Hosts) || !list.contains(&item) {
            list.push(item);
        }
    }
    Node { value: Value::List(list), place, key }
}

/// A mapping as sorted `key=value` texts; a list as it is; a text as a list of one.
fn sequence(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(list) => list,
        Value::Map(map) => {
            let mut list = Vec::with_capacity(map.len());
            for (name, value) in map {
                let place = value.key;
                match &value.value {
                    Value::Null => list.push(Node::text(name, place)),
                    Value::List(items) => {
                        list.extend(items.iter().map(|item| pair(&name, item, item.place)));
                    }
                    _ => list.push(pair(&name, &value, place)),
                }
            }
            list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            list
        }
        Value::Text(_) => vec![node],
        _ => Vec::new(),
    }
}

fn pair(name: &str, value: &Node, place: super::diagnostic::Place) -> Node {
    let text = value.scalar_text().unwrap_or_default();
    Node::text(format!("{name}={text}"), place)
}

fn short_build(node: Node) -> Node {
    if node.as_str().is_none() {
        return node;
    }
    let (place, key) = (node.place, node.key);
    let value = Value::Map(Mapping::from([("context".into(), node)]));
    Node { value, place, key }
}

/// `depends_on` as a mapping.
pub(super) fn dependencies(node: Node) -> Node {
    to_mapping(node, |place| {
        Value::Map(Mapping::from([
            ("condition".into(), Node::text("service_started", place)),
            ("required".into(), Node::at(Value::Bool(true), place)),
        ]))
    })
}

/// A list of names as a mapping to nothing.
pub(super) fn names(node: Node) -> Node {
    to_mapping(node, |_| Value::Null)
}

fn to_mapping(node: Node, value: impl Fn(super::diagnostic::Place) -> Value) -> Node {
    let Value::List(list) = &node.value else { return node };
    if list.iter().any(|item| item.as_str().is_none()) {
        return node;
    }
    let entries = list.iter().filter_map(|item| {
        let Value::Text(name) = &item.value else { return None };
        Some((name.clone(), Node::at(value(item.place), item.place)))
    });
    Node { value: Value::Map(entries.collect()), ..node }
}

/// Address pools, merged by subnet, in the way that Docker Compose does: each pair of different
/// subnets adds the override once; equal ones merge.
fn pools(base: &[Node], over: &[Node]) -> Vec<Node> {
    let subnet = |node: &Node| node.get_str("subnet").map(str::to_owned);
    let mut result: Vec<Node> = Vec::new();
    for old in base {
        let mut old = old.clone();
        for new in over {
            if subnet(new) != subnet(&old) && !result.iter().any(|p| subnet(p) == subnet(new)) {
                result.push(new.clone());
                continue;
            }
            if let (Some(map), Some(entries)) = (old.as_map_mut(), new.as_map()) {
                for (key, value) in entries {
                    map.insert(key.clone(), value.clone());
                }
            }
            match result.iter_mut().find(|p| subnet(p) == subnet(&old)) {
                Some(known) => *known = old.clone(),
                None => result.push(old.clone()),
            }
        }
    }
    result
}
