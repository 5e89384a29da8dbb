use std::sync::Mutex;

use super::*;
use crate::clock::{Mono, Now};
use crate::store::rows::{EventKind, NewEvent};
use crate::store::{EventQuery, Handle, StoreError};

/// A wall clock that the test moves.
#[derive(Debug, Default)]
struct Hands(Mutex<i64>);

impl Clock for Hands {
    fn now(&self) -> Now {
        Now { wall: Timestamp(*self.0.lock().expect("clock")), mono: Mono::default() }
    }
    fn jitter(&self) -> f64 {
        0.0
    }
}

impl Hands {
    fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(millis)))
    }
    fn forward(&self, millis: i64) {
        *self.0.lock().expect("clock") += millis;
    }
}

struct Desk {
    folder: tempfile::TempDir,
    clock: Arc<Hands>,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("temp"), clock: Hands::at(1_000_000 * DAY / 50) }
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("journal.db")
    }
    fn open(&self) -> Journal {
        let (journal, aside) = Journal::open(&self.path(), self.clock.clone()).expect("opens");
        assert_eq!(aside, None);
        journal
    }
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("lists");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn intent(name: &str) -> Intent {
    Intent {
        engine: "E".into(),
        project: "p".into(),
        service: "valkey".into(),
        number: 1,
        kind: "container".into(),
        name: name.into(),
        op: "start".into(),
        cause: "exited 1".into(),
        generation: "g1".into(),
        container: "c".repeat(64),
        boot_id: "boot".into(),
    }
}

fn slot(service: &str) -> Slot {
    Slot { project: "p".into(), service: service.into(), number: 1 }
}

fn event(message: &str) -> NewEvent {
    NewEvent {
        engine: "E".into(),
        project: "p".into(),
        kind: EventKind::Warning,
        reason: "Exited".into(),
        object: "service/valkey/1".into(),
        message: message.into(),
    }
}

#[test]
fn an_intent_is_unfinished_until_its_end_is_known() {
    let desk = Desk::new();
    let mut journal = desk.open();
    let id = journal.begin(&intent("a")).expect("begins");
    let open = journal.unfinished("E").expect("reads");
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].id, &open[0].intent), (id, &intent("a")));
    assert_eq!(journal.unfinished("other").expect("reads"), []);

    journal.end(id, &Outcome::plain(Completion::Unknown)).expect("ends");
    assert_eq!(journal.unfinished("E").expect("reads").len(), 1, "unknown is no end");
    journal.end(id, &Outcome::plain(Completion::Done)).expect("ends");
    assert_eq!(journal.unfinished("E").expect("reads"), []);
    journal.end(id, &Outcome::plain(Completion::Failed)).expect("ends");
    let outcome = journal.outcome(id).expect("reads").expect("ended");
    assert_eq!(outcome.result, Completion::Done, "the first known end stays");
}

#[test]
fn the_end_of_an_unknown_intent_is_an_error() {
    let mut journal = Journal::in_memory(Hands::at(0)).expect("opens");
    let error = journal.end(IntentId(7), &Outcome::plain(Completion::Done)).expect_err("refused");
    assert!(matches!(error, JournalError::NoSuchIntent(IntentId(7))), "{error}");
}

#[test]
fn a_process_that_dies_keeps_its_intents() {
    let desk = Desk::new();
    let mut journal = desk.open();
    journal.begin(&intent("a")).expect("begins");
    // Never closed, as after SIGKILL: a second connection sees what the files hold.
    std::mem::forget(journal);
    assert!(desk.files().contains(&"journal.db-wal".to_owned()), "{:?}", desk.files());
    let open = desk.open().unfinished("E").expect("reads");
    assert_eq!(open.iter().map(|u| u.intent.name.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn memory_survives_a_restart_and_belongs_to_its_engine_and_project() {
    let desk = Desk::new();
    let backoff = Backoff { failures: 3, next: Timestamp(99), last_ready: Some(Timestamp(42)) };
    let job = JobRun {
        config_hash: "h".into(),
        image_id: "sha256:i".into(),
        exit_code: -1,
        finished: Timestamp(5),
    };
    {
        let mut journal = desk.open();
        journal.set_backoff("E", &slot("bot"), Some(Backoff::default())).expect("writes");
        journal.set_backoff("E", &slot("bot"), Some(backoff)).expect("writes");
        journal.set_job("E", &slot("migrate"), Some(&job)).expect("writes");
        journal.set_generation("E", "p", "g1").expect("writes");
        journal.begin(&intent("a")).expect("begins");
    }
    let mut journal = desk.open();
    let recalled = journal.load_memory("E", "p").expect("reads");
    assert_eq!(recalled.backoff, [(slot("bot"), backoff)].into());
    assert_eq!(recalled.jobs, [(slot("migrate"), job)].into());
    assert_eq!(recalled.generation.expect("managed").hash, "g1");
    assert_eq!(recalled.unfinished.len(), 1);
    assert_eq!(journal.load_memory("F", "p").expect("reads"), Recalled::default());
    assert_eq!(journal.load_memory("E", "q").expect("reads"), Recalled::default());

    journal.set_backoff("E", &slot("bot"), None).expect("forgets");
    assert_eq!(journal.load_memory("E", "p").expect("reads").backoff, [].into());
    journal.forget_project("E", "p").expect("forgets");
    let left = journal.load_memory("E", "p").expect("reads");
    assert_eq!((left.jobs, left.generation), ([].into(), None));
}

#[test]
fn equal_events_count_and_come_again_as_news() {
    let desk = Desk::new();
    let mut journal = desk.open();
    let first = journal.record_event(&event("x")).expect("records");
    let other = journal.record_event(&event("y")).expect("records");
    desk.clock.forward(60_000);
    let again = journal.record_event(&event("x")).expect("records");
    assert!(first < other && other < again);
    let news = |since| EventQuery { project: Some("p".into()), since, limit: 10 };
    let seen = journal.events(&news(Some(other))).expect("reads");
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].count, seen[0].last.since(seen[0].first).as_secs()), (2, 60));
    assert_eq!(seen[0].event, event("x"));

    desk.clock.forward(SAME_HOUR + 1);
    journal.record_event(&event("x")).expect("records");
    let counts: Vec<_> =
        journal.events(&news(None)).expect("reads").iter().map(|e| e.count).collect();
    assert_eq!(counts, [1, 2, 1], "an hour later it is another event");
}

