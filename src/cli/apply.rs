//! `apply`: converges once, waits until everything is ready, ends.
//!
//! The usual case is that nothing is to be done: one look at the engine shows it, and neither the
//! journal nor the loop is started. Otherwise the same loop as the daemon's runs until it is
//! settled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::ApplyArgs;
use super::error::{CliError, Exit};
use super::journal::Journalled;
use super::look::look;
use super::output::{count, print};
use super::progress::{Board, Mark, words};
use super::resolved::Resolved;
use super::verdict::{self, Verdict};
use super::{daemon, goal};
use crate::clock::{Clock, SystemClock};
use crate::compose::Project;
use crate::compose::translate::container_name;
use crate::controller::meter::Uncounted;
use crate::controller::observer::{Observer, RESYNC};
use crate::controller::worker::{Goal, Parts, Phase, Progress, Tap, View, Worker};
use crate::engine::{DynEngine, Tier};
use crate::execute::StepResult;
use crate::observed::Slot;
use crate::plan::recovery::SUSTAINED;
use crate::plan::{Memory, Resource, SlotStatus, Standing};
use crate::shutdown;

/// A stuck loop gets this long to become unstuck by itself.
const GRACE: Duration = Duration::from_secs(2);
/// A service that ended meanwhile must stay up this long before it counts as ready.
const QUIET: Duration = SUSTAINED;
/// A service that ended so often is not started again for this `apply`.
const MOST_ENDS: u32 = 5;

/// Runs the verb.
///
/// # Errors
/// Wrong files, an engine that fails, or services that don't become ready.
pub async fn run(options: &Resolved, args: &ApplyArgs) -> Result<Exit, CliError> {
    let goal = goal::load(options, &args.services)?;
    let engine = options.engine(Tier::Reconcile)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let begun = clock.now().mono;
    if let Some(daemon) = daemon::of(options, &goal.desired.project.name).await? {
        return daemon.apply(&args.services, args.timeout.get()).await;
    }
    let seen = look(&engine, &*clock, &goal, &Memory::default()).await?;
    let over = seen.plan.is_empty() && verdict::settled(&seen.report, &goal.scope);
    if over {
        let (ready, wanted) = verdict::ready(&seen.report, &goal.scope);
        tell_left_alone(&goal, &seen.report);
        let project = &goal.desired.project.name;
        print(&format!("{project}: nothing to do; {ready} of {wanted} ready\n"))?;
        return Ok(Exit::Well);
    }
    let journalled =
        Journalled::open(options, &clock, &seen.observed.engine.id, &goal.desired.project.name)?;
    let memory = journalled.memory(&goal, &*clock).await;
    let stop = shutdown::on_signals()?;
    let run = Convergence::start(&engine, &clock, goal.clone(), memory, &journalled);
    let outcome = run.wait(&goal, &clock, args.timeout.get(), &stop).await;
    journalled.close().await;
    let changed = outcome?;
    let took = clock.now().mono.since(begun);
    let (project, changes) = (&goal.desired.project.name, count(changed, "change"));
    print(&format!("{project}: ready; {changes}, {:.1}s\n", took.as_secs_f64()))?;
    Ok(Exit::Well)
}

/// The daemon's loop, for one stack and until it is settled.
struct Convergence {
    tap: Tap,
    progress: broadcast::Receiver<Progress>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    observing: CancellationToken,
    observer: JoinHandle<()>,
    /// The worker ends without its goal.
    _goal: watch::Sender<Option<Goal>>,
}

impl Convergence {
    fn start(
        engine: &DynEngine,
        clock: &Arc<dyn Clock>,
        goal: Goal,
        memory: Memory,
        journalled: &Journalled,
    ) -> Self {
        let (observer, handle) =
            Observer::new(Arc::clone(engine), Arc::clone(clock), Arc::new(Uncounted), RESYNC);
        handle.projects.send_modify(|projects| {
            projects.insert(goal.desired.project.name.clone());
        });
        let (goal, goals) = watch::channel(Some(goal));
        let (worker, tap) = Worker::new(Parts {
            engine: Arc::clone(engine),
            observer: handle,
            clock: Arc::clone(clock),
            metrics: Arc::new(Uncounted),
            recorder: journalled.recorder(),
            memory,
            goal: goals,
        });
        let (stop, observing) = (CancellationToken::new(), CancellationToken::new());
        Self {
            progress: tap.progress.subscribe(),
            tap,
            worker: tokio::spawn(worker.run(stop.clone())),
            stop,
            observer: tokio::spawn(observer.run(observing.clone())),
            observing,
            _goal: goal,
        }
    }

