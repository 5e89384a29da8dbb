//! Row 31: updates that don't work go back, unless data could be lost by it.

use homeostat::plan::SlotStatus;

use crate::support::scene::{SOON, free_subnet, up};
use crate::support::{IMAGE, Stack, docker};

const NEXT: &str = "homeostat-test/stand-ins:2";

/// A service that says when it serves, with a static address and an anonymous volume if it has
/// data.
fn web(prefix: &str, image: &str, command: &str, more: &str) -> String {
    format!(
        r#"
services:
  web:
    image: {image}
    command: {command}
    stop_grace_period: 1s
    environment: {{COLOUR: red}}
    healthcheck: {{test: [CMD, /stand-ins, healthcheck, "http://127.0.0.1:8000/health"], interval: 500ms, timeout: 1s, retries: 3}}
    networks: {{lan: {{ipv4_address: {prefix}.50, aliases: [store]}}, back: {{}}}}
    {more}
networks:
  lan: {{ipam: {{config: [{{subnet: {prefix}.0/24}}]}}}}
  back: {{}}
"#
    )
}

const SERVES: &str = r#"["listen", "8000"]"#;
const SLEEPS: &str = r#"["sleep"]"#;
const DATA: &str = "volumes: ['/data']";

fn undone() -> [&'static str; 4] {
    [
        "service web/1: stop ID",
        "service web/1: remove ID",
        "service web/1: rename to P-web-1",
        "service web/1: start",
    ]
}

fn begun() -> [&'static str; 6] {
    [
        "service web/1: create ID_P-web-1",
        "service web/1: connect to lan",
        "service web/1: stop ID",
        "service web/1: rename to ID_P-web-1",
        "service web/1: rename to P-web-1",
        "service web/1: start",
    ]
}

/// The report's word on the service begins like this, and the loop rests.
fn rests(stack: &mut Stack, words: &str) {
    let words = words.to_owned();
    stack.until(SOON, &format!("rests and says {words}"), move |view| {
        let said = view.report.slots.values().any(|s| s.message.contains(&words));
        said && view.plan.is_empty() && view.busy == 0 && view.report.settled()
    });
}

#[test]
fn row_31_an_update_that_is_never_healthy_is_rolled_back() {
    let prefix = free_subnet(50);
    let mut stack = up("r31", &web(&prefix, IMAGE, SERVES, ""));
    let before = stack.identities();
    stack.edit(&web(&prefix, NEXT, SLEEPS, ""));
    let steps: Vec<&str> = begun().into_iter().chain(undone()).collect();
    stack.did(&steps);
    rests(&mut stack, "update failed: unhealthy: Docker healthcheck; rolled back to image ");
    assert_eq!(stack.identities(), before);
    assert!(stack.reaches("web", "store"), "its alias and address came back");
    stack.stays_idle();
    // It heals, and stays what it is.
    docker(&["kill", &stack.container("web")]);
    stack.did(&["service web/1: start"]);
    rests(&mut stack, "rolled back to image ");
    assert_eq!(stack.identities(), before);
    // An edit that works rolls out.
    stack.edit(&web(&prefix, NEXT, SERVES, ""));
    stack.settle(SOON);
    let wanted = docker(&["image", "inspect", "-f", "{{.Id}}", NEXT]);
    assert_eq!(stack.inspect("web", "{{.Image}}"), wanted);
    assert_eq!(stack.ids().len(), 1);
}

#[test]
fn row_31_what_cannot_be_started_is_rolled_back_whatever_data_it_has() {
    let prefix = free_subnet(51);
    let mut stack = up("r31-start", &web(&prefix, IMAGE, SERVES, DATA));
    let before = stack.identities();
    let broken = format!("entrypoint: ['/not-there']\n    {DATA}");
    stack.edit(&web(&prefix, NEXT, SERVES, &broken));
    rests(&mut stack, "update failed: it can't be started: ");
    assert_eq!(stack.identities(), before);
    assert_eq!(stack.inspect("web", "{{.State.Status}}"), "running");
}

#[test]
fn row_31_a_service_with_data_is_stopped_and_a_person_is_told() {
    let prefix = free_subnet(52);
    let mut stack = up("r31-data", &web(&prefix, IMAGE, SERVES, DATA));
    let old = stack.container("web");
    stack.edit(&web(&prefix, NEXT, SLEEPS, DATA));
    rests(&mut stack, "because the new version may have rewritten its data; save that first: ");
    let status = stack.facts("{{.State.Status}}");
    assert_eq!(status.len(), 2, "{status:?}");
    assert!(status.values().all(|s| s == "exited"), "neither runs: {status:?}");
    let view = stack.tap.views.borrow().clone();
    assert!(view.report.slots.values().all(|s| s.status == SlotStatus::Held));
    // The command that the report names does what it says.
    let container = format!("{}-web-1", stack.project);
    let mounted = ["inspect", "-f", "{{range .Mounts}}{{.Destination}}{{end}}", &container];
    assert_eq!(docker(&mounted), "/data");
    stack.normal_history();
    stack.stays_idle();
    // The file of before brings the old one back.
    stack.edit(&web(&prefix, IMAGE, SERVES, DATA));
    stack.settle(SOON);
    assert_eq!(stack.container("web"), old);
    assert_eq!(stack.ids().len(), 1);
}

#[test]
fn row_31_an_old_container_that_somebody_removed_is_made_again_as_it_was() {
    let prefix = free_subnet(53);
    let mut stack = up("r31-gone", &web(&prefix, IMAGE, SERVES, ""));
    let facts = "{{.Config.Image}} {{.Config.Env}} {{.Config.Cmd}} {{.Config.Labels}} \
                 {{.HostConfig.RestartPolicy}} {{.Config.StopTimeout}} \
                 {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    let old = stack.container("web");
    let before = stack.inspect("web", facts);
    stack.edit(&web(&prefix, NEXT, SLEEPS, ""));
    stack.did(&begun());
    docker(&["rm", "-f", &old]);
    rests(&mut stack, "rolled back to image ");
    let all = stack.facts("{{.Id}}");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["web-1"]);
    assert_ne!(all["web-1"], old);
    let image = docker(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    assert_eq!(stack.inspect("web", facts).replace(&image, IMAGE), before.replace(&image, IMAGE));
    assert!(stack.reaches("web", "store"));
    stack.normal_history();
    stack.stays_idle();
}

#[test]
fn a_stopped_container_that_is_kept_leaves_its_address_and_its_port_to_the_new_one() {
    let prefix = free_subnet(54);
    let port = {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let with_port = format!("ports: ['{port}:8000']");
    let mut stack = up("keeps", &web(&prefix, IMAGE, SERVES, &with_port));
    stack.edit(&web(&prefix, NEXT, SERVES, &with_port));
    let mut steps = begun().to_vec();
    steps.push("service web/1: remove ID");
    stack.mended(&steps);
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    assert!(stack.inspect("web", address).contains(&format!("{prefix}.50")));
    assert!(stack.reaches("web", "store"));
}
