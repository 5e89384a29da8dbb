//! Holds: what stays as it is because a person said so, until they say otherwise. And what we did
//! to containers ourselves lately, which is no person's word.

use rusqlite::{Connection, Row, params};

use super::handle::{Handle, StoreError};
use super::journal::{Journal, JournalError};
use super::rows::NewEvent;
use crate::clock::Timestamp;

/// Holds read of one project; nobody has more services.
const MOST: i64 = 10_000;

/// A hold as it is kept. What it is about, with its kind, is its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HoldRow {
    /// The service; empty is the whole stack.
    pub service: String,
    /// The slot; 0 is all of them.
    pub number: u32,
    /// `stopped`, `down` or `paused`.
    pub kind: String,
    /// Who; empty where nobody told.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it was a person isn't certain yet.
    pub provisional: bool,
    /// ID of the container that was stopped.
    pub container: String,
    /// Time of the event that told so, in nanoseconds by the engine's clock.
    pub event: i64,
}

/// A change to the holds of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldWrite {
    /// It holds so.
    Put(HoldRow),
    /// It holds no longer.
    Delete(HoldRow),
}

/// One of our calls that ends a container's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnStop {
    /// ID of the container.
    pub container: String,
    /// Its service.
    pub service: String,
    /// When it was journalled.
    pub at: Timestamp,
    /// When the engine was done with it; `None` while nobody knows that.
    pub done: Option<Timestamp>,
}

