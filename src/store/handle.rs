//! The journal's thread: async callers wait for their commit, the runtime never blocks.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::events::EventQuery;
use super::file::SetAside;
use super::health::Health;
use super::journal::{Journal, JournalError};
use super::rows::{Backoff, EventRecord, Intent, IntentId, JobRun, NewEvent, Outcome, Recalled};
use crate::clock::Timestamp;
use crate::observed::Slot;

const WAITING_CALLS: usize = 256;
const DEADLINE: Duration = Duration::from_secs(10);

type Call = Box<dyn FnOnce(&mut Journal) + Send>;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal said no.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk did not answer in time. The write may still happen.
    #[error("the journal did not answer within 10 s; is the state folder's disk hanging?")]
    Timeout,
    /// The journal's thread has ended.
    #[error("the journal is closed")]
    Closed,
    /// The journal's thread could not be started.
    #[error("can't start the journal's thread: {0}; check the limit on processes")]
    Thread(std::io::Error),
}

impl StoreError {
    /// A short CamelCase reason for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Journal(error) => error.reason(),
            Self::Timeout => "JournalTimeout",
            Self::Closed | Self::Thread(_) => "JournalClosed",
        }
    }
}

/// A cheap, cloneable way to the journal.
#[derive(Debug, Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    health: Arc<watch::Sender<Health>>,
}

/// The journal's thread. [`Keeper::join`] waits until every call was served and the file closed;
/// drop all handles first.
#[derive(Debug)]
pub struct Keeper {
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Waits for the end. Blocks: call it after the runtime's work is done.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

impl Handle {
    /// Gives a journal its thread.
    ///
    /// # Errors
    /// [`StoreError::Thread`].
    pub fn spawn(mut journal: Journal) -> Result<(Self, Keeper), StoreError> {
        let (calls, mut waiting) = mpsc::channel::<Call>(WAITING_CALLS);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .stack_size(512 * 1024)
            .spawn(move || {
                while let Some(call) = waiting.blocking_recv() {
                    call(&mut journal);
                }
            })
            .map_err(StoreError::Thread)?;
        Ok((Self { calls, health: Arc::default() }, Keeper { thread }))
    }

    /// Serves a journal on the runtime of the caller instead of a thread, for virtual time. Each
    /// call waits for `gate` first.
    #[cfg(test)]
    pub fn on_runtime<G: Future<Output = ()> + Send>(
        journal: std::sync::Arc<std::sync::Mutex<Journal>>,
        gate: impl Fn() -> G + Send + 'static,
    ) -> Self {
        let (calls, mut waiting) = mpsc::channel::<Call>(WAITING_CALLS);
        tokio::spawn(async move {
            while let Some(call) = waiting.recv().await {
                gate().await;
                call(&mut journal.lock().expect("no panic"));
            }
        });
        Self { calls, health: Arc::default() }
    }

    /// Writes with `work` on the journal's thread. A damaged database is set aside and rebuilt
    /// there; the call that met the damage still fails.
    ///
    /// # Errors
    /// What `work` said, or [`StoreError::Timeout`], [`StoreError::Closed`].
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let health = Arc::clone(&self.health);
        let result = self
            .serve(move |journal| {
                let result = work(journal);
                watched(journal, &health, &result);
                result
            })
            .await;
        if let Err(error @ StoreError::Timeout) = &result {
            note(&self.health, |h| {
                h.failed(error.reason(), error.to_string(), None);
                None
            });
        }
        result
    }

    /// Runs `work` on the journal's thread.
    pub(super) async fn serve<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let health = Arc::clone(&self.health);
        let call: Call = Box::new(move |journal| {
            let result = work(journal);
            if let Err(JournalError::Corrupt { reason }) = &result {
                start_anew(journal, &health, reason.clone());
            }
            let _ = reply.send(result);
        });
        let round_trip = async {
            self.calls.send(call).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?.map_err(StoreError::Journal)
        };
        tokio::time::timeout(DEADLINE, round_trip).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// How the journal stands, and each change of that; [`Health::lost`] alone is no change.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Says that the file was damaged when it was opened.
    pub async fn tell_rebuilt(&self, aside: &SetAside) {
        let event = note(&self.health, |h| Some(h.began_anew(aside)));
        if let Some(event) = event
            && let Err(error) = self.record_event(event).await
        {
            tracing::error!(%error, "can't journal that the journal was rebuilt");
        }
    }

    /// Says that the file can't be opened for want of room, and that the journal lives in memory.
    pub fn tell_no_room(&self, error: &JournalError, now: Timestamp) {
        note(&self.health, |h| {
            h.failed(error.reason(), error.to_string(), Some(now));
            None
        });
    }

