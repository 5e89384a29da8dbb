//! What outlives the daemon: journal, jobs, backoff, generations; and the verbs that ask it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::harness::{Home, facts, runs};
use crate::support::{IMAGE, docker};

/// A chain of three, each healthy only after a while.
fn chain(project: &str) -> String {
    let mut text = format!("name: {project}\nservices:\n");
    for (name, after) in [("one", ""), ("two", "one"), ("three", "two")] {
        text.push_str(&format!(
            "  {name}:\n    image: {IMAGE}\n    command: [listen, '8000']\n    stop_grace_period: 1s\n    networks: [front, back]\n    volumes: ['{name}:/data']\n    healthcheck: {{test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health'], interval: 500ms}}\n"
        ));
        if !after.is_empty() {
            text.push_str(&format!(
                "    depends_on: {{{after}: {{condition: service_healthy}}}}\n"
            ));
        }
    }
    text + "networks: {front: {}, back: {}}\nvolumes: {one: {}, two: {}, three: {}}\n"
}

#[test]
fn killed_in_a_cold_start_it_finishes_without_a_duplicate() {
    let mut home = Home::new();
    let project = home.project("killed");
    home.write("compose.yaml", &chain(&project));
    // Killed again and again, wherever it happens to be.
    for millis in [40, 150, 300, 450, 700, 1100] {
        let daemon = home.daemon(&[]);
        std::thread::sleep(Duration::from_millis(millis));
        daemon.kill();
    }
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let names: Vec<String> = runs(&project).into_keys().collect();
    assert_eq!(names, ["one-1", "three-1", "two-1"]);
    let filter = format!("label=com.docker.compose.project={project}");
    for (kind, expected) in [("network", 2), ("volume", 3)] {
        let found = docker(&[kind, "ls", "-q", "--filter", &filter]);
        assert_eq!(found.lines().count(), expected, "{kind}: {found}");
    }
    let began = facts(&project, "{{.State.StartedAt}}");
    assert!(began["one-1"] < began["two-1"] && began["two-1"] < began["three-1"], "{began:?}");
    // Nothing counted twice: each container was created once, by whichever run.
    let story = home.run(&["events"]).stdout;
    let counted = |service: &str| {
        let what = format!("service {service}/1");
        story.lines().filter(|l| l.contains(&what) && l.contains("Created")).count()
    };
    for service in ["one", "two", "three"] {
        assert!(counted(service) <= 1, "{story}");
    }
}

#[test]
fn jobs_backoff_and_generation_are_remembered() {
    let mut home = Home::new();
    let project = home.project("memory");
    let text = format!(
        "\
name: {project}
services:
  migrate:
    image: {IMAGE}
    command: [job, '20']
    restart: 'no'
  app:
    image: {IMAGE}
    command: [sleep]
    stop_grace_period: 1s
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
  crashes:
    image: {IMAGE}
    command: [exit, '3']
    restart: 'no'
"
    );
    home.write("compose.yaml", &text);
    home.write(
        "stack.yaml",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: memory}\nspec:\n  source:\n    compose: {files: [compose.yaml]}\n  services:\n    migrate: {job: true}\n",
    );
    let daemon = home.daemon(&[]);
    let status = |d: &super::harness::Daemon, name: &str| {
        d.services().remove(&format!("{project}/{name}")).unwrap_or_default()
    };
    daemon.until("the job is over", || {
        status(&daemon, "migrate") == "completed" && status(&daemon, "app") == "ready"
    });
    // A service that ends at once is started again, later and later.
    let starts =
        |d: &super::harness::Daemon| d.log().matches("done: service crashes/1: start").count();
    daemon.until("some attempts", || starts(&daemon) >= 4);
    let before = runs(&project);
    let (status_of_end, _) = daemon.stop();
    assert!(status_of_end.success());

    for (path, mode) in [("", 0o700), ("journal.db", 0o600), ("redaction.key", 0o600)] {
        let meta = std::fs::metadata(home.state().join(path));
        let meta = meta.unwrap_or_else(|e| panic!("{path}: {e}: {:?}", list(&home)));
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{path}");
    }

    // The job's container goes; the job was done all the same.
    docker(&["rm", &format!("{project}-migrate-1")]);
    let daemon = home.daemon(&[]);
    daemon.until("all is known again", || {
        status(&daemon, "app") == "ready" && !status(&daemon, "crashes").is_empty()
    });
    std::thread::sleep(Duration::from_secs(2));
    let after = runs(&project);
    assert!(!after.contains_key("migrate-1"), "the job ran again: {}", daemon.log());
    assert_eq!(after["app-1"], before["app-1"]);
    // Four failures are behind it: it isn't started four times at once again.
    assert!(starts(&daemon) <= 1, "{}", daemon.log());
    let stacks = daemon.api("/api/v1/stacks");
    assert_eq!(stacks["items"][0]["generation"], 1);

    // The socket is the owner's alone.
    let mode = std::fs::metadata(home.state().join("control.sock")).expect("a socket");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    // Another edit is the next generation, across runs.
    home.write("compose.yaml", &text.replace("[sleep]", "[sleep, '100000']"));
    daemon.until("the edit", || daemon.api("/api/v1/stacks")["items"][0]["generation"] == 2);
    daemon.until("app again", || {
        runs(&project).get("app-1").is_some_and(|run| *run != before["app-1"])
    });
    daemon.kill();
    let daemon = home.daemon(&[]);
    daemon.until("loaded", || daemon.condition("memory", "SourceValid").starts_with("True"));
    assert_eq!(daemon.api("/api/v1/stacks")["items"][0]["generation"], 2);
}

