//! Row 37: several operators at one project of a real engine, and commands that reach the right one.

use std::path::Path;
use std::process::Command;

use super::harness::{Daemon, Home, Ran, ran, runs};
use crate::engine_proxy::EngineProxy;
use crate::support::{IMAGE, docker};

fn two(project: &str) -> String {
    format!(
        "\
name: {project}
services:
  db:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    volumes: ['data:/data']
  web:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    depends_on: [db]
volumes: {{data: {{}}}}
"
    )
}

/// A home with a project, and state folders for several operators.
struct Shared {
    home: Home,
    project: String,
}

impl Shared {
    fn new(name: &str) -> Self {
        let mut home = Home::new();
        let project = home.project(name);
        home.write("compose.yaml", &two(&project));
        Self { home, project }
    }

    fn state(&self, name: &str) -> String {
        self.home.stacks().join(format!("../{name}")).to_string_lossy().into_owned()
    }

    fn daemon(&self, state: &str, more: &[&str]) -> Daemon {
        let folder = self.state(state);
        let mut args = vec!["--state-dir", &folder];
        args.extend(more);
        self.home.daemon(&args)
    }

    /// A verb with a state folder that no daemon uses.
    fn stranger(&self, args: &[&str]) -> Ran {
        ran(self.home.command().args(args).env("HOMEOSTAT_STATE_DIR", self.state("stranger")))
    }

    /// Names of the lease volumes, sorted.
    fn leases(&self) -> Vec<String> {
        let label = format!("label=dev.homeostat.lease.project={}", self.project);
        let list = docker(&["volume", "ls", "-q", "--filter", &label]);
        let mut names: Vec<String> = list.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn lease(&self, epoch: u64) -> String {
        format!("homeostat-lease-{}-{epoch}", self.project)
    }

    /// A lease that another host's operator holds.
    fn held_elsewhere(&self, more: &[(&str, &str)]) {
        let mut labels = vec![
            ("project", self.project.as_str()),
            ("holder", "ab"),
            ("role", "daemon"),
            ("host", "far"),
            ("boot-id", "elsewhere"),
            ("user", "alice"),
            ("uid", "1000"),
            ("control", "/nowhere/control.sock"),
        ];
        labels.retain(|(key, _)| more.iter().all(|(other, _)| other != key));
        labels.extend(more);
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("--label=dev.homeostat.lease.{key}={value}"))
            .collect();
        let name = self.lease(1);
        let mut args = vec!["volume", "create"];
        args.extend(labels.iter().map(String::as_str));
        args.push(&name);
        docker(&args);
    }
}

fn lease_of(daemon: &Daemon) -> String {
    daemon.condition("stacks", "LeaseHeld")
}

fn holds(daemon: &Daemon) -> bool {
    lease_of(daemon).starts_with("True Held")
}

/// Steps that it did, by the metrics.
fn actions(daemon: &Daemon) -> f64 {
    let all = daemon.metrics();
    let done = all.iter().filter(|(name, _)| {
        name.starts_with("homeostat_actions_total{") && name.contains("result=\"done\"")
    });
    done.map(|(_, count)| count).sum()
}

