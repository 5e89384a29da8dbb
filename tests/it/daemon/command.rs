//! The verbs of a person while a daemon keeps the project.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::harness::{Home, Ran, SOON, facts, ran, runs};
use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::{IMAGE, docker};

fn three(project: &str, image: &str, more: &str) -> String {
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
    depends_on: [db]
{more}  bad:
    image: {image}
    command: [sleep]
    pull_policy: never
"
    )
}

const MISSING: &str = "homeostat-test/no-such-image:1";

#[test]
fn an_apply_of_one_service_is_limited_to_it_and_counts_the_edit_before_it() {
    let mut home = Home::new();
    let project = home.project("scope");
    home.write("compose.yaml", &three(&project, MISSING, ""));
    let daemon = home.daemon(&[]);
    daemon.until("web is ready", || {
        daemon.services().get(&format!("{project}/web")).is_some_and(|s| s == "ready")
    });
    // `bad` can never run, and keeps nobody.
    let ran = home.run(&["apply", "web"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("ready; 0 changes (by the daemon)"), "{ran:?}");
    assert!(!ran.stderr.contains("bad"), "{ran:?}");
    let whole = home.run(&["apply"]);
    assert_eq!(whole.code, Some(1), "{whole:?}");
    assert!(whole.stderr.contains("service bad/1") && whole.stderr.contains("is missing"));

    // Edited and applied at once, before the daemon's watch has told it.
    let before = runs(&project);
    home.write("compose.yaml", &three(&project, MISSING, "    environment: {V: '2'}\n"));
    let ran = home.run(&["apply", "web"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("V=2"));
    assert_eq!(runs(&project)["db-1"], before["db-1"]);

    let ran = home.run(&["apply", "wbe"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("did you mean `web`?"), "{ran:?}");
}

#[test]
fn a_plan_is_the_daemons_in_the_same_words() {
    let mut home = Home::new();
    let project = home.project("plan");
    home.write("compose.yaml", &three(&project, MISSING, ""));
    let daemon = home.daemon(&[]);
    daemon.until("web is ready", || {
        daemon.services().get(&format!("{project}/web")).is_some_and(|s| s == "ready")
    });
    let verbs: [&[&str]; 3] = [&["plan"], &["plan", "-o", "json"], &["plan", "web"]];
    let kept: Vec<Ran> = verbs.iter().map(|verb| home.run(verb)).collect();
    let nothing = home.run(&["plan", "--detailed-exitcode"]);
    // A rollout that waits for somebody is no "nothing to do".
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    daemon.kill();
    for (verb, with) in verbs.iter().zip(kept) {
        let without = home.run(verb);
        assert_eq!((with.code, without.code), (Some(0), Some(0)), "{with:?}");
        assert_eq!(with.stdout, without.stdout, "{verb:?}");
    }
}

#[test]
fn a_variable_of_the_shell_is_told_by_the_daemon_and_refused_from_the_client() {
    let mut home = Home::new();
    let project = home.project("shell");
    let more = "    environment: [\"TOKEN=${TOKEN:-none}\"]\n";
    home.write("compose.yaml", &three(&project, IMAGE, more));
    let daemon = home.daemon_with(&[], |command| {
        command.env("TOKEN", "hunter2").env("OTHER", "unused");
    });
    daemon.until_ready("stacks", 1);
    daemon.until("the variable is told", || daemon.log().contains("change the project: TOKEN;"));
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("TOKEN=none"));
    let before = runs(&project);
    for verb in ["apply", "plan"] {
        let refused = ran(home.command().arg(verb).env("TOKEN", "hunter2"));
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("service web"), "{refused:?}");
        assert!(refused.stderr.contains("variables of this shell: TOKEN;"), "{refused:?}");
        assert!(refused.stderr.contains("--inherit-env"), "{refused:?}");
        assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
        let detailed = home.run(&["plan", "--profile", "x"]);
        assert_eq!(detailed.code, Some(0), "the same project: {detailed:?}");
    }
    assert_eq!(home.run(&["apply"]).code, Some(0));
    assert_eq!(runs(&project), before);
    // The mend works at once.
    home.write(".env", "TOKEN=hunter2\n");
    let applied = ran(home.command().arg("apply").env("TOKEN", "hunter2"));
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(facts(&project, "{{.Config.Env}}")["web-1"].contains("TOKEN=hunter2"));
}

#[test]
fn a_daemon_that_inherits_agrees_with_its_shell() {
    let mut home = Home::new();
    let project = home.project("inherit");
    let more = "    environment: [TOKEN]\n";
    home.write("compose.yaml", &three(&project, IMAGE, more));
    let daemon = home.daemon_with(&["--inherit-env"], |command| {
        command.env("TOKEN", "hunter2");
    });
    daemon.until_ready("stacks", 1);
    assert!(!daemon.log().contains("would change the project"), "{}", daemon.log());
    let applied = ran(home.command().arg("apply").env("TOKEN", "hunter2"));
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let refused = home.run(&["apply"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// One service, and one that needs it; nobody can tell whether they serve.
fn plain(project: &str, command: &str) -> String {
    format!(
        "\
name: {project}
services:
  web:
    image: {IMAGE}
    command: {command}
    stop_grace_period: 1s
"
    )
}

#[test]
fn an_apply_ends_in_time_though_the_engine_keeps_silent() {
    let mut home = Home::new();
    let project = home.project("silent");
    home.write("compose.yaml", &plain(&project, "[sleep]"));
    let proxy = EngineProxy::before_engine().expect("a proxy");
    proxy.inject(Rule::new(Action::Hang).on("POST /containers/{id}/start").next(1));
    let begun = Instant::now();
    let ran = home.run(&["-H", &proxy.host(), "apply", "--timeout", "3s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(ran.stderr.contains("not ready after 3s"), "{ran:?}");
    assert!(ran.stderr.contains("service web/1: start: the engine hasn't answered"), "{ran:?}");
    // The next run looks first, and finishes it.
    let ran = home.run(&["-H", &proxy.host(), "apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(runs(&project).len(), 1);
    // Nor does an engine that never answers at all keep it.
    proxy.inject(Rule::new(Action::Hang));
    let begun = Instant::now();
    let ran = home.run(&["-H", &proxy.host(), "apply", "--timeout", "2s"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("the engine hasn't answered within 2s"), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn the_first_ctrl_c_says_what_it_waits_for_and_the_second_leaves() {
    let mut home = Home::new();
    let project = home.project("ctrl-c");
    home.write("compose.yaml", &plain(&project, "[sleep]"));
    let proxy = EngineProxy::before_engine().expect("a proxy");
    proxy.inject(Rule::new(Action::Hang).on("POST /containers/{id}/start").next(1));
    let mut command = home.command();
    command.args(["-H", &proxy.host(), "apply"]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut until = |word: &str| {
        let mut seen = String::new();
        for line in lines.by_ref() {
            seen += &line.expect("text");
            seen.push('\n');
            if seen.contains(word) {
                return;
            }
        }
        panic!("no `{word}` in\n{seen}");
    };
    until("Starting");
    let interrupt = |pid: u32| {
        let sent = Command::new("kill").args(["-INT", &pid.to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    interrupt(child.id());
    until("stopping; waiting for service web/1: start; Ctrl-C again leaves at once");
    assert!(child.try_wait().expect("a child").is_none(), "what has begun may end");
    interrupt(child.id());
    let begun = Instant::now();
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_service_that_dies_at_once_is_not_called_ready() {
    for with_daemon in [false, true] {
        let mut home = Home::new();
        let project = home.project("short");
        home.write("compose.yaml", &plain(&project, "[job, '500', '7']"));
        let daemon = with_daemon.then(|| home.daemon(&[]));
        if let Some(daemon) = &daemon {
            daemon.until("it keeps it", || {
                daemon.condition("stacks", "LeaseHeld").starts_with("True")
            });
        }
        let ran = home.run(&["apply"]);
        assert_eq!(ran.code, Some(1), "with a daemon {with_daemon}: {ran:?}");
        assert!(ran.stderr.contains("exited 7"), "{ran:?}");
        drop(daemon);
    }
}

#[test]
fn a_paused_service_is_not_called_ready() {
    for with_daemon in [false, true] {
        let mut home = Home::new();
        let project = home.project("paused");
        home.write("compose.yaml", &plain(&project, "[sleep]"));
        assert_eq!(home.run(&["apply"]).code, Some(0));
        let container = format!("{project}-web-1");
        docker(&["pause", &container]);
        let daemon = with_daemon.then(|| home.daemon(&[]));
        let ran = home.run(&["apply"]);
        assert_eq!(ran.code, Some(1), "with a daemon {with_daemon}: {ran:?}");
        assert!(ran.stderr.contains(&format!("`docker unpause {container}`")), "{ran:?}");
        docker(&["unpause", &container]);
        let ran = home.run(&["apply"]);
        assert_eq!(ran.code, Some(0), "with a daemon {with_daemon}: {ran:?}");
        drop(daemon);
    }
}

#[test]
fn logs_are_followed_over_restarts_and_replacements_without_a_line_lost_or_shown_twice() {
    let mut home = Home::new();
    let project = home.project("logs");
    let lines = |word: &str| plain(&project, &format!("[print, '{word} one', '{word} two']"));
    home.write(
        "compose.yaml",
        &lines("first").replace("command", "restart: on-failure\n    command"),
    );
    assert_eq!(home.run(&["apply"]).code, Some(0));
    let mut command = home.command();
    command.args(["logs", "web", "-f"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let out = child.stdout.take().expect("piped");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            kept.lock().expect("no panic").push(line.expect("text"));
        }
    });
    let until = |expected: &[&str]| {
        let deadline = Instant::now() + SOON;
        loop {
            let now = seen.lock().expect("no panic").clone();
            if now == expected {
                return;
            }
            assert!(Instant::now() < deadline && now.len() <= expected.len(), "{now:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until(&["first one", "first two"]);
    let container = format!("{project}-web-1");
    for rounds in 2..=3 {
        docker(&["start", &container]);
        until(&["first one", "first two"].repeat(rounds));
    }
    // Another container takes its place.
    let before = runs(&project);
    home.write(
        "compose.yaml",
        &lines("other").replace("command", "restart: on-failure\n    command"),
    );
    assert_eq!(home.run(&["apply"]).code, Some(0));
    assert_ne!(runs(&project), before);
    let mut all = ["first one", "first two"].repeat(3);
    all.extend(["other one", "other two"]);
    until(&all);
    assert!(child.try_wait().expect("a child").is_none(), "it goes on");
    child.kill().expect("ends");
    child.wait().expect("ends");
    reader.join().expect("ends");
}