const SAME_HOUR: i64 = 3600 * 1000;

#[test]
fn a_reader_whose_position_was_lost_gets_the_newest_events() {
    let mut journal = Journal::in_memory(Hands::at(0)).expect("opens");
    for n in 0..5 {
        journal.record_event(&event(&n.to_string())).expect("records");
    }
    let read = |since, limit, project: Option<&str>| {
        let query = EventQuery { project: project.map(str::to_owned), since, limit };
        let events = journal.events(&query).expect("reads");
        events.into_iter().map(|e| e.event.message).collect::<Vec<_>>()
    };
    assert_eq!(read(None, 2, None), ["3", "4"]);
    assert_eq!(read(Some(900), 2, None), ["3", "4"]);
    assert_eq!(read(Some(2), 2, None), ["2", "3"]);
    assert!(read(None, 9, Some("q")).is_empty());
}

#[test]
fn old_rows_go_and_unfinished_intents_stay() {
    let desk = Desk::new();
    let mut journal = desk.open();
    let kept = journal.begin(&intent("kept")).expect("begins");
    let tx = journal.db.transaction().expect("tx");
    for n in 0..(INTENT_ROWS + 700) {
        tx.execute(
            "INSERT INTO intents (at, engine, project, service, number, kind, name, op, cause,
                generation, container, boot_id, open)
             VALUES (?1, 'E', 'p', '', 0, 'network', ?2, '', '', '', '', '', 0)",
            params![desk.clock.now().wall.0, n.to_string()],
        )
        .expect("inserts");
        let id = tx.last_insert_rowid();
        tx.execute("INSERT INTO outcomes VALUES (?1, 0, 'done', '', '', '')", [id])
            .expect("inserts");
    }
    tx.commit().expect("commits");
    let count = |journal: &Journal, table: &str| -> i64 {
        journal
            .db
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))
            .expect("counts")
    };
    let step = journal.prune().expect("prunes");
    assert!(step > 0 && step <= PRUNE_STEP as usize, "one step at a time: {step}");
    while journal.prune().expect("prunes") > 0 {}
    assert_eq!(count(&journal, "intents"), INTENT_ROWS + 1);
    assert_eq!(count(&journal, "outcomes"), INTENT_ROWS, "outcomes go with their intents");
    assert_eq!(journal.unfinished("E").expect("reads")[0].id, kept);

    for n in 0..(EVENT_ROWS + 10) {
        journal.record_event(&event(&n.to_string())).expect("records");
    }
    while journal.prune().expect("prunes") > 0 {}
    assert_eq!(count(&journal, "stack_events"), EVENT_ROWS);
    desk.clock.forward(INTENT_AGE + 1);
    while journal.prune().expect("prunes") > 0 {}
    assert_eq!(count(&journal, "intents") + count(&journal, "stack_events"), 0);
}

#[test]
fn writing_prunes_by_itself() {
    let desk = Desk::new();
    let mut journal = desk.open();
    journal.record_event(&event("old")).expect("records");
    desk.clock.forward(EVENT_AGE + 1);
    for n in 0..PRUNE_EVERY {
        journal.begin(&intent(&n.to_string())).expect("begins");
    }
    let query = EventQuery { limit: 10, ..EventQuery::default() };
    assert_eq!(journal.events(&query).expect("reads"), []);
}

#[test]
fn a_damaged_file_is_set_aside_and_kept() {
    for garbage in [b"this is not a database".repeat(100), vec![0xff; 8192]] {
        let desk = Desk::new();
        std::fs::write(desk.path(), &garbage).expect("writes");
        let (mut journal, aside) =
            Journal::open(&desk.path(), desk.clock.clone()).expect("rebuilds");
        let aside = aside.expect("says so");
        assert_eq!(std::fs::read(&aside.kept_as).expect("kept"), garbage);
        let expected = format!("journal.db.corrupt-{}", desk.clock.now().wall.0);
        assert_eq!(aside.kept_as.file_name().expect("name").to_string_lossy(), expected);
        journal.begin(&intent("a")).expect("works");
    }
}

