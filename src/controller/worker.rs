//! One stack's loop: whenever a fact may have changed, plan again and run what the plan says.
//!
//! # Guarantees
//! - Nothing is planned before a complete snapshot, nor on stale facts.
//! - A slot whose container is known to have changed since it was read is left alone until it has
//!   been read again.
//! - A resource that a step works on is left alone until the step has ended *and* its outcome has
//!   been observed.
//! - A long step (a stop with a long grace, a pull) delays only what depends on it.

mod afresh;
pub mod holds;
mod look;
mod progress;
mod recoveries;
mod rollout;
mod view;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::progress::{Phase, Progress};
use self::progress::{announce, is_restart, log_end};
pub use self::view::View;
pub use self::wish::Wish;
use super::ledger::{self, Underway};
use super::meter::Meter;
use super::observer::{Handle, Link, Snapshot};
use super::own::Own;
use super::snapshot::Dirty;
use super::updates;
use crate::clock::{Clock, Mono, Now};
use crate::desired::Desired;
use crate::engine::{ContainerId, DynEngine};
use crate::execute::lease::Permit;
use crate::execute::{Context, News, Recorder, StepResult, execute};
use crate::observed::{Observed, Slot};
use crate::plan::{Memory, Op, Plan, Report, Resource, Scope, Step, StepId, plan};
use crate::probe::Readiness;
use crate::probe::prober::Prober;
use crate::probe::spec::Probe;

/// Time without any news after which the loop looks at its own state again.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a stack should look like, and how to ask its services.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The desired state.
    pub desired: Arc<Desired>,
    /// Probes by service.
    pub probes: BTreeMap<String, Arc<Probe>>,
    /// Only these services and what they need; empty is all.
    pub scope: Scope,
}

/// What a worker is made of.
pub struct Parts {
    /// The engine.
    pub engine: DynEngine,
    /// The observer.
    pub observer: Handle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Arc<dyn Meter>,
    /// What tells our own container.
    pub own: Own,
    /// The journal.
    pub recorder: Arc<dyn Recorder>,
    /// What the journal remembers.
    pub memory: Memory,
    /// Whether this operator may write.
    pub permit: Permit,
    /// What the stack should look like; `None` before the first good load.
    pub goal: watch::Receiver<Option<Goal>>,
}

/// What a worker tells, and how to reach it.
#[derive(Clone)]
pub struct Tap {
    /// What a person wants of it.
    pub wishes: mpsc::Sender<Wish>,
    /// The latest turn.
    pub views: watch::Receiver<View>,
    /// Steps as they go.
    pub progress: broadcast::Sender<Progress>,
}

struct Run {
    plan: Arc<Plan>,
    /// What the plan leads to; the goal may have changed since.
    desired: Arc<Desired>,
    underway: Underway,
    created: BTreeMap<StepId, ContainerId>,
    begun: BTreeMap<StepId, Mono>,
    /// Arrival of the event that this run answers, until its first step begins.
    event_at: Option<Mono>,
}

/// News of a run, or the end of a refresh that a resource or a container waited for.
enum Inbox {
    News(usize, News),
    /// The execution of a plan broke off.
    Broken(usize),
    Observed(Resource),
    Rechecked(ContainerId),
}

/// One stack's loop.
pub struct Worker {
    parts: Parts,
    memory: Memory,
    prober: Prober,
    answers: mpsc::Receiver<(Slot, Readiness)>,
    wishes: mpsc::Receiver<Wish>,
    probes: BTreeMap<Slot, Readiness>,
    runs: BTreeMap<usize, Run>,
    next_run: usize,
    inbox: mpsc::Receiver<Inbox>,
    post: mpsc::Sender<Inbox>,
    views: watch::Sender<View>,
    progress: broadcast::Sender<Progress>,
    generation: Option<u64>,
    /// Services of this generation with their hashes, namespaces unbound.
    services: BTreeMap<String, String>,
    stop: CancellationToken,
    /// Containers that are about to be looked at again.
    rechecks: BTreeSet<ContainerId>,
    /// Images that are being pulled.
    layers: recoveries::Layers,
    /// Containers that the files ask for, as of the last turn.
    wanted: usize,
    turn: u64,
}

