//! Holds seen from outside: they survive the daemon, whoever asks sees them, and a word ends them.

use std::time::Duration;

use super::harness::{Home, runs};
use crate::support::{IMAGE, docker};

/// A stop is for good after 20 s.
const PROVEN: Duration = Duration::from_secs(45);

/// The stack of a bare Compose file has its folder's name.
const STACK: &str = "stacks";

fn two(project: &str) -> String {
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
"
    )
}

fn started(name: &str) -> Home {
    let mut home = Home::new();
    let project = home.project(name);
    home.write("compose.yaml", &two(&project));
    home
}

fn project(home: &Home) -> String {
    let shown = home.run(&["config", "--format", "json"]);
    let config: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    config["name"].as_str().expect("a name").to_owned()
}

#[test]
fn a_stop_by_hand_outlives_a_daemon_that_is_killed_in_the_midst_of_it() {
    let home = started("hold");
    let project = project(&home);
    let daemon = home.daemon(&[]);
    daemon.until_ready(STACK, 1);
    let is = |daemon: &super::harness::Daemon, word: &str| {
        daemon.services().get(&format!("{project}/web")).is_some_and(|s| s == word)
    };
    docker(&["stop", &format!("{project}-web-1")]);
    daemon.until("web is held", || is(&daemon, "held"));
    assert!(daemon.condition(STACK, "Held").starts_with("True NotYetForGood"));
    // SIGKILL, while nobody knows yet whether it was a person.
    daemon.kill();
    let daemon = home.daemon(&[]);
    daemon.until("web is held again", || is(&daemon, "held"));
    daemon.within(PROVEN, "for good", || {
        daemon.condition(STACK, "Held").starts_with("True StoppedByHand")
    });
    let held = docker(&["inspect", "-f", "{{.State.Running}}", &format!("{project}-web-1")]);
    assert_eq!(held, "false");
    let metrics = daemon.metrics();
    let series = format!(
        "homeostat_service_status{{project=\"{project}\",service=\"web\",status=\"held\"}}"
    );
    assert_eq!(metrics.get(&series), Some(&1.0), "{metrics:?}");

    // Whoever asks sees it, with and without the daemon.
    let shown = home.run(&["get", "services", "-o", "wide"]);
    assert!(shown.stdout.contains("held"), "{shown:?}");
    assert!(shown.stdout.contains("stopped by hand, since 20"), "{shown:?}");
    let shown = home.run(&["describe", "service/web"]);
    assert!(shown.stdout.contains("Held By: somebody at the engine"), "{shown:?}");
    assert!(shown.stdout.contains("Type: Held"), "{shown:?}");
    daemon.kill();
    for verb in [&["plan"][..], &["describe", "stack/stacks"]] {
        let shown = home.run(verb);
        assert!(shown.stdout.contains("stopped by hand"), "{verb:?}: {shown:?}");
        assert!(!shown.stdout.contains("-> #1"), "{verb:?}: {shown:?}");
    }
    let events = home.run(&["events"]);
    assert!(events.stdout.contains("stopped by hand"), "{events:?}");

    // `resume` without a daemon, and the next daemon starts it.
    let ended = home.run(&["resume", "web"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("service web/1: no longer stopped by hand"), "{ended:?}");
    let again = home.run(&["resume"]);
    assert!(again.stdout.contains("nothing is held"), "{again:?}");
    let daemon = home.daemon(&[]);
    daemon.until("web runs", || is(&daemon, "ready"));
}

#[test]
fn pause_leaves_alone_and_resume_and_apply_end_that() {
    let home = started("pause");
    let project = project(&home);
    let web = format!("{project}-web-1");
    let daemon = home.daemon(&[]);
    daemon.until_ready(STACK, 1);
    let wrong = home.run(&["pause", "wbe"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("did you mean `web`?"), "{wrong:?}");
    let paused = home.run(&["pause", "web"]);
    assert!(paused.stdout.contains("service web: paused by "), "{paused:?}");
    assert!(daemon.condition(STACK, "Paused").starts_with("True Paused"));
    let before = runs(&project);
    docker(&["kill", &web]);
    docker(&["kill", &format!("{project}-db-1")]);
    daemon.until("db is back", || runs(&project)["db-1"] != before["db-1"]);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runs(&project)["web-1"], before["web-1"], "web is left as it is");
    let ended = home.run(&["resume", "web"]);
    assert!(ended.stdout.contains("service web: no longer paused"), "{ended:?}");
    daemon.until("web is back", || runs(&project)["web-1"] != before["web-1"]);

    // A stop by hand ends with `apply`, through the daemon and without it.
    daemon.until("all is ready", || daemon.services().values().all(|s| s == "ready"));
    docker(&["stop", &web]);
    daemon.until("web is held", || daemon.services()[&format!("{project}/web")] == "held");
    let applied = home.run(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(daemon.services()[&format!("{project}/web")], "ready");
    let paused = home.run(&["pause"]);
    assert!(paused.stdout.contains("stack: paused by "), "{paused:?}");
    daemon.kill();
    docker(&["rm", "-f", &web]);
    let plan = home.run(&["plan"]);
    assert!(plan.stdout.contains("service web/1: held(paused by "), "{plan:?}");
    let applied = home.run(&["apply", "web"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(runs(&project).contains_key("web-1"));
    let rest = home.run(&["resume"]);
    assert!(rest.stdout.contains("service db: no longer paused"), "{rest:?}");
}
