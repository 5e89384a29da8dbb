//! No call to the engine that isn't on the published list of the tier: everything that a daemon does
//! in a tier goes through a recording proxy.

use std::collections::BTreeSet;

use homeostat::engine::{Tier, access};

use super::harness::{Daemon, Home, runs};
use crate::engine_proxy::EngineProxy;
use crate::support::{IMAGE, docker};

fn text(project: &str) -> String {
    format!(
        "name: {project}\nservices:\n  a:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n    volumes: ['data:/data']\n  b:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n  c:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\nvolumes: {{data: {{}}}}\n"
    )
}

/// Calls that went through and aren't the tier's.
fn unlisted(proxy: &EngineProxy, tier: Tier) -> Vec<String> {
    let listed = access::of(tier);
    let sent: BTreeSet<String> = proxy.records().iter().map(|r| r.endpoint()).collect();
    assert!(sent.len() > 5, "the proxy saw it work: {sent:?}");
    sent.into_iter().filter(|call| !listed.contains(&**call)).collect()
}

fn status(daemon: &Daemon, project: &str, service: &str) -> String {
    daemon.services().remove(&format!("{project}/{service}")).unwrap_or_default()
}

/// Kills one, disconnects another, removes the third, edits the first.
fn harm(home: &Home, project: &str) {
    docker(&["kill", &format!("{project}-a-1")]);
    docker(&[
        "network",
        "disconnect",
        "-f",
        &format!("{project}_default"),
        &format!("{project}-b-1"),
    ]);
    docker(&["rm", "-f", &format!("{project}-c-1")]);
    home.write("compose.yaml", &text(project).replacen("[sleep]", "[sleep, '100000']", 1));
}

#[test]
fn the_tier_reconcile_makes_no_call_that_is_not_listed() {
    let mut home = Home::new();
    let project = home.project("reconcile");
    home.write("compose.yaml", &text(&project));
    let proxy = EngineProxy::before_engine().expect("the proxy starts");
    let daemon = home.daemon(&["-H", &proxy.host(), "--resync", "1s"]);
    daemon.until_ready("stacks", 1);
    let before = runs(&project);
    harm(&home, &project);
    daemon.until("all is mended", || {
        daemon.is_ready("stacks", 2) && runs(&project).get("a-1") != before.get("a-1")
    });
    assert_eq!(home.run(&["logs", "a", "-H", &proxy.host()]).code, Some(0));
    home.run(&["plan", "-H", &proxy.host()]);
    daemon.stop();
    assert_eq!(home.run(&["delete", "stack/stacks", "-y", "-H", &proxy.host()]).code, Some(0));
    assert_eq!(unlisted(&proxy, Tier::Reconcile), Vec::<String>::new());
}

#[test]
fn the_tier_heal_mends_what_is_there_by_its_own_calls_and_says_what_it_may_not() {
    let mut home = Home::new();
    let project = home.project("heal");
    home.write("compose.yaml", &text(&project));
    assert_eq!(home.run(&["apply"]).code, Some(0));
    let proxy = EngineProxy::before_engine().expect("the proxy starts");
    let daemon = home.daemon(&["-H", &proxy.host(), "--tier", "heal", "--resync", "1s"]);
    daemon.until_ready("stacks", 1);
    let before = runs(&project);
    harm(&home, &project);
    daemon.until("what is there is mended, as it was", || {
        let now = runs(&project);
        let a = |runs: &std::collections::BTreeMap<String, String>| {
            runs.get("a-1").and_then(|r| r.split_once(' ').map(|(id, _)| id.to_owned()))
        };
        now.get("a-1") != before.get("a-1")
            && a(&now) == a(&before)
            && status(&daemon, &project, "b") == "ready"
    });
    let message = |service: &str| {
        let list = daemon.api("/api/v1/services");
        let items = list["items"].as_array().expect("items").clone();
        let found = items.into_iter().find(|s| s["service"] == service).unwrap_or_default();
        found["message"].as_str().unwrap_or_default().to_owned()
    };
    daemon.until("what it may not do is said, with the mend", || {
        message("c").contains("the tier heal doesn't allow `create")
            && message("c").contains("--tier reconcile")
            && message("a").contains("the tier heal replaces no container")
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(!runs(&project).contains_key("c-1"));
    assert!(!daemon.log().contains("doesn't allow POST"), "not even tried:\n{}", daemon.log());
    daemon.stop();
    assert_eq!(unlisted(&proxy, Tier::Heal), Vec::<String>::new());
}

#[test]
fn the_tier_observe_makes_no_call_that_is_not_listed() {
    let mut home = Home::new();
    let project = home.project("observe");
    home.write("compose.yaml", &text(&project));
    assert_eq!(home.run(&["apply"]).code, Some(0));
    let proxy = EngineProxy::before_engine().expect("the proxy starts");
    let daemon = home.daemon(&["-H", &proxy.host(), "--tier", "observe", "--resync", "1s"]);
    daemon.until("it sees the stack", || status(&daemon, &project, "a") == "ready");
    harm(&home, &project);
    daemon.until("it sees what is wrong", || status(&daemon, &project, "c") == "missing");
    assert_eq!(home.run(&["plan", "--tier", "observe", "-H", &proxy.host()]).code, Some(0));
    daemon.stop();
    assert_eq!(unlisted(&proxy, Tier::Observe), Vec::<String>::new());
}
