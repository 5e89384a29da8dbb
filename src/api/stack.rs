//! The `Stack` resource: a Compose project and what homeostat is to do for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::meta::Metadata;
use super::quantity::{Duration, Percent};
use crate::probe::spec::{Auth, Check, Driver, Endpoint};
use crate::sensitive::Sensitive;

/// A Compose project that homeostat keeps in its desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stack {
    /// `homeostat.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// `Stack`.
    pub kind: StackKind,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(default)]
    pub spec: StackSpec,
}

/// The version of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// `homeostat.dev/v1alpha1`.
    #[serde(rename = "homeostat.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StackKind {
    /// `Stack`.
    Stack,
}

/// What is wanted of a stack.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StackSpec {
    /// Where the Compose project comes from.
    #[serde(default)]
    pub source: StackSource,
    /// Services in the order in which they come back when several are down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery_order: Vec<String>,
    /// What is known of each service, by its name in the Compose project.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, ServiceSpec>,
    /// How to act.
    #[serde(default)]
    pub policy: PolicySpec,
}

/// Where a project comes from, and with which variables it is read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StackSource {
    /// Compose files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeSource>,
    /// Variables for interpolation. They win over `.env` and `envFiles`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Variable>,
    /// The daemon's own environment takes part in interpolation, and wins. Default `false`.
    #[serde(default)]
    pub inherit_env: bool,
    /// Absolute path of the project folder as the engine's host sees it, when homeostat sees it
    /// elsewhere (in a container).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<PathBuf>,
}

/// Compose files and how to read them. Paths start at the Stack's own folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComposeSource {
    /// Files, later ones over earlier ones. Default: `compose.yaml` and its kin, with overrides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub files: Vec<PathBuf>,
    /// Files of variables. Default: `.env` beside the first Compose file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env_files: Vec<PathBuf>,
    /// Active profiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub profiles: Vec<String>,
}

/// The value of a variable: text, and it never prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable(pub Sensitive<String>);

impl Serialize for Variable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Sensitive::new(text)))
    }
}

impl JsonSchema for Variable {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// The server that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What to ask instead of the driver's question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Check>,
    /// Port inside the container where the driver's server listens, when it isn't its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Where homeostat reaches the service, tried before its own addresses: `http://host:port`,
    /// `tcp://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Time between probes of a ready service, `100ms` to `1h`. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Total deadline of one probe, `10ms` to `60s`. Default `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Files with credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Models that Ollama must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub models: Vec<String>,
    /// A missing model makes the service unready instead of degraded. Default `false`.
    #[serde(default)]
    pub models_required: bool,
    /// Others don't wait for it in the recovery order. Default `false`.
    #[serde(default)]
    pub optional: bool,
    /// It runs to completion and isn't restarted. Default `false`.
    #[serde(default)]
    pub job: bool,
    /// Time that it may take to become ready after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_within: Option<Duration>,
    /// Its data may be lost at a restart. Default `false`.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether it must have a GPU. Default: as its Compose file reserves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuExpectation>,
}

/// Whether a service must have a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GpuExpectation {
    /// Without one it is ill.
    Required,
}

/// How to act.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// What a service stays when a person stopped it. Default `Hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_stop: Option<ManualStop>,
    /// Whose word makes a service ready. Default `Either`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// Which failed updates go back by themselves. Default `Stateless`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// What happens to containers of services that are gone from the files. Default `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// When to pull the image of a service whose Compose file doesn't say. Default `Missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull: Option<ImagePull>,
    /// Share of services below which recovery brakes and a person is told. Default `40%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_healthy: Option<Percent>,
    /// What happens to paused containers. Default `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// What a service stays when a person stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManualStop {
    /// Stopped, until the person says otherwise.
    Hold,
    /// It is started again.
    Revert,
}

/// Whose word makes a service ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Readiness {
    /// Docker's health or the driver.
    Either,
    /// Docker's health.
    Docker,
    /// Both.
    Both,
}

/// Which failed updates go back by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Rollback {
    /// All.
    Always,
    /// Those that can't have rewritten data.
    Stateless,
    /// None.
    Never,
}

/// What happens to orphans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Orphans {
    /// They are reported.
    Warn,
    /// They are stopped and removed.
    Remove,
}

/// When to pull an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePull {
    /// When the engine lacks it.
    Missing,
    /// At every update too.
    Always,
    /// Never.
    Never,
}

/// What happens to paused containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Paused {
    /// They stay paused.
    Keep,
    /// They go on.
    Unpause,
}
