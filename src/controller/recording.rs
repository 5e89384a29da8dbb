//! Writes steps and their outcomes to the journal: the intent before, the outcome after.
//!
//! A journal that fails doesn't stop a recovery: the loop is level-triggered, so what was not
//! written down is observed again. The failure is counted and said.

mod recoveries;

pub use recoveries::save;

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::{Now, Timestamp};
use crate::engine::ContainerId;
use crate::execute::{Recorder, Skip, StepResult};
use crate::metrics::Metrics;
use crate::observed::Slot;
use crate::plan::memory::Backoff;
use crate::plan::{Op, Plan, Resource, Step};
use crate::recovery::Change;
use crate::store::{
    self, Completion, EventKind, Handle, Intent, IntentId, JobRun, NewEvent, Outcome,
};

/// The journal of one stack.
pub struct JournalRecorder {
    /// The journal.
    pub journal: Handle,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
    /// The engine's ID.
    pub engine: String,
    /// The project.
    pub project: String,
    /// The host's boot ID.
    pub boot_id: String,
}

impl JournalRecorder {
    fn intent(&self, plan: &Plan, step: &Step) -> Intent {
        let (kind, name, service, number) = match &step.resource {
            Resource::Network(name) => ("network", name.clone(), String::new(), 0),
            Resource::Volume(name) => ("volume", name.clone(), String::new(), 0),
            Resource::Image(name) => ("image", name.clone(), String::new(), 0),
            Resource::Container(name) => ("container", name.clone(), String::new(), 0),
            Resource::Slot(slot) => {
                ("container", slot.to_string(), slot.service.clone(), slot.number)
            }
        };
        Intent {
            engine: self.engine.clone(),
            project: self.project.clone(),
            service,
            number,
            kind: kind.into(),
            name,
            op: step.op.to_string(),
            cause: step.cause.to_string(),
            generation: plan.generation.to_string(),
            container: step.op.container().map(|id| id.0.clone()).unwrap_or_default(),
            boot_id: self.boot_id.clone(),
        }
    }

    fn failed(&self, what: &str, error: &dyn std::error::Error) {
        self.metrics.journal_failed();
        tracing::error!(%error, "can't journal {what}; going on without");
    }
}

impl Recorder for JournalRecorder {
    fn begin<'a>(&'a self, plan: &'a Plan, step: &'a Step) -> BoxFuture<'a, Option<i64>> {
        async move {
            match self.journal.begin(self.intent(plan, step)).await {
                Ok(id) => Some(id.0),
                Err(error) => {
                    self.failed("an intent", &error);
                    None
                }
            }
        }
        .boxed()
    }

    fn end<'a>(
        &'a self,
        record: Option<i64>,
        step: &'a Step,
        result: &'a StepResult,
    ) -> BoxFuture<'a, ()> {
        async move {
            if let Some(id) = record
                && let Err(error) = self.journal.end(IntentId(id), outcome(result)).await
            {
                self.failed("an outcome", &error);
            }
            let event = NewEvent {
                engine: self.engine.clone(),
                project: self.project.clone(),
                kind: match result {
                    StepResult::Done(_) | StepResult::Skipped(_) => EventKind::Normal,
                    StepResult::Failed(_) | StepResult::Unknown(_) => EventKind::Warning,
                },
                reason: reason(&step.op, result),
                object: step.resource.to_string(),
                message: message(step, result),
            };
            if let Err(error) = self.journal.record_event(event).await {
                self.failed("an event", &error);
            }
        }
        .boxed()
    }

    fn backoff(&self, slot: &Slot, backoff: Option<&Backoff>, now: Now) {
        let row = backoff.map(|b| store::Backoff {
            failures: b.failures,
            next: Timestamp(now.wall.0.saturating_add(
                i64::try_from(b.not_before.since(now.mono).as_millis()).unwrap_or(i64::MAX),
            )),
            last_ready: None,
        });
        let (journal, engine, slot) = (self.journal.clone(), self.engine.clone(), slot.clone());
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_backoff(&engine, slot, row).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal a backoff; going on without");
            }
        });
    }

    fn applied(&self, slot: &Slot, hash: &str) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (slot, hash) = (slot.clone(), hash.to_owned());
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_applied(&engine, &slot, &hash).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal what was applied; going on without");
            }
        });
    }

    fn recovery(&self, change: &Change, now: Now) {
        recoveries::write(self, change, now);
    }

    fn answered(&self, slot: &Slot, found: Option<(&str, &ContainerId)>) {
        let (journal, engine, slot) = (self.journal.clone(), self.engine.clone(), slot.clone());
        let found = found.map(|(name, id)| (name.to_owned(), id.0.clone()));
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.answer_creates(&engine, slot, found).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal what came of a create; going on without");
            }
        });
    }

    fn job(&self, slot: &Slot, hash: &str, image: &str, now: Now) {
        let run = JobRun {
            config_hash: hash.to_owned(),
            image_id: image.to_owned(),
            exit_code: 0,
            finished: now.wall,
        };
        let (journal, engine, slot) = (self.journal.clone(), self.engine.clone(), slot.clone());
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_job(&engine, slot, Some(run)).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal a job; it may run again after a restart");
            }
        });
    }
}

