//! Replaces references to services by container IDs, before hashing: the hash in a container's
//! label is that of the replaced service, while `config --hash` prints the other one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::TranslateError;
use crate::compose::types::{Project, Service};

/// A live container that a service may refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Full ID.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
}

/// Containers by service name: one-off runs are no parents, stopped containers are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParentIds(pub BTreeMap<String, Vec<Parent>>);

impl ParentIds {
    /// Compose shares the container whose *name* sorts first, so `x-10` before `x-2`.
    fn first(&self, service: &str, at: String) -> Result<&Parent, TranslateError> {
        let parents = self.0.get(service).into_iter().flatten();
        parents
            .min_by(|a, b| a.name.cmp(&b.name))
            .ok_or_else(|| TranslateError::ParentMissing { at, service: service.into() })
    }
}

/// The canonical service with every reference to a service replaced.
pub(super) fn replace_references(
    service: &Service,
    ids: &ParentIds,
) -> Result<Map<String, Value>, TranslateError> {
    let mut canonical = service.canonical.expose().clone();
    let at = |key: &str| format!("services.{}.{key}", service.name);
    for key in ["network_mode", "ipc", "pid"] {
        let Some(mode) = canonical.get_mut(key) else { continue };
        let Some(parent) = mode.as_str().and_then(|mode| mode.strip_prefix("service:")) else {
            continue;
        };
        *mode = format!("container:{}", ids.first(parent, at(key))?.id).into();
    }
    let sources = canonical.get_mut("volumes_from").and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        let Some(written) = source.as_str() else { continue };
        let mut parts = written.split(':');
        // Compose drops the access mode (`:ro`) of the entry; so do we, for the same hash.
        let replaced = match (parts.next().unwrap_or_default(), parts.next()) {
            ("container", Some(container)) => container.to_owned(),
            ("container", None) => {
                let reason = "expected container:NAME";
                return Err(TranslateError::invalid(at("volumes_from"), reason));
            }
            (parent, _) => ids.first(parent, at("volumes_from"))?.id.clone(),
        };
        *source = replaced.into();
    }
    Ok(canonical)
}

/// Gives image mounts the image's name where they name a service that builds one.
pub(super) fn replace_image_sources(
    project: &Project,
    images: &BTreeMap<String, String>,
    canonical: &mut Map<String, Value>,
) {
    let volumes = canonical.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        if volume.get("type").and_then(Value::as_str) != Some("image") {
            continue;
        }
        let Some(Value::String(source)) = volume.get_mut("source") else { continue };
        let built = format!("{}-{source}", project.name);
        if !images.contains_key(source) && images.contains_key(&built) {
            *source = built;
        }
    }
}

/// The legacy links of a container: for each linked container its alias, `service-number` and
/// `project-service-number`, then external links as written. Sorted: the engine keeps no order.
///
/// # Errors
/// A link that isn't text.
pub fn links(
    project: &Project,
    service: &Service,
    number: u32,
    ids: &ParentIds,
) -> Result<Vec<String>, TranslateError> {
    let mut links = Vec::new();
    let at = format!("services.{}", service.name);
    let mut fields = super::fields::Fields::new(at, service.canonical.expose());
    for link in fields.strings("links")?.unwrap_or_default() {
        let (linked, alias) = link.split_once(':').unwrap_or((&link, &link));
        for parent in ids.0.get(linked).into_iter().flatten() {
            let name = &parent.name;
            links.push(format!("{name}:{alias}"));
            links.push(format!("{name}:{linked}-{number}"));
            links.push(format!("{name}:{}-{linked}-{number}", project.name));
        }
    }
    for link in fields.strings("external_links")?.unwrap_or_default() {
        let (container, alias) = link.split_once(':').unwrap_or((&link, &link));
        links.push(format!("{container}:{alias}"));
    }
    links.sort();
    Ok(links)
}