    /// Shows progress until the loop is settled. Returns how many steps changed something.
    async fn wait(
        mut self,
        goal: &Goal,
        clock: &Arc<dyn Clock>,
        limit: Duration,
        stop: &CancellationToken,
    ) -> Result<usize, CliError> {
        let mut shown = Shown::new(Arc::clone(clock), Arc::clone(&goal.desired.project));
        let outcome = self.watch(goal, &mut shown, clock, limit, stop).await;
        // What has begun ends; nothing new begins.
        self.stop.cancel();
        let last = async {
            while let Ok(progress) = self.progress.recv().await {
                shown.step(&progress);
            }
        };
        tokio::select! {
            _ = &mut self.worker => {}
            () = last => {}
        }
        while let Ok(progress) = self.progress.try_recv() {
            shown.step(&progress);
        }
        self.observing.cancel();
        let _ = self.observer.await;
        let changed = shown.changed;
        shown.board.close();
        let view = self.tap.views.borrow().clone();
        match outcome {
            Over::Settled => {
                tell_left_alone(goal, &view.report);
                Ok(changed)
            }
            Over::Interrupted => Err(CliError::Interrupted),
            Over::Stuck => Err(unready("can't go on", goal, &view, &shown.failures)),
            Over::TimedOut => {
                let what = format!("not ready after {}", plain(limit));
                Err(unready(&what, goal, &view, &shown.failures))
            }
        }
    }

    async fn watch(
        &mut self,
        goal: &Goal,
        shown: &mut Shown,
        clock: &Arc<dyn Clock>,
        limit: Duration,
        stop: &CancellationToken,
    ) -> Over {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        let mut stuck_since = None;
        loop {
            let soon = stuck_since.is_some() || shown.last_end.is_some();
            let recheck = if soon { GRACE / 2 } else { Duration::from_secs(30) };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Over::Interrupted,
                progress = self.progress.recv() => match progress {
                    Ok(progress) => shown.step(&progress),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Over::Stuck,
                },
                Ok(()) = self.tap.views.changed() => {}
                () = &mut deadline => return Over::TimedOut,
                () = tokio::time::sleep(recheck) => {}
            }
            let view = self.tap.views.borrow_and_update().clone();
            shown.view(&view, goal);
            let now = clock.now().mono;
            if shown.ends.values().any(|ends| *ends >= MOST_ENDS) {
                return Over::Stuck;
            }
            match verdict::judge(&view, &goal.scope) {
                Verdict::Settled if shown.last_end.is_none_or(|end| now.since(end) >= QUIET) => {
                    return Over::Settled;
                }
                Verdict::Settled | Verdict::Working => stuck_since = None,
                Verdict::Stuck => {
                    let since = *stuck_since.get_or_insert(now);
                    if now.since(since) >= GRACE {
                        return Over::Stuck;
                    }
                }
            }
        }
    }
}

enum Over {
    Settled,
    Stuck,
    TimedOut,
    Interrupted,
}

/// What has been shown of a run.
struct Shown {
    board: Board,
    project: Arc<Project>,
    slots: BTreeMap<Slot, SlotStatus>,
    /// What steps work on.
    busy: BTreeSet<Resource>,
    changed: usize,
    /// How often each service was started again because it had ended.
    ends: BTreeMap<Resource, u32>,
    /// When that last happened.
    last_end: Option<Mono>,
    clock: Arc<dyn Clock>,
    /// The last failure of each resource.
    failures: BTreeMap<Resource, String>,
}

impl Shown {
    fn new(clock: Arc<dyn Clock>, project: Arc<Project>) -> Self {
        Self {
            board: Board::new(Arc::clone(&clock)),
            project,
            slots: BTreeMap::new(),
            busy: BTreeSet::new(),
            changed: 0,
            ends: BTreeMap::new(),
            last_end: None,
            clock,
            failures: BTreeMap::new(),
        }
    }

