//! What the journal holds, one type a table.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::holds::HoldRow;
use crate::clock::Timestamp;
use crate::observed::Slot;
use crate::plan::update::{Pin, Update};

/// Number of a journalled intent; grows with time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct IntentId(pub i64);

/// One action that is about to happen. Texts hold no secrets: they come from a plan, whose values
/// print redacted. Texts above 1,024 bytes are cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intent {
    /// The engine's ID.
    pub engine: String,
    /// Project name.
    pub project: String,
    /// Service name; empty for what belongs to the whole project (networks, volumes).
    pub service: String,
    /// Slot number from 1; 0 for what belongs to the whole project.
    pub number: u32,
    /// `container`, `network`, `volume`, `image`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// The operation, as the plan prints it.
    pub op: String,
    /// The cause, as the plan prints it.
    pub cause: String,
    /// Hash of the desired state that asked for it; empty when none did.
    pub generation: String,
    /// ID of the container that it acts on; empty when it makes one.
    pub container: String,
    /// Boot ID of the host.
    pub boot_id: String,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completion {
    /// It happened.
    Done,
    /// It didn't, and we know why.
    Failed,
    /// Its precondition no longer held, so nothing was sent.
    Skipped,
    /// Nobody knows (timeout, broken connection, killed in between): observe first.
    Unknown,
}

impl Completion {
    /// Every completion.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Skipped, Self::Unknown];

    /// `done`, `failed`, `skipped` or `unknown`; also a label value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|c| c.as_str() == word).unwrap_or(Self::Unknown)
    }
}

/// The end of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub result: Completion,
    /// CamelCase reason of a failure; empty otherwise.
    pub reason: String,
    /// For people, without secrets; cut above 1,024 bytes.
    pub message: String,
    /// ID of what was made; empty when nothing was.
    pub object: String,
}

impl Outcome {
    /// An outcome without words.
    pub const fn plain(result: Completion) -> Self {
        Self { result, reason: String::new(), message: String::new(), object: String::new() }
    }
}

/// An intent without an outcome, or whose outcome is unknown: the process died in between, or the
/// engine never answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its number.
    pub id: IntentId,
    /// When it was journalled.
    pub at: Timestamp,
    /// The intent.
    pub intent: Intent,
}

/// Backoff of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    /// Failures in a row.
    pub failures: u32,
    /// Earliest next attempt, wall clock.
    pub next: Timestamp,
    /// Last time that it was ready.
    pub last_ready: Option<Timestamp>,
}

/// A job's run: it isn't repeated for the same configuration and image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobRun {
    /// Configuration hash that ran.
    pub config_hash: String,
    /// Image ID that ran.
    pub image_id: String,
    /// Exit code.
    pub exit_code: i64,
    /// When it ended.
    pub finished: Timestamp,
}

/// The desired state that was last applied to a project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generation {
    /// Hash of the desired state.
    pub hash: String,
    /// When it was applied.
    pub at: Timestamp,
}

/// What the journal knows of one project, read once at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recalled {
    /// Backoff by slot.
    pub backoff: BTreeMap<Slot, Backoff>,
    /// Finished jobs by slot.
    pub jobs: BTreeMap<Slot, JobRun>,
    /// The last applied generation; `None` for a project that was never managed.
    pub generation: Option<Generation>,
    /// Intents without a known end, oldest first.
    pub unfinished: Vec<Unfinished>,
    /// Configuration hash that was last applied, by service.
    pub applied: BTreeMap<String, String>,
    /// Updates that aren't over, by slot.
    pub updates: BTreeMap<Slot, Update>,
    /// Updates that failed, by service.
    pub pins: BTreeMap<String, Pin>,
    /// What people hold.
    pub holds: Vec<HoldRow>,
    /// IDs of the containers that were made for the project, as far back as the journal goes.
    pub made: BTreeSet<String>,
    /// Volumes that were removed with their data, and whose loss nobody has taken note of yet.
    pub lost: BTreeMap<String, LostVolume>,
    /// Its incidents, and what they rest on.
    pub recoveries: crate::recovery::Recalled,
}

/// Kubernetes' two types of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// Something went as it should.
    Normal,
    /// Someone should know.
    Warning,
}

impl EventKind {
    /// `Normal` or `Warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// An event to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The engine's ID.
    pub engine: String,
    /// Project name; empty for what concerns the whole daemon.
    pub project: String,
    /// Normal or Warning.
    pub kind: EventKind,
    /// CamelCase reason.
    pub reason: String,
    /// What it is about: `service/valkey/1`, `network/x_default`.
    pub object: String,
    /// For people, without secrets; cut above 1,024 bytes.
    pub message: String,
}

/// A recorded event. Equal events within an hour of one another share a row and count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Position in the journal; a repetition moves the row to a new one.
    pub seq: i64,
    /// First time seen.
    pub first: Timestamp,
    /// Last time seen.
    pub last: Timestamp,
    /// How often.
    pub count: u64,
    /// What happened.
    pub event: NewEvent,
}

/// A volume that somebody removed while a service still used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVolume {
    /// The service, or the first of several.
    pub service: String,
    /// When an empty one took its place.
    pub at: Timestamp,
}
