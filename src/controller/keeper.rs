//! One stack in the daemon: waits for its files, its project and the engine, then keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::claims::{Claim, Claims};
use super::leasing::{self, Leasing};
use super::meter::Meter;
use super::observer::{Handle, Link};
use super::own::Own;
use super::publish::{SourceView, StackSight, status};
use super::recall;
use super::recording::JournalRecorder;
use super::watch::{Following, SourceStatus};
use super::worker::{Goal, Parts, Tap, View, Worker};
use crate::api::status::{Publisher, StatusReader};
use crate::clock::Clock;
use crate::engine::DynEngine;
use crate::execute::lease::Permit;
use crate::lease::{Holder, LeaseState};
use crate::metrics::Metrics;
use crate::store::{self, EventKind, NewEvent};

/// How long steps under way may go on after the daemon was told to stop. What isn't over by then
/// stays open in the journal, and the next start looks what came of it.
const LAST_STEPS: Duration = Duration::from_secs(3);
/// Pause before a loop that ended by a defect begins anew.
const AFTER_DEFECT: Duration = Duration::from_secs(5);
/// How long a stack's files are gone before another stack may go on with its project: they may
/// only be written anew.
const LEFT: Duration = Duration::from_secs(5);

/// Where every stack's sight comes together, to be published as one status.
pub struct Board {
    /// The engine's address.
    pub endpoint: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where to publish.
    pub publisher: Publisher,
    /// What was published.
    pub reader: StatusReader,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The sights, by stack.
    pub sights: Mutex<BTreeMap<String, StackSight>>,
    /// What came of the last load of each stack's files.
    pub sources: Mutex<BTreeMap<String, Load>>,
    /// Who keeps what.
    pub claims: watch::Sender<Claims>,
}

/// What came of a load: whether it was well, of what, and what is wrong.
type Load = (bool, Option<String>, Option<String>);

impl Board {
    fn show(&self, sight: StackSight) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        sights.insert(sight.name.clone(), sight);
        self.publish(&sights);
    }

    fn publish(&self, sights: &BTreeMap<String, StackSight>) {
        let all: Vec<StackSight> = sights.values().cloned().collect();
        let working = all
            .iter()
            .filter(|s| s.view.busy > 0 || s.view.acts() && !s.view.plan.is_empty())
            .count();
        self.metrics.queue_depth(working);
        let before = Arc::clone(&self.reader.borrow());
        let status = status(&self.endpoint, &all, &before, self.clock.now().wall);
        self.metrics.stack_conditions(&status.stacks);
        self.publisher.publish(status);
    }

    /// The files of a stack were loaded. The metric is 1 only while all stacks' files are well.
    fn loaded(&self, stack: &str, source: &SourceStatus) {
        let well = source.error.is_none() && !source.source_gone;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        // A command has the files read, too: what is as before is no reload.
        let now =
            (well, source.fingerprint.clone(), source.error.as_ref().map(ToString::to_string));
        if sources.insert(stack.to_owned(), now.clone()).as_ref() != Some(&now) {
            self.metrics.config_loaded(well.then(|| self.clock.now().wall));
        }
        self.metrics.config_successful(sources.values().all(|(well, ..)| *well));
    }

    fn claim(&self, stack: &str, project: &str) -> Claim {
        let mut answer = Claim::Wait;
        self.claims.send_if_modified(|claims| {
            answer = claims.claim(stack, project);
            false
        });
        answer
    }

    /// Whether the project's stack is gone and asked to let go.
    fn await_heir(&self, project: &str) -> bool {
        let mut hope = false;
        self.claims.send_if_modified(|claims| {
            let before = claims.clone();
            hope = claims.await_heir(project);
            *claims != before
        });
        hope
    }

    /// Tells whether a stack's files are gone, once they have been for a while.
    async fn mind(self: Arc<Self>, stack: String, mut status: watch::Receiver<SourceStatus>) {
        loop {
            if status.wait_for(|s| s.source_gone).await.is_err() {
                return;
            }
            match tokio::time::timeout(LEFT, status.wait_for(|s| !s.source_gone)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            self.claims.send_if_modified(|claims| claims.absent(&stack, true));
            if status.wait_for(|s| !s.source_gone).await.is_err() {
                return;
            }
            self.claims.send_if_modified(|claims| claims.absent(&stack, false));
        }
    }

    /// A stack that is kept no longer.
    fn forget(&self, stack: &str) {
        self.claims.send_modify(|claims| {
            claims.absent(stack, false);
        });
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(stack);
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        sights.remove(stack);
        self.publish(&sights);
    }

    fn release(&self, stack: &str, project: &str) {
        self.claims.send_modify(|claims| claims.release(stack, project));
    }
}

