//! How the journal stands: whether it can be written, and what of it was lost.
//!
//! A journal that fails stops nobody. Whoever remembers what should be in it writes that down again
//! once there is room: [`Health::lost`] says that something is missing.

use std::path::Path;
use std::sync::Arc;

use super::file::SetAside;
use super::journal::{Journal, JournalError};
use super::rows::{EventKind, NewEvent};
use crate::clock::{Clock, Timestamp};

/// How the journal stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it can't be written; `None` while it can.
    pub failing: Option<Failing>,
    /// Grows with each write that failed, and whenever the journal began anew.
    pub lost: u64,
    /// What became of a damaged file in the life of this process.
    pub rebuilt: Option<String>,
}

/// Why the journal can't be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people, with the mend.
    pub message: String,
    /// When the first write failed; `None` where nobody can tell.
    pub since: Option<Timestamp>,
}

impl Health {
    /// Books the end of a write. Returns the event that says that writing works again: once that is
    /// written down, [`Self::recovered`]. A journal that lives in memory proves nothing.
    pub(super) fn written<T>(
        &mut self,
        result: &Result<T, JournalError>,
        kept: bool,
        now: Timestamp,
    ) -> Option<NewEvent> {
        match result {
            Ok(_) if kept => self.failing.as_ref().map(|failing| recovery(failing, now)),
            Ok(_) | Err(JournalError::NoSuchIntent(_)) => None,
            // It has begun anew already.
            Err(JournalError::Corrupt { .. }) => None,
            Err(error) => {
                self.failed(error.reason(), error.to_string(), Some(now));
                None
            }
        }
    }

    /// It can be written again.
    pub(super) fn recovered(&mut self) {
        self.failing = None;
    }

    /// A write failed, or nobody waited for it any longer.
    pub(super) fn failed(&mut self, reason: &'static str, message: String, now: Option<Timestamp>) {
        self.lost += 1;
        let since = self.failing.take().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { reason, message, since });
    }

    /// A damaged file was set aside, and an empty journal begun. Returns the event to be written.
    pub(super) fn began_anew(&mut self, aside: &SetAside) -> NewEvent {
        let message = format!(
            "damaged: {}; kept as {}; what is known now was written down anew, pauses and events \
             of before are lost",
            aside.reason,
            aside.kept_as.display()
        );
        self.lost += 1;
        self.rebuilt = Some(message.clone());
        of_the_journal("JournalRebuilt", message)
    }
}

fn recovery(failing: &Failing, now: Timestamp) -> NewEvent {
    let since = failing.since.map(|since| format!(" from {since}")).unwrap_or_default();
    let message = format!(
        "it can be written again; what happened{since} to {now} is not in it ({})",
        failing.message
    );
    of_the_journal("JournalRecovered", message)
}

fn of_the_journal(reason: &str, message: String) -> NewEvent {
    NewEvent {
        engine: String::new(),
        project: String::new(),
        kind: EventKind::Warning,
        reason: reason.into(),
        object: "journal".into(),
        message,
    }
}

impl Journal {
    /// A journal in memory in the place of one whose disk is full: [`Journal::attach`] goes on with
    /// the file once there is room.
    ///
    /// # Errors
    /// SQLite can't allocate.
    pub fn without_room(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let mut journal = Self::in_memory(clock)?;
        journal.path = Some(path.to_owned());
        journal.detached = true;
        Ok(journal)
    }

    /// What is written goes where it should.
    pub(super) const fn is_attached(&self) -> bool {
        !self.detached
    }

    /// Goes on with the file, if it couldn't be opened before. What was written meanwhile is lost.
    ///
    /// # Errors
    /// As [`Self::open`]; the journal stays as it is then.
    pub fn attach(&mut self) -> Result<(), JournalError> {
        let (true, Some(path)) = (self.detached, self.path.clone()) else { return Ok(()) };
        let (journal, aside) = Self::open(&path, Arc::clone(&self.clock))?;
        if let Some(aside) = aside {
            let kept = aside.kept_as.display();
            tracing::warn!(reason = %aside.reason, %kept, "the journal was damaged and is rebuilt");
        }
        *self = journal;
        Ok(())
    }

