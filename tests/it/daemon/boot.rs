//! Row 2, and what a daemon does when it is started, asked to end, or started twice.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::harness::{Home, runs, stack};
use crate::support::{IMAGE, docker};

fn sleeper(project: &str, rest: &str) -> String {
    format!(
        "name: {project}\nservices:\n  a:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n{rest}"
    )
}

#[test]
fn row_02_engine_absent_at_boot() {
    let mut home = Home::new();
    let project = home.project("absent");
    home.write("compose.yaml", &sleeper(&project, ""));
    let socket = home.stacks().join("engine.sock");
    let host = format!("unix://{}", socket.display());
    let daemon = home.daemon(&["-H", &host]);
    // Live, not ready, says why; the files are well all the same.
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    daemon.until("the fault is told", || {
        let (status, body) = daemon.get("/readyz");
        status == 503 && body.contains("is not reachable") && body.contains("engine.sock")
    });
    daemon.until("the files are loaded", || {
        daemon.condition("stacks", "SourceValid").starts_with("True Valid")
    });
    assert!(daemon.condition("stacks", "EngineReachable").starts_with("False EngineUnreachable"));
    let stacks = home.run(&["get", "stacks"]).stdout;
    assert!(stacks.contains("EngineUnreachable") && stacks.contains("engine.sock"), "{stacks}");
    // What is wanted is listed, though nobody has seen it.
    let services = home.run(&["get", "services", "-o", "json"]).stdout;
    let services: serde_json::Value = serde_json::from_str(&services).expect("JSON");
    let web = &services["items"][0];
    assert_eq!((&web["service"], &web["status"]), (&"a".into(), &"unknown".into()));
    assert!(web["message"].as_str().expect("text").contains("engine.sock"), "{web}");
    let metrics = daemon.metrics();
    let away =
        "homeostat_stack_condition{stack=\"stacks\",status=\"false\",type=\"EngineReachable\"}";
    assert_eq!(metrics[away], 1.0);
    assert_eq!(metrics["homeostat_engine_up"], 0.0);
    assert_eq!(metrics["homeostat_event_stream_connected"], 0.0);
    assert_eq!(metrics["homeostat_config_last_reload_successful"], 1.0);
    // It waits with backoff: a handful of attempts, not a storm.
    std::thread::sleep(Duration::from_secs(3));
    let calls = daemon.metrics();
    let calls: f64 = calls
        .iter()
        .filter(|(s, _)| s.starts_with("homeostat_engine_requests_total"))
        .map(|(_, n)| n)
        .sum();
    assert!((1.0..30.0).contains(&calls), "{calls} calls");

    let engine = docker(&["context", "inspect", "-f", "{{.Endpoints.docker.Host}}"]);
    let engine = engine.strip_prefix("unix://").expect("the tests' engine has a socket");
    symlink(engine, &socket).expect("links");
    daemon.until_ready("stacks", 1);
    assert_eq!(daemon.get("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(runs(&project).len(), 1);
    assert_eq!(daemon.metrics()["homeostat_engine_up"], 1.0);
}

#[test]
fn sigterm_ends_it_and_touches_nothing() {
    let mut home = Home::new();
    let project = home.project("term");
    // The stop of `stubborn` takes its whole grace.
    let text = |v: &str| {
        format!(
            "{}  stubborn:\n    image: {IMAGE}\n    command: [listen, '8000']\n    environment: [V={v}]\n    stop_grace_period: 20s\n",
            sleeper(&project, "")
        )
    };
    home.write("compose.yaml", &text("1"));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let before = runs(&project);
    let (status, took) = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(runs(&project), before);
    assert!(!home.state().join("control.sock").exists(), "the socket stays");

    // The same files again: nothing to do, and no new generation.
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    assert_eq!(runs(&project), before);

    // In the middle of a step that takes 20 s: it doesn't wait for that.
    let name = format!("{project}-stubborn-1");
    docker(&["exec", &name, "/stand-ins", "admin", "ignore-sigterm", "{\"on\": true}"]);
    home.write("compose.yaml", &text("2"));
    daemon.until("the stop began", || {
        daemon.log().contains("plan") && {
            let (_, body) = daemon.get("/api/v1/status");
            body.contains("stubborn") && daemon.metrics()["homeostat_workqueue_depth"] == 1.0
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    let (status, took) = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    // And the next one finishes.
    let daemon = home.daemon(&[]);
    daemon.within(Duration::from_secs(60), "the edit is rolled out", || {
        let stacks = daemon.api("/api/v1/stacks");
        let stack = &stacks["items"][0];
        stack["observedGeneration"] == 2 && stack["synced"] == true && stack["ready"] == 2
    });
    assert_eq!(runs(&project).len(), 2);
    assert_eq!(runs(&project)["a-1"], before["a-1"]);
}

#[test]
fn two_on_one_state_folder_or_one_project_are_refused() {
    let mut home = Home::new();
    let (project, other) = (home.project("one"), home.project("other"));
    home.write("a.stack.yaml", &stack("a", "a.yaml"));
    home.write("b.stack.yaml", &stack("b", "b.yaml"));
    home.write("a.yaml", &sleeper(&project, ""));
    home.write("b.yaml", &sleeper(&project, "    environment: [B=1]\n"));
    let daemon = home.daemon(&[]);
    daemon.until_ready("a", 1);

    let second = home.run(&["run", ".", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another homeostat runs"), "{second:?}");

    // The second stack of one project waits, and says for whom.
    daemon.until("the conflict is told", || {
        daemon.condition("b", "SourceValid").starts_with("False ProjectTaken")
    });
    let told = daemon.condition("b", "SourceValid");
    assert!(told.contains(&project) && told.contains("the stack a"), "{told}");
    let before = runs(&project);
    assert_eq!(before.len(), 1);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(runs(&project), before);

    // With a project of its own it is kept.
    home.write("b.yaml", &sleeper(&other, "    environment: [B=1]\n"));
    daemon.until_ready("b", 2);
    assert!(daemon.condition("b", "SourceValid").starts_with("True"));
    assert_eq!((runs(&project), runs(&other).len()), (before.clone(), 1));

    // A stack that takes another name makes that project and leaves the old one alone.
    let third = home.project("third");
    home.write("b.yaml", &sleeper(&third, "    environment: [B=1]\n"));
    daemon.until_ready("b", 3);
    assert_eq!((runs(&third).len(), runs(&other).len()), (1, 1));
    let metrics = daemon.metrics();
    assert!(!metrics.keys().any(|s| s.contains(&format!("project=\"{other}\""))), "{metrics:?}");
    docker(&["kill", &format!("{third}-a-1")]);
    daemon.until("the new project is kept", || {
        daemon.services()[&format!("{third}/a")] == "ready"
            && docker(&["inspect", "-f", "{{.State.Running}}", &format!("{third}-a-1")]) == "true"
    });
}
