//! Rows 13 and 42 on the real engine, and what a person sees and says of an incident.

use std::collections::BTreeSet;
use std::time::Duration;

use homeostat::clock::Timestamp;

use super::harness::{Daemon, Home, facts};
use crate::support::{IMAGE, docker};

/// The only open incident.
fn open(daemon: &Daemon) -> serde_json::Value {
    let list = daemon.api("/api/v1/incidents");
    let items = list["items"].as_array().expect("items");
    let open: Vec<_> = items.iter().filter(|i| i["endedAt"].is_null()).collect();
    assert_eq!(open.len(), 1, "{list:#}");
    open[0].clone()
}

fn state(daemon: &Daemon) -> String {
    let list = daemon.api("/api/v1/incidents");
    let items = list["items"].as_array().expect("items");
    let open = items.iter().find(|i| i["endedAt"].is_null());
    open.and_then(|i| i["state"].as_str()).unwrap_or_default().to_owned()
}

/// Starts that the engine counts: each death is followed by one, or isn't.
fn started(daemon: &Daemon, project: &str) -> f64 {
    let series =
        format!("homeostat_service_restarts_total{{project=\"{project}\",service=\"web\"}}");
    daemon.metrics().get(&series).copied().unwrap_or_default()
}

#[test]
fn row_13_a_crash_loop_stops_at_its_budget_over_sigkill_and_a_person_has_the_last_word() {
    let mut home = Home::new();
    let project = home.project("loop");
    let files = format!(
        "name: {project}\nservices:\n  web:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n  free:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n"
    );
    // It runs, and falls again and again.
    let falls = files.replacen("[sleep]", "[job, '300', '3']", 1);
    home.write("compose.yaml", &falls);
    let daemon = home.daemon(&[]);
    daemon.until("the budget is spent", || state(&daemon) == "exhausted");
    let incident = open(&daemon);
    assert_eq!((&incident["spent"], &incident["budget"]), (&3.into(), &3.into()), "{incident:#}");
    assert_eq!(started(&daemon, &project), 3.0);
    let metrics = daemon.metrics();
    assert_eq!(metrics["homeostat_recovery_attempts_total{result=\"failed\"}"], 3.0);
    assert_eq!(metrics["homeostat_escalations_total{scenario=\"singleServiceDown\"}"], 1.0);
    let gauge = |scenario: &str| {
        metrics
            [&format!("homeostat_incidents_open{{project=\"{project}\",scenario=\"{scenario}\"}}")]
    };
    assert_eq!((gauge("singleServiceDown"), gauge("gpu")), (1.0, 0.0));
    assert!(daemon.condition("stacks", "Stalled").starts_with("True BudgetExhausted"));

    // Killed and started again, it counts nothing twice and begins nothing.
    let runs = facts(&project, "{{.State.StartedAt}}");
    daemon.kill();
    let daemon = home.daemon(&[]);
    daemon.until("it remembers", || state(&daemon) == "exhausted");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(facts(&project, "{{.State.StartedAt}}"), runs);
    let id = incident["id"].as_str().expect("an ID").to_owned();
    assert_eq!(open(&daemon)["id"], id.as_str());

    let listed = home.run(&["get", "incidents"]);
    assert!(listed.stdout.contains(&id) && listed.stdout.contains("3 of 3"), "{listed:?}");
    let described = home.run(&["describe", &format!("incident/{id}")]);
    for words in ["attempt 3 of 3", "Escalated", "Exhausted", "singleServiceDown"] {
        assert!(described.stdout.contains(words), "{words}: {}", described.stdout);
    }
    let unknown = home.run(&["incident", "retry", "zzzzz"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("open are: ") && unknown.stderr.contains(&id), "{unknown:?}");
    let noted = home.run(&["incident", "ack", &id, "--for", "4h"]);
    assert_eq!(noted.code, Some(0), "{noted:?}");
    assert_eq!(state(&daemon), "exhausted", "taking note tries nothing");
    let again = home.run(&["incident", "retry", &id]);
    assert_eq!(again.code, Some(0), "{again:?}");
    daemon.until("one budget more is spent", || {
        started(&daemon, &project) == 3.0 && state(&daemon) == "exhausted"
    });
    drop(daemon);

    // Without a daemon the journal tells, and takes a person's word.
    let listed = home.run(&["get", "incidents"]);
    assert!(listed.stdout.contains(&id), "{listed:?}");
    let resolved = home.run(&["incident", "resolve", &id]);
    assert_eq!(resolved.code, Some(0), "{resolved:?}");
    let listed = home.run(&["get", "incidents", "-o", "json"]);
    assert!(listed.stdout.contains("\"resolved\""), "{listed:?}");
    let events = home.run(&["events"]).stdout;
    for words in ["IncidentOpened", "RecoveryAttempt", "Retried", "resolved by user"] {
        assert!(events.contains(words), "{words}: {events}");
    }
}

#[test]
fn row_42_four_of_five_that_fall_together_come_back_one_at_a_time() {
    let mut home = Home::new();
    let project = home.project("brake");
    let mut files = format!("name: {project}\nservices:\n");
    for name in ["a", "b", "c", "d", "e"] {
        files.push_str(&format!(
            "  {name}:\n    image: {IMAGE}\n    command: [listen, '8000']\n    stop_grace_period: 1s\n    healthcheck: {{test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health'], interval: 1s}}\n"
        ));
    }
    home.write("compose.yaml", &files);
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let pids = facts(&project, "{{.State.Pid}}");
    let killed: Vec<&str> =
        ["a-1", "b-1", "c-1", "d-1"].iter().map(|name| pids[*name].as_str()).collect();
    let mut args = vec!["-s", "KILL"];
    args.extend(&killed);
    let status = std::process::Command::new("kill").args(&args).status().expect("kill runs");
    assert!(status.success(), "the engine's processes are of this host");
    let braked = || daemon.condition("stacks", "Braked").starts_with("True BelowMinHealthy");
    daemon.until("it brakes", braked);
    daemon.until("all are back", || daemon.is_ready("stacks", 1) && !braked());
    // The first ones may have been answered before the last was known to have fallen; that one
    // waited until one of them was ready, which takes a healthcheck's interval.
    let starts = facts(&project, "{{.State.StartedAt}}");
    let again = starts.iter().filter(|(name, _)| *name != "e-1");
    let times: BTreeSet<i64> =
        again.filter_map(|(_, at)| Timestamp::parse(at)).map(|at| at.0).collect();
    let (first, last) = (times.first().expect("a start"), times.last().expect("a start"));
    assert!(times.len() == 4 && last - first >= 1000, "{starts:?}");
    let events = home.run(&["events"]).stdout;
    assert!(events.contains("Braked") && events.contains("BrakeReleased"), "{events}");
    let waits = events.matches("RecoveryAttempt").count();
    assert_eq!(waits, 4, "{events}");
    let label = format!("label=com.docker.compose.project={project}");
    assert_eq!(docker(&["ps", "-q", "--filter", &label]).lines().count(), 5);
}