fn outcome(result: &StepResult) -> Outcome {
    match result {
        StepResult::Done(reply) => Outcome {
            object: reply.id.clone().unwrap_or_default(),
            ..Outcome::plain(Completion::Done)
        },
        StepResult::Failed(error) => Outcome {
            reason: error.reason().into(),
            message: error.to_string(),
            ..Outcome::plain(Completion::Failed)
        },
        StepResult::Unknown(fault) => Outcome {
            reason: fault.reason().into(),
            message: fault.to_string(),
            ..Outcome::plain(Completion::Unknown)
        },
        StepResult::Skipped(skip) => Outcome {
            reason: match skip {
                Skip::After(_) => "PredecessorFailed".into(),
                Skip::Changed => "FactsChanged".into(),
                Skip::NotOurs => "LeaseLost".into(),
            },
            ..Outcome::plain(Completion::Skipped)
        },
    }
}

/// CamelCase, in the past tense as Kubernetes events have it.
fn reason(op: &Op, result: &StepResult) -> String {
    let done = match op {
        Op::CreateNetwork { .. } | Op::CreateVolume { .. } | Op::Create { .. } => "Created",
        Op::RemoveNetwork { .. } | Op::Remove { .. } => "Removed",
        Op::Connect { .. } => "Connected",
        Op::Disconnect { .. } => "Disconnected",
        Op::Pull { .. } => "Pulled",
        Op::Start { .. } => "Started",
        Op::Stop { .. } => "Stopped",
        Op::Restart { .. } => "Restarted",
        Op::Unpause { .. } => "Unpaused",
        Op::Rename { .. } => "Renamed",
    };
    match result {
        StepResult::Done(_) => done.into(),
        StepResult::Failed(error) => error.reason().into(),
        StepResult::Unknown(fault) => fault.reason().into(),
        StepResult::Skipped(_) => "Skipped".into(),
    }
}

fn message(step: &Step, result: &StepResult) -> String {
    let what = format!("{} ({})", step.op, step.cause);
    match result {
        StepResult::Done(_) => what,
        StepResult::Failed(error) => format!("{what}: {error}"),
        StepResult::Unknown(fault) => format!("{what}: nobody knows whether it happened: {fault}"),
        StepResult::Skipped(Skip::After(step)) => format!("{what}: {step} failed"),
        StepResult::Skipped(Skip::Changed) => format!("{what}: the container changed meanwhile"),
        StepResult::Skipped(Skip::NotOurs) => format!("{what}: the lease isn't ours any more"),
    }
}
