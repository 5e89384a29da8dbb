//! What a restart of the daemon must not forget: where each stack's generations stand, what was
//! applied to each service, and which containers are of our making.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};

use super::handle::{Handle, StoreError};
use super::journal::{Journal, JournalError};
use super::rows::{Completion, Outcome};
use crate::observed::Slot;

impl Journal {
    /// IDs of the containers that were made for a project.
    pub(super) fn made(
        &self,
        engine: &str,
        project: &str,
    ) -> Result<BTreeSet<String>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT o.object FROM intents i JOIN outcomes o ON o.intent = i.id
             WHERE i.engine = ?1 AND i.project = ?2 AND i.kind = 'container'
                AND i.container = '' AND o.object <> ''",
        )?;
        let ids = rows.query_map(params![engine, project], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Ends the open creates of a slot: the one that asked for a container of this name as done,
    /// with the ID that it has; without one, all of them as never carried out.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub fn answer_creates(
        &mut self,
        engine: &str,
        slot: &Slot,
        found: Option<(&str, &str)>,
    ) -> Result<(), JournalError> {
        let open = self.unfinished(engine)?.into_iter().filter(|open| {
            let i = &open.intent;
            let name = i.op.strip_prefix("create ");
            i.kind == "container"
                && (i.project.as_str(), i.service.as_str(), i.number)
                    == (slot.project.as_str(), slot.service.as_str(), slot.number)
                && name.is_some_and(|name| found.is_none_or(|(wanted, _)| wanted == name))
        });
        let outcome = match found {
            Some((_, id)) => Outcome {
                reason: "FoundByName".into(),
                object: id.to_owned(),
                ..Outcome::plain(Completion::Done)
            },
            None => {
                Outcome { reason: "NeverCarriedOut".into(), ..Outcome::plain(Completion::Skipped) }
            }
        };
        for open in open.collect::<Vec<_>>() {
            self.end(open.id, &outcome)?;
        }
        Ok(())
    }

    /// Configuration hash that was last applied to each service of a project.
    pub(super) fn applied(
        &self,
        engine: &str,
        project: &str,
    ) -> Result<BTreeMap<String, String>, JournalError> {
        let mut rows = self.db.prepare_cached(
            "SELECT service, hash FROM applied WHERE engine = ?1 AND project = ?2",
        )?;
        let rows =
            rows.query_map(params![engine, project], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes the configuration hash that was applied to a service.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_applied(
        &mut self,
        engine: &str,
        project: &str,
        service: &str,
        hash: &str,
    ) -> Result<(), JournalError> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO applied VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![engine, project, service, hash])?;
        Ok(())
    }

    /// Generation and fingerprint of a stack's last good load; `None` for a new one.
    ///
    /// # Errors
    /// Nothing could be read.
    pub fn source(&self, stack: &str) -> Result<Option<(u64, String)>, JournalError> {
        let row = self
            .db
            .prepare_cached("SELECT generation, fingerprint FROM sources WHERE stack = ?1")?
            .query_row([stack], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
            .optional()?;
        Ok(row.map(|(generation, print)| (u64::try_from(generation).unwrap_or(0), print)))
    }

    /// Notes a stack's generation and fingerprint.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn set_source(
        &mut self,
        stack: &str,
        generation: u64,
        fingerprint: &str,
    ) -> Result<(), JournalError> {
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("INSERT OR REPLACE INTO sources VALUES (?1, ?2, ?3)")?
            .execute(params![stack, generation, fingerprint])?;
        Ok(())
    }
}

impl Handle {
    /// See [`Journal::set_applied`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_applied(
        &self,
        engine: &str,
        project: &str,
        name: &str,
        hash: &str,
    ) -> Result<(), StoreError> {
        let (engine, project) = (engine.to_owned(), project.to_owned());
        let (name, hash) = (name.to_owned(), hash.to_owned());
        self.call(move |j| j.set_applied(&engine, &project, &name, &hash)).await
    }

    /// See [`Journal::source`].
    ///
    /// # Errors
    /// As there.
    pub async fn source(&self, stack: &str) -> Result<Option<(u64, String)>, StoreError> {
        let stack = stack.to_owned();
        self.serve(move |journal| journal.source(&stack)).await
    }

    /// See [`Journal::set_source`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_source(
        &self,
        stack: &str,
        generation: u64,
        fingerprint: &str,
    ) -> Result<(), StoreError> {
        let (stack, fingerprint) = (stack.to_owned(), fingerprint.to_owned());
        self.call(move |journal| journal.set_source(&stack, generation, &fingerprint)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Completion, Intent, Outcome};

    #[test]
    fn containers_of_our_making_are_known_again() {
        let mut journal = Journal::in_memory(Arc::new(SystemClock::new())).expect("opens");
        for (project, kind, container, object) in [
            ("p", "container", "", "made"),
            ("p", "container", "touched", "touched"),
            ("p", "network", "", "net"),
            ("q", "container", "", "other"),
            ("p", "container", "", ""),
        ] {
            let intent = Intent {
                engine: "E".into(),
                project: project.into(),
                kind: kind.into(),
                container: container.into(),
                ..Intent::default()
            };
            let id = journal.begin(&intent).expect("writes");
            let outcome = Outcome { object: object.into(), ..Outcome::plain(Completion::Done) };
            journal.end(id, &outcome).expect("writes");
        }
        let recalled = journal.load_memory("E", "p").expect("reads");
        assert_eq!(recalled.made, BTreeSet::from(["made".to_owned()]));
    }

    #[test]
    fn what_was_applied_is_kept_until_the_project_is_forgotten() {
        let mut journal = Journal::in_memory(Arc::new(SystemClock::new())).expect("opens");
        for (project, service, hash) in
            [("p", "web", "old"), ("p", "web", "new"), ("p", "db", "h"), ("q", "web", "other")]
        {
            journal.set_applied("E", project, service, hash).expect("writes");
        }
        let applied = |journal: &Journal, project| {
            journal.load_memory("E", project).expect("reads").applied.into_iter().collect()
        };
        let of_p: Vec<(String, String)> = applied(&journal, "p");
        let expected = [("db", "h"), ("web", "new")].map(|(s, h)| (s.to_owned(), h.to_owned()));
        assert_eq!(of_p, expected);
        journal.forget_project("E", "p").expect("writes");
        assert!(applied(&journal, "p").is_empty());
        assert_eq!(applied(&journal, "q").len(), 1);
    }

    #[test]
    fn the_last_generation_is_kept() {
        let mut journal = Journal::in_memory(Arc::new(SystemClock::new())).expect("opens");
        assert_eq!(journal.source("bot").expect("reads"), None);
        for (generation, print) in [(1, "a"), (2, "b")] {
            journal.set_source("bot", generation, print).expect("writes");
            let kept = journal.source("bot").expect("reads");
            assert_eq!(kept, Some((generation, print.to_owned())));
        }
        assert_eq!(journal.source("other").expect("reads"), None);
    }
}
