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
async fn an_edit_becomes_a_goal_and_an_edit_without_effect_does_not() {
    let mut run = Run::start(false, None).await;
    assert_eq!(run.following.status.borrow().generation, 1);
    write(&run.folder, "compose.yaml", &compose("web:2"));
    run.until("the edit", |s| s.generation == 2).await;
    assert_eq!(run.image(), "web:2");

    run.following.goal.borrow_and_update();
    let before = run.following.status.borrow().loaded_at;
    write(&run.folder, "compose.yaml", &format!("# a comment\n{}", compose("web:2")));
    let status = run.until("the comment", |s| s.loaded_at != before).await;
    assert_eq!(status.generation, 2);
    assert!(!run.following.goal.has_changed().expect("runs"));
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

/// A folder with these Stacks in one file, and a roster that knows `known`.
fn roster(names: usize, known: &[Source], folder: &Path) -> (Roster, mpsc::Receiver<Source>) {
    let stacks: Vec<String> = (0..names).map(|n| STACK.replace("bot", &format!("s{n}"))).collect();
    write(folder, "stacks.yaml", &stacks.join("---\n"));
    write(folder, "compose.yaml", &compose("web:1"));
    let (tell, found) = mpsc::channel(200);
    (Roster::new(request(folder), known, Arc::new(SystemClock::new()), tell), found)
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
    let _ = roster(1, &[], folder.path());
    let known = find(&request(folder.path())).expect("finds").sources;
    let (roster, mut found) = roster(1, &known, folder.path());
    let stop = CancellationToken::new();
    let running = tokio::spawn(roster.run(stop.clone()));
    for name in ["new", "newer"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        write(folder.path(), &format!("{name}.yaml"), &STACK.replace("bot", name));
        let source = tokio::time::timeout(Duration::from_secs(20), found.recv()).await;
        assert_eq!(source.expect("in time").expect("runs").name, name);
    }
    std::fs::remove_file(folder.path().join("new.yaml")).expect("removes");
    tokio::time::sleep(Duration::from_millis(500)).await;
    write(folder.path(), "new.yaml", &STACK.replace("bot", "new"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(found.try_recv().is_err(), "it is known already");
    stop.cancel();
    running.await.expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stacks_beyond_the_limit_are_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (roster, mut found) = roster(MOST_STACKS + 5, &[], folder.path());
    let stop = CancellationToken::new();
    let running = tokio::spawn(roster.run(stop.clone()));
    for _ in 0..MOST_STACKS {
        let source = tokio::time::timeout(Duration::from_secs(20), found.recv()).await;
        assert!(source.expect("in time").is_some());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(found.try_recv().is_err());
    stop.cancel();
    running.await.expect("ends");
}
