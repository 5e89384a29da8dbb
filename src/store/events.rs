//! Events of a stack, counted as Kubernetes counts them.

use rusqlite::params;

use super::journal::{Journal, JournalError, cut};
use super::rows::{EventKind, EventRecord, NewEvent};
use crate::clock::Timestamp;

/// Equal events this close to one another, in milliseconds, share a row.
const SAME_WITHIN: i64 = 3600 * 1000;
const MOST_EVENTS: u32 = 1000;

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only this project's.
    pub project: Option<String>,
    /// Only those after this position, oldest first. `None`, or a position that the journal
    /// never reached (it was rebuilt), gives the newest.
    pub since: Option<i64>,
    /// At most so many, up to 1,000.
    pub limit: u32,
}

impl Journal {
    /// Records an event and returns its position. An equal one within the last hour is counted
    /// up and moved to the new position, so that a reader who asks for news sees it again.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn record_event(&mut self, event: &NewEvent) -> Result<i64, JournalError> {
        let now = self.clock.now().wall.0;
        let (e, message) = (event, cut(&event.message));
        let tx = self.db.transaction()?;
        let same = tx
            .prepare_cached(
                "DELETE FROM stack_events WHERE seq = (
                    SELECT seq FROM stack_events
                    WHERE engine = ?1 AND project = ?2 AND reason = ?3 AND object = ?4
                        AND type = ?5 AND message = ?6 AND last >= ?7
                    ORDER BY seq DESC LIMIT 1)
                 RETURNING first, count",
            )?
            .query_map(
                params![
                    e.engine,
                    e.project,
                    e.reason,
                    e.object,
                    e.kind.as_str(),
                    message,
                    now - SAME_WITHIN
                ],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )?
            .last()
            .transpose()?;
        let (first, count) = same.unwrap_or((now, 0));
        tx.prepare_cached(
            "INSERT INTO stack_events
                (first, last, count, engine, project, type, reason, object, message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            first,
            now,
            count.saturating_add(1),
            e.engine,
            e.project,
            e.kind.as_str(),
            e.reason,
            e.object,
            message
        ])?;
        let seq = tx.last_insert_rowid();
        tx.commit()?;
        self.pruned_now_and_then();
        Ok(seq)
    }

    /// Reads events, oldest first.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<EventRecord>, JournalError> {
        let newest: i64 =
            self.db
                .query_row("SELECT coalesce(max(seq), 0) FROM stack_events", [], |r| r.get(0))?;
        let since = query.since.filter(|since| *since <= newest);
        let order = if since.is_some() { "ASC" } else { "DESC" };
        let mut rows = self.db.prepare_cached(&format!(
            "SELECT seq, first, last, count, engine, project, type, reason, object, message
             FROM stack_events WHERE seq > ?1 AND (?2 IS NULL OR project = ?2)
             ORDER BY seq {order} LIMIT ?3"
        ))?;
        let limit = query.limit.clamp(1, MOST_EVENTS);
        let found = rows.query_map(params![since.unwrap_or(0), query.project, limit], |row| {
            let kind = match row.get_ref(6)?.as_str()? {
                "Normal" => EventKind::Normal,
                _ => EventKind::Warning,
            };
            Ok(EventRecord {
                seq: row.get(0)?,
                first: Timestamp(row.get(1)?),
                last: Timestamp(row.get(2)?),
                count: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                event: NewEvent {
                    engine: row.get(4)?,
                    project: row.get(5)?,
                    kind,
                    reason: row.get(7)?,
                    object: row.get(8)?,
                    message: row.get(9)?,
                },
            })
        })?;
        let mut events: Vec<_> = found.collect::<Result<_, _>>()?;
        if since.is_none() {
            events.reverse();
        }
        Ok(events)
    }
}
