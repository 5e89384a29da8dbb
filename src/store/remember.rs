//! What a running daemon remembers, written down in full: where the journal began anew, or could not
//! be written for a while. And the volumes whose loss nobody has taken note of.

use std::collections::BTreeMap;

use rusqlite::params;

use super::handle::{Handle, StoreError};
use super::holds::write_hold;
use super::journal::{Journal, JournalError};
use super::rows::{LostVolume, Recalled};
use super::updates::{write_pin, write_update};
use crate::clock::Timestamp;

impl Journal {
    /// Writes down all that is known of a project: what is there already stays, pauses, losses,
    /// updates and holds that are over go. Generation, open intents and the times of earlier deaths
    /// aren't part of it.
    ///
    /// # Errors
    /// Nothing, or not all, was written; writing it again does no harm.
    pub fn remember(
        &mut self,
        engine: &str,
        project: &str,
        known: &Recalled,
    ) -> Result<(), JournalError> {
        self.attach()?;
        let now = self.clock.now().wall.0;
        let made = self.made(engine, project)?;
        let tx = self.db.transaction()?;
        for table in ["backoff", "lost_volumes", "updates", "pins", "holds"] {
            let sql = format!("DELETE FROM {table} WHERE engine = ?1 AND project = ?2");
            tx.execute(&sql, params![engine, project])?;
        }
        for (slot, b) in &known.backoff {
            let ready = b.last_ready.map(|at| at.0);
            tx.prepare_cached(
                "INSERT OR REPLACE INTO backoff VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                engine,
                project,
                slot.service,
                slot.number,
                b.failures,
                b.next.0,
                ready
            ])?;
        }
        for (slot, run) in &known.jobs {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                engine,
                project,
                slot.service,
                slot.number,
                run.config_hash,
                run.image_id,
                run.exit_code,
                run.finished.0
            ])?;
        }
        for (service, hash) in &known.applied {
            tx.prepare_cached("INSERT OR REPLACE INTO applied VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![engine, project, service, hash])?;
        }
        for (volume, lost) in &known.lost {
            tx.prepare_cached("INSERT INTO lost_volumes VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![engine, project, volume, lost.service, lost.at.0])?;
        }
        for (slot, update) in &known.updates {
            write_update(&tx, engine, slot, update)?;
        }
        for (service, pin) in &known.pins {
            write_pin(&tx, engine, project, service, pin)?;
        }
        for hold in &known.holds {
            write_hold(&tx, engine, project, hold)?;
        }
        for id in known.made.difference(&made) {
            tx.prepare_cached(
                "INSERT INTO intents (at, engine, project, service, number, kind, name, op, cause,
                    generation, container, boot_id, open)
                 VALUES (?1, ?2, ?3, '', 0, 'container', '', 'create', '', '', '', '', 0)",
            )?
            .execute(params![now, engine, project])?;
            tx.prepare_cached(
                "INSERT INTO outcomes VALUES (?1, ?2, 'done', 'Remembered', '', ?3)",
            )?
            .execute(params![tx.last_insert_rowid(), now, id])?;
        }
        tx.commit()?;
        for incident in &known.recoveries.incidents {
            self.save_incident(engine, incident)?;
        }
        for (slot, generation) in &known.recoveries.proven {
            self.note_proven(engine, slot, generation)?;
        }
        Ok(())
    }

    /// Keeps the loss of a volume; `None` once a person knows.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_lost_volume(
        &mut self,
        engine: &str,
        project: &str,
        volume: &str,
        lost: Option<&LostVolume>,
    ) -> Result<(), JournalError> {
        let key = params![engine, project, volume];
        match lost {
            None => self.db.execute(
                "DELETE FROM lost_volumes WHERE engine = ?1 AND project = ?2 AND volume = ?3",
                key,
            )?,
            Some(lost) => self
                .db
                .prepare_cached("INSERT OR REPLACE INTO lost_volumes VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute(params![engine, project, volume, lost.service, lost.at.0])?,
        };
        Ok(())
    }

    /// The volumes whose loss nobody has taken note of.
    pub(super) fn lost_volumes(
        &self,
        engine: &str,
        project: &str,
    ) -> Result<BTreeMap<String, LostVolume>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT volume, service, at FROM lost_volumes WHERE engine = ?1 AND project = ?2",
        )?;
        let rows = rows.query_map(params![engine, project], |row| {
            Ok((row.get(0)?, LostVolume { service: row.get(1)?, at: Timestamp(row.get(2)?) }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Handle {
    /// See [`Journal::remember`].
    ///
    /// # Errors
    /// As there.
    pub async fn remember(
        &self,
        engine: &str,
        project: &str,
        known: Recalled,
    ) -> Result<(), StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        self.call(move |journal| journal.remember(&engine, &project, &known)).await
    }

    /// See [`Journal::set_lost_volume`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_lost_volume(
        &self,
        engine: &str,
        project: &str,
        volume: &str,
        lost: Option<LostVolume>,
    ) -> Result<(), StoreError> {
        let (engine, project, volume) = (engine.to_owned(), project.to_owned(), volume.to_owned());
        self.call(move |j| j.set_lost_volume(&engine, &project, &volume, lost.as_ref())).await
    }
}
