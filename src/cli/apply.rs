//! `apply`: converges once, waits until everything is ready, ends.
//!
//! The usual case is that nothing is to be done: one look at the engine shows it, and neither the
//! journal nor the loop is started. Otherwise the same loop as the daemon's runs until it is
//! settled.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::ApplyArgs;
use super::error::{CliError, Exit};
use super::journal::Journalled;
use super::look::{look, read};
use super::output::{count, print};
use super::resolved::Resolved;
use super::shown::Shown;
use super::{daemon, goal, hold, lease};
use crate::clock::{Clock, SystemClock};
use crate::controller::course::End;
use crate::controller::leasing::Running;
use crate::controller::meter::Uncounted;
use crate::controller::observer::{Observer, RESYNC};
use crate::controller::own::Own;
use crate::controller::worker::{Goal, Parts, Progress, Tap, Wish, Worker};
use crate::controller::{process, verdict};
use crate::desired::scope::concerns;
use crate::engine::{DynEngine, Tier};
use crate::execute::Recorder;
use crate::plan::hold::HoldEnd;
use crate::plan::memory::Insisted;
use crate::plan::{Memory, Resource, Standing};
use crate::shutdown;

/// Runs the verb.
///
/// # Errors
/// Wrong files, an engine that fails, or services that don't become ready.
pub async fn run(options: &Resolved, args: &ApplyArgs) -> Result<Exit, CliError> {
    let meant = goal::load(options, &args.services)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let begun = clock.now().mono;
    let engine = options.engine(Tier::Reconcile)?;
    let limit = args.timeout.get();
    let observed =
        tokio::time::timeout(limit, read(&engine, &*clock, &meant.goal)).await.map_err(
            |_| CliError::Failed(format!("the engine hasn't answered within {}", plain(limit))),
        )??;
    // Whoever takes over asks nobody.
    let daemon = match args.take_over {
        true => None,
        false => daemon::of(options, &meant, &observed).await?,
    };
    if let Some(daemon) = daemon {
        return daemon.apply(&args.services, limit).await;
    }
    let goal = meant.goal;
    let memory = Memory { tier: options.tier, ..Memory::insisting() };
    let seen = look(observed, &*clock, &goal, &memory).await;
    let over = seen.plan.is_empty() && verdict::settled(&seen.report, &goal.scope);
    let project = &goal.desired.project.name;
    if over && hold::kept(options, &seen.observed.engine.id, project).is_empty() {
        let (ready, wanted) = verdict::ready(&seen.report, &goal.scope);
        tell_left_alone(&goal, &seen.report);
        print(&format!("{project}: nothing to do; {ready} of {wanted} ready\n"))?;
        return Ok(Exit::Well);
    }
    let journalled =
        Journalled::open(options, &clock, &seen.observed.engine.id, &goal.desired.project.name)?;
    let mut memory = journalled.memory(&goal, &*clock).await;
    // A person asks for it now: pauses after earlier failures are over.
    memory.backoff.clear();
    memory.insisted = Insisted::Everything;
    know_losses(&mut memory, &goal, &*journalled.recorder());
    let end = HoldEnd::Applied(process::this_user());
    let ended = memory.holds.release(&goal.scope.services, &goal.desired, &end);
    journalled.change_holds(&ended).await?;
    let stop = shutdown::on_signals()?;
    let run = Convergence::start(options, args, &engine, &clock, &goal, memory, &journalled)?;
    let outcome = run.wait(&goal, &clock, limit, &stop).await;
    journalled.close().await;
    let changed = outcome?;
    let took = clock.now().mono.since(begun);
    let (project, changes) = (&goal.desired.project.name, count(changed, "change"));
    print(&format!("{project}: ready; {changes}, {:.1}s\n", took.as_secs_f64()))?;
    Ok(Exit::Well)
}

/// Strikes out the lost volumes that a person's scope is about: whoever applies has seen them.
fn know_losses(memory: &mut Memory, goal: &Goal, recorder: &dyn Recorder) {
    memory.lost.retain(|volume, _| {
        let resource = Resource::Volume(volume.clone());
        let known = concerns(&goal.desired.project, &goal.scope, &resource);
        if known {
            recorder.lost(volume, None);
        }
        !known
    });
}

/// The daemon's loop, for one stack and until it is settled.
struct Convergence {
    tap: Tap,
    progress: broadcast::Receiver<Progress>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    observing: CancellationToken,
    observer: JoinHandle<()>,
    lease: Running,
    /// The worker ends without its goal.
    _goal: watch::Sender<Option<Goal>>,
}

