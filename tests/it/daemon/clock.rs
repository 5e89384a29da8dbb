//! Row 36 on the real engine: the wall clock of the daemon jumps, and only that clock. libfaketime
//! stands between the binary and the system's clock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homeostat::clock::{Clock, SystemClock, Timestamp};

use super::harness::{Home, facts, runs};
use crate::support::{IMAGE, docker};

/// How long the jumps are watched.
const QUIET: Duration = Duration::from_secs(6);

/// Debian's libfaketime.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("a folder").flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = found.into_iter().find(|path| path.is_file());
    found.expect("libfaketime is missing: tests/support/setup installs it")
}

fn set(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).expect("writes");
    std::fs::rename(&next, file).expect("renames");
}

#[test]
fn row_36_a_clock_that_jumps_by_an_hour_makes_no_burst_and_no_stall() {
    let mut home = Home::new();
    let project = home.project("clock");
    let service = |name: &str, more: &str| {
        format!(
            "  {name}:\n    image: {IMAGE}\n    command: [listen, '8000']\n    stop_grace_period: 1s\n{more}"
        )
    };
    let check = "    healthcheck:\n      {test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:8000/health'], interval: 1s}\n";
    // It never gets ready, and has until long after this test for it.
    let sick = "    healthcheck: {test: [CMD, /nothing], interval: 1s, start_period: 600s}\n";
    home.write(
        "compose.yaml",
        &[
            format!("name: {project}\nservices:\n"),
            service("db", check),
            service("web", "    depends_on: {db: {condition: service_healthy}}\n"),
            service("own", "    restart: always\n"),
            service("slow", sick),
        ]
        .concat(),
    );
    let clock = home.stacks().with_file_name("clock");
    set(&clock, "+0");
    let daemon = home.daemon_with(&[], |command| {
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &clock);
        command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
    });
    let is_up = |daemon: &super::harness::Daemon| {
        let services = daemon.services();
        let status = |name: &str| services.get(&format!("{project}/{name}")).cloned();
        ["db", "web", "own"].iter().all(|name| status(name).is_some_and(|s| s == "ready"))
    };
    daemon.until("the stack is up", || is_up(&daemon));
    for offset in ["+3600", "-3600"] {
        let before = (runs(&project), daemon.metrics());
        set(&clock, offset);
        let until = Instant::now() + QUIET;
        while Instant::now() < until {
            assert_eq!(runs(&project), before.0, "{offset}: somebody was restarted");
            std::thread::sleep(Duration::from_millis(200));
        }
        let writes = |metrics: &std::collections::BTreeMap<String, f64>| -> f64 {
            let actions = metrics.iter().filter(|(s, _)| s.starts_with("homeostat_actions_total{"));
            actions.map(|(_, count)| count).sum()
        };
        assert_eq!(writes(&daemon.metrics()), writes(&before.1), "{offset}: a burst");
        // What falls is mended as ever.
        for name in ["db", "own"] {
            let container = format!("{project}-{name}-1");
            let pid = facts(&project, "{{.State.Pid}}")[&format!("{name}-1")].clone();
            let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
            assert!(killed.expect("kill runs").success(), "{container}");
        }
        let begun = Instant::now();
        daemon.until("they are back", || runs(&project) != before.0 && is_up(&daemon));
        assert!(begun.elapsed() < Duration::from_secs(15), "{offset}: {:?}", begun.elapsed());
        // It did jump.
        let log = daemon.log();
        let mut stamps = log.lines().filter_map(|l| Timestamp::parse(l.split_whitespace().next()?));
        let told = stamps.next_back().expect("a line with its time");
        let ahead = (told.0 - SystemClock::new().now().wall.0) / 60_000;
        assert!((50..70).contains(&ahead.abs()), "{offset}: {ahead} minutes ahead\n{log}");
    }
    assert_eq!(
        docker(&["inspect", "-f", "{{.State.Running}}", &format!("{project}-slow-1")]),
        "true"
    );
    let open = daemon.api("/api/v1/incidents");
    let open = open["items"].as_array().expect("items").iter().filter(|i| i["endedAt"].is_null());
    assert!(open.count() <= 2, "the two that fell, and no other");
}
