//! Row 31 by the binary: an update that doesn't work is undone, remembered and told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{Home, facts, ran};
use crate::support::IMAGE;

const SERVES: &str = "[listen, '8000']";
const SLEEPS: &str = "[sleep]";
const SECRET: &str = "canary-in-the-old-container";

fn web(project: &str, command: &str) -> String {
    format!(
        "\
name: {project}
services:
  web:
    image: {IMAGE}
    command: {command}
    stop_grace_period: 1s
    environment: {{TOKEN: '{SECRET}'}}
    healthcheck:
      test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health']
      interval: 1s
      timeout: 1s
      retries: 3
"
    )
}

/// What the state folder keeps of old containers.
fn bodies(home: &Home) -> Vec<PathBuf> {
    let folder = home.state().join("rollback");
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    files.map(|file| file.expect("a file").path()).collect()
}

/// What `get services` says beside web.
fn message(home: &Home) -> String {
    let ran = home.run(&["get", "services", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    list["items"][0]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn row_31_an_update_that_is_undone_is_told_everywhere_and_remembered() {
    let mut home = Home::new();
    let project = home.project("update");
    home.write("compose.yaml", &web(&project, SERVES));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let ids = || facts(&project, "{{.Id}}");
    let first = ids();
    home.write("compose.yaml", &web(&project, SLEEPS));
    daemon.until("the old one is kept", || ids().len() == 2);
    daemon.until("what it was made of is kept", || bodies(&home).len() == 1);
    let file = bodies(&home).remove(0);
    let mode = std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(std::fs::read_to_string(&file).expect("reads").contains(SECRET));
    daemon.until("it is undone", || {
        ids() == first && daemon.services()[&format!("{project}/web")] == "ready"
    });
    let sentence = "update failed: unhealthy: Docker healthcheck; rolled back to image ";
    daemon.until("and told", || message(&home).starts_with(sentence));
    let condition = daemon.condition("stacks", "UpdateFailed");
    assert!(condition.starts_with("True RolledBack"), "{condition}");
    let events = home.run(&["events"]).stdout;
    assert!(events.contains("UpdateRolledBack") && events.contains(sentence), "{events}");
    let described = home.run(&["describe", "service/web"]).stdout;
    assert!(described.contains(sentence), "{described}");
    let metrics = daemon.metrics();
    assert_eq!(metrics["homeostat_updates_total{result=\"rolled_back\"}"], 1.0);
    let status = |word: &str| {
        let mut all = metrics.iter().filter(|(k, _)| k.starts_with("homeostat_service_status{"));
        let one = all.find(|(k, _)| k.contains(&project) && k.contains(&format!("\"{word}\"")));
        *one.expect("the series").1
    };
    assert_eq!((status("ready"), status("held")), (1.0, 0.0));
    for shown in [&daemon.log(), &events, &described, &daemon.get("/api/v1/status").1] {
        assert!(!shown.contains(SECRET), "a secret is shown");
    }

    // Killed, it still knows.
    daemon.kill();
    let daemon = home.daemon(&[]);
    daemon.until("it remembers", || message(&home).starts_with(sentence));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ids(), first);

    // A person who applies has it tried again, and hears that it failed again.
    let begun = Instant::now();
    let ran = home.run(&["apply"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(sentence), "{ran:?}");
    assert!(begun.elapsed() > Duration::from_secs(3), "it was tried");
    assert_eq!(ids(), first);

    // An edit that works ends it, and nothing is kept.
    home.write("compose.yaml", &web(&project, SERVES).replace("TOKEN", "OTHER"));
    let ran = home.run(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    daemon.until("the old one goes", || matches!(ids(), now if now.len() == 1 && now != first));
    daemon.until("and what it was made of", || bodies(&home).is_empty());
    assert!(daemon.condition("stacks", "UpdateFailed").starts_with("False"));
}

#[test]
fn row_31_an_apply_without_a_daemon_ends_with_the_reason() {
    let mut home = Home::new();
    let project = home.project("update-once");
    home.write("compose.yaml", &web(&project, SERVES));
    let ran = home.run(&["apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let first = facts(&project, "{{.Id}}");
    home.write("compose.yaml", &web(&project, SLEEPS));
    for attempt in 0..2 {
        let ran = home.run(&["apply"]);
        assert_eq!(ran.code, Some(1), "{attempt}: {ran:?}");
        assert!(ran.stderr.contains("update failed: unhealthy: Docker healthcheck"), "{ran:?}");
        assert_eq!(facts(&project, "{{.Id}}"), first);
    }
}

#[test]
fn an_edit_made_while_the_daemon_was_away_is_an_update_like_any_other() {
    let mut home = Home::new();
    let project = home.project("update-away");
    home.write("compose.yaml", &web(&project, SERVES));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let first = facts(&project, "{{.Id}}");
    daemon.kill();
    home.write("compose.yaml", &web(&project, SLEEPS));
    let daemon = home.daemon(&[]);
    daemon.until("it is undone", || message(&home).starts_with("update failed: unhealthy"));
    daemon.until("the old one is back", || facts(&project, "{{.Id}}") == first);
}

#[test]
fn an_update_leaves_docker_compose_nothing_to_do() {
    let mut home = Home::new();
    let project = home.project("update-interop");
    home.write("compose.yaml", &web(&project, SERVES));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let first = facts(&project, "{{.Id}}");
    home.write("compose.yaml", &web(&project, SERVES).replace("TOKEN", "OTHER"));
    let ids = || facts(&project, "{{.Id}}");
    daemon.until("it is over", || matches!(ids(), now if now.len() == 1 && now != first));
    let updated = ids();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = root.join(".cache/docker-compose-5.6.1");
    assert!(binary.is_file(), "no Docker Compose here: run tests/support/fetch-compose");
    let compose = |args: &[&str]| {
        let ran = ran(Command::new(&binary).args(args).current_dir(home.stacks()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    };
    compose(&["up", "-d"]);
    assert_eq!(ids(), updated);
    let listed = compose(&["ps", "-a", "-q"]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), [updated["web-1"].as_str()]);
}

#[test]
fn an_update_that_needs_a_person_is_retried_by_their_word() {
    let mut home = Home::new();
    let project = home.project("update-retry");
    home.write("compose.yaml", &web(&project, SERVES));
    home.write(
        "stack.yaml",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: web}\n\
         spec: {policy: {rollback: Never}}\n",
    );
    let daemon = home.daemon(&[]);
    daemon.until_ready("web", 1);
    home.write("compose.yaml", &web(&project, SLEEPS));
    let open = |home: &Home| -> Vec<serde_json::Value> {
        let ran = home.run(&["get", "incidents", "-o", "json"]);
        let list: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().filter(|i| i["endedAt"].is_null()).collect()
    };
    daemon.until("a person is asked for", || open(&home).len() == 1);
    daemon.until("everywhere", || {
        daemon.condition("web", "UpdateFailed").starts_with("True NeedsPerson")
    });
    let incident = open(&home).remove(0);
    let id = incident["id"].as_str().expect("an ID").to_owned();
    assert!(incident["cause"].as_str().expect("a cause").contains("rollback is Never"));
    let runs = || facts(&project, "{{.State.StartedAt}}");
    let failed = runs();
    daemon.kill();
    let ran = home.run(&["incident", "retry", &id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let daemon = home.daemon(&[]);
    daemon.until("the new one is started again", || runs() != failed);
    daemon.until("and fails again", || {
        open(&home).first().is_some_and(|i| i["state"] == "exhausted")
            && daemon.condition("web", "UpdateFailed").starts_with("True NeedsPerson")
    });
    assert_eq!(open(&home)[0]["id"], id.as_str(), "still the same");
    let again = runs();
    let ran = home.run(&["incident", "retry", &id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    daemon.until("with a daemon as without", || runs() != again);
    home.write("compose.yaml", &web(&project, SERVES));
    daemon.until("another edit ends it", || open(&home).is_empty());
    daemon.until("and it serves", || daemon.services()[&format!("{project}/web")] == "ready");
}