impl Worker {
    /// A worker that isn't running yet. Needs a tokio runtime for its prober.
    pub fn new(parts: Parts) -> (Self, Tap) {
        let (answered, answers) = mpsc::channel(256);
        let (post, inbox) = mpsc::channel(1024);
        let (views, seen) = watch::channel(View::default());
        let (progress, _) = broadcast::channel(1024);
        let (wish, wishes) = mpsc::channel(16);
        let tap = Tap { wishes: wish, views: seen, progress: progress.clone() };
        let metrics = Arc::clone(&parts.metrics);
        let count = Arc::new(move |answer| metrics.probed(answer));
        let prober =
            Prober::new(Arc::clone(&parts.clock), answered, count, Arc::clone(&parts.engine));
        let worker = Self {
            memory: Memory { tier: parts.engine.tier(), ..parts.memory.clone() },
            parts,
            prober,
            answers,
            wishes,
            probes: BTreeMap::new(),
            runs: BTreeMap::new(),
            next_run: 0,
            inbox,
            post,
            views,
            progress,
            generation: None,
            services: BTreeMap::new(),
            stop: CancellationToken::new(),
            rechecks: BTreeSet::new(),
            layers: BTreeMap::new(),
            wanted: 0,
            turn: 0,
        };
        (worker, tap)
    }

