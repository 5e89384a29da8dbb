//! Rows 32 to 35: what edits do to a stack that runs.

use std::time::Duration;

use super::harness::{Home, facts, replace, runs, stack};

/// Two services in order; `version` goes to the environment of both.
fn two(project: &str, db: &str, web: &str) -> String {
    format!(
        "\
name: {project}
services:
  db:
    image: homeostat-test/stand-ins:1
    command: [listen, '8000']
    environment: {{V: '{db}'}}
    stop_grace_period: 1s
    healthcheck:
      test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health']
      interval: 1s
  web:
    image: homeostat-test/stand-ins:1
    command: [listen, '8000']
    environment: {{V: '{web}'}}
    stop_grace_period: 1s
    depends_on:
      db: {{condition: service_healthy}}
  aside:
    image: homeostat-test/stand-ins:1
    command: [sleep]
    stop_grace_period: 1s
"
    )
}

fn one(project: &str, rest: &str) -> String {
    format!(
        "\
name: {project}
services:
  a:
    image: homeostat-test/stand-ins:1
    command: [sleep]
    stop_grace_period: 1s
{rest}"
    )
}

const RELOADED: &str = "homeostat_config_last_reload_successful";

#[test]
fn rows_32_and_33_edits() {
    let mut home = Home::new();
    let project = home.project("edits");
    let file = home.stacks().join("compose.yaml");
    home.write("compose.yaml", &two(&project, "1", "1"));
    let daemon = home.daemon(&["--resync", "5s"]);
    daemon.until_ready("stacks", 1);
    assert_eq!(daemon.metrics()[RELOADED], 1.0);
    assert!(daemon.condition("stacks", "SourceValid").starts_with("True"));
    let first = runs(&project);
    assert_eq!(first.len(), 3, "{first:?}");

    // Row 32: a mistake changes nothing but the status, which has its place.
    let bad = two(&project, "2", "2").replace("    environment: {V", "    enviroment: {V");
    home.write("compose.yaml", &bad);
    daemon.until("the mistake is told", || {
        daemon.condition("stacks", "SourceValid").starts_with("False Invalid")
    });
    let told = daemon.condition("stacks", "SourceValid");
    assert!(told.contains("compose.yaml:6:5: unknown attribute `enviroment`"), "{told}");
    assert!(told.contains("did you mean `environment`?"), "{told}");
    let shown = home.run(&["get", "stacks"]).stdout;
    assert!(shown.contains("SourceInvalid") && shown.contains("compose.yaml:6:5"), "{shown}");
    assert_eq!(daemon.metrics()[RELOADED], 0.0);
    assert_eq!(runs(&project), first);
    // The last good state is still kept.
    crate::support::docker(&["kill", &format!("{project}-aside-1")]);
    daemon.until("aside runs again", || {
        runs(&project)["aside-1"] != first["aside-1"]
            && daemon.services()[&format!("{project}/aside")] == "ready"
    });
    assert!(daemon.condition("stacks", "SourceValid").starts_with("False"));

    // The old text again is no new generation.
    home.write("compose.yaml", &two(&project, "1", "1"));
    daemon.until("the files are well", || {
        daemon.condition("stacks", "SourceValid").starts_with("True")
            && daemon.metrics()[RELOADED] == 1.0
    });
    daemon.until_ready("stacks", 1);
    let mut now = runs(&project);
    now.insert("aside-1".into(), first["aside-1"].clone());
    assert_eq!(now, first);

    // Row 33: a file that is half written for a while. What stands there meanwhile is valid YAML
    // of a stack without `web`, or no YAML at all; neither may be acted upon while it is written.
    let next = two(&project, "1", "2");
    let before = facts(&project, "{{.Id}}");
    for end in [next.len() / 3, next.len() / 2, next.len() - 5] {
        home.write("compose.yaml", &next[..end]);
        std::thread::sleep(Duration::from_millis(60));
    }
    home.write("compose.yaml", &next);
    daemon.until_ready("stacks", 2);
    let after = facts(&project, "{{.Id}}");
    assert_ne!(after["web-1"], before["web-1"]);
    assert_eq!((&after["db-1"], &after["aside-1"]), (&before["db-1"], &before["aside-1"]));

    // Replaced atomically, twice: the folder is watched, not the inode. Order: db before web.
    replace(&file, &two(&project, "2", "3"));
    daemon.until_ready("stacks", 3);
    let third = facts(&project, "{{.Id}}");
    assert_ne!(third["db-1"], after["db-1"]);
    assert_ne!(third["web-1"], after["web-1"]);
    assert_eq!(third["aside-1"], after["aside-1"]);
    let began = facts(&project, "{{.State.StartedAt}}");
    assert!(began["db-1"] < began["web-1"], "{began:?}");
    replace(&file, &two(&project, "2", "4"));
    daemon.until_ready("stacks", 4);
    let fourth = facts(&project, "{{.Id}} {{.Config.Env}}");
    assert!(fourth["web-1"].contains("V=4"), "{fourth:?}");
    assert!(fourth["db-1"].starts_with(&third["db-1"]));

    // A service that leaves the files leaves the metrics; its container is an orphan, reported.
    let without = two(&project, "2", "4");
    let (without, _) = without.split_once("  aside:").expect("aside");
    replace(&file, without);
    daemon.until_ready("stacks", 5);
    let of_aside = |s: &&String| s.contains("service=\"aside\"");
    let metrics = daemon.metrics();
    assert_eq!(metrics.keys().filter(of_aside).count(), 0, "{metrics:?}");
    assert!(metrics.keys().any(|s| s.contains("service=\"web\"")));
    assert!(facts(&project, "{{.Id}}").contains_key("aside-1"));
}

