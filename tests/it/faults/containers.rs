//! Rows 11 to 17: containers that end, freeze, vanish or change their name.

use homeostat::desired::Policy;
use homeostat::plan::SlotStatus;

use crate::support::scene::{SOON, up, up_with};
use crate::support::{Setup, docker};

/// `web` waits for a healthy `db`.
const HEALTHY: &str = r#"
services:
  db:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    volumes: ["data:/data", "/scratch"]
    healthcheck: {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"], interval: 500ms}
  web:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    depends_on: {db: {condition: service_healthy}}
volumes: {data: {}}
"#;

const ONE: &str = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
"#;

#[test]
fn row_11_killed_containers_run_again_in_order() {
    let mut stack = up("r11", HEALTHY);
    let before = stack.identities();
    stack.while_away(|stack| {
        docker(&["kill", &stack.container("web"), &stack.container("db")]);
    });
    stack.mended(&["service db/1: start", "service web/1: start"]);
    assert_eq!(stack.identities(), before);
    let healthy = "{{(index .State.Health.Log 0).End}}";
    assert!(stack.inspect("db", healthy) < stack.inspect("web", "{{.State.StartedAt}}"));
    // While the loop looks on, one that dies alone comes back alone.
    docker(&["kill", &stack.container("db")]);
    stack.mended(&["service db/1: start"]);
    assert_eq!(stack.identities(), before);
}

#[test]
fn row_12_a_job_that_ended_well_is_not_drift() {
    let compose = r#"
services:
  init: {image: "homeostat-test/stand-ins:1", command: ["job", "50"]}
  web:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    depends_on: {init: {condition: service_completed_successfully}}
"#;
    let mut stack = up("r12", compose);
    let job = stack.runs().remove("init-1");
    assert_eq!(stack.inspect("init", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    assert_eq!(stack.status("init"), Some(SlotStatus::Completed));
    stack.stays_idle();
    docker(&["rm", "-f", &stack.container("web")]);
    stack.mended(&["service web/1: create P-web-1", "service web/1: start"]);
    assert_eq!(stack.runs().remove("init-1"), job, "the job ran again");
    let later = stack.inspect("init", "{{.State.FinishedAt}}");
    assert!(later < stack.inspect("web", "{{.State.StartedAt}}"));
}

#[test]
fn row_12_a_job_whose_container_is_removed_does_not_run_again() {
    let compose = r#"
services:
  init: {image: "homeostat-test/stand-ins:1", command: ["job", "10"]}
  web:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    depends_on: {init: {condition: service_completed_successfully}}
"#;
    let mut stack = up("r12-rm", compose);
    docker(&["rm", &stack.container("init")]);
    stack.stays_idle();
    assert_eq!(stack.ids().len(), 1);
    docker(&["kill", &stack.container("web")]);
    stack.mended(&["service web/1: start"]);
}

#[test]
fn row_14_a_paused_container_is_reported_and_left_paused() {
    let mut stack = up("r14", ONE);
    let before = stack.runs();
    docker(&["pause", &stack.container("web")]);
    stack.says("service web/1", "held(paused by hand; `docker unpause P-web-1` ends it)");
    assert_eq!(stack.status("web"), Some(SlotStatus::Paused));
    stack.stays_idle();
    assert_eq!(stack.inspect("web", "{{.State.Paused}}"), "true");
    docker(&["unpause", &stack.container("web")]);
    stack.until(SOON, "unpaused", |v| {
        v.report.slots.values().all(|s| s.status == SlotStatus::Ready)
    });
    stack.stays_idle();
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_14_a_paused_container_is_unpaused_where_the_policy_says_so() {
    let policy = Policy { unpause: true, ..Policy::default() };
    let mut stack =
        up_with("r14-policy", Setup { compose: ONE.into(), policy, ..Setup::default() });
    let before = stack.runs();
    docker(&["pause", &stack.container("web")]);
    stack.mended(&["service web/1: unpause"]);
    assert_eq!(stack.inspect("web", "{{.State.Paused}}"), "false");
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_16_removed_containers_are_recreated_in_order() {
    let mut stack = up("r16", HEALTHY);
    let before = stack.identities();
    let volume = "{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Name}}{{end}}{{end}}";
    assert_eq!(stack.inspect("db", volume), stack.network("data"));
    stack.while_away(|stack| {
        docker(&["rm", "-f", "-v", &stack.container("web"), &stack.container("db")]);
    });
    let (db, web) = ("service db/1: create P-db-1", "service web/1: create P-web-1");
    let (start_db, start_web) = ("service db/1: start", "service web/1: start");
    stack.mended_in_any_order(
        &[db, web, start_db, start_web],
        &[(db, start_db), (web, start_web), (start_db, start_web)],
    );
    assert_eq!(stack.inspect("db", volume), stack.network("data"));
    let after = stack.identities();
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after.iter().all(|(name, id)| before[name] != *id));
    let healthy = "{{(index .State.Health.Log 0).End}}";
    assert!(stack.inspect("db", healthy) < stack.inspect("web", "{{.State.StartedAt}}"));
}

#[test]
fn row_17_a_renamed_container_is_known_by_its_labels() {
    let mut stack = up("r17", ONE);
    let before: Vec<String> = stack.ids();
    let other = format!("{}-mine", stack.project);
    docker(&["rename", &stack.container("web"), &other]);
    stack.stays_idle();
    assert_eq!(stack.ids(), before, "a second container was made");
    docker(&["kill", &other]);
    stack.mended(&["service web/1: start"]);
    assert_eq!(stack.ids(), before);
    docker(&["rm", "-f", &other]);
    stack.mended(&["service web/1: create P-web-1", "service web/1: start"]);
    assert_eq!(stack.ids().len(), 1);
}
