//! What the loop tells of each step while it goes: to whoever listens, and to the log.

use std::time::Duration;

use tokio::sync::broadcast;

use crate::execute::StepResult;
use crate::plan::{Cause, Op, Resource, Step};

/// What happens to a step, for people and for the journal.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What it is about.
    pub resource: Resource,
    /// The operation, in words.
    pub op: String,
    /// Its action word.
    pub action: &'static str,
    /// Why, in words.
    pub cause: String,
    /// How far it is.
    pub phase: Phase,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// It began.
    Started,
    /// A pull goes on: words, bytes so far, bytes in all.
    Pulling(String, Option<u64>, Option<u64>),
    /// It ended so, after this time.
    Ended(StepResult, Duration),
}

pub(super) fn announce(progress: &broadcast::Sender<Progress>, step: &Step, phase: Phase) {
    // Nobody listening is fine.
    let _ = progress.send(Progress {
        resource: step.resource.clone(),
        op: step.op.to_string(),
        action: step.op.action(),
        cause: step.cause.to_string(),
        phase,
    });
}

pub(super) fn log_end(step: &Step, result: &StepResult) {
    match result {
        StepResult::Done(_) => tracing::info!("done: {}: {}", step.resource, step.op),
        StepResult::Failed(error) => {
            tracing::warn!(%error, "failed: {}: {}", step.resource, step.op);
        }
        StepResult::Unknown(fault) => {
            tracing::warn!(%fault, "nobody knows whether it happened: {}: {}", step.resource, step.op);
        }
        StepResult::Skipped(_) => tracing::info!("skipped: {}: {}", step.resource, step.op),
    }
}

/// A container that had run before runs again.
pub(super) const fn is_restart(step: &Step, result: &StepResult) -> bool {
    let again = matches!(step.op, Op::Restart { .. })
        || matches!((&step.op, &step.cause), (Op::Start { .. }, Cause::Exited { .. }));
    again && matches!(result, StepResult::Done(_))
}
