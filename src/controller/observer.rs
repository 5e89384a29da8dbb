//! Keeps the picture of the engine true: events say where to look again, a full list at start,
//! on every reconnect and on a timer finds what no event told.
//!
//! # Guarantees
//! - Nobody sees a snapshot before the first complete one.
//! - After a gap in the stream nothing is published before a full list.
//! - A request to look again is answered after a snapshot in which all that it asked for was read
//!   later than the request, whatever else is still being read.
//! - An event is heard at once, however long an answer of the engine takes.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, pending};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::meter::Meter;
use super::reads::{Answer, Need, Reads};
use super::session::Session;
use super::snapshot::Dirty;
use crate::clock::{Clock, Mono};
use crate::engine::exits::Exits;
use crate::engine::{DynEngine, Fault, StreamItem};
use crate::observed::{Observed, Slot, Word};

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
    /// The projects of which it shows all containers in full.
    pub projects: BTreeSet<String>,
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

/// A request to look again that isn't answered yet.
struct Waiter {
    need: Need,
    done: oneshot::Sender<()>,
}

/// Watches one engine.
pub struct Observer {
    engine: DynEngine,
    clock: Arc<dyn Clock>,
    metrics: Arc<dyn Meter>,
    publish: watch::Sender<Snapshot>,
    requests: mpsc::Receiver<Refresh>,
    projects: watch::Receiver<BTreeSet<String>>,
    changes: Arc<Changes>,
    reads: Reads,
    exits: Exits,
    resync: Duration,
    idle: Duration,
}