#[test]
fn row_34_a_missing_file_blocks_its_stack_only() {
    let mut home = Home::new();
    let (good, bad) = (home.project("good"), home.project("bad"));
    home.write("good.stack.yaml", &stack("good", "good.yaml"));
    home.write("bad.stack.yaml", &stack("bad", "bad.yaml"));
    home.write("good.yaml", &one(&good, ""));
    home.write("bad.yaml", &one(&bad, "    env_file: [settings.env]\n"));
    let daemon = home.daemon(&[]);
    daemon.until_ready("good", 1);
    daemon.until("the missing file is told", || {
        daemon.condition("bad", "SourceValid").starts_with("False")
    });
    let told = daemon.condition("bad", "SourceValid");
    assert!(told.contains("settings.env") && told.contains("bad.yaml:7"), "{told}");
    assert_eq!(runs(&bad), runs("daemon-none"));
    assert_eq!(daemon.metrics()[RELOADED], 0.0, "one stack's files are bad");
    assert!(daemon.condition("good", "SourceValid").starts_with("True"));

    // An edit of the good one doesn't hide the bad one.
    home.write("good.yaml", &one(&good, "    environment: [A=1]\n"));
    daemon.until_ready("good", 2);
    assert_eq!(daemon.metrics()[RELOADED], 0.0, "one stack's files are bad still");

    home.write("settings.env", "A=1\n");
    daemon.until_ready("bad", 1);
    assert_eq!(daemon.metrics()[RELOADED], 1.0);
    let before = (runs(&good), runs(&bad));

    // It goes away again while all runs: the last good state is kept.
    std::fs::remove_file(home.stacks().join("settings.env")).expect("removes");
    daemon.until("the missing file is told again", || {
        daemon.condition("bad", "SourceValid").starts_with("False")
            && daemon.metrics()[RELOADED] == 0.0
    });
    home.write("settings.env", "A=1\n");
    daemon.until("the files are well", || daemon.metrics()[RELOADED] == 1.0);
    assert_eq!((runs(&good), runs(&bad)), before);

    // A secret's file is the engine's to find: it refuses, the old container runs on, and it is
    // said until the file is there.
    let secret = "    secrets: [s]\nsecrets:\n  s: {file: ./s.txt}\n";
    home.write("bad.yaml", &one(&bad, secret));
    daemon.until("the missing secret is told", || {
        daemon.get("/api/v1/events").1.contains("s.txt")
            && !daemon.condition("bad", "Ready").is_empty()
            && daemon.api("/api/v1/stacks/bad")["message"].as_str().is_some_and(|m| !m.is_empty())
    });
    assert_eq!((runs(&good), runs(&bad)), before);
    home.write("s.txt", "hunter2\n");
    daemon.until("the secret is there", || runs(&bad) != before.1);
    daemon.until_ready("bad", 2);
    assert_eq!(runs(&good), before.0);
}

#[test]
fn row_35_a_cycle_is_printed() {
    let mut home = Home::new();
    let project = home.project("cycle");
    home.write("compose.yaml", &two(&project, "1", "1"));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let before = runs(&project);
    let cycle = two(&project, "1", "1").replace(
        "    environment: {V: '1'}\n    stop_grace_period: 1s\n    healthcheck",
        "    depends_on: [web]\n    stop_grace_period: 1s\n    healthcheck",
    );
    home.write("compose.yaml", &cycle);
    daemon.until("the cycle is told", || {
        daemon.condition("stacks", "SourceValid").starts_with("False")
    });
    let told = daemon.condition("stacks", "SourceValid");
    assert!(told.contains("db -> web -> db") || told.contains("web -> db -> web"), "{told}");
    assert_eq!(runs(&project), before);
}

#[test]
fn a_stack_that_is_added_is_kept_without_a_restart_and_one_that_goes_is_left_alone() {
    let mut home = Home::new();
    let (first, second) = (home.project("first"), home.project("second"));
    home.write("first.stack.yaml", &stack("first", "first.yaml"));
    home.write("first.yaml", &one(&first, ""));
    let daemon = home.daemon(&[]);
    daemon.until_ready("first", 1);
    let before = runs(&first);
    home.write("second.yaml", &one(&second, ""));
    home.write("second.stack.yaml", &stack("second", "second.yaml"));
    daemon.until_ready("second", 1);
    assert_eq!(runs(&first), before);
    let kept = (before, runs(&second));

    std::fs::remove_file(home.stacks().join("second.stack.yaml")).expect("removes");
    daemon.until("its absence is told", || {
        daemon.condition("second", "SourceValid").starts_with("False SourceGone")
    });
    assert!(daemon.condition("first", "SourceValid").starts_with("True"));
    // It is still kept as it was last read.
    crate::support::docker(&["kill", &format!("{second}-a-1")]);
    daemon.until("a runs again", || runs(&second) != kept.1);
    assert_eq!(runs(&first), kept.0);

    home.write("second.stack.yaml", &stack("second", "second.yaml"));
    daemon.until("its return is told", || {
        daemon.condition("second", "SourceValid").starts_with("True")
    });
    daemon.until_ready("second", 1);
}