    fn step(&mut self, progress: &Progress) {
        let label = label(&self.project, &progress.resource);
        let (doing, done) = words(progress.action);
        match &progress.phase {
            Phase::Started => {
                self.busy.insert(progress.resource.clone());
                self.board.show(&label, Mark::Working, doing, "");
                if progress.kind == "down" && progress.action == "start_container" {
                    self.ended(progress);
                }
            }
            Phase::Pulling(status, current, total) => {
                let message = match (current, total) {
                    (Some(current), Some(total)) if *total > 0 => {
                        format!("{status} {:.1}/{:.1} MB", megabytes(*current), megabytes(*total))
                    }
                    _ => status.clone(),
                };
                self.board.show(&label, Mark::Working, doing, &message);
            }
            Phase::Ended(StepResult::Done(_), _) => {
                self.changed += 1;
                self.failures.remove(&progress.resource);
                self.board.show(&label, Mark::Done, done, "");
            }
            Phase::Ended(StepResult::Failed(error), _) => {
                self.failed(&label, progress, error.to_string());
            }
            Phase::Ended(StepResult::Unknown(fault), _) => {
                self.failed(&label, progress, fault.to_string());
            }
            Phase::Ended(StepResult::Skipped(_), _) => {}
        }
        if matches!(progress.phase, Phase::Ended(..)) {
            self.busy.remove(&progress.resource);
        }
    }

    /// The first start of a service that was down before doesn't count.
    fn ended(&mut self, progress: &Progress) {
        let seen = self.slots_started.contains(&progress.resource);
        if !seen {
            return;
        }
    }

    fn failed(&mut self, label: &str, progress: &Progress, error: String) {
        self.board.show(label, Mark::Failed, "Error", &error);
        self.failures.insert(progress.resource.clone(), format!("{}: {error}", progress.op));
    }

    /// Shows services that became ready, and those that are waited for after a start.
    fn view(&mut self, view: &View, goal: &Goal) {
        for (slot, report) in verdict::in_scope(&view.report, &goal.scope) {
            let before = self.slots.insert(slot.clone(), report.status);
            if before == Some(report.status) {
                continue;
            }
            let (mark, word) = match report.status {
                SlotStatus::Starting => (Mark::Working, "Waiting"),
                SlotStatus::Unhealthy => (Mark::Working, "Waiting"),
                // A service that was ready from the start is no news.
                SlotStatus::Ready if before.is_some() => (Mark::Done, "Ready"),
                SlotStatus::Degraded if before.is_some() => (Mark::Done, "Degraded"),
                SlotStatus::Completed if before.is_some() => (Mark::Done, "Completed"),
                _ => continue,
            };
            let label = label(&self.project, &Resource::Slot(slot.clone()));
            self.board.show(&label, mark, word, &report.message);
        }
    }
}

/// As `docker compose up` names a resource.
pub fn label(project: &Project, resource: &Resource) -> String {
    match resource {
        Resource::Network(name) => format!("Network {name}"),
        Resource::Volume(name) => format!("Volume {name}"),
        Resource::Image(name) => format!("Image {name}"),
        Resource::Container(name) => format!("Container {name}"),
        Resource::Slot(slot) => match project.services.get(&slot.service) {
            Some(service) => format!("Container {}", container_name(project, service, slot.number)),
            None => format!("Container {}-{}-{}", slot.project, slot.service, slot.number),
        },
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn plain(limit: Duration) -> String {
    match limit.as_secs() {
        0 => format!("{}ms", limit.as_millis()),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// Services that are left alone on purpose are named, so that nobody takes them for ready.
fn tell_left_alone(goal: &Goal, report: &crate::plan::Report) {
    for entry in &report.entries {
        if matches!(entry.standing, Standing::Held(_) | Standing::Notice(_)) {
            let what =
                format!("{}: {}: {}", goal.desired.project.name, entry.resource, entry.standing);
            super::error::warn(&what);
        }
    }
}

fn unready(
    what: &str,
    goal: &Goal,
    view: &View,
    failures: &BTreeMap<Resource, String>,
) -> CliError {
    let mut message = format!("{}: {what}", goal.desired.project.name);
    for reason in verdict::reasons(&view.report, &goal.scope) {
        message.push_str("\n  ");
        message.push_str(&reason);
    }
    for (resource, failure) in failures {
        if !message.contains(failure.as_str()) {
            message.push_str(&format!("\n  {resource}: {failure}"));
        }
    }
    CliError::Failed(message)
}