/// A look whether the engine lives: when it began, and what comes of it.
type Look = (Mono, BoxFuture<'static, Result<(), Fault>>);

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
        let changes = Arc::new(Changes::new(Arc::clone(&clock)));
        let handle = Handle { snapshots, requests, changes: Arc::clone(&changes), projects };
        let observer = Self {
            reads: Reads::new(Arc::clone(&engine)),
            engine,
            clock,
            metrics,
            publish,
            requests: inbox,
            projects: wanted,
            changes,
            exits: Exits::default(),
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

    /// Takes up stops that an earlier run of homeostat had heard of and that weren't proven yet:
    /// they count if the engine still knows of them.
    #[must_use]
    pub fn recalling(mut self, stops: impl IntoIterator<Item = (Slot, Word)>) -> Self {
        self.exits.recall(stops);
        self
    }

    /// Watches until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut retry = RETRY_FIRST;
        let mut gap = false;
        loop {
            let started = self.clock.now().mono;
            let mut waiting = Vec::new();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                fault = self.session(&mut gap, &mut waiting) => fault,
            };
            self.reads.clear();
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

    async fn session(&mut self, gap: &mut bool, waiting: &mut Vec<Waiter>) -> Fault {
        match self.try_session(gap, waiting).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    /// One connection: subscribe first, then list, so that nothing falls between.
    async fn try_session(
        &mut self,
        gap: &mut bool,
        waiting: &mut Vec<Waiter>,
    ) -> Result<Infallible, Fault> {
        let info = self.engine.info().await?;
        let since = self.exits.reconnect();
        let mut events = self.engine.events(since).await?.ready_chunks(BATCH);
        let mut look: Option<Look> = None;
        let projects = self.projects.borrow_and_update().clone();
        let mut session = Session::new(info, projects, Arc::clone(&self.changes));
        let mut last_event = self.clock.now().mono;
        let mut next_resync = last_event;
        let mut foreign: Option<Mono> = None;
        let mut owed = Owed::default();
        let mut live = false;
        loop {
            let now = self.clock.now().mono;
            owed.plan(!session.picture.owed.is_empty(), now);
            let look_at = self.exits.look_at().filter(|_| look.is_none() && !session.hidden);
            if look_at.is_some_and(|at| at <= now) {
                let engine = Arc::clone(&self.engine);
                look = Some((now, async move { engine.ping().await }.boxed()));
            }
            let due = [
                foreign,
                owed.at,
                Some(next_resync),
                Some(last_event.after(self.idle)),
                self.exits.due(),
                look_at.filter(|_| look.is_none()),
            ];
            let wake = due.into_iter().flatten().min().unwrap_or(next_resync);
            let mut dirty = Dirty::default();
            let mut full = false;
            let mut news = None;
            let mut event_at = None;
            tokio::select! {
                batch = events.next() => {
                    let Some(batch) = batch else {
                        return Err(interrupted("the stream ended"));
                    };
                    last_event = self.clock.now().mono;
                    event_at = Some(last_event);
                    let number = self.reads.count();
                    for item in batch {
                        let others = self.hear(item?, number, &mut session, &mut dirty, last_event);
                        if others && foreign.is_none() {
                            foreign = Some(last_event.after(FOREIGN_DELAY));
                        }
                    }
                    news = session.write_deaths(number, &mut self.exits).then_some(event_at);
                }
                lives = answered(&mut look) => {
                    let begun = look.take().map_or(now, |(begun, _)| begun);
                    match lives {
                        // Who mayn't ask knows no more than before.
                        Ok(()) | Err(Fault::Forbidden { .. }) => self.exits.lived(begun),
                        Err(fault) => return Err(fault),
                    }
                }
                Some(answer) = self.reads.next(&*self.clock) => {
                    news = Some(self.merge(answer, &mut session, waiting)?);
                }
                Some(request) = self.requests.recv() => {
                    let need = Need::new(self.reads.count(), request.dirty.clone().targets());
                    dirty = request.dirty;
                    waiting.push(Waiter { need, done: request.done });
                }
                Ok(()) = self.projects.changed() => {
                    session.manage(self.projects.borrow_and_update().clone());
                    full = true;
                }
                () = tokio::time::sleep(wake.since(now)) => {}
            }
            let now = self.clock.now();
            self.exits.pass(now.mono);
            if self.exits.take_changed() {
                news = news.or(Some(event_at));
            }
            if now.mono.since(last_event) >= self.idle {
                // The socket may be half open. The old stream goes once the new one is there, and
                // what it kept back the full list shows.
                let since = self.exits.reconnect();
                events = self.engine.events(since).await?.ready_chunks(BATCH);
                last_event = now.mono;
                session.hidden = true;
                full = true;
            }
            if full || now.mono >= next_resync {
                next_resync = now.mono.after(self.resync);
                // One that lasts longer than this pause would never end, were it begun anew.
                if full || session.need().is_none() {
                    dirty.merge(Dirty::everything());
                    session.begin(self.reads.count(), now);
                }
            }
            if foreign.is_some_and(|f| now.mono >= f) {
                dirty.list = true;
                foreign = None;
            }
            if owed.take(now.mono) {
                dirty.containers.extend(session.picture.owed.iter().cloned());
            }
            for target in dirty.targets() {
                self.reads.want(target, event_at);
            }
            if let Some(begun) = session.finish(&self.reads, &mut self.exits, now.mono) {
                if !std::mem::replace(&mut live, true) {
                    self.connected(gap);
                }
                self.metrics.resynced(begun.wall, now.mono.since(begun.mono));
            }
            if session.hidden {
                continue;
            }
            if let Some(event_at) = news {
                self.publish(&session, event_at);
            }
            for waiter in waiting.extract_if(.., |waiter| waiter.need.is_over()) {
                let _ = waiter.done.send(());
            }
        }
    }

    /// The first full read of a connection is over. All but the first connection end a gap.
    fn connected(&self, gap: &mut bool) {
        if std::mem::replace(gap, true) {
            self.metrics.event_gap();
        }
        self.metrics.stream_connected(true);
    }

    /// Takes an answer and those that came with it; returns the arrival of the first event that
    /// led to one of them.
    fn merge(
        &mut self,
        first: Answer,
        session: &mut Session,
        waiting: &mut [Waiter],
    ) -> Result<Option<Mono>, Fault> {
        let mut event_at = None;
        let mut next = Some(first);
        while let Some(answer) = next {
            let (target, number) = (answer.target.clone(), answer.number);
            event_at = [event_at, answer.event_at].into_iter().flatten().min();
            let more = session.picture.take(answer, &mut self.reads)?;
            let others = waiting.iter_mut().map(|waiter| &mut waiter.need);
            for need in others.chain(session.need()) {
                need.met(&target, number, &more);
            }
            next = self.reads.ready(&*self.clock);
        }
        Ok(event_at)
    }

    /// Hears one item of the stream. True when a container of somebody else changed.
    fn hear(
        &mut self,
        item: StreamItem,
        number: u64,
        session: &mut Session,
        dirty: &mut Dirty,
        now: Mono,
    ) -> bool {
        match item {
            StreamItem::Event(event) => session.hear(&event, number, dirty, &mut self.exits, now),
            StreamItem::Skipped { bytes } => {
                tracing::warn!(bytes, "skipped a line of the event stream that makes no sense");
                self.metrics.event_skipped();
                // It might have said anything.
                dirty.merge(Dirty::everything());
                false
            }
        }
    }

    fn publish(&self, session: &Session, event_at: Option<Mono>) {
        let mut observed = session.picture.observed.clone();
        self.exits.show(&mut observed);
        let observed = Arc::new(observed);
        self.publish.send_modify(|s| {
            s.revision += 1;
            s.link = Link::Live;
            s.observed = observed;
            s.event_at = event_at;
            s.projects.clone_from(session.shown());
        });
    }
}

/// What a look at the engine says, once it does.
async fn answered(look: &mut Option<Look>) -> Result<(), Fault> {
    match look {
        Some((_, answer)) => answer.await,
        None => pending().await,
    }
}

fn interrupted(reason: &str) -> Fault {
    Fault::Interrupted { call: "GET /events".into(), reason: reason.into() }
}
