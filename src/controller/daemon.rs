//! Assembles the daemon: state folder, journal, engine, observer, a worker for each stack, doors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::command;
use super::observer::{Handle, Link, Observer};
use super::publish::{SourceView, StackSight, status};
use super::recall;
use super::recording::JournalRecorder;
use super::worker::{Goal, Parts, Tap, View, Worker};
use crate::api::status::{Publisher, StatusReader};
use crate::clock::{Clock, SystemClock};
use crate::engine::DynEngine;
use crate::metrics::{Metrics, MetricsError};
use crate::server::{self, ControlSocket, ServerError, Shared};
use crate::store::{self, Journal, JournalError, StateDir, StateDirError, StoreError};

/// What the daemon is told at start.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// The state folder.
    pub state_dir: PathBuf,
    /// Address of the read-only API; loopback.
    pub listen: SocketAddr,
    /// A second listener for `/metrics` and `/healthz` only.
    pub metrics_listen: Option<SocketAddr>,
    /// Time between two full lists.
    pub resync: Duration,
}

/// One stack and the files that it follows.
pub struct Followed {
    /// Its name.
    pub name: String,
    /// What it should look like; `None` before the first good load.
    pub goal: watch::Receiver<Option<Goal>>,
    /// Its files.
    pub source: watch::Receiver<SourceView>,
}

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state folder can't be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal's thread can't be had.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics can't be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A door can't open.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs until `stop`; then lets steps under way end and closes the journal.
///
/// # Errors
/// [`DaemonError`] at start. An engine that can't be reached is no error: it is waited for.
pub async fn run(
    options: DaemonOptions,
    engine: DynEngine,
    stacks: Vec<Followed>,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dir = StateDir::open(&options.state_dir)?;
    dir.load_redaction_key()?;
    let socket = ControlSocket::bind(&dir)?;
    let (journal, set_aside) = Journal::open(&dir.journal(), Arc::clone(&clock))?;
    if let Some(aside) = set_aside {
        tracing::warn!(reason = %aside.reason, kept_as = %aside.kept_as.display(), "the journal was damaged and is rebuilt");
    }
    let (journal, keeper) = store::Handle::spawn(journal)?;
    let metrics = Arc::new(Metrics::new()?);
    let (publisher, reader) = Publisher::new();
    let (commands, inbox) = mpsc::channel(64);
    let shared = Shared {
        status: reader.clone(),
        metrics: Arc::clone(&metrics),
        store: journal.clone(),
        commands,
    };
    let mut tasks = JoinSet::new();
    let (address, _) = server::serve_http(options.listen, shared.clone(), stop.clone()).await?;
    tracing::info!(%address, "serving health, metrics and status");
    if let Some(address) = options.metrics_listen {
        let (address, _) =
            server::serve_metrics(address, Arc::clone(&metrics), stop.clone()).await?;
        tracing::info!(%address, "serving metrics");
    }
    let door = socket.serve(shared, stop.clone());

    let (observer, handle) = Observer::new(
        Arc::clone(&engine),
        Arc::clone(&clock),
        Arc::clone(&metrics) as Arc<_>,
        options.resync,
    );
    let observing = CancellationToken::new();
    let watching = tokio::spawn(observer.run(observing.clone()));

    let board = Arc::new(Board::new(engine.endpoint(), Arc::clone(&clock), publisher, reader));
    let taps: command::Taps = Arc::default();
    for stack in stacks {
        let stack = StackTask {
            stack,
            engine: Arc::clone(&engine),
            observer: handle.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            journal: journal.clone(),
            board: Arc::clone(&board),
            taps: Arc::clone(&taps),
        };
        tasks.spawn(stack.run(stop.clone()));
    }
    tasks.spawn(command::serve(inbox, taps, handle, stop.clone()));
    while tasks.join_next().await.is_some() {}
    stop.cancelled().await;
    observing.cancel();
    let _ = watching.await;
    let _ = door.await;
    drop(journal);
    // The journal's thread ends when the last handle is gone; connections may still hold one.
    let closed = tokio::task::spawn_blocking(move || keeper.join());
    let _ = tokio::time::timeout(Duration::from_secs(5), closed).await;
    Ok(())
}

