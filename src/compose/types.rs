//! The canonical Compose project: what every stage after loading works with.
//!
//! Short forms are long, names are resolved, paths are absolute, variables are replaced. Each
//! service, network and volume keeps its canonical tree beside the typed fields: `config` prints
//! the tree and the configuration hash is computed from it, so both stay byte-exact even for
//! attributes that have no typed field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::sensitive::Sensitive;

/// A canonical tree. It holds environment and labels, so it never prints.
pub type Canonical = Sensitive<Map<String, Value>>;

/// A loaded, interpolated, merged and normalised Compose project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Project {
    /// The project's name, lowercase.
    pub name: String,
    /// Absolute path that relative paths start from.
    pub working_dir: PathBuf,
    /// Absolute paths of the files that were given, in order of precedence.
    pub config_files: Vec<PathBuf>,
    /// Services under active profiles, by service name.
    pub services: BTreeMap<String, Service>,
    /// Services whose profiles are inactive, by service name. They are no orphans.
    pub disabled_services: BTreeMap<String, Service>,
    /// Networks that some enabled service uses, by key.
    pub networks: BTreeMap<String, Network>,
    /// Named volumes, by key.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets, by key.
    pub secrets: BTreeMap<String, FileObject>,
    /// Configs, by key.
    pub configs: BTreeMap<String, FileObject>,
    /// The whole canonical project in the order in which `docker compose config` prints it.
    pub canonical: Canonical,
    /// The same as `docker compose config` prints it as YAML: with nested `x-` attributes, without
    /// some empty values.
    pub canonical_yaml: Canonical,
    /// What is accepted but probably not meant (unset variables).
    pub warnings: Vec<String>,
    /// Files that were read besides `config_files` (includes, extends, env files, label files):
    /// a change of one is a change of the project.
    pub read_files: Vec<PathBuf>,
    /// Names of the variables that the load asked for, whether they are set or not.
    pub variables: BTreeSet<String>,
}

/// One service in canonical form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// Service name, the key under `services`.
    pub name: String,
    /// Image reference; `{project}-{service}` where the service only says how to build it.
    pub image: Option<String>,
    /// `platform`, as `os[/arch[/variant]]`.
    pub platform: Option<String>,
    /// The files name no image: no registry has it.
    pub names_no_image: bool,
    /// The service has a `build` section.
    pub has_build: bool,
    /// Explicit container name; forbids a scale above 1.
    pub container_name: Option<String>,
    /// Number of containers wanted (`scale` or `deploy.replicas`, 1 by default).
    pub scale: u32,
    /// When to pull the image.
    pub pull_policy: PullPolicy,
    /// Who restarts the process when it ends.
    pub restart: RestartPolicy,
    /// What must be in which state before this service starts, by service name. Includes the
    /// implicit dependencies (namespaces, `volumes_from`, links).
    pub depends_on: BTreeMap<String, Dependency>,
    /// `network_mode`, when given.
    pub network_mode: Option<Namespace>,
    /// `ipc`, when given.
    pub ipc: Option<Namespace>,
    /// `pid`, when given.
    pub pid: Option<Namespace>,
    /// `volumes_from` entries, as written.
    pub volumes_from: Vec<String>,
    /// Networks to attach, by network key. Empty when `network_mode` is set.
    pub networks: BTreeMap<String, ServiceNetwork>,
    /// Docker healthcheck, unless disabled or absent.
    pub healthcheck: Option<Healthcheck>,
    /// Mounts: volumes, binds, tmpfs.
    pub mounts: Vec<Mount>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Resolved environment; `None` means "unset in the container".
    pub environment: BTreeMap<String, Option<Sensitive<String>>>,
    /// Labels written by the user.
    pub labels: BTreeMap<String, Sensitive<String>>,
    /// Grace between stop signal and kill; the engine's default is 10 s.
    pub stop_grace_period: Option<Duration>,
    /// Signal that asks the process to stop, when given.
    pub stop_signal: Option<String>,
    /// The canonical service tree: values as the engine will see them (`$$` already `$`).
    pub canonical: Canonical,
}

/// `restart:` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// `no` or absent: homeostat owns restarts.
    #[default]
    No,
    /// `always`.
    Always,
    /// `unless-stopped`.
    UnlessStopped,
    /// `on-failure[:max]`; `None` is unlimited.
    OnFailure(Option<u32>),
}

