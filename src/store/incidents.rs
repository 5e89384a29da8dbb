//! Incidents with their attempts, and what is remembered of each slot for them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rusqlite::{Row, Transaction, params};

use super::journal::{Journal, JournalError, cut};
use crate::clock::{Now, Timestamp};
use crate::observed::Slot;
use crate::recovery::escalation::EscalationClock;
use crate::recovery::{
    Ack, Attempt, AttemptResult, End, EndReason, Generation, Incident, IncidentId, Recalled, Run,
    Scenario, Stop,
};

/// Ended incidents that are kept for each project.
const KEPT_ENDED: u32 = 100;
/// Incidents that are read at most.
const READ_LIMIT: u32 = 1000;
/// Deaths older than this say nothing any more, in milliseconds: twice the window that counts, for
/// clocks that jump.
const DEATH_AGE: i64 = 20 * 60 * 1000;
/// Deaths of one slot that are kept.
const KEPT_DEATHS: u32 = 5;

/// The tables.
pub(super) const TABLES: &str = "
    CREATE TABLE incidents (
        id TEXT NOT NULL,
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        scenario TEXT NOT NULL,
        root TEXT NOT NULL,
        opened INTEGER NOT NULL,
        cause TEXT NOT NULL,
        hash TEXT NOT NULL,
        image TEXT NOT NULL,
        budget INTEGER NOT NULL,
        spent INTEGER NOT NULL,
        stopped TEXT NOT NULL,
        down INTEGER NOT NULL,
        escalated INTEGER,
        acked_by TEXT,
        acked_until INTEGER,
        acked_for INTEGER,
        ended INTEGER,
        ended_reason TEXT NOT NULL,
        ended_by TEXT NOT NULL,
        PRIMARY KEY (engine, project, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE attempts (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        incident TEXT NOT NULL,
        number INTEGER NOT NULL,
        begun INTEGER NOT NULL,
        what TEXT NOT NULL,
        before_container TEXT,
        before_started INTEGER,
        ran INTEGER NOT NULL,
        verified INTEGER NOT NULL,
        result TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (engine, project, incident, number),
        FOREIGN KEY (engine, project, incident) REFERENCES incidents (engine, project, id)
            ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deaths (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        container TEXT NOT NULL,
        started INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX deaths_slot ON deaths (engine, project, service, number);
    CREATE TABLE proven (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        hash TEXT NOT NULL,
        image TEXT NOT NULL,
        PRIMARY KEY (engine, project, service, number)
    ) STRICT, WITHOUT ROWID;
";

/// Tables that hold what is known of a project's recoveries.
pub(super) const OF_A_PROJECT: [&str; 3] = ["incidents", "deaths", "proven"];

impl Journal {
    /// Writes down how an incident stands, with its attempts; of the ended ones the oldest go.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn save_incident(&mut self, engine: &str, incident: &Incident) -> Result<(), JournalError> {
        let now = self.clock.now();
        let tx = self.db.transaction()?;
        save(&tx, engine, incident, now)?;
        if !incident.is_open() {
            tx.prepare_cached(
                "DELETE FROM incidents WHERE engine = ?1 AND project = ?2 AND ended IS NOT NULL
                 AND id NOT IN (SELECT id FROM incidents WHERE engine = ?1 AND project = ?2
                    AND ended IS NOT NULL ORDER BY ended DESC, id LIMIT ?3)",
            )?
            .execute(params![engine, incident.slot.project, KEPT_ENDED])?;
        }
        Ok(tx.commit()?)
    }

    /// Incidents of a project, or of all, oldest first, at most 1,000; with the engine of each.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn incidents(
        &self,
        project: Option<&str>,
    ) -> Result<Vec<(String, Incident)>, JournalError> {
        let now = self.clock.now();
        let mut rows = self.db.prepare_cached(
            "SELECT engine, id, project, service, number, scenario, root, opened, cause, hash,
                    image, budget, spent, stopped, down, escalated, acked_by, acked_until,
                    acked_for, ended, ended_reason, ended_by
             FROM incidents WHERE ?1 IS NULL OR project = ?1
             ORDER BY ended IS NOT NULL, opened DESC, id LIMIT ?2",
        )?;
        let found = rows.query_map(params![project, READ_LIMIT], |row| {
            Ok((row.get(0)?, incident(row, now)?))
        })?;
        let mut all: Vec<(String, Incident)> = found.collect::<Result<_, _>>()?;
        for (engine, incident) in &mut all {
            incident.attempts = self.attempts(engine, incident)?;
        }
        all.sort_by(|(_, a), (_, b)| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
        Ok(all)
    }

    fn attempts(
        &self,
        engine: &str,
        incident: &Incident,
    ) -> Result<VecDeque<Attempt>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT number, begun, what, before_container, before_started, ran, verified, result,
                    reason
             FROM attempts WHERE engine = ?1 AND project = ?2 AND incident = ?3 ORDER BY number",
        )?;
        let key = params![engine, incident.slot.project, incident.id.0];
        let found = rows.query_map(key, attempt)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Everything about a project's recoveries, read once at start.
    ///
    /// # Errors
    /// The database can't be read.
    pub fn recoveries(&self, engine: &str, project: &str) -> Result<Recalled, JournalError> {
        let now = self.clock.now().wall;
        let mut recalled = Recalled::default();
        let all = self.incidents(Some(project))?.into_iter();
        recalled.incidents =
            all.filter(|(of, _)| of == engine).map(|(_, incident)| incident).collect();
        let slot = |row: &Row<'_>| -> rusqlite::Result<Slot> {
            Ok(Slot { project: project.to_owned(), service: row.get(0)?, number: row.get(1)? })
        };
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, hash, image FROM proven WHERE engine = ?1 AND project = ?2",
        )?;
        let found = rows.query_map(params![engine, project], |row| {
            Ok((slot(row)?, Generation { hash: row.get(2)?, image: row.get(3)? }))
        })?;
        recalled.proven = found.collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, container, started, at FROM deaths
             WHERE engine = ?1 AND project = ?2 ORDER BY seq",
        )?;
        let found = rows.query_map(params![engine, project], |row| {
            let run = Run { container: row.get(2)?, started: row.get(3)? };
            // A clock that jumped back makes a death no younger than now.
            Ok((slot(row)?, run, now.since(Timestamp(row.get(4)?))))
        })?;
        recalled.falls = found.collect::<Result<_, _>>()?;
        Ok(recalled)
    }

    /// Notes that a run ended by itself.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn note_death(&mut self, engine: &str, slot: &Slot, run: &Run) -> Result<(), JournalError> {
        let at = self.clock.now().wall.0;
        let tx = self.db.transaction()?;
        tx.prepare_cached(
            "INSERT INTO deaths (engine, project, service, number, container, started, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            engine,
            slot.project,
            slot.service,
            slot.number,
            run.container,
            run.started,
            at
        ])?;
        tx.prepare_cached(
            "DELETE FROM deaths WHERE at < ?5 OR engine = ?1 AND project = ?2 AND service = ?3
             AND number = ?4 AND seq NOT IN (SELECT seq FROM deaths WHERE engine = ?1
                AND project = ?2 AND service = ?3 AND number = ?4 ORDER BY seq DESC LIMIT ?6)",
        )?
        .execute(params![
            engine,
            slot.project,
            slot.service,
            slot.number,
            at - DEATH_AGE,
            KEPT_DEATHS
        ])?;
        Ok(tx.commit()?)
    }

    /// Forgets the deaths of a slot: a person or an edit gives it another chance.
    ///
    /// # Errors
    /// Nothing was forgotten.
    pub fn forget_deaths(&mut self, engine: &str, slot: &Slot) -> Result<(), JournalError> {
        self.db
            .prepare_cached(
                "DELETE FROM deaths WHERE engine = ?1 AND project = ?2 AND service = ?3
                 AND number = ?4",
            )?
            .execute(params![engine, slot.project, slot.service, slot.number])?;
        Ok(())
    }

    /// Notes the generation in which a slot was Ready.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn note_proven(
        &mut self,
        engine: &str,
        slot: &Slot,
        generation: &Generation,
    ) -> Result<(), JournalError> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO proven VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                engine,
                slot.project,
                slot.service,
                slot.number,
                generation.hash,
                generation.image
            ])?;
        Ok(())
    }
}

