//! Keeps the picture of the engine true: events say where to look again, a full list at start,
//! on every reconnect and on a timer finds what no event told.
//!
//! # Guarantees
//! - Nobody sees a snapshot before the first complete one.
//! - After a gap in the stream nothing is published before a full list.
//! - A request to look again is answered after a snapshot that was read later than the request.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::deaths::Deaths;
use super::meter::Meter;
use super::snapshot::{Dirty, Picture};
use crate::clock::{Clock, Mono};
use crate::engine::{ContainerId, DynEngine, EngineEvent, Fault, StreamItem};
use crate::observed::{Observed, labels};

/// Time between two full lists while the stream is healthy.
pub const RESYNC: Duration = Duration::from_secs(60);
/// A stream that is silent for longer is opened anew: the socket may be half open.
pub const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Containers of others matter only for names, ports and addresses: looked at this much later.
const FOREIGN_DELAY: Duration = Duration::from_millis(500);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// First and last pause before a container is asked about again that couldn't be inspected.
const OWED_FIRST: Duration = Duration::from_secs(1);
const OWED_LAST: Duration = Duration::from_secs(60);

/// The observer's link to the engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Link {
    /// Not yet.
    #[default]
    Connecting,
    /// Events flow and the picture is true.
    Live,
    /// The picture is old: don't act on it.
    Stale(Fault),
}

/// What the observer publishes.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Grows with each publication.
    pub revision: u64,
    /// Whether it may be acted upon.
    pub link: Link,
    /// The picture; empty before the first complete one.
    pub observed: Arc<Observed>,
    /// Arrival of the first event that led to this publication.
    pub event_at: Option<Mono>,
}

/// A request to look again.
pub struct Refresh {
    /// At what.
    pub dirty: Dirty,
    /// Answered once a snapshot with it is published; dropped when the engine can't be reached.
    pub done: oneshot::Sender<()>,
}

/// How others speak with the observer.
#[derive(Clone)]
pub struct Handle {
    /// The latest snapshot.
    pub snapshots: watch::Receiver<Snapshot>,
    /// Requests to look again.
    pub requests: mpsc::Sender<Refresh>,
    /// What last changed each container.
    pub changes: Arc<Changes>,
    /// The projects whose containers are inspected.
    pub projects: watch::Sender<BTreeSet<String>>,
}

