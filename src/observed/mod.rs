//! What the engine really shows, as one immutable snapshot.

mod cause;
pub mod fields;
pub mod hands;
pub(crate) mod lenient;
pub mod normalise;
mod shared;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::{Now, Timestamp};
use crate::engine::types::{ContainerId, EngineInfo, ImageSummary, NetworkSummary, VolumeSummary};
use crate::probe::Readiness;
use crate::sensitive::Sensitive;

pub use self::fields::Fields;
pub use self::hands::{Cause as ExitCause, Cause, Death, Hands, Said, Word, Yield};
pub use self::shared::Shared;

/// Compose's label prefix; see `labels` for the names.
pub mod labels {
    /// Project name.
    pub const PROJECT: &str = "com.docker.compose.project";
    /// Service name.
    pub const SERVICE: &str = "com.docker.compose.service";
    /// Configuration hash.
    pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
    /// Slot number, from 1.
    pub const NUMBER: &str = "com.docker.compose.container-number";
    /// `True` for `docker compose run`.
    pub const ONEOFF: &str = "com.docker.compose.oneoff";
    /// Dependencies, in no stable order.
    pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
    /// Image ID at creation.
    pub const IMAGE: &str = "com.docker.compose.image";
    /// Project folder.
    pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
    /// Compose files, comma-joined.
    pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
    /// `.env` files, comma-joined, when given explicitly.
    pub const ENV_FILES: &str = "com.docker.compose.project.environment_file";
    /// Compose version whose hash the label holds.
    pub const VERSION: &str = "com.docker.compose.version";
    /// ID or name of the container that this one replaced.
    pub const REPLACE: &str = "com.docker.compose.replace";
    /// Network key.
    pub const NETWORK: &str = "com.docker.compose.network";
    /// Volume key.
    pub const VOLUME: &str = "com.docker.compose.volume";
}

/// Everything that was observed, engine-wide, at one moment. A planner looks only at its own
/// project, and at others where they are in the way (names, ports, addresses).
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// All that was known to have changed by then has been read since.
    pub at: Now,
    /// The engine.
    pub engine: EngineInfo,
    /// Containers by ID.
    pub containers: BTreeMap<ContainerId, Shared<Container>>,
    /// Networks by ID.
    pub networks: Shared<BTreeMap<String, NetworkSummary>>,
    /// Volumes by name.
    pub volumes: Shared<BTreeMap<String, VolumeSummary>>,
    /// Images.
    pub images: Shared<Vec<ImageSummary>>,
    /// What the probes say, by project and service slot.
    pub probes: BTreeMap<Slot, Readiness>,
    /// How each slot's last run ended, as far as events told.
    pub deaths: BTreeMap<Slot, Death>,
    /// What people did to the containers.
    pub hands: Hands,
}

/// One desired instance of a service. With the engine it is the key of everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Slot {
    /// Project name.
    pub project: String,
    /// Service name.
    pub service: String,
    /// From 1.
    pub number: u32,
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.number)
    }
}

/// A port of the host that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PublishedPort {
    /// Address of the host; empty, `0.0.0.0` and `::` are all.
    pub host_ip: String,
    /// Port on the host, never 0.
    pub host_port: u16,
    /// Port inside the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// A container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between two starts by the engine's own restart policy.
    Restarting,
    /// Going away.
    Removing,
    /// Ended.
    Exited,
    /// The engine could not remove it.
    Dead,
    /// A word that we don't know.
    #[default]
    Unknown,
}

/// Docker's health of a *running* container. A stopped one keeps its last value, which says
/// nothing: normalisation drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No healthcheck, or the container isn't running.
    #[default]
    None,
    /// In the start period.
    Starting,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Mount {
    /// `volume`, `bind`, `tmpfs`…
    pub kind: String,
    /// Volume name; empty otherwise.
    pub name: String,
    /// Host path.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Writable.
    pub rw: bool,
}

/// A container's attachment to a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Endpoint {
    /// ID of the network when the container was attached; may be stale.
    pub network_id: String,
    /// ID of the endpoint; empty while not running.
    pub endpoint_id: String,
    /// Aliases; `None` when only the list was read (it never has them).
    pub aliases: Option<Vec<String>>,
    /// Present IPv4 address; empty while not running.
    pub ipv4: String,
    /// Static IPv4 address asked for.
    pub wanted_ipv4: Option<String>,
    /// Static IPv6 address asked for.
    pub wanted_ipv6: Option<String>,
}

