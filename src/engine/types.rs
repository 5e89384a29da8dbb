//! Facts and commands that cross the engine seam. Raw JSON bodies are built by
//! `compose::translate` and travel as [`Sensitive`], because they hold the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::lease::{Lease, OldLease};
use crate::observed::{ContainerState, Mount, PublishedPort};
use crate::sensitive::Sensitive;

/// A container's full ID, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first 12 digits, as people see it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// What this engine can do, derived from version and `/info`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// API version in use, `(1, 41)`.
    pub api: (u32, u32),
    /// Create takes several network endpoints (API 1.44 and up).
    pub many_endpoints_at_create: bool,
    /// Container addresses can be reached from this process.
    pub addresses_reachable: bool,
    /// The engine is a swarm node.
    pub swarm: bool,
}

/// `/info` and `/version`, as far as homeostat uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// The engine's own ID.
    pub id: String,
    /// Host name.
    pub name: String,
    /// `20.10.24`.
    pub version: String,
    /// `linux`.
    pub os_type: String,
    /// Security options (`name=rootless`…).
    pub security_options: Vec<String>,
    /// Names of OCI runtimes.
    pub runtimes: Vec<String>,
    /// What follows from it.
    pub capabilities: Capabilities,
}

/// One row of the container list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerSummary {
    /// Full ID.
    pub id: ContainerId,
    /// Name without the leading slash.
    pub name: String,
    /// Image reference that the container was made from.
    pub image: String,
    /// ID of the image.
    pub image_id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// State.
    pub state: ContainerState,
    /// The engine's words: `Up 2 minutes (healthy)`.
    pub status: String,
    /// Creation time.
    pub created: Timestamp,
    /// `HostConfig.NetworkMode`.
    pub network_mode: String,
    /// Network name → (network ID, IPv4 address).
    pub networks: BTreeMap<String, (String, String)>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Published ports.
    pub published: Vec<PublishedPort>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSummary {
    /// ID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// `local`, `swarm` or `global`.
    pub scope: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Subnets of its IPAM configuration.
    pub subnets: Vec<String>,
    /// Gateways of its IPAM configuration.
    pub gateways: Vec<String>,
    /// Members by container ID → IPv4 address without prefix length; only from inspect.
    pub members: BTreeMap<String, String>,
    /// Creation time.
    pub created: Timestamp,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VolumeSummary {
    /// Name.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageSummary {
    /// ID, `sha256:…`.
    pub id: String,
    /// References with tags.
    pub tags: Vec<String>,
    /// References with digests.
    pub digests: Vec<String>,
}

/// One event, as the engine sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineEvent {
    /// `container`, `network`, `volume`, `image`…
    pub kind: String,
    /// `start`, `die`, `health_status: healthy`…
    pub action: String,
    /// ID of what it is about.
    pub actor: String,
    /// The actor's attributes (labels, `name`, `exitCode`…).
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since the epoch.
    pub time_nano: i64,
}

/// One item of the event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamItem {
    /// An event.
    Event(EngineEvent),
    /// A line that isn't an event or is too long: skipped and to be counted.
    Skipped {
        /// Length in bytes as far as it was read.
        bytes: usize,
    },
}

/// What part of a log is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Go on as lines appear.
    pub follow: bool,
    /// Last lines only.
    pub tail: Option<u64>,
    /// Only lines since (Unix seconds or RFC 3339).
    pub since: Option<String>,
    /// Prefix each line with its time.
    pub timestamps: bool,
}

/// One piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// From standard error rather than standard output.
    pub stderr: bool,
    /// What the process wrote begins here, with its time if that was asked for.
    pub begins: bool,
    /// Bytes as written by the process.
    pub bytes: Vec<u8>,
}

/// A command to run inside a container: for probes that no address reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
    /// Variables beside the container's own, `NAME=value`.
    pub environment: Vec<Sensitive<String>>,
    /// Time for all of it.
    pub deadline: Duration,
}

/// One progress message of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullProgress {
    /// Layer.
    pub layer: Option<String>,
    /// `Downloading`, `Pull complete`…
    pub status: String,
    /// Bytes so far.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

