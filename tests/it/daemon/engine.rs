//! Row 1: the engine under a running daemon ends, by SIGTERM and by SIGKILL, and comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::harness::{Daemon, Home, SOON};
use crate::support::IMAGE;
use crate::support::engine::OwnEngine;

/// One after the other, by turns under the engine's own policy and under none.
fn text(project: &str) -> String {
    let mut text = format!("name: {project}\nservices:\n");
    for (name, restart, after) in [
        ("a", "no", ""),
        ("b", "unless-stopped", "a"),
        ("c", "no", "b"),
        ("d", "unless-stopped", "c"),
    ] {
        text += &format!(
            "  {name}:\n    image: {IMAGE}\n    command: [listen, '8000']\n    restart: '{restart}'\n    stop_grace_period: 1s\n    healthcheck: {{test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health'], interval: 500ms}}\n"
        );
        if !after.is_empty() {
            text += &format!("    depends_on: {{{after}: {{condition: service_healthy}}}}\n");
        }
    }
    text + "  done: {image: 'homeostat-test/stand-ins:1', command: [job, '20']}\n  last:\n    image: homeostat-test/stand-ins:1\n    command: [sleep]\n    stop_grace_period: 1s\n    depends_on: {done: {condition: service_completed_successfully}}\n"
}

/// `StartedAt` of each container, by service.
fn starts(engine: &OwnEngine, project: &str) -> BTreeMap<String, String> {
    let format = "{{.Id}} {{.State.StartedAt}}";
    let services = ["a", "b", "c", "d", "done", "last"];
    services.map(|s| (s.to_owned(), engine.inspect(&format!("{project}-{s}-1"), format))).into()
}

fn begun(starts: &BTreeMap<String, String>, service: &str) -> String {
    starts[service].split_once(' ').expect("two words").1.to_owned()
}

fn id(starts: &BTreeMap<String, String>, service: &str) -> String {
    starts[service].split_once(' ').expect("two words").0.to_owned()
}

/// The engine ends and comes back; what the daemon did meanwhile is looked at.
fn restarted_by(signal: &str) {
    let mut engine = OwnEngine::start();
    let mut home = Home::new();
    let project = home.project("engine");
    home.write("compose.yaml", &text(&project));
    let daemon = home.daemon(&["-H", &engine.host()]);
    daemon.until_ready("stacks", 1);
    let before = starts(&engine, &project);

    engine.end(signal);
    daemon.until("the loss of the engine is said", || {
        daemon.condition("stacks", "EngineReachable").starts_with("False")
    });
    let done = steps(&daemon);
    // Facts that are known to be stale: nothing is planned on them, however long it takes.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(steps(&daemon), done, "{}", daemon.log());
    assert_eq!(daemon.get("/readyz").0, 503);

    engine.boot();
    daemon.within(SOON * 3, "everything is back", || daemon.is_ready("stacks", 1));
    let after = starts(&engine, &project);
    for service in ["a", "b", "c", "d", "done", "last"] {
        // A start during the engine's own shutdown may leave a task that forbids every other one.
        let stuck = format!("service {service}/1: create");
        let stuck = daemon.log().lines().any(|line| {
            line.contains(&stuck) && line.contains("the engine can't start it any more")
        });
        assert_eq!(id(&after, service) != id(&before, service), stuck, "{service} is another");
    }
    for service in ["a", "b", "c", "d", "last"] {
        assert_ne!(begun(&after, service), begun(&before, service), "{service} never ended");
    }
    assert_eq!(begun(&after, "done"), begun(&before, "done"), "a job runs once");
    // In order among those that the daemon started; what the engine started stays. By the plans: the
    // engine may be quicker with the second of two that are started at once.
    let log = daemon.log();
    let planned = |service: &str| {
        let step = format!("service {service}/1: start");
        log.lines()
            .collect::<Vec<_>>()
            .iter()
            .rposition(|line| line.contains(" plan [") && line.contains(&step))
    };
    assert!(planned("a") < planned("c"), "{after:#?}\n{log}");
    assert!(!log.contains(": restart"), "restarted for order's sake:\n{log}");
    let held: Vec<_> = daemon.services().into_iter().filter(|(_, s)| s == "held").collect();
    assert!(held.is_empty(), "{held:?}");
    std::thread::sleep(Duration::from_secs(3));
    assert!(daemon.is_ready("stacks", 1), "and it stays so");
    assert_eq!(starts(&engine, &project), after, "{}", daemon.log());
    // As ever: what ends by itself is started again.
    engine.docker(&["kill", &format!("{project}-a-1")]);
    daemon.until("a runs again", || {
        daemon.is_ready("stacks", 1) && starts(&engine, &project)["a"] != after["a"]
    });
}

/// How many steps the daemon has begun.
fn steps(daemon: &Daemon) -> usize {
    daemon.log().lines().filter(|line| line.contains(" plan [")).count()
}

#[test]
fn row_01_the_engine_is_restarted_by_sigterm() {
    restarted_by("TERM");
}

#[test]
fn row_01_the_engine_is_killed_and_comes_back() {
    restarted_by("KILL");
}