fn save(
    tx: &Transaction<'_>,
    engine: &str,
    incident: &Incident,
    now: Now,
) -> Result<(), JournalError> {
    let Incident { id, slot, .. } = incident;
    let ack = incident.ack.as_ref();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let remains = ack.and_then(|a| a.until).map(|until| millis(until.since(now.mono)));
    let end = incident.end.as_ref();
    tx.prepare_cached(
        "INSERT INTO incidents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
            ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
         ON CONFLICT (engine, project, id) DO UPDATE SET scenario = excluded.scenario,
            root = excluded.root, budget = excluded.budget, spent = excluded.spent,
            stopped = excluded.stopped, down = excluded.down, escalated = excluded.escalated,
            acked_by = excluded.acked_by, acked_until = excluded.acked_until,
            acked_for = excluded.acked_for, ended = excluded.ended,
            ended_reason = excluded.ended_reason, ended_by = excluded.ended_by",
    )?
    .execute(params![
        id.0,
        engine,
        slot.project,
        slot.service,
        slot.number,
        incident.scenario.word(),
        incident.root,
        incident.opened.0,
        cut(&incident.cause),
        incident.generation.hash,
        incident.generation.image,
        incident.budget,
        incident.spent,
        stop_word(incident.stopped),
        millis(incident.clock.passed),
        incident.escalated.map(|at| at.0),
        ack.map(|a| a.by.as_str()),
        ack.and_then(|a| a.until_wall).map(|at| at.0),
        remains,
        end.map(|e| e.at.0),
        end.map_or("", |e| e.reason.word()),
        end.map_or("", |e| e.by.as_str()),
    ])?;
    for attempt in &incident.attempts {
        tx.prepare_cached(
            "INSERT OR REPLACE INTO attempts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
                ?12)",
        )?
        .execute(params![
            engine,
            slot.project,
            id.0,
            attempt.number,
            attempt.begun.0,
            cut(&attempt.what),
            attempt.before.as_ref().map(|run| run.container.as_str()),
            attempt.before.as_ref().map(|run| run.started),
            attempt.ran,
            attempt.verified,
            attempt.result.word(),
            cut(&attempt.reason),
        ])?;
    }
    let oldest = incident.attempts.front().map_or(0, |attempt| attempt.number);
    tx.prepare_cached(
        "DELETE FROM attempts WHERE engine = ?1 AND project = ?2 AND incident = ?3 AND number < ?4",
    )?
    .execute(params![engine, slot.project, id.0, oldest])?;
    Ok(())
}