/// One container. Fields from `inspect` are empty when `inspected` is false.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// Full ID.
    pub id: ContainerId,
    /// Name without the slash.
    pub name: String,
    /// Project label.
    pub project: Option<String>,
    /// Service label.
    pub service: Option<String>,
    /// Slot number label, 0 when absent or nonsense.
    pub number: u32,
    /// Made by `docker compose run`.
    pub oneoff: bool,
    /// Configuration hash label; `None` when absent or empty (unmanaged).
    pub config_hash: Option<String>,
    /// Compose version label.
    pub compose_version: Option<String>,
    /// Project folder label.
    pub working_dir: Option<String>,
    /// All labels.
    pub labels: BTreeMap<String, Sensitive<String>>,
    /// Image reference.
    pub image: String,
    /// Image ID.
    pub image_id: String,
    /// State.
    pub state: ContainerState,
    /// Docker health, `None` unless running.
    pub health: Health,
    /// Exit code of the last end.
    pub exit_code: Option<i64>,
    /// The flag outlives restarts; true only says that it happened once.
    pub oom_killed: bool,
    /// The engine's words about a failed start.
    pub error: String,
    /// Creation.
    pub created: Timestamp,
    /// Last start.
    pub started: Option<Timestamp>,
    /// Last end.
    pub finished: Option<Timestamp>,
    /// Restarts by the engine's own policy.
    pub restart_count: u64,
    /// `HostConfig.RestartPolicy.Name`; empty or `no` is none.
    pub restart_policy: String,
    /// `HostConfig.RestartPolicy.MaximumRetryCount`.
    pub restart_max: u32,
    /// `HostConfig.NetworkMode` (`container:ID`, network name…).
    pub network_mode: String,
    /// `HostConfig.IpcMode`.
    pub ipc_mode: String,
    /// `HostConfig.PidMode`.
    pub pid_mode: String,
    /// `HostConfig.VolumesFrom`.
    pub volumes_from: Vec<String>,
    /// Endpoints by network name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Published ports.
    pub published: Vec<PublishedPort>,
    /// Has a Docker healthcheck.
    pub has_healthcheck: bool,
    /// Main process on the host, 0 when not running.
    pub pid: i64,
    /// `Config.StopSignal` as it was asked for; empty is SIGTERM.
    pub stop_signal: String,
    /// The settings that it was made with.
    pub fields: Fields,
    /// The `inspect` answer was read.
    pub inspected: bool,
    /// Number of the read that these facts are from, among the observer's reads and events.
    pub read: u64,
}

impl Container {
    /// The slot, when the labels name one and it isn't a one-off.
    pub fn slot(&self) -> Option<Slot> {
        if self.oneoff || self.number == 0 {
            return None;
        }
        Some(Slot {
            project: self.project.clone()?,
            service: self.service.clone()?,
            number: self.number,
        })
    }

    /// Running, paused or restarting: it holds names, ports and addresses.
    pub const fn is_live(&self) -> bool {
        matches!(
            self.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        )
    }
}

impl Observed {
    /// The container with this ID.
    pub fn container(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.get(id).map(|c| &**c)
    }

    /// All containers, by ID.
    pub fn all(&self) -> impl Iterator<Item = &Container> {
        self.containers.values().map(|c| &**c)
    }

    /// Containers of a project that aren't one-offs, by ID.
    pub fn of_project<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Container> {
        self.all().filter(move |c| c.project.as_deref() == Some(project) && !c.oneoff)
    }

    /// Networks with this name (the engine allows several).
    pub fn networks_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NetworkSummary> {
        self.networks.values().filter(move |n| n.name == name)
    }

    /// ID of the image that a reference names now.
    pub fn image_id(&self, reference: &str) -> Option<&str> {
        let wanted = canonical_reference(reference);
        self.images
            .iter()
            .find(|i| {
                i.id == reference
                    || i.tags.iter().chain(&i.digests).any(|t| canonical_reference(t) == wanted)
            })
            .map(|i| i.id.as_str())
    }
}

/// `valkey` → `docker.io/library/valkey:latest`, so that references compare as the engine
/// compares them.
pub fn canonical_reference(reference: &str) -> String {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let path = if domain == "docker.io" && !rest.contains('/') {
        format!("library/{rest}")
    } else {
        rest.to_owned()
    };
    let last = path.rsplit('/').next().unwrap_or(&path);
    match digest {
        Some(digest) => {
            let untagged = match last.rfind(':') {
                Some(i) => &path[..path.len() - last.len() + i],
                None => &path,
            };
            format!("{domain}/{untagged}@{digest}")
        }
        None if last.contains(':') => format!("{domain}/{path}"),
        None => format!("{domain}/{path}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical_reference as c;

    #[test]
    fn references_compare_as_the_engine_compares_them() {
        assert_eq!(c("valkey"), c("docker.io/library/valkey:latest"));
        assert_eq!(c("a/b:1"), "docker.io/a/b:1");
        assert_eq!(c("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(c("x:1@sha256:aa"), "docker.io/library/x@sha256:aa");
        assert_ne!(c("x:1"), c("x:2"));
    }
}
