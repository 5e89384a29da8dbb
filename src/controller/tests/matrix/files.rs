//! Rows 32 to 35: edits that can't be used, through the loader and the follower that the daemon has.
//!
//! The follower looks every five seconds instead of asking the kernel, whose news come in real time.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::api::status::Condition;
use crate::controller::watch::{Follower, Following};
use crate::desired::source::{Environment, Flags, Request, find};

/// Longest time in which an edit is noticed, quiet and a second try included.
const NOTICED: Duration = secs(7);

/// A folder with the files of two stacks, and a daemon's loops over it.
struct Home {
    folder: tempfile::TempDir,
    good: Kept,
    bad: Kept,
    _stop: DropGuard,
}

/// One stack: what follows its files, and its loop once they were good.
struct Kept {
    following: Following,
    scene: Option<Scene>,
}

fn stack(name: &str) -> String {
    format!(
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {{name: {name}}}\nspec:\n  \
         source: {{compose: {{files: [{name}.yaml]}}}}\n  policy: {{orphans: Remove}}\n"
    )
}

/// Two services in order.
fn two(project: &str, version: u32) -> String {
    format!(
        "\
name: {project}
services:
  db:
    image: app:1
    environment: {{V: '{version}'}}
    healthcheck: {{test: [CMD, ok], interval: 1s}}
  web:
    image: app:1
    depends_on: [db]
"
    )
}

impl Home {
    async fn new(good: &str, bad: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("good", good), ("bad", bad)] {
            write(&folder.path().join(format!("{name}.stack.yaml")), &stack(name));
            write(&folder.path().join(format!("{name}.yaml")), text);
        }
        let request = Request {
            path: Some(folder.path().to_owned()),
            cwd: folder.path().to_owned(),
            flags: Flags::default(),
            environment: Environment::default(),
            scope: Scope::default(),
        };
        let sim = engine(1);
        let stop = CancellationToken::new();
        let mut kept = Vec::new();
        for source in find(&request).expect("finds").sources {
            let (follower, following) = Follower::new(source, sim.clock(), None);
            tokio::spawn(follower.poll_only().run(stop.clone()));
            kept.push(Kept { following, scene: None });
        }
        let (mut good, bad) = (kept.pop().expect("two"), kept.pop().expect("two"));
        let goal = good.goal().await;
        good.keep(Scene::on(sim, goal));
        let mut home = Self { folder, good, bad, _stop: stop.drop_guard() };
        home.settled(&["good"]).await;
        home.join().await;
        home
    }

    /// Begins with the second stack once its files are good.
    async fn join(&mut self) {
        if self.bad.scene.is_none() && self.bad.following.goal.borrow().is_some() {
            let goal = self.bad.goal().await;
            self.bad.keep(self.good.scene().beside(goal));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    async fn settled(&self, stacks: &[&str]) {
        sleep(NOTICED).await;
        for stack in stacks {
            let kept = if *stack == "good" { &self.good } else { &self.bad };
            kept.scene().settle(secs(60)).await;
        }
    }

    /// The other stack takes edits and is idle otherwise.
    async fn the_other_is_fine(&self, version: u32) {
        self.write("good.yaml", &two("good", version));
        self.settled(&["good"]).await;
        assert_eq!(self.good.version().await, version.to_string());
        assert_eq!(self.good.condition().reason, "Valid");
    }

    /// The bad edit is said in these words and changes nothing; what there was is still kept. The
    /// other stack is edited to this version meanwhile.
    async fn is_refused(&self, words: &str, others: u32) {
        let scene = self.bad.scene();
        let made = ids(&scene.containers().await);
        let generation = scene.view().generation;
        scene.sim.forget_writes();
        sleep(NOTICED).await;
        let told = self.bad.condition();
        assert_eq!(told.reason, "Invalid", "{}", told.message);
        assert!(told.message.contains(words), "{}", told.message);
        scene.stays_quiet(secs(3600)).await;
        assert_eq!(self.bad.condition().message, told.message, "it is said as long as it is so");
        assert_eq!(
            (ids(&scene.containers().await), scene.view().generation),
            (made.clone(), generation)
        );
        scene.sim.crash("bad-db-1", 1).expect("runs");
        sleep(ms(100)).await;
        scene.settle(secs(60)).await;
        assert_eq!(ids(&scene.containers().await), made);
        assert_eq!(self.bad.condition().reason, "Invalid");
        // The other stack's edit isn't taken for a mend.
        self.the_other_is_fine(others).await;
        assert_eq!(self.bad.condition().reason, "Invalid");
    }
}

impl Kept {
    async fn goal(&mut self) -> Goal {
        let goal = self.following.goal.wait_for(Option::is_some).await.expect("follows");
        goal.clone().expect("a goal")
    }

    /// Passes every new goal on, as the daemon does.
    fn keep(&mut self, scene: Scene) {
        let (mut goals, to) = (self.following.goal.clone(), scene.goal.clone());
        goals.mark_unchanged();
        tokio::spawn(async move {
            while goals.changed().await.is_ok() {
                let goal = goals.borrow_and_update().clone();
                to.send_replace(goal);
            }
        });
        self.scene = Some(scene);
    }

    fn scene(&self) -> &Scene {
        self.scene.as_ref().expect("its files were good")
    }

    /// `SourceValid`, as the daemon publishes it.
    fn condition(&self) -> Condition {
        let sight = StackSight {
            name: "s".into(),
            goal: self.following.goal.borrow().clone(),
            view: self.scene.as_ref().map(Scene::view).unwrap_or_default(),
            source: SourceView::from(&*self.following.status.borrow()),
        };
        let status = publish::status("sim", &[sight], &Status::default(), Default::default());
        let conditions = status.stacks.into_iter().flat_map(|s| s.conditions);
        conditions.into_iter().find(|c| c.kind == "SourceValid").expect("always said")
    }

    /// The version that `db` runs in.
    async fn version(&self) -> String {
        let goal = self.scene().goal.borrow().clone().expect("a goal");
        let name = format!("{}-db-1", goal.desired.project.name);
        let hash = goal.desired.hashes["db"].clone();
        let all = self.scene().containers().await;
        let db = all.iter().find(|c| c.name == name).expect("is there");
        assert_eq!(db.config_hash, Some(hash), "{}", self.scene().show());
        let db = goal.desired.project.services["db"].canonical.expose();
        db["environment"]["V"].as_str().unwrap_or_default().to_owned()
    }
}

/// A moment later than the last write, for file systems that count in milliseconds.
fn write(path: &Path, text: &str) {
    std::thread::sleep(ms(10));
    fs::write(path, text).expect("writes");
}

/// As editors do: a new file over the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    write(&new, text);
    fs::rename(new, path).expect("renames");
}

