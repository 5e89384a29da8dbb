//! What loads and prints but homeostat can't act on yet: refused rather than ignored.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::diagnostic::Sources;
use super::node::{Mapping, Node};
use super::service_hash;
use super::translate::{self, BindContext, Parent, ParentIds, TranslateError};
use super::types::Project;

/// Attributes of a service that nothing behind the loader handles.
const UNSUPPORTED: [&str; 6] =
    ["pre_start", "provider", "models", "use_api_socket", "credential_spec", "volume_driver"];

/// Reports every attribute that isn't supported end to end.
pub(super) fn check(services: &BTreeMap<Rc<str>, &Node>, sources: &mut Sources) {
    for (name, service) in services {
        for attribute in UNSUPPORTED {
            if let Some(node) = service.get(attribute) {
                let message = format!("`{attribute}` of service `{name}` is not supported yet");
                sources.report(node.key, message);
            }
        }
        for mount in service.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            if matches!(mount.get_str("type"), Some("cluster" | "npipe")) {
                let message =
                    format!("this type of mount of service `{name}` is not supported yet");
                sources.report(mount.place, message);
            }
        }
    }
}

/// Reports what no container can be made of, as the create call would find it later, when half of
/// the stack is there already.
pub(super) fn translatable(project: &Project, root: &Mapping, sources: &mut Sources) {
    let parent =
        |name: &String| (name.clone(), vec![Parent { id: "0".into(), name: name.clone() }]);
    let ids = ParentIds(project.services.keys().map(parent).collect());
    let context = BindContext {
        // What an older engine lacks is known once there is an engine.
        api: (u32::MAX, u32::MAX),
        replaces: None,
        env_files: &[],
        images: &BTreeMap::new(),
        seccomp_profiles: &BTreeMap::new(),
        proxy_environment: &BTreeMap::new(),
        hash: &service_hash,
    };
    for (key, volume) in &project.volumes {
        if !volume.external && !translate::is_engine_name(&volume.name) {
            let node = root.get("volumes").and_then(|volumes| volumes.get(key));
            let place = node.and_then(|node| node.get("name")).map(|name| name.place);
            let place = place.or(node.map(|node| node.key)).unwrap_or_default();
            let (name, not) = (&volume.name, translate::NOT_A_NAME);
            sources.report(place, format!("volumes.{key}.name is invalid: '{name}' {not}"));
        }
    }
    for service in project.services.values() {
        let bound = translate::bind(service, project, &ids, "", 1, &context);
        let Err(error) = bound else { continue };
        match &error {
            TranslateError::Unsupported { at } => {
                let node = found(root, at);
                sources.report(node.map(|node| node.key).unwrap_or_default(), error.to_string());
            }
            // Profiles are read for the create call only.
            TranslateError::Invalid { at, .. } if !at.contains("security_opt") => {
                let node = found(root, at);
                sources.report(node.map(|node| node.place).unwrap_or_default(), error.to_string());
            }
            _ => {}
        }
    }
}

/// The node of a path such as `services.web.volumes[0].type`, or the deepest one on the way: names
/// may hold dots themselves.
fn found<'n>(root: &'n Mapping, path: &str) -> Option<&'n Node> {
    let (section, mut rest) = path.split_once('.')?;
    let mut node = root.get(section)?;
    while !rest.is_empty() {
        let next = match (node.as_map(), node.as_list()) {
            (Some(map), _) => map
                .iter()
                .filter(|(key, _)| rest.strip_prefix(key.as_ref()).is_some_and(is_boundary))
                .max_by_key(|(key, _)| key.len())
                .map(|(key, node)| (node, &rest[key.len()..])),
            (None, Some(list)) => rest.strip_prefix('[').and_then(|tail| {
                let (number, tail) = tail.split_once(']')?;
                Some((list.get(number.parse::<usize>().ok()?)?, tail))
            }),
            _ => None,
        };
        let Some((deeper, tail)) = next else { break };
        node = deeper;
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    Some(node)
}

fn is_boundary(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['.', '['])
}