/// One change of the engine.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// `POST /containers/create?name=&platform=`.
    CreateContainer {
        /// Name wanted.
        name: String,
        /// Platform, when given.
        platform: Option<String>,
        /// Whole request body.
        body: Sensitive<Map<String, Value>>,
    },
    /// `POST /containers/{id}/start`.
    StartContainer {
        /// Which.
        id: ContainerId,
    },
    /// `POST /containers/{id}/stop`. Its deadline is the grace plus 15 s.
    StopContainer {
        /// Which.
        id: ContainerId,
        /// Grace; `None` lets the engine take the container's own.
        grace: Option<Duration>,
    },
    /// `POST /containers/{id}/restart`. Its deadline is the grace plus 30 s.
    RestartContainer {
        /// Which.
        id: ContainerId,
        /// Grace; `None` lets the engine take the container's own.
        grace: Option<Duration>,
    },
    /// `POST /containers/{id}/unpause`.
    UnpauseContainer {
        /// Which.
        id: ContainerId,
    },
    /// `POST /containers/{id}/rename?name=`.
    RenameContainer {
        /// Which.
        id: ContainerId,
        /// New name.
        name: String,
    },
    /// `DELETE /containers/{id}?force=&v=` — anonymous volumes are kept (`v=false`) always.
    RemoveContainer {
        /// Which.
        id: ContainerId,
        /// Kill it first when it runs.
        force: bool,
    },
    /// `POST /networks/create`.
    CreateNetwork {
        /// Whole request body.
        body: Sensitive<Map<String, Value>>,
    },
    /// `DELETE /networks/{id}`.
    RemoveNetwork {
        /// Which.
        id: String,
    },
    /// `POST /networks/{id}/connect`.
    ConnectNetwork {
        /// Network, by ID.
        network: String,
        /// Container.
        container: ContainerId,
        /// `EndpointConfig`.
        endpoint: Map<String, Value>,
    },
    /// `POST /networks/{id}/disconnect`.
    DisconnectNetwork {
        /// Network, by ID or by name (a stale entry is only known by its name).
        network: String,
        /// Container.
        container: ContainerId,
        /// Even when the container is running or the network is gone.
        force: bool,
    },
    /// `POST /volumes/create` — create-if-absent.
    CreateVolume {
        /// Whole request body.
        body: Sensitive<Map<String, Value>>,
    },
    /// `POST /volumes/create` of a lease: who holds it, the labels of the volume say afterwards.
    CreateLease {
        /// Which.
        lease: Lease,
    },
    /// `DELETE /volumes/{name}` — of leases only, which is all that an [`OldLease`] can name; never
    /// by force, so that one that a container uses stays.
    RemoveLease {
        /// Which.
        lease: OldLease,
    },
}

impl Write {
    /// The least tier that allows it.
    pub const fn tier(&self) -> super::Tier {
        match self {
            Self::StartContainer { .. }
            | Self::StopContainer { .. }
            | Self::RestartContainer { .. }
            | Self::UnpauseContainer { .. }
            | Self::ConnectNetwork { .. }
            | Self::DisconnectNetwork { .. }
            | Self::CreateLease { .. }
            | Self::RemoveLease { .. } => super::Tier::Heal,
            Self::CreateContainer { .. }
            | Self::RenameContainer { .. }
            | Self::RemoveContainer { .. }
            | Self::CreateNetwork { .. }
            | Self::RemoveNetwork { .. }
            | Self::CreateVolume { .. } => super::Tier::Reconcile,
        }
    }

    /// Method and path with placeholders, for messages, tiers and metrics.
    pub const fn call(&self) -> &'static str {
        match self {
            Self::CreateContainer { .. } => "POST /containers/create",
            Self::StartContainer { .. } => "POST /containers/{id}/start",
            Self::StopContainer { .. } => "POST /containers/{id}/stop",
            Self::RestartContainer { .. } => "POST /containers/{id}/restart",
            Self::UnpauseContainer { .. } => "POST /containers/{id}/unpause",
            Self::RenameContainer { .. } => "POST /containers/{id}/rename",
            Self::RemoveContainer { .. } => "DELETE /containers/{id}",
            Self::CreateNetwork { .. } => "POST /networks/create",
            Self::RemoveNetwork { .. } => "DELETE /networks/{id}",
            Self::ConnectNetwork { .. } => "POST /networks/{id}/connect",
            Self::DisconnectNetwork { .. } => "POST /networks/{id}/disconnect",
            Self::CreateVolume { .. } | Self::CreateLease { .. } => "POST /volumes/create",
            Self::RemoveLease { .. } => "DELETE /volumes/{name}",
        }
    }
}

/// What a write answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteReply {
    /// ID of what was created, when something was.
    pub id: Option<String>,
    /// Warnings in the engine's words.
    pub warnings: Vec<String>,
}
