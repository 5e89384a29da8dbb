//! The journal's file: opened with a private mode, set aside when it is damaged.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::journal::JournalError;
use super::{schema, state_dir};
use crate::clock::Timestamp;

/// A damaged database was moved out of the way; holds, backoff and budgets start anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where the damaged file is now.
    pub kept_as: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// Opens the file, making it (0600) when it is missing.
pub(super) fn connect(path: &Path) -> Result<Connection, JournalError> {
    let unusable = |error: state_dir::StateDirError| JournalError::Io { reason: error.to_string() };
    // SQLite gives its side files the mode of the main one.
    state_dir::open_private(path, "open", |o| o.create(true).truncate(false)).map_err(unusable)?;
    // A clean end removes the log; one that is left over has seen a crash.
    let crashed = side_file(path, "-wal").metadata().is_ok_and(|m| m.len() > 0);
    let db = schema::connect(path)?;
    if crashed {
        schema::check(&db)?;
    }
    Ok(db)
}

/// Moves the file and its side files out of the way; overwrites nothing.
pub(super) fn set_aside(
    path: &Path,
    at: Timestamp,
    reason: String,
) -> Result<SetAside, JournalError> {
    let mut kept_as = side_file(path, &format!(".corrupt-{}", at.0));
    let mut more = 1;
    while kept_as.symlink_metadata().is_ok() {
        more += 1;
        kept_as = side_file(path, &format!(".corrupt-{}-{more}", at.0));
    }
    for suffix in ["", "-wal", "-shm"] {
        let from = side_file(path, suffix);
        match std::fs::rename(&from, side_file(&kept_as, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::Io {
                    reason: format!("{} can't be set aside: {error}", from.display()),
                });
            }
            _ => {}
        }
    }
    Ok(SetAside { kept_as, reason })
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
