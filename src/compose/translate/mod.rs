//! Translates the canonical project into the bodies that the engine takes: equal to what Docker
//! Compose 5.6.1 sends, except for lists that it fills in random order, which are sorted here.
//!
//! Pure: what comes from the engine or from files is an argument.

mod container;
mod error;
mod fields;
mod files;
mod host;
mod labels;
mod mounts;
mod networking;
mod references;
mod resource_body;
mod resource_hash;
mod resources;
mod scalar;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value};

pub use error::TranslateError;
pub use files::FileToCopy;
pub use networking::{endpoint_config, networks_by_priority, wanted_aliases};
pub use references::{Parent, ParentIds, links};
pub use resource_body::{network_body, volume_body};
pub use resource_hash::{network_hash, volume_hash};

use crate::compose::types::{Project, Service};
use crate::observed;
use crate::sensitive::Sensitive;
use fields::Fields;

/// Attributes that say nothing about the container itself: how its image is made or pulled, how
/// many there are, where values came from (they are merged already), what only `up` shows.
const WITHOUT_BODY: &[&str] = &[
    "attach",
    "build",
    "develop",
    "env_file",
    "extends",
    "label_file",
    "platform",
    "profiles",
    "pull_policy",
    "scale",
    // Read by other modules from the same tree.
    "container_name",
    "external_links",
    "links",
    "mac_address",
    "networks",
];

/// What the body depends on besides project and service.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    /// The engine's API version.
    pub api: (u32, u32),
    /// The container whose place the new one takes.
    pub replaces: Option<&'a Replaced>,
    /// Absolute paths given by `--env-file`.
    pub env_files: &'a [PathBuf],
    /// Image ID by reference, for images that mounts use.
    pub images: &'a BTreeMap<String, String>,
    /// Text of seccomp profiles by absolute path.
    pub seccomp_profiles: &'a BTreeMap<PathBuf, String>,
    /// Variables that Docker's client adds to every container (`proxies` in its `config.json`).
    /// The service's own win, and the hash knows nothing of them.
    pub proxy_environment: &'a BTreeMap<String, Sensitive<String>>,
    /// The service hash of a canonical service.
    pub hash: &'a dyn Fn(&Map<String, Value>) -> String,
}

/// What a new container takes over from the one it replaces.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Replaced {
    /// Full ID.
    pub id: String,
    /// Its mounts: anonymous volumes go on.
    pub mounts: Vec<observed::Mount>,
    /// Paths that the new image declares as volumes.
    pub image_volumes: BTreeSet<String>,
}

/// A service bound to IDs: ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Name to create it under; a replacement starts as `<id12>_name`.
    pub name: String,
    /// Name that it has in the end, and as an alias.
    pub final_name: String,
    /// Whole body of the create call.
    pub body: Sensitive<Map<String, Value>>,
    /// Configuration hash of the bound service, as in the label.
    pub hash: String,
    /// Endpoints to connect between create and start, in this order.
    pub later_endpoints: Vec<LaterEndpoint>,
    /// Files to put into the container between create and start.
    pub files_to_copy: Vec<FileToCopy>,
    /// What has no effect, as sentences.
    pub warnings: Vec<String>,
}

/// An endpoint for an engine that takes only one at create.
#[derive(Debug, Clone, PartialEq)]
pub struct LaterEndpoint {
    /// Key of the network in the project.
    pub network_key: String,
    /// `EndpointConfig` of the connect call.
    pub endpoint: Map<String, Value>,
}

/// The name of a service's container: `container_name`, or `project-service-number`.
pub fn container_name(project: &Project, service: &Service, number: u32) -> String {
    let default = || format!("{}-{}-{number}", project.name, service.name);
    service.container_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(default)
}

/// What the engine takes for the name of a container or a volume.
pub fn is_engine_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && bytes.len() > 0 && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// What is said of a name that isn't.
pub const NOT_A_NAME: &str = "is no name for the engine: it takes at least two letters, digits, \
                              `_`, `.` and `-`, the first a letter or digit";

/// Binds a service to its parents' containers and translates it.
///
/// `image_id` goes into a label, the body names the image by its reference; empty leaves the
/// label out.
///
/// # Errors
/// An attribute that isn't translated, a value that can't be read, a parent without a container,
/// or an engine that is too old.
pub fn bind(
    service: &Service,
    project: &Project,
    ids: &ParentIds,
    image_id: &str,
    number: u32,
    context: &BindContext<'_>,
) -> Result<Bound, TranslateError> {
    if let Some(name) = service.container_name.as_deref().filter(|name| !is_engine_name(name)) {
        let at = format!("services.{}.container_name", service.name);
        return Err(TranslateError::invalid(at, format!("'{name}' {NOT_A_NAME}")));
    }
    let mut canonical = references::replace_references(service, ids)?;
    references::replace_image_sources(project, context.images, &mut canonical);
    let hash = (context.hash)(&canonical);
    let links = links(project, service, number, ids)?;
    let mut fields = Fields::new(format!("services.{}", service.name), &canonical);
    fields.ignore(WITHOUT_BODY);
    let mut warnings = Vec::new();

    let bound = labels::Bound { canonical: &canonical, hash: &hash, number, image_id };
    let labels = labels::container_labels(project, service, &mut fields, &bound, context)?;
    let mut body = container::configuration(project, service, &mut fields, &labels, context)?;
    let mut by_target = mounts::service_mounts(project, &mut fields, context)?;
    let files = files::add_files(project, &mut fields, &mut by_target, &mut warnings)?;
    if !files.is_empty() && fields.flag("read_only")? {
        let reason = "secrets and configs without a file can't be copied into a read-only service";
        return Err(TranslateError::invalid(fields.path("read_only"), reason));
    }
    let mode = fields.string("network_mode")?;
    let network = networking::networking(project, service, &mode, number, &links, context.api)?;
    let mounts = mounts::divided(by_target);
    let parts = host::Parts { network_mode: network.mode, links: &links, mounts };
    let host = host::host_configuration(project, &mut fields, parts, context)?;
    fields.finish()?;

    body.insert("HostConfig".into(), Value::Object(host));
    if let Some(endpoints) = network.endpoints {
        let endpoints = Map::from_iter([("EndpointsConfig".to_owned(), Value::Object(endpoints))]);
        body.insert("NetworkingConfig".into(), Value::Object(endpoints));
    }
    let final_name = container_name(project, service, number);
    let name = match context.replaces {
        Some(old) => format!("{}_{final_name}", old.id.get(..12).unwrap_or(&old.id)),
        None => final_name.clone(),
    };
    Ok(Bound {
        name,
        final_name,
        body: body.into(),
        hash,
        later_endpoints: network.later,
        files_to_copy: files,
        warnings,
    })
}

/// The hash of a service whose containers share namespaces or volumes with other services'
/// containers: `ids` are their IDs by service. A parent without an ID stays as written.
pub fn bound_service_hash(service: &Service, ids: &BTreeMap<String, String>) -> String {
    let parents = ids
        .iter()
        .map(|(name, id)| (name.clone(), vec![Parent { id: id.clone(), name: name.clone() }]))
        .collect();
    match references::replace_references(service, &ParentIds(parents)) {
        Ok(canonical) => crate::compose::service_hash(&canonical),
        Err(_) => crate::compose::service_hash(service.canonical.expose()),
    }
}