/// Who takes leases for a daemon.
#[derive(Clone)]
pub struct Operator {
    /// This process.
    pub me: Holder,
    /// Who lives.
    pub life: leasing::Judge,
    /// A person asked to take over.
    pub take_over: bool,
}

/// One stack in the daemon.
pub struct Keeper {
    /// Its name.
    pub name: String,
    /// Its files.
    pub following: Following,
    /// The engine.
    pub engine: DynEngine,
    /// The observer.
    pub observer: Handle,
    /// The journal.
    pub journal: store::Handle,
    /// Where to show it.
    pub board: Arc<Board>,
    /// Where commands reach its loop.
    pub tap: watch::Sender<Option<Tap>>,
    /// Who takes leases, and how; `None` where the tier takes none.
    pub operator: Option<Operator>,
}

impl Keeper {
    /// Keeps the stack until told to stop. An edit that names another project begins anew with
    /// that one; what was made for the old one is left alone. Ends as well when the files are gone
    /// and another stack goes on with the project: its Stack was renamed.
    pub async fn run(mut self, stop: CancellationToken) {
        self.show(View::default(), "");
        let status = self.following.status.clone();
        let minding = tokio::spawn(Arc::clone(&self.board).mind(self.name.clone(), status));
        while let Some((goal, engine)) = self.first_facts(&stop).await {
            let project = goal.desired.project.name.clone();
            let left = self.keep(goal, engine, &stop).await;
            self.board.release(&self.name, &project);
            if left || stop.is_cancelled() {
                break;
            }
        }
        minding.abort();
        if !stop.is_cancelled() {
            tracing::info!(stack = %self.name, "gone; another stack goes on with its project");
            self.board.forget(&self.name);
        }
    }

