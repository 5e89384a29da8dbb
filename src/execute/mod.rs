//! Walks a plan: the only caller of [`Engine::write`](crate::engine::Engine::write).
//!
//! It decides nothing. Steps whose predecessors succeeded run at once and concurrently; a failed
//! step takes only its own successors with it. Each step is journalled before and after. A step
//! about a container that changed since the plan was made is skipped, and the loop plans again.

mod command;
pub mod lease;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Now;
use crate::desired::Desired;
use crate::engine::{ContainerId, DynEngine, Fault, PullProgress, Write, WriteReply};
use crate::observed::{Observed, Slot};
use crate::plan::hold::HoldChange;
use crate::plan::memory::{Backoff, Lost};
use crate::plan::update::{Pin, Update};
use crate::plan::{Memory, Op, Plan, Resource, Step, StepId, Target};
use crate::recovery::Change;
use crate::sensitive::Sensitive;

pub use command::CommandError;
use command::{Command, Made};
use lease::Permit;

/// Writes down what is about to be done, and what came of it.
pub trait Recorder: Send + Sync + 'static {
    /// Before a step. Returns the record's number.
    fn begin<'a>(&'a self, plan: &'a Plan, step: &'a Step) -> BoxFuture<'a, Option<i64>>;
    /// After it.
    fn end<'a>(
        &'a self,
        record: Option<i64>,
        step: &'a Step,
        result: &'a StepResult,
    ) -> BoxFuture<'a, ()>;
    /// A slot's failures in a row changed; `None` is forgiven. Doesn't wait.
    fn backoff(&self, _slot: &Slot, _backoff: Option<&Backoff>, _now: Now) {}
    /// What counts as applied to a service of the project, or to what stands beside it
    /// ([`crate::plan::memory::Note`]). Doesn't wait.
    fn applied(&self, _project: &str, _name: &str, _hash: &str) {}
    /// A container whose making was asked for in this slot and never answered turned up under this
    /// name with this ID; `None`: none that was asked for before will. Doesn't wait.
    fn answered(&self, _slot: &Slot, _found: Option<(&str, &ContainerId)>) {}
    /// How far the update of a slot is; `None` when it is over. Doesn't wait.
    fn update(&self, _slot: &Slot, _update: Option<&Update>) {}
    /// Why the update of a service failed; `None` when that counts no more. Doesn't wait.
    fn pin(&self, _project: &str, _service: &str, _pin: Option<&Pin>) {}
    /// What a person should hear. Doesn't wait.
    fn tell(&self, _warning: bool, _reason: &'static str, _object: &Resource, _message: &str) {}
    /// What a container is made of, before it may be lost. Returns whether that is written down.
    fn keep_body<'a>(
        &'a self,
        _id: &'a ContainerId,
        _body: Sensitive<Map<String, Value>>,
    ) -> BoxFuture<'a, bool> {
        async { false }.boxed()
    }
    /// What a container that was kept was made of; `None` if nobody knows.
    fn kept_body<'a>(
        &'a self,
        _id: &'a ContainerId,
    ) -> BoxFuture<'a, Option<Sensitive<Map<String, Value>>>> {
        async { None }.boxed()
    }
    /// A container is kept no longer. Doesn't wait.
    fn release_body(&self, _id: &ContainerId) {}
    /// What people hold changed. Ends once that is written down.
    fn holds<'a>(&'a self, _changes: &'a [HoldChange]) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Something of the incidents changed. Doesn't wait, but comes before every step that begins
    /// later.
    fn recovery(&self, _change: &Change, _now: Now) {}
    /// A job ended well with this configuration hash and image ID. Doesn't wait.
    fn job(&self, _slot: &Slot, _hash: &str, _image: &str, _now: Now) {}
    /// A volume was lost with its data; `None`: somebody has taken note. Doesn't wait.
    fn lost(&self, _volume: &str, _lost: Option<&Lost>) {}
    /// Something that was to be written down wasn't, and may be by now: [`Self::remember`] does.
    fn owes(&self, _now: Now) -> bool {
        false
    }
    /// Writes down all that is known of the project. Doesn't wait.
    fn remember(&self, _memory: &Memory, _now: Now) {}
}

