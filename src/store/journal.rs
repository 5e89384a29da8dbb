//! The journal: every action before and after it happens, and what must survive a restart.
//!
//! # Guarantees
//! - When [`Journal::begin`] returns, the intent survives the death of this process.
//! - The tables are bounded in rows and age; pruning takes small steps.
//! - A file that SQLite can't read is set aside, never overwritten.
//!
//! # Caveats
//! A power cut may lose the last commits. The engine is the truth then: observe.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, Row, params};

use super::file::{SetAside, connect, set_aside};
use super::rows::{
    Backoff, Completion, Generation, Intent, IntentId, JobRun, Outcome, Recalled, Unfinished,
};
use super::schema;
use crate::clock::{Clock, Timestamp};
use crate::observed::Slot;

const TEXT_LIMIT: usize = 1024;
const READ_LIMIT: i64 = 10_000;
const DAY: i64 = 24 * 3600 * 1000;
const INTENT_AGE: i64 = 30 * DAY;
const INTENT_ROWS: i64 = 10_000;
const EVENT_AGE: i64 = 7 * DAY;
const EVENT_ROWS: i64 = 5_000;
const PRUNE_EVERY: u32 = 64;
const PRUNE_STEP: i64 = 512;

/// Why the journal could not do something.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file isn't a readable journal; [`Journal::open`] sets it aside by itself.
    #[error("the journal is damaged: {reason}; it is set aside and rebuilt")]
    Corrupt {
        /// SQLite's words.
        reason: String,
    },
    /// A newer homeostat wrote it.
    #[error(
        "{} has schema version {found}, this homeostat knows {known}; upgrade homeostat, or move the file away to start without memory",
        .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// No space. Nothing was written.
    #[error("no space left for the journal; free some, homeostat goes on meanwhile")]
    DiskFull,
    /// Another process held the lock for more than two seconds.
    #[error("the journal is locked by another process; is a second homeostat running?")]
    Busy,
    /// The file can't be opened, read or written.
    #[error("can't use the journal: {reason}; check the state folder's permissions and its disk")]
    Io {
        /// SQLite's or the system's words.
        reason: String,
    },
    /// The intent to end was never begun, or was pruned long ago.
    #[error("the journal has no intent {}; was the journal rebuilt meanwhile?", .0.0)]
    NoSuchIntent(IntentId),
    /// Any other answer of SQLite.
    #[error("the journal's database failed: {0}; please report it")]
    Sql(rusqlite::Error),
}

impl JournalError {
    /// A short CamelCase reason for conditions and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "JournalCorrupt",
            Self::Newer { .. } => "JournalNewer",
            Self::DiskFull => "DiskFull",
            Self::Busy => "JournalBusy",
            Self::Io { .. } => "JournalUnusable",
            Self::NoSuchIntent(_) => "NoSuchIntent",
            Self::Sql(_) => "JournalFailed",
        }
    }
}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else { return Self::Sql(error) };
        // No room for the index of the write-ahead log.
        let extended = error.sqlite_error().map(|e| e.extended_code);
        if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
            return Self::DiskFull;
        }
        match code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::Corrupt { reason: error.to_string() }
            }
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure => Self::Io { reason: error.to_string() },
            _ => Self::Sql(error),
        }
    }
}

