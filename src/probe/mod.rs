//! Facts about a service from outside: is it ready to serve?

use std::time::Duration;

use serde::Serialize;

use crate::clock::Mono;
use crate::engine::ContainerId;

/// What a probe answers. Unknown is not unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Answer {
    /// The service serves.
    Ready,
    /// The service answers wrongly, or not at all where it could be reached.
    NotReady,
    /// Nobody can tell from here.
    #[default]
    Unknown,
}

/// One probe's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Outcome {
    /// The answer.
    pub answer: Answer,
    /// CamelCase reason: `Refused`, `Timeout`, `Loading`, `CredentialMissing`…
    pub reason: String,
    /// For people, with the mend; holds no body text.
    pub message: String,
    /// Time that it took.
    pub took: Duration,
}

/// What is known of a slot's readiness, over several probes of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// The container that was probed, with the start that it was probed in: an answer about
    /// another run says nothing.
    pub container: ContainerId,
    /// `StartedAt` of that run, milliseconds since the epoch.
    pub started: i64,
    /// Last outcome.
    pub last: Outcome,
    /// When the answer last changed.
    pub since: Mono,
    /// Failing observations in a row.
    pub failures: u32,
    /// It has been ready in this run.
    pub was_ready: bool,
}