/// `pull_policy:` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Pull only when the engine lacks the image.
    #[default]
    Missing,
    /// Pull at every `apply`, and when a container is to be created.
    Always,
    /// Never pull.
    Never,
    /// Build rather than pull.
    Build,
    /// Pull when the last pull is older than this.
    Every(Duration),
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// The state that the dependency must reach first.
    pub condition: Condition,
    /// `required: false` only warns when the dependency is missing or fails.
    pub required: bool,
    /// `restart: true` restarts this service when the dependency was updated.
    pub restart: bool,
}

/// `depends_on.*.condition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// `service_started`.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    CompletedSuccessfully,
}

/// A namespace mode (`network_mode`, `ipc`, `pid`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// Shares the namespace of another service's first container (`service:NAME`).
    Service(String),
    /// Shares the namespace of a container that is not ours (`container:ID`).
    Container(String),
    /// Any other mode, as written (`host`, `none`, `bridge`, `private`, `shareable`…).
    Mode(String),
}

/// A service's attachment to a network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceNetwork {
    /// Extra aliases; container and service name are added when the endpoint is built.
    pub aliases: Vec<String>,
    /// Static IPv4 address.
    pub ipv4_address: Option<String>,
    /// Static IPv6 address.
    pub ipv6_address: Option<String>,
    /// Link-local addresses.
    pub link_local_ips: Vec<String>,
    /// MAC address on this network.
    pub mac_address: Option<String>,
    /// Order in which networks are attached: higher first.
    pub priority: i64,
    /// Which network gives the default gateway: higher wins.
    pub gw_priority: i64,
    /// Interface name wanted inside the container.
    pub interface_name: Option<String>,
    /// Driver options of the endpoint.
    pub driver_opts: BTreeMap<String, String>,
}

/// A Docker healthcheck. Absent durations take the engine's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", …]` or `["NONE"]`; empty inherits the image's.
    pub test: Vec<String>,
    /// Pause between two checks.
    pub interval: Option<Duration>,
    /// Time that one check may take.
    pub timeout: Option<Duration>,
    /// Grace after the start in which failures don't count.
    pub start_period: Option<Duration>,
    /// Pause between two checks during the start period (API 1.44 and up).
    pub start_interval: Option<Duration>,
    /// Failures in a row that make the container unhealthy.
    pub retries: Option<u32>,
    /// `disable: true`.
    pub disabled: bool,
}

/// What a mount is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A named or anonymous volume.
    Volume,
    /// A path of the host.
    Bind,
    /// Memory.
    Tmpfs,
    /// A named pipe.
    NamedPipe,
    /// A cluster volume.
    Cluster,
    /// An image's file system.
    Image,
}

/// One mount of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// What it is made of.
    pub kind: MountKind,
    /// Volume *key*, absolute host path or image; `None` is an anonymous volume or tmpfs.
    pub source: Option<String>,
    /// Absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// The canonical mount, with every option.
    pub canonical: Canonical,
}

/// One published or exposed port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Port inside the container.
    pub target: u16,
    /// Host port or range as written; `None` lets the engine choose.
    pub published: Option<String>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Host address to bind; `None` is all.
    pub host_ip: Option<String>,
}

/// A network of the project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    /// Key under `networks`.
    pub key: String,
    /// Name in the engine (`{project}_{key}` unless `name:` is given).
    pub name: String,
    /// Made by somebody else: never created, changed or removed by us.
    pub external: bool,
    /// Driver, when given.
    pub driver: Option<String>,
    /// Canonical tree.
    pub canonical: Canonical,
}

/// A named volume of the project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Volume {
    /// Key under `volumes`.
    pub key: String,
    /// Name in the engine (`{project}_{key}` unless `name:` is given).
    pub name: String,
    /// Made by somebody else: never created by us.
    pub external: bool,
    /// Driver, when given.
    pub driver: Option<String>,
    /// Driver options.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels written by the user.
    pub labels: BTreeMap<String, Sensitive<String>>,
    /// Canonical tree.
    pub canonical: Canonical,
}

/// A secret or config of the project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileObject {
    /// Key under `secrets` or `configs`.
    pub key: String,
    /// Name in the engine.
    pub name: String,
    /// Absolute path of its file, when it has one.
    pub file: Option<PathBuf>,
    /// Variable that holds its content, when it has one.
    pub environment: Option<String>,
    /// Inline content, when it has one.
    pub content: Option<Sensitive<String>>,
    /// Made by somebody else.
    pub external: bool,
    /// Canonical tree.
    pub canonical: Canonical,
}