fn list(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.state()).expect("the state folder");
    entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn verbs_ask_the_daemon() {
    let mut home = Home::new();
    let project = home.project("verbs");
    home.write("compose.yaml", &chain(&project));
    let daemon = home.daemon(&["--resync", "300s"]);
    daemon.until_ready("stacks", 1);

    let get = home.run(&["get", "services"]);
    assert_eq!(get.code, Some(0), "{get:?}");
    for name in ["one", "two", "three"] {
        let line = get.stdout.lines().find(|l| l.contains(name)).expect("a row");
        assert!(line.to_lowercase().contains("ready"), "{}", get.stdout);
    }
    let plan = home.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let apply = home.run(&["apply", "--timeout", "30s"]);
    assert_eq!(apply.code, Some(0), "{apply:?}");

    // Apply through the daemon: it waits until the daemon has put things right.
    docker(&["rm", "-f", &format!("{project}-two-1")]);
    let apply = home.run(&["apply", "--timeout", "30s"]);
    assert_eq!(apply.code, Some(0), "{apply:?}");
    assert_eq!(runs(&project).len(), 3);
    let healthy = facts(&project, "{{.State.Health.Status}}");
    assert!(healthy.values().all(|h| h == "healthy"), "{healthy:?}");

    // Events read as a story: what was done, to what, why; in the order in which it happened.
    let story = home.run(&["events"]);
    assert_eq!(story.code, Some(0), "{story:?}");
    let at = |words: &[&str]| {
        let line = story.stdout.lines().position(|l| words.iter().all(|w| l.contains(w)));
        line.unwrap_or_else(|| panic!("no {words:?} in\n{}", story.stdout))
    };
    let network = at(&["Created", &format!("{project}_front"), "(missing)"]);
    let one = at(&["Created", "service one/1"]);
    let started = at(&["Started", "service one/1"]);
    let three = at(&["Started", "service three/1"]);
    assert!(network < one && one < started && started < three, "{}", story.stdout);
    assert!(!story.stdout.contains("Warning"), "{}", story.stdout);
    // After the daemon's end the journal that it left tells the same.
    daemon.stop();
    let later = home.run(&["events"]);
    assert_eq!(later.code, Some(0), "{later:?}");
    assert_eq!(later.stdout, story.stdout);
    let ids = facts(&project, "{{.Id}}");
    let alone = home.run(&["get", "services"]);
    assert!(alone.stdout.contains("three"), "{alone:?}");
    assert_eq!(facts(&project, "{{.Id}}"), ids);
}