fn incident(row: &Row<'_>, now: Now) -> rusqlite::Result<Incident> {
    let at = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
    };
    let millis = |column: usize| -> rusqlite::Result<Option<Duration>> {
        let millis = row.get::<_, Option<i64>>(column)?;
        Ok(millis.map(|m| Duration::from_millis(u64::try_from(m).unwrap_or(0))))
    };
    let (until_wall, remained) = (at(17)?, millis(18)?);
    // Wall clocks jump: never longer than was left when it was written down.
    let remains = until_wall.zip(remained).map(|(until, most)| until.since(now.wall).min(most));
    let by: Option<String> = row.get(16)?;
    let ack = by.map(|by| Ack { by, until: remains.map(|r| now.mono.after(r)), until_wall });
    let ended = row.get::<_, String>(20)?;
    let reason = EndReason::ALL.into_iter().find(|reason| reason.word() == ended);
    let end = match at(19)? {
        Some(at) => {
            Some(End { at, reason: reason.unwrap_or(EndReason::Resolved), by: row.get(21)? })
        }
        None => None,
    };
    Ok(Incident {
        id: IncidentId(row.get(1)?),
        slot: Slot { project: row.get(2)?, service: row.get(3)?, number: row.get(4)? },
        scenario: Scenario::of(&row.get::<_, String>(5)?).unwrap_or(Scenario::SingleServiceDown),
        root: row.get(6)?,
        opened: Timestamp(row.get(7)?),
        cause: row.get(8)?,
        generation: Generation { hash: row.get(9)?, image: row.get(10)? },
        budget: row.get(11)?,
        spent: row.get(12)?,
        attempts: VecDeque::new(),
        stopped: stop_of(&row.get::<_, String>(13)?),
        clock: EscalationClock::resumed(millis(14)?.unwrap_or_default()),
        escalated: at(15)?,
        ack,
        end,
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let result: String = row.get(7)?;
    let result = AttemptResult::ALL.into_iter().find(|r| r.word() == result);
    let container: Option<String> = row.get(3)?;
    let started: Option<i64> = row.get(4)?;
    Ok(Attempt {
        number: row.get(0)?,
        begun: Timestamp(row.get(1)?),
        what: row.get(2)?,
        before: container.zip(started).map(|(container, started)| Run { container, started }),
        ran: row.get(5)?,
        verified: row.get(6)?,
        result: result.unwrap_or(AttemptResult::Withdrawn),
        reason: row.get(8)?,
    })
}

const fn stop_word(stop: Option<Stop>) -> &'static str {
    match stop {
        None => "",
        Some(Stop::Budget) => "budget",
        Some(Stop::CrashLoop) => "crash loop",
        Some(Stop::Update) => "update",
    }
}

fn stop_of(word: &str) -> Option<Stop> {
    let all = [Stop::Budget, Stop::CrashLoop, Stop::Update];
    all.into_iter().find(|stop| stop_word(Some(*stop)) == word)
}

#[cfg(test)]
#[path = "incidents_tests.rs"]
mod tests;
