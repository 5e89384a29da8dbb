//! Row 30 and edits of the files: what changes follows, what doesn't stays, nothing is lost.

use std::net::TcpListener;

use homeostat::desired::{OrphanPolicy, Policy};

use crate::support::scene::{SOON, Stranger, free_subnet, up, up_with};
use crate::support::{IMAGE, Setup, Stack, docker};

/// The steps of an update, in their order: the old container goes once the new one has proved
/// itself.
const UPDATE: [&str; 6] = [
    "service web/1: create ID_P-web-1",
    "service web/1: stop ID",
    "service web/1: rename to ID_P-web-1",
    "service web/1: rename to P-web-1",
    "service web/1: start",
    "service web/1: remove ID",
];

/// Named and anonymous volumes, a static address, two networks.
fn rich(prefix: &str) -> String {
    format!(
        r#"
services:
  db: {{image: {IMAGE}, command: ["sleep"], networks: [lan]}}
  web:
    image: {IMAGE}
    command: ["listen", "8000"]
    stop_grace_period: 1s
    environment: {{COLOUR: red}}
    volumes: ["data:/data", "/scratch"]
    networks:
      lan: {{ipv4_address: {prefix}.50, priority: 10}}
      back: {{}}
volumes: {{data: {{}}}}
networks:
  lan: {{ipam: {{config: [{{subnet: {prefix}.0/24}}]}}}}
  back: {{}}
"#
    )
}

const MOUNTS: &str = "{{range .Mounts}}{{.Destination}}={{.Name}} {{end}}";
const ADDRESS: &str =
    "{{range .NetworkSettings.Networks}}{{with .IPAMConfig}}{{.IPv4Address}}{{end}}{{end}}";

