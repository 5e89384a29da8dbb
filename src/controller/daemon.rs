//! Assembles the daemon: state folder, journal, engine, observer, a worker for each stack, doors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::claims::Claims;
use super::command;
use super::holding;
use super::keeper::{Board, Keeper, Operator};
use super::leasing;
use super::observer::{Handle, Observer};
use super::process;
use super::watch::{Follower, MOST_STACKS, Roster};
use crate::api::status::Publisher;
use crate::clock::{Clock, SystemClock};
use crate::desired::shell;
use crate::desired::source::{Request, Source};
use crate::engine::DynEngine;
use crate::lease::Role;
use crate::metrics::engine::Counted;
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
    /// Only look: no lease is taken, and nothing written.
    pub observe: bool,
    /// Take over from whoever holds a project's lease at the start.
    pub take_over: bool,
}

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// More stacks than one daemon keeps.
    #[error(
        "{found} stacks are here, and one daemon keeps at most {MOST_STACKS}; give some a folder and a daemon of their own"
    )]
    TooMany {
        /// How many.
        found: usize,
    },
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

/// Keeps these stacks, and those that `request` finds later, until `stop`; then lets steps under way end and closes the journal.
///
/// # Errors
/// [`DaemonError`] at start. An engine that can't be reached is no error: it is waited for.
pub async fn run(
    options: DaemonOptions,
    engine: DynEngine,
    stacks: Vec<Source>,
    request: Request,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    if stacks.len() > MOST_STACKS {
        return Err(DaemonError::TooMany { found: stacks.len() });
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dir = StateDir::open(&options.state_dir)?;
    dir.load_redaction_key()?;
    let socket = ControlSocket::bind(&dir)?;
    let (journal, keeper) = open_journal(&dir, &clock).await?;
    let me = process::holder(Role::Daemon, &dir, Some(dir.socket()), clock.now().wall)?;
    let life: leasing::Judge = Arc::new(process::judge(process::around(Some(&dir), true)?));
    let operator =
        (!options.observe).then(|| Operator { me: me.clone(), life, take_over: options.take_over });
    let metrics = Arc::new(Metrics::new()?);
    let engine: DynEngine =
        Arc::new(Counted::new(engine, Arc::clone(&metrics), Arc::clone(&clock)));
    let (publisher, reader) = Publisher::new();
    let (commands, inbox) = mpsc::channel(64);
    let shared = Shared {
        status: reader.clone(),
        metrics: Arc::clone(&metrics),
        store: journal.clone(),
        commands,
        holder: me.id,
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
    let observer = observer.recalling(holding::uncertain(&journal).await.unwrap_or_else(|error| {
        tracing::error!(%error, "can't read which stops are uncertain; none of them counts");
        Vec::new()
    }));
    let observing = CancellationToken::new();
    let watching = tokio::spawn(observer.run(observing.clone()));

    let board = Arc::new(Board {
        endpoint: engine.endpoint(),
        clock: Arc::clone(&clock),
        publisher,
        reader,
        metrics,
        sights: Mutex::default(),
        sources: Mutex::default(),
        claims: watch::channel(Claims::new(stacks.iter().map(|s| s.name.clone()))).0,
    });
    let (ended, endings) = mpsc::channel(MOST_STACKS);
    let mut house = House {
        engine: Arc::clone(&engine),
        clock: Arc::clone(&clock),
        observer: handle.clone(),
        journal: journal.clone(),
        board,
        kept: Arc::default(),
        ended,
        operator,
    };
    let desk = command::Desk {
        stacks: Arc::clone(&house.kept),
        observer: handle,
        clock: Arc::clone(&clock),
        endpoint: engine.endpoint(),
    };
    tasks.spawn(command::serve(inbox, desk, stop.clone()));
    let (newcomer, mut newcomers) = mpsc::channel(MOST_STACKS);
    tasks.spawn(Roster::new(&request, &stacks, clock, newcomer, endings).run(stop.clone()));
    for source in stacks {
        house.take_up(source, &mut tasks, &stop).await;
    }
    // A person's word is about what there is at the start.
    house.operator = house.operator.map(|operator| Operator { take_over: false, ..operator });
    loop {
        tokio::select! {
            Some(source) = newcomers.recv() => house.take_up(source, &mut tasks, &stop).await,
            ended = tasks.join_next() => if ended.is_none() { break },
        }
    }
    drop(house);
    stop.cancelled().await;
    observing.cancel();
    let _ = watching.await;
    let _ = door.await;
    drop(journal);
    // The journal's thread ends when the last handle is gone; connections and steps that were left
    // to the engine may still hold one.
    let closed = tokio::task::spawn_blocking(move || keeper.join());
    let _ = tokio::time::timeout(Duration::from_secs(1), closed).await;
    Ok(())
}

/// The journal, set aside and rebuilt where it is damaged, in memory while its disk is full.
async fn open_journal(
    dir: &StateDir,
    clock: &Arc<dyn Clock>,
) -> Result<(store::Handle, store::Keeper), DaemonError> {
    let path = dir.journal();
    let (journal, aside, full) = match Journal::open(&path, Arc::clone(clock)) {
        Err(full @ JournalError::DiskFull) => {
            (Journal::without_room(&path, Arc::clone(clock))?, None, Some(full))
        }
        opened => opened.map(|(journal, aside)| (journal, aside, None))?,
    };
    let (journal, keeper) = store::Handle::spawn(journal)?;
    if let Some(aside) = aside {
        tracing::warn!(reason = %aside.reason, kept_as = %aside.kept_as.display(), "the journal was damaged and is rebuilt");
        journal.tell_rebuilt(&aside).await;
    }
    if let Some(error) = full {
        tracing::error!(%error, "the journal can't be opened; starting without memory");
        journal.tell_no_room(&error, clock.now().wall);
    }
    Ok((journal, keeper))
}

/// What every stack shares.
struct House {
    engine: DynEngine,
    clock: Arc<dyn Clock>,
    observer: Handle,
    journal: store::Handle,
    board: Arc<Board>,
    kept: command::Stacks,
    /// Names of stacks that are kept no longer.
    ended: mpsc::Sender<String>,
    operator: Option<Operator>,
}

impl House {
    /// Follows a stack's files and keeps it, until told to stop or until another stack goes on with
    /// its project.
    async fn take_up(&self, source: Source, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let name = source.name.clone();
        let known = match self.journal.source(&name).await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(%error, "can't read the journal; generations begin at 1");
                None
            }
        };
        warn_of_unheard(&source);
        let (follower, following) = Follower::new(source, Arc::clone(&self.clock), known);
        let (tap, taps) = watch::channel(None);
        let entry = command::Kept { following: following.clone(), tap: taps };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), entry);
        let over = stop.child_token();
        tasks.spawn(follower.run(over.clone()));
        let keeper = Keeper {
            name: name.clone(),
            following,
            engine: Arc::clone(&self.engine),
            observer: self.observer.clone(),
            journal: self.journal.clone(),
            board: Arc::clone(&self.board),
            tap,
            operator: self.operator.clone(),
        };
        let (kept, ended, stop) = (Arc::clone(&self.kept), self.ended.clone(), stop.clone());
        tasks.spawn(async move {
            keeper.run(stop.clone()).await;
            if stop.is_cancelled() {
                return;
            }
            over.cancel();
            kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            // Last: the name is free from now on.
            let _ = ended.send(name).await;
        });
    }
}

/// Whoever starts a daemon from a shell expects what that shell's `docker compose` would do.
fn warn_of_unheard(source: &Source) {
    let source = source.clone();
    tokio::task::spawn_blocking(move || {
        let names = shell::unheard(&source).join(", ");
        if !names.is_empty() {
            tracing::warn!(
                stack = %source.name,
                "the daemon doesn't use the variables of its environment, and these would change the project: {names}; put them into .env or spec.source.env, or start it with --inherit-env"
            );
        }
    });
}
