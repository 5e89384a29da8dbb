//! What the command line may ask of the daemon, and what it hears back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::api::plan::PlanAnswer;
use crate::desired::digest::Digests;
use crate::recovery::Word;

/// Answer to the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `homeostat`.
    pub name: String,
    /// The daemon's version.
    pub version: String,
    /// [`super::PROTOCOL`].
    pub protocol: u32,
    /// The daemon's process ID.
    pub pid: u32,
    /// The daemon as the holder of leases: which of them are its own.
    #[serde(default)]
    pub holder: String,
}

/// Body of `POST /api/v1/stacks/{name}/apply`, `…/plan`, `…/pause` and `…/resume`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    /// Only these services and what they need; all when empty.
    #[serde(default)]
    pub services: Vec<String>,
    /// The project as the caller's files, flags and variables make it: refused when the daemon's
    /// is another one. Not compared when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Digests>,
}

/// A command for the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Converge and stay until ready; ends holds, as a person's word does.
    Apply {
        /// The stack.
        stack: String,
        /// What of it.
        wanted: Wanted,
    },
    /// Say what would be done, by newly observed facts and all that the daemon remembers.
    Plan {
        /// The stack.
        stack: String,
        /// What of it.
        wanted: Wanted,
    },
    /// A person's word about an incident.
    Incident {
        /// The stack.
        stack: String,
        /// The incident's ID.
        id: String,
        /// What is wanted.
        word: IncidentWord,
    },
    /// Look again now.
    Reconcile {
        /// The stack.
        stack: String,
    },
    /// Leave these services, or the whole stack, alone as they are.
    Pause {
        /// The stack.
        stack: String,
        /// What of it.
        wanted: Wanted,
    },
    /// End the holds on these services, or all.
    Resume {
        /// The stack.
        stack: String,
        /// What of it.
        wanted: Wanted,
    },
}

/// Body of `POST /api/v1/incidents/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum IncidentWord {
    /// Notify nobody, for so many seconds or until the end.
    #[serde(rename_all = "camelCase")]
    Ack {
        /// Seconds; absent is until the end.
        for_seconds: Option<u64>,
    },
    /// Try again, with one fresh budget.
    Retry,
    /// Call it over.
    Resolve,
}

impl From<IncidentWord> for Word {
    fn from(word: IncidentWord) -> Self {
        match word {
            IncidentWord::Ack { for_seconds } => {
                // A year is as good as for ever, and no sum overflows.
                let most = 366 * 24 * 3600;
                Self::Ack(for_seconds.map(|seconds| Duration::from_secs(seconds.min(most))))
            }
            IncidentWord::Retry => Self::Retry,
            IncidentWord::Resolve => Self::Resolve,
        }
    }
}

/// A command with its caller. A caller who leaves stops nothing.
#[derive(Debug)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// User ID of the caller, from the socket.
    pub uid: u32,
    /// Where progress goes.
    pub progress: Reporter,
}

const LINES: usize = 256;

/// The controller's end of a command's stream. It never waits: a caller who reads slowly misses
/// lines in between, never the result.
#[derive(Debug)]
pub struct Reporter {
    lines: mpsc::Sender<Progress>,
    /// The place of the result, kept free from the start.
    last: Option<mpsc::OwnedPermit<Progress>>,
}

impl Reporter {
    /// A reporter and the stream that it feeds.
    pub fn new() -> (Self, mpsc::Receiver<Progress>) {
        let (lines, stream) = mpsc::channel(LINES);
        let last = lines.clone().try_reserve_owned().ok();
        (Self { lines, last }, stream)
    }

    /// Reports a line. False when the caller has left.
    pub fn report(&self, progress: Progress) -> bool {
        !matches!(self.lines.try_send(progress), Err(mpsc::error::TrySendError::Closed(_)))
    }

    /// Ends when the caller has left.
    pub async fn gone(&self) {
        self.lines.closed().await;
    }

    /// Reports the result, [`Progress::Finished`] or its like, and ends the stream.
    /// Without it the caller is told that the stream broke off.
    pub fn finish(mut self, result: Progress) {
        if let Some(place) = self.last.take() {
            place.send(result);
        }
    }
}

/// One line of a command's progress. The last one is `finished`, `planned`, `held` or `failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// A step moved on.
    Step {
        /// Its number.
        id: u32,
        /// What it acts on.
        object: String,
        /// The operation.
        op: String,
        /// Where it is.
        state: StepState,
        /// For people; empty when there is nothing to say.
        message: String,
    },
    /// Something is left as it is, on purpose.
    LeftAlone {
        /// What.
        object: String,
        /// Why.
        message: String,
    },
    /// Everything is as the files say and ready.
    Finished {
        /// Steps that changed something.
        changed: u32,
    },
    /// The answer to [`Command::Plan`].
    Planned(Box<PlanAnswer>),
    /// The answer to [`Command::Pause`] and [`Command::Resume`].
    Held {
        /// What changed, a line each.
        changes: Vec<String>,
    },
    /// It isn't, and nothing more is tried for this command.
    Failed {
        /// CamelCase reason.
        reason: String,
        /// For people, with the mend.
        message: String,
    },
}

/// Reasons of [`Progress::Failed`] that callers act upon.
pub mod reason {
    /// No incident of this ID is open.
    pub const NO_INCIDENT: &str = "NoIncident";
    /// The daemon keeps no such stack any more.
    pub const NOT_FOUND: &str = "NotFound";
    /// The project has no such service.
    pub const UNKNOWN_SERVICE: &str = "UnknownService";
    /// The caller's files, flags and variables make another project than the daemon's.
    pub const PROJECT_DIFFERS: &str = "ProjectDiffers";
    /// The daemon can't use the files as they are.
    pub const SOURCE_INVALID: &str = "SourceInvalid";
}

impl Progress {
    /// Whether nothing comes after it.
    pub const fn is_last(&self) -> bool {
        matches!(
            self,
            Self::Finished { .. } | Self::Planned(_) | Self::Held { .. } | Self::Failed { .. }
        )
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Sent to the engine.
    Working,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Its precondition no longer held.
    Skipped,
    /// Nobody knows.
    Unknown,
}