impl Convergence {
    fn start(
        options: &Resolved,
        args: &ApplyArgs,
        engine: &DynEngine,
        clock: &Arc<dyn Clock>,
        goal: &Goal,
        memory: Memory,
        journalled: &Journalled,
    ) -> Result<Self, CliError> {
        let (observer, handle) =
            Observer::new(Arc::clone(engine), Arc::clone(clock), Arc::new(Uncounted), RESYNC);
        // Stops of services that this command doesn't name stay as certain as they are.
        let observer = observer.recalling(memory.holds.provisional(&goal.desired.project.name));
        handle.projects.send_modify(|projects| {
            projects.insert(goal.desired.project.name.clone());
        });
        let project = &goal.desired.project.name;
        let seen = handle.snapshots.clone();
        let (permit, lease) = lease::seek(options, engine, clock, project, args.take_over, seen)?;
        let scope = goal.scope.clone();
        let (goal, goals) = watch::channel(Some(goal.clone()));
        let (worker, tap) = Worker::new(Parts {
            engine: Arc::clone(engine),
            observer: handle,
            clock: Arc::clone(clock),
            metrics: Arc::new(Uncounted),
            own: Own::of_this_process(),
            recorder: journalled.recorder(),
            memory,
            permit,
            goal: goals,
        });
        // A person asks for it: what failed before is tried again.
        let _ = tap.wishes.try_send(Wish::Afresh(scope));
        let (stop, observing) = (CancellationToken::new(), CancellationToken::new());
        Ok(Self {
            progress: tap.progress.subscribe(),
            tap,
            worker: tokio::spawn(worker.run(stop.clone())),
            stop,
            observer: tokio::spawn(observer.run(observing.clone())),
            observing,
            lease,
            _goal: goal,
        })
    }

    /// Shows progress until the loop is settled. Returns how many steps changed something.
    async fn wait(
        mut self,
        goal: &Goal,
        clock: &Arc<dyn Clock>,
        limit: Duration,
        stop: &CancellationToken,
    ) -> Result<usize, CliError> {
        let mut shown = Shown::new(Arc::clone(clock), goal);
        let outcome = self.watch(&mut shown, clock, limit, stop).await;
        let patience = match &outcome {
            Over::TimedOut => PATIENCE,
            Over::Interrupted | Over::Ended(_) => Duration::MAX,
        };
        if matches!(outcome, Over::Interrupted) {
            shown.tell_awaited();
        }
        self.finish(&mut shown, patience).await;
        // An engine that has kept silent may do so again: the lease of a process that is gone is
        // anybody's.
        let _ = tokio::time::timeout(patience, self.lease.end(true)).await;
        self.observing.cancel();
        if tokio::time::timeout(patience, &mut self.observer).await.is_err() {
            self.observer.abort();
        }
        let Shown { board, course, .. } = shown;
        board.close();
        let view = self.tap.views.borrow().clone();
        let unready = |what: &str| {
            format!(
                "{}: {}",
                goal.desired.project.name,
                course.unready(what, &view, clock.now().mono)
            )
        };
        match outcome {
            Over::Ended(End::Settled) => {
                tell_left_alone(goal, &view.report);
                Ok(course.changed)
            }
            Over::Ended(End::Stuck) => Err(CliError::Failed(unready("can't go on"))),
            Over::Interrupted => Err(CliError::Interrupted),
            Over::TimedOut => {
                let mut why = unready(&format!("not ready after {}", plain(limit)));
                for step in course.open() {
                    let unknown = "the engine hasn't answered; the next run looks what came of it";
                    why.push_str(&format!("\n  {step}: {unknown}"));
                }
                Err(CliError::Failed(why))
            }
        }
    }

    /// What has begun ends, or is left behind; nothing new begins.
    async fn finish(&mut self, shown: &mut Shown, patience: Duration) {
        self.stop.cancel();
        let last = async {
            while let Ok(progress) = self.progress.recv().await {
                shown.step(&progress);
            }
        };
        tokio::select! {
            _ = &mut self.worker => {}
            () = last => {}
            // Its intents stand in the journal: the next run looks what came of them.
            () = tokio::time::sleep(patience) => self.worker.abort(),
        }
        while let Ok(progress) = self.progress.try_recv() {
            shown.step(&progress);
        }
    }

    async fn watch(
        &mut self,
        shown: &mut Shown,
        clock: &Arc<dyn Clock>,
        limit: Duration,
        stop: &CancellationToken,
    ) -> Over {
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Over::Interrupted,
                progress = self.progress.recv() => match progress {
                    Ok(progress) => {
                        // What made the step possible was published before it began.
                        shown.view(&self.tap.views.borrow_and_update().clone());
                        shown.step(&progress);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Over::Ended(End::Stuck),
                },
                Ok(()) = self.tap.views.changed() => {}
                () = &mut deadline => return Over::TimedOut,
                () = tokio::time::sleep(shown.course.recheck()) => {}
            }
            let view = self.tap.views.borrow_and_update().clone();
            shown.view(&view);
            if let Some(end) = shown.course.turn(&view, clock.now().mono) {
                return Over::Ended(end);
            }
        }
    }
}

/// Time that a call which has begun may still take when the time of the command is over.
const PATIENCE: Duration = Duration::from_millis(500);

enum Over {
    Ended(End),
    TimedOut,
    Interrupted,
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