#[tokio::test(start_paused = true)]
async fn row_32_a_bad_edit_keeps_the_last_good_state_and_names_its_place() {
    let home = Home::new(&two("good", 1), &two("bad", 1)).await;
    home.settled(&["bad"]).await;
    let bad = two("bad", 2).replace("    environment:", "    enviroment:");
    home.write("bad.yaml", &bad);
    home.is_refused("bad.yaml:5:5: unknown attribute `enviroment`", 2).await;
    assert!(home.bad.condition().message.contains("did you mean `environment`?"));
    home.write("bad.yaml", "name: bad\nservices:\n  db: {image: 'app:1'\n");
    home.is_refused("bad.yaml:", 3).await;
    // A Stack that can't be read is as bad.
    home.write("bad.stack.yaml", &stack("bad").replace("policy:", "polici:"));
    home.is_refused("bad.stack.yaml:6:3: ", 4).await;
    home.write("bad.stack.yaml", &stack("bad"));
    // The old text again is no new generation.
    home.write("bad.yaml", &two("bad", 1));
    let before = home.bad.scene().starts();
    home.settled(&["good", "bad"]).await;
    assert_eq!(
        (home.bad.condition().reason.as_str(), home.bad.scene().view().generation),
        ("Valid", 1)
    );
    assert_eq!(home.bad.scene().starts(), before);
    home.write("bad.yaml", &two("bad", 3));
    home.settled(&["good", "bad"]).await;
    assert_eq!((home.bad.version().await.as_str(), home.bad.scene().view().generation), ("3", 2));
    home.bad.scene().stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_33_a_file_that_is_being_written_is_not_acted_upon() {
    let home = Home::new(&two("good", 1), &two("bad", 1)).await;
    home.settled(&["bad"]).await;
    let web = home.bad.scene().sim.id("bad-web-1");
    // Half of it is a stack without `web`, and one that is an orphan is removed here.
    let whole = two("bad", 2);
    let (half, _) = whole.split_once("  web:").expect("two");
    let half = half.to_owned();
    // At every moment of the follower's rhythm.
    for shift in (0..5200).step_by(400) {
        sleep(secs(20) + ms(shift)).await;
        for written in 0..20 {
            home.write("bad.yaml", &format!("{half}{}\n", "#".repeat(written)));
            sleep(ms(60)).await;
        }
        home.write("bad.yaml", &format!("{whole}#{shift}\n"));
        home.settled(&["bad"]).await;
        assert_eq!(home.bad.scene().sim.id("bad-web-1"), web, "after {shift} ms");
        assert_eq!(home.bad.version().await, "2");
    }
    assert_eq!(home.bad.scene().view().generation, 2, "one edit is one generation");
    home.bad.scene().stays_idle(secs(600)).await;
    assert_eq!(home.good.scene().view().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn row_33_a_file_that_is_replaced_again_and_again_is_followed() {
    let home = Home::new(&two("good", 1), &two("bad", 1)).await;
    home.settled(&["bad"]).await;
    let web = home.bad.scene().sim.id("bad-web-1");
    for version in 2..6 {
        replace(&home.path("bad.yaml"), &two("bad", version));
        home.settled(&["bad"]).await;
        assert_eq!(home.bad.version().await, version.to_string());
        assert_eq!(home.bad.scene().view().generation, u64::from(version));
    }
    // Removed first, written again a moment later.
    fs::remove_file(home.path("bad.yaml")).expect("removes");
    sleep(ms(300)).await;
    home.write("bad.yaml", &two("bad", 6));
    home.settled(&["bad"]).await;
    assert_eq!(home.bad.version().await, "6");
    // The whole folder as good as gone: nothing is taken down.
    fs::remove_file(home.path("bad.stack.yaml")).expect("removes");
    home.bad.scene().stays_quiet(secs(3600)).await;
    assert_eq!(home.bad.condition().reason, "SourceGone");
    home.write("bad.stack.yaml", &stack("bad"));
    home.settled(&["bad"]).await;
    assert_eq!(home.bad.condition().reason, "Valid");
    assert_eq!(home.bad.scene().sim.id("bad-web-1"), web);
    home.bad.scene().stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_34_a_missing_environment_file_blocks_its_stack_only() {
    let bad = two("bad", 1).replace("    environment: {V: '1'}", "    env_file: [settings.env]");
    let mut home = Home::new(&two("good", 1), &bad).await;
    let missing = |home: &Home| {
        let told = home.bad.condition();
        assert_eq!(told.reason, "Invalid");
        assert!(told.message.contains("settings.env"), "{}", told.message);
        assert!(told.message.contains("bad.yaml:5:"), "{}", told.message);
    };
    missing(&home);
    home.the_other_is_fine(2).await;
    home.good.scene().stays_idle(secs(3600)).await;
    missing(&home);
    assert!(home.good.scene().sim.id("bad-db-1").is_none());
    home.write("settings.env", "A=1\n");
    sleep(NOTICED).await;
    home.join().await;
    home.settled(&["good", "bad"]).await;
    assert_eq!(home.bad.condition().reason, "Valid");
    // It goes under the running stack.
    fs::remove_file(home.path("settings.env")).expect("removes");
    home.is_refused("settings.env", 3).await;
    home.write("settings.env", "A=1\n");
    let made = ids(&home.bad.scene().containers().await);
    home.settled(&["good", "bad"]).await;
    assert_eq!(
        (home.bad.condition().reason.as_str(), home.bad.scene().view().generation),
        ("Valid", 1)
    );
    assert_eq!(ids(&home.bad.scene().containers().await), made);
    home.bad.scene().stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_34_a_missing_secret_file_keeps_the_old_container_running() {
    let home = Home::new(&two("good", 1), &two("bad", 1)).await;
    home.settled(&["bad"]).await;
    let scene = home.bad.scene();
    let made = ids(&scene.containers().await);
    let path = home.path("s.txt");
    let path = path.to_str().expect("text");
    // The loader doesn't read it: the engine is who finds that it is missing.
    scene.sim.set_absent(path, true);
    let secret = two("bad", 2).replace("    healthcheck", "    secrets: [s]\n    healthcheck");
    home.write("bad.yaml", &format!("{secret}secrets:\n  s: {{file: ./s.txt}}\n"));
    sleep(secs(600)).await;
    scene.says("service db/1", "bind source path does not exist");
    scene.says("service db/1", "s.txt");
    assert_eq!(ids(&scene.containers().await), made);
    home.the_other_is_fine(2).await;
    scene.sim.forget_writes();
    sleep(secs(3600)).await;
    let tries = scene.sim.writes().len();
    assert!((40..90).contains(&tries), "{tries} in an hour: {}", scene.show());
    assert_eq!(ids(&scene.containers().await).intersection(&made).count(), 3, "{}", scene.show());
    scene.sim.set_absent(path, false);
    scene.settle(secs(150)).await;
    assert_eq!(home.bad.version().await, "2");
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_35_a_dependency_cycle_is_printed_and_changes_nothing() {
    let home = Home::new(&two("good", 1), &two("bad", 1)).await;
    home.settled(&["bad"]).await;
    let cycle = two("bad", 2).replace("    healthcheck", "    depends_on: [web]\n    healthcheck");
    home.write("bad.yaml", &cycle);
    home.is_refused(" -> ", 2).await;
    let told = home.bad.condition().message;
    assert!(told.contains("db -> web -> db") || told.contains("web -> db -> web"), "{told}");
    assert!(told.contains("bad.yaml:"), "{told}");
    home.write("bad.yaml", &two("bad", 3));
    home.settled(&["good", "bad"]).await;
    assert_eq!(home.bad.version().await, "3");
    home.bad.scene().stays_idle(secs(600)).await;
}