#[test]
fn row_37_one_daemon_acts_and_the_other_watches_until_the_first_is_killed() {
    let shared = Shared::new("pair");
    let project = &shared.project;
    let a = shared.daemon("a", &[]);
    a.until_ready("stacks", 1);
    assert_eq!(lease_of(&a), "True Held epoch 1");
    let b = shared.daemon("b", &[]);
    b.until("it stands by", || lease_of(&b).starts_with("False Standby"));
    let told = lease_of(&b);
    assert!(told.contains(&format!("PID {}", a.pid())), "{told}");
    assert_eq!(a.metrics()[&format!("homeostat_lease_held{{project=\"{project}\"}}")], 1.0);
    assert_eq!(b.metrics()[&format!("homeostat_lease_held{{project=\"{project}\"}}")], 0.0);

    // The one with the lease mends, whoever is asked shows how it stands, and any command reaches it.
    let before = runs(project);
    docker(&["kill", &format!("{project}-web-1")]);
    a.until("it is mended", || runs(project)["web-1"] != before["web-1"]);
    a.until_ready("stacks", 1);
    b.until_ready("stacks", 1);
    assert_eq!(actions(&b), 0.0);
    let applied = shared.stranger(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(applied.stdout.contains("ready; 0 changes (by the daemon)"), "{applied:?}");
    let planned = shared.stranger(&["plan", "--detailed-exitcode"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    let refused = shared.stranger(&["delete", &format!("stack/{project}")]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("a daemon keeps"), "{refused:?}");
    for state in ["a", "b"] {
        let folder = shared.state(state);
        let mut get = shared.home.command();
        let shown = ran(get.args(["get", "leases", project, "--state-dir", &folder]));
        assert!(shown.stdout.contains(&a.pid()), "{shown:?}");
        let ours = if state == "a" { "yes" } else { "no" };
        assert!(shown.stdout.split_whitespace().any(|word| word == ours), "{shown:?}");
        let mut get = shared.home.command();
        let stacks = ran(get.args(["get", "stacks", "--state-dir", &folder]));
        let watches = stacks.stdout.contains(&format!("keeps {project} (lease epoch 1)"));
        assert_eq!(watches, state == "b", "{stacks:?}");
    }

    // What `docker volume prune` takes is there again at once, under its epoch.
    docker(&["volume", "rm", &shared.lease(1)]);
    a.until("the lease is made again", || shared.leases() == [shared.lease(1)] && holds(&a));
    assert!(!holds(&b), "{}", lease_of(&b));

    let before = runs(project);
    a.kill();
    b.until("the other goes on", || holds(&b));
    assert_eq!(shared.leases(), [shared.lease(2)]);
    assert_eq!(runs(project), before, "nothing is done twice");
    assert_eq!(actions(&b), 0.0);
    docker(&["kill", &format!("{project}-web-1")]);
    b.until("it is mended", || runs(project)["web-1"] != before["web-1"]);
    b.until_ready("stacks", 1);
    assert_eq!(actions(&b), 1.0);
    let events = ran(shared.home.command().args(["events", "--state-dir", &shared.state("b")]));
    assert!(events.stdout.contains("LeaseStandby"), "{events:?}");
    assert!(events.stdout.contains("LeaseHeld"), "{events:?}");

    // Who ends well gives it back.
    let (ended, _) = b.stop();
    assert!(ended.success());
    assert_eq!(shared.leases(), [] as [String; 0]);
}

#[test]
fn row_37_a_person_takes_over_and_the_other_daemon_stops_at_once() {
    let shared = Shared::new("over");
    let project = &shared.project;
    let a = shared.daemon("a", &[]);
    a.until_ready("stacks", 1);
    let before = runs(project);
    let b = shared.daemon("b", &["--take-over"]);
    b.until("it took over", || holds(&b));
    a.until("the first stands by", || lease_of(&a).starts_with("False Standby"));
    b.until_ready("stacks", 1);
    assert_eq!(runs(project), before);
    assert_eq!(shared.leases(), [shared.lease(2)]);
    let did = actions(&a);
    docker(&["kill", &format!("{project}-web-1")]);
    b.until("it is mended", || runs(project)["web-1"] != before["web-1"]);
    b.until_ready("stacks", 1);
    assert_eq!((actions(&a), actions(&b)), (did, 1.0));
    // A clean end hands it on.
    let (ended, _) = b.stop();
    assert!(ended.success());
    a.until("the first goes on", || holds(&a));
    a.kill();

    // A command for its time only: it outbids, and gives back.
    docker(&["rm", "-f", &format!("{project}-web-1")]);
    let applied = shared.stranger(&["apply", "--take-over"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(shared.leases(), [] as [String; 0]);
    assert_eq!(runs(project).len(), 2);
}

#[test]
fn a_command_that_cannot_reach_the_holder_refuses_and_names_user_and_command() {
    let shared = Shared::new("far");
    shared.held_elsewhere(&[]);
    let refused = shared.stranger(&["apply", "web"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in [
        "is kept by a homeostat daemon of alice (uid 1000) on host far",
        "/nowhere/control.sock",
        "`homeostat apply web`",
        "`homeostat apply --take-over`",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    assert!(runs(&shared.project).is_empty());
    // What touches nothing is told all the same.
    let planned = shared.stranger(&["plan"]);
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(planned.stdout.contains("service web/1: create"), "{planned:?}");
    assert!(planned.stderr.contains("planning without what it remembers"), "{planned:?}");
    // A daemon watches, and says whom and what to do.
    let daemon = shared.daemon("a", &[]);
    daemon.until("it stands by", || lease_of(&daemon).starts_with("False Standby"));
    assert!(lease_of(&daemon).contains("--take-over"), "{}", lease_of(&daemon));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(runs(&shared.project).is_empty());
    // The lease goes: it takes it.
    docker(&["volume", "rm", &shared.lease(1)]);
    daemon.until_ready("stacks", 1);
    daemon.kill();
    // What nobody lives for hinders nobody, and a dead one's lease is gone afterwards.
    assert_eq!(shared.stranger(&["apply"]).code, Some(0));
    docker(&["rm", "-f", &format!("{}-web-1", shared.project)]);
    let applied = shared.stranger(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(shared.leases(), [] as [String; 0]);
}

#[test]
fn a_socket_of_another_daemon_is_not_the_holders() {
    let shared = Shared::new("same-path");
    let mut other = Home::new();
    let elsewhere = other.project("elsewhere");
    other.write("compose.yaml", &two(&elsewhere));
    let daemon = other.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let socket = other.state().join("control.sock");
    shared.held_elsewhere(&[("control", socket.to_str().expect("text"))]);
    let refused = shared.stranger(&["apply"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("another daemon answers"), "{refused:?}");
    assert!(runs(&shared.project).is_empty());
}

#[test]
fn docker_compose_neither_sees_nor_removes_the_lease() {
    let shared = Shared::new("compose");
    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/docker-compose-5.6.1");
    assert!(compose.is_file(), "no Docker Compose here: run tests/support/fetch-compose");
    let run = |args: &[&str]| {
        let ran = ran(Command::new(&compose).args(args).current_dir(shared.home.stacks()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    let daemon = shared.daemon("a", &[]);
    daemon.until_ready("stacks", 1);
    assert!(!run(&["ps", "-a"]).contains("lease"));
    assert!(!run(&["volumes"]).contains("lease"));
    let folder = shared.state("a");
    let shown = ran(shared.home.command().args(["get", "volumes", "--state-dir", &folder]));
    assert!(shown.stdout.contains("_data") && !shown.stdout.contains("lease"), "{shown:?}");
    daemon.kill();
    run(&["down", "-v"]);
    assert_eq!(shared.leases(), [shared.lease(1)]);
}

#[test]
fn the_tier_observe_sends_reads_only_and_an_idle_holder_writes_nothing() {
    let shared = Shared::new("tiers");
    let (watched, kept) = (proxy(), proxy());
    let daemon = shared.daemon("a", &["-H", &kept.host()]);
    daemon.until_ready("stacks", 1);
    let writes = kept.writes().len();
    let watcher =
        shared.daemon("b", &["-H", &watched.host(), "--tier", "observe", "--resync", "1s"]);
    watcher.until_ready("stacks", 1);
    assert!(lease_of(&watcher).starts_with("False Observing"), "{}", lease_of(&watcher));
    docker(&["kill", &format!("{}-web-1", shared.project)]);
    daemon.until("it is mended", || kept.writes().len() == writes + 1);
    daemon.until_ready("stacks", 1);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(watched.writes().is_empty(), "{:?}", watched.endpoints());
    assert_eq!(kept.writes().len(), writes + 1, "no heartbeat");
}

fn proxy() -> EngineProxy {
    EngineProxy::before_engine().expect("the proxy starts")
}
