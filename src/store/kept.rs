//! What containers were made of that an update keeps: one file each, `rollback/<id>` in the state
//! folder. It holds the environment, so it is private, never served, and gone when the update ends.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use super::handle::{Handle, StoreError};
use super::journal::{Journal, JournalError};
use crate::engine::ContainerId;
use crate::sensitive::Sensitive;

/// Bytes of one body. The engine's own limit of an answer is lower.
const MOST: u64 = 8 * 1024 * 1024;
/// Files that are looked at when the folder is cleared.
const MOST_FILES: usize = 10_000;

impl Journal {
    fn kept_folder(&self) -> Option<PathBuf> {
        Some(self.path.as_ref()?.parent()?.join("rollback"))
    }

    /// The file of a container; `None` without a state folder, or for what is no ID.
    fn kept_file(&self, id: &ContainerId) -> Option<PathBuf> {
        let plain = !id.0.is_empty() && id.0.len() <= 128;
        let plain = plain && id.0.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(self.kept_folder()?.join(plain.then_some(&id.0)?))
    }

    /// Writes down what a container was made of (0600). Without a state folder nothing is.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_body(
        &self,
        id: &ContainerId,
        body: &Sensitive<Map<String, Value>>,
    ) -> Result<bool, JournalError> {
        let (Some(folder), Some(file)) = (self.kept_folder(), self.kept_file(id)) else {
            return Ok(false);
        };
        let bytes = serde_json::to_vec(body.expose())
            .map_err(|error| JournalError::Io { reason: error.to_string() })?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let draft = file.with_extension("new");
        remove(&draft)?;
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.custom_flags(i32::try_from(flags).unwrap_or_default());
        let mut out = options.open(&draft).map_err(failed)?;
        out.write_all(&bytes).map_err(failed)?;
        out.sync_all().map_err(failed)?;
        std::fs::rename(&draft, &file).map_err(failed)?;
        Ok(true)
    }

    /// What a container was made of; `None` if that isn't known.
    ///
    /// # Errors
    /// It can't be read.
    pub fn kept_body(
        &self,
        id: &ContainerId,
    ) -> Result<Option<Sensitive<Map<String, Value>>>, JournalError> {
        let Some(path) = self.kept_file(id) else { return Ok(None) };
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(i32::try_from(flags).unwrap_or_default());
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
        // The words of the parser could quote the file.
        let broken = |_| JournalError::Io { reason: "a rollback file is damaged".into() };
        serde_json::from_slice(&bytes).map(|body| Some(Sensitive::new(body))).map_err(broken)
    }

    /// Forgets what a container was made of.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn release_body(&self, id: &ContainerId) -> Result<(), JournalError> {
        self.kept_file(id).map_or(Ok(()), |file| remove(&file))
    }

    /// Removes what no update keeps any more.
    pub(super) fn clear_bodies(&self) -> Result<(), JournalError> {
        let Some(folder) = self.kept_folder() else { return Ok(()) };
        let files = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed)?,
        };
        let mut keeps = self
            .db
            .prepare_cached("SELECT count(*) > 0 FROM updates WHERE body = ?1 OR kept = ?1")?;
        for file in files.take(MOST_FILES) {
            let file = file.map_err(failed)?;
            let name = file.file_name().to_string_lossy().into_owned();
            let kept: bool = keeps.query_row([&name], |row| row.get(0))?;
            if !kept {
                remove(&file.path())?;
            }
        }
        Ok(())
    }
}

fn remove(path: &std::path::Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failed(error: io::Error) -> JournalError {
    JournalError::Io { reason: format!("rollback: {error}") }
}

impl Handle {
    /// See [`Journal::keep_body`].
    ///
    /// # Errors
    /// As there.
    pub async fn keep_body(
        &self,
        id: ContainerId,
        body: Sensitive<Map<String, Value>>,
    ) -> Result<bool, StoreError> {
        self.call(move |journal| journal.keep_body(&id, &body)).await
    }

    /// See [`Journal::kept_body`].
    ///
    /// # Errors
    /// As there.
    pub async fn kept_body(
        &self,
        id: ContainerId,
    ) -> Result<Option<Sensitive<Map<String, Value>>>, StoreError> {
        self.call(move |journal| journal.kept_body(&id)).await
    }

    /// See [`Journal::release_body`].
    ///
    /// # Errors
    /// As there.
    pub async fn release_body(&self, id: ContainerId) -> Result<(), StoreError> {
        self.call(move |journal| journal.release_body(&id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::clock::SystemClock;
    use crate::observed::Slot;
    use crate::plan::update::Update;

    fn body() -> Sensitive<Map<String, Value>> {
        Sensitive::new(json!({"Env": ["TOKEN=canary"]}).as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn a_body_is_private_and_goes_when_nothing_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SystemClock::new());
        let path = folder.path().join("journal.db");
        let (mut journal, _) = Journal::open(&path, clock).expect("opens");
        let (kept, other) = (ContainerId("aa11".into()), ContainerId("bb22".into()));
        for id in [&kept, &other] {
            assert!(journal.keep_body(id, &body()).expect("writes"));
            assert!(journal.keep_body(id, &body()).expect("writes it again"));
        }
        let file = folder.path().join("rollback/aa11");
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
        };
        assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
        assert_eq!(journal.kept_body(&kept).expect("reads"), Some(body()));
        let slot = Slot { project: "p".into(), service: "web".into(), number: 1 };
        let update = Update { kept: kept.clone(), ..Update::default() };
        journal.set_update("E", &slot, Some(&update)).expect("writes");
        journal.load_memory("E", "p").expect("reads");
        assert_eq!(journal.kept_body(&kept).expect("reads"), Some(body()));
        assert_eq!(journal.kept_body(&other).expect("reads"), None, "nothing keeps it");
        journal.release_body(&kept).expect("removes");
        assert_eq!(journal.kept_body(&kept).expect("reads"), None);
    }

    #[test]
    fn an_id_that_is_none_leads_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(SystemClock::new());
        let (journal, _) = Journal::open(&folder.path().join("journal.db"), clock).expect("opens");
        for id in ["../journal.db", "", "a/b", "a.new"] {
            assert!(!journal.keep_body(&ContainerId(id.into()), &body()).expect("refuses"), "{id}");
        }
    }
}