/// Where every stack's sight comes together, to be published as one status.
struct Board {
    endpoint: String,
    clock: Arc<dyn Clock>,
    publisher: Publisher,
    reader: StatusReader,
    sights: Mutex<BTreeMap<String, StackSight>>,
}

impl Board {
    fn new(
        endpoint: String,
        clock: Arc<dyn Clock>,
        publisher: Publisher,
        reader: StatusReader,
    ) -> Self {
        Self { endpoint, clock, publisher, reader, sights: Mutex::default() }
    }

    fn show(&self, sight: StackSight) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        sights.insert(sight.name.clone(), sight);
        let all: Vec<StackSight> = sights.values().cloned().collect();
        let before = Arc::clone(&self.reader.borrow());
        self.publisher.publish(status(&self.endpoint, &all, &before, self.clock.now().wall));
    }
}

struct StackTask {
    stack: Followed,
    engine: DynEngine,
    observer: Handle,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    journal: store::Handle,
    board: Arc<Board>,
    taps: command::Taps,
}

impl StackTask {
    /// Waits for the files and the engine, recalls the past, then runs the worker and publishes
    /// what it sees.
    async fn run(mut self, stop: CancellationToken) {
        self.show(View::default());
        let Some((goal, engine_id)) = self.first_facts(&stop).await else { return };
        let project = goal.desired.project.name.clone();
        self.observer.projects.send_modify(|projects| {
            projects.insert(project.clone());
        });
        let recalled = recall::memory(&self.journal, &engine_id, &goal, &*self.clock).await;
        let recorder = JournalRecorder {
            journal: self.journal.clone(),
            metrics: Arc::clone(&self.metrics),
            engine: engine_id,
            project: project.clone(),
            boot_id: recall::boot_id(),
        };
        let (worker, tap) = Worker::new(Parts {
            engine: Arc::clone(&self.engine),
            observer: self.observer.clone(),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics) as Arc<_>,
            recorder: Arc::new(recorder),
            memory: recalled,
            goal: self.stack.goal.clone(),
        });
        self.enlist(&tap);
        let mut views = tap.views.clone();
        let mut worker = tokio::spawn(worker.run(stop.clone()));
        loop {
            tokio::select! {
                changed = views.changed() => if changed.is_err() { break },
                Ok(()) = self.stack.source.changed() => {
                    let source = self.stack.source.borrow().clone();
                    let well = (source.error.is_empty() && !source.gone)
                        .then(|| self.clock.now().wall);
                    self.metrics.config_loaded(well);
                }
                _ = &mut worker => break,
            }
            let view = views.borrow_and_update().clone();
            self.show(view);
        }
    }

    fn enlist(&self, tap: &Tap) {
        let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        taps.insert(self.stack.name.clone(), tap.clone());
    }

    fn show(&self, view: View) {
        self.board.show(StackSight {
            name: self.stack.name.clone(),
            goal: self.stack.goal.borrow().clone(),
            view,
            source: self.stack.source.borrow().clone(),
        });
    }

    /// The first good load and the engine's ID; shows what is missing meanwhile.
    async fn first_facts(&mut self, stop: &CancellationToken) -> Option<(Goal, String)> {
        loop {
            let snapshot = self.observer.snapshots.borrow_and_update().clone();
            let goal = self.stack.goal.borrow_and_update().clone();
            if let (Link::Live, Some(goal)) = (&snapshot.link, goal) {
                let well = Some(self.clock.now().wall);
                self.metrics.config_loaded(well);
                return Some((goal, snapshot.observed.engine.id.clone()));
            }
            self.show(View { link: snapshot.link, observed: snapshot.observed, ..View::default() });
            tokio::select! {
                () = stop.cancelled() => return None,
                Ok(()) = self.observer.snapshots.changed() => {}
                Ok(()) = self.stack.goal.changed() => {}
                Ok(()) = self.stack.source.changed() => {}
            }
        }
    }
}