#[test]
fn a_page_that_went_bad_under_a_crash_is_found_at_open() {
    let desk = Desk::new();
    {
        let mut journal = desk.open();
        for n in 0..400 {
            journal.begin(&intent(&n.to_string())).expect("begins");
        }
    }
    std::mem::forget({
        let mut journal = desk.open();
        journal.begin(&intent("last")).expect("begins");
        journal
    });
    let mut bytes = std::fs::read(desk.path()).expect("reads");
    assert!(bytes.len() > 16 * 4096, "several pages: {}", bytes.len());
    bytes[8 * 4096..14 * 4096].fill(0x5a);
    std::fs::write(desk.path(), bytes).expect("writes");
    let (journal, aside) = Journal::open(&desk.path(), desk.clock.clone()).expect("rebuilds");
    assert!(aside.is_some());
    assert_eq!(journal.unfinished("E").expect("reads"), []);
}

#[test]
fn another_programs_database_is_set_aside_unchanged() {
    let desk = Desk::new();
    {
        let db = Connection::open(desk.path()).expect("opens");
        db.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").expect("fills");
    }
    let before = std::fs::read(desk.path()).expect("reads");
    let (_, aside) = Journal::open(&desk.path(), desk.clock.clone()).expect("rebuilds");
    assert_eq!(std::fs::read(aside.expect("says so").kept_as).expect("kept"), before);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let desk = Desk::new();
    drop(desk.open());
    {
        let db = Connection::open(desk.path()).expect("opens");
        db.pragma_update(None, "user_version", 99).expect("writes");
    }
    let before = desk.files();
    let error = Journal::open(&desk.path(), desk.clock.clone()).expect_err("refused");
    assert!(matches!(error, JournalError::Newer { found: 99, .. }), "{error}");
    assert_eq!(desk.files(), before);
}

#[test]
fn a_full_disk_is_typed_and_writing_goes_on_when_there_is_room() {
    let desk = Desk::new();
    let mut journal = desk.open();
    let limit = |pages: i64| {
        move |journal: &Journal| {
            journal.db.pragma_update(None, "max_page_count", pages).expect("sets");
        }
    };
    limit(1)(&journal);
    let full = (0..10_000).find_map(|_| journal.begin(&intent("a")).err()).expect("fills up");
    assert!(matches!(full, JournalError::DiskFull), "{full}");
    limit(100_000)(&journal);
    journal.begin(&intent("b")).expect("goes on");
}

#[test]
fn the_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    std::fs::write(desk.path(), "").expect("writes");
    std::fs::set_permissions(desk.path(), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let mut journal = desk.open();
    journal.begin(&intent("a")).expect("begins");
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let meta = std::fs::metadata(desk.folder.path().join(name)).expect(name);
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut journal = Journal::in_memory(Hands::at(0)).expect("opens");
    let long = Intent { op: "é".repeat(4000), cause: "x".repeat(4000), ..intent("a") };
    journal.begin(&long).expect("begins");
    let read = &journal.unfinished("E").expect("reads")[0].intent;
    assert_eq!((read.op.len(), read.cause.len()), (1024, 1024));
    assert!(long.op.starts_with(&read.op));
}

#[tokio::test]
async fn the_handle_serves_calls_in_order_and_ends_with_its_last_clone() {
    let desk = Desk::new();
    let (handle, keeper) = Handle::spawn(desk.open()).expect("spawns");
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(handle.begin(intent(&n.to_string())).await.expect("begins"));
    }
    assert!(ids.is_sorted());
    handle.end(ids[0], Outcome::plain(Completion::Done)).await.expect("ends");
    let recalled = handle.load_memory("E", "p").await.expect("reads");
    assert_eq!(recalled.unfinished.len(), 19);
    drop(handle);
    tokio::task::spawn_blocking(|| keeper.join()).await.expect("ends");
    assert_eq!(desk.files(), ["journal.db"], "closed cleanly");
}

#[tokio::test]
async fn the_handle_rebuilds_a_journal_that_goes_bad_in_use() {
    let desk = Desk::new();
    let (handle, _keeper) = Handle::spawn(desk.open()).expect("spawns");
    handle.begin(intent("a")).await.expect("begins");
    let damage = |_: &mut Journal| -> Result<(), JournalError> {
        Err(JournalError::Corrupt { reason: "page 7".into() })
    };
    let error = handle.call(damage).await.expect_err("said");
    assert!(matches!(error, StoreError::Journal(JournalError::Corrupt { .. })), "{error}");
    handle.begin(intent("b")).await.expect("works again");
    let query = EventQuery { limit: 5, ..EventQuery::default() };
    let events = handle.events(query).await.expect("reads");
    assert_eq!(events[0].event.reason, "JournalRebuilt");
    assert!(desk.files().iter().any(|f| f.contains("corrupt-")), "{:?}", desk.files());
}