impl Handle {
    /// Looks again; ends when the next snapshot has it, or the engine can't be reached.
    pub async fn refresh(&self, dirty: Dirty) {
        let (done, answer) = oneshot::channel();
        if self.requests.send(Refresh { dirty, done }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// Events that are taken at once.
const BATCH: usize = 256;

/// When to ask again about containers that couldn't be inspected.
#[derive(Default)]
struct Owed {
    at: Option<Mono>,
    pause: Duration,
}

impl Owed {
    fn plan(&mut self, any: bool, now: Mono) {
        if !any {
            *self = Self::default();
        } else if self.at.is_none() {
            self.pause = (self.pause * 2).clamp(OWED_FIRST, OWED_LAST);
            self.at = Some(now.after(self.pause));
        }
    }

    fn take(&mut self, now: Mono) -> bool {
        let due = self.at.is_some_and(|at| now >= at);
        if due {
            self.at = None;
        }
        due
    }
}

/// Whom to tell once a snapshot is published.
type Waiting = Vec<oneshot::Sender<()>>;

/// Watches one engine.
pub struct Observer {
    engine: DynEngine,
    clock: Arc<dyn Clock>,
    metrics: Arc<dyn Meter>,
    publish: watch::Sender<Snapshot>,
    requests: mpsc::Receiver<Refresh>,
    projects: watch::Receiver<BTreeSet<String>>,
    changes: Arc<Changes>,
    resync: Duration,
    idle: Duration,
}

impl Observer {
    /// An observer that isn't running yet, and its handle.
    pub fn new(
        engine: DynEngine,
        clock: Arc<dyn Clock>,
        metrics: Arc<dyn Meter>,
        resync: Duration,
    ) -> (Self, Handle) {
        let (publish, snapshots) = watch::channel(Snapshot::default());
        let (requests, inbox) = mpsc::channel(256);
        let (projects, wanted) = watch::channel(BTreeSet::new());
        let changes = Arc::new(Changes::default());
        let handle = Handle { snapshots, requests, changes: Arc::clone(&changes), projects };
        let observer = Self {
            engine,
            clock,
            metrics,
            publish,
            requests: inbox,
            projects: wanted,
            changes,
            resync,
            idle: IDLE_LIMIT,
        };
        (observer, handle)
    }

    /// Opens the stream anew after this silence instead of [`IDLE_LIMIT`].
    #[must_use]
    pub const fn with_idle_limit(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Watches until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut retry = RETRY_FIRST;
        let mut sessions = 0u64;
        loop {
            let started = self.clock.now().mono;
            let mut waiting = Vec::new();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                fault = self.session(&mut sessions, &mut waiting) => fault,
            };
            self.metrics.stream_connected(false);
            tracing::warn!(error = %ended, "lost the engine's event stream; facts are stale");
            self.publish.send_modify(|s| {
                s.revision += 1;
                s.link = Link::Stale(ended);
            });
            // Whoever waits for a refresh must not wait for the next session; and must not be told
            // before the facts are marked as old.
            drop(waiting);
            while self.requests.try_recv().is_ok() {}
            // A proxy that cuts streams every few seconds must not leave us blind in between.
            if self.clock.now().mono.since(started) >= retry {
                retry = RETRY_FIRST;
            }
            let pause = retry.mul_f64(1.0 + 0.2 * self.clock.jitter());
            retry = (retry * 2).min(RETRY_LAST);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One connection: subscribe first, then list, so that nothing falls between.
    async fn session(&mut self, sessions: &mut u64, waiting: &mut Waiting) -> Fault {
        match self.try_session(sessions, waiting).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn try_session(
        &mut self,
        sessions: &mut u64,
        waiting: &mut Waiting,
    ) -> Result<Infallible, Fault> {
        let info = self.engine.info().await?;
        let events = self.engine.events().await?;
        let mut events = events.ready_chunks(BATCH);
        let projects = self.projects.borrow_and_update().clone();
        let mut picture = Picture::new(info, projects);
        picture.refresh(&self.engine, &*self.clock, Dirty::everything()).await?;
        if *sessions > 0 {
            self.metrics.event_gap();
        }
        *sessions += 1;
        self.metrics.stream_connected(true);
        self.publish(&picture, true, None);
        let mut last_event = self.clock.now().mono;
        let mut next_resync = last_event.after(self.resync);
        let mut foreign: Option<Mono> = None;
        let mut owed = Owed::default();
        let mut deaths = Deaths::default();
        loop {
            let now = self.clock.now().mono;
            owed.plan(!picture.owed.is_empty(), now);
            let due = [foreign, owed.at, Some(next_resync), Some(last_event.after(self.idle))];
            let wake = due.into_iter().flatten().min().unwrap_or(next_resync);
            let mut dirty = Dirty::default();
            let mut full = false;
            let mut event_at = None;
            tokio::select! {
                batch = events.next() => {
                    let Some(batch) = batch else {
                        return Err(interrupted("the stream ended"));
                    };
                    last_event = self.clock.now().mono;
                    event_at = Some(last_event);
                    for item in batch {
                        if self.take(item?, &picture, &mut deaths, &mut dirty) && foreign.is_none() {
                            foreign = Some(last_event.after(FOREIGN_DELAY));
                        }
                    }
                    if deaths.write(&mut picture.observed) {
                        self.publish(&picture, false, event_at);
                    }
                }
                Some(request) = self.requests.recv() => {
                    dirty.merge(request.dirty);
                    waiting.push(request.done);
                    while let Ok(more) = self.requests.try_recv() {
                        dirty.merge(more.dirty);
                        waiting.push(more.done);
                    }
                }
                Ok(()) = self.projects.changed() => {
                    picture.projects = self.projects.borrow_and_update().clone();
                    full = true;
                }
                () = tokio::time::sleep(wake.since(now)) => {}
            }
            let now = self.clock.now().mono;
            if now.since(last_event) >= self.idle {
                // The socket may be half open. The old stream goes once the new one is there, and
                // what it kept back the full list shows.
                events = self.engine.events().await?.ready_chunks(BATCH);
                last_event = now;
                full = true;
            }
            if full || now >= next_resync {
                dirty.merge(Dirty::everything());
                next_resync = now.after(self.resync);
                full = true;
            }
            if foreign.is_some_and(|f| now >= f) {
                dirty.list = true;
                foreign = None;
            }
            if owed.take(now) {
                dirty.containers.extend(picture.owed.iter().cloned());
            }
            if dirty.is_empty() {
                continue;
            }
            picture.refresh(&self.engine, &*self.clock, dirty).await?;
            if full {
                deaths.forget(&picture.observed);
            }
            self.publish(&picture, full, event_at);
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Sorts one item into what must be read again. True when a container of somebody else
    /// changed.
    fn take(
        &self,
        item: StreamItem,
        picture: &Picture,
        deaths: &mut Deaths,
        dirty: &mut Dirty,
    ) -> bool {
        let event = match item {
            StreamItem::Event(event) => event,
            StreamItem::Skipped { bytes } => {
                tracing::warn!(bytes, "skipped a line of the event stream that makes no sense");
                self.metrics.event_skipped();
                // It might have said anything.
                dirty.merge(Dirty::everything());
                return false;
            }
        };
        match event.kind.as_str() {
            "container" => return self.container_event(event, picture, deaths, dirty),
            "network" => match event.action.as_str() {
                "connect" | "disconnect" => {
                    if let Some(id) = event.attributes.get("container") {
                        let id = ContainerId(id.clone());
                        let known = picture.observed.containers.get(&id);
                        if known.is_some_and(|c| picture.is_managed(c.project.as_deref())) {
                            dirty.containers.insert(id);
                        }
                    }
                }
                _ => dirty.networks = true,
            },
            "volume" if !matches!(event.action.as_str(), "mount" | "unmount") => {
                dirty.volumes = true;
            }
            "image" => dirty.images = true,
            _ => {}
        }
        false
    }

    fn container_event(
        &self,
        event: EngineEvent,
        picture: &Picture,
        deaths: &mut Deaths,
        dirty: &mut Dirty,
    ) -> bool {
        let project = event.attributes.get(labels::PROJECT).map(String::as_str);
        if !picture.is_managed(project) {
            return true;
        }
        self.changes.note(&event, self.clock.now().mono);
        deaths.hear(&event);
        // A signal alone changes nothing; if it ends the process, `die` follows.
        if event.action != "kill" {
            dirty.containers.insert(ContainerId(event.actor));
        }
        false
    }

    fn publish(&self, picture: &Picture, full: bool, event_at: Option<Mono>) {
        let now = self.clock.now().mono;
        if full {
            self.metrics.resynced(picture.observed.at.wall, now.since(picture.observed.at.mono));
            self.changes.forget(&picture.observed);
        }
        let observed = Arc::new(picture.observed.clone());
        self.publish.send_modify(|s| {
            s.revision += 1;
            s.link = Link::Live;
            s.observed = observed;
            s.event_at = event_at;
        });
    }
}

fn interrupted(reason: &str) -> Fault {
    Fault::Interrupted { call: "GET /events".into(), reason: reason.into() }
}