    /// Runs until told to stop, then waits for the plans under way; pulls are broken off.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut wake: Option<Mono> = Some(Mono::default());
        self.stop = stop.clone();
        loop {
            let now = self.parts.clock.now().mono;
            let pause = wake.map_or(HEARTBEAT, |w| w.since(now)).min(HEARTBEAT);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(item) = self.inbox.recv() => self.take(item),
                Ok(()) = self.parts.observer.snapshots.changed() => {}
                Ok(()) = self.parts.goal.changed() => {}
                () = self.parts.permit.changed() => {}
                Some((slot, readiness)) = self.answers.recv() => {
                    self.probes.insert(slot, readiness);
                }
                // An answer is no turn: whoever asks at each turn would keep it turning.
                Some(wish) = self.wishes.recv() => if !self.grant(wish).await { continue },
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(item) = self.inbox.try_recv() {
                self.take(item);
            }
            while let Ok((slot, readiness)) = self.answers.try_recv() {
                self.probes.insert(slot, readiness);
            }
            wake = self.turn().await;
        }
        while !self.runs.is_empty() {
            match self.inbox.recv().await {
                Some(item) => self.take(item),
                None => break,
            }
        }
    }

    /// Plans once and begins what the plan says. Returns when to turn again at the latest.
    async fn turn(&mut self) -> Option<Mono> {
        let snapshot: Snapshot = self.parts.observer.snapshots.borrow_and_update().clone();
        let goal = self.parts.goal.borrow_and_update().clone();
        let (Link::Live, Some(goal)) = (&snapshot.link, goal) else {
            self.publish_stale(snapshot);
            return None;
        };
        if !self.is_shown(&goal.desired.project.name, &snapshot) {
            self.publish_stale(Snapshot { link: Link::Connecting, ..snapshot });
            return None;
        }
        let begun = self.parts.clock.now();
        if self.generation.replace(goal.desired.generation) != Some(goal.desired.generation) {
            self.new_generation(&goal);
        }
        let mut observed = (*snapshot.observed).clone();
        self.aim(&goal, &observed);
        self.recheck(&goal, &observed);
        observed.probes = self.probes.clone();
        self.memory.own = self.parts.own.find(&observed);
        self.memory.ages.look(&observed, begun);
        self.follow_holds(&goal, &observed, begun).await;
        let doubtful = self.set_doubtful(&observed);
        self.witness(&goal, &observed, begun);
        let (plan, report) = plan(&goal.desired, &observed, &self.memory, &goal.scope, begun);
        let lessons = ledger::observe(&mut self.memory, &goal.desired, &observed, &report, begun);
        for slot in &lessons.forgiven {
            self.parts.recorder.backoff(slot, None, begun);
        }
        for (slot, hash, image) in &lessons.jobs {
            self.parts.recorder.job(slot, hash, image, begun);
        }
        let updates = updates::observe(&mut self.memory, &goal.desired, &observed, &report);
        self.write_down(&goal.desired, &updates);
        // Whoever was forgiven in this turn may be tried at once, and what is ours be finished.
        let again =
            !lessons.forgiven.is_empty() || !lessons.found.is_empty() || !updates.is_empty();
        let again = again.then_some(begun.mono);
        for (name, hash) in &lessons.applied {
            self.parts.recorder.applied(&goal.desired.project.name, name, hash);
        }
        for volume in &lessons.overcome {
            self.parts.recorder.lost(volume, None);
        }
        for (slot, name, id) in &lessons.found {
            self.parts.recorder.answered(slot, Some((name, id)));
        }
        let recovery = self.settle(&goal, &report, begun);
        let wake = [report.wake, again, lessons.forgives_at, recovery].into_iter().flatten().min();
        let plan = Arc::new(plan);
        let observed = Arc::new(observed);
        let busy = self.memory.busy.len() + plan.steps.len();
        let took = self.parts.clock.now().mono.since(begun.mono);
        // Who acts comes before who tells and who watches.
        let acts = self.parts.permit.check().is_ok();
        if acts && !plan.is_empty() {
            self.begin(&goal, &plan, &observed, snapshot.event_at, begun);
            tokio::task::yield_now().await;
            for line in plan.to_string().lines() {
                tracing::info!(project = %goal.desired.project.name, "plan {line}");
            }
        }
        if self.parts.recorder.owes(begun) {
            self.parts.recorder.remember(&self.memory, begun);
        }
        self.measure(&goal, &plan, &report, took, acts);
        self.turn += 1;
        self.views.send_replace(View {
            turn: self.turn,
            generation: goal.desired.generation,
            link: Link::Live,
            revision: snapshot.revision,
            observed,
            plan,
            unproven: ledger::unproven(&self.memory, &report),
            incidents: Arc::new(self.memory.incidents.all()),
            brake: self.memory.incidents.brake(),
            report: Arc::new(report),
            busy,
            holds: self.memory.holds.clone(),
            lease: self.parts.permit.state(),
        });
        self.memory.busy.retain(|resource| !doubtful.contains(resource));
        wake
    }

    fn publish_stale(&mut self, snapshot: Snapshot) {
        self.memory.incidents.pause();
        self.turn += 1;
        let turn = self.turn;
        self.views.send_modify(|view| {
            view.turn = turn;
            view.link = snapshot.link;
            view.revision = snapshot.revision;
            view.lease = self.parts.permit.state();
        });
    }

    fn measure(&self, goal: &Goal, plan: &Plan, report: &Report, took: Duration, acts: bool) {
        let metrics = &self.parts.metrics;
        let project = &goal.desired.project.name;
        for step in plan.steps.iter().filter(|_| acts) {
            metrics.drift(step.cause.kind());
        }
        metrics.services(project, report, self.parts.clock.now().wall);
        let open: Vec<_> = self.memory.incidents.open().map(|incident| incident.scenario).collect();
        metrics.incidents(project, &open);
        let result = match (plan.is_empty(), report.settled()) {
            (false, _) if acts => "requeue",
            (true, true) => "success",
            _ => "requeue_after",
        };
        metrics.reconciled(result, took);
    }

    fn begin(
        &mut self,
        goal: &Goal,
        plan: &Arc<Plan>,
        observed: &Arc<Observed>,
        event_at: Option<Mono>,
        now: Now,
    ) {
        if let Err(violations) =
            crate::plan::check::check(plan, &goal.desired, observed, &self.memory, now)
        {
            // A defect of the planner: doing nothing is safer than doing the wrong thing.
            for violation in violations {
                tracing::error!(%violation, "refused a plan");
            }
            self.parts.metrics.reconciled("error", Duration::ZERO);
            return;
        }
        let updates = updates::begin(&mut self.memory, plan, observed);
        self.write_down(&goal.desired, &updates);
        self.attempt(plan, now);
        let underway = Underway::begin(plan, &mut self.memory);
        let number = self.next_run;
        self.next_run += 1;
        let run = Run {
            plan: Arc::clone(plan),
            desired: Arc::clone(&goal.desired),
            underway,
            created: BTreeMap::new(),
            begun: BTreeMap::new(),
            event_at,
        };
        self.runs.insert(number, run);
        let context = Arc::new(Context {
            engine: Arc::clone(&self.parts.engine),
            desired: Arc::clone(&goal.desired),
            observed: Arc::clone(observed),
            recorder: Arc::clone(&self.parts.recorder),
            freshness: self.parts.observer.changes.clone(),
            permit: self.parts.permit.clone(),
            stop: self.stop.clone(),
        });
        let (plan, post) = (Arc::clone(plan), self.post.clone());
        tokio::spawn(async move {
            let (tx, mut rx) = mpsc::channel(256);
            // In a task of its own: a defect there must not leave its resources busy for ever.
            let walk = tokio::spawn(execute(plan, context, tx));
            while let Some(news) = rx.recv().await {
                if post.send(Inbox::News(number, news)).await.is_err() {
                    break;
                }
            }
            if walk.await.is_err() {
                let _ = post.send(Inbox::Broken(number)).await;
            }
        });
    }

    fn take(&mut self, item: Inbox) {
        match item {
            Inbox::News(number, news) => self.news(number, news),
            Inbox::Broken(number) => self.broken(number),
            Inbox::Observed(resource) => {
                self.memory.busy.remove(&resource);
            }
            Inbox::Rechecked(id) => {
                self.rechecks.remove(&id);
            }
        }
    }

    fn news(&mut self, number: usize, news: News) {
        let now = self.parts.clock.now();
        let Some(run) = self.runs.get_mut(&number) else { return };
        match news {
            News::Started(id) => {
                run.begun.insert(id, now.mono);
                if let Some(at) = run.event_at.take() {
                    self.parts.metrics.reacted(now.mono.since(at));
                }
                if let Some(step) = run.plan.step(id) {
                    announce(&self.progress, step, Phase::Started);
                }
            }
            News::Pulling(id, p) => {
                let plan = Arc::clone(&run.plan);
                let Some(step) = plan.step(id) else { return };
                if let Op::Pull { reference, .. } = &step.op {
                    self.pulled(reference, &p, now);
                }
                announce(&self.progress, step, Phase::Pulling(p.status, p.current, p.total));
            }
            News::Kept(id) => {
                let plan = Arc::clone(&run.plan);
                if let Some(Op::Create { slot, .. }) = plan.step(id).map(|step| &step.op) {
                    self.can_be_made_again(slot);
                }
            }
            News::Finished(id, result) => {
                let (plan, desired) = (Arc::clone(&run.plan), Arc::clone(&run.desired));
                let Some(step) = plan.step(id) else { return };
                if let StepResult::Done(reply) = &result
                    && let (Op::Create { .. } | Op::Recreate { .. }, Some(made)) =
                        (&step.op, &reply.id)
                {
                    run.created.insert(id, ContainerId(made.clone()));
                }
                let took = run.begun.get(&id).map_or(Duration::ZERO, |b| now.mono.since(*b));
                let dirty = run.underway.ended(step, &result, &run.created);
                if run.underway.is_over() {
                    self.runs.remove(&number);
                }
                self.finished(step, &desired, result, took);
                if let Some(dirty) = dirty {
                    self.release(step.resource.clone(), dirty);
                }
            }
        }
    }

    /// Frees what a broken execution held, once it has been looked at again.
    fn broken(&mut self, number: usize) {
        let Some(run) = self.runs.remove(&number) else { return };
        tracing::error!("the execution of a plan broke off; looking again");
        for resource in run.underway.into_remaining() {
            self.release(resource, Dirty::everything());
        }
    }

    fn finished(&mut self, step: &Step, desired: &Desired, result: StepResult, took: Duration) {
        let now = self.parts.clock.now();
        self.parts.metrics.action(step.op.action(), result.word());
        if let (true, Resource::Slot(slot)) = (is_restart(step, &result), &step.resource) {
            self.parts.metrics.restarted(&slot.project, &slot.service);
        }
        log_end(step, &result);
        self.tried(step, &result, now);
        if let (StepResult::Done(_), Op::Create { slot, .. }) = (&result, &step.op)
            && self.memory.unanswered.contains_key(slot)
        {
            self.parts.recorder.answered(slot, None);
        }
        let jitter = self.parts.clock.jitter();
        let learned = ledger::learn(&mut self.memory, desired, step, &result, now, jitter);
        if let (true, Resource::Slot(slot)) = (learned, &step.resource) {
            self.parts.recorder.backoff(slot, self.memory.backoff.get(slot), now);
        }
        if let (StepResult::Done(_), Op::Create { slot, .. }) = (&result, &step.op)
            && let Some(hash) = self.memory.applied.get(&slot.service)
        {
            self.parts.recorder.applied(&slot.project, &slot.service, hash);
        }
        if let Resource::Volume(name) = &step.resource
            && let Some(lost) = self.memory.lost.get(name)
        {
            self.parts.recorder.lost(name, Some(lost));
        }
        announce(&self.progress, step, Phase::Ended(result, took));
    }

    /// A resource may be planned for again once this has been read.
    fn release(&self, resource: Resource, dirty: Dirty) {
        let (observer, post) = (self.parts.observer.clone(), self.post.clone());
        tokio::spawn(async move {
            if !dirty.is_empty() {
                observer.refresh(dirty).await;
            }
            let _ = post.send(Inbox::Observed(resource)).await;
        });
    }
}