fn sorted(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

/// An edit replaces `web` by steps in order, and leaves all else as it was.
fn replaces_web(stack: &mut Stack, compose: &str, address: &str) {
    let before = stack.runs();
    let mounts = sorted(&stack.inspect("web", MOUNTS));
    assert_eq!(mounts.len(), 2);
    stack.edit(compose);
    let mut steps = UPDATE.to_vec();
    steps.insert(1, "service web/1: connect to back");
    stack.mended(&steps);
    let after = stack.runs();
    assert_eq!(after["db-1"], before["db-1"], "the other service was touched");
    assert_ne!(after["web-1"], before["web-1"]);
    assert_eq!(after.len(), 2, "something was left over: {after:#?}");
    assert_eq!(sorted(&stack.inspect("web", MOUNTS)), mounts, "a volume was lost");
    assert_eq!(stack.inspect("web", ADDRESS), address);
}

#[test]
fn an_edit_of_the_environment_makes_the_new_container_before_the_old_one_goes() {
    let prefix = free_subnet(40);
    let mut stack = up("env", &rich(&prefix));
    let compose = rich(&prefix).replace("COLOUR: red", "COLOUR: green");
    replaces_web(&mut stack, &compose, &format!("{prefix}.50"));
    assert!(stack.inspect("web", "{{.Config.Env}}").contains("COLOUR=green"));
}

#[test]
fn an_edit_of_the_image_makes_the_new_container_before_the_old_one_goes() {
    let prefix = free_subnet(41);
    let mut stack = up("image", &rich(&prefix));
    // `web` is the second of the two.
    let compose = rich(&prefix);
    let at = compose.rfind(IMAGE).expect("web's image");
    let next =
        format!("{}homeostat-test/stand-ins:2{}", &compose[..at], &compose[at + IMAGE.len()..]);
    replaces_web(&mut stack, &next, &format!("{prefix}.50"));
    let wanted = docker(&["image", "inspect", "-f", "{{.Id}}", "homeostat-test/stand-ins:2"]);
    assert_eq!(stack.inspect("web", "{{.Image}}"), wanted);
}

#[test]
fn a_tag_that_moves_to_another_image_is_followed() {
    let tag = format!("it-moves-{}:1", std::process::id());
    docker(&["tag", IMAGE, &tag]);
    let compose = format!(r#"services: {{web: {{image: "{tag}", command: ["sleep"]}}}}"#);
    let mut stack = up("tag", &compose);
    docker(&["tag", "homeostat-test/stand-ins:2", &tag]);
    stack.mended(&UPDATE);
    let wanted = docker(&["image", "inspect", "-f", "{{.Id}}", "homeostat-test/stand-ins:2"]);
    assert_eq!(stack.inspect("web", "{{.Image}}"), wanted);
    assert_eq!(stack.ids().len(), 1);
    drop(stack);
    docker(&["rmi", &tag]);
}

#[test]
fn an_edit_of_two_services_rolls_out_in_their_order() {
    let compose = |colour: &str| {
        format!(
            r#"
x-s: &s {{image: "{IMAGE}", command: ["listen", "8000"], environment: {{COLOUR: {colour}}}}}
services:
  db: {{<<: *s}}
  web: {{<<: *s, depends_on: [db]}}
"#
        )
    };
    let mut stack = up("two", &compose("red"));
    stack.edit(&compose("green"));
    let web = UPDATE.map(str::to_owned);
    let db = UPDATE.map(|s| s.replace("web", "db"));
    let all: Vec<&str> = db.iter().chain(&web).map(String::as_str).collect();
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for steps in [&db, &web] {
        pairs.extend(steps.windows(2).map(|w| (w[0].as_str(), w[1].as_str())));
    }
    pairs.push((&db[4], &web[4]));
    // Nothing that runs is stopped before all that is new could be made.
    pairs.push((&web[0], &web[1]));
    stack.mended_in_any_order(&all, &pairs);
    assert_eq!(stack.ids().len(), 2);
}

#[test]
fn a_service_is_scaled_up_and_down_by_an_edit() {
    let compose = |n: u8| {
        format!(r#"services: {{web: {{image: "{IMAGE}", command: ["sleep"], scale: {n}}}}}"#)
    };
    let mut stack = up("scale", &compose(1));
    let first = stack.runs();
    stack.edit(&compose(3));
    let (two, three) = ("service web/2: create P-web-2", "service web/3: create P-web-3");
    let (start_two, start_three) = ("service web/2: start", "service web/3: start");
    stack.mended_in_any_order(
        &[two, three, start_two, start_three],
        &[(two, start_two), (three, start_three)],
    );
    assert_eq!(stack.ids().len(), 3);
    stack.edit(&compose(1));
    let (stop_two, stop_three) = ("service web/2: stop ID", "service web/3: stop ID");
    let (rm_two, rm_three) = ("service web/2: remove ID", "service web/3: remove ID");
    stack.mended_in_any_order(
        &[stop_two, stop_three, rm_two, rm_three],
        &[(stop_two, rm_two), (stop_three, rm_three)],
    );
    assert_eq!(stack.runs(), first);
}

const BOTH: &str = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
  old: {image: "homeostat-test/stand-ins:1", command: ["sleep"], volumes: ["data:/data"]}
volumes: {data: {}}
"#;
const WITHOUT: &str = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["sleep"]}
volumes: {data: {}}
"#;

#[test]
fn an_orphan_is_reported_and_left_alone() {
    let mut stack = up("orphan", BOTH);
    let before = stack.runs();
    stack.edit(WITHOUT);
    let notice = "notice(orphan: its service is no longer in the project; `policy.orphans: Remove` \
                  removes it)";
    stack.says("container P-old-1", notice);
    stack.stays_idle();
    assert_eq!(stack.runs(), before);
}

#[test]
fn an_orphan_is_removed_without_its_volumes_where_the_policy_says_so() {
    let policy = Policy { orphans: OrphanPolicy::Remove, ..Policy::default() };
    let setup = Setup { compose: BOTH.into(), policy, ..Setup::default() };
    let mut stack = up_with("orphan-rm", setup);
    let web = stack.runs().remove("web-1");
    stack.edit(WITHOUT);
    stack.mended(&["service old/1: stop ID", "service old/1: remove ID"]);
    assert_eq!(stack.runs().remove("web-1"), web);
    assert_eq!(stack.ids().len(), 1);
    docker(&["volume", "inspect", &stack.network("data")]);
}

#[test]
fn row_30_an_edit_whose_image_cannot_be_pulled_keeps_the_old_container_running() {
    let compose = format!(
        r#"services: {{web: {{image: "{IMAGE}", command: ["sleep"]}}, db: {{image: "{IMAGE}", command: ["sleep"]}}}}"#
    );
    let mut stack = up("r30", &compose);
    let before = stack.runs();
    // Nobody listens there: a registry that is down.
    stack.edit(&compose.replacen(IMAGE, "localhost:9/none:1", 1));
    stack.fails("image localhost:9/none:1: pull");
    stack.until(SOON, "the next attempt waits", |view| {
        view.report.slots.iter().any(|(slot, report)| {
            slot.service == "web"
                && report.message.contains("image localhost:9/none:1 can't be pulled")
                && report.message.contains("connection refused")
        })
    });
    assert_eq!(stack.runs(), before);
    // It is even started again while its successor can't be had.
    docker(&["kill", &stack.container("web")]);
    let deadline = std::time::Instant::now() + SOON;
    while stack.inspect("web", "{{.State.Running}}") != "true" {
        assert!(std::time::Instant::now() < deadline, "the old container stays down");
    }
    let identities = stack.identities();
    assert!(before.iter().all(|(name, run)| run.starts_with(&identities[name])));
    stack.edit(&compose);
    stack.settle(SOON);
    assert_eq!(stack.identities(), identities);
}

#[test]
fn row_30_an_image_that_vanished_is_missed_only_by_what_must_be_made_anew() {
    let tag = format!("localhost:9/it-gone-{}:1", std::process::id());
    docker(&["tag", IMAGE, &tag]);
    let compose = format!(
        r#"services: {{web: {{image: "{tag}", command: ["sleep"]}}, db: {{image: "{tag}", command: ["sleep"]}}}}"#
    );
    let mut stack = up("r30-gone", &compose);
    let before = stack.identities();
    docker(&["rmi", &tag]);
    stack.stays_idle();
    docker(&["kill", &stack.container("web")]);
    stack.mended(&["service web/1: start"]);
    assert_eq!(stack.identities(), before);
    docker(&["rm", "-f", &stack.container("web")]);
    stack.fails(&format!("image {tag}: pull"));
    docker(&["tag", IMAGE, &tag]);
    stack.settle(SOON);
    assert_eq!(stack.ids().len(), 2);
    drop(stack);
    docker(&["rmi", &tag]);
}

#[test]
fn row_28_a_port_that_another_container_holds_names_it_and_leaves_it_alone() {
    let port = free_port();
    let holder = Stranger::run(
        format!("it-r28-holder-{port}"),
        &["-p", &format!("{port}:8000"), IMAGE, "sleep"],
    );
    let compose = with_port(port);
    let mut stack = Stack::start("r28", Setup { compose, ..Setup::default() });
    let bound = format!("blocked(port {port} is bound by container {})", holder.0);
    stack.says("service web/1", &bound);
    stack.until(SOON, "idle", |view| view.plan.is_empty() && view.busy == 0);
    stack.normal_history();
    stack.stays_idle();
    assert!(holder.runs());
    drop(holder);
    stack.settle(SOON);
    let steps = stack.normal_history();
    assert_eq!(steps.last().map(String::as_str), Some("service web/1: start"));
    assert_eq!(stack.inspect("web", "{{.State.Status}}"), "running");
}

#[test]
fn row_28_a_port_that_a_process_holds_is_named_and_tried_again() {
    let holder = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = holder.local_addr().expect("an address").port();
    let compose = with_port(port);
    let mut stack = Stack::start("r28-host", Setup { compose, ..Setup::default() });
    stack.until(SOON, "the port is named", |view| {
        view.report
            .slots
            .values()
            .any(|s| s.message.starts_with("backoff(") && s.message.contains(&format!(":{port}")))
    });
    let made = stack.identities();
    drop(holder);
    stack.settle(SOON);
    assert_eq!(stack.identities(), made, "the container was made anew for it");
}

fn with_port(port: u16) -> String {
    format!(
        r#"services: {{web: {{image: "{IMAGE}", command: ["listen", "8000"], ports: ["{port}:8000"]}}}}"#
    )
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
