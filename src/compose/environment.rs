//! The environment and labels of services: env files and label files read, variables filled in.

use std::path::Path;
use std::rc::Rc;

use super::diagnostic::{Sources, Staged};
use super::interpolate::{Assignments, Variables};
use super::node::{Mapping, Node, Value};
use super::normalise::is_true;
use super::options::mapping_file;
use super::print::{Pairs, pairs};

/// Resolves environment and labels of the enabled services. Env files go, as their content is in
/// the environment; label files stay listed, as Docker Compose keeps them.
pub(super) fn resolve(
    root: &mut Mapping,
    enabled: &[Rc<str>],
    variables: &Variables,
    sources: &mut Sources,
) -> Staged<()> {
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return Ok(()) };
    for name in enabled {
        let Some(service) = services.get_mut(name).and_then(Node::as_map_mut) else { continue };
        environment(service, variables, sources);
        labels(service, sources);
    }
    sources.check()
}

fn given(service: &Mapping, key: &str, sources: &mut Sources) -> Pairs {
    let Some(node) = service.get(key).filter(|node| !node.is_null()) else { return Pairs::new() };
    pairs(node).unwrap_or_else(|(place, problem)| {
        sources.report(place, format!("`{key}` {problem}"));
        Pairs::new()
    })
}

fn environment(service: &mut Mapping, variables: &Variables, sources: &mut Sources) {
    let mut own = given(service, "environment", sources);
    for (name, value) in &mut own {
        if value.is_none() {
            *value = variables.get(name).cloned();
        }
    }
    let files = service.remove("env_file");
    let set = |own: &Pairs| -> Assignments {
        own.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect()
    };
    let mut all = set(&own);
    let lookup =
        |name: &str| variables.get(name).cloned().or_else(|| own.get(name).cloned().flatten());
    for item in files.as_ref().and_then(Node::as_list).unwrap_or_default() {
        let Some(path) = item.get_str("path") else { continue };
        let required = item.get("required").is_none_or(is_true);
        let place = item.get("path").map_or(item.place, |p| p.place);
        if !required && !Path::new(path).exists() {
            continue;
        }
        let raw = match item.get_str("format") {
            None | Some("" | ".env") => false,
            Some("raw") => true,
            Some(_) => {
                sources.report_help(place, "unknown format of an env file", "known here: raw");
                continue;
            }
        };
        let read = mapping_file(Path::new(path), raw, &mut all, &lookup, sources);
        if let Err((line, problem)) = read {
            let at = if line > 0 { format!(":{line}") } else { String::new() };
            sources.report(place, format!("env file {path}{at}: {problem}"));
        }
    }
    if all.is_empty() && own.is_empty() {
        service.remove("environment");
        return;
    }
    let mut result: Pairs = all.into_iter().map(|(k, v)| (k, Some(v))).collect();
    result.extend(own);
    put(service, "environment", result);
}

fn labels(service: &mut Mapping, sources: &mut Sources) {
    let Some(files) = service.get("label_file").cloned() else { return };
    let mut found = Assignments::new();
    let single = std::slice::from_ref(&files);
    for item in files.as_list().unwrap_or(single) {
        let Some(path) = item.as_str() else { continue };
        let mut own = Assignments::new();
        let lookup = |name: &str| found.get(name).cloned();
        let read = mapping_file(Path::new(path), false, &mut own, &lookup, sources);
        if let Err((line, problem)) = read {
            let at = if line > 0 { format!(":{line}") } else { String::new() };
            sources.report(item.place, format!("label file {path}{at}: {problem}"));
        }
        found.extend(own);
    }
    let mut result: Pairs = found.into_iter().map(|(k, v)| (k, Some(v))).collect();
    let own = given(service, "labels", sources);
    result.extend(own.into_iter().map(|(k, v)| (k, Some(v.unwrap_or_default()))));
    if !result.is_empty() {
        put(service, "labels", result);
    }
}

fn put(service: &mut Mapping, key: &str, pairs: Pairs) {
    let place = service.get(key).map(|node| node.place).unwrap_or_default();
    let map = pairs.into_iter().map(|(name, value)| {
        let value = value.map_or(Value::Null, |text| Value::Text(text.into()));
        (Rc::from(name), Node::at(value, place))
    });
    service.insert(key.into(), Node::at(Value::Map(map.collect()), place));
}
