//! No secret of the files appears anywhere that homeostat writes or answers.

use super::harness::{Home, runs};
use crate::support::{IMAGE, docker};

const CANARIES: [&str; 5] = [
    "canary-env-7f3a",
    "canary-label-91bc",
    "canary-file-55d0",
    "canary-dotenv-c2e8",
    "canary-arg-0d4e",
];

fn text(project: &str, version: &str) -> String {
    format!(
        "\
name: {project}
services:
  a:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    env_file: [a.env]
    environment:
      PASSWORD: canary-env-7f3a
      FROM_DOTENV: ${{SECRET}}
      V: '{version}'
    labels:
      com.example.token: canary-label-91bc
  broken:
    image: {IMAGE}
    command: [exit, '1', canary-arg-0d4e]
    environment: [PASSWORD=canary-env-7f3a]
    restart: 'no'
"
    )
}

#[test]
fn canaries_stay_where_they_were_written() {
    let mut home = Home::new();
    let project = home.project("secrets");
    home.write("a.env", "TOKEN=canary-file-55d0\n");
    home.write(".env", "SECRET=canary-dotenv-c2e8\n");
    home.write("compose.yaml", &text(&project, "1"));
    let daemon = home.daemon(&["--log-level", "trace"]);
    let ready = |d: &super::harness::Daemon| {
        d.services().get(&format!("{project}/a")).is_some_and(|s| s == "ready")
    };
    let mut said: Vec<(String, String)> = Vec::new();
    let plan = home.run(&["plan"]);
    said.push(("plan".into(), plan.stdout + &plan.stderr));
    daemon.until("a is ready", || ready(&daemon));
    // They did reach the container: the test looks for what is there.
    let name = format!("{project}-a-1");
    let inside = docker(&["inspect", "-f", "{{.Config.Env}} {{.Config.Labels}}", &name]);
    for canary in &CANARIES[..4] {
        assert!(inside.contains(canary), "{canary}: {inside}");
    }
    let first = runs(&project)["a-1"].clone();
    home.write("compose.yaml", &text(&project, "2"));
    let plan = home.run(&["plan", "-o", "json"]);
    said.push(("plan -o json".into(), plan.stdout + &plan.stderr));
    daemon.until("the edit", || runs(&project).get("a-1").is_some_and(|r| *r != first));
    docker(&["kill", &name]);
    docker(&["rm", "-f", &format!("{project}-broken-1")]);
    daemon.until("a is ready again", || ready(&daemon));
    let applied = home.run(&["apply"]);
    assert_eq!(applied.code, Some(1), "`broken` never runs: {applied:?}");
    said.push(("apply".into(), applied.stdout + &applied.stderr));
    // A mistake beside a secret.
    let bad = text(&project, "3").replace("      V:", "      PASSWORD: canary-env-7f3a\n      V:");
    home.write("compose.yaml", &bad);
    daemon.until("the mistake is told", || {
        daemon.condition("stacks", "SourceValid").starts_with("False")
    });

    for path in [
        "/metrics",
        "/readyz",
        "/api/v1/status",
        "/api/v1/stacks",
        "/api/v1/services",
        "/api/v1/networks",
        "/api/v1/volumes",
        "/api/v1/plan",
        "/api/v1/events",
        "/api/v1/incidents",
    ] {
        said.push((path.into(), daemon.get(path).1));
    }
    for args in [
        &["get", "services", "-o", "json"][..],
        &["get", "incidents", "-o", "json"],
        &["get", "stacks", "-o", "yaml"],
        &["get", "volumes", "-o", "json"],
        &["get", "networks", "-o", "json"],
        &["get", "leases", "-o", "json"],
        &["describe", "stack/stacks"],
        &["describe", "service/a"],
        &["events"],
    ] {
        let ran = home.run(args);
        said.push((args.join(" "), ran.stdout + &ran.stderr));
    }
    let log = daemon.log();
    assert!(log.contains("plan "), "nothing logged: {log}");
    said.push(("log".into(), log));
    daemon.stop();
    for entry in std::fs::read_dir(home.state()).expect("the state folder").flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        said.push((
            entry.path().display().to_string(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    assert!(said.iter().any(|(place, text)| place.ends_with("journal.db") && text.len() > 1000));
    for (place, text) in &said {
        for canary in CANARIES {
            let line = text.lines().find(|l| l.contains(canary));
            assert!(line.is_none(), "{canary} in {place}: {}", line.unwrap_or_default());
        }
    }
}
