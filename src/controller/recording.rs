//! Writes steps and their outcomes to the journal: the intent before, the outcome after.
//!
//! A journal that fails doesn't stop a recovery: the loop is level-triggered, so what was not
//! written down is observed again. The failure is counted and said.

mod recoveries;

pub use recoveries::save;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::{holding, recall};
use crate::clock::{Mono, Now};
use crate::engine::ContainerId;
use crate::execute::{Recorder, Skip, StepResult};
use crate::metrics::Metrics;
use crate::observed::Slot;
use crate::plan::hold::HoldChange;
use crate::plan::memory::{Backoff, Lost};
use crate::plan::update::{Pin, Update};
use crate::plan::{Cause, Memory, Op, Plan, Resource, Step};
use crate::recovery::Change;
use crate::sensitive::Sensitive;
use crate::store::{
    Completion, EventKind, Handle, Intent, IntentId, JobRun, NewEvent, Outcome, StoreError,
};

/// Pause between two attempts to write down what is missing.
const AGAIN: Duration = Duration::from_secs(10);

/// What isn't in the journal although it should be.
#[derive(Debug, Default)]
struct Debt {
    /// What was lost ([`crate::store::Health::lost`]) when all was last known to be in it; `None` if
    /// that was never so.
    settled: Option<u64>,
    /// When that was last tried.
    tried: Option<Mono>,
}

/// The journal of one stack.
pub struct JournalRecorder {
    journal: Handle,
    /// Where failures are counted.
    metrics: Arc<Metrics>,
    /// The engine's ID.
    engine: String,
    project: String,
    /// The host's boot ID.
    boot_id: String,
    debt: Arc<Mutex<Debt>>,
}

impl JournalRecorder {
    /// Writes into this journal for a project of an engine, by its ID.
    pub fn new(journal: Handle, metrics: Arc<Metrics>, engine: &str, project: &str) -> Self {
        let health = journal.health().borrow().clone();
        let settled = health.failing.is_none().then_some(health.lost);
        let debt = Debt { settled, tried: None };
        Self {
            journal,
            metrics,
            engine: engine.to_owned(),
            project: project.to_owned(),
            boot_id: recall::boot_id(),
            debt: Arc::new(Mutex::new(debt)),
        }
    }

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

    /// Writes without waiting; a failure is counted and said.
    fn write(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) {
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = work.await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal {what}; going on without");
            }
        });
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
                    StepResult::Done(_) if is_loss(step) => EventKind::Warning,
                    StepResult::Done(_) | StepResult::Skipped(_) => EventKind::Normal,
                    StepResult::Failed(_) | StepResult::Unknown(_) => EventKind::Warning,
                },
                reason: reason(step, result),
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
        let row = backoff.map(|b| recall::pause(b, now));
        let (journal, engine, slot) = (self.journal.clone(), self.engine.clone(), slot.clone());
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_backoff(&engine, slot, row).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal a backoff; going on without");
            }
        });
    }

    fn applied(&self, project: &str, name: &str, hash: &str) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (project, name, hash) = (project.to_owned(), name.to_owned(), hash.to_owned());
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_applied(&engine, &project, &name, &hash).await {
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

    fn update(&self, slot: &Slot, update: Option<&Update>) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (slot, update) = (slot.clone(), update.cloned());
        self.write("an update", async move { journal.set_update(&engine, slot, update).await });
    }

    fn pin(&self, project: &str, service: &str, pin: Option<&Pin>) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (project, service, pin) = (project.to_owned(), service.to_owned(), pin.cloned());
        self.write("a failed update", async move {
            journal.set_pin(&engine, &project, &service, pin).await
        });
    }

    fn tell(&self, warning: bool, reason: &'static str, object: &Resource, message: &str) {
        let event = NewEvent {
            engine: self.engine.clone(),
            project: self.project.clone(),
            kind: if warning { EventKind::Warning } else { EventKind::Normal },
            reason: reason.into(),
            object: object.to_string(),
            message: message.into(),
        };
        let journal = self.journal.clone();
        self.write("an event", async move { journal.record_event(event).await.map(drop) });
    }

    fn keep_body<'a>(
        &'a self,
        id: &'a ContainerId,
        body: Sensitive<Map<String, Value>>,
    ) -> BoxFuture<'a, bool> {
        async move {
            match self.journal.keep_body(id.clone(), body).await {
                Ok(kept) => kept,
                Err(error) => {
                    self.failed("what a container is made of", &error);
                    false
                }
            }
        }
        .boxed()
    }

    fn holds<'a>(&'a self, changes: &'a [HoldChange]) -> BoxFuture<'a, ()> {
        let (engine, project) = (self.engine.as_str(), self.project.as_str());
        async move {
            let writes = changes.iter().map(holding::write).collect();
            let events = holding::events(changes, engine, project);
            let written = self.journal.change_holds(engine, project, writes, events);
            if let Err(error) = written.await {
                self.failed("a hold", &error);
            }
        }
        .boxed()
    }

    fn kept_body<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Option<Sensitive<Map<String, Value>>>> {
        async move {
            let body = self.journal.kept_body(id.clone()).await;
            body.unwrap_or_else(|error| {
                self.failed("what a container was made of", &error);
                None
            })
        }
        .boxed()
    }

    fn release_body(&self, id: &ContainerId) {
        let (journal, id) = (self.journal.clone(), id.clone());
        self.write("the end of an update", async move { journal.release_body(id).await });
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

    fn lost(&self, volume: &str, lost: Option<&Lost>) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (project, volume) = (self.project.clone(), volume.to_owned());
        let lost = lost.map(recall::loss);
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            if let Err(error) = journal.set_lost_volume(&engine, &project, &volume, lost).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal the loss of a volume; going on without");
            }
        });
    }

    fn owes(&self, now: Now) -> bool {
        let debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.journal.health().borrow().lost) != debt.settled
            && debt.tried.is_none_or(|tried| now.mono.since(tried) >= AGAIN)
    }

    fn remember(&self, memory: &Memory, now: Now) {
        let (journal, engine) = (self.journal.clone(), self.engine.clone());
        let (project, debt) = (self.project.clone(), Arc::clone(&self.debt));
        let metrics = Arc::clone(&self.metrics);
        let known = recall::rows(memory, &project, now);
        let lost = journal.health().borrow().lost;
        debt.lock().unwrap_or_else(PoisonError::into_inner).tried = Some(now.mono);
        tokio::spawn(async move {
            match journal.remember(&engine, &project, known).await {
                Ok(()) => {
                    tracing::info!(%project, "what is known was written into the journal anew");
                    debt.lock().unwrap_or_else(PoisonError::into_inner).settled = Some(lost);
                }
                Err(error) => {
                    metrics.journal_failed();
                    tracing::error!(%error, "can't journal what is known; trying again later");
                }
            }
        });
    }
}

/// An empty volume takes the place of one with data.
fn is_loss(step: &Step) -> bool {
    matches!((&step.op, &step.cause), (Op::CreateVolume { .. }, Cause::DeletedElsewhere))
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
fn reason(step: &Step, result: &StepResult) -> String {
    let done = match &step.op {
        Op::CreateVolume { .. } if is_loss(step) => "DataLost",
        Op::CreateNetwork { .. }
        | Op::CreateVolume { .. }
        | Op::Create { .. }
        | Op::Recreate { .. } => "Created",
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
