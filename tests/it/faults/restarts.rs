//! Who restarts what: the engine's own policy, ours, and restarts of what doesn't serve.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostat::api::stack::ServiceSpec;
use homeostat::observed::ContainerState;
use homeostat::plan::SlotStatus;

use crate::support::scene::{SOON, up, up_with};
use crate::support::{Setup, Stack, docker};

/// Asks the stand-in's health page ten times a second.
fn probes(service: &str) -> BTreeMap<String, ServiceSpec> {
    let spec = r#"{"probe": {"http": {"path": "/health", "port": 8000}}, "interval": "100ms"}"#;
    [(service.to_owned(), serde_json::from_str(spec).expect("a spec"))].into()
}

#[test]
fn the_engine_restarts_what_its_policy_covers_and_we_the_rest() {
    let compose = r#"
x-s: &s {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
services:
  always: {<<: *s, restart: always}
  unless: {<<: *s, restart: unless-stopped}
  never: {<<: *s, restart: "no"}
"#;
    let mut stack = up("owner", compose);
    let before = stack.identities();
    for service in ["always", "unless", "never"] {
        stack.crash(service, 3);
    }
    stack.mended(&["service never/1: start"]);
    let count = "{{.RestartCount}} {{.State.Status}}";
    assert_eq!(stack.inspect("always", count), "1 running");
    assert_eq!(stack.inspect("unless", count), "1 running");
    // After `docker kill` the engine restarts nothing, whatever the policy.
    docker(&["kill", &stack.container("always"), &stack.container("unless")]);
    let (always, unless) = ("service always/1: start", "service unless/1: start");
    stack.mended_in_any_order(&[always, unless], &[]);
    assert_eq!(stack.identities(), before);
}

#[test]
fn a_policy_of_on_failure_is_the_engines_until_it_is_used_up() {
    let compose = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["exit", "3"], restart: "on-failure:2"}
"#;
    let mut stack = Stack::start("onfail", Setup { compose: compose.into(), ..Setup::default() });
    let used_up = |c: &homeostat::observed::Container| {
        c.project.is_some() && c.state == ContainerState::Exited && c.restart_count == 2
    };
    let project = stack.project.clone();
    stack.until(SOON, "the engine tried twice", |view| {
        view.observed.of_project(&project).any(used_up)
    });
    stack.did(&[
        "network P_default: create",
        "service web/1: create P-web-1",
        "service web/1: start",
        "service web/1: start",
    ]);
    let plans = stack.normal_plans();
    assert!(plans[1].contains("start  (exited 3, attempt 1 of 3)"), "{plans:#?}");
    assert_eq!(stack.ids().len(), 1);
}

#[test]
fn an_end_with_zero_is_the_end_under_on_failure_only() {
    let compose = r#"
services:
  done: {image: "homeostat-test/stand-ins:1", command: ["sleep"], restart: on-failure}
  web: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
"#;
    let mut stack = up("zero", compose);
    stack.crash("done", 0);
    stack.crash("web", 0);
    stack.mended(&["service web/1: start"]);
    assert_eq!(stack.inspect("done", "{{.State.Status}}"), "exited");
    assert_eq!(stack.status("done"), Some(SlotStatus::Completed));
}

#[test]
fn a_restart_that_the_engine_gave_up_without_a_word_is_noticed() {
    let compose = r#"
services:
  parent: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
  child:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8001"]
    environment: {STAND_IN_ADMIN: "0.0.0.0:9998"}
    network_mode: service:parent
    restart: always
"#;
    let mut stack = up("gave-up", compose);
    let before = stack.identities();
    stack.while_idle(|stack| {
        docker(&["kill", &stack.container("parent")]);
        stack.crash("child", 3);
        let deadline = std::time::Instant::now() + SOON;
        while stack.inspect("child", "{{.State.Status}}") != "exited" {
            assert!(std::time::Instant::now() < deadline, "the engine goes on trying");
        }
    });
    stack.mended(&["service parent/1: start", "service child/1: start"]);
    assert_eq!(stack.identities(), before);
}

#[test]
fn one_that_stops_answering_is_restarted_after_three_failures() {
    let compose = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["listen", "8000"]}
"#;
    let setup = Setup { compose: compose.into(), probes: probes("web"), ..Setup::default() };
    let mut stack = up_with("refuses", setup);
    let before = stack.identities();
    stack.stand_in("web", &["admin", "refuse"]);
    stack.mended(&["service web/1: restart"]);
    let plans = stack.normal_plans();
    assert!(plans[0].contains("unhealthy: Refused (3 times)"), "{plans:#?}");
    assert_eq!(stack.identities(), before);
    // A service that answers, though with an error, is alive.
    let fail = r#"{"count": 1000, "status": 500}"#;
    stack.stand_in("web", &["admin", "fail-next", fail]);
    stack.until(SOON, "not ready", |view| {
        view.report.slots.values().any(|s| s.status == SlotStatus::Unhealthy)
    });
    stack.stays_idle();
}

#[test]
fn one_that_never_answers_has_its_grace_before_it_is_restarted() {
    let compose = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
"#;
    let grace = Duration::from_secs(2);
    let setup = Setup {
        compose: compose.into(),
        probes: probes("web"),
        ready_within: [("web".to_owned(), grace)].into(),
        ..Setup::default()
    };
    let mut stack = Stack::start("grace", setup);
    stack.did(&[
        "network P_default: create",
        "service web/1: create P-web-1",
        "service web/1: start",
    ]);
    let started = std::time::Instant::now();
    stack.did(&["service web/1: restart"]);
    let passed = started.elapsed();
    // The restart itself takes a while, and the start was a little before we looked.
    assert!(passed > grace - Duration::from_millis(300), "after {passed:?}");
}

#[test]
fn what_dockers_healthcheck_calls_unhealthy_is_restarted() {
    let compose = r#"
services:
  web:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    healthcheck: {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"], interval: 300ms, retries: 2}
"#;
    let mut stack = up("docker-health", compose);
    let before = stack.identities();
    let fail = r#"{"count": 1000, "status": 500}"#;
    stack.stand_in("web", &["admin", "fail-next", fail]);
    stack.mended(&["service web/1: restart"]);
    assert_eq!(stack.identities(), before);
}

#[test]
fn an_unpaused_container_is_not_restarted_for_the_health_that_the_engine_made_up() {
    let compose = r#"
services:
  web:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    healthcheck: {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"], interval: 1500ms}
"#;
    let mut stack = up("unpaused", compose);
    let before = stack.runs();
    docker(&["pause", &stack.container("web")]);
    stack.says("service web/1", "held(paused by hand; `docker unpause P-web-1` ends it)");
    docker(&["unpause", &stack.container("web")]);
    assert_eq!(stack.inspect("web", "{{.State.Health.Status}}"), "unhealthy", "no trap any more");
    stack.stays_idle();
    stack.settle(SOON);
    assert_eq!(stack.runs(), before);
}
