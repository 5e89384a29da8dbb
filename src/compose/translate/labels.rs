//! The labels that Docker Compose gives what it creates. The names are Compose's own; see
//! `pkg/api/labels.go` of docker/compose.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::BindContext;
use super::error::TranslateError;
use super::fields::Fields;
use super::scalar;
use crate::compose::types::{Project, Service};

/// The Compose version whose bodies and hashes these are.
pub const COMPOSE_VERSION: &str = "5.6.1";

/// Prefix of every label of Compose.
const PREFIX: &str = "com.docker.compose.";

/// User labels with Compose's over them.
pub(super) fn merged<const N: usize>(
    user: Option<BTreeMap<String, String>>,
    compose: [(&str, String); N],
) -> BTreeMap<String, String> {
    let mut labels = user.unwrap_or_default();
    labels.extend(compose.map(|(name, value)| (format!("{PREFIX}{name}"), value)));
    labels
}

/// All labels of a service's container.
pub(super) fn container_labels(
    project: &Project,
    service: &Service,
    fields: &mut Fields<'_>,
    bound: &Bound<'_>,
    context: &BindContext<'_>,
) -> Result<BTreeMap<String, String>, TranslateError> {
    let joined = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")
    };
    let mut labels = merged(
        fields.string_map("labels")?,
        [
            ("project", project.name.clone()),
            ("service", service.name.clone()),
            ("version", COMPOSE_VERSION.into()),
            ("project.working_dir", project.working_dir.display().to_string()),
            ("project.config_files", joined(&project.config_files)),
            ("oneoff", "False".into()),
            ("config-hash", bound.hash.into()),
            ("container-number", bound.number.to_string()),
            ("depends_on", depends_on(fields, project)?),
        ],
    );
    let mut add = |name: &str, value: String| labels.insert(format!("{PREFIX}{name}"), value);
    if !context.env_files.is_empty() {
        add("project.environment_file", joined(context.env_files));
    }
    if !bound.image_id.is_empty() {
        add("image", bound.image_id.into());
    }
    let digests = image_volume_digests(bound.canonical, context.images);
    if !digests.is_empty() {
        add("image-volume-digest", digests);
    }
    if context.replaces.is_some() {
        let name = service.container_name.clone();
        add("replace", name.unwrap_or_else(|| format!("{}-{}", service.name, bound.number)));
    }
    Ok(labels)
}

/// What labels say about one container.
pub(super) struct Bound<'a> {
    pub canonical: &'a Map<String, Value>,
    pub hash: &'a str,
    pub number: u32,
    pub image_id: &'a str,
}

/// `service:condition:restart`, sorted; Compose writes them in random order, and leaves out those
/// that no active profile has.
fn depends_on(fields: &mut Fields<'_>, project: &Project) -> Result<String, TranslateError> {
    let mut entries = Vec::new();
    for (name, dependency) in fields.map("depends_on")?.into_iter().flatten() {
        let Some(dependency) = dependency.as_object() else {
            let at = format!("{}.{name}", fields.path("depends_on"));
            return Err(TranslateError::invalid(at, "expected a map"));
        };
        let mut dependency =
            Fields::new(format!("{}.{name}", fields.path("depends_on")), dependency);
        dependency.ignore(&["required"]);
        let condition = dependency.string("condition")?;
        let restart = dependency.flag("restart")?;
        dependency.finish()?;
        if project.services.contains_key(name) {
            entries.push(format!("{name}:{condition}:{restart}"));
        }
    }
    entries.sort();
    Ok(entries.join(","))
}

/// `target=image ID` of each image mount, sorted.
fn image_volume_digests(
    canonical: &Map<String, Value>,
    images: &BTreeMap<String, String>,
) -> String {
    let volumes = canonical.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let mut digests: Vec<String> = volumes
        .filter(|volume| volume.get("type").and_then(Value::as_str) == Some("image"))
        .filter_map(|volume| {
            let id = images.get(volume.get("source")?.as_str()?)?;
            Some(format!("{}={id}", scalar::text(volume.get("target")?)?))
        })
        .collect();
    digests.sort();
    digests.join(",")
}
