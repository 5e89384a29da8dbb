//! Rows 50, 51, 52 and 54: stacks that others made, change or look at from elsewhere, and the one that
//! homeostat itself is part of.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::harness::{Daemon, Home, facts, ran};
use crate::support::{IMAGE, docker};

/// `docker compose` over the stacks of a home, with variables of a person's shell.
struct Person<'h> {
    home: &'h Home,
    binary: PathBuf,
}

impl<'h> Person<'h> {
    fn of(home: &'h Home) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let binary = root.join(".cache/docker-compose-5.6.1");
        assert!(binary.is_file(), "no Docker Compose here: run tests/support/fetch-compose");
        Self { home, binary }
    }

    fn up(&self, variables: &[(&str, &str)]) {
        let mut command = Command::new(&self.binary);
        command.args(["up", "-d"]).current_dir(self.home.stacks());
        let ran = ran(command.envs(variables.iter().copied()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

fn stack(project: &str) -> String {
    format!(
        "\
name: {project}
services:
  db:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
  web:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    environment: {{MODE: \"${{MODE:-plain}}\", TOKEN: \"${{TOKEN:-none}}\"}}
    depends_on: [db]
"
    )
}

/// What `get services` says beside a service.
fn message(home: &Home, service: &str) -> String {
    let ran = home.run(&["get", "services", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let items = list["items"].as_array().expect("items");
    let item = items.iter().find(|i| i["service"] == service).expect("the service");
    item["message"].as_str().unwrap_or_default().to_owned()
}

fn until_ready(daemon: &Daemon, project: &str) {
    daemon.until("both are ready", || {
        let services = daemon.services();
        ["db", "web"].iter().all(|s| {
            services.get(&format!("{project}/{s}")).is_some_and(|status| status == "ready")
        })
    });
}

const DIFFERS: &str = "differs: environment.MODE, environment.TOKEN; ";

#[test]
fn row_51_a_stack_made_with_other_variables_is_taken_over_as_it_is() {
    let mut home = Home::new();
    let project = home.project("adopted");
    home.write("compose.yaml", &stack(&project));
    let person = Person::of(&home);
    person.up(&[("MODE", "fancy"), ("TOKEN", "hunter2")]);
    let before = facts(&project, "{{.Id}} {{.State.StartedAt}}");
    let daemon = home.daemon(&[]);
    until_ready(&daemon, &project);
    daemon.until("the difference is said", || message(&home, "web").contains(DIFFERS));
    assert!(message(&home, "web").contains("made before homeostat came"));
    assert_eq!(facts(&project, "{{.Id}} {{.State.StartedAt}}"), before);
    assert!(!daemon.log().contains("hunter2"), "values are never said");

    // It goes on running as it is, and only it: another daemon knows as much.
    docker(&["kill", &format!("{project}-web-1")]);
    drop(daemon);
    let daemon = home.daemon(&[]);
    until_ready(&daemon, &project);
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("MODE=fancy"));
    assert_eq!(facts(&project, "{{.Id}}")["web-1"], before["web-1"][..64]);

    // An edit while nobody watched rolls out: the files are the newer word.
    daemon.stop();
    let edited = stack(&project).replace("web:\n", "web:\n    labels: {edited: 'yes'}\n");
    home.write("compose.yaml", &edited);
    let daemon = home.daemon(&[]);
    daemon.until("the edit is there", || {
        let env = facts(&project, "{{.Config.Env}}");
        env.get("web-1").is_some_and(|env| env.contains("MODE=plain"))
    });
    until_ready(&daemon, &project);
    assert_eq!(facts(&project, "{{.Id}}")["db-1"], before["db-1"][..64]);
}

#[test]
fn row_54_what_a_person_puts_there_with_other_values_is_left_alone_until_somebody_applies() {
    let mut home = Home::new();
    let project = home.project("foreign");
    home.write("compose.yaml", &stack(&project));
    let daemon = home.daemon(&[]);
    until_ready(&daemon, &project);
    Person::of(&home).up(&[("MODE", "fancy"), ("TOKEN", "hunter2")]);
    daemon.until("the difference is said", || message(&home, "web").contains(DIFFERS));
    assert!(message(&home, "web").contains("made by somebody else since"));
    let theirs = facts(&project, "{{.Id}}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(facts(&project, "{{.Id}}"), theirs);

    let plan = home.run(&["plan"]);
    assert!(plan.stdout.contains("create") && plan.stdout.contains("configuration changed"));
    let applied = home.run(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("MODE=plain"));
    until_ready(&daemon, &project);
    assert_eq!(message(&home, "web"), "");
    // The word counted once.
    Person::of(&home).up(&[("MODE", "again")]);
    daemon.until("the difference is said", || message(&home, "web").contains("environment.MODE"));
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("MODE=again"));
}

#[test]
fn row_52_a_project_seen_under_another_path_is_blocked_and_gets_no_empty_folder() {
    let mut home = Home::new();
    let project = home.project("moved");
    let bound = stack(&project)
        .replace("  web:\n", "  web:\n    volumes: ['./data:/data']\n")
        .replace("    environment", "    labels: {n: '1'}\n    environment");
    home.write("compose.yaml", &bound);
    std::fs::create_dir(home.stacks().join("data")).expect("a folder");
    let daemon = home.daemon(&[]);
    until_ready(&daemon, &project);
    daemon.stop();
    let before = facts(&project, "{{.Id}}");

    let elsewhere = home.stacks().with_file_name("mounted");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::copy(home.stacks().join("compose.yaml"), elsewhere.join("compose.yaml"))
        .expect("copies");
    let mut apply = home.command();
    apply.args(["apply", "--timeout", "10s"]).current_dir(&elsewhere);
    let ran = ran(&mut apply);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let was = home.stacks().display().to_string();
    assert!(ran.stderr.contains("project path differs: "), "{ran:?}");
    assert!(ran.stderr.contains(&format!("was {was}")), "{ran:?}");
    assert!(ran.stderr.contains("spec.source.hostPath"), "{ran:?}");
    assert_eq!(facts(&project, "{{.Id}}"), before);
    assert!(!elsewhere.join("data").exists(), "no empty folder was made");
}

/// A stack with homeostat in it, its folder at the same path inside.
fn with_operator(home: &Home, project: &str, mode: &str) -> String {
    let (binary, folder) = (env!("CARGO_BIN_EXE_homeostat"), home.stacks().display().to_string());
    format!(
        "\
name: {project}
services:
  operator:
    image: homeostat-test/valkey:8
    entrypoint: [/homeostat, --state-dir, /state, run, '{folder}', --listen, '127.0.0.1:0']
    stop_grace_period: 5s
    environment: {{MODE: {mode}}}
    volumes:
      - {binary}:/homeostat:ro
      - /var/run/docker.sock:/var/run/docker.sock
      - {folder}:{folder}
  web:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    environment: {{MODE: {mode}}}
"
    )
}

#[test]
fn row_50_homeostat_in_the_stack_that_it_manages_keeps_all_of_it_but_itself() {
    let mut home = Home::new();
    let project = home.project("inside");
    home.write("compose.yaml", &with_operator(&home, &project, "one"));
    Person::of(&home).up(&[]);
    let before = facts(&project, "{{.Id}} {{.State.StartedAt}}");
    let log = || docker_both(&["logs", &format!("{project}-operator-1")]);
    until("it watches", || log().contains("serving health, metrics and status"));
    docker(&["kill", &format!("{project}-web-1")]);
    until("web is back", || {
        facts(&project, "{{.State.Running}}").get("web-1").is_some_and(|runs| runs == "true")
    });

    home.write("compose.yaml", &with_operator(&home, &project, "two"));
    until("the edit of web is there", || {
        let env = facts(&project, "{{.Config.Env}}");
        env.get("web-1").is_some_and(|env| env.contains("MODE=two"))
    });
    let inside = ["exec", &format!("{project}-operator-1"), "/homeostat", "--state-dir", "/state"];
    let said = || docker_both(&[&inside[..], &["get", "services", "-o", "json"]].concat());
    until("it says why it leaves itself alone", || said().contains("doesn't replace itself"));
    let after = facts(&project, "{{.Id}} {{.State.StartedAt}}");
    assert_eq!(after["operator-1"], before["operator-1"]);
    assert_ne!(after["web-1"], before["web-1"]);
}

/// What a command of docker prints on both streams, failed or not.
fn docker_both(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + super::harness::SOON;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn row_51_a_name_that_was_moved_before_we_came_replaces_nothing_and_one_moved_later_does() {
    let mut home = Home::new();
    let project = home.project("moved-tag");
    let tag = format!("{project}:1");
    docker(&["tag", IMAGE, &tag]);
    home.write("compose.yaml", &stack(&project).replace(IMAGE, &tag));
    let person = Person::of(&home);
    person.up(&[]);
    let before = facts(&project, "{{.Id}} {{.State.StartedAt}}");
    docker(&["tag", "homeostat-test/stand-ins:2", &tag]);
    let mut daemon = home.daemon(&[]);
    until_ready(&daemon, &project);
    for _ in 0..2 {
        daemon
            .until("it is said", || message(&home, "web").contains("image, which has another ID"));
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert_eq!(facts(&project, "{{.Id}} {{.State.StartedAt}}"), before);
        // The next run knows what was found.
        daemon.kill();
        daemon = home.daemon(&[]);
        until_ready(&daemon, &project);
    }
    let applied = home.run(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let after = facts(&project, "{{.Id}}");
    assert!(after.iter().all(|(name, id)| !before[name].starts_with(id.as_str())), "{after:?}");
    daemon.until("nothing is left to do", || message(&home, "web").is_empty());
    docker(&["tag", IMAGE, &tag]);
    daemon.until("the new image is rolled out", || {
        let now = facts(&project, "{{.Id}}");
        now.len() == 2 && now.iter().all(|(name, id)| after.get(name) != Some(id))
    });
    drop(daemon);
    crate::support::clean(&project);
    docker(&["rmi", &tag]);
}

#[test]
fn row_52_a_home_folder_that_is_another_one_starts_no_empty_database() {
    let mut home = Home::new();
    let project = home.project("home");
    let text = stack(&project).replacen(
        "    stop_grace_period: 1s\n",
        "    stop_grace_period: 1s\n    volumes: ['~/data:/data']\n",
        1,
    );
    home.write("compose.yaml", &text);
    let folder = tempfile::tempdir().expect("a folder");
    let (ada, root) = (folder.path().join("ada"), folder.path().join("root"));
    let apply = |who: &Path| ran(home.command().arg("apply").env("HOME", who));
    std::fs::create_dir_all(&ada).expect("a folder");
    std::fs::create_dir_all(&root).expect("a folder");
    assert_eq!(apply(&ada).code, Some(0));
    let before = facts(&project, "{{.Id}} {{.State.StartedAt}}");
    let refused = apply(&root);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("bind source differs: "), "{refused:?}");
    assert_eq!(facts(&project, "{{.Id}} {{.State.StartedAt}}"), before);
    assert!(!root.join("data").exists(), "an empty folder was made");
    // An edit is meant.
    home.write("compose.yaml", &format!("# moved\n{text}"));
    let moved = apply(&root);
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(root.join("data").exists());
}