/// Knows whether a container changed after the snapshot that a plan rests on.
pub trait Freshness: Send + Sync + 'static {
    /// Somebody did something to this container since `observed` was read.
    fn changed_since(&self, id: &ContainerId, observed: &Observed) -> bool;
    /// This call is about to be made: what follows from it is nobody else's doing. Returns a
    /// number for [`Self::ended`].
    fn begins(&self, _write: &Write) -> Option<u64> {
        None
    }
    /// A call was answered; `unsure` says that it may be carried out all the same.
    fn ended(&self, _act: u64, _unsure: bool) {}
}

/// What execution needs besides the plan.
pub struct Context {
    /// The engine.
    pub engine: DynEngine,
    /// The desired state that the plan leads to.
    pub desired: Arc<Desired>,
    /// The snapshot that the plan rests on.
    pub observed: Arc<Observed>,
    /// The journal.
    pub recorder: Arc<dyn Recorder>,
    /// Events since the snapshot.
    pub freshness: Arc<dyn Freshness>,
    /// Whether this operator may write.
    pub permit: Permit,
    /// Breaks pulls off: they may last for hours, and nothing has been touched before they end.
    pub stop: CancellationToken,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// Done.
    Done(WriteReply),
    /// It failed, and nothing changed.
    Failed(StepError),
    /// Nobody knows whether it happened: observe before anything else.
    Unknown(Fault),
    /// An earlier step failed, or the facts changed.
    Skipped(Skip),
}

impl StepResult {
    /// A word for metrics and the journal.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] Fault),
    /// The call couldn't be built.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl StepError {
    /// CamelCase reason without error text.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Engine(fault) => fault.reason(),
            Self::Command(error) => error.reason(),
        }
    }
}

/// Why a step was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// That step didn't succeed.
    After(StepId),
    /// Its container changed since the plan was made.
    Changed,
    /// The lease isn't ours any more, or not for certain.
    NotOurs,
}

/// News of an execution, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A step begins.
    Started(StepId),
    /// A pull goes on.
    Pulling(StepId, PullProgress),
    /// What the container that a step's container replaces is made of is written down.
    Kept(StepId),
    /// A step ended.
    Finished(StepId, StepResult),
}

/// Runs a plan to its end. News go to `news`; the future ends after the last one.
pub async fn execute(plan: Arc<Plan>, context: Arc<Context>, news: mpsc::Sender<News>) {
    Walk::new(&plan, &context, &news).run().await;
}

struct Walk<'a> {
    plan: &'a Plan,
    context: &'a Context,
    news: &'a mpsc::Sender<News>,
    /// Predecessors that haven't ended, by step.
    missing: BTreeMap<StepId, usize>,
    followers: BTreeMap<StepId, Vec<StepId>>,
    ended: BTreeSet<StepId>,
    made: Made,
    /// Containers that this plan itself touched: their changes are its own.
    touched: BTreeSet<ContainerId>,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, context: &'a Context, news: &'a mpsc::Sender<News>) -> Self {
        let mut followers: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        for step in &plan.steps {
            for before in &step.after {
                followers.entry(*before).or_default().push(step.id);
            }
        }
        let missing = plan.steps.iter().map(|s| (s.id, s.after.len())).collect();
        Self {
            plan,
            context,
            news,
            missing,
            followers,
            ended: BTreeSet::new(),
            made: Made::default(),
            touched: BTreeSet::new(),
        }
    }

    async fn run(&mut self) {
        let mut running = FuturesUnordered::new();
        let first: Vec<StepId> =
            self.missing.iter().filter(|(_, n)| **n == 0).map(|(id, _)| *id).collect();
        let mut ready = first;
        loop {
            for id in std::mem::take(&mut ready) {
                let Some(step) = self.plan.step(id) else { continue };
                if let Some(skip) = self.hindrance(step) {
                    ready.extend(self.finish(step, StepResult::Skipped(skip)).await);
                    continue;
                }
                self.touched.extend(step.op.container().cloned());
                let made = self.made.clone();
                let (plan, context, news) = (self.plan, self.context, self.news);
                running
                    .push(async move { (step, perform(plan, context, news, step, &made).await) });
            }
            if !ready.is_empty() {
                continue;
            }
            let Some((step, result)) = running.next().await else { break };
            ready.extend(self.finish(step, result).await);
        }
    }

    fn hindrance(&self, step: &Step) -> Option<Skip> {
        if self.context.permit.check().is_err() {
            return Some(Skip::NotOurs);
        }
        self.is_stale(step).then_some(Skip::Changed)
    }

    fn is_stale(&self, step: &Step) -> bool {
        let Some(id) = step.op.container() else { return false };
        !self.touched.contains(id)
            && self.context.freshness.changed_since(id, &self.context.observed)
    }

    /// Books a step's end; returns the steps that can run now.
    async fn finish(&mut self, step: &Step, result: StepResult) -> Vec<StepId> {
        self.ended.insert(step.id);
        let succeeded = match &result {
            StepResult::Done(reply) => {
                if let Some(id) = &reply.id {
                    self.made.ids.insert(step.id, id.clone());
                    if matches!(step.op, Op::Create { .. } | Op::Recreate { .. }) {
                        self.touched.insert(ContainerId(id.clone()));
                    }
                }
                if let Op::Pull { reference, .. } = &step.op {
                    self.made.pulled.insert(reference.clone());
                }
                true
            }
            _ => false,
        };
        let _ = self.news.send(News::Finished(step.id, result)).await;
        if succeeded {
            let mut ready = Vec::new();
            for follower in self.followers.get(&step.id).into_iter().flatten() {
                if let Some(n) = self.missing.get_mut(follower) {
                    *n -= 1;
                    if *n == 0 && !self.ended.contains(follower) {
                        ready.push(*follower);
                    }
                }
            }
            return ready;
        }
        self.skip_followers(step.id).await;
        Vec::new()
    }

    async fn skip_followers(&mut self, of: StepId) {
        let mut open = self.followers.get(&of).cloned().unwrap_or_default();
        while let Some(id) = open.pop() {
            if self.ended.insert(id) {
                let result = StepResult::Skipped(Skip::After(of));
                let _ = self.news.send(News::Finished(id, result)).await;
                open.extend(self.followers.get(&id).into_iter().flatten());
            }
        }
    }
}

