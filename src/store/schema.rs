//! The journal's tables and connection settings.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::journal::JournalError;

/// Version of the tables, kept in SQLite's `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 6;

/// `homs`, kept in SQLite's `application_id`, so that `file` and we know whose file it is.
pub(super) const APPLICATION_ID: i64 = 0x686f_6d73;

// A page cache of 128 KiB and no mapping: the daemon's private memory is budgeted. NORMAL in WAL
// mode leaves every commit in the operating system's cache, so a killed process loses none;
// a power cut may lose the last ones, and the engine is then the truth anyway.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -128;
    PRAGMA mmap_size = 0;
    PRAGMA wal_autocheckpoint = 128;
    PRAGMA journal_size_limit = 1048576;
    PRAGMA trusted_schema = OFF;
";

const TABLES: &str = "
    CREATE TABLE intents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        op TEXT NOT NULL,
        cause TEXT NOT NULL,
        generation TEXT NOT NULL,
        container TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        open INTEGER NOT NULL DEFAULT 1
    ) STRICT;
    CREATE INDEX intents_open ON intents (engine, id) WHERE open = 1;
    CREATE TABLE outcomes (
        intent INTEGER PRIMARY KEY REFERENCES intents (id) ON DELETE CASCADE,
        at INTEGER NOT NULL,
        result TEXT NOT NULL,
        reason TEXT NOT NULL,
        message TEXT NOT NULL,
        object TEXT NOT NULL
    ) STRICT;
    CREATE TABLE backoff (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        next INTEGER NOT NULL,
        last_ready INTEGER,
        PRIMARY KEY (engine, project, service, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE jobs (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        config_hash TEXT NOT NULL,
        image_id TEXT NOT NULL,
        exit_code INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        PRIMARY KEY (engine, project, service, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE generations (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        hash TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (engine, project)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sources (
        stack TEXT NOT NULL PRIMARY KEY,
        generation INTEGER NOT NULL,
        fingerprint TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE stack_events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        type TEXT NOT NULL,
        reason TEXT NOT NULL,
        object TEXT NOT NULL,
        message TEXT NOT NULL
    ) STRICT;
    CREATE INDEX stack_events_same ON stack_events (project, object, reason, message);
";

/// What a journal of version 1 lacks, then one of version 2, and so on.
const UPGRADES: [&str; 5] = [APPLIED, LOST_VOLUMES, UPDATES, HOLDS, super::incidents::TABLES];

const APPLIED: &str = "
    CREATE TABLE applied (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (engine, project, service)
    ) STRICT, WITHOUT ROWID;
";

const LOST_VOLUMES: &str = "
    CREATE TABLE lost_volumes (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        volume TEXT NOT NULL,
        service TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (engine, project, volume)
    ) STRICT, WITHOUT ROWID;
";

const UPDATES: &str = "
    CREATE TABLE updates (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        kept TEXT NOT NULL,
        image TEXT NOT NULL,
        hash TEXT NOT NULL,
        body TEXT NOT NULL,
        new TEXT NOT NULL,
        deaths INTEGER NOT NULL,
        last_death INTEGER,
        PRIMARY KEY (engine, project, service, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE pins (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        edition TEXT NOT NULL,
        image TEXT NOT NULL,
        why TEXT NOT NULL,
        before TEXT NOT NULL,
        person TEXT,
        PRIMARY KEY (engine, project, service)
    ) STRICT, WITHOUT ROWID;
";

const HOLDS: &str = "
    CREATE TABLE holds (
        engine TEXT NOT NULL,
        project TEXT NOT NULL,
        service TEXT NOT NULL,
        number INTEGER NOT NULL,
        kind TEXT NOT NULL,
        who TEXT NOT NULL,
        since INTEGER NOT NULL,
        provisional INTEGER NOT NULL,
        container TEXT NOT NULL,
        event INTEGER NOT NULL,
        PRIMARY KEY (engine, project, service, number, kind)
    ) STRICT, WITHOUT ROWID;
";

/// Opens a connection and brings the tables into being.
pub(super) fn connect(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(path, flags)?, path)
}

/// Settings and tables of a fresh connection.
pub(super) fn prepare(mut db: Connection, path: &Path) -> Result<Connection, JournalError> {
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    db.set_prepared_statement_cache_capacity(8);
    // Asked first: a file that isn't ours must not be switched to WAL.
    let (application, version) = identity(&db)?;
    match (application, version) {
        (0, 0) if is_empty(&db)? => {}
        (APPLICATION_ID, 1..=SCHEMA_VERSION) => {}
        (APPLICATION_ID, found) if found > SCHEMA_VERSION => {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                found,
                known: SCHEMA_VERSION,
            });
        }
        _ => return Err(JournalError::Corrupt { reason: "not a journal of homeostat".into() }),
    }
    // Until the tables are there, nothing is lost by a power cut: they are made without waiting
    // for the disk.
    let fresh = (application, version) == (0, 0);
    db.pragma_update(None, "synchronous", if fresh { "OFF" } else { "NORMAL" })?;
    db.execute_batch(SETTINGS)?;
    // Another process may make the tables at the same moment: look again inside the write lock.
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let (_, mut version) = identity(&tx)?;
    if version == 0 {
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        version = 1;
    }
    if version < SCHEMA_VERSION {
        let done = usize::try_from(version - 1).unwrap_or_default();
        for upgrade in UPGRADES.iter().skip(done) {
            tx.execute_batch(upgrade)?;
        }
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    tx.commit()?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(db)
}

/// Walks every page; only worth its time after an unclean end.
pub(super) fn check(db: &Connection) -> Result<(), JournalError> {
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(JournalError::Corrupt { reason: verdict }) }
}

fn identity(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let read = |name| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    Ok((read("application_id")?, read("user_version")?))
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_journal_is_as_durable_as_an_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        for _ in 0..2 {
            let db = prepare(Connection::open(&path).expect("opens"), &path).expect("prepares");
            let read = |name: &str| -> String {
                let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
                db.query_row(&sql, [], |row| row.get(0)).expect("reads")
            };
            assert_eq!((read("synchronous"), read("journal_mode")), ("1".into(), "wal".into()));
        }
    }

    #[test]
    fn a_journal_of_version_1_is_brought_up_with_what_it_holds() {
        let db = Connection::open_in_memory().expect("opens");
        db.execute_batch(TABLES).expect("makes");
        db.pragma_update(None, "application_id", APPLICATION_ID).expect("writes");
        db.pragma_update(None, "user_version", 1).expect("writes");
        db.execute("INSERT INTO sources VALUES ('bot', 7, 'print')", []).expect("writes");
        let db = prepare(db, Path::new("old")).expect("is brought up");
        assert_eq!(identity(&db).expect("reads"), (APPLICATION_ID, SCHEMA_VERSION));
        db.execute("INSERT INTO applied VALUES ('E', 'p', 'web', 'hash')", []).expect("writes");
        let kept: i64 =
            db.query_row("SELECT generation FROM sources", [], |r| r.get(0)).expect("reads");
        assert_eq!(kept, 7);
        prepare(db, Path::new("new")).expect("is left as it is");
    }
}
