//! Updates that aren't over and updates that failed, in the journal. What a container was made of
//! isn't here: it holds secrets, and has a file of its own.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::handle::{Handle, StoreError};
use super::journal::{Journal, JournalError, cut};
use crate::clock::Timestamp;
use crate::engine::ContainerId;
use crate::observed::Slot;
use crate::plan::update::{Pin, Update};

impl Journal {
    /// Keeps how far a slot's update is; `None` forgets it.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_update(
        &mut self,
        engine: &str,
        slot: &Slot,
        update: Option<&Update>,
    ) -> Result<(), JournalError> {
        let Some(update) = update else {
            let sql = "DELETE FROM updates
                 WHERE engine = ?1 AND project = ?2 AND service = ?3 AND number = ?4";
            self.db.prepare_cached(sql)?.execute(params![
                engine,
                slot.project,
                slot.service,
                slot.number
            ])?;
            return Ok(());
        };
        Ok(write_update(&self.db, engine, slot, update)?)
    }

    /// Keeps why a service's update failed; `None` forgets it.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_pin(
        &mut self,
        engine: &str,
        project: &str,
        service: &str,
        pin: Option<&Pin>,
    ) -> Result<(), JournalError> {
        let Some(pin) = pin else {
            let sql = "DELETE FROM pins WHERE engine = ?1 AND project = ?2 AND service = ?3";
            self.db.prepare_cached(sql)?.execute(params![engine, project, service])?;
            return Ok(());
        };
        Ok(write_pin(&self.db, engine, project, service, pin)?)
    }

    /// A person wants a service's failed update tried again by the next run.
    ///
    /// # Errors
    /// Something of it may not be written; asking again is safe.
    pub fn retry_update(
        &mut self,
        engine: &str,
        project: &str,
        service: &str,
    ) -> Result<(), JournalError> {
        for (slot, mut update) in self.updates(engine, project)? {
            if slot.service == service {
                // What is still there of the new version begins anew.
                (update.deaths, update.new) = (0, None);
                write_update(&self.db, engine, &slot, &update)?;
            }
        }
        self.set_pin(engine, project, service, None)
    }

    pub(super) fn updates(
        &self,
        engine: &str,
        project: &str,
    ) -> Result<BTreeMap<Slot, Update>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT service, number, kept, image, hash, body, new, deaths, last_death
             FROM updates WHERE engine = ?1 AND project = ?2",
        )?;
        let found = rows.query_map(params![engine, project], |row| {
            let slot =
                Slot { project: project.to_owned(), service: row.get(0)?, number: row.get(1)? };
            let update = Update {
                kept: ContainerId(row.get(2)?),
                image: row.get(3)?,
                hash: row.get(4)?,
                body: known(row.get(5)?),
                new: known(row.get(6)?),
                deaths: row.get(7)?,
                last_death: row.get::<_, Option<i64>>(8)?.map(Timestamp),
            };
            Ok((slot, update))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    pub(super) fn pins(
        &self,
        engine: &str,
        project: &str,
    ) -> Result<BTreeMap<String, Pin>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT service, edition, image, why, before, person FROM pins
             WHERE engine = ?1 AND project = ?2",
        )?;
        let found = rows.query_map(params![engine, project], |row| {
            let pin = Pin {
                edition: row.get(1)?,
                image: row.get(2)?,
                why: row.get(3)?,
                before: row.get(4)?,
                person: row.get(5)?,
            };
            Ok((row.get(0)?, pin))
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

pub(super) fn write_update(
    db: &Connection,
    engine: &str,
    slot: &Slot,
    update: &Update,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO updates
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    db.prepare_cached(sql)?.execute(params![
        engine,
        slot.project,
        slot.service,
        slot.number,
        update.kept.0,
        update.image,
        update.hash,
        id(update.body.as_ref()),
        id(update.new.as_ref()),
        update.deaths,
        update.last_death.map(|at| at.0),
    ])?;
    Ok(())
}

pub(super) fn write_pin(
    db: &Connection,
    engine: &str,
    project: &str,
    service: &str,
    pin: &Pin,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO pins VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(sql)?.execute(params![
        engine,
        project,
        service,
        pin.edition,
        pin.image,
        cut(&pin.why),
        pin.before,
        pin.person.as_deref().map(cut),
    ])?;
    Ok(())
}

fn id(id: Option<&ContainerId>) -> &str {
    id.map(|id| id.0.as_str()).unwrap_or_default()
}

fn known(id: String) -> Option<ContainerId> {
    (!id.is_empty()).then_some(ContainerId(id))
}

impl Handle {
    /// See [`Journal::set_update`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_update(
        &self,
        engine: &str,
        slot: Slot,
        update: Option<Update>,
    ) -> Result<(), StoreError> {
        let engine = engine.to_owned();
        self.call(move |journal| journal.set_update(&engine, &slot, update.as_ref())).await
    }

    /// See [`Journal::set_pin`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_pin(
        &self,
        engine: &str,
        project: &str,
        service: &str,
        pin: Option<Pin>,
    ) -> Result<(), StoreError> {
        let (engine, project, service) =
            (engine.to_owned(), project.to_owned(), service.to_owned());
        self.call(move |journal| journal.set_pin(&engine, &project, &service, pin.as_ref())).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn updates_and_pins_are_remembered_until_they_are_over() {
        let mut journal = Journal::in_memory(Arc::new(SystemClock::new())).expect("opens");
        let slot = Slot { project: "p".into(), service: "web".into(), number: 2 };
        let update = Update {
            kept: ContainerId("old".into()),
            image: "sha256:old".into(),
            hash: "hash".into(),
            body: Some(ContainerId("older".into())),
            new: Some(ContainerId("new".into())),
            deaths: 2,
            last_death: Some(Timestamp(7)),
        };
        let bare = Update { body: None, new: None, last_death: None, ..update.clone() };
        let pin = Pin {
            edition: "hash".into(),
            image: "sha256:new".into(),
            why: "it doesn't work".into(),
            before: "image old".into(),
            person: Some("data".into()),
        };
        for (update, person) in [(&update, pin.person.clone()), (&bare, None)] {
            let pin = Pin { person, ..pin.clone() };
            journal.set_update("E", &slot, Some(update)).expect("writes");
            journal.set_pin("E", "p", "web", Some(&pin)).expect("writes");
            let recalled = journal.load_memory("E", "p").expect("reads");
            assert_eq!(recalled.updates, [(slot.clone(), update.clone())].into());
            assert_eq!(recalled.pins, [("web".to_owned(), pin)].into());
        }
        assert!(journal.load_memory("E", "other").expect("reads").updates.is_empty());
        journal.set_update("E", &slot, Some(&update)).expect("writes");
        journal.retry_update("E", "p", "web").expect("writes");
        let recalled = journal.load_memory("E", "p").expect("reads");
        let again = Update { deaths: 0, new: None, ..update.clone() };
        assert_eq!(recalled.updates, [(slot.clone(), again)].into());
        assert!(recalled.pins.is_empty());
        journal.set_update("E", &slot, None).expect("forgets");
        journal.set_pin("E", "p", "web", None).expect("forgets");
        let recalled = journal.load_memory("E", "p").expect("reads");
        assert!(recalled.updates.is_empty() && recalled.pins.is_empty());
        journal.set_update("E", &slot, Some(&update)).expect("writes");
        journal.set_pin("E", "p", "web", Some(&pin)).expect("writes");
        journal.forget_project("E", "p").expect("forgets");
        let recalled = journal.load_memory("E", "p").expect("reads");
        assert!(recalled.updates.is_empty() && recalled.pins.is_empty());
    }
}