/// The open journal. Use it from one thread; [`super::Handle`] does.
pub struct Journal {
    pub(super) db: Connection,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) path: Option<PathBuf>,
    /// The file couldn't be opened for want of room: what is written lives in memory.
    pub(super) detached: bool,
    writes: u32,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the database, making it (0600) when it is missing. A damaged one is set aside as
    /// `journal.db.corrupt-<milliseconds>` and rebuilt, which the second value says.
    ///
    /// # Errors
    /// A newer schema, a file that isn't ours or can't be opened, a lock held by another process,
    /// a full disk.
    pub fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Option<SetAside>), JournalError> {
        let (db, aside) = match connect(path) {
            Err(JournalError::Corrupt { reason }) => {
                let aside = set_aside(path, clock.now().wall, reason)?;
                (connect(path)?, Some(aside))
            }
            other => (other?, None),
        };
        Ok((Self { db, clock, path: Some(path.to_owned()), detached: false, writes: 0 }, aside))
    }

    /// A journal that forgets everything at the end: for when the state folder can't be used.
    ///
    /// # Errors
    /// SQLite can't allocate.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let db = schema::prepare(Connection::open_in_memory()?, Path::new(":memory:"))?;
        Ok(Self { db, clock, path: None, detached: false, writes: 0 })
    }

    /// Sets the file aside after a [`JournalError::Corrupt`] and starts an empty one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn rebuild(&mut self, reason: String) -> Result<Option<SetAside>, JournalError> {
        let mut other = Self::in_memory(Arc::clone(&self.clock))?;
        let Some(path) = self.path.clone().filter(|_| !self.detached) else {
            std::mem::swap(&mut self.db, &mut other.db);
            return Ok(None);
        };
        // The old connection closes before its file moves.
        std::mem::swap(&mut self.db, &mut other.db);
        drop(other);
        let aside = set_aside(&path, self.clock.now().wall, reason)?;
        self.db = connect(&path)?;
        Ok(Some(aside))
    }

    /// Journals an action that is about to happen.
    ///
    /// # Errors
    /// Nothing was journalled.
    pub fn begin(&mut self, intent: &Intent) -> Result<IntentId, JournalError> {
        let at = self.clock.now().wall.0;
        let i = intent;
        self.db
            .prepare_cached(
                "INSERT INTO intents (at, engine, project, service, number, kind, name, op, cause,
                    generation, container, boot_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                at,
                i.engine,
                i.project,
                i.service,
                i.number,
                i.kind,
                i.name,
                cut(&i.op),
                cut(&i.cause),
                i.generation,
                i.container,
                i.boot_id,
            ])?;
        let id = IntentId(self.db.last_insert_rowid());
        self.pruned_now_and_then();
        Ok(id)
    }

    /// Journals how an action ended. A known end replaces an unknown one; an end that is already
    /// known stays.
    ///
    /// # Errors
    /// [`JournalError::NoSuchIntent`], or nothing could be written.
    pub fn end(&mut self, id: IntentId, outcome: &Outcome) -> Result<(), JournalError> {
        let at = self.clock.now().wall.0;
        let tx = self.db.transaction()?;
        let done = tx
            .prepare_cached(
                "INSERT INTO outcomes (intent, at, result, reason, message, object)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (intent) DO UPDATE SET at = excluded.at, result = excluded.result,
                    reason = excluded.reason, message = excluded.message, object = excluded.object
                 WHERE outcomes.result = 'unknown'",
            )?
            .execute(params![
                id.0,
                at,
                outcome.result.as_str(),
                outcome.reason,
                cut(&outcome.message),
                outcome.object,
            ]);
        match done {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                return Err(JournalError::NoSuchIntent(id));
            }
            done => done?,
        };
        if outcome.result != Completion::Unknown {
            tx.prepare_cached("UPDATE intents SET open = 0 WHERE id = ?1")?.execute([id.0])?;
        }
        tx.commit()?;
        self.pruned_now_and_then();
        Ok(())
    }

    /// How an intent ended; `None` while it hasn't.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn outcome(&self, id: IntentId) -> Result<Option<Outcome>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT result, reason, message, object FROM outcomes WHERE intent = ?1",
        )?;
        let outcome = rows.query_map([id.0], |row| {
            Ok(Outcome {
                result: Completion::parse(row.get_ref(0)?.as_str()?),
                reason: row.get(1)?,
                message: row.get(2)?,
                object: row.get(3)?,
            })
        })?;
        Ok(outcome.last().transpose()?)
    }

    /// Intents of an engine without a known end, oldest first, at most 10,000. After a restart
    /// the controller observes and ends each of them.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn unfinished(&self, engine: &str) -> Result<Vec<Unfinished>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT id, at, engine, project, service, number, kind, name, op, cause, generation,
                    container, boot_id
             FROM intents WHERE open = 1 AND engine = ?1 ORDER BY id LIMIT ?2",
        )?;
        let found = rows.query_map(params![engine, READ_LIMIT], unfinished)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Everything that a project's past contributes, read once at start.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn load_memory(&self, engine: &str, project: &str) -> Result<Recalled, JournalError> {
        let key = params![engine, project];
        let slot = |row: &Row<'_>| -> rusqlite::Result<Slot> {
            Ok(Slot { project: project.to_owned(), service: row.get(0)?, number: row.get(1)? })
        };
        let mut recalled = Recalled { unfinished: self.unfinished(engine)?, ..Recalled::default() };
        recalled.unfinished.retain(|u| u.intent.project == project);
        recalled.made = self.made(engine, project)?;
        recalled.recoveries = self.recoveries(engine, project)?;
        recalled.applied = self.applied(engine, project)?;
        recalled.lost = self.lost_volumes(engine, project)?;
        if let Err(error) = self.clear_bodies() {
            tracing::warn!(%error, "what no update keeps any more could not be removed");
        }
        recalled.updates = self.updates(engine, project)?;
        recalled.pins = self.pins(engine, project)?;
        recalled.holds = self.holds(engine, project)?;
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, failures, next, last_ready FROM backoff
             WHERE engine = ?1 AND project = ?2",
        )?;
        for row in rows.query_map(key, |row| {
            let (failures, next) = (row.get(2)?, Timestamp(row.get(3)?));
            let last_ready = row.get::<_, Option<i64>>(4)?.map(Timestamp);
            Ok((slot(row)?, Backoff { failures, next, last_ready }))
        })? {
            let (slot, backoff) = row?;
            recalled.backoff.insert(slot, backoff);
        }
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, config_hash, image_id, exit_code, finished FROM jobs
             WHERE engine = ?1 AND project = ?2",
        )?;
        for row in rows.query_map(key, |row| {
            let (config_hash, image_id) = (row.get(2)?, row.get(3)?);
            let (exit_code, finished) = (row.get(4)?, Timestamp(row.get(5)?));
            Ok((slot(row)?, JobRun { config_hash, image_id, exit_code, finished }))
        })? {
            let (slot, job) = row?;
            recalled.jobs.insert(slot, job);
        }
        let mut rows = self.db.prepare_cached(
            "SELECT hash, at FROM generations WHERE engine = ?1 AND project = ?2",
        )?;
        let mut generations = rows.query_map(key, |row| {
            Ok(Generation { hash: row.get(0)?, at: Timestamp(row.get(1)?) })
        })?;
        recalled.generation = generations.next().transpose()?;
        Ok(recalled)
    }

    /// Keeps a slot's backoff; `None` forgets it.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_backoff(
        &mut self,
        engine: &str,
        slot: &Slot,
        backoff: Option<Backoff>,
    ) -> Result<(), JournalError> {
        let Some(b) = backoff else { return self.delete("backoff", engine, slot) };
        self.db
            .prepare_cached("INSERT OR REPLACE INTO backoff VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                engine,
                slot.project,
                slot.service,
                slot.number,
                b.failures,
                b.next.0,
                b.last_ready.map(|t| t.0),
            ])?;
        Ok(())
    }

    /// Keeps a job's last run; `None` forgets it, so that it runs again.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_job(
        &mut self,
        engine: &str,
        slot: &Slot,
        run: Option<&JobRun>,
    ) -> Result<(), JournalError> {
        let Some(run) = run else { return self.delete("jobs", engine, slot) };
        self.db
            .prepare_cached("INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                engine,
                slot.project,
                slot.service,
                slot.number,
                run.config_hash,
                run.image_id,
                run.exit_code,
                run.finished.0,
            ])?;
        Ok(())
    }

    /// Notes the generation that was applied to a project.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_generation(
        &mut self,
        engine: &str,
        project: &str,
        hash: &str,
    ) -> Result<(), JournalError> {
        let at = self.clock.now().wall.0;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO generations VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![engine, project, hash, at])?;
        Ok(())
    }

    /// Forgets backoff, jobs, hashes, updates, holds, incidents and generation of a project that was
    /// deleted. Intents and events
    /// stay until they age out.
    ///
    /// # Errors
    /// Nothing was forgotten.
    pub fn forget_project(&mut self, engine: &str, project: &str) -> Result<(), JournalError> {
        let tx = self.db.transaction()?;
        let tables = [
            "backoff",
            "jobs",
            "generations",
            "applied",
            "lost_volumes",
            "updates",
            "pins",
            "holds",
        ];
        for table in tables.into_iter().chain(super::incidents::OF_A_PROJECT) {
            let sql = format!("DELETE FROM {table} WHERE engine = ?1 AND project = ?2");
            tx.execute(&sql, params![engine, project])?;
        }
        Ok(tx.commit()?)
    }

    /// Removes one step's worth of old rows: intents after 30 days or beyond 10,000, events
    /// after 7 days or beyond 5,000. Returns how many went.
    ///
    /// # Errors
    /// Nothing was removed.
    pub fn prune(&mut self) -> Result<usize, JournalError> {
        let now = self.clock.now().wall.0;
        // Only the oldest rows are looked at, so a step costs the same however large the table.
        let intents = self.db.execute(
            "DELETE FROM intents WHERE id IN (
                SELECT id FROM (SELECT id, at, open FROM intents ORDER BY id LIMIT ?1)
                WHERE at < ?2 OR (open = 0 AND id <= (SELECT max(id) FROM intents) - ?3))",
            params![PRUNE_STEP, now - INTENT_AGE, INTENT_ROWS],
        )?;
        let events = self.db.execute(
            "DELETE FROM stack_events WHERE seq IN (
                SELECT seq FROM (SELECT seq, last FROM stack_events ORDER BY seq LIMIT ?1)
                WHERE last < ?2)
             OR seq IN (SELECT seq FROM stack_events ORDER BY seq
                LIMIT min(?1, max(0, (SELECT count(*) FROM stack_events) - ?3)))",
            params![PRUNE_STEP, now - EVENT_AGE, EVENT_ROWS],
        )?;
        Ok(intents + events)
    }

    /// Pruning is housekeeping: when it fails, the write before it still counts.
    pub(super) fn pruned_now_and_then(&mut self) {
        self.writes = (self.writes + 1) % PRUNE_EVERY;
        if self.writes == 0
            && let Err(error) = self.prune()
        {
            tracing::warn!(%error, "the journal could not be pruned");
        }
    }

    fn delete(&mut self, table: &str, engine: &str, slot: &Slot) -> Result<(), JournalError> {
        let sql = format!(
            "DELETE FROM {table} WHERE engine = ?1 AND project = ?2 AND service = ?3 AND number = ?4"
        );
        self.db.execute(&sql, params![engine, slot.project, slot.service, slot.number])?;
        Ok(())
    }
}

fn unfinished(row: &Row<'_>) -> rusqlite::Result<Unfinished> {
    Ok(Unfinished {
        id: IntentId(row.get(0)?),
        at: Timestamp(row.get(1)?),
        intent: Intent {
            engine: row.get(2)?,
            project: row.get(3)?,
            service: row.get(4)?,
            number: row.get(5)?,
            kind: row.get(6)?,
            name: row.get(7)?,
            op: row.get(8)?,
            cause: row.get(9)?,
            generation: row.get(10)?,
            container: row.get(11)?,
            boot_id: row.get(12)?,
        },
    })
}

/// At most [`TEXT_LIMIT`] bytes, cut between characters.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