    /// A disk that takes no write, or does again.
    #[cfg(test)]
    pub fn read_only(&self, read_only: bool) {
        self.db.pragma_update(None, "query_only", read_only).expect("sets");
    }

    /// A disk of so many pages of 4 KiB.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: i64) {
        self.db.pragma_update(None, "max_page_count", pages).expect("sets");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{EventQuery, Handle, Intent, Recalled, StoreError};

    const MANY: i64 = 1_000_000;

    fn open(folder: &tempfile::TempDir) -> (Handle, crate::store::Keeper) {
        let clock = Arc::new(SystemClock::new());
        let (journal, aside) =
            Journal::open(&folder.path().join("journal.db"), clock).expect("opens");
        assert_eq!(aside, None);
        Handle::spawn(journal).expect("a thread")
    }

    async fn limit(journal: &Handle, pages: i64) {
        let set = move |journal: &mut Journal| {
            journal.limit_pages(pages);
            Ok(())
        };
        journal.serve(set).await.expect("sets");
    }

    async fn fill(journal: &Handle) -> StoreError {
        loop {
            let intent = Intent { op: "x".repeat(1000), ..Intent::default() };
            if let Err(error) = journal.begin(intent).await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_said_until_a_write_succeeds_and_reading_is_no_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _keeper) = open(&folder);
        let health = journal.health();
        assert_eq!(*health.borrow(), Health::default());
        limit(&journal, 1).await;
        let error = fill(&journal).await;
        assert!(matches!(error, StoreError::Journal(JournalError::DiskFull)), "{error}");
        let all = || EventQuery { limit: 100, ..EventQuery::default() };
        assert!(journal.events(all()).await.expect("reads").is_empty());
        let failing = health.borrow().failing.clone().expect("it fails");
        assert_eq!(failing.reason, "DiskFull");
        assert_eq!(health.borrow().lost, 1);

        limit(&journal, MANY).await;
        journal.begin(Intent::default()).await.expect("there is room");
        assert_eq!(health.borrow().failing, None);
        assert_eq!(health.borrow().lost, 1, "what was lost then is still missing");
        let events = journal.events(all()).await.expect("reads");
        let told: Vec<_> = events.iter().map(|e| e.event.reason.as_str()).collect();
        assert_eq!(told, ["JournalRecovered"]);
        assert!(events[0].event.message.contains("no space left"), "{}", events[0].event.message);
    }

    #[tokio::test]
    async fn a_journal_without_room_is_none_until_its_file_can_be_had() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let journal = Journal::without_room(&path, Arc::clone(&clock)).expect("in memory");
        let (journal, keeper) = Handle::spawn(journal).expect("a thread");
        journal.tell_no_room(&JournalError::DiskFull, clock.now().wall);
        journal.set_generation("E", "p", "g").await.expect("into memory");
        let health = journal.health();
        assert!(health.borrow().failing.is_some() && !path.exists());
        let applied = [("web".to_owned(), "hash".to_owned())].into();
        let known = Recalled { applied, ..Recalled::default() };
        journal.remember("E", "p", known.clone()).await.expect("there is room now");
        assert_eq!(health.borrow().failing, None);
        drop(journal);
        tokio::task::spawn_blocking(|| keeper.join()).await.expect("ends");
        let (journal, _keeper) = open(&folder);
        assert_eq!(journal.load_memory("E", "p").await.expect("reads").applied, known.applied);
    }

    #[tokio::test]
    async fn a_file_that_was_damaged_before_is_an_event_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _keeper) = open(&folder);
        let kept_as = folder.path().join("aside");
        journal.tell_rebuilt(&SetAside { kept_as, reason: "torn page".into() }).await;
        let rebuilt = journal.health().borrow().rebuilt.clone().expect("said");
        let events = journal.events(EventQuery { limit: 9, ..EventQuery::default() }).await;
        let events = events.expect("reads");
        assert_eq!(events[0].event.reason, "JournalRebuilt");
        assert_eq!(events[0].event.message, rebuilt);
        assert!(rebuilt.contains("torn page") && rebuilt.contains("aside"), "{rebuilt}");
    }
}
