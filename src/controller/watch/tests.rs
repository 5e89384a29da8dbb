//! Real files, real watches, bounded waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Follower, Following, MOST_STACKS, Roster, SourceStatus};
use crate::clock::SystemClock;
use crate::desired::source::{Environment, Flags, Request, Source, find};
use crate::plan::Scope;

const STACK: &str = "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: bot}\n";

fn compose(image: &str) -> String {
    format!("services: {{web: {{image: \"{image}\"}}}}\n")
}

struct Run {
    _root: tempfile::TempDir,
    folder: PathBuf,
    following: Following,
    _stop: tokio_util::sync::DropGuard,
}

impl Run {
    async fn start(poll_only: bool, known: Option<(u64, String)>) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("bot");
        std::fs::create_dir(&folder).expect("a folder");
        write(&folder, "stack.yaml", STACK);
        write(&folder, "compose.yaml", &compose("web:1"));
        let request = Request {
            path: Some(folder.clone()),
            cwd: folder.clone(),
            flags: Flags::default(),
            environment: Environment::default(),
            scope: Scope::default(),
        };
        let source = find(&request).expect("finds").sources.remove(0);
        let (mut follower, following) = Follower::new(source, Arc::new(SystemClock::new()), known);
        if poll_only {
            follower = follower.poll_only();
        }
        let stop = CancellationToken::new();
        tokio::spawn(follower.run(stop.clone()));
        let mut run = Self { _root: root, folder, following, _stop: stop.drop_guard() };
        run.until("the first load", |s| s.loaded_at.is_some()).await;
        run
    }

    async fn until(&mut self, what: &str, is: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let wait = self.following.status.wait_for(is);
        let status = tokio::time::timeout(Duration::from_secs(20), wait).await;
        status.unwrap_or_else(|_| panic!("waited in vain for {what}")).expect("runs").clone()
    }

    fn image(&self) -> String {
        let goal = self.following.goal.borrow();
        let project = &goal.as_ref().expect("a goal").desired.project;
        project.services["web"].image.clone().unwrap_or_default()
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_a_new_generation_and_an_edit_without_effect_is_none() {
    let mut run = Run::start(false, None).await;
    assert_eq!(run.following.status.borrow().generation, 1);
    write(&run.folder, "compose.yaml", &compose("web:2"));
    run.until("the edit", |s| s.generation == 2).await;
    assert_eq!(run.image(), "web:2");

    let read = |run: &Run| {
        let goal = run.following.goal.borrow();
        let desired = &goal.as_ref().expect("a goal").desired;
        (desired.generation, desired.files.clone())
    };
    let (generation, files) = read(&run);
    let before = run.following.status.borrow().loaded_at;
    write(&run.folder, "compose.yaml", &format!("# a comment\n{}", compose("web:2")));
    let status = run.until("the comment", |s| s.loaded_at != before).await;
    assert_eq!(status.generation, 2);
    // What was read is known all the same.
    let now = read(&run);
    assert_eq!(now.0, generation);
    assert_ne!(now.1, files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_atomic_replace_is_followed_more_than_once() {
    let mut run = Run::start(false, None).await;
    for n in 2..5 {
        write(&run.folder, "compose.yaml.new", &compose(&format!("web:{n}")));
        std::fs::rename(run.folder.join("compose.yaml.new"), run.folder.join("compose.yaml"))
            .expect("renames");
        run.until("the replacement", |s| s.generation == n).await;
        assert_eq!(run.image(), format!("web:{n}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_edit_keeps_the_last_good_goal_and_names_the_place() {
    let mut run = Run::start(false, None).await;
    write(&run.folder, "compose.yaml", "services:\n  web: {imagee: \"web:2\"}\n");
    let status = run.until("the mistake", |s| s.error.is_some()).await;
    let error = status.error.expect("an error");
    assert_eq!((error.list[0].at.line, status.source_gone), (2, false), "{error}");
    assert_eq!((status.generation, run.image()), (1, "web:1".to_owned()));
    write(&run.folder, "compose.yaml", &compose("web:3"));
    let status = run.until("the mend", |s| s.generation == 2).await;
    assert_eq!((status.error, run.image()), (None, "web:3".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_written_file_is_not_reported() {
    let mut run = Run::start(false, None).await;
    let mut statuses = run.following.status.clone();
    let reported = tokio::spawn(async move {
        let seen = statuses.wait_for(|s| s.error.is_some() || s.generation == 2).await;
        seen.expect("runs").error.is_some()
    });
    write(&run.folder, "compose.yaml", "services: {web: {im");
    // Longer than the quiet time, so that the half is loaded; shorter than the second try.
    tokio::time::sleep(Duration::from_millis(400)).await;
    write(&run.folder, "compose.yaml", &compose("web:2"));
    run.until("the whole file", |s| s.generation == 2).await;
    assert!(!reported.await.expect("ends"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stack_file_removes_nothing() {
    let mut run = Run::start(false, None).await;
    std::fs::remove_file(run.folder.join("stack.yaml")).expect("removes");
    let status = run.until("its absence", |s| s.source_gone).await;
    assert!(status.error.is_some());
    assert_eq!((status.generation, run.image()), (1, "web:1".to_owned()));
    write(&run.folder, "stack.yaml", STACK);
    let status = run.until("its return", |s| !s.source_gone).await;
    assert_eq!((status.generation, status.error), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_removed_and_made_again_is_followed() {
    let mut run = Run::start(false, None).await;
    std::fs::remove_dir_all(&run.folder).expect("removes");
    run.until("its absence", |s| s.source_gone).await;
    assert_eq!(run.image(), "web:1");
    std::fs::create_dir(&run.folder).expect("a folder");
    write(&run.folder, "compose.yaml", &compose("web:2"));
    write(&run.folder, "stack.yaml", STACK);
    run.until("its return", |s| s.generation == 2).await;
    write(&run.folder, "compose.yaml", &compose("web:3"));
    run.until("an edit in the new folder", |s| s.generation == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_read_from_other_folders_are_followed() {
    let mut run = Run::start(false, None).await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let env = elsewhere.path().join("web.txt");
    std::fs::write(&env, "A=1\n").expect("writes");
    let text = format!("services: {{web: {{image: \"web:2\", env_file: {}}}}}\n", env.display());
    write(&run.folder, "compose.yaml", &text);
    run.until("the edit", |s| s.generation == 2).await;
    std::fs::write(&env, "A=2\n").expect("writes");
    run.until("the edit elsewhere", |s| s.generation == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_kernels_help_edits_are_found_by_looking() {
    let mut run = Run::start(true, None).await;
    write(&run.folder, "compose.yaml", &compose("web:22"));
    run.until("the edit", |s| s.generation == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_finds_an_edit_that_nobody_has_noticed_yet() {
    // Looks every five seconds only.
    let run = Run::start(true, None).await;
    for n in 2..5 {
        write(&run.folder, "compose.yaml", &compose(&format!("web:{n}")));
        run.following.refresh().await;
        assert_eq!(run.image(), format!("web:{n}"));
        assert_eq!(run.following.status.borrow().generation, n);
    }
    write(&run.folder, "compose.yaml", "services: [");
    run.following.refresh().await;
    assert!(run.following.status.borrow().error.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_alone_begins_no_generation() {
    let known = {
        let run = Run::start(false, None).await;
        let status = run.following.status.borrow().clone();
        status.fingerprint.expect("a fingerprint")
    };
    // Another folder: its paths are part of the goal, so this one differs.
    let other = Run::start(false, Some((7, known))).await;
    assert_eq!(other.following.status.borrow().generation, 8);
    let same = other.following.status.borrow().fingerprint.clone().expect("a fingerprint");
    let source = {
        let request = Request {
            path: Some(other.folder.clone()),
            cwd: other.folder.clone(),
            flags: Flags::default(),
            environment: Environment::default(),
            scope: Scope::default(),
        };
        find(&request).expect("finds").sources.remove(0)
    };
    let (follower, mut following) =
        Follower::new(source, Arc::new(SystemClock::new()), Some((8, same)));
    let stop = CancellationToken::new();
    tokio::spawn(follower.run(stop.clone()));
    let status = tokio::time::timeout(
        Duration::from_secs(20),
        following.status.wait_for(|s| s.loaded_at.is_some()),
    );
    assert_eq!(status.await.expect("in time").expect("runs").generation, 8);
    let goal = following.goal.borrow().clone().expect("a goal");
    assert_eq!(goal.desired.generation, 8);
    stop.cancel();
}

/// A roster that runs, and what it tells.
struct Looking {
    found: mpsc::Receiver<Source>,
    ended: mpsc::Sender<String>,
    _stop: tokio_util::sync::DropGuard,
}

impl Looking {
    fn start(request: &Request) -> Self {
        let sources = find(request).expect("finds").sources;
        let (tell, found) = mpsc::channel(200);
        let (ended, endings) = mpsc::channel(8);
        let roster = Roster::new(request, &sources, Arc::new(SystemClock::new()), tell, endings);
        let stop = CancellationToken::new();
        tokio::spawn(roster.run(stop.clone()));
        Self { found, ended, _stop: stop.drop_guard() }
    }

    async fn next(&mut self) -> String {
        let source = tokio::time::timeout(Duration::from_secs(20), self.found.recv()).await;
        source.expect("in time").expect("runs").name
    }

    async fn stays_silent(&mut self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let told = self.found.try_recv().map(|source| source.name);
        assert!(told.is_err(), "{told:?}");
    }
}

/// A folder with these Stacks in one file.
fn stacks(names: usize, folder: &Path) {
    let stacks: Vec<String> = (0..names).map(|n| STACK.replace("bot", &format!("s{n}"))).collect();
    write(folder, "stacks.yaml", &stacks.join("---\n"));
    write(folder, "compose.yaml", &compose("web:1"));
}

fn request(folder: &Path) -> Request {
    Request {
        path: Some(folder.to_owned()),
        cwd: folder.to_owned(),
        flags: Flags::default(),
        environment: Environment::default(),
        scope: Scope::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_that_is_added_is_found_once_and_one_that_goes_is_not_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    stacks(1, folder.path());
    let mut looking = Looking::start(&request(folder.path()));
    for name in ["new", "newer"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        write(folder.path(), &format!("{name}.yaml"), &STACK.replace("bot", name));
        assert_eq!(looking.next().await, name);
    }
    std::fs::remove_file(folder.path().join("new.yaml")).expect("removes");
    looking.stays_silent(500).await;
    write(folder.path(), "new.yaml", &STACK.replace("bot", "new"));
    looking.stays_silent(500).await;
    // One that stays away doesn't keep others out, and counts until it is let go.
    std::fs::remove_file(folder.path().join("new.yaml")).expect("removes");
    write(folder.path(), "last.yaml", &STACK.replace("bot", "last"));
    looking.stays_silent(1000).await;
    assert_eq!(looking.next().await, "last");
    write(folder.path(), "new.yaml", &STACK.replace("bot", "new"));
    looking.stays_silent(500).await;
    looking.ended.send("new".into()).await.expect("runs");
    assert_eq!(looking.next().await, "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stacks_beyond_the_limit_are_not_kept_until_another_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    stacks(1, folder.path());
    let mut looking = Looking::start(&request(folder.path()));
    stacks(MOST_STACKS + 1, folder.path());
    for _ in 1..MOST_STACKS {
        looking.next().await;
    }
    looking.stays_silent(300).await;
    write(folder.path(), "stacks.yaml", "");
    stacks(MOST_STACKS + 1, folder.path());
    looking.ended.send("s0".into()).await.expect("runs");
    looking.next().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_takes_the_place_of_files_that_are_gone() {
    let root = tempfile::tempdir().expect("a folder");
    let bot = root.path().join("bot");
    std::fs::create_dir(&bot).expect("a folder");
    write(root.path(), "compose.yaml", &compose("web:1"));
    write(&bot, "compose.yaml", &compose("web:1"));
    // Begun in the folder: one above is another project.
    let mut here = Looking::start(&Request { path: None, ..request(&bot) });
    std::fs::remove_file(bot.join("compose.yaml")).expect("removes");
    here.stays_silent(3000).await;
    write(root.path(), "stack.yaml", STACK);
    here.stays_silent(1000).await;
    drop(here);
    // Compose files beside a Stack that is empty for a moment, or can't be read.
    write(&bot, "compose.yaml", &compose("web:1"));
    write(&bot, "stack.yaml", STACK);
    let mut given = Looking::start(&request(&bot));
    for bad in ["", "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {na"] {
        write(&bot, "stack.yaml", bad);
        given.stays_silent(3000).await;
        write(&bot, "stack.yaml", STACK);
        given.stays_silent(500).await;
    }
    // A link to nowhere can't be read: there may be more than is seen.
    std::os::unix::fs::symlink(bot.join("nowhere"), bot.join("z.yaml")).expect("a link");
    write(&bot, "new.yaml", &STACK.replace("bot", "new"));
    given.stays_silent(1000).await;
    std::fs::remove_file(bot.join("z.yaml")).expect("removes");
    assert_eq!(given.next().await, "new");
}