    /// Hands in work whose end nobody waits for. Whatever is handed in later comes after it.
    ///
    /// # Errors
    /// [`StoreError::Timeout`] while the journal doesn't keep up, [`StoreError::Closed`].
    pub fn post(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
        failed: impl FnOnce(JournalError) + Send + 'static,
    ) -> Result<(), StoreError> {
        let health = Arc::clone(&self.health);
        let call: Call = Box::new(move |journal| {
            let result = work(journal);
            watched(journal, &health, &result);
            let Err(error) = result else { return };
            if let JournalError::Corrupt { reason } = &error {
                start_anew(journal, &health, reason.clone());
            }
            failed(error);
        });
        self.calls.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Timeout,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }

    /// See [`Journal::begin`].
    ///
    /// # Errors
    /// As there; after [`StoreError::Timeout`] the intent may have been journalled.
    pub async fn begin(&self, intent: Intent) -> Result<IntentId, StoreError> {
        self.call(move |journal| journal.begin(&intent)).await
    }

    /// See [`Journal::end`].
    ///
    /// # Errors
    /// As there.
    pub async fn end(&self, id: IntentId, outcome: Outcome) -> Result<(), StoreError> {
        self.call(move |journal| journal.end(id, &outcome)).await
    }

    /// See [`Journal::load_memory`].
    ///
    /// # Errors
    /// As there.
    pub async fn load_memory(&self, engine: &str, project: &str) -> Result<Recalled, StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.serve(move |journal| journal.load_memory(&engine, &project)).await
    }

    /// See [`Journal::set_backoff`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_backoff(
        &self,
        engine: &str,
        slot: Slot,
        backoff: Option<Backoff>,
    ) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.call(move |journal| journal.set_backoff(&engine, &slot, backoff)).await
    }

    /// See [`Journal::answer_creates`].
    ///
    /// # Errors
    /// As there.
    pub async fn answer_creates(
        &self,
        engine: &str,
        slot: Slot,
        found: Option<(String, String)>,
    ) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.call(move |journal| {
            let found = found.as_ref().map(|(name, id)| (name.as_str(), id.as_str()));
            journal.answer_creates(&engine, &slot, found)
        })
        .await
    }

    /// See [`Journal::set_job`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_job(
        &self,
        engine: &str,
        slot: Slot,
        run: Option<JobRun>,
    ) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.call(move |journal| journal.set_job(&engine, &slot, run.as_ref())).await
    }

    /// See [`Journal::set_generation`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_generation(
        &self,
        engine: &str,
        project: &str,
        hash: &str,
    ) -> Result<(), StoreError> {
        let (engine, project, hash) = (engine.to_owned(), project.to_owned(), hash.to_owned());
        self.call(move |journal| journal.set_generation(&engine, &project, &hash)).await
    }

    /// See [`Journal::forget_project`].
    ///
    /// # Errors
    /// As there.
    pub async fn forget_project(&self, engine: &str, project: &str) -> Result<(), StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.call(move |journal| journal.forget_project(&engine, &project)).await
    }

    /// See [`Journal::record_event`].
    ///
    /// # Errors
    /// As there.
    pub async fn record_event(&self, event: NewEvent) -> Result<i64, StoreError> {
        self.call(move |journal| journal.record_event(&event)).await
    }

    /// See [`Journal::events`].
    ///
    /// # Errors
    /// As there.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<EventRecord>, StoreError> {
        self.serve(move |journal| journal.events(&query)).await
    }
}

/// Changes the health; wakes who watches it if there is something new to show.
fn note(
    health: &watch::Sender<Health>,
    change: impl FnOnce(&mut Health) -> Option<NewEvent>,
) -> Option<NewEvent> {
    let mut event = None;
    health.send_if_modified(|health| {
        let before = (health.failing.clone(), health.rebuilt.clone());
        event = change(health);
        before != (health.failing.clone(), health.rebuilt.clone())
    });
    event
}

/// Keeps in mind how a write went.
fn watched<T>(
    journal: &mut Journal,
    health: &watch::Sender<Health>,
    result: &Result<T, JournalError>,
) {
    let (kept, now) = (journal.is_attached(), journal.clock.now().wall);
    let Some(event) = note(health, |h| h.written(result, kept, now)) else { return };
    let told = journal.record_event(&event);
    note(health, |h| match told {
        Ok(_) => {
            h.recovered();
            tracing::info!("the journal: {}", event.message);
            None
        }
        // A small write may find room where the next one doesn't.
        Err(error) => h.written::<()>(&Err(error), kept, now),
    });
}

fn start_anew(journal: &mut Journal, health: &watch::Sender<Health>, reason: String) {
    match journal.rebuild(reason) {
        Ok(Some(aside)) => {
            let event = note(health, |h| Some(h.began_anew(&aside)));
            if let Some(event) = event {
                tracing::warn!("the journal was {}", event.message);
                let _ = journal.record_event(&event);
            }
        }
        Ok(None) => {
            note(health, |h| {
                h.lost += 1;
                None
            });
        }
        Err(error) => tracing::error!(%error, "the damaged journal could not be rebuilt"),
    }
}
