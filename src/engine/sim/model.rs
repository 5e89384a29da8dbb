//! What the simulated engine holds, and what a script may say about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::engine::types::{ContainerId, Write, WriteReply};
use crate::observed::{ContainerState, Endpoint, Health, Mount, PublishedPort};

/// How long the engine takes, as measured on Engine 20.10 with a local image.
pub(super) mod timing {
    use std::time::Duration;

    pub const READ: Duration = Duration::from_millis(1);
    pub const CREATE: Duration = Duration::from_millis(23);
    /// From a start's request to its `start` event.
    pub const START: Duration = Duration::from_millis(230);
    /// A start that is refused.
    pub const REFUSED_START: Duration = Duration::from_millis(9);
    /// From a deadly signal to `die`.
    pub const DEATH: Duration = Duration::from_millis(25);
    /// From `die` to freed addresses and ports; the engine serves no start before.
    pub const TEARDOWN: Duration = Duration::from_millis(44);
    /// From freed addresses to `stop` or `destroy`.
    pub const AFTER_TEARDOWN: Duration = Duration::from_millis(8);
    pub const REMOVE: Duration = Duration::from_millis(6);
    pub const NETWORK_CREATE: Duration = Duration::from_millis(80);
    pub const NETWORK_REMOVE: Duration = Duration::from_millis(160);
    pub const CONNECT: Duration = Duration::from_millis(84);
    pub const DISCONNECT: Duration = Duration::from_millis(49);
    /// From `oom` to `die`.
    pub const OOM: Duration = Duration::from_millis(29);
    /// The engine's default stop grace.
    pub const GRACE: Duration = Duration::from_secs(10);
    /// The engine's first restart delay, its ceiling, and the run that resets it.
    pub const BACKOFF: Duration = Duration::from_millis(100);
    pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
    pub const BACKOFF_RESET: Duration = Duration::from_secs(10);
}

/// What a service's process does, by script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Serves from so long after its start; `None` never.
    pub ready_after: Option<Duration>,
    /// Ends by itself so long after its start, with this code.
    pub exits: Option<(Duration, i64)>,
    /// What it does on its stop signal.
    pub on_stop: OnStop,
    /// Even SIGKILL doesn't end it (a process stuck in the kernel).
    pub unkillable: bool,
    /// Each start fails with these words (500).
    pub start_error: Option<String>,
    /// Services that must be ready when it starts, else it ends with code 1 at once.
    pub needs: Vec<String>,
    /// What it has written to standard output.
    pub log: String,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Some(Duration::ZERO),
            exits: None,
            on_stop: OnStop::Exits { after: Duration::from_millis(30), code: 0 },
            unkillable: false,
            start_error: None,
            needs: Vec::new(),
            log: String::new(),
        }
    }
}

/// What a process does on its stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// Ends.
    Exits {
        /// So long after the signal.
        after: Duration,
        /// With this code.
        code: i64,
    },
    /// Goes on until SIGKILL, so a stop takes its whole grace.
    Ignores,
}

/// What a registry has under a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// ID of the image that a pull brings.
    pub image_id: String,
    /// Time that a pull takes.
    pub takes: Duration,
    /// A pull fails with these words when its time is over.
    pub fails: Option<String>,
}

/// How the engine is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineStop {
    /// SIGTERM: it stops all containers, telling so in its event stream, then ends.
    Terminate,
    /// SIGKILL: it ends at once; at its next start it stops what it finds.
    Kill,
}

/// One write, as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRecord {
    /// Virtual time of the request.
    pub at: Duration,
    /// The request.
    pub write: Write,
    /// Name of what it is about, when the engine knew it.
    pub name: String,
    /// The answer; `None` while it lasts, and when the caller went away.
    pub outcome: Option<Result<WriteReply, Fault>>,
}

/// A refusal in the engine's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn no_container(id: &str) -> Self {
        Self::new(404, format!("No such container: {id}"))
    }

    /// As the caller of the real adapter sees it. The engine's own 403 says that something is in
    /// the way or wrong, never that the caller lacks a right.
    pub fn into_fault(self, call: &str) -> Fault {
        const IN_THE_WAY: [&str; 3] = ["already exists", "active endpoints", "already in use"];
        let (call, message) = (call.to_owned(), self.message);
        match self.status {
            404 => Fault::NotFound { call, message },
            403 if IN_THE_WAY.iter().any(|words| message.contains(words)) => {
                Fault::Conflict { call, message }
            }
            409 => Fault::Conflict { call, message },
            status @ 400..=499 => Fault::Rejected { call, status, message },
            status => Fault::Server { call, status, message },
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct HealthConfig {
    pub interval: Duration,
    pub start_period: Duration,
    pub retries: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimContainer {
    pub id: ContainerId,
    pub name: String,
    pub image: String,
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub created: Timestamp,
    pub state: ContainerState,
    pub exit_code: i64,
    pub oom_killed: bool,
    pub error: String,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub restart_count: u64,
    pub restart_policy: String,
    pub restart_max: u32,
    pub network_mode: String,
    pub ipc_mode: String,
    pub pid_mode: String,
    pub volumes_from: Vec<String>,
    pub networks: BTreeMap<String, Endpoint>,
    pub mounts: Vec<Mount>,
    /// What it was made of, for an actor that makes it anew.
    pub body: Map<String, Value>,
    pub ports: Vec<PublishedPort>,
    pub health_config: Option<HealthConfig>,
    pub health: Health,
    pub failing: u32,
    /// Number of the present series of healthchecks within the run.
    pub checks: u64,
    pub stop_grace: Duration,
    pub stop_signal: u8,
    /// Number of the present run; what was scheduled for an earlier one is void.
    pub run: u64,
    /// Virtual time of the present start.
    pub since: Duration,
    /// A start is under way.
    pub starting: bool,
    /// A death is being cleaned up: addresses and ports are still taken.
    pub tearing_down: bool,
    /// Somebody removes it: it can't be started any more.
    pub removing: bool,
    /// Somebody asked for its end: the engine's policy leaves it.
    pub manually_stopped: bool,
    /// The engine's last restart delay.
    pub backoff: Duration,
}

impl SimContainer {
    pub const fn live(&self) -> bool {
        matches!(
            self.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        )
    }

    /// Has a process.
    pub const fn has_process(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }

    pub const fn busy(&self) -> bool {
        self.starting || self.tearing_down
    }

    /// Holds addresses and ports.
    pub const fn holds(&self) -> bool {
        self.has_process() || self.busy()
    }

    pub fn service(&self) -> Option<&str> {
        self.labels.get(crate::observed::labels::SERVICE).map(String::as_str)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimNetwork {
    pub id: String,
    pub name: String,
    pub driver: String,
    pub labels: BTreeMap<String, String>,
    pub subnet: String,
    pub gateway: String,
    /// The subnet was asked for: static addresses are allowed.
    pub chosen: bool,
    pub created: Timestamp,
}