    /// Runs the worker and publishes what it sees, until told to stop, until the goal is one of
    /// another project, or until another stack goes on with it: only then it returns true.
    async fn keep(&mut self, goal: Goal, engine: String, stop: &CancellationToken) -> bool {
        let project = goal.desired.project.name.clone();
        self.observer.projects.send_modify(|projects| {
            projects.insert(project.clone());
        });
        let clock = Arc::clone(&self.board.clock);
        let recalled = recall::memory(&self.journal, &engine, &goal, &*clock).await;
        let metrics = Arc::clone(&self.board.metrics);
        let (journal, counted) = (self.journal.clone(), Arc::clone(&metrics));
        let recorder = JournalRecorder::new(journal, counted, &engine, &project);
        let mut health = self.journal.health();
        let mut services: BTreeSet<String> = service_names(&goal);
        let (permit, lease) = self.seek_lease(&engine, &project);
        let (goals, wanted) = watch::channel(Some(goal));
        let (worker, tap) = Worker::new(Parts {
            engine: Arc::clone(&self.engine),
            observer: self.observer.clone(),
            clock,
            metrics: Arc::clone(&metrics) as Arc<_>,
            own: Own::of_this_process(),
            recorder: Arc::new(recorder),
            memory: recalled,
            permit,
            goal: wanted,
        });
        let mut views = tap.views.clone();
        self.tap.send_replace(Some(tap));
        let end = stop.child_token();
        let mut worker = tokio::spawn(worker.run(end.clone()));
        let (mut applied, mut fell) = (String::new(), false);
        let mut claims = self.board.claims.subscribe();
        let mut left = claims.borrow_and_update().should_leave(&self.name, &project);
        while !left {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = claims.changed() => {
                    left = claims.borrow_and_update().should_leave(&self.name, &project);
                    continue;
                }
                changed = views.changed() => if changed.is_err() { break },
                Ok(()) = self.following.status.changed() => self.loaded().await,
                Ok(()) = health.changed() => {
                    applied.clear();
                    self.note_source().await;
                }
                Ok(()) = self.following.goal.changed() => {
                    let next = self.following.goal.borrow_and_update().clone();
                    let Some(next) = next else { continue };
                    if next.desired.project.name != project {
                        break;
                    }
                    services.extend(service_names(&next));
                    goals.send_replace(Some(next));
                }
                _ = &mut worker => {
                    fell = true;
                    break;
                }
            }
            let view = views.borrow_and_update().clone();
            self.note_applied(&engine, &project, &view, &mut applied).await;
            self.show(view, "");
        }
        end.cancel();
        let ended =
            worker.is_finished() || tokio::time::timeout(LAST_STEPS, &mut worker).await.is_ok();
        if !ended {
            worker.abort();
            tracing::warn!(stack = %self.name, "steps under way are left to the engine; the next start sees what came of them");
        }
        if let Some(lease) = lease {
            // Whoever goes on with the project is this same process: it stays its lease.
            lease.end(ended && !left).await;
        }
        metrics.forget_lease(&project);
        self.tap.send_replace(None);
        if fell && !stop.is_cancelled() {
            tracing::error!(stack = %self.name, "the stack's loop ended by a defect and begins anew; please report it");
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AFTER_DEFECT) => {}
            }
        }
        if !stop.is_cancelled() {
            metrics.forgotten(&project, &services);
            self.observer.projects.send_modify(|projects| {
                projects.remove(&project);
            });
        }
        left
    }

    /// Begins to seek the project's lease. `None` where the tier takes none.
    fn seek_lease(&mut self, engine: &str, project: &str) -> (Permit, Option<leasing::Running>) {
        let clock = Arc::clone(&self.board.clock);
        let Some(operator) = &mut self.operator else {
            return (Leasing::observing(clock), None);
        };
        let tell = told(&self.journal, &self.board.metrics, engine, project);
        let mut me = operator.me.clone();
        me.since = Some(clock.now().wall.0);
        let terms = leasing::Terms {
            engine: Arc::clone(&self.engine),
            clock,
            project: project.to_owned(),
            me,
            life: Arc::clone(&operator.life),
            // A person's word counts once.
            take_over: std::mem::take(&mut operator.take_over),
            tell,
        };
        let (permit, lease) = Leasing::start(terms, self.observer.snapshots.clone());
        (permit, Some(lease))
    }

    /// Writes down which state of the files was reached, once it is.
    async fn note_applied(&self, engine: &str, project: &str, view: &View, applied: &mut String) {
        let (generation, print) = {
            let status = self.following.status.borrow();
            (status.generation, status.fingerprint.clone().unwrap_or_default())
        };
        let reached = view.generation == generation
            && view.link == Link::Live
            && view.plan.is_empty()
            && view.busy == 0
            && view.report.settled();
        let failing = self.journal.health().borrow().failing.is_some();
        if !reached || failing || *applied == print {
            return;
        }
        match self.journal.set_generation(engine, project, &print).await {
            Ok(()) => *applied = print,
            Err(error) => {
                self.board.metrics.journal_failed();
                tracing::error!(%error, "can't journal the generation; going on without");
            }
        }
    }

    fn show(&self, view: View, conflict: &str) {
        self.board.show(StackSight {
            name: self.name.clone(),
            goal: self.following.goal.borrow().clone(),
            view,
            source: SourceView {
                conflict: conflict.to_owned(),
                journal: Some(self.journal.health().borrow().clone()),
                ..SourceView::from(&*self.following.status.borrow())
            },
        });
    }

    /// The files were loaded, well or not: counted, and the generation written down.
    async fn loaded(&mut self) {
        let status = self.following.status.borrow_and_update().clone();
        let well = status.error.is_none() && !status.source_gone;
        self.board.loaded(&self.name, &status);
        let goal = self.following.goal.borrow().clone();
        let project = goal.as_ref().map(|goal| goal.desired.project.name.as_str());
        self.board.claims.send_if_modified(|claims| claims.decided(&self.name, project));
        if well {
            self.note_source().await;
        }
    }

    /// Writes down where the stack's generations stand.
    async fn note_source(&mut self) {
        let status = self.following.status.borrow().clone();
        let Some(print) = status.fingerprint else { return };
        if let Err(error) = self.journal.set_source(&self.name, status.generation, &print).await {
            self.board.metrics.journal_failed();
            tracing::error!(%error, "can't journal the generation; going on without");
        }
    }

    /// A good load whose project is free, and the engine's ID; shows what is missing meanwhile.
    async fn first_facts(&mut self, stop: &CancellationToken) -> Option<(Goal, String)> {
        let mut claims = self.board.claims.subscribe();
        let mut told = String::new();
        loop {
            if self.following.status.has_changed().is_ok_and(|changed| changed) {
                self.loaded().await;
            }
            claims.borrow_and_update();
            let snapshot = self.observer.snapshots.borrow_and_update().clone();
            let goal = self.following.goal.borrow_and_update().clone();
            let mut conflict = String::new();
            if let Some(goal) = goal {
                let project = goal.desired.project.name.clone();
                let gone = self.following.status.borrow().source_gone;
                match self.board.claim(&self.name, &project) {
                    Claim::Granted
                        if self.board.claims.borrow().should_leave(&self.name, &project) =>
                    {
                        self.board.release(&self.name, &project);
                        return None;
                    }
                    Claim::Granted if snapshot.link == Link::Live => {
                        return Some((goal, snapshot.observed.engine.id.clone()));
                    }
                    Claim::Granted | Claim::Wait => {}
                    Claim::TakenBy(_) if !gone && self.board.await_heir(&project) => {}
                    Claim::TakenBy(other) => {
                        conflict = format!(
                            "the Compose project {project} is kept by the stack {other}; give one of them another project name"
                        );
                    }
                }
            }
            if told != conflict && !conflict.is_empty() {
                tracing::error!(stack = %self.name, "{conflict}");
            }
            let view = View { link: snapshot.link, observed: snapshot.observed, ..View::default() };
            self.show(view, &conflict);
            told = conflict;
            tokio::select! {
                () = stop.cancelled() => return None,
                Ok(()) = self.observer.snapshots.changed() => {}
                Ok(()) = self.following.goal.changed() => {}
                Ok(()) = self.following.status.changed() => self.loaded().await,
                Ok(()) = claims.changed() => {}
            }
        }
    }
}

/// Counts how the lease stands, and writes it down for `events`.
fn told(
    journal: &store::Handle,
    metrics: &Arc<Metrics>,
    engine: &str,
    project: &str,
) -> leasing::Tell {
    let (journal, metrics) = (journal.clone(), Arc::clone(metrics));
    let (engine, project) = (engine.to_owned(), project.to_owned());
    Box::new(move |state| {
        metrics.lease_held(&project, state.is_held());
        let kind = match state {
            LeaseState::Held { .. } => EventKind::Normal,
            LeaseState::Standby { .. } | LeaseState::Refused(_) => EventKind::Warning,
            LeaseState::Seeking(_) | LeaseState::Observing => return,
        };
        let event = NewEvent {
            engine: engine.clone(),
            project: project.clone(),
            kind,
            reason: format!("Lease{}", state.reason()),
            object: "lease".into(),
            message: state.to_string(),
        };
        let (journal, metrics) = (journal.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            if let Err(error) = journal.record_event(event).await {
                metrics.journal_failed();
                tracing::error!(%error, "can't journal an event; going on without");
            }
        });
    })
}

fn service_names(goal: &Goal) -> BTreeSet<String> {
    goal.desired.project.services.keys().cloned().collect()
}