impl Journal {
    /// The holds of a project.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn holds(&self, engine: &str, project: &str) -> Result<Vec<HoldRow>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, kind, who, since, provisional, container, event FROM holds
             WHERE engine = ?1 AND project = ?2 ORDER BY service, number, kind LIMIT ?3",
        )?;
        let found = rows.query_map(params![engine, project, MOST], |row| hold(row, 0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Holds of every project that aren't certain yet, with their project.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn provisional_holds(&self) -> Result<Vec<(String, HoldRow)>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT project, service, number, kind, who, since, provisional, container, event
             FROM holds WHERE provisional = 1 LIMIT ?1",
        )?;
        let found = rows.query_map([MOST], |row| Ok((row.get(0)?, hold(row, 1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Changes the holds of a project and records what is to be told of it, all or nothing.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn change_holds(
        &mut self,
        engine: &str,
        project: &str,
        writes: &[HoldWrite],
        events: &[NewEvent],
    ) -> Result<(), JournalError> {
        let tx = self.db.transaction()?;
        for write in writes {
            match write {
                HoldWrite::Put(hold) => write_hold(&tx, engine, project, hold)?,
                HoldWrite::Delete(h) => {
                    tx.prepare_cached(
                        "DELETE FROM holds WHERE engine = ?1 AND project = ?2 AND service = ?3
                            AND number = ?4 AND kind = ?5",
                    )?
                    .execute(params![engine, project, h.service, h.number, h.kind])?;
                }
            }
        }
        tx.commit()?;
        for event in events {
            self.record_event(event)?;
        }
        Ok(())
    }

    /// Our own calls since `since` that end a container's process.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn own_stops(
        &self,
        engine: &str,
        project: &str,
        since: Timestamp,
    ) -> Result<Vec<OwnStop>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT i.container, i.service, i.at, CASE o.result WHEN 'done' THEN o.at END
             FROM intents i LEFT JOIN outcomes o ON o.intent = i.id
             WHERE i.engine = ?1 AND i.project = ?2 AND i.at >= ?3 AND i.container <> ''
                AND (i.op LIKE 'stop%' OR i.op LIKE 'restart%' OR i.op LIKE 'remove%')
             ORDER BY i.id DESC LIMIT ?4",
        )?;
        let found = rows.query_map(params![engine, project, since.0, MOST], |row| {
            Ok(OwnStop {
                container: row.get(0)?,
                service: row.get(1)?,
                at: Timestamp(row.get(2)?),
                done: row.get::<_, Option<i64>>(3)?.map(Timestamp),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

pub(super) fn write_hold(
    db: &Connection,
    engine: &str,
    project: &str,
    h: &HoldRow,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO holds VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        engine,
        project,
        h.service,
        h.number,
        h.kind,
        h.who,
        h.since.0,
        h.provisional,
        h.container,
        h.event
    ])?;
    Ok(())
}

fn hold(row: &Row<'_>, first: usize) -> rusqlite::Result<HoldRow> {
    Ok(HoldRow {
        service: row.get(first)?,
        number: row.get(first + 1)?,
        kind: row.get(first + 2)?,
        who: row.get(first + 3)?,
        since: Timestamp(row.get(first + 4)?),
        provisional: row.get(first + 5)?,
        container: row.get(first + 6)?,
        event: row.get(first + 7)?,
    })
}

impl Handle {
    /// See [`Journal::holds`].
    ///
    /// # Errors
    /// As there.
    pub async fn holds(&self, engine: &str, project: &str) -> Result<Vec<HoldRow>, StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.call(move |journal| journal.holds(&engine, &project)).await
    }

    /// See [`Journal::provisional_holds`].
    ///
    /// # Errors
    /// As there.
    pub async fn provisional_holds(&self) -> Result<Vec<(String, HoldRow)>, StoreError> {
        self.call(|journal| journal.provisional_holds()).await
    }

    /// See [`Journal::change_holds`].
    ///
    /// # Errors
    /// As there.
    pub async fn change_holds(
        &self,
        engine: &str,
        project: &str,
        writes: Vec<HoldWrite>,
        events: Vec<NewEvent>,
    ) -> Result<(), StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.call(move |journal| journal.change_holds(&engine, &project, &writes, &events)).await
    }

    /// See [`Journal::own_stops`].
    ///
    /// # Errors
    /// As there.
    pub async fn own_stops(
        &self,
        engine: &str,
        project: &str,
        since: Timestamp,
    ) -> Result<Vec<OwnStop>, StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.call(move |journal| journal.own_stops(&engine, &project, since)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Completion, EventKind, EventQuery, Intent, Outcome};

    fn journal() -> Journal {
        Journal::in_memory(Arc::new(SystemClock::new())).expect("opens")
    }

    fn row(service: &str, number: u32, provisional: bool) -> HoldRow {
        HoldRow {
            service: service.into(),
            number,
            kind: "stopped".into(),
            who: "ann".into(),
            since: Timestamp(7),
            provisional,
            container: "c".into(),
            event: 7_000_001,
        }
    }

    #[test]
    fn holds_are_kept_by_project_and_changed_together_with_what_is_told() {
        let mut journal = journal();
        let puts = [row("db", 1, true), row("web", 1, false), row("", 0, false)];
        let writes: Vec<_> = puts.iter().cloned().map(HoldWrite::Put).collect();
        let event = NewEvent {
            engine: "E".into(),
            project: "p".into(),
            kind: EventKind::Normal,
            reason: "Held".into(),
            object: "service db/1".into(),
            message: "stopped by hand".into(),
        };
        journal.change_holds("E", "p", &writes, &[event]).expect("writes");
        let kept = journal.holds("E", "p").expect("reads");
        assert_eq!(kept, [puts[2].clone(), puts[0].clone(), puts[1].clone()]);
        assert_eq!(journal.holds("E", "q").expect("reads"), []);
        assert_eq!(journal.holds("F", "p").expect("reads"), []);
        let provisional = journal.provisional_holds().expect("reads");
        assert_eq!(provisional, [("p".to_owned(), puts[0].clone())]);
        let events = journal.events(&EventQuery { limit: 9, ..EventQuery::default() });
        assert_eq!(events.expect("reads").len(), 1);
        let writes = [HoldWrite::Put(row("db", 1, false)), HoldWrite::Delete(row("web", 1, false))];
        journal.change_holds("E", "p", &writes, &[]).expect("writes");
        assert_eq!(journal.holds("E", "p").expect("reads"), [puts[2].clone(), row("db", 1, false)]);
        assert_eq!(journal.provisional_holds().expect("reads"), []);
        journal.forget_project("E", "p").expect("forgets");
        assert_eq!(journal.holds("E", "p").expect("reads"), []);
    }

    #[test]
    fn our_own_stops_are_known_with_their_end() {
        let mut journal = journal();
        let mut begin = |op: &str, container: &str| {
            let intent = Intent {
                engine: "E".into(),
                project: "p".into(),
                service: "db".into(),
                kind: "container".into(),
                op: op.into(),
                container: container.into(),
                ..Intent::default()
            };
            journal.begin(&intent).expect("begins")
        };
        let stop = begin("stop 0123", "a");
        begin("restart", "b");
        begin("start", "c");
        begin("create p-db-1", "");
        journal.end(stop, &Outcome::plain(Completion::Done)).expect("ends");
        let all = journal.own_stops("E", "p", Timestamp(0)).expect("reads");
        let seen: Vec<_> = all.iter().map(|s| (s.container.as_str(), s.done.is_some())).collect();
        assert_eq!(seen, [("b", false), ("a", true)]);
        let later = Timestamp(i64::MAX);
        assert_eq!(journal.own_stops("E", "p", later).expect("reads"), []);
        assert_eq!(journal.own_stops("E", "q", Timestamp(0)).expect("reads"), []);
    }
}