async fn perform(
    plan: &Plan,
    context: &Context,
    news: &mpsc::Sender<News>,
    step: &Step,
    made: &Made,
) -> StepResult {
    let record = context.recorder.begin(plan, step).await;
    let _ = news.send(News::Started(step.id)).await;
    let result = match run_step(context, news, step, made).await {
        Ok(reply) => StepResult::Done(reply),
        Err(StepError::Engine(fault)) if fault.outcome_unknown() => StepResult::Unknown(fault),
        Err(error) => StepResult::Failed(error),
    };
    context.recorder.end(record, step, &result).await;
    result
}

async fn run_step(
    context: &Context,
    news: &mpsc::Sender<News>,
    step: &Step,
    made: &Made,
) -> Result<WriteReply, StepError> {
    if let Op::Create { keeps: Some(kept), .. } = &step.op
        && keep(context, kept).await
    {
        let _ = news.send(News::Kept(step.id)).await;
    }
    match command::build(context, step, made).await? {
        Command::Write(write) => {
            let act = context.freshness.begins(&write);
            let result = context.engine.write(&write).await;
            if let Some(act) = act {
                let unsure = result.as_ref().is_err_and(Fault::outcome_unknown);
                context.freshness.ended(act, unsure);
            }
            Ok(result?)
        }
        Command::Pull { reference, platform } => {
            // A full channel may lose progress, never an end.
            let progress = |p: PullProgress| {
                let _ = news.try_send(News::Pulling(step.id, p));
            };
            tokio::select! {
                pulled = context.engine.pull(&reference, platform.as_deref(), &progress) => pulled?,
                () = context.stop.cancelled() => {
                    let (call, reason) = ("POST /images/create".into(), "stopping".into());
                    return Err(Fault::Interrupted { call, reason }.into());
                }
            }
            Ok(WriteReply::default())
        }
    }
}

/// Writes down what a container is made of that is to be kept. An update goes on without.
async fn keep(context: &Context, kept: &ContainerId) -> bool {
    match context.engine.create_body(kept).await {
        Ok(body) => context.recorder.keep_body(kept, body).await,
        Err(fault) => {
            tracing::warn!(%fault, "{kept} can't be made again, should somebody remove it");
            false
        }
    }
}

/// The container that a target names, once its creation is done.
fn resolve(target: &Target, made: &Made) -> Option<ContainerId> {
    match target {
        Target::Existing(id) => Some(id.clone()),
        Target::Created(step) => made.ids.get(step).cloned().map(ContainerId),
    }
}
